package engine

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// A VM's address of a routed network is announced with two labels and the router's
// MAC of its VTEP, what is behind it as a prefix; both follow the router. What a
// leaf routes it announces itself.
func TestRoutersAreAnnounced(t *testing.T) {
	n, p, srv := web(), vm(1), vm(2)
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	p.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	srv.Spec.Addresses, srv.Spec.Binding = []netip.Addr{netip.MustParseAddr("192.0.2.2")}, intent.Binding{Node: "leaf1", Interface: "eth1"}
	behind := netip.MustParsePrefix("198.51.100.0/24")
	router := func(export ...string) *intent.Router {
		return &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: 5000, RouteTargets: intent.RouteTargets{Export: export},
			Networks: []intent.RouterNetwork{{Network: "web"}}, Routes: []intent.StaticRoute{{Prefix: behind, NextHops: []intent.NextHop{{Port: "vm1"}}}}}}
	}
	b, s := newSpeakerBed(t, hv(1), evpnLeaf(), n, p, srv, router())
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	host := evpn.HostKey(p.Spec.MAC, p.Spec.Addresses[0])
	announced := func(what string, l3 intent.VNI, targets ...intent.RouteTarget) {
		t.Helper()
		b.until(what, func() bool {
			r, ok := s.has(host)
			return ok && r.L3VNI == l3 && len(r.Targets) == len(targets)
		})
		r, _ := s.has(host)
		require.ElementsMatch(t, targets, r.Targets)
		require.Equal(t, l3 != 0, r.RouterMAC == intent.RouterMAC(r.VTEP))
		require.Equal(t, intent.VNI(100), r.VNI)
	}
	prefix := func() (evpn.Route, bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		r, ok := s.routes[(&evpn.Route{Key: evpn.PrefixKey(behind), RD: evpn.NewRD(64512, 5000)}).ID()]
		return r, ok
	}
	l2, l3 := intent.VNIRouteTarget(64512, 100), intent.VNIRouteTarget(64512, 5000)
	announced("routed", 5000, l2, l3)
	b.until("the prefix is announced", func() bool { _, ok := prefix(); return ok })
	r, _ := prefix()
	require.Equal(t, intent.RouterMAC(netip.MustParseAddr("10.0.0.1")), r.RouterMAC)
	require.Equal(t, []intent.RouteTarget{l3}, r.Targets)
	require.Equal(t, intent.VNI(5000), r.VNI)

	// The leaf routes, too: its host's route stays without the label.
	b.edge("leaf1").set(func() { b.edge("leaf1").ifaces = []overlay.Interface{{Name: "eth1", OFPort: 1}} })
	b.TakeRoutes("leaf1", []overlay.RouteChange{{Route: evpn.Route{Key: evpn.PrefixKey(n.Spec.Subnets[0]), RD: evpn.NewRD(65001, 5000), VNI: 5000,
		VTEP: netip.MustParseAddr("10.0.0.9"), RouterMAC: intent.MAC{6}, Targets: []intent.RouteTarget{intent.VNIRouteTarget(65001, 5000)}}}})
	b.until("the leaf's host is announced", func() bool { _, ok := s.has(evpn.HostKey(srv.Spec.MAC, srv.Spec.Addresses[0])); return ok })
	b.Engine.mu.RLock()
	row, ok := b.model.Segment(5000).Get(evpn.HostKey(srv.Spec.MAC, srv.Spec.Addresses[0]))
	b.Engine.mu.RUnlock()
	require.True(t, ok)
	require.Equal(t, intent.MAC{6}, row.RouterMAC)
	at, _ := s.has(evpn.HostKey(srv.Spec.MAC, srv.Spec.Addresses[0]))
	require.Zero(t, at.L3VNI)

	b.put(router("9:9"))
	own, err := intent.ParseRouteTarget("9:9")
	require.NoError(t, err)
	b.until("with its own target", func() bool {
		r, _ := s.has(host)
		return len(r.Targets) == 2 && (r.Targets[0] == own || r.Targets[1] == own)
	})
	b.del(router().Ref())
	announced("bridged only", 0, l2)
	b.until("the prefix is withdrawn", func() bool { _, ok := prefix(); return !ok })
}

