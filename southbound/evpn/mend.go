package evpn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	table "github.com/weft-sdn/weft/overlay/evpn"
)

// update is an UPDATE of a leaf as GoBGP may see it.
type update struct {
	wire  message // what to pass on; empty when nothing is left
	body  *bgp.BGPUpdate
	lost  int   // routes that were taken as withdrawn, or could not be read
	cause error // why

	gone             []table.RouteID // those that were taken as withdrawn
	unread, unreadUn []string        // NLRI that could not be read, and withdrawals of such
}

// mend reads an UPDATE. What is malformed in it withdraws its routes (RFC 7606
// section 2), single NLRI that can't be read are left out (section 5.4: EVPN
// NLRI have lengths of their own, so the others can be), those of types that
// are not known silently. An error means that not even the routes can be
// found, and the session must end.
func mend(m message) (update, error) {
	body, err := parse(m)
	if err == nil {
		return update{wire: m, body: body}, nil
	}
	u := update{cause: err}
	attributes, err := split(m.body())
	if err != nil {
		return u, err
	}
	var reach, unreach, others []byte
	var nextHop []byte // of MP_REACH: up to the NLRI
	for _, a := range attributes {
		switch v := a.value; {
		case a.kind == bgp.BGP_ATTR_TYPE_MP_REACH_NLRI && evpn(v) && len(v) >= 5+int(v[3]) && nextHop == nil:
			nextHop = v[:5+int(v[3])]
			err = errors.Join(err, u.keep(&reach, v[len(nextHop):], &u.unread))
		case a.kind == bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI && evpn(v):
			err = errors.Join(err, u.keep(&unreach, v[3:], &u.unreadUn))
		case a.kind == bgp.BGP_ATTR_TYPE_MP_REACH_NLRI || a.kind == bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI:
			err = errors.Join(err, fmt.Errorf("%s can't be read", a.kind))
		default:
			others = append(others, a.wire...)
		}
	}
	if err != nil {
		return u, errors.Join(u.cause, err)
	}
	if len(reach) > 0 && u.without(others, append(slices.Clone(nextHop), reach...), unreach) {
		return u.judged(), nil
	}
	u.lost += count(reach)
	if len(reach) > 0 {
		if b, err := parse(appendWithdraw(nil, reach)); err == nil {
			for _, c := range changes(b) {
				u.gone = append(u.gone, c.ID())
			}
		}
	}
	u.wire, u.body = nil, nil
	if gone := append(unreach, reach...); len(gone) > 0 {
		u.wire = appendWithdraw(nil, gone)
		u.body, err = parse(u.wire)
	}
	return u.judged(), err
}

// judged forgets what no route was lost by.
func (u update) judged() update {
	if u.lost == 0 {
		u.cause = nil
	}
	return u
}

// keep adds to list the NLRI of b that GoBGP can read, and those that it can't
// to unread.
func (u *update) keep(list *[]byte, b []byte, unread *[]string) error {
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return errors.New("the NLRI have no proper lengths")
		}
		one := b[:2+int(b[1])]
		b = b[len(one):]
		if _, err := parse(appendWithdraw(nil, one)); err == nil {
			*list = append(*list, one...)
		} else if t := table.RouteType(one[0]); t >= 1 && t <= table.PREFIX {
			u.lost++
			*unread = append(*unread, string(one))
			u.cause = fmt.Errorf("route of type %d: %w", one[0], err)
		}
	}
	return nil
}

// without builds the UPDATE again with what was kept and reports whether it is
// good now.
func (u *update) without(others, reach, unreach []byte) bool {
	wire := message(appendUpdate(nil, func(b []byte) []byte {
		b = append(b, others...)
		if len(unreach) > 0 {
			b = appendAttribute(b, flagsOptional, bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI, append([]byte{0, bgp.AFI_L2VPN, bgp.SAFI_EVPN}, unreach...))
		}
		return appendAttribute(b, flagsOptional, bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, reach)
	}))
	body, err := parse(wire)
	if err != nil {
		u.cause = err
		return false
	}
	u.wire, u.body = wire, body
	return true
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
	for _, a := range u.PathAttributes { // the NLRI must be readable when GoBGP writes them, too
		if r, ok := a.(*bgp.PathAttributeMpReachNLRI); ok {
			for _, n := range r.Value {
				if _, err := n.Serialize(); err != nil {
					return nil, err
				}
			}
		}
	}
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
func split(b []byte) (list []attribute, err error) {
	if len(b) < 4 || binary.BigEndian.Uint16(b) != 0 {
		return nil, errors.New("the UPDATE is of another address family")
	}
	if n := int(binary.BigEndian.Uint16(b[2:])); len(b) != 4+n {
		return nil, errors.New("the UPDATE's attributes have no proper length")
	}
	for b = b[4:]; len(b) > 0; {
		head, n := 3, 0
		if len(b) >= 4 && b[0]&flagExtended != 0 {
			head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
		} else if len(b) >= 3 {
			n = int(b[2])
		}
		if len(b) < head+n {
			// The rest can't be told apart (RFC 7606 section 4).
			return append(list, attribute{kind: 0, wire: b}), nil
		}
		list = append(list, attribute{bgp.BGPAttrType(b[1]), b[:head+n], b[head : head+n]})
		b = b[head+n:]
	}
	return list, nil
}

func evpn(v []byte) bool {
	return len(v) >= 3 && v[0] == 0 && v[1] == bgp.AFI_L2VPN && v[2] == bgp.SAFI_EVPN
}

// count is the number of NLRI in a list whose lengths are right.
func count(b []byte) (n int) {
	for ; len(b) > 0; n++ {
		b = b[2+int(b[1]):]
	}
	return n
}
