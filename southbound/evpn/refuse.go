package evpn

import (
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	table "github.com/weft-sdn/weft/overlay/evpn"
)

// without returns an UPDATE in which some routes are withdrawn that it announces:
// one message, or two. The UPDATE must be readable.
func (m message) without(refused map[table.RouteID]bool) (message, error) {
	attributes, err := split(m.body())
	if err != nil {
		return nil, err
	}
	var others, nextHop, keep, gone []byte
	for _, a := range attributes {
		if a.kind != bgp.BGP_ATTR_TYPE_MP_REACH_NLRI {
			others = append(others, a.wire...)
			continue
		}
		nextHop = a.value[:5+int(a.value[3])]
		for b := a.value[len(nextHop):]; len(b) > 0; {
			one := b[:2+int(b[1])]
			b = b[len(one):]
			id, err := routeID(one)
			if err != nil {
				return nil, err
			}
			if refused[id] {
				gone = append(gone, one...)
			} else {
				keep = append(keep, one...)
			}
		}
	}
	out := appendWithdraw(nil, gone)
	if len(keep) > 0 {
		out = appendUpdate(out, func(b []byte) []byte {
			return appendAttribute(append(b, others...), flagsOptional, bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, append(nextHop[:len(nextHop):len(nextHop)], keep...))
		})
		return out, nil
	}
	for _, a := range attributes {
		if a.kind == bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI && len(a.value) > 3 {
			out = appendWithdraw(out, a.value[3:])
		}
	}
	return out, nil
}

// routeID reads what identifies a single NLRI; the zero value for a type that is
// not in use.
func routeID(nlri []byte) (id table.RouteID, err error) {
	b, err := parse(appendWithdraw(nil, nlri))
	if err != nil {
		return id, err
	}
	for _, c := range changes(b) {
		id = c.ID()
	}
	return id, nil
}
