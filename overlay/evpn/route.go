package evpn

import (
	"fmt"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
)

// RouteType is the EVPN route type (RFC 7432 section 7).
type RouteType uint8

// Route types in use.
const (
	MACIP RouteType = 2 // MAC/IP advertisement
	IMET  RouteType = 3 // inclusive multicast Ethernet tag
	// PREFIX is an IP prefix route (RFC 9136).
	PREFIX RouteType = 5
	// MEMBER is no EVPN route and never leaves the controller: an address of a
	// member of a security group.
	MEMBER RouteType = 255
)

// String is the type's usual short name.
func (t RouteType) String() string {
	switch t {
	case MACIP:
		return "MAC/IP"
	case IMET:
		return "IMET"
	case PREFIX:
		return "prefix"
	case MEMBER:
		return "member"
	}
	return fmt.Sprintf("type-%d", uint8(t))
}

// Key identifies a route within a segment.
type Key struct {
	Type RouteType
	MAC  intent.MAC // MACIP; PREFIX of a leaf: its router MAC, so that several leaves' are several rows
	Bits uint8      // PREFIX: its length
	IP   netip.Addr // MACIP: host address, invalid for a MAC-only route; IMET: the VTEP that floods; PREFIX: the prefix's address
	// Domain of a MEMBER is where its address is known, see overlay.LocalPort.
	Domain intent.VNI
}

// MemberKey is an address of a security group's member.
func MemberKey(v intent.VNI, ip netip.Addr) Key { return Key{Type: MEMBER, IP: ip, Domain: v} }

// PrefixKey is the route of an IP prefix.
func PrefixKey(p netip.Prefix) Key {
	return Key{Type: PREFIX, IP: p.Masked().Addr(), Bits: uint8(p.Bits())}
}

// MACKey is the MAC-only route of a station.
func MACKey(m intent.MAC) Key { return Key{Type: MACIP, MAC: m} }

// HostKey is the MAC/IP route of one address of a station.
func HostKey(m intent.MAC, ip netip.Addr) Key { return Key{Type: MACIP, MAC: m, IP: ip} }

// FloodKey is the IMET route of a VTEP that has the segment.
func FloodKey(vtep netip.Addr) Key { return Key{Type: IMET, IP: vtep} }

// Source names who offers a path: a device or a port. It is compared only.
type Source string

// Path says where a route leads.
type Path struct {
	VTEP netip.Addr
	Seq  uint32 // MAC mobility sequence number (RFC 7432 section 7.7)
	// VNI, in the table of an L3VNI, is the L2VNI of the host: MPLS Label1 of
	// a route with two labels (RFC 9135 section 5.1).
	VNI    intent.VNI
	Sticky bool // static MAC (RFC 7432 section 15.2)
	Origin Origin
	// RouterMAC, in the table of an L3VNI, is the inner destination MAC of
	// what is routed to the VTEP with the L3VNI (RFC 9135 section 5.1). It is
	// zero when the VTEP does not route: then frames are bridged there, to the
	// host's MAC in its L2VNI.
	RouterMAC intent.MAC
	Source    Source
	// Replicator of an IMET route is the VTEP that replicates for this one
	// (RFC 9574), invalid when it replicates itself.
	Replicator netip.Addr
}

// Origin says how a path came to be known.
type Origin uint8

// Origins.
const (
	OriginPort    Origin = iota // a port of the intent, where an edge has it
	OriginLearned               // an edge learned it from traffic
	OriginBGP                   // an EVPN leaf announces it
	OriginFabric                // another fabric announces it
)

// String is the origin's name in tables.
func (o Origin) String() string {
	switch o {
	case OriginPort:
		return "port"
	case OriginLearned:
		return "learned"
	case OriginBGP:
		return "bgp"
	case OriginFabric:
		return "fabric"
	}
	return fmt.Sprintf("origin-%d", uint8(o))
}

// better reports whether p wins over q. What the intent says wins over what is
// learned, unless follow is set.
func (p Path) better(q Path, follow bool) bool {
	switch own, other := p.Origin == OriginPort, q.Origin == OriginPort; {
	case own != other && !follow:
		return own
	case p.Sticky != q.Sticky:
		return p.Sticky
	case p.Seq != q.Seq:
		return p.Seq > q.Seq
	case p.VTEP != q.VTEP:
		return p.VTEP.Less(q.VTEP)
	}
	return p.Source < q.Source
}

// Row is a route with its best path as readers see it. A deleted row keeps the
// path that it had.
type Row struct {
	Key
	Path
	Rev Revision
	// Led is the revision since which the route leads where it does: later
	// ones changed only how it is known.
	Led     Revision
	Deleted bool
}
