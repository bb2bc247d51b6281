package overlay

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// routed has networks web and db of a tenant, with subnets, behind router r with
// L3VNI 900: port a of web on hv1, port b of db on hv2.
func routed() *Model {
	m := NewModel()
	for i := 1; i <= 3; i++ {
		m.Put(hypervisor(i))
	}
	m.Put(subnets(network("web", 100), "192.168.0.0/28"))
	m.Put(subnets(network("db", 200), "192.168.0.16/28", "fd00::/64"))
	m.Put(port("a", "web", 1, intent.Binding{IfaceID: "a"}))
	b := port("b", "db", 17, intent.Binding{IfaceID: "b"})
	b.Spec.Addresses = append(b.Spec.Addresses, netip.MustParseAddr("fd00::17"))
	m.Put(b)
	m.Observe("hv1", []Interface{{Name: "tapa", IfaceID: "a", OFPort: 1}})
	m.Observe("hv2", []Interface{{Name: "tapb", IfaceID: "b", OFPort: 1}})
	m.Observe("hv3", nil)
	m.Put(testRouter("r", 900, "web", "db"))
	m.Touched()
	return m
}

func subnets(n *intent.Network, ps ...string) *intent.Network {
	for _, p := range ps {
		n.Spec.Subnets = append(n.Spec.Subnets, netip.MustParsePrefix(p))
	}
	return n
}

func testRouter(name string, v intent.VNI, networks ...string) *intent.Router {
	r := &intent.Router{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.RouterSpec{VNI: v}}
	for _, n := range networks {
		r.Spec.Networks = append(r.Spec.Networks, intent.RouterNetwork{Network: n})
	}
	return r
}

func static(prefix string, hops ...intent.NextHop) intent.StaticRoute {
	return intent.StaticRoute{Prefix: netip.MustParsePrefix(prefix), NextHops: hops}
}

func portRef(name string) intent.Ref {
	return intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: name}
}

func TestEachAddressIsOneRowOfTheRoutersTable(t *testing.T) {
	m := routed()
	require.Equal(t, []string{
		"MAC/IP 02:00:00:00:00:01 192.168.0.1/0 at 10.0.0.1, L2VNI 100, router MAC 06:77:0a:00:00:01",
		"MAC/IP 02:00:00:00:00:11 192.168.0.17/0 at 10.0.0.2, L2VNI 200, router MAC 06:77:0a:00:00:02",
		"MAC/IP 02:00:00:00:00:11 fd00::17/0 at 10.0.0.2, L2VNI 200, router MAC 06:77:0a:00:00:02",
	}, routedRowsOf(m, 900))
	require.True(t, m.Carries("hv1", 900), "it is woken when the table changes")
	require.False(t, m.Carries("hv3", 900))
	a, b := m.Local("hv1")[portRef("a")], m.Local("hv2")[portRef("b")]
	require.Equal(t, []intent.VNI{900}, a.Reads())
	require.Same(t, a.Routing.VRF, b.Routing.VRF, "shared")
	require.Equal(t, []netip.Addr{netip.MustParseAddr("192.168.0.1")}, a.Routing.Gateways, "the first of the subnet")
	require.Len(t, a.Routing.VRF.Subnets, 3)

	// An address outside the subnets is bridged only.
	p := port("a", "web", 1, intent.Binding{IfaceID: "a"})
	p.Spec.Addresses = []netip.Addr{netip.MustParseAddr("10.9.9.9")}
	m.Put(p)
	require.Len(t, routedRowsOf(m, 900), 2)
}

// A change costs what it touches.
func TestRouterTouchesWhatItConcerns(t *testing.T) {
	m := routed()
	touched := func() (nodes []string, vnis []intent.VNI) { return m.Touched() }
	m.Put(port("c", "db", 18, intent.Binding{IfaceID: "c"}))
	m.Observe("hv3", []Interface{{Name: "tapc", IfaceID: "c", OFPort: 1}})
	nodes, vnis := touched()
	require.Equal(t, []string{"hv3"}, nodes, "one port more: no other edge's local ports change")
	require.Equal(t, []intent.VNI{200, 900}, vnis)

	at := m.Segment(900).Rev()
	m.Observe("hv3", nil)
	require.Equal(t, at+1, m.Segment(900).Rev(), "one row")
	touched()

	m.Put(testRouter("r", 900, "web", "db"))
	nodes, vnis = touched()
	require.Empty(t, nodes, "the same router again changes nothing")
	require.Empty(t, vnis)

	m.Put(subnets(network("apart", 300), "192.168.0.32/28"))
	m.Put(port("z", "apart", 33, intent.Binding{IfaceID: "z"}))
	m.Observe("hv3", []Interface{{Name: "tapz", IfaceID: "z", OFPort: 1}})
	_, vnis = touched()
	require.NotContains(t, vnis, intent.VNI(900), "a network that is on no router")
}

