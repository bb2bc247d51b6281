package evpn

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
)

// RD is a route distinguisher in its wire form (RFC 4364 section 4.2).
type RD [8]byte

// NewRD is the distinguisher of the routes that the controller originates for a
// VNI: type 0, ASN:VNI, of a larger AS its last two octets.
//
// It is the same for all VTEPs. RFC 7432 section 7.9 has each PE use its own,
// so that two PEs' routes for one MAC are two; the controller is one speaker
// that has one route for each row of a segment, and a row that moves to another
// VTEP then replaces its route in one UPDATE, without a withdrawal.
func NewRD(asn uint32, v intent.VNI) RD {
	var rd RD
	binary.BigEndian.PutUint16(rd[2:], uint16(asn))
	binary.BigEndian.PutUint32(rd[4:], uint32(v))
	return rd
}

// String is like 65000:10100 or 192.0.2.1:3.
func (d RD) String() string {
	switch binary.BigEndian.Uint16(d[:]) {
	case 0:
		return fmt.Sprintf("%d:%d", binary.BigEndian.Uint16(d[2:]), binary.BigEndian.Uint32(d[4:]))
	case 1:
		return fmt.Sprintf("%s:%d", netip.AddrFrom4([4]byte(d[2:6])), binary.BigEndian.Uint16(d[6:]))
	case 2:
		return fmt.Sprintf("%d:%d", binary.BigEndian.Uint32(d[2:]), binary.BigEndian.Uint16(d[6:]))
	}
	return fmt.Sprintf("%x", d[:])
}

// Route is a route as BGP carries it: what a row becomes towards EVPN leaves,
// and what they announce.
type Route struct {
	Key
	RD      RD
	Tag     uint32               // Ethernet tag; 0 in the VLAN-based service (RFC 7432 section 6.1)
	VNI     intent.VNI           // the label (RFC 8365 section 5.1.3)
	L3VNI   intent.VNI           // MACIP: MPLS Label2, by which the address is routed (RFC 9135 section 5.1); 0 when it is not
	Targets []intent.RouteTarget // sorted
	VTEP    netip.Addr           // next hop
	Seq     uint32               // MAC mobility sequence number
	Sticky  bool
	Gateway netip.Addr // PREFIX: the overlay index (RFC 9136 section 3.1)
	// RouterMAC is the inner destination MAC of what is routed to the VTEP
	// (RFC 9135 section 8.1), zero when there is none.
	RouterMAC intent.MAC
}

// RouteID identifies a route among those that one speaker announces.
type RouteID struct {
	Key
	RD  RD
	Tag uint32
}

// ID is what identifies the route.
func (r *Route) ID() RouteID { return RouteID{r.Key, r.RD, r.Tag} }
