package overlay

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

const l3 = intent.VNI(5000)

// routedModel has networks a and b with a router, port vm on hv1 in a, and port
// srv on leaf2 in b.
func routedModel() *Model {
	m := NewModel()
	a, b := network("a", 100), network("b", 101)
	a.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")}
	b.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}
	srv := port("srv", "b", 2, intent.Binding{Node: "leaf2", Interface: "eth1"})
	srv.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.168.1.2")}
	for _, o := range []intent.Object{hypervisor(1), leaf(2), a, b, port("vm", "a", 1, intent.Binding{IfaceID: "vm"}), srv, joined()} {
		m.Put(o)
	}
	m.Observe("hv1", []Interface{{Name: "tap", IfaceID: "vm", OFPort: 1}})
	m.Observe("leaf2", []Interface{{Name: "eth1", OFPort: 1}})
	return m
}

func joined() *intent.Router {
	return &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: l3, Networks: []intent.RouterNetwork{{Network: "a"}, {Network: "b"}}}}
}

// prefix is a prefix route of leaf2.
func prefix(p string) RouteChange {
	return RouteChange{Route: evpn.Route{Key: evpn.PrefixKey(netip.MustParsePrefix(p)), RD: evpn.NewRD(65001, l3), VNI: l3, VTEP: vtep("10.0.0.2"),
		RouterMAC: intent.MAC{6, 1}, Targets: []intent.RouteTarget{target("65001:5000")}}}
}

func macOf(t *testing.T, m *Model, k evpn.Key) intent.MAC {
	t.Helper()
	r, ok := m.Segment(l3).Get(k)
	require.True(t, ok)
	return r.RouterMAC
}

