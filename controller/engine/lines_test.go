package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// The lines of an interconnect are in the states of the switches as long as it has
// them, and one that can't be planned leaves all as it was.
func TestLinesInStates(t *testing.T) {
	u := newUnderlay()
	put := func(o intent.Object) { u.put(o.Ref(), o) }
	put(&intent.Fabric{Metadata: intent.Metadata{Name: intent.FabricName}})
	put(&intent.Node{Metadata: intent.Metadata{Name: "leaf1"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf}})
	put(&intent.Node{Metadata: intent.Metadata{Name: "spine1"}, Spec: intent.NodeSpec{Role: intent.RoleSpine}})
	put(&intent.Link{Metadata: intent.Metadata{Name: "l"}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{{Node: "leaf1", Interface: "eth1"}, {Node: "spine1", Interface: "eth1"}}}})
	dc := &intent.Interconnect{Metadata: intent.Metadata{Name: "dc"}, Spec: intent.InterconnectSpec{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/16")},
		Lines:    []intent.Line{{Name: "private", Node: "leaf1", Interface: "eth9", Address: netip.MustParsePrefix("192.0.2.0/31"), Peer: netip.MustParseAddr("192.0.2.1"), ASN: 4220100001}},
	}}
	_, err := u.plan()
	require.NoError(t, err)
	without := map[string]string{"leaf1": u.states["leaf1"].Hash, "spine1": u.states["spine1"].Hash}
	put(dc)
	changed, err := u.plan()
	require.NoError(t, err)
	require.True(t, changed)
	leaf := u.states["leaf1"].Device
	require.True(t, slices.ContainsFunc(leaf.BGP.Neighbors, func(n device.Neighbor) bool { return n.Address == dc.Spec.Lines[0].Peer }))
	require.True(t, slices.ContainsFunc(leaf.BGP.Neighbors, func(n device.Neighbor) bool { return n.Interface == "eth9" }))
	require.NotEqual(t, without["spine1"], u.states["spine1"].Hash, "it passes the prefixes on")
	with := u.states["leaf1"].Hash

	wrong := *dc
	wrong.Spec.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.254.0.0/18")}
	put(&wrong)
	_, err = u.plan()
	require.EqualError(t, err, "Interconnect dc: spec.prefixes[0]: 10.254.0.0/18 overlaps pool 10.254.0.0/16 of this fabric: both need addresses of their own")
	require.Equal(t, with, u.states["leaf1"].Hash)

	u.put(dc.Ref(), nil)
	changed, err = u.plan()
	require.NoError(t, err)
	require.True(t, changed)
	for n, hash := range without {
		require.Equal(t, hash, u.states[n].Hash, n)
	}
}

// What a border leaf reports of its sessions is how its lines are, as long as it is
// heard.
func TestLinesAreJudgedByReports(t *testing.T) {
	e, pass := routedEngine(t)
	spec := &intent.InterconnectSpec{Lines: []intent.Line{
		{Name: "private", Node: "leaf1", Interface: "eth8", Peer: netip.MustParseAddr("192.0.2.1"), Preference: 200},
		{Name: "vpn", Node: "leaf1", Interface: "eth9", Peer: netip.MustParseAddr("192.0.2.3")},
	}}
	states := func() (out []intent.LineState) {
		for _, v := range intent.LineViews(spec, e.lineSessions) {
			out = append(out, v.State)
		}
		return out
	}
	require.Equal(t, []intent.LineState{intent.LineUnknown, intent.LineUnknown}, states())
	r := routes([]string{"eth1"}, []string{"eth1"})
	r.BGP = []switchstate.BGPSession{{Peer: "192.0.2.1", State: "Active"}, {Peer: "eth8", State: switchstate.Established}, {Peer: "192.0.2.3", State: switchstate.Established}, {Peer: "eth9", State: switchstate.Established}}
	e.report(t, r)
	require.Equal(t, []intent.LineState{intent.LineHeldDown, intent.LineUp}, states())
	r.BGP = r.BGP[:1]
	e.report(t, r)
	require.Equal(t, []intent.LineState{intent.LineDown, intent.LineDown}, states())
	pass(silentAfter + time.Second)
	require.Equal(t, []intent.LineState{intent.LineUnknown, intent.LineUnknown}, states())
}
