package intent

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// DHCP says what a network tells its stations: by DHCPv4 (RFC 2131), router
// advertisements (RFC 4861) and stateless DHCPv6 (RFC 8415 section 6.1). The
// addresses themselves are the ports' of the intent, never guessed.
type DHCP struct {
	DNS    []netip.Addr `json:"dns,omitempty" yaml:"dns,omitempty,flow" doc:"DNS servers, IPv4 and IPv6"`
	NTP    []netip.Addr `json:"ntp,omitempty" yaml:"ntp,omitempty,flow" doc:"NTP servers, IPv4 and IPv6"`
	Domain string       `json:"domain,omitempty" yaml:"domain,omitempty" doc:"Domain name that stations complete names with"`
	Lease  Seconds      `json:"lease,omitempty" yaml:"lease,omitempty" doc:"Lease time in seconds; 86400 when left out" minimum:"0"`
	Routes []DHCPRoute  `json:"routes,omitempty" yaml:"routes,omitempty" doc:"Static routes of stations (RFC 3442), beside the default route to the router"`
}

// Seconds is a time in whole seconds.
type Seconds uint32

// Duration is the time.
func (s Seconds) Duration() time.Duration { return time.Duration(s) * time.Second }

// DefaultLease is the lease time when none is given.
const DefaultLease Seconds = 86400

// DHCPRoute is a static route of the stations of a network.
type DHCPRoute struct {
	Prefix netip.Prefix `json:"prefix" yaml:"prefix" doc:"IPv4 destination" pattern:"^[0-9.]+/[0-9]{1,2}$" patternDescription:"an IPv4 prefix like 192.0.2.0/24"`
	Via    netip.Addr   `json:"via" yaml:"via" doc:"Address inside the network"`
}

// QoS limits and marks what a port sends and receives.
type QoS struct {
	Out  RateLimit `json:"out,omitzero" yaml:"out,omitempty" doc:"Limit of what the station sends"`
	In   RateLimit `json:"in,omitzero" yaml:"in,omitempty" doc:"Limit of what the station receives"`
	DSCP *uint8    `json:"dscp,omitempty" yaml:"dscp,omitempty" doc:"Differentiated services code point, 0 to 63, set on what the station sends, and on the tunnel around it (RFC 2983)" minimum:"0" maximum:"63"`
}

// TenantQoS limits what the ports of a tenant that are on one hypervisor send and
// receive together. Each hypervisor has buckets of its own: to hold one limit across
// all of them, every packet would have to be told to the others.
type TenantQoS struct {
	Out RateLimit `json:"out,omitzero" yaml:"out,omitempty" doc:"Limit of what the tenant's stations on one hypervisor send, together"`
	In  RateLimit `json:"in,omitzero" yaml:"in,omitempty" doc:"Limit of what the tenant's stations on one hypervisor receive, together"`
}

// RateLimit is a token bucket.
type RateLimit struct {
	Rate  BitRate `json:"rate,omitempty" yaml:"rate,omitempty" doc:"Bits per second of IP packets and Ethernet headers, such as 500k, 10M or 1G" pattern:"^[0-9]+[kMG]?$" patternDescription:"a number of bits like 500k, 10M or 1G"`
	Burst BitRate `json:"burst,omitempty" yaml:"burst,omitempty" doc:"Bits above the rate that may come at once; a tenth of a second's worth when left out" pattern:"^[0-9]+[kMG]?$" patternDescription:"a number of bits like 500k, 10M or 1G"`
}

// IsZero reports whether there is no limit.
func (r RateLimit) IsZero() bool { return r == RateLimit{} }

// BitRate is a number of bits, per second where it is a rate; it is written with
// the suffixes k, M and G, which are powers of 1000.
type BitRate string

