package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

func limitedTenant(rev int64, rate intent.BitRate) *intent.Tenant {
	t := &intent.Tenant{Metadata: intent.Metadata{Name: "t", Revision: rev}}
	if rate != "" {
		t.Spec.QoS = &intent.TenantQoS{Out: intent.RateLimit{Rate: rate}}
	}
	return t
}

// A tenant with limits is Ready when the edges with its ports have them; edges that
// can't limit are named by the tenant and their ports.
func TestTenantIsReadyWhenItsEdgesAre(t *testing.T) {
	srv := vm(3)
	srv.Spec.Binding = intent.Binding{Node: "leaf1", Interface: "eth1"}
	b := newBed(t, hv(1), hv(2), evpnLeaf(), limitedTenant(1, "1M"), web(), vm(1), vm(2), srv)
	require.Equal(t, &intent.Counts{Total: 3}, b.untilPhase(limitedTenant(1, "1M"), intent.PhaseReady).Ports, "no edge has to know it yet")
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	b.until("both ports are confirmed", func() bool { return b.Status(limitedTenant(1, "1M")).Ports.Ready == 2 })
	b.untilPhase(limitedTenant(1, "1M"), intent.PhaseReady)

	b.edge("hv2").set(func() { b.edge("hv2").down = errors.New("timed out") })
	b.put(limitedTenant(2, "2M"))
	b.until("hv1 has the new limit", func() bool {
		st := b.Status(limitedTenant(2, "2M"))
		return st.Phase == intent.PhaseDegraded && st.Ports.Ready == 1 && st.Applied == 0 && st.Reasons[0].Device == "hv2"
	})
	b.edge("hv2").set(func() { b.edge("hv2").down = nil })
	b.until("both have", func() bool { return b.Status(limitedTenant(2, "2M")).Applied == 2 })

	b.edge("leaf1").set(func() { b.edge("leaf1").ifaces = []overlay.Interface{{Name: "eth1", OFPort: 1}} })
	for _, o := range []intent.Object{limitedTenant(2, "2M"), srv} {
		st := b.untilPhase(o, intent.PhaseDegraded)
		require.Equal(t, []intent.Reason{{Device: "leaf1", Code: southbound.AlarmCapability, Message: "only vSwitches limit: the limits of tenant t do not hold for its ports here", Action: "limit on the switch, or move the ports to a hypervisor"}}, st.Reasons)
		require.NotZero(t, st.Applied)
	}
	b.untilPhase(vm(1), intent.PhaseReady)

	require.Equal(t, "Loading", b.Status(limitedTenant(9, "2M")).Reasons[0].Code)
	b.put(limitedTenant(3, ""))
	b.until("none", func() bool { return b.Status(limitedTenant(3, "")).Applied == 3 })
	b.untilPhase(srv, intent.PhaseReady)
}

// countingEdge is a driver that counts routers and tenants, or can't be asked.
type countingEdge struct {
	*edge
	away error
}

func (c countingEdge) CountRouter(_ context.Context, v intent.VNI) (southbound.RouterCount, error) {
	return southbound.RouterCount{Routed: southbound.Count{Packets: uint64(v)}}, c.away
}

func (c countingEdge) CountTenant(_ context.Context, tenant string) (southbound.TenantCount, error) {
	return southbound.TenantCount{Sent: southbound.LimitCount{Came: southbound.Count{Packets: uint64(len(tenant))}}}, c.away
}

// Each edge with ports is asked once, by name; those that do not count are named.
func TestEdgesAreAskedWhatTheyCount(t *testing.T) {
	r, away := vrf("web"), errors.New("it is away")
	b := newBedWith(t, func(c *Config) {
		inner := c.NewDriver
		c.NewDriver = func(n *intent.Node, f southbound.Feed) southbound.Driver {
			d := inner(n, f)
			switch n.Metadata.Name {
			case "hv1":
				return countingEdge{edge: d.(*edge)}
			case "hv2":
				return countingEdge{d.(*edge), away}
			}
			return d
		}
	}, hv(1), hv(2), hv(3), r, limitedTenant(1, "1M"), web(), vm(1), vm(2), vm(3))
	_, ok := b.RouterCounters(t.Context(), intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: "nope"})
	require.False(t, ok)
	_, ok = b.TenantCounters(t.Context(), "nope")
	require.False(t, ok)
	c, ok := b.RouterCounters(t.Context(), r.Ref())
	require.True(t, ok)
	require.Empty(t, c)
	for _, i := range []int{1, 2, 3} {
		e := b.edge(hv(i).Metadata.Name)
		e.set(func() { e.ifaces = tap(i) })
	}
	b.until("the edges have the ports", func() bool {
		c, _ = b.RouterCounters(t.Context(), r.Ref())
		return len(c.Edges)+len(c.Uncounted) == 3
	})
	require.Equal(t, EdgeCounts[southbound.RouterCount]{Uncounted: []string{"hv3"}, Edges: []EdgeCount[southbound.RouterCount]{
		{Node: "hv1", Count: southbound.RouterCount{Routed: southbound.Count{Packets: 900}}},
		{Node: "hv2", Count: southbound.RouterCount{Routed: southbound.Count{Packets: 900}}, Err: away}}}, c)
	tc, ok := b.TenantCounters(t.Context(), "t")
	require.True(t, ok)
	require.EqualValues(t, 1, tc.Edges[0].Count.Sent.Came.Packets)
	require.Equal(t, away, tc.Edges[1].Err)
	require.Equal(t, []string{"hv3"}, tc.Uncounted)
}
