package evpn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	table "github.com/weft-sdn/weft/overlay/evpn"
)

// update is what an UPDATE of a leaf says. The NLRI are lists of such that can be
// read.
type update struct {
	attrs   *attributes // of what is announced; nil when nothing is
	reach   []byte      // announced
	unreach []byte      // withdrawn, or taken as withdrawn
	end     bool        // it is the End-of-RIB marker

	lost  int   // routes that were taken as withdrawn, or could not be read
	cause error // why

	gone             []byte   // of unreach, those that were announced in error
	unread, unreadUn []string // NLRI that could not be read, and withdrawals of such
}

// intake reads the UPDATEs of a leaf.
type intake struct {
	originator, cluster [4]byte                       // the leaf's BGP identifier, our cluster ID
	asn                 uint32                        // ours, towards external peers; else 0
	lookup              func(wire []byte) *attributes // finds a set that was read before
	wire                []byte
	list                []attribute
}

// read reads an UPDATE, whose octets it uses on. What is malformed in it
// withdraws its routes (RFC 7606 section 2), single NLRI that can't be read are
// left out (section 5.4: EVPN NLRI have lengths of their own, so the others can
// be), those of types that are not known silently. An error means that not even
// the routes can be found, and the session must end.
func (x *intake) read(m message) (u update, err error) {
	if x.list, err = split(x.list[:0], m.body()); err != nil {
		return u, err
	}
	var nextHop []byte
	var reached, unreached bool
	var broken error
	others := x.list[:0]
	for _, a := range x.list {
		switch v := a.value; {
		case a.kind == 0:
			broken = errors.New("an attribute is longer than the UPDATE")
		case a.kind == bgp.BGP_ATTR_TYPE_MP_REACH_NLRI && evpn(v) && len(v) >= 5 && len(v) >= 5+int(v[3]) && !reached:
			reached = true
			nextHop = v[4 : 4+int(v[3])]
			if a.wire[0]&flagsTransitive != flagsOptional {
				broken = errors.New("MP_REACH_NLRI has wrong flags")
			}
			u.reach, err = u.keep(v[5+len(nextHop):], &u.unread)
		case a.kind == bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI && evpn(v) && !unreached:
			unreached = true
			u.end = len(v) == 3 && len(x.list) == 1
			u.unreach, err = u.keep(v[3:], &u.unreadUn)
		case a.kind == bgp.BGP_ATTR_TYPE_MP_REACH_NLRI || a.kind == bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI:
			err = fmt.Errorf("%s can't be read", a.kind)
		default:
			others = append(others, a)
		}
		if err != nil {
			return u, err
		}
	}
	if len(u.reach) == 0 {
		return u, nil
	}
	loop := false
	if err = broken; err == nil {
		loop, err = x.attributes(&u, nextHop, others)
	}
	if !loop && err == nil {
		return u, nil
	}
	u.unreach = append(slices.Clone(u.unreach), u.reach...)
	if err != nil {
		u.gone, u.cause = u.unreach[len(u.unreach)-len(u.reach):], err
		u.lost += count(u.reach)
	}
	u.reach, u.attrs = nil, nil
	return u, nil
}

// attributes finds or makes the set of what is announced. loop is true when the
// routes were here before.
func (x *intake) attributes(u *update, nextHop []byte, others []attribute) (loop bool, err error) {
	for _, a := range others {
		if a.kind == bgp.BGP_ATTR_TYPE_AS_PATH && x.asn != 0 && passed(a.value, x.asn) {
			return true, nil
		}
	}
	x.wire, loop = reflected(x.wire[:0], nextHop, others, x.originator, x.cluster)
	if u.attrs = x.lookup(x.wire); u.attrs != nil {
		return loop, nil
	}
	good, err := judge(nextHop, others)
	if err != nil {
		return false, err
	}
	if len(good) != len(others) {
		x.wire, loop = reflected(x.wire[:0], nextHop, good, x.originator, x.cluster)
	}
	u.attrs, err = understand(x.wire)
	return loop, err
}

