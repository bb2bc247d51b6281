package overlay

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Routing is what an edge needs to route for a port: the gateway of its network.
// It is shared by the network's ports and does not change.
type Routing struct {
	VRF *VRF
	// Gateways are the router's addresses in the port's network.
	Gateways []netip.Addr
	// Sources are the prefixes of static routes that have this port as next
	// hop: it may send from there beside its own addresses.
	Sources []netip.Prefix
}

// VRF is a router as an edge knows it. Where its hosts are is in the table of
// its L3VNI.
type VRF struct {
	Router  intent.Ref
	VNI     intent.VNI // the L3VNI
	Subnets []Subnet   // of its networks, by prefix
	Routes  []Route    // static routes, by prefix
	Leaks   []Leak     // what it has of others, by their L3VNIs
	Bridges []Bridge   // hardware VTEPs with stations in its networks, by L2VNI and VTEP
	// Senders are, where there are hardware VTEPs, all VTEPs that bridge to them what
	// they route.
	Senders []netip.Addr
	// External says that it is that of an external network: its subnets are the
	// pools, and what routers advertise there.
	External bool
}

// Subnet is a subnet of a network that a router joins.
type Subnet struct {
	Prefix  netip.Prefix
	VNI     intent.VNI // the L2VNI
	Gateway netip.Addr
	Encap   intent.Encapsulation // of the network, with defaults filled in
}

// Route is a static route. Without next hops nothing can be sent there: those
// that the intent names are nowhere.
type Route struct {
	Prefix    netip.Prefix
	Blackhole bool
	Hops      []Hop
}

// Hop is a next hop by its address in the table of the L3VNI: a HopAddress where
// a port has it.
type Hop struct {
	Address netip.Addr
	Weight  uint16 // its share of the flows
}

// HopAddress is the address of a station as next hop in the table of an L3VNI,
// where it stands for bridging to it in its L2VNI, which keeps the choice of the
// next hop at one edge (RFC 9136 section 4.1). It is the station's link-local
// address with the L2VNI inside, never seen on a wire.
func HopAddress(v intent.VNI, mac intent.MAC) netip.Addr {
	a := mac.LinkLocal().As16()
	binary.BigEndian.PutUint32(a[4:], uint32(v))
	return netip.AddrFrom16(a)
}

// IsHopAddress reports whether an address is one that HopAddress made.
func IsHopAddress(a netip.Addr) bool {
	b := a.As16()
	return a.Is6() && a.IsLinkLocalUnicast() && binary.BigEndian.Uint32(b[4:]) != 0
}

// Subnet is the subnet that an address is in; ok is false when there is none.
func (v *VRF) Subnet(a netip.Addr) (s Subnet, ok bool) {
	i := slices.IndexFunc(v.Subnets, func(s Subnet) bool { return s.Prefix.Contains(a) })
	if i < 0 {
		return Subnet{}, false
	}
	return v.Subnets[i], true
}

// Equal reports whether two VRFs are the same in all; nil is equal to nil only.
func (v *VRF) Equal(o *VRF) bool {
	if v == nil || o == nil || v == o {
		return v == o
	}
	return v.Router == o.Router && v.VNI == o.VNI && v.External == o.External && slices.Equal(v.Subnets, o.Subnets) && slices.EqualFunc(v.Routes, o.Routes, func(a, b Route) bool {
		return a.Prefix == b.Prefix && a.Blackhole == b.Blackhole && slices.Equal(a.Hops, b.Hops)
	}) && slices.EqualFunc(v.Leaks, o.Leaks, Leak.equal) && slices.Equal(v.Bridges, o.Bridges) && slices.Equal(v.Senders, o.Senders)
}

// Equal reports whether two gateways are the same in all; nil is equal to nil only.
func (r *Routing) Equal(o *Routing) bool {
	if r == nil || o == nil || r == o {
		return r == o
	}
	return r.VRF.Equal(o.VRF) && slices.Equal(r.Gateways, o.Gateways) && slices.Equal(r.Sources, o.Sources)
}

// routes reports whether the network's gateway has an address in the subnet of
// a.
func (r *Routing) routes(v intent.VNI, a netip.Addr) bool {
	s, ok := r.VRF.Subnet(a)
	return ok && s.VNI == v
}

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
