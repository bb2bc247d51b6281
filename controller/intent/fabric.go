package intent

import (
	"fmt"
	"net/netip"
	"strings"
)

// FabricName is the name of the only Fabric.
const FabricName = "fabric"

// Fabric says how the underlay of all switches is planned: with it the controller
// makes the configuration of each switch, which the switch's agent fetches. Without
// it the underlay is somebody else's. There is one, by the name of FabricName.
type Fabric struct {
	Header   `yaml:",inline"`
	Metadata Metadata   `json:"metadata" yaml:"metadata"`
	Spec     FabricSpec `json:"spec" yaml:"spec"`
	Status   *Status    `json:"status,omitempty" yaml:"status,omitempty"`
}

// FabricSpec has what a fabric's operator may choose. What is left out has a useful
// value; see fabric.Params.
type FabricSpec struct {
	Protocol   string `json:"protocol,omitempty" yaml:"protocol,omitempty" doc:"bgp (default): eBGP on every link (RFC 7938); isis: level 2 in one area" enum:"bgp,isis"`
	Unnumbered bool   `json:"unnumbered,omitempty" yaml:"unnumbered,omitempty" doc:"Links between switches have no addresses of their own"`
	BFD        bool   `json:"bfd,omitempty" yaml:"bfd,omitempty" doc:"BFD (RFC 5880) on every session or adjacency, 3 packets of 30 ms"`
	// IPv6 gives the IPv6 pools that are left out their usual values.
	IPv6 bool `json:"ipv6,omitempty" yaml:"ipv6,omitempty" doc:"IPv6 loopbacks and routes beside those of IPv4"`

	Pools  FabricPools  `json:"pools,omitzero" yaml:"pools,omitempty" doc:"Where addresses are taken from"`
	ASNs   FabricASNs   `json:"asns,omitzero" yaml:"asns,omitempty" doc:"First AS numbers of each role, private ones (RFC 6996)"`
	Timers FabricTimers `json:"timers,omitzero" yaml:"timers,omitempty" doc:"BGP's timers; the hold time is that of IS-IS too"`
	MTU    int          `json:"mtu,omitempty" yaml:"mtu,omitempty" doc:"MTU of links that give none, in bytes; 9216 when left out"`
	// Accept lets in what another fabric announces over links of border leaves.
	Accept []FabricPrefix `json:"accept,omitempty" yaml:"accept,omitempty" doc:"Prefixes of others that the switches take and pass on, besides those of the pools" maxItems:"64"`
	// Controllers may steer traffic: each leaf has a BGP neighbour for each of them.
	Controllers []netip.Addr `json:"controllers,omitempty" yaml:"controllers,omitempty" doc:"Addresses from which controllers may announce routes to single leaves, where BGP routes" maxItems:"8"`
	// Colours are given to VTEPs that are planned.
	Colours int `json:"colours,omitempty" yaml:"colours,omitempty" doc:"Addresses of each VTEP besides its own, so that tenants can be steered apart, where BGP routes; none when left out" minimum:"0" maximum:"8"`
	// Renumber allows changes of pools, AS numbers and protocol while there are
	// switches: each session flaps.
	Renumber bool `json:"renumber,omitempty" yaml:"renumber,omitempty" doc:"Allow changes that renumber switches or replace all their sessions while there are some"`
}

// FabricPools are where the plan takes addresses from.
type FabricPools struct {
	Loopbacks  netip.Prefix `json:"loopbacks,omitzero" yaml:"loopbacks,omitempty" doc:"Loopbacks and router IDs; 10.255.0.0/16 when left out"`
	Loopbacks6 netip.Prefix `json:"loopbacks6,omitzero" yaml:"loopbacks6,omitempty" doc:"IPv6 loopbacks; fd00:ff::/64 with ipv6"`
	VTEPs      netip.Prefix `json:"vteps,omitzero" yaml:"vteps,omitempty" doc:"VTEPs of leaves; 10.254.0.0/16 when left out"`
	P2P        netip.Prefix `json:"p2p,omitzero" yaml:"p2p,omitempty" doc:"Links between switches; 10.192.0.0/11 when left out"`
	P2P6       netip.Prefix `json:"p2p6,omitzero" yaml:"p2p6,omitempty" doc:"A /96 for links between switches; fd00:c0::/96 with ipv6 and numbered links"`
	Racks      netip.Prefix `json:"racks,omitzero" yaml:"racks,omitempty" doc:"What is behind leaves; 10.64.0.0/10 when left out"`
	Colours    netip.Prefix `json:"colours,omitzero" yaml:"colours,omitempty" doc:"Further addresses of VTEPs; 10.128.0.0/10 when left out"`
	RackLength int          `json:"rackLength,omitempty" yaml:"rackLength,omitempty" doc:"Length of a leaf's rack prefix; 24 when left out"`
}