func TestRouterMovesWithThePort(t *testing.T) {
	m := routed()
	m.Observe("hv3", []Interface{{Name: "tapb", IfaceID: "b", OFPort: 4}})
	m.Observe("hv2", nil)
	require.Contains(t, routedRowsOf(m, 900), "MAC/IP 02:00:00:00:00:11 192.168.0.17/0 at 10.0.0.3, L2VNI 200, router MAC 06:77:0a:00:00:03")
	require.Len(t, routedRowsOf(m, 900), 3)
	require.False(t, m.Carries("hv2", 900))
	r, _ := m.Segment(900).Get(evpn.HostKey(intent.MAC{2, 0, 0, 0, 0, 17}, netip.MustParseAddr("fd00::17")))
	require.Equal(t, uint32(1), r.Seq)
}

func TestNetworksComeToARouterAndLeaveIt(t *testing.T) {
	m := routed()
	m.Put(testRouter("r", 900, "db"))
	require.Len(t, routedRowsOf(m, 900), 2)
	require.Nil(t, m.Local("hv1")[portRef("a")].Routing)
	m.Put(testRouter("r", 901, "db"))
	require.Empty(t, routedRowsOf(m, 900))
	require.Len(t, routedRowsOf(m, 901), 2)
	require.False(t, m.Carries("hv2", 900))

	// Two routers name one network: the first by name has it, also when the
	// other one was there before.
	m.Put(testRouter("a", 800, "db"))
	require.Len(t, routedRowsOf(m, 800), 2)
	require.Empty(t, routedRowsOf(m, 901))
	m.Delete(intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: "a"})
	require.Empty(t, routedRowsOf(m, 800))
	require.Len(t, routedRowsOf(m, 901), 2)

	// Deleted and made again with its old number.
	m.Delete(intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: "r"})
	require.Empty(t, routedRowsOf(m, 901))
	require.Nil(t, m.Local("hv2")[portRef("b")].Routing)
	m.Put(testRouter("again", 901, "web"))
	require.Len(t, routedRowsOf(m, 901), 1)

	m.Delete(intent.Ref{Kind: intent.KindNetwork, Tenant: "t", Name: "web"})
	require.Empty(t, routedRowsOf(m, 901))
	m.Put(subnets(network("web", 100), "192.168.0.0/28"))
	require.Len(t, routedRowsOf(m, 901), 1)
}

// Equal addresses in two tenants are two rows in two tables.
func TestTenantsMayHaveTheSameAddresses(t *testing.T) {
	m := routed()
	o := func(x intent.Object) intent.Object { x.Meta().Tenant = "u"; return x }
	m.Put(o(subnets(network("web", 101), "192.168.0.0/28")))
	m.Put(o(port("a", "web", 1, intent.Binding{IfaceID: "ua"})))
	m.Put(o(testRouter("r", 950, "web")))
	m.Observe("hv3", []Interface{{Name: "tapua", IfaceID: "ua", OFPort: 1}})
	require.Len(t, routedRowsOf(m, 900), 3)
	require.Equal(t, []string{"MAC/IP 02:00:00:00:00:01 192.168.0.1/0 at 10.0.0.3, L2VNI 101, router MAC 06:77:0a:00:00:03"}, routedRowsOf(m, 950))
}

// What an edge learned, or an EVPN leaf announces without a router MAC, is reached
// by bridging; a leaf that routes has its router MAC in the row.
func TestStationsThatNoPortHasAreRouted(t *testing.T) {
	m := routed()
	m.Learn("hv1", []Learned{{VNI: 100, MAC: intent.MAC{2, 9}, IP: netip.MustParseAddr("192.168.0.9")}, {VNI: 100, MAC: intent.MAC{2, 8}}})
	learned := "MAC/IP 02:09:00:00:00:00 192.168.0.9/0 at 10.0.0.1, L2VNI 100, router MAC 00:00:00:00:00:00"
	require.Contains(t, routedRowsOf(m, 900), learned)
	require.Len(t, routedRowsOf(m, 900), 4, "a MAC alone is no host")
	m.Put(testRouter("r", 900, "db"))
	require.NotContains(t, routedRowsOf(m, 900), learned)
	m.Put(testRouter("r", 900, "db", "web"))
	require.Contains(t, routedRowsOf(m, 900), learned)
	m.Learn("hv1", nil)
	require.NotContains(t, routedRowsOf(m, 900), learned)

	m.Put(leaf(8))
	c := macRoute(5, 100, "192.168.0.5", "65001:100")
	m.TakeRoutes("leaf8", []RouteChange{c})
	require.Contains(t, routedRowsOf(m, 900), "MAC/IP 02:01:00:00:00:05 192.168.0.5/0 at 10.0.0.2, L2VNI 100, router MAC 00:00:00:00:00:00")
	m.TakeRoutes("leaf8", []RouteChange{withdrawn(c)})
	require.Len(t, routedRowsOf(m, 900), 3)
	require.Empty(t, m.TakeAlarms())
}

