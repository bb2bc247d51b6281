package intent

import (
	"fmt"
	"net/netip"
	"time"
)

// Interconnect stretches chosen networks to another fabric, which has a
// controller or an EVPN router of its own (RFC 8365 section 10): BGP EVPN from
// controller to controller, with the VTEPs of both fabrics as next hops. What is
// not chosen is not announced. It is the operator's; no tenant owns it.
type Interconnect struct {
	Header   `yaml:",inline"`
	Metadata Metadata         `json:"metadata" yaml:"metadata"`
	Spec     InterconnectSpec `json:"spec" yaml:"spec"`
	Status   *Status          `json:"status,omitempty" yaml:"status,omitempty"`
}

// InterconnectSpec says who speaks for the other fabric and which networks go
// there.
type InterconnectSpec struct {
	ASN   uint32       `json:"asn" yaml:"asn" doc:"AS of the other fabric's controller; with this controller's own the sessions are internal" minimum:"1"`
	Peers []FabricPeer `json:"peers" yaml:"peers" doc:"BGP EVPN speakers of the other fabric: its controllers, or its EVPN routers" minItems:"1" maxItems:"8"`
	// Networks that are not listed do not cross, neither their routes nor their
	// frames.
	Networks []StretchedNetwork `json:"networks,omitempty" yaml:"networks,omitempty" doc:"Networks that are stretched to the other fabric; no others cross"`
	// Lines carry what crosses. Without them the underlays are joined by somebody
	// else.
	Lines    []Line         `json:"lines,omitempty" yaml:"lines,omitempty" doc:"Links of border leaves to those of the other fabric; left out when somebody else joins the underlays" maxItems:"64"`
	Prefixes []netip.Prefix `json:"prefixes,omitempty" yaml:"prefixes,omitempty" doc:"Where the VTEPs of the other fabric are: its VTEP and rack pools, IPv4. Nothing else is taken from lines" maxItems:"64"`
	HoldDown Seconds        `json:"holdDown,omitempty" yaml:"holdDown,omitempty" doc:"Seconds that a line must have been up before it carries what another line can; 30 when left out" minimum:"0" maximum:"240"`
}

// FabricPeer is a BGP EVPN speaker of another fabric.
type FabricPeer struct {
	Address   netip.Addr `json:"address" yaml:"address" doc:"Address of the speaker"`
	Port      uint16     `json:"port,omitempty" yaml:"port,omitempty" doc:"TCP port to dial; 179 when left out"`
	Password  string     `json:"password,omitempty" yaml:"password,omitempty" doc:"TCP-MD5 password (RFC 2385)"`
	Passive   bool       `json:"passive,omitempty" yaml:"passive,omitempty" doc:"Wait for the peer to dial; one of the two ends must, and its controller needs --bgp-listen"`
	MaxRoutes uint32     `json:"maxRoutes,omitempty" yaml:"maxRoutes,omitempty" doc:"EVPN routes to take from the peer before the session is ended; 100000 when left out"`
	HoldTime  Seconds    `json:"holdTime,omitempty" yaml:"holdTime,omitempty" doc:"Seconds of silence after which the session is lost, 3 to 65535; 30 when left out" minimum:"0" maximum:"65535"`
}

// StretchedNetwork is a network that both fabrics have.
type StretchedNetwork struct {
	Tenant  string `json:"tenant" yaml:"tenant" doc:"Tenant that owns the network"`
	Network string `json:"network" yaml:"network" doc:"Name of the network"`
	// RouteTarget says in both fabrics which network a route is of: names and
	// tenants may differ.
	RouteTarget string `json:"routeTarget" yaml:"routeTarget" doc:"Route target of the network between the fabrics, the same at both ends: ASN:N or IPv4:N"`
}

// Ref identifies the interconnect.
func (c *Interconnect) Ref() Ref { return Ref{KindInterconnect, "", c.Metadata.Name} }

// Meta returns the metadata.
func (c *Interconnect) Meta() *Metadata { return &c.Metadata }

// Ref identifies the network.
func (n StretchedNetwork) Ref() Ref { return Ref{KindNetwork, n.Tenant, n.Network} }

