package fabric_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/device"
)

func allStates(t *testing.T, f *fabric.Facts) map[string]device.State {
	t.Helper()
	out := map[string]device.State{}
	for _, n := range f.Nodes {
		if n.Role.Switch() {
			s, err := fabric.Device(f, n.Name)
			require.NoError(t, err)
			out[n.Name] = s
		}
	}
	return out
}

// changes are the changes in short: "leaf1 changed; renumbered; details; sessions".
func changes(before, after map[string]device.State) []string {
	var out []string
	for _, c := range fabric.Compare(before, after) {
		var ss []string
		for _, s := range c.Sessions {
			ss = append(ss, strings.TrimRight(fmt.Sprint(s.Peer, " ", s.Fate, ", ", s.Why), ", "))
		}
		out = append(out, strings.TrimRight(fmt.Sprintf("%s %s; %s; %s; %s", c.Node, c.Kind,
			strings.Join(c.Renumbered, ", "), strings.Join(c.Details, ", "), strings.Join(ss, ", ")), "; "))
	}
	return out
}

func TestCompare(t *testing.T) {
	base := []string{"leaf1:eth1 spine1:eth1", "leaf1:eth2 spine2:eth1", "leaf2:eth1 spine1:eth2", "leaf2:eth2 spine2:eth2"}
	plan := func(p fabric.Params, cables ...string) map[string]device.State {
		f, err := fabric.Plan(graph(cables...), p)
		require.NoError(t, err)
		return allStates(t, f)
	}
	before := plan(fabric.Params{}, base...)
	drained := plan(fabric.Params{}, base...)
	s := drained["spine1"]
	s.Drained = true
	drained["spine1"] = s
	for _, c := range []struct {
		name  string
		after map[string]device.State
		want  []string
	}{
		{"nothing", plan(fabric.Params{}, base...), nil},
		{"a leaf more", plan(fabric.Params{}, append(base, "leaf3:eth1 spine1:eth3", "leaf3:eth2 spine2:eth3")...), []string{
			"leaf3 added; ; ; spine1:eth3 comes, spine2:eth3 comes",
			"spine1 changed; ; port eth3 to leaf3:eth1 comes; leaf3:eth1 comes",
			"spine2 changed; ; port eth3 to leaf3:eth2 comes; leaf3:eth2 comes"}},
		{"a link less", plan(fabric.Params{}, base[:3]...), []string{
			"leaf2 changed; ; port eth2 to spine2:eth2 goes; spine2:eth2 goes",
			"spine2 changed; ; port eth2 to leaf2:eth2 goes; leaf2:eth2 goes"}},
		{"drained", drained, []string{"spine1 changed; ; is drained: the others use the ways around it"}},
		{"timers", plan(fabric.Params{Timers: fabric.Timers{Keepalive: 1, Hold: 3}}, base[:4]...), []string{
			"leaf1 changed; ; timers 3 9 become 1 3, of each session when it is next made", "leaf2 changed; ; timers 3 9 become 1 3, of each session when it is next made",
			"spine1 changed; ; timers 3 9 become 1 3, of each session when it is next made", "spine2 changed; ; timers 3 9 become 1 3, of each session when it is next made"}},
		{"ASNs of leaves", plan(fabric.Params{ASNs: fabric.ASNs{Leaf: 4200200001}}, base...), []string{
			"leaf1 changed; ASN 4200100001 becomes 4200200001; ; spine1:eth1 flaps, the own ASN 4200100001 becomes 4200200001, spine2:eth1 flaps, the own ASN 4200100001 becomes 4200200001",
			"leaf2 changed; ASN 4200100002 becomes 4200200002; ; spine1:eth2 flaps, the own ASN 4200100002 becomes 4200200002, spine2:eth2 flaps, the own ASN 4200100002 becomes 4200200002",
			"spine1 changed; ; ; leaf1:eth1 flaps, the neighbour's ASN 4200100001 becomes 4200200001, leaf2:eth1 flaps, the neighbour's ASN 4200100002 becomes 4200200002",
			"spine2 changed; ; ; leaf1:eth2 flaps, the neighbour's ASN 4200100001 becomes 4200200001, leaf2:eth2 flaps, the neighbour's ASN 4200100002 becomes 4200200002"}},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, changes(before, c.after)) })
	}

	// A leaf before the others renumbers them, and it is said.
	moved := strings.Join(changes(before, plan(fabric.Params{}, append([]string{"leaf0:eth1 spine1:eth9", "leaf0:eth2 spine2:eth9"}, base...)...)), "\n")
	require.Contains(t, moved, "leaf1 changed; ASN 4200100001 becomes 4200100002, router ID 10.255.0.1 becomes 10.255.0.2, address of lo 10.255.0.1/32 becomes 10.255.0.2/32")
	require.Regexp(t, `address of eth1 10\.192\S+ becomes 10\.192`, moved)

	// Another protocol: all sessions of the one go, adjacencies of the other come.
	is := strings.Join(changes(before, plan(fabric.Params{Protocol: fabric.ISIS}, base...)), "\n")
	require.Contains(t, is, "spine1:eth1 goes, spine2:eth1 goes, spine1:eth1 comes, spine2:eth1 comes")
}
