package intent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ExternalNetwork is a way outside, the operator's: one VRF with an L3VNI of its
// own, which border leaves join to BGP routers that are not ours. Routers of
// tenants that name it reach it, and are reached by its floating IPs and by the
// prefixes that they advertise.
type ExternalNetwork struct {
	Header   `yaml:",inline"`
	Metadata Metadata            `json:"metadata" yaml:"metadata"`
	Spec     ExternalNetworkSpec `json:"spec" yaml:"spec"`
	Status   *Status             `json:"status,omitempty" yaml:"status,omitempty"`
}

// ExternalNetworkSpec says what leads outside, and with which addresses.
type ExternalNetworkSpec struct {
	VNI VNI `json:"vni,omitempty" yaml:"vni,omitempty" doc:"L3VNI of the outside's VRF, 1 to 16777215; allocated when left out" minimum:"0" maximum:"16777215"`
	// RouteTargets are those of the VRF's routes in BGP EVPN.
	RouteTargets RouteTargets   `json:"routeTargets,omitzero" yaml:"routeTargets,omitempty" doc:"Route targets of BGP EVPN; made from the L3VNI when left out"`
	Pools        []netip.Prefix `json:"pools,omitempty" yaml:"pools,omitempty,flow" doc:"Addresses of floating IPs and of source NAT, which the borders announce; none may overlap another"`
	Import       []netip.Prefix `json:"import,omitempty" yaml:"import,omitempty,flow" doc:"Prefixes that are taken from outside: these, and longer ones inside them; all when left out"`
	Borders      []Border       `json:"borders,omitempty" yaml:"borders,omitempty" doc:"Leaves that lead outside; several share the flows"`
}

// Border is a leaf that leads outside.
type Border struct {
	Node string `json:"node" yaml:"node" doc:"Node that is a BGP EVPN leaf"`
	// VRF is for leaves whose kernel has no VRF devices.
	VRF   string       `json:"vrf,omitempty" yaml:"vrf,omitempty" doc:"default: the leaf's default VRF, which the outside then shares with the underlay; a VRF of its own when left out" enum:"default"`
	Peers []BorderPeer `json:"peers,omitempty" yaml:"peers,omitempty" doc:"BGP routers outside with which it speaks"`
}

// VRFDefault is the leaf's default VRF.
const VRFDefault = "default"

// BorderPeer is a BGP router outside, on a link of the border.
type BorderPeer struct {
	Address   netip.Addr   `json:"address" yaml:"address" doc:"Address of the router outside"`
	ASN       uint32       `json:"asn" yaml:"asn" doc:"Its autonomous system" minimum:"1"`
	Interface string       `json:"interface" yaml:"interface" doc:"Interface of the border that leads to it"`
	Local     netip.Prefix `json:"local" yaml:"local" doc:"The border's own address on that interface, with the length of the link's prefix, such as 192.0.2.0/31" pattern:"^[0-9A-Fa-f:.]+/[0-9]{1,3}$" patternDescription:"an address with a length like 192.0.2.0/31"`
	Password  string       `json:"password,omitempty" yaml:"password,omitempty" doc:"TCP-MD5 password (RFC 2385)"`
	BFD       bool         `json:"bfd,omitempty" yaml:"bfd,omitempty" doc:"Detect its loss by BFD (RFC 5882)"`
}

// Ref identifies the external network.
func (n *ExternalNetwork) Ref() Ref { return Ref{KindExternalNetwork, "", n.Metadata.Name} }

// Meta returns the metadata.
func (n *ExternalNetwork) Meta() *Metadata { return &n.Metadata }

// Pool is the pool that contains the address, or the zero Prefix.
func (n *ExternalNetwork) Pool(a netip.Addr) netip.Prefix {
	for _, p := range n.Spec.Pools {
		if p.Contains(a) {
			return p
		}
	}
	return netip.Prefix{}
}

// Takes reports whether a prefix learned outside is taken.
func (n *ExternalNetwork) Takes(p netip.Prefix) bool {
	return len(n.Spec.Import) == 0 || slices.ContainsFunc(n.Spec.Import, func(q netip.Prefix) bool { return Within(p, q) })
}

// Within reports whether the prefix p is q or inside it.
func Within(p, q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }

// NodeRef is the node of a border.
func (b Border) NodeRef() Ref { return Ref{Kind: KindNode, Name: b.Node} }

// maxBorders of an external network and maxPeers of a border: more than share
// one prefix's flows anywhere here.
const (
	maxBorders = 16
	maxPeers   = 16
)