func TestNextHops(t *testing.T) {
	m := routed()
	r := testRouter("r", 900, "web", "db")
	r.Spec.Routes = []intent.StaticRoute{
		static("10.0.0.0/8", intent.NextHop{Port: "b", Weight: 3}, intent.NextHop{Address: netip.MustParseAddr("192.168.0.1")}),
		static("172.16.0.0/12", intent.NextHop{Port: "nowhere"}),
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Blackhole: true},
	}
	m.Put(r)
	hopA, hopB := HopAddress(100, intent.MAC{2, 0, 0, 0, 0, 1}), HopAddress(200, intent.MAC{2, 0, 0, 0, 0, 17})
	require.Equal(t, "fe80::64:0:ff:fe00:1", hopA.String())
	routes := func() []Route { return m.Local("hv1")[portRef("a")].Routing.VRF.Routes }
	require.Equal(t, []Route{
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Hops: []Hop{{hopA, 1}, {hopB, 3}}},
		{Prefix: netip.MustParsePrefix("172.16.0.0/12")},
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Blackhole: true},
	}, routes())
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, m.Local("hv2")[portRef("b")].Routing.Sources)
	rows := routedRowsOf(m, 900)
	require.Contains(t, rows, "MAC/IP 02:00:00:00:00:11 "+hopB.String()+"/0 at 10.0.0.2, L2VNI 200, router MAC 00:00:00:00:00:00", "bridged to")
	require.Contains(t, rows, "prefix 00:00:00:00:00:00 10.0.0.0/8 at 10.0.0.1, L2VNI 100, router MAC 06:77:0a:00:00:01")

	// The route follows the port, and leaves out who is nowhere.
	m.Observe("hv3", []Interface{{Name: "tapb", IfaceID: "b", OFPort: 4}})
	m.Observe("hv2", nil)
	require.Len(t, routes()[0].Hops, 2)
	require.Contains(t, routedRowsOf(m, 900), "MAC/IP 02:00:00:00:00:11 "+hopB.String()+"/0 at 10.0.0.3, L2VNI 200, router MAC 00:00:00:00:00:00")
	m.Observe("hv3", nil)
	require.Equal(t, []Hop{{hopA, 1}}, routes()[0].Hops)
	m.Put(port("nowhere", "web", 5, intent.Binding{IfaceID: "n"}))
	m.Observe("hv3", []Interface{{Name: "tapb", IfaceID: "b", OFPort: 4}, {Name: "tapn", IfaceID: "n", OFPort: 5}})
	require.Len(t, routes()[0].Hops, 2)
	require.Len(t, routes()[1].Hops, 1)

	// Somebody else has the address now.
	p := port("a", "web", 1, intent.Binding{IfaceID: "a"})
	p.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.168.0.2")}
	m.Put(p)
	require.Equal(t, []Hop{{hopB, 3}}, routes()[0].Hops)
	require.Empty(t, m.Local("hv1")[portRef("a")].Routing.Sources)
}

// While an edge has not reported, a next hop that is nowhere may be there.
func TestNextHopsAreKeptUntilAllHaveReported(t *testing.T) {
	m := NewModel()
	m.Put(hypervisor(1))
	m.Put(hypervisor(2))
	m.Put(subnets(network("web", 100), "192.168.0.0/24"))
	m.Put(port("a", "web", 1, intent.Binding{IfaceID: "a"}))
	m.Put(port("b", "web", 2, intent.Binding{IfaceID: "b"}))
	r := testRouter("r", 900, "web")
	r.Spec.Routes = []intent.StaticRoute{static("0.0.0.0/0", intent.NextHop{Port: "b"})}
	m.Put(r)
	m.Observe("hv1", []Interface{{Name: "tapa", IfaceID: "a", OFPort: 1}})
	hops := func() []Hop { return m.Local("hv1")[portRef("a")].Routing.VRF.Routes[0].Hops }
	require.Len(t, hops(), 1, "hv2 has not reported")
	m.Observe("hv2", nil)
	require.Empty(t, hops())
	m.Put(hypervisor(3))
	require.Len(t, hops(), 1, "it may be on a new edge")
	m.Delete(intent.Ref{Kind: intent.KindNode, Name: "hv3"})
	require.Empty(t, hops())
}
