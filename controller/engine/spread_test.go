package engine

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

func vrf(networks ...string) *intent.Router {
	r := &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: 900}}
	for _, n := range networks {
		r.Spec.Networks = append(r.Spec.Networks, intent.RouterNetwork{Network: n})
	}
	return r
}

func group(name string, id uint32) *intent.SecurityGroup {
	return &intent.SecurityGroup{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.SecurityGroupSpec{ID: id}}
}

func TestRouterIsReadyWhenItsEdgesAre(t *testing.T) {
	n, p1, p2, r := web(), vm(1), vm(2), vrf("web", "nowhere")
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}
	b := newBed(t, hv(1), hv(2), n, p1, p2, r)
	st := b.untilPhase(r, intent.PhaseReady)
	require.Equal(t, &intent.Counts{Total: 2}, st.Ports, "no edge has to know it yet")
	require.Equal(t, []string{"web 10.0.0.1", "web fd00::1"}, st.Gateways)
	require.Equal(t, int64(1), st.Applied)

	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	b.until("both ports are confirmed", func() bool { return b.Status(r).Ports.Ready == 2 })
	b.untilPhase(r, intent.PhaseReady)

	b.edge("hv2").set(func() { b.edge("hv2").down = errors.New("timed out") })
	st = b.untilPhase(r, intent.PhaseDegraded)
	require.Equal(t, &intent.Counts{Total: 2, Ready: 1}, st.Ports)
	require.Equal(t, []intent.Reason{{Device: "hv2", Code: "Unreachable", Message: "Port t/vm2: connect: timed out"}}, st.Reasons)
	require.Zero(t, st.Applied, "not all have confirmed it")
	b.edge("hv1").set(func() { b.edge("hv1").down = errors.New("timed out") })
	st = b.untilPhase(r, intent.PhasePending)
	require.Len(t, st.Reasons, 2)
	b.edge("hv1").set(func() { b.edge("hv1").down = nil })
	b.edge("hv2").set(func() { b.edge("hv2").down = nil })
	b.untilPhase(r, intent.PhaseReady)

	later := *r
	later.Metadata.Revision = 99
	require.Equal(t, "Loading", b.Status(&later).Reasons[0].Code)
	b.put(&later)
	b.until("the new revision is taken", func() bool {
		s := b.Status(&later)
		return s.Phase == intent.PhaseReady && s.Applied == later.Metadata.Revision
	})
	b.del(r.Ref())
	b.until("deleted", func() bool { return b.Status(&later).Phase == intent.PhasePending })
}

// A port on an EVPN leaf has no way outside: it and its router say so, and which edge
// it is, as long as the router leads there.
func TestLeavesSayThatTheyLeadNowhere(t *testing.T) {
	n, vm1, srv, r := web(), vm(1), vm(2), vrf("web")
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	srv.Spec.Binding = intent.Binding{Node: "leaf1", Interface: "eth1"}
	r.Spec.Imports = []intent.RouterImport{{RouteTarget: "1:1"}}
	r.Spec.External = &intent.RouterExternal{Network: "internet"}
	b := newBed(t, hv(1), evpnLeaf(), n, vm1, srv, r)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.until("the VM is confirmed", func() bool { return b.Status(r).Ports.Ready == 1 })
	b.untilPhase(r, intent.PhaseReady)
	b.edge("leaf1").set(func() { b.edge("leaf1").ifaces = []overlay.Interface{{Name: "eth1", OFPort: 1}} })
	for _, o := range []intent.Object{r, srv} {
		st := b.untilPhase(o, intent.PhaseDegraded)
		require.Len(t, st.Reasons, 1)
		require.Equal(t, "leaf1", st.Reasons[0].Device)
		require.Contains(t, st.Reasons[0].Message, "an EVPN leaf sends with the L3VNI of Router t/r only: its stations and external network internet do not reach each other")
		require.Equal(t, int64(1), st.Applied)
	}
	b.untilPhase(vm1, intent.PhaseReady)
	alone := vrf("web")
	alone.Metadata.Revision, alone.Spec.Imports = 2, r.Spec.Imports
	b.put(alone)
	b.untilPhase(alone, intent.PhaseReady)
	b.untilPhase(srv, intent.PhaseReady)
}

