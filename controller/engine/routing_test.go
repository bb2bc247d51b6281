package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// routedEngine has two leaves on two spines.
func routedEngine(t *testing.T) (e *Engine, pass func(time.Duration)) {
	t.Helper()
	e = New(Config{})
	now := time.Now()
	e.wiring.now = func() time.Time { return now }
	e.routing.now = e.wiring.now
	for i, n := range []string{"leaf1", "leaf2", "spine1", "spine2"} {
		spec := intent.NodeSpec{Role: intent.RoleLeaf, ASN: uint32(65001 + i), Loopback: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}
		if i > 1 {
			spec.Role, spec.ASN = intent.RoleSpine, 65000
		}
		e.put(&intent.Node{Metadata: intent.Metadata{Name: n}, Spec: spec})
	}
	for _, l := range [][4]string{{"leaf1", "eth1", "spine1", "eth1"}, {"leaf1", "eth2", "spine2", "eth1"}, {"leaf2", "eth1", "spine1", "eth2"}, {"leaf2", "eth2", "spine2", "eth2"}} {
		e.put(cable(l[0], l[1], l[2], l[3]))
	}
	return e, func(d time.Duration) { now = now.Add(d) }
}

// routes is what leaf1 has to the others, with the given ports to leaf2.
func routes(learned, programmed []string) switchstate.Routing {
	table := func(ports []string) []switchstate.Group {
		return []switchstate.Group{over("10.0.0.2/32", ports...), over("10.0.0.3/32", "eth1"), over("10.0.0.4/32", "eth2")}
	}
	return switchstate.Routing{Learned: table(learned), Programmed: table(programmed),
		BGP: []switchstate.BGPSession{{Peer: "eth1", Interface: "eth1", State: switchstate.Established}, {Peer: "eth2", Interface: "eth2", State: "Active"}}}
}

func over(prefix string, ports ...string) switchstate.Group {
	g := switchstate.Group{Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}, Protocol: "bgp"}
	for _, p := range ports {
		g.NextHops = append(g.NextHops, switchstate.NextHop{Interface: p})
	}
	return g
}

func (e *Engine) report(t *testing.T, r switchstate.Routing) {
	t.Helper()
	whole, ok := e.TakeRouting("leaf1", switchstate.RoutingReport{Hash: r.Hash(), Routing: &r})
	require.True(t, ok)
	require.False(t, whole)
}

// A next hop that is missing for longer than protocols take to converge is an alarm,
// which follows what is missing and ends with it.
func TestAlarmsOfNextHops(t *testing.T) {
	e, pass := routedEngine(t)
	both, one := []string{"eth1", "eth2"}, []string{"eth1"}
	e.report(t, routes(both, both))
	e.judgePaths()
	pass(pathSettle)
	e.judgePaths()
	require.Empty(t, e.Alarms())

	e.report(t, routes(both, one))
	e.judgePaths()
	require.Empty(t, e.Alarms(), "while routes converge there is no alarm")
	pass(pathSettle)
	e.judgePaths()
	require.Len(t, e.Alarms(), 1)
	a := e.Alarms()[0]
	require.Equal(t, []string{"leaf1", "NextHopNotProgrammed", "leaf1:eth2 - spine2:eth1"}, []string{a.Device, a.Reason, a.Object})
	require.Equal(t, "the kernel of leaf1 lacks the next hop spine2 by eth2 to leaf2 (10.0.0.2): it has 1 next hop and BGP has 2 next hops", a.Message)

	e.report(t, routes(one, one))
	e.judgePaths()
	require.Empty(t, e.Alarms(), "the other fault is over")
	pass(pathSettle)
	e.judgePaths()
	require.Len(t, e.Alarms(), 1)
	require.Equal(t, "leaf1 has not learned the next hop spine2 by eth2 to leaf2 (10.0.0.2): its BGP session with spine2 is Active", e.Alarms()[0].Message)

	// With the link down the cabling's alarm says so, and this one would be its echo.
	e.TakeSwitch("leaf1", switchstate.Report{Ports: []switchstate.Port{{Name: "eth2"}}})
	r := routes(one, one)
	r.Learned, r.Programmed = r.Learned[:2], r.Programmed[:2]
	e.report(t, r)
	e.judgePaths()
	require.Empty(t, e.Alarms())
}

