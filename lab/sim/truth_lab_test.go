//go:build lab

package sim_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovstest"
)

// The same intent on a simulated edge and on a real vSwitch gives the same
// flows, and both are told as much.
func TestSameAsOpenVSwitch(t *testing.T) {
	farm := start(t, 1)
	farm.Edge(0).Plug("a", "b")
	simulated := farm.VSwitch(0)
	d, _ := drive(t, newFeed(simulated), simulated)
	want := wanted(t)
	settled(t, d, func() int { return farm.Edge(0).Stats().Flows }, len(want))

	ovs := ovstest.Start(t)
	ovs.Vsctl("--no-wait", "add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy", "fail-mode=secure")
	for i, n := range []string{"a", "b"} { // the numbers that a simulated edge gives
		ovs.Vsctl("add-port", "br-int", n, "--", "set", "interface", n, "type=dummy", "external_ids:iface-id="+n, fmt.Sprintf("ofport_request=%d", i+1))
	}
	at := &intent.VSwitch{OVSDB: ovs.DB(), Bridge: "br-int", DatapathType: "dummy"}
	r, _ := drive(t, newFeed(at), at)
	settled(t, r, func() int { return r.Status().Flows }, len(want))
	require.Equal(t, flows(t, simulated.OpenFlow), flows(t, ovs.Bridge("br-int")))
	require.Equal(t, r.Status(), withSince(d.Status(), r.Status()))
}

// withSince makes the times of two states equal.
func withSince(s, t southbound.Status) southbound.Status {
	s.Since, s.Software = t.Since, t.Software
	return s
}
