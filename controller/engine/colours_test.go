package engine

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/overlay"
)

// coloured is a hypervisor with two colours.
func coloured(i int) *intent.Node {
	n := hv(i)
	n.Spec.Colours = []netip.Addr{netip.AddrFrom4([4]byte{10, 129, 0, byte(i)}), netip.AddrFrom4([4]byte{10, 130, 0, byte(i)})}
	return n
}

func tenantNetwork(tenant, name string, v intent.VNI) *intent.Network {
	return &intent.Network{Metadata: intent.Metadata{Name: name, Tenant: tenant}, Spec: intent.NetworkSpec{VNI: v}}
}

func scoped(tenant string) *intent.SteeringPolicy {
	return &intent.SteeringPolicy{Metadata: intent.Metadata{Name: "pin-" + tenant}, Spec: intent.SteeringPolicySpec{Scope: intent.SteeringScope{Tenant: tenant}}}
}

// hues are the colours that an edge is told of: by VNI that of 10.0.0.2.
func hues(d *edge, vnis ...intent.VNI) map[intent.VNI]string {
	out := map[intent.VNI]string{}
	for _, v := range vnis {
		out[v] = d.feed.Colouring().At(v, netip.MustParseAddr("10.0.0.2")).String()
	}
	return out
}

// TestColoursOfTenants: a tenant's colour is that of its networks and of its routers, a
// network's own comes first, and others have none; it follows nodes, networks and
// routers as they come and go.
func TestColoursOfTenants(t *testing.T) {
	geneve := tenantNetwork("t", "odd", 103)
	geneve.Spec.Encapsulation.Type = intent.Geneve
	r := &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: 5000}}
	b := newBed(t, coloured(1), coloured(2), tenantNetwork("t", "web", 100), tenantNetwork("t", "db", 101), geneve, tenantNetwork("other", "web", 200), r)
	const primary, one, two = "10.0.0.2", "10.129.0.2", "10.130.0.2"
	all := []intent.VNI{100, 101, 102, 103, 200, 5000}
	is := func(what string, want ...string) {
		t.Helper()
		b.until(what, func() bool {
			has := hues(b.edge("hv1"), all...)
			for i, v := range all {
				if has[v] != want[i] {
					return false
				}
			}
			return true
		})
	}
	is("nobody has one", primary, primary, primary, primary, primary, primary)
	b.setColours(map[steering.ColourScope]int{{Tenant: "t"}: 1})
	is("a tenant", one, one, primary, primary, primary, one)
	b.setColours(map[steering.ColourScope]int{{Tenant: "t"}: 1, {Tenant: "t", Network: "db"}: 2, {Tenant: "nobody"}: 2})
	is("one of its networks", one, two, primary, primary, primary, one)
	b.put(tenantNetwork("t", "new", 102))
	is("a network that comes", one, two, one, primary, primary, one)
	b.del(r.Ref())
	is("a router that goes", one, two, one, primary, primary, primary)
	n := coloured(2)
	n.Spec.Colours = n.Spec.Colours[:1]
	b.put(n)
	is("a node with fewer", one, primary, one, primary, primary, primary)
	b.put(hv(2))
	is("and with none", primary, primary, primary, primary, primary, primary)
	n = coloured(2)
	n.Spec.VSwitch, n.Spec.HardwareVTEP = nil, &intent.HardwareVTEP{OVSDB: "tcp:192.0.2.1:6640", Switch: "tor"}
	b.put(n)
	b.put(tenantNetwork("t", "late", 104))
	all = append(all, 104)
	b.until("the network that came after the hardware VTEP", func() bool { return b.Colouring().Of(104) != overlay.Hue{} })
	is("a hardware VTEP, which takes in what is sent to its own address alone", primary, primary, primary, primary, primary, primary, primary)
	b.put(coloured(2))
	all = all[:6]
	b.setColours(map[steering.ColourScope]int{{Tenant: "t", Network: "db"}: 2})
	is("the tenant no more", primary, two, primary, primary, primary, primary)
	b.setColours(nil)
	is("nobody any more", primary, primary, primary, primary, primary, primary)
}

// TestColourWakesWhomItConcerns: edges without the tenant's networks sleep on.
func TestColourWakesWhomItConcerns(t *testing.T) {
	p1, p2 := vm(1), vm(2)
	p2.Metadata.Tenant = "other"
	b := newBed(t, coloured(1), coloured(2), web(), tenantNetwork("other", "web", 200), p1, p2)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	b.untilPhase(p1, intent.PhaseReady)
	b.untilPhase(p2, intent.PhaseReady)
	looked := func(n string) (wakes, colour int) {
		d := b.edge(n)
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.wakes, d.colour
	}
	const steps = 50
	was, _ := looked("hv2")
	for i := range steps {
		before, _ := looked("hv1")
		b.setColours(map[steering.ColourScope]int{{Tenant: "t"}: i%2 + 1})
		b.until(fmt.Sprint("hv1 is told ", i), func() bool { n, c := looked("hv1"); return n > before && c == i%2+1 })
	}
	now, _ := looked("hv2")
	require.Less(t, now-was, steps/2, "the other tenant's edge may have been woken for other things")
}

// TestNothingIsToldBeforeColoursAreKnown: with a policy of a tenant's edges and leaves
// are left as they are until the first assignment, so that nobody goes to the VTEPs'
// own addresses and back.
func TestNothingIsToldBeforeColoursAreKnown(t *testing.T) {
	p1, p2 := vm(1), vm(2)
	b, s := newSpeakerBed(t, coloured(1), coloured(2), evpnLeaf(), web(), p1, p2, scoped("t"))
	b.mu.Lock()
	require.Empty(t, b.edges, "no session was started")
	b.mu.Unlock()
	require.False(t, s.open())
	b.setColours(map[steering.ColourScope]int{{Tenant: "t"}: 2})
	b.until("edges are served", func() bool { return b.edge("hv1") != nil && b.edge("hv2") != nil })
	require.Equal(t, map[intent.VNI]string{100: "10.130.0.2"}, hues(b.edge("hv1"), 100))
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	b.until("leaves are told", s.open)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, 1, s.coloured)
	require.Equal(t, 2, s.colours.Colour(100))
	for _, r := range s.routes {
		require.Contains(t, []string{"10.0.0.1", "10.0.0.2"}, r.VTEP.String(), "tables have the VTEPs' own addresses")
	}
}

// The wait for the first assignment begins when the intent is known: a store that answers
// late has no tenant lose its colour in between.
func TestTheWaitForColoursBeginsWithTheIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{})
		c := e.colours
		c.put(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "pin-t"}, scoped("t"))
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { c.run(ctx) })
		known := func() bool {
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.known
		}
		time.Sleep(10 * colourWait)
		require.False(t, known())
		c.loaded()
		time.Sleep(colourWait - time.Second)
		require.False(t, known())
		time.Sleep(2 * time.Second)
		require.True(t, known())
		stop()
		all.Wait()
	})
}