// Bits is the number; ok is false when it can't be read.
func (r BitRate) Bits() (bits uint64, ok bool) {
	if r == "" {
		return 0, true
	}
	digits, factor := string(r), uint64(1)
	for suffix, f := range map[string]uint64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if d, cut := strings.CutSuffix(digits, suffix); cut {
			digits, factor = d, f
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 40)
	return n * factor, err == nil && n*factor <= 1e12
}

// Limits of a rate: what an OpenFlow meter can hold in kbit/s, and what is still
// a rate for packets of 1,500 octets.
const (
	minRate = 64_000
	maxRate = 1_000_000_000_000
)

func (f *Faults) rate(field string, r RateLimit) {
	rate, ok := r.Rate.Bits()
	switch {
	case !ok:
		f.Add(field+".rate", "%q is not a rate like 500k, 10M or 1G", r.Rate)
	case r.Rate == "" && r.Burst != "":
		f.Add(field+".burst", "goes with rate")
	case r.Rate != "" && (rate < minRate || rate > maxRate):
		f.Add(field+".rate", "%s is outside 64k..1000G", r.Rate)
	}
	if burst, ok := r.Burst.Bits(); !ok {
		f.Add(field+".burst", "%q is not a number of bits like 500k or 10M", r.Burst)
	} else if r.Burst != "" && burst < 12_000 {
		f.Add(field+".burst", "%s is less than one packet of 1,500 octets: use 12k or more", r.Burst)
	}
}

func (f *Faults) qos(field string, q *QoS) {
	if q == nil {
		return
	}
	f.rate(field+".out", q.Out)
	f.rate(field+".in", q.In)
	if q.DSCP != nil && *q.DSCP > 63 {
		f.Add(field+".dscp", "%d is outside 0..63", *q.DSCP)
	}
}

func (f *Faults) tenantQoS(field string, q *TenantQoS) {
	if q != nil {
		f.rate(field+".out", q.Out)
		f.rate(field+".in", q.In)
	}
}

func (f *Faults) dhcp(n *Network) {
	d := n.Spec.DHCP
	if d == nil {
		return
	}
	if len(n.Spec.Subnets) == 0 {
		f.Add("spec.dhcp", "goes with spec.subnets: there is no address to give")
	}
	servers := func(field string, list []netip.Addr) {
		for i, a := range list {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
				f.Add(fmt.Sprintf("%s[%d]", field, i), "is not a server's address")
			}
		}
		if len(list) > maxServers {
			f.Add(field, "has %d servers: stations are told of %d", len(list), maxServers)
		}
	}
	servers("spec.dhcp.dns", d.DNS)
	servers("spec.dhcp.ntp", d.NTP)
	if len(d.Domain) > 253 || strings.ContainsAny(d.Domain, " /\\\"'") {
		f.Add("spec.dhcp.domain", "%q is not a domain name", d.Domain)
	}
	if d.Lease != 0 && d.Lease < 60 {
		f.Add("spec.dhcp.lease", "%d s is too short: use 60 or more", d.Lease)
	}
	for i, r := range d.Routes {
		field := fmt.Sprintf("spec.dhcp.routes[%d]", i)
		switch {
		case !r.Prefix.IsValid() || !r.Prefix.Addr().Is4():
			f.Add(field+".prefix", "is not an IPv4 prefix: IPv6 stations learn routes by router advertisements")
		case r.Prefix.Masked() != r.Prefix:
			f.Add(field+".prefix", "%s has host bits set: use %s", r.Prefix, r.Prefix.Masked())
		}
		if s := n.Subnet(r.Via); !r.Via.Is4() || !s.IsValid() {
			f.Add(field+".via", "%s is outside the IPv4 subnets of the network", r.Via)
		}
	}
	if len(d.Routes) > maxServers {
		f.Add("spec.dhcp.routes", "has %d routes: stations are told of %d", len(d.Routes), maxServers)
	}
}

// maxServers bounds each list of what stations are told, so that an answer fits
// into one packet.
const maxServers = 8