// Validate checks the external network alone; that its borders are EVPN leaves
// is checked by the store.
func (n *ExternalNetwork) Validate() error {
	f := NewFaults(n.Ref())
	f.header(n.Header, n.Metadata, KindExternalNetwork)
	if n.Spec.VNI > MaxVNI {
		f.Add("spec.vni", "%d is outside 1..%d", n.Spec.VNI, MaxVNI)
	}
	f.routeTargets("spec.routeTargets.import", n.Spec.RouteTargets.Import)
	f.routeTargets("spec.routeTargets.export", n.Spec.RouteTargets.Export)
	f.prefixes("spec.pools", n.Spec.Pools)
	f.prefixes("spec.import", n.Spec.Import)
	for i, p := range n.Spec.Pools {
		if p.IsValid() && (p.Addr().IsLoopback() || p.Bits() == 0) {
			f.Add(fmt.Sprintf("spec.pools[%d]", i), "%s has no addresses for stations", p)
		}
	}
	if k := len(n.Spec.Borders); k > maxBorders {
		f.Add("spec.borders", "has %d: an external network may have %d", k, maxBorders)
	}
	for i := range n.Spec.Borders {
		f.border(n.Spec.Borders, i)
	}
	return f.Err()
}

// prefixes checks a list of prefixes that may be routed and don't overlap.
func (f *Faults) prefixes(field string, list []netip.Prefix) {
	for i, p := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		f.prefix(at, p)
		if j := slices.IndexFunc(list[:i], p.Overlaps); j >= 0 {
			f.Add(at, "%s overlaps %s[%d] (%s)", p, field, j, list[j])
		}
	}
}

// prefix checks one that may be routed.
func (f *Faults) prefix(field string, p netip.Prefix) {
	switch {
	case !p.IsValid() || p.Addr().Is4In6() || p.Addr().Zone() != "":
		f.Add(field, "is not a prefix like 192.0.2.0/24")
	case p.Masked() != p:
		f.Add(field, "%s has host bits set: use %s", p, p.Masked())
	case p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast():
		f.Add(field, "%s can't be routed", p)
	}
}

func (f *Faults) border(all []Border, i int) {
	b, field := all[i], fmt.Sprintf("spec.borders[%d]", i)
	if b.Node == "" {
		f.Add(field+".node", "is missing: say which leaf leads outside")
	}
	if j := slices.IndexFunc(all[:i], func(o Border) bool { return o.Node == b.Node }); j >= 0 {
		f.Add(field+".node", "%s is given twice: spec.borders[%d] has it too; give one border several peers", b.Node, j)
	}
	if b.VRF != "" && b.VRF != VRFDefault {
		f.Add(field+".vrf", "%q is not known: leave it out for a VRF of its own, or say default", b.VRF)
	}
	if k := len(b.Peers); k > maxPeers {
		f.Add(field+".peers", "has %d: a border may have %d", k, maxPeers)
	}
	for j, p := range b.Peers {
		f.peer(fmt.Sprintf("%s.peers[%d]", field, j), p)
		for k, o := range b.Peers[:j] {
			at := fmt.Sprintf("%s.peers[%d]", field, j)
			switch {
			case o.Address == p.Address:
				f.Add(at+".address", "%s is given twice: %s.peers[%d] has it too", p.Address, field, k)
			case o.Local != p.Local && o.Local.IsValid() && p.Local.IsValid() && o.Local.Masked().Overlaps(p.Local.Masked()):
				f.Add(at+".local", "%s overlaps %s of %s.peers[%d]: a border can't tell the links apart", p.Local, o.Local, field, k)
			case o.Local == p.Local && o.Interface != p.Interface:
				f.Add(at+".local", "%s is on %s already, by %s.peers[%d]", p.Local, o.Interface, field, k)
			}
		}
	}
}

func (f *Faults) peer(field string, p BorderPeer) {
	if p.ASN == 0 {
		f.Add(field+".asn", "is missing: say in which AS the router outside is")
	}
	if len(p.Password) > 80 || strings.ContainsFunc(p.Password, func(r rune) bool { return r <= ' ' || r > '~' }) {
		f.Add(field+".password", "must be up to 80 printable ASCII characters without spaces")
	}
	if p.Interface == "" {
		f.Add(field+".interface", "is missing: say which interface of the border leads to it")
	}
	usable := unicast(p.Address)
	if !usable {
		f.Add(field+".address", "is not the unicast address of a router, such as 192.0.2.1")
	}
	switch l := p.Local; {
	case !l.IsValid() || !unicast(l.Addr()):
		f.Add(field+".local", "is not an address with a length, such as 192.0.2.0/31")
	case !usable:
	case l.Addr() == p.Address:
		f.Add(field+".local", "%s is the peer's own address", p.Address)
	case !l.Contains(p.Address):
		f.Add(field+".address", "%s is not on the link %s of local: the router outside must be one hop away", p.Address, l.Masked())
	}
}

