package intent

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// RouteTarget is a route target extended community in its wire form (RFC 4360
// section 4, RFC 5668 for four-octet AS numbers).
type RouteTarget [8]byte

// Types of a route target by its administrator, and the subtype.
const (
	rtASN2    = 0x00
	rtIPv4    = 0x01
	rtASN4    = 0x02
	rtSubtype = 0x02
)

// ParseRouteTarget reads ASN:N or IPv4:N. With an AS of two octets N has four,
// else two.
func ParseRouteTarget(s string) (RouteTarget, error) {
	bad := fmt.Errorf("%q is not a route target like 65000:10100 or 192.0.2.1:100", s)
	admin, number, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil {
		return RouteTarget{}, bad
	}
	rt := RouteTarget{1: rtSubtype}
	if a, err := netip.ParseAddr(admin); err == nil && a.Is4() {
		rt[0] = rtIPv4
		b := a.As4()
		copy(rt[2:], b[:])
	} else if as, err := strconv.ParseUint(admin, 10, 32); err != nil {
		return RouteTarget{}, bad
	} else if as <= 0xffff {
		binary.BigEndian.PutUint16(rt[2:], uint16(as))
		binary.BigEndian.PutUint32(rt[4:], uint32(n))
		return rt, nil
	} else {
		rt[0] = rtASN4
		binary.BigEndian.PutUint32(rt[2:], uint32(as))
	}
	if n > 0xffff {
		return RouteTarget{}, fmt.Errorf("%q: %d has no room beside %s: use at most 65535", s, n, admin)
	}
	binary.BigEndian.PutUint16(rt[6:], uint16(n))
	return rt, nil
}

// VNIRouteTarget is the target that is made from a VNI: ASN:VNI, of a larger AS
// its last two octets, as FRR and others make it.
func VNIRouteTarget(asn uint32, v VNI) RouteTarget {
	rt := RouteTarget{1: rtSubtype}
	binary.BigEndian.PutUint16(rt[2:], uint16(asn))
	binary.BigEndian.PutUint32(rt[4:], uint32(v))
	return rt
}

// VNI is the VNI from which the target was made, in the form of VNIRouteTarget
// or in that of RFC 8365 section 5.1.2.1; ok is false when it is neither.
func (t RouteTarget) VNI() (v VNI, ok bool) {
	if t[0] != rtASN2 || t[1] != rtSubtype {
		return 0, false
	}
	n := binary.BigEndian.Uint32(t[4:])
	if n>>28 == 1 { // auto-derived, type VXLAN, domain 0
		n &= 1<<24 - 1
	}
	v = VNI(n)
	return v, v >= 1 && v <= MaxVNI
}

// String is like 65000:10100.
func (t RouteTarget) String() string {
	switch t[0] {
	case rtIPv4:
		return fmt.Sprintf("%s:%d", netip.AddrFrom4([4]byte(t[2:6])), binary.BigEndian.Uint16(t[6:]))
	case rtASN4:
		return fmt.Sprintf("%d:%d", binary.BigEndian.Uint32(t[2:]), binary.BigEndian.Uint16(t[6:]))
	}
	return fmt.Sprintf("%d:%d", binary.BigEndian.Uint16(t[2:]), binary.BigEndian.Uint32(t[4:]))
}