// FabricASNs are the first AS numbers of each role.
type FabricASNs struct {
	Superspine uint32 `json:"superspine,omitempty" yaml:"superspine,omitempty" doc:"Of all superspines; 4200000000 when left out"`
	Spine      uint32 `json:"spine,omitempty" yaml:"spine,omitempty" doc:"One a pod; 4200001001 when left out"`
	Border     uint32 `json:"border,omitempty" yaml:"border,omitempty" doc:"One each; 4200010001 when left out"`
	Leaf       uint32 `json:"leaf,omitempty" yaml:"leaf,omitempty" doc:"One each; 4200100001 when left out"`
}

// FabricTimers are BGP's (RFC 4271 section 4.4), in seconds.
type FabricTimers struct {
	Keepalive int `json:"keepalive,omitempty" yaml:"keepalive,omitempty" doc:"Seconds; 3 when left out"`
	Hold      int `json:"hold,omitempty" yaml:"hold,omitempty" doc:"Seconds; 9 when left out"`
}

// FabricPrefix permits the prefixes inside one that are MinLength to MaxLength long.
type FabricPrefix struct {
	Prefix    netip.Prefix `json:"prefix" yaml:"prefix"`
	MinLength int          `json:"minLength,omitempty" yaml:"minLength,omitempty" doc:"The prefix's own length when left out"`
	MaxLength int          `json:"maxLength,omitempty" yaml:"maxLength,omitempty" doc:"minLength when left out"`
}

// Ref identifies the fabric.
func (f *Fabric) Ref() Ref { return Ref{KindFabric, "", f.Metadata.Name} }

// Meta returns the metadata.
func (f *Fabric) Meta() *Metadata { return &f.Metadata }

// maxAccepted bounds the list of what is accepted from others.
const maxAccepted = 64

// maxControllers bounds the neighbours that steer.
const maxControllers = 8

// Validate checks the fabric alone.
func (f *Fabric) Validate() error {
	fs := NewFaults(f.Ref())
	fs.header(f.Header, f.Metadata, KindFabric)
	if f.Metadata.Name != FabricName {
		fs.Add("metadata.name", "%q is not possible: there is one fabric, and its name is %s", f.Metadata.Name, FabricName)
	}
	s := &f.Spec
	if p := s.Protocol; p != "" && p != "bgp" && p != "isis" {
		fs.Add("spec.protocol", "%q is not known: use bgp or isis", p)
	}
	if s.MTU != 0 && (s.MTU < 1550 || s.MTU > 65535) {
		fs.Add("spec.mtu", "%d is outside 1550..65535: VXLAN adds 50 bytes to the tenants' 1500 (RFC 7348)", s.MTU)
	}
	if s.Colours < 0 || s.Colours > MaxColours {
		fs.Add("spec.colours", "%d is outside 0..%d", s.Colours, MaxColours)
	} else if s.Colours > 0 && s.Protocol == "isis" {
		fs.Add("spec.colours", "goes with bgp: what IS-IS routes is not steered")
	}
	fs.fabricTimers(s.Timers)
	fs.fabricPools(s)
	if n := len(s.Accept); n > maxAccepted {
		fs.Add("spec.accept", "has %d prefixes: a fabric may have %d", n, maxAccepted)
	}
	if n := len(s.Controllers); n > maxControllers {
		fs.Add("spec.controllers", "has %d: a fabric may have %d", n, maxControllers)
	}
	for i, a := range s.Controllers {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			fs.Add(fmt.Sprintf("spec.controllers[%d]", i), "is not a unicast address")
		}
	}
	for i, a := range s.Accept {
		fs.fabricPrefix(fmt.Sprintf("spec.accept[%d]", i), a)
	}
	for _, a := range []struct {
		name string
		asn  uint32
	}{{"superspine", s.ASNs.Superspine}, {"spine", s.ASNs.Spine}, {"border", s.ASNs.Border}, {"leaf", s.ASNs.Leaf}} {
		if a.asn != 0 && !PrivateASN(a.asn) {
			fs.Add("spec.asns."+a.name, "%d is not private (RFC 6996): use 64512..65534 or 4200000000..4294967294", a.asn)
		}
	}
	return fs.Err()
}

