package evpn

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// The extended communities of EVPN, by type and subtype.
const (
	communityMobility  = 0x0600 // RFC 7432 section 7.7
	communityRouterMAC = 0x0603 // RFC 9135 section 8.1
	communityEncap     = 0x030c // RFC 9012 section 4.1

	encapVXLAN     = 8
	mobilitySticky = 1
)

const (
	flagsWellKnown  = 0x40
	flagsOptional   = 0x80
	flagsTransitive = 0xc0
	flagPartial     = 0x20
	flagExtended    = 0x10

	headerLen  = 19
	maxMessage = 4096
)

// check says what is wrong with a route that is to be announced.
func check(r *table.Route) error {
	switch {
	case !r.VTEP.IsValid() || r.VTEP.IsUnspecified():
		return fmt.Errorf("route %+v has no VTEP", r.Key)
	case r.VNI > intent.MaxVNI:
		return fmt.Errorf("route %+v has VNI %d", r.Key, r.VNI)
	case !fitsLabel2(r):
		return fmt.Errorf("route %+v has L3VNI %d and router's MAC %s", r.Key, r.L3VNI, r.RouterMAC)
	case len(r.Targets) > 64:
		return fmt.Errorf("route %+v has %d route targets", r.Key, len(r.Targets))
	}
	switch r.Type {
	case table.MACIP:
		return nil
	case table.IMET:
		if r.IP.IsValid() {
			return nil
		}
	case table.PREFIX:
		if r.IP.IsValid() && int(r.Bits) <= r.IP.BitLen() && (!r.Gateway.IsValid() || r.Gateway.Is4() == r.IP.Is4()) {
			return nil
		}
	}
	return fmt.Errorf("route %+v is not complete", r.Key)
}

// appendNLRI appends a route as NLRI: what identifies it, the label (RFC 8365
// section 5.1.3: the VNI itself) and a prefix route's gateway.
func appendNLRI(b []byte, k *table.RouteID, v intent.VNI, gateway netip.Addr) []byte {
	b = append(b, byte(k.Type), 0)
	start := len(b)
	b = append(b, k.RD[:]...)
	if k.Type != table.IMET {
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // ESI
	}
	b = binary.BigEndian.AppendUint32(b, k.Tag)
	switch k.Type {
	case table.MACIP:
		b = append(append(b, 48), k.MAC[:]...)
		b = appendAddr(append(b, byte(k.IP.BitLen())), k.IP)
		b = appendLabel(b, v)
	case table.IMET:
		b = appendAddr(append(b, byte(k.IP.BitLen())), k.IP)
	case table.PREFIX:
		b = appendAddr(append(b, k.Bits), k.IP)
		if gateway.IsValid() {
			b = appendAddr(b, gateway)
		} else {
			b = append(b, make([]byte, k.IP.BitLen()/8)...)
		}
		b = appendLabel(b, v)
	}
	b[start-1] = byte(len(b) - start)
	return b
}

func appendLabel(b []byte, v intent.VNI) []byte { return append(b, byte(v>>16), byte(v>>8), byte(v)) }

// appendAddr appends 0, 4 or 16 octets.
func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		o := a.As4()
		return append(b, o[:]...)
	case a.IsValid():
		o := a.As16()
		return append(b, o[:]...)
	}
	return b
}

// alike reports whether two routes have the same path attributes but for the
// NLRI, and so fit into one UPDATE.
func alike(a, b *table.Route) bool {
	return a.Type == b.Type && a.VTEP == b.VTEP && a.Seq == b.Seq && a.Sticky == b.Sticky && a.RouterMAC == b.RouterMAC &&
		(a.Type != table.IMET || a.VNI == b.VNI) && slices.Equal(a.Targets, b.Targets)
}

// appendAttribute appends a path attribute with a length of two octets.
func appendAttribute(b []byte, flags byte, t bgp.BGPAttrType, value []byte) []byte {
	b = append(b, flags|flagExtended, byte(t))
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// appendOthers appends a route's path attributes but for MP_REACH_NLRI. To
// external peers an AS is prepended, and there is no LOCAL_PREF (RFC 4271 section
// 5.1.5).
func appendOthers(b []byte, r *table.Route, prepend uint32) []byte {
	b = append(b, flagsWellKnown, byte(bgp.BGP_ATTR_TYPE_ORIGIN), 1, 0)
	if prepend != 0 {
		b = append(b, flagsWellKnown, byte(bgp.BGP_ATTR_TYPE_AS_PATH), 6, bgp.BGP_ASPATH_ATTR_TYPE_SEQ, 1)
		b = binary.BigEndian.AppendUint32(b, prepend)
	} else {
		b = append(b, flagsWellKnown, byte(bgp.BGP_ATTR_TYPE_AS_PATH), 0)
		b = append(b, flagsWellKnown, byte(bgp.BGP_ATTR_TYPE_LOCAL_PREF), 4, 0, 0, 0, 100)
	}

	b = append(b, flagsTransitive|flagExtended, byte(bgp.BGP_ATTR_TYPE_EXTENDED_COMMUNITIES), 0, 0)
	start := len(b)
	for _, t := range r.Targets {
		b = append(b, t[:]...)
	}
	b = append(b, communityEncap>>8, communityEncap&0xff, 0, 0, 0, 0, 0, encapVXLAN)
	if r.Seq != 0 || r.Sticky {
		flags := byte(0)
		if r.Sticky {
			flags = mobilitySticky
		}
		b = append(b, communityMobility>>8, communityMobility&0xff, flags, 0)
		b = binary.BigEndian.AppendUint32(b, r.Seq)
	}
	if r.RouterMAC != (intent.MAC{}) {
		b = append(append(b, communityRouterMAC>>8, communityRouterMAC&0xff), r.RouterMAC[:]...)
	}
	binary.BigEndian.PutUint16(b[start-2:], uint16(len(b)-start))

	if r.Type == table.IMET { // ingress replication (RFC 8365 section 5.1.3)
		b = append(b, flagsTransitive, byte(bgp.BGP_ATTR_TYPE_PMSI_TUNNEL), byte(5+r.VTEP.BitLen()/8), 0, byte(bgp.PMSI_TUNNEL_TYPE_INGRESS_REPL))
		b = appendAddr(appendLabel(b, r.VNI), r.VTEP)
	}
	return b
}

// appendUpdate appends an UPDATE message with the path attributes that fill
// appends.
func appendUpdate(b []byte, fill func([]byte) []byte) []byte {
	start := len(b)
	b = appendHeader(b, bgp.BGP_MSG_UPDATE)
	b = append(b, 0, 0, 0, 0) // no IPv4 routes withdrawn; length of the attributes
	attributes := len(b)
	b = fill(b)
	binary.BigEndian.PutUint16(b[attributes-2:], uint16(len(b)-attributes))
	return finish(b, start)
}

// appendWithdraw appends the UPDATE that withdraws NLRI; without any it is the
// End-of-RIB marker (RFC 4724 section 2).
func appendWithdraw(b, nlri []byte) []byte {
	return appendUpdate(b, func(b []byte) []byte {
		b = append(b, flagsOptional|flagExtended, byte(bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI))
		b = binary.BigEndian.AppendUint16(b, uint16(3+len(nlri)))
		b = append(b, 0, bgp.AFI_L2VPN, bgp.SAFI_EVPN)
		return append(b, nlri...)
	})
}
