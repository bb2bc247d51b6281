package linux

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRepairs(t *testing.T) {
	left := view{"br100": {"MTU 1500"}, "vx100": {"MTU 1500", "TOS 8", "learning off", "master br100"}, "eth5": {"master br100"}}
	with := func(change func(view)) view {
		v := view{}
		for name, a := range left {
			v[name] = a
		}
		change(v)
		return v
	}
	for name, c := range map[string]struct {
		found, now view
		want       []string
	}{
		"nothing":          {left, left, nil},
		"a bridge removed": {with(func(v view) { delete(v, "br100") }), left, []string{"interface br100: was missing; made again"}},
		"a port released":  {with(func(v view) { delete(v, "eth5") }), left, []string{"interface eth5: was not in its bridge or VRF; put back (master br100)"}},
		"attributes": {with(func(v view) { v["vx100"] = []string{"MTU 1400", "TOS 8", "learning on", "master br100"} }), left,
			[]string{"interface vx100: had MTU 1400, learning on; set back to MTU 1500, learning off"}},
		"an attribute too many": {with(func(v view) { v["br100"] = []string{"MTU 1500", "mcast_snooping on"} }), left,
			[]string{"interface br100: had mcast_snooping on; set back to no such attribute"}},
		"an attribute too few": {with(func(v view) { v["vx100"] = []string{"MTU 1500", "TOS 8", "learning off"} }), left,
			[]string{"interface vx100: had no such attribute; set back to master br100"}},
		"a stranger in the bridge": {with(func(v view) { v["other0"] = []string{"master br100"} }), left,
			[]string{"interface other0: was added (master br100); taken out"}},
		"what is not mended is not told": {with(func(v view) { delete(v, "br100") }), with(func(v view) { delete(v, "br100") }), nil},
		"a stranger that stays":          {with(func(v view) { v["other0"] = []string{"master br100"} }), with(func(v view) { v["other0"] = []string{"master br100"} }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, repairs(left, c.found, c.now))
			require.Equal(t, name == "nothing", left.equal(c.found))
		})
	}
}
