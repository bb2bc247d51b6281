package evpn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// Communities of RFC 9494.
const (
	communityStale   = 0xffff0006 // LLGR_STALE
	communityNoStale = 0xffff0007 // NO_LLGR
)

// attributes is a set of path attributes, as many routes share it. It does not
// change.
type attributes struct {
	wire string // next hop with its length, then the other attributes as they are sent
	id   uint32 // in the table; 0 outside
	refs int    // paths in the table that have it

	// What the choice of the best path looks at, beside Seq and Sticky.
	pref, med    uint32
	path         int // AS numbers in AS_PATH (RFC 4271 section 9.1.2.2 (a))
	neighbor     uint32
	origin       byte
	clusters     int
	originator   [4]byte
	stale        bool // it carries LLGR_STALE
	noStale      bool // and NO_LLGR
	vxlan        bool // and the encapsulation is VXLAN: others are not told of, nothing can be sent to them
	sticky       bool
	routerMAC    intent.MAC
	seq          uint32
	multicastVNI intent.VNI
}

// others are the attributes but for MP_REACH_NLRI.
func (a *attributes) others() string { return a.wire[1+a.wire[0]:] }

// common is what the set says of each route that has it.
func (a *attributes) common() (r table.Route) {
	r.VTEP = a.nextHop()
	r.Seq, r.Sticky, r.RouterMAC, r.VNI = a.seq, a.sticky, a.routerMAC, a.multicastVNI
	var room [16]attribute
	for _, x := range splitAttributes(room[:0], []byte(a.others())) {
		if x.kind == bgp.BGP_ATTR_TYPE_EXTENDED_COMMUNITIES {
			r.Targets = targets(x.value)
		}
	}
	return r
}

// targets are the route targets among extended communities, sorted.
func targets(v []byte) (list []intent.RouteTarget) {
	n := 0
	for c := v; len(c) >= 8; c = c[8:] {
		if c[0] <= 2 && c[1] == 2 {
			n++
		}
	}
	list = slices.Grow(list, n)
	for ; len(v) >= 8; v = v[8:] {
		if v[0] <= 2 && v[1] == 2 {
			list = append(list, intent.RouteTarget(v))
		}
	}
	slices.SortFunc(list, func(x, y intent.RouteTarget) int { return slices.Compare(x[:], y[:]) })
	return list
}

// known are the attributes that this speaker recognises, by type. Of others the
// transitive ones are passed on (RFC 4271 section 5).
var known = func() (list [256]bool) {
	for _, t := range []bgp.BGPAttrType{bgp.BGP_ATTR_TYPE_ORIGIN, bgp.BGP_ATTR_TYPE_AS_PATH, bgp.BGP_ATTR_TYPE_MULTI_EXIT_DISC, bgp.BGP_ATTR_TYPE_LOCAL_PREF,
		bgp.BGP_ATTR_TYPE_ATOMIC_AGGREGATE, bgp.BGP_ATTR_TYPE_AGGREGATOR, bgp.BGP_ATTR_TYPE_COMMUNITIES, bgp.BGP_ATTR_TYPE_ORIGINATOR_ID,
		bgp.BGP_ATTR_TYPE_CLUSTER_LIST, bgp.BGP_ATTR_TYPE_EXTENDED_COMMUNITIES, bgp.BGP_ATTR_TYPE_PMSI_TUNNEL, bgp.BGP_ATTR_TYPE_TUNNEL_ENCAP,
		bgp.BGP_ATTR_TYPE_IP6_EXTENDED_COMMUNITIES, bgp.BGP_ATTR_TYPE_AIGP, bgp.BGP_ATTR_TYPE_LARGE_COMMUNITY} {
		list[t] = true
	}
	return list
}()

// The attributes that end here: NEXT_HOP says nothing beside MP_REACH_NLRI (RFC
// 4760 section 3), the AS4 ones nothing between speakers of four-octet AS
// numbers (RFC 6793 section 4.1).
func endsHere(t bgp.BGPAttrType) bool {
	return t == bgp.BGP_ATTR_TYPE_NEXT_HOP || t == bgp.BGP_ATTR_TYPE_AS4_PATH || t == bgp.BGP_ATTR_TYPE_AS4_AGGREGATOR
}