// A hardware VTEP has ports of a router's networks and does not route: nobody waits for it
// to confirm the router's table.
func TestHardwareVTEPsHaveNoPartInRouters(t *testing.T) {
	n, srv, r := web(), vm(2), vrf("web")
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	tor := &intent.Node{Metadata: intent.Metadata{Name: "tor1"}, Spec: intent.NodeSpec{Role: intent.RoleVTEP, VTEP: netip.MustParseAddr("10.0.0.9"), HardwareVTEP: &intent.HardwareVTEP{OVSDB: "tcp:192.0.2.1:6640", Switch: "tor"}}}
	srv.Spec.Binding = intent.Binding{Node: "tor1", Interface: "eth1"}
	vm1 := vm(1)
	vm1.Spec.Addresses, srv.Spec.Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.11")}, []netip.Addr{netip.MustParseAddr("10.0.0.12")}
	b := newBed(t, hv(1), tor, n, vm1, srv, r)
	b.edge("tor1").set(func() {
		b.edge("tor1").bridges, b.edge("tor1").ifaces = true, []overlay.Interface{{Name: "eth1", OFPort: 1}}
	})
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.until("both ports are confirmed", func() bool { return b.Status(r).Ports.Ready == 2 })
	b.untilPhase(r, intent.PhaseReady)
	b.untilPhase(srv, intent.PhaseReady)
}

// A table that an edge reads and has not confirmed keeps the object from being
// Ready, whatever its ports.
func TestGroupWaitsForItsTable(t *testing.T) {
	p1, g := vm(1), group("a", 7)
	p1.Spec.SecurityGroups = []string{"a"}
	b := newBed(t, hv(1), hv(2), web(), p1, vm(2), g)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.until("its port is confirmed", func() bool { return b.Status(g).Ports.Ready == 1 })
	require.Equal(t, 1, b.Status(g).Ports.Total)
	b.untilPhase(g, intent.PhaseReady)

	// The segment of the network stands for the group's table: hv2 is a
	// carrier, and can't be reached.
	table := group("web", 0)
	table.Metadata.Revision = 1
	b.put(table)
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	b.until("hv2 carries it", func() bool { _, ok := b.edge("hv2").Cursor(100); return ok })
	judge := func() *intent.Status {
		b.Engine.mu.RLock()
		defer b.Engine.mu.RUnlock()
		return b.spreadStatus(table, func(func(intent.Ref) bool) {}, 100)
	}
	b.until("ready", func() bool { return judge().Phase == intent.PhaseReady })
	b.edge("hv2").set(func() { b.edge("hv2").down = errors.New("refused") })
	b.until("hv2 lacks it", func() bool { return judge().Phase == intent.PhasePending })
	require.Equal(t, "hv2", judge().Reasons[0].Device)
	require.False(t, overlay.IsVNI(overlay.GroupTable(7)))
}

func TestMembersFollowPorts(t *testing.T) {
	p, a, c := vm(1), group("a", 1), group("c", 2)
	p.Spec.SecurityGroups = []string{"a"}
	b := newBed(t, hv(1), web(), p, vm(2), a, c)
	totals := func(want ...int) func() bool {
		return func() bool { return b.Status(a).Ports.Total == want[0] && b.Status(c).Ports.Total == want[1] }
	}
	b.until("in a", totals(1, 0))
	q := vm(2)
	q.Spec.SecurityGroups = []string{"a", "c"}
	b.put(q)
	b.until("the other in both", totals(2, 1))
	moved := vm(1)
	moved.Spec.SecurityGroups = []string{"c"}
	b.put(moved)
	b.until("moved", totals(1, 2))
	b.put(vm(1))
	b.until("in none", totals(1, 1))
	b.del(q.Ref())
	b.until("gone", totals(0, 0))
	b.Engine.mu.RLock()
	defer b.Engine.mu.RUnlock()
	require.Empty(t, b.members)
}