// unicast reports whether a station may have the address, in any link.
func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !a.IsMulticast() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}

// FloatingIP gives an address of a port an address of an external network, one
// to one in both directions, wherever the port is.
type FloatingIP struct {
	Header   `yaml:",inline"`
	Metadata Metadata       `json:"metadata" yaml:"metadata"`
	Spec     FloatingIPSpec `json:"spec" yaml:"spec"`
	Status   *Status        `json:"status,omitempty" yaml:"status,omitempty"`
}

// FloatingIPSpec says which address stands for which.
type FloatingIPSpec struct {
	External string     `json:"external" yaml:"external" doc:"External network, which the router of the port's network must name"`
	Address  netip.Addr `json:"address,omitzero" yaml:"address,omitempty" doc:"Address from a pool of the external network; allocated when left out"`
	Port     string     `json:"port" yaml:"port" doc:"Port of the same tenant"`
	Fixed    netip.Addr `json:"fixed,omitzero" yaml:"fixed,omitempty" doc:"Address of the port; its first one of that family when left out"`
}

// Ref identifies the floating IP.
func (i *FloatingIP) Ref() Ref { return Ref{KindFloatingIP, i.Metadata.Tenant, i.Metadata.Name} }

// Meta returns the metadata.
func (i *FloatingIP) Meta() *Metadata { return &i.Metadata }

// PortRef is the port.
func (i *FloatingIP) PortRef() Ref { return Ref{KindPort, i.Metadata.Tenant, i.Spec.Port} }

// ExternalRef is the external network.
func (i *FloatingIP) ExternalRef() Ref { return ExternalRef(i.Spec.External) }

// ExternalRef is the external network of a name.
func ExternalRef(name string) Ref { return Ref{Kind: KindExternalNetwork, Name: name} }

// Validate checks the floating IP alone.
func (i *FloatingIP) Validate() error {
	f := NewFaults(i.Ref())
	f.header(i.Header, i.Metadata, KindFloatingIP)
	if i.Spec.External == "" {
		f.Add("spec.external", "is missing: say from which external network the address is")
	} else {
		f.name("spec.external", i.Spec.External)
	}
	if i.Spec.Port == "" {
		f.Add("spec.port", "is missing: say which port has the address")
	} else {
		f.name("spec.port", i.Spec.Port)
	}
	a, x := i.Spec.Address, i.Spec.Fixed
	if a.IsValid() && !unicast(a) {
		f.Add("spec.address", "%s is not a unicast address", a)
	}
	if x.IsValid() && !unicast(x) {
		f.Add("spec.fixed", "%s is not a unicast address", x)
	}
	if a.IsValid() && x.IsValid() && a.Is4() != x.Is4() {
		f.Add("spec.fixed", "%s is of another family than %s", x, a)
	}
	return f.Err()
}

// SourceAddress has the addresses by which a hypervisor translates what leaves
// for an external network: one of each family of its pools.
type SourceAddress struct {
	External  string       `json:"external" yaml:"external" doc:"External network"`
	Addresses []netip.Addr `json:"addresses,omitempty" yaml:"addresses,omitempty,flow" doc:"One address of each family from its pools; allocated when left out"`
}

func (f *Faults) sourceAddresses(field string, list []SourceAddress) {
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		f.name(at+".external", s.External)
		if j := slices.IndexFunc(list[:i], func(o SourceAddress) bool { return o.External == s.External }); j >= 0 {
			f.Add(at+".external", "%s is given twice: %s[%d] has it too", s.External, field, j)
		}
		for j, a := range s.Addresses {
			if !unicast(a) {
				f.Add(fmt.Sprintf("%s.addresses[%d]", at, j), "is not a unicast address")
			} else if k := slices.IndexFunc(s.Addresses[:j], func(o netip.Addr) bool { return o.Is4() == a.Is4() }); k >= 0 {
				f.Add(fmt.Sprintf("%s.addresses[%d]", at, j), "%s is of the same family as %s: give one of each", a, s.Addresses[k])
			}
		}
	}
}