// What a router advertises in an external network is announced with the L3VNI and
// route targets of that, beside the network's own route, and only while the router
// says so; what the borders announce is not announced again.
func TestAdvertisedHostsAreAnnouncedOutside(t *testing.T) {
	n, p, q := web(), vm(1), vm(2)
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	p.Spec.Addresses, q.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}, []netip.Addr{netip.MustParseAddr("192.0.2.200")}
	router := func(x *intent.RouterExternal) *intent.Router {
		return &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: 5000,
			Networks: []intent.RouterNetwork{{Network: "web"}}, External: x}}
	}
	outside := &intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: 7000}}
	x := &intent.RouterExternal{Network: "internet", Advertise: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25")}}
	b, s := newSpeakerBed(t, hv(1), evpnLeaf(), n, p, q, outside, router(x))
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = append(tap(1), tap(2)...) })
	announced := func(p *intent.Port, v intent.VNI) (r evpn.Route, ok bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		r, ok = s.routes[(&evpn.Route{Key: evpn.HostKey(p.Spec.MAC, p.Spec.Addresses[0]), RD: evpn.NewRD(64512, v)}).ID()]
		return r, ok
	}
	b.until("announced outside", func() bool { _, ok := announced(p, 7000); return ok })
	b.until("all are in the network", func() bool { _, one := announced(p, 100); _, two := announced(q, 100); return one && two })
	r, _ := announced(p, 7000)
	require.Equal(t, []intent.RouteTarget{intent.VNIRouteTarget(64512, 7000)}, r.Targets)
	require.Equal(t, intent.VNI(7000), r.L3VNI)
	require.Equal(t, intent.RouterMAC(r.VTEP), r.RouterMAC)
	_, ok := announced(q, 7000)
	require.False(t, ok, "not advertised")

	key := evpn.PrefixKey(netip.MustParsePrefix("0.0.0.0/0"))
	b.TakeRoutes("leaf1", []overlay.RouteChange{{Route: evpn.Route{Key: key, RD: evpn.NewRD(65001, 7000), VNI: 7000,
		VTEP: netip.MustParseAddr("10.0.0.9"), RouterMAC: intent.MAC{6}, Targets: []intent.RouteTarget{intent.VNIRouteTarget(65001, 7000)}}}})
	outside = &intent.ExternalNetwork{Metadata: outside.Metadata, Spec: intent.ExternalNetworkSpec{VNI: 7000, RouteTargets: intent.RouteTargets{Export: []string{"9:9"}}}}
	b.put(outside)
	own, err := intent.ParseRouteTarget("9:9")
	require.NoError(t, err)
	b.until("with its own target", func() bool { r, _ := announced(p, 7000); return len(r.Targets) == 1 && r.Targets[0] == own })
	s.mu.Lock()
	for id := range s.routes {
		require.NotEqual(t, evpn.PREFIX, id.Type, "%v", id)
	}
	s.mu.Unlock()

	b.put(router(nil))
	b.until("withdrawn", func() bool { _, ok := announced(p, 7000); return !ok })
	_, ok = announced(p, 100)
	require.True(t, ok, "it is in its network")
	b.put(router(x))
	b.until("announced again", func() bool { _, ok := announced(p, 7000); return ok })
	b.del(outside.Ref())
	b.until("gone with the network", func() bool { _, ok := announced(p, 7000); return !ok })
}

// Leaves with stations of a router know the hosts of another one with which it
// shares, by its L3VNI, as long as there are such stations.
func TestLeavesKnowTheHostsOfOtherRouters(t *testing.T) {
	n, other, p, srv := web(), web(), vm(1), vm(2)
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25")}
	other.Metadata.Name, other.Spec.VNI, other.Spec.Subnets = "db", 101, []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}
	p.Spec.Addresses, srv.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}, []netip.Addr{netip.MustParseAddr("192.0.2.200")}
	srv.Spec.Network, srv.Spec.Binding = "db", intent.Binding{Node: "leaf1", Interface: "eth1"}
	router := func(name, network string, v, of intent.VNI) *intent.Router {
		return &intent.Router{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.RouterSpec{VNI: v,
			Networks: []intent.RouterNetwork{{Network: network}}, Imports: []intent.RouterImport{{RouteTarget: fmt.Sprintf("1:%d", of)}}}}
	}
	b, s := newSpeakerBed(t, hv(1), evpnLeaf(), n, other, p, srv, router("r", "web", 5000, 6000), router("s", "db", 6000, 5000))
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	announced := func(v intent.VNI) (r evpn.Route, ok bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		r, ok = s.routes[(&evpn.Route{Key: evpn.HostKey(p.Spec.MAC, p.Spec.Addresses[0]), RD: evpn.NewRD(64512, v)}).ID()]
		return r, ok
	}
	b.until("routed by its own router", func() bool { r, _ := announced(100); return r.L3VNI == 5000 })
	_, ok := announced(6000)
	require.False(t, ok, "there is no station on a leaf")
	b.edge("leaf1").set(func() { b.edge("leaf1").ifaces = []overlay.Interface{{Name: "eth1", OFPort: 1}} })
	b.until("known to the leaf in its VRF", func() bool { _, ok := announced(6000); return ok })
	r, _ := announced(6000)
	require.Equal(t, []intent.RouteTarget{intent.VNIRouteTarget(64512, 6000)}, r.Targets)
	require.Equal(t, intent.VNI(6000), r.L3VNI)
	require.Equal(t, intent.RouterMAC(netip.MustParseAddr("10.0.0.1")), r.RouterMAC)
	r, _ = announced(100)
	require.Equal(t, intent.VNI(5000), r.L3VNI, "and as before in its own")
	b.edge("leaf1").set(func() { b.edge("leaf1").ifaces = nil })
	b.until("the last one went", func() bool { _, ok := announced(6000); return !ok })
	b.edge("leaf1").set(func() { b.edge("leaf1").ifaces = []overlay.Interface{{Name: "eth1", OFPort: 1}} })
	b.until("it is back", func() bool { _, ok := announced(6000); return ok })
	b.del(router("r", "", 0, 0).Ref())
	b.until("nothing is shared", func() bool { _, ok := announced(6000); return !ok })
}