// reflected appends the wire form of attributes that a client sent, as they go
// to the others: with its ORIGINATOR_ID and our CLUSTER_LIST (RFC 4456 section
// 8), each once, and with what is not recognised marked partial. loop is true
// when the route has been here before.
func reflected(b []byte, nextHop []byte, list []attribute, originator, cluster [4]byte) (out []byte, loop bool) {
	b = append(append(b, byte(len(nextHop))), nextHop...)
	var seen [256]bool
	for _, a := range list {
		if seen[a.kind] || endsHere(a.kind) || !known[a.kind] && a.wire[0]&flagsTransitive != flagsTransitive {
			continue
		}
		seen[a.kind] = true
		switch {
		case a.kind == bgp.BGP_ATTR_TYPE_ORIGINATOR_ID:
			loop = loop || string(a.value) == string(cluster[:])
		case a.kind == bgp.BGP_ATTR_TYPE_CLUSTER_LIST:
			for v := a.value; len(v) >= 4; v = v[4:] {
				loop = loop || string(v[:4]) == string(cluster[:])
			}
			b = appendAttribute(b, flagsOptional, a.kind, append(cluster[:len(cluster):len(cluster)], a.value...))
			continue
		}
		start := len(b)
		if b = append(b, a.wire...); !known[a.kind] {
			b[start] |= flagPartial
		}
	}
	if !seen[bgp.BGP_ATTR_TYPE_ORIGINATOR_ID] {
		b = append(append(b, flagsOptional, byte(bgp.BGP_ATTR_TYPE_ORIGINATOR_ID), 4), originator[:]...)
	}
	if !seen[bgp.BGP_ATTR_TYPE_CLUSTER_LIST] {
		b = append(append(b, flagsOptional, byte(bgp.BGP_ATTR_TYPE_CLUSTER_LIST), 4), cluster[:]...)
	}
	return b, loop
}

// own appends the wire form of the attributes of a route that the controller
// originates.
func own(b []byte, r *table.Route, prepend uint32) []byte {
	b = appendAddr(append(b, byte(r.VTEP.BitLen()/8)), r.VTEP)
	return appendOthers(b, r, prepend)
}

// judge reads attributes that were not seen before. It returns those that count:
// RFC 7606 has malformed ones of some types left out.
func judge(nextHop []byte, list []attribute) ([]attribute, error) {
	switch len(nextHop) {
	case 4, 16, 32:
	default:
		return nil, fmt.Errorf("the next hop has %d octets", len(nextHop))
	}
	if plain(list) {
		return list, nil
	}
	return judgeAll(nextHop, list)
}

// plain reports whether attributes are good that are of the usual types and
// simple: those of almost all routes. Others GoBGP has to read.
func plain(list []attribute) bool {
	var seen [bgp.BGP_ATTR_TYPE_PMSI_TUNNEL + 1]bool
	for _, a := range list {
		if a.kind > bgp.BGP_ATTR_TYPE_PMSI_TUNNEL || seen[a.kind] {
			return false
		}
		seen[a.kind] = true
		flags, n := a.wire[0]&^flagExtended, len(a.value)
		good := false
		switch a.kind {
		case bgp.BGP_ATTR_TYPE_ORIGIN:
			good = flags == flagsWellKnown && n == 1 && a.value[0] <= 2
		case bgp.BGP_ATTR_TYPE_AS_PATH:
			good = flags == flagsWellKnown && n == 0
		case bgp.BGP_ATTR_TYPE_LOCAL_PREF:
			good = flags == flagsWellKnown && n == 4
		case bgp.BGP_ATTR_TYPE_MULTI_EXIT_DISC, bgp.BGP_ATTR_TYPE_ORIGINATOR_ID:
			good = flags == flagsOptional && n == 4
		case bgp.BGP_ATTR_TYPE_CLUSTER_LIST:
			good = flags == flagsOptional && n > 0 && n%4 == 0
		case bgp.BGP_ATTR_TYPE_COMMUNITIES:
			good = flags == flagsTransitive && n > 0 && n%4 == 0
		case bgp.BGP_ATTR_TYPE_EXTENDED_COMMUNITIES:
			good = flags == flagsTransitive && n > 0 && n%8 == 0
		case bgp.BGP_ATTR_TYPE_PMSI_TUNNEL:
			good = flags == flagsTransitive && (n == 5+4 || n == 5+16) && a.value[1] == byte(bgp.PMSI_TUNNEL_TYPE_INGRESS_REPL)
		}
		if !good {
			return false
		}
	}
	return seen[bgp.BGP_ATTR_TYPE_ORIGIN] && seen[bgp.BGP_ATTR_TYPE_AS_PATH]
}

// harmless is an NLRI to read attributes with: an IMET route.
var harmless = []byte{3, 17, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 32, 192, 0, 2, 1}

// judgeAll has GoBGP read attributes.
func judgeAll(nextHop []byte, list []attribute) ([]attribute, error) {
	body, err := parse(appendUpdate(nil, func(b []byte) []byte {
		for _, a := range list {
			if !endsHere(a.kind) {
				b = append(b, a.wire...)
			}
		}
		v := append([]byte{0, bgp.AFI_L2VPN, bgp.SAFI_EVPN, byte(len(nextHop))}, nextHop...)
		return appendAttribute(b, flagsOptional, bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, append(append(v, 0), harmless...))
	}))
	if err != nil {
		return nil, err
	}
	var stay [256]bool
	for _, a := range body.PathAttributes {
		stay[a.GetType()] = true
	}
	return slices.DeleteFunc(list, func(a attribute) bool { return !stay[a.kind] }), nil
}