// Target is the route target; the zero value when it can't be read.
func (n StretchedNetwork) Target() RouteTarget {
	t, _ := ParseRouteTarget(n.RouteTarget)
	return t
}

// At is where the speaker is dialled.
func (p FabricPeer) At() netip.AddrPort {
	if p.Port == 0 {
		return netip.AddrPortFrom(p.Address.Unmap(), 179)
	}
	return netip.AddrPortFrom(p.Address.Unmap(), p.Port)
}

// Hold is the hold time that is offered (RFC 4271 section 4.2).
func (p FabricPeer) Hold() time.Duration {
	if p.HoldTime == 0 {
		return 30 * time.Second
	}
	return time.Duration(p.HoldTime) * time.Second
}

// Bounds of an interconnect.
const (
	maxFabricPeers       = 8
	maxStretchedNetworks = 4096
	maxPassword          = 80 // octets of a TCP-MD5 key that the kernel takes
)

// Validate checks the interconnect alone.
func (c *Interconnect) Validate() error {
	f := NewFaults(c.Ref())
	f.header(c.Header, c.Metadata, KindInterconnect)
	switch {
	case c.Spec.ASN == 0:
		f.Add("spec.asn", "is missing: give the AS of the other fabric's controller")
	case c.Spec.ASN == 23456 || c.Spec.ASN == 65535 || c.Spec.ASN == 1<<32-1:
		f.Add("spec.asn", "%d is reserved (RFC 6793, RFC 7300)", c.Spec.ASN)
	}
	switch n := len(c.Spec.Peers); {
	case n == 0:
		f.Add("spec.peers", "is missing: give the address of the other fabric's controller")
	case n > maxFabricPeers:
		f.Add("spec.peers", "has %d: an interconnect may have %d", n, maxFabricPeers)
	}
	for i, p := range c.Spec.Peers {
		f.fabricPeer(fmt.Sprintf("spec.peers[%d]", i), c.Spec.Peers, i, p)
	}
	f.lines(&c.Spec)
	if n := len(c.Spec.Networks); n > maxStretchedNetworks {
		f.Add("spec.networks", "has %d: an interconnect may have %d", n, maxStretchedNetworks)
		return f.Err()
	}
	networks, targets := map[Ref]int{}, map[RouteTarget]int{}
	for i, n := range c.Spec.Networks {
		field := fmt.Sprintf("spec.networks[%d]", i)
		f.name(field+".tenant", n.Tenant)
		f.name(field+".network", n.Network)
		if j, twice := networks[n.Ref()]; twice {
			f.Add(field+".network", "%s is given twice: spec.networks[%d] has it too", n.Ref(), j)
		}
		networks[n.Ref()] = i
		t, err := ParseRouteTarget(n.RouteTarget)
		if err != nil {
			f.Add(field+".routeTarget", "%v", err)
			continue
		}
		if j, twice := targets[t]; twice {
			f.Add(field+".routeTarget", "%s is given twice: spec.networks[%d] has it too, and a route of either could not be told from the other's", t, j)
		}
		targets[t] = i
	}
	return f.Err()
}

func (f *Faults) fabricPeer(field string, all []FabricPeer, i int, p FabricPeer) {
	switch a := p.Address; {
	case !a.IsValid():
		f.Add(field+".address", "is missing: give the address of the other fabric's speaker")
	case a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is4In6():
		f.Add(field+".address", "%s can't be dialled", a)
	}
	for j, o := range all[:i] {
		if p.Address.IsValid() && o.Address == p.Address {
			f.Add(field+".address", "%s is given twice: spec.peers[%d] has it too", p.Address, j)
		}
	}
	if n := len(p.Password); n > maxPassword {
		f.Add(field+".password", "has %d octets: TCP-MD5 takes %d", n, maxPassword)
	}
	if p.Passive && p.Port != 0 {
		f.Add(field+".port", "goes without passive: a peer that dials is not dialled")
	}
	if h := p.HoldTime; h != 0 && (h < 3 || h > 65535) {
		f.Add(field+".holdTime", "%d is outside 3..65535 (RFC 4271 section 4.2)", h)
	}
}