// PrivateASN reports whether an AS number is for private use (RFC 6996 section 5).
func PrivateASN(n uint32) bool {
	return n >= 64512 && n <= 65534 || n >= 4200000000 && n <= 4294967294
}

func (f *Faults) fabricTimers(t FabricTimers) {
	keepalive, hold := t.Keepalive, t.Hold
	if keepalive == 0 {
		keepalive = 3
	}
	if hold == 0 {
		hold = 9
	}
	if keepalive < 1 || hold < 3 || hold > 65535 || keepalive > hold/3 {
		f.Add("spec.timers", "keepalive %d and hold %d don't fit: the hold time must be 3 to 65535 seconds and three times the keepalive (RFC 4271 section 4.4)", keepalive, hold)
	}
}

func (f *Faults) fabricPools(s *FabricSpec) {
	type pool struct {
		name string
		p    netip.Prefix
		six  bool
	}
	pools := []pool{
		{"loopbacks", s.Pools.Loopbacks, false}, {"loopbacks6", s.Pools.Loopbacks6, true}, {"vteps", s.Pools.VTEPs, false},
		{"p2p", s.Pools.P2P, false}, {"p2p6", s.Pools.P2P6, true}, {"racks", s.Pools.Racks, false}, {"colours", s.Pools.Colours, false},
	}
	for i, a := range pools {
		if !a.p.IsValid() {
			continue
		}
		field := "spec.pools." + a.name
		switch version := map[bool]string{false: "IPv4", true: "IPv6"}[a.six]; {
		case a.p.Addr().Is6() != a.six || a.p.Addr().Is4In6():
			f.Add(field, "%s is not an %s prefix", a.p, version)
		case a.p != a.p.Masked():
			f.Add(field, "%s has host bits set: use %s", a.p, a.p.Masked())
		}
		for _, b := range pools[:i] {
			if b.p.IsValid() && a.p.Overlaps(b.p) {
				f.Add(field, "%s overlaps spec.pools.%s (%s): choose pools apart", a.p, b.name, b.p)
			}
		}
	}
	if p := s.Pools.P2P6; p.IsValid() && p.Bits() != 96 {
		f.Add("spec.pools.p2p6", "%s is not a /96: the last 32 bits of a link's addresses are those of its IPv4 addresses", p)
	}
	if n := s.Pools.RackLength; n != 0 && (n < 8 || n > 31) {
		f.Add("spec.pools.rackLength", "%d is outside 8..31", n)
	}
}

func (f *Faults) fabricPrefix(field string, a FabricPrefix) {
	switch low, high := a.Lengths(); {
	case !a.Prefix.IsValid() || a.Prefix.Addr().Is4In6():
		f.Add(field+".prefix", "is not an IPv4 or IPv6 prefix")
	case a.Prefix != a.Prefix.Masked():
		f.Add(field+".prefix", "%s has host bits set: use %s", a.Prefix, a.Prefix.Masked())
	case low < a.Prefix.Bits() || low > high || high > a.Prefix.Addr().BitLen():
		f.Add(field+".minLength", "lengths %d to %d don't fit %s", low, high, a.Prefix)
	}
}

// Lengths are the shortest and longest prefixes that are permitted.
func (a FabricPrefix) Lengths() (low, high int) {
	if low = a.MinLength; low == 0 {
		low = a.Prefix.Bits()
	}
	if high = a.MaxLength; high == 0 {
		high = low
	}
	return low, high
}

// Renumbers lists the fields in which a change to another spec renumbers switches
// that there are, or replaces all their sessions.
func (s FabricSpec) Renumbers(to FabricSpec) []string {
	var out []string
	note := func(differs bool, field string) {
		if differs {
			out = append(out, field)
		}
	}
	note(or(s.Protocol, "bgp") != or(to.Protocol, "bgp"), "spec.protocol")
	note(s.Unnumbered != to.Unnumbered, "spec.unnumbered")
	note(s.ASNs != to.ASNs, "spec.asns")
	note(s.IPv6 && !to.IPv6, "spec.ipv6")
	note(s.Colours > 0 && s.Colours != to.Colours, "spec.colours")
	if s.Colours == 0 {
		s.Pools.Colours = to.Pools.Colours
	}
	note(s.Pools != to.Pools, "spec.pools")
	return out
}

func or(s, def string) string {
	if strings.TrimSpace(s) == "" {
		return def
	}
	return s
}