// Whether a leaf routes is what its routes say: a port there is bridged to until
// then, and again afterwards.
func TestLeafRoutesOnceItSaysSo(t *testing.T) {
	m := routedModel()
	srv := evpn.HostKey(intent.MAC{2, 0, 0, 0, 0, 2}, netip.MustParseAddr("192.168.1.2"))
	require.Zero(t, macOf(t, m, srv))
	require.Equal(t, intent.RouterMAC(vtep("10.0.0.1")), macOf(t, m, evpn.HostKey(intent.MAC{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.168.0.1"))))

	m.TakeRoutes("leaf2", []RouteChange{prefix("192.168.1.0/24")})
	require.Equal(t, intent.MAC{6, 1}, macOf(t, m, srv))
	other := prefix("192.168.1.0/24")
	other.VTEP, other.RouterMAC = vtep("10.0.0.3"), intent.MAC{1}
	other.RD[0] = 1
	m.TakeRoutes("leaf2", []RouteChange{other})
	require.Equal(t, intent.MAC{6, 1}, macOf(t, m, srv), "what it says of another VTEP")
	m.TakeRoutes("leaf2", []RouteChange{withdrawn(prefix("192.168.1.0/24"))})
	require.Zero(t, macOf(t, m, srv))
	m.TakeRoutes("leaf2", []RouteChange{prefix("192.168.1.0/24")})
	m.TakePeerLost("leaf2")
	require.Zero(t, macOf(t, m, srv))
}

// A host in a network of the router but in none of its subnets is routed as any
// other address outside them, also when the network is deleted.
func TestHostsOutsideTheSubnetsAreRouted(t *testing.T) {
	m := routedModel()
	c := macRoute(9, 100, "198.51.100.9", "65001:100")
	c.L3VNI, c.RouterMAC, c.Targets = l3, intent.MAC{6, 1}, append(c.Targets, target("65001:5000"))
	m.TakeRoutes("leaf2", []RouteChange{c})
	require.Equal(t, intent.MAC{6, 1}, macOf(t, m, c.Key))
	m.Delete(network("a", 100).Ref())
	require.Equal(t, intent.MAC{6, 1}, macOf(t, m, c.Key))
	m.TakeRoutes("leaf2", []RouteChange{withdrawn(c)})
	_, ok := m.Segment(l3).Get(c.Key)
	require.False(t, ok)
}

// A next hop that only a leaf announces is none any more when the leaf is deleted.
func TestNextHopsGoWithTheirLeaf(t *testing.T) {
	m := routedModel()
	hop := netip.MustParseAddr("192.168.0.9")
	r := joined()
	r.Spec.Routes = []intent.StaticRoute{{Prefix: netip.MustParsePrefix("203.0.113.0/24"), NextHops: []intent.NextHop{{Address: hop}}}}
	m.Put(r)
	m.Put(leaf(3))
	m.Synced("leaf2")
	m.Synced("leaf3")
	m.TakeRoutes("leaf3", []RouteChange{macRoute(9, 100, hop.String(), "65001:100")})
	hops := func() []Hop {
		return m.Local("hv1")[port("vm", "a", 1, intent.Binding{}).Ref()].Routing.VRF.Routes[0].Hops
	}
	require.Equal(t, []Hop{{hop, 1}}, hops())
	m.Delete(leaf(3).Ref())
	require.Empty(t, hops())
}

func TestRoutesOfLeavesInARoutersTable(t *testing.T) {
	m := routedModel()
	with := func(c RouteChange, change func(*RouteChange)) RouteChange { change(&c); return c }
	away := macRoute(9, 700, "198.51.100.9", "65001:5000")
	away.L3VNI, away.RouterMAC = l3, intent.MAC{6, 1}
	for name, c := range map[string]struct {
		change RouteChange
		row    bool
	}{
		"a prefix":                             {prefix("198.51.100.0/24"), true},
		"the default":                          {prefix("0.0.0.0/0"), true},
		"a wider prefix than a subnet":         {prefix("192.168.0.0/16"), true},
		"a subnet of its own":                  {prefix("192.168.1.0/24"), false},
		"a host of a subnet of its own":        {prefix("192.168.0.1/32"), false},
		"a host of a network nobody knows":     {away, true},
		"one without a router's MAC":           {with(prefix("198.51.100.0/24"), func(c *RouteChange) { c.RouterMAC = intent.MAC{} }), false},
		"another label than the route targets": {with(prefix("198.51.100.0/24"), func(c *RouteChange) { c.VNI = 5001 }), false},
		"another route target":                 {with(prefix("198.51.100.0/24"), func(c *RouteChange) { c.Targets = []intent.RouteTarget{target("1:1")} }), false},
	} {
		t.Run(name, func(t *testing.T) {
			before := m.Segment(l3).Len()
			m.TakeRoutes("leaf2", []RouteChange{c.change})
			row, ok := m.Segment(l3).Get(routedKey(&c.change.Route))
			require.Equal(t, c.row, ok)
			if ok {
				require.Equal(t, intent.MAC{6, 1}, row.RouterMAC)
				require.Equal(t, vtep("10.0.0.2"), row.VTEP)
			}
			m.TakeRoutes("leaf2", []RouteChange{withdrawn(c.change)})
			require.Equal(t, before, m.Segment(l3).Len())
			require.Empty(t, m.nodes["leaf2"].routerMACs)
		})
	}
}

// A router that comes after the routes takes them, with its own route targets as
// well, and they go with it; until then they are strays.
func TestRoutersTakeRoutesThatWereThereBefore(t *testing.T) {
	m := routedModel()
	m.Delete(joined().Ref())
	c := prefix("198.51.100.0/24")
	m.TakeRoutes("leaf2", []RouteChange{c})
	require.NotEmpty(t, m.nodes["leaf2"].said)
	has := func() bool {
		s := m.Segment(l3)
		if s == nil {
			return false
		}
		_, ok := s.Get(routedKey(&c.Route))
		return ok
	}
	require.False(t, has())
	m.Put(joined())
	require.True(t, has())
	require.Empty(t, m.nodes["leaf2"].said)
	r := joined()
	r.Spec.RouteTargets.Import = []string{"9:9"}
	m.Put(r)
	require.False(t, has())
	c.Targets = []intent.RouteTarget{target("9:9")}
	m.TakeRoutes("leaf2", []RouteChange{c})
	require.True(t, has())
	m.Delete(r.Ref())
	require.False(t, has())
	require.NotEmpty(t, m.nodes["leaf2"].said)
}