// keep returns the NLRI of a list that can be read; those that can't go to
// unread.
func (u *update) keep(b []byte, unread *[]string) ([]byte, error) {
	all, good := b, 0 // the first octets, as long as there is nothing to leave out
	var kept []byte
	for len(b) > 0 {
		one, rest, err := cut(b)
		if err != nil {
			return nil, err
		}
		b = rest
		known, err := readable(one)
		switch {
		case known && err == nil:
			nlri(one).canonical()
			if kept == nil && good == len(all)-len(b)-len(one) {
				good += len(one)
				continue
			}
			if kept == nil {
				kept = slices.Clone(all[:good])
			}
			kept = append(kept, one...)
		case known:
			u.lost++
			u.cause = err
			*unread = append(*unread, string(one))
		}
	}
	if kept == nil {
		return all[:good], nil
	}
	return kept, nil
}

// count is the number of NLRI in a list whose lengths are right.
func count(b []byte) (n int) {
	for ; len(b) > 0; n++ {
		b = b[2+int(b[1]):]
	}
	return n
}

// families is what ValidateUpdateMsg may find in an UPDATE.
var families = map[bgp.RouteFamily]bgp.BGPAddPathMode{family: bgp.BGP_ADD_PATH_NONE}

// parse reads an UPDATE as GoBGP does. Attributes that RFC 7606 has discarded
// are no error.
func parse(m message) (u *bgp.BGPUpdate, err error) {
	defer recovered(&err)
	p, err := bgp.ParseBGPBody(&bgp.BGPHeader{Len: uint16(len(m)), Type: bgp.BGP_MSG_UPDATE}, m.body())
	if err != nil && !discarded(err) {
		return nil, err
	}
	u = p.Body.(*bgp.BGPUpdate)
	if ok, err := bgp.ValidateUpdateMsg(u, families, false, false, true); !ok && !discarded(err) {
		return nil, err
	}
	return u, nil
}

func discarded(err error) bool {
	var e *bgp.MessageError
	return errors.As(err, &e) && e.ErrorHandling == bgp.ERROR_HANDLING_ATTRIBUTE_DISCARD
}

// attribute is a path attribute as it came.
type attribute struct {
	kind        bgp.BGPAttrType
	wire, value []byte
}

// split finds the path attributes of an UPDATE's body without reading them.
func split(list []attribute, b []byte) ([]attribute, error) {
	if len(b) < 4 || binary.BigEndian.Uint16(b) != 0 {
		return nil, errors.New("the UPDATE is of another address family")
	}
	if n := int(binary.BigEndian.Uint16(b[2:])); len(b) != 4+n {
		return nil, errors.New("the UPDATE's attributes have no proper length")
	}
	return splitAttributes(list, b[4:]), nil
}

// splitAttributes finds the attributes of a list. Where they can't be told apart
// any longer (RFC 7606 section 4), the rest is one of the kind 0.
func splitAttributes(list []attribute, b []byte) []attribute {
	for len(b) > 0 {
		head, n := 3, 0
		if len(b) >= 4 && b[0]&flagExtended != 0 {
			head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
		} else if len(b) >= 3 {
			n = int(b[2])
		}
		if len(b) < head+n {
			return append(list, attribute{kind: 0, wire: b})
		}
		list = append(list, attribute{bgp.BGPAttrType(b[1]), b[:head+n], b[head : head+n]})
		b = b[head+n:]
	}
	return list
}

func evpn(v []byte) bool {
	return len(v) >= 3 && v[0] == 0 && v[1] == bgp.AFI_L2VPN && v[2] == bgp.SAFI_EVPN
}

// Change is a route that a leaf announces or withdraws. Of a withdrawn route
// only what identifies it is set.
type Change struct {
	table.Route
	Withdrawn bool
}

// read fills in what an NLRI says of the route.
func (c *Change) read(n nlri) bool {
	if n.kind() != byte(table.IMET) {
		c.VNI = 0
	}
	return n.read(&c.Route)
}
