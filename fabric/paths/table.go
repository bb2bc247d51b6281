package paths

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// table finds the longest prefix.
type table map[netip.Prefix]*switchstate.Group

func tableOf(groups []switchstate.Group) table {
	t := table{}
	for i := range groups {
		for _, p := range groups[i].Prefixes {
			t[p] = &groups[i]
		}
	}
	return t
}

// find returns the group of the longest prefix that has an address, nil when none has.
func (t table) find(a netip.Addr) (netip.Prefix, *switchstate.Group) {
	for bits := a.BitLen(); bits >= 0; bits-- {
		p, err := a.Prefix(bits)
		if err != nil {
			return netip.Prefix{}, nil
		}
		if g := t[p]; g != nil {
			return p, g
		}
	}
	return netip.Prefix{}, nil
}

func compareEnds(a, b topology.End) int {
	return cmp.Or(strings.Compare(a.Node, b.Node), cmp.Compare(len(a.Interface), len(b.Interface)), strings.Compare(a.Interface, b.Interface))
}