// A switch that is to be drained is neither missed as a next hop, nor is it a fault that
// it is one until all traffic has left it; that it is missed begins again with the end of
// the drain.
func TestDrainedNextHopIsNoAlarm(t *testing.T) {
	e, pass := routedEngine(t)
	both, one := []string{"eth1", "eth2"}, []string{"eth1"}
	alarms := func(ports []string) (out []string) {
		e.report(t, routes(ports, ports))
		e.judgePaths()
		pass(pathSettle)
		e.judgePaths()
		for _, a := range e.Alarms() {
			out = append(out, a.Message)
		}
		return out
	}
	drain := func(how intent.Maintenance) {
		e.put(&intent.Node{Metadata: intent.Metadata{Name: "spine2"}, Spec: intent.NodeSpec{Role: intent.RoleSpine, ASN: 65000,
			Loopback: netip.MustParseAddr("10.0.0.4"), Maintenance: how}})
	}
	require.Empty(t, alarms(both))
	drain(intent.MaintenanceDrain)
	require.Empty(t, alarms(both), "traffic has not left it yet")
	require.Empty(t, alarms(one), "it has")
	got, err := e.Paths("leaf1", "leaf2")
	require.NoError(t, err)
	require.Equal(t, []int{1, 1, 1, 1}, []int{got.Intended.Width, got.Up.Width, got.Learned.Width, got.Programmed.Width})
	drain("")
	require.Equal(t, []string{"leaf1 has not learned the next hop spine2 by eth2 to leaf2 (10.0.0.2): its BGP session with spine2 is Active"}, alarms(one))
	require.Empty(t, alarms(both))
}

// A switch that falls silent is not judged by what it said.
func TestSilentRouting(t *testing.T) {
	e, pass := routedEngine(t)
	e.report(t, routes([]string{"eth1"}, []string{"eth1"}))
	e.judgePaths()
	pass(pathSettle)
	e.judgePaths()
	require.Len(t, e.Alarms(), 1)
	pass(silentAfter)
	e.judgePaths()
	require.Empty(t, e.Alarms())
	got, err := e.Paths("leaf1", "leaf2")
	require.NoError(t, err)
	require.False(t, got.Hops[0].Reported)
	e.delete(intent.Ref{Kind: intent.KindNode, Name: "leaf1"})
	_, err = e.Paths("leaf1", "leaf2")
	require.ErrorContains(t, err, "there is no node leaf1")
}

// The routing itself is wanted where the hash is another one; of what an agent mended
// each is told once.
func TestTakeRouting(t *testing.T) {
	e, _ := routedEngine(t)
	_, ok := e.TakeRouting("nobody", switchstate.RoutingReport{})
	require.False(t, ok)
	_, _, ok = e.Routing("leaf1")
	require.False(t, ok)
	r := routes([]string{"eth1", "eth2"}, []string{"eth1", "eth2"})
	now := e.routing.now()
	r.Mended = []switchstate.Mend{{At: now, Object: "eth2", Message: "first"}}
	whole, ok := e.TakeRouting("leaf1", switchstate.RoutingReport{Hash: r.Hash()})
	require.True(t, whole && ok)
	e.report(t, r)
	e.report(t, r)
	whole, _ = e.TakeRouting("leaf1", switchstate.RoutingReport{Hash: r.Hash()})
	require.False(t, whole)
	whole, _ = e.TakeRouting("leaf1", switchstate.RoutingReport{Hash: "other"})
	require.True(t, whole)
	got, at, ok := e.Routing("leaf1")
	require.True(t, ok)
	require.Equal(t, now, at)
	require.Equal(t, r, got)
	r.Mended = append(r.Mended, switchstate.Mend{At: now, Object: "eth1", Message: "second"})
	e.report(t, r)
	require.Len(t, e.Events(), 2)
	require.Equal(t, []string{"first", "second"}, []string{e.Events()[0].Message, e.Events()[1].Message})
}

// Links that are known before their nodes, and ports that are down, make no fault of
// their own.
func TestPlanOfWiring(t *testing.T) {
	e, _ := routedEngine(t)
	e.TakeSwitch("leaf1", switchstate.Report{Ports: []switchstate.Port{{Name: "eth1", Up: true}, {Name: "eth2"}}})
	links, down := e.wiring.plan()
	require.Len(t, links, 4)
	require.Equal(t, map[topology.End]bool{{Node: "leaf1", Interface: "eth2"}: true}, down)
}