// understand makes a set of its wire form, which is good.
func understand(wire []byte) (*attributes, error) {
	if len(wire) > maxMessage-headerLen-4-4-5-mostNLRI {
		return nil, errors.New("the attributes are too long to be handed on")
	}
	a := &attributes{wire: string(wire), pref: 100, vxlan: true}
	others := wire[1+wire[0]:]
	var room [16]attribute
	for _, x := range splitAttributes(room[:0], others) {
		v := x.value
		switch {
		case x.kind == bgp.BGP_ATTR_TYPE_ORIGIN && len(v) == 1:
			a.origin = v[0]
		case x.kind == bgp.BGP_ATTR_TYPE_AS_PATH:
			a.readPath(v)
		case x.kind == bgp.BGP_ATTR_TYPE_LOCAL_PREF && len(v) == 4:
			a.pref = word(v)
		case x.kind == bgp.BGP_ATTR_TYPE_MULTI_EXIT_DISC && len(v) == 4:
			a.med = word(v)
		case x.kind == bgp.BGP_ATTR_TYPE_ORIGINATOR_ID && len(v) == 4:
			a.originator = [4]byte(v)
		case x.kind == bgp.BGP_ATTR_TYPE_CLUSTER_LIST:
			a.clusters = len(v) / 4
		case x.kind == bgp.BGP_ATTR_TYPE_COMMUNITIES:
			for ; len(v) >= 4; v = v[4:] {
				a.stale = a.stale || word(v) == communityStale
				a.noStale = a.noStale || word(v) == communityNoStale
			}
		case x.kind == bgp.BGP_ATTR_TYPE_EXTENDED_COMMUNITIES:
			a.readCommunities(v)
		case x.kind == bgp.BGP_ATTR_TYPE_PMSI_TUNNEL && len(v) >= 5:
			a.multicastVNI = label(v[2:])
		}
	}
	return a, nil
}

// readPath reads an AS_PATH of four-octet AS numbers.
func (a *attributes) readPath(v []byte) {
	for first := true; len(v) >= 2 && len(v) >= 2+4*int(v[1]); first = false {
		n := int(v[1])
		switch v[0] {
		case bgp.BGP_ASPATH_ATTR_TYPE_SEQ:
			if a.path += n; first && n > 0 {
				a.neighbor = word(v[2:])
			}
		case bgp.BGP_ASPATH_ATTR_TYPE_SET:
			a.path++
		}
		v = v[2+4*n:]
	}
}

// passed reports whether an AS is in an AS_PATH of four-octet AS numbers: the
// route was there before (RFC 4271 section 9.1.2).
func passed(v []byte, asn uint32) bool {
	for len(v) >= 2 && len(v) >= 2+4*int(v[1]) {
		n := int(v[1])
		for i := range n {
			if word(v[2+4*i:]) == asn {
				return true
			}
		}
		v = v[2+4*n:]
	}
	return false
}

// readCommunities reads the extended communities in use but for route targets.
// The encapsulation is VXLAN when none is given.
func (a *attributes) readCommunities(v []byte) {
	encaps, ours := 0, 0
	for ; len(v) >= 8; v = v[8:] {
		switch binary.BigEndian.Uint16(v) {
		case communityEncap:
			encaps++
			if binary.BigEndian.Uint16(v[6:]) == encapVXLAN {
				ours++
			}
		case communityMobility:
			a.sticky, a.seq = v[2]&mobilitySticky != 0, word(v[4:])
		case communityRouterMAC:
			a.routerMAC = intent.MAC(v[2:8])
		}
	}
	a.vxlan = encaps == 0 || ours > 0
}

// lasting returns the wire form of the set with LLGR_STALE among its
// communities (RFC 9494 section 4.2).
func (a *attributes) lasting() []byte {
	b := []byte(a.wire[:len(a.wire)-len(a.others())])
	communities := binary.BigEndian.AppendUint32(nil, communityStale)
	for _, x := range splitAttributes(nil, []byte(a.others())) {
		if x.kind == bgp.BGP_ATTR_TYPE_COMMUNITIES {
			communities = append(communities, x.value...)
			continue
		}
		b = append(b, x.wire...)
	}
	return appendAttribute(b, flagsTransitive, bgp.BGP_ATTR_TYPE_COMMUNITIES, communities)
}

// better says whether a path wins over another for the same route: by what MAC
// mobility says (RFC 7432 sections 7.7 and 15.2), as other speakers put it
// first too, then as RFC 4271 section 9.1.2.2 and RFC 4456 section 9 have it. A
// route that is kept as a last resort loses to any other (RFC 9494 section 4.3).
func (a *attributes) better(b *attributes) (wins, equal bool) {
	less := func(x, y uint32) (bool, bool) { return x < y, false }
	switch {
	case a.stale != b.stale:
		return b.stale, false
	case a.sticky != b.sticky:
		return a.sticky, false
	case a.seq != b.seq:
		return less(b.seq, a.seq)
	case a.pref != b.pref:
		return less(b.pref, a.pref)
	case a.path != b.path:
		return a.path < b.path, false
	case a.origin != b.origin:
		return a.origin < b.origin, false
	case a.neighbor == b.neighbor && a.med != b.med:
		return less(a.med, b.med)
	case a.originator != b.originator:
		return string(a.originator[:]) < string(b.originator[:]), false
	case a.clusters != b.clusters:
		return a.clusters < b.clusters, false
	}
	return false, true
}
