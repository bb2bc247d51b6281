package overlay

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

func pfx(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// owned puts a network of a tenant with one port on a hypervisor.
func owned(m *Model, tenant, name string, v intent.VNI, subnet string, hv int) {
	n := network(name, v)
	n.Metadata.Tenant, n.Spec.Subnets = tenant, pfx(subnet)
	p := port("vm-"+tenant+name, name, byte(v), intent.Binding{IfaceID: tenant + name})
	p.Metadata.Tenant, p.Spec.Addresses = tenant, []netip.Addr{n.Spec.Subnets[0].Addr().Next().Next()}
	m.Put(n)
	m.Put(p)
	e := m.edge(hypervisor(hv).Metadata.Name)
	ifs := []Interface{{Name: "tap" + tenant + name, IfaceID: tenant + name, OFPort: uint32(v)}}
	for _, i := range e.ifaces {
		ifs = append(ifs, i)
	}
	m.Observe(hypervisor(hv).Metadata.Name, ifs)
}

func routerOf(tenant, name string, v intent.VNI, networks ...string) *intent.Router {
	r := &intent.Router{Metadata: intent.Metadata{Name: name, Tenant: tenant}, Spec: intent.RouterSpec{VNI: v}}
	for _, n := range networks {
		r.Spec.Networks = append(r.Spec.Networks, intent.RouterNetwork{Network: n})
	}
	return r
}

func imports(target string, prefixes ...string) intent.RouterImport {
	return intent.RouterImport{RouteTarget: target, Prefixes: pfx(prefixes...)}
}

// leaksOf are those of a port: by L3VNI, prefixes and sources.
func leaksOf(m *Model, tenant, network string) map[intent.VNI][2][]netip.Prefix {
	a, _ := m.Attachment(intent.Ref{Kind: intent.KindPort, Tenant: tenant, Name: "vm-" + tenant + network})
	out := map[intent.VNI][2][]netip.Prefix{}
	if a.Routing != nil {
		for _, l := range a.Routing.VRF.Leaks {
			out[l.VRF.VNI] = [2][]netip.Prefix{l.Prefixes, l.Sources}
		}
	}
	return out
}

// sharingModel has a router of tenant s with services, and one of tenant t.
func sharingModel() (m *Model, services, user *intent.Router) {
	m = NewModel()
	m.Put(hypervisor(1))
	m.Put(hypervisor(2))
	owned(m, "s", "dns", 300, "10.9.0.0/24", 1)
	owned(m, "s", "ntp", 301, "10.9.1.0/24", 1)
	owned(m, "t", "web", 100, "10.1.0.0/24", 2)
	owned(m, "t", "db", 101, "10.2.0.0/24", 2)
	services = routerOf("s", "services", 6000, "dns", "ntp")
	services.Spec.RouteTargets.Export = []string{"65000:900"}
	user = routerOf("t", "r", 5000, "web", "db")
	user.Spec.RouteTargets.Export = []string{"65000:100"}
	return m, services, user
}

// Who has what of whom: by route targets and filters, whatever comes first, and
// with the way back.
func TestRoutersShareByRouteTargets(t *testing.T) {
	both := func(m *Model, services, user *intent.Router) {
		user.Spec.Imports = []intent.RouterImport{imports("65000:900", "10.9.0.0/25")}
		services.Spec.Imports = []intent.RouterImport{imports("65000:100", "10.1.0.0/24")}
	}
	for name, c := range map[string]struct {
		set       func(m *Model, services, user *intent.Router)
		web, dns  map[intent.VNI][2][]netip.Prefix
		reads     []intent.VNI
		untrusted bool
	}{
		"nothing": {func(*Model, *intent.Router, *intent.Router) {}, map[intent.VNI][2][]netip.Prefix{}, map[intent.VNI][2][]netip.Prefix{}, []intent.VNI{5000}, true},
		"both ways": {both, map[intent.VNI][2][]netip.Prefix{6000: {pfx("10.9.0.0/25"), pfx("10.1.0.0/24")}},
			map[intent.VNI][2][]netip.Prefix{5000: {pfx("10.1.0.0/24"), pfx("10.9.0.0/25")}}, []intent.VNI{5000, 6000}, true},
		"one way has no way back": {func(m *Model, services, user *intent.Router) {
			both(m, services, user)
			services.Spec.Imports = nil
		}, map[intent.VNI][2][]netip.Prefix{6000: {pfx("10.9.0.0/25"), nil}}, map[intent.VNI][2][]netip.Prefix{}, []intent.VNI{5000, 6000}, true},
		"all subnets without a filter": {func(m *Model, services, user *intent.Router) {
			both(m, services, user)
			user.Spec.Imports[0].Prefixes = nil
		}, map[intent.VNI][2][]netip.Prefix{6000: {pfx("10.9.0.0/24", "10.9.1.0/24"), pfx("10.1.0.0/24")}},
			map[intent.VNI][2][]netip.Prefix{5000: {pfx("10.1.0.0/24"), pfx("10.9.0.0/24", "10.9.1.0/24")}}, []intent.VNI{5000, 6000}, true},
		"another's automatic target gives nothing": {func(m *Model, services, user *intent.Router) {
			both(m, services, user)
			services.Spec.RouteTargets.Export = nil
			user.Spec.Imports[0].RouteTarget = "65000:6000"
		}, map[intent.VNI][2][]netip.Prefix{}, map[intent.VNI][2][]netip.Prefix{5000: {pfx("10.1.0.0/24"), nil}}, []intent.VNI{5000}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, first := range []bool{true, false} {
				m, services, user := sharingModel()
				c.set(m, services, user)
				order := []*intent.Router{services, user}
				if !first {
					slices.Reverse(order)
				}
				m.Put(order[0])
				m.Put(order[1])
				require.Equal(t, c.web, leaksOf(m, "t", "web"))
				require.Equal(t, c.dns, leaksOf(m, "s", "dns"))
				require.Equal(t, c.reads, m.Local("hv2")[intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: "vm-tweb"}].Reads())
				for _, v := range []intent.VNI{5000, 6000} {
					require.Equal(t, slices.Contains(c.reads, v), m.Carries("hv2", v), "table of %d", v)
				}
				for _, l := range m.Local("hv2")[intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: "vm-tweb"}].Routing.VRF.Leaks {
					require.False(t, l.Trusted, "of another tenant")
				}
				m.Delete(services.Ref())
				require.Empty(t, leaksOf(m, "t", "web"))
				require.False(t, m.Carries("hv2", 6000))
				m.Put(services)
				require.Equal(t, c.web, leaksOf(m, "t", "web"))
			}
		})
	}
}

// Two routers of one tenant share by the targets that are made of their L3VNIs, and
// groups know the stations of both.
func TestRoutersOfOneTenantShareByAutomaticTargets(t *testing.T) {
	m := NewModel()
	m.Put(hypervisor(1))
	owned(m, "t", "web", 100, "10.1.0.0/24", 1)
	owned(m, "t", "db", 101, "10.2.0.0/24", 1)
	a, b := routerOf("t", "a", 5000, "web"), routerOf("t", "b", 6000, "db")
	a.Spec.Imports, b.Spec.Imports = []intent.RouterImport{imports("1:6000")}, []intent.RouterImport{imports("1:5000")}
	m.Put(a)
	m.Put(b)
	require.Equal(t, map[intent.VNI][2][]netip.Prefix{6000: {pfx("10.2.0.0/24"), pfx("10.1.0.0/24")}}, leaksOf(m, "t", "web"))
	at, _ := m.Attachment(intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: "vm-tweb"})
	require.True(t, at.Routing.VRF.Leaks[0].Trusted)
	b.Spec.Routes = []intent.StaticRoute{{Prefix: netip.MustParsePrefix("172.16.0.0/24"), Blackhole: true}}
	n := network("db", 101)
	n.Spec.Subnets = pfx("10.2.0.0/24", "10.3.0.0/24")
	m.Put(n)
	require.Equal(t, pfx("10.2.0.0/24", "10.3.0.0/24"), leaksOf(m, "t", "web")[6000][0], "a subnet that comes is shared")
}

func internet() *intent.ExternalNetwork {
	return &intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: 7000, Pools: pfx("203.0.113.0/24"), Import: pfx("0.0.0.0/0", "198.51.100.0/24")}}
}

// ofBorder is a prefix route of a border leaf.
func ofBorder(i int, p string) RouteChange {
	v := leaf(i).Spec.VTEP
	return RouteChange{Route: evpn.Route{Key: evpn.PrefixKey(netip.MustParsePrefix(p)), RD: evpn.NewRD(uint32(65000+i), 7000), VNI: 7000, VTEP: v,
		RouterMAC: intent.MAC{6, byte(i)}, Targets: []intent.RouteTarget{target("65001:7000")}}}
}

// exits are the prefixes of a table and the VTEPs that lead there.
func exits(m *Model, v intent.VNI) map[string][]string {
	out := map[string][]string{}
	if s := m.Segment(v); s != nil {
		for r := range s.Rows() {
			if r.Type == evpn.PREFIX {
				p := netip.PrefixFrom(r.IP, int(r.Bits)).String()
				out[p] = append(out[p], r.VTEP.String())
				slices.Sort(out[p])
			}
		}
	}
	return out
}

// Each border that announces a prefix is a row of its own, and leaves alone; the
// filter and what is inside hold.
func TestBordersAnnounceTheSamePrefix(t *testing.T) {
	m, _, user := sharingModel()
	user.Spec.External = &intent.RouterExternal{Network: "internet", Advertise: pfx("10.1.0.0/25")}
	m.Put(leaf(8))
	m.Put(leaf(9))
	m.Put(user)
	m.TakeRoutes("leaf8", []RouteChange{ofBorder(8, "0.0.0.0/0")})
	m.Put(internet())
	require.Equal(t, map[intent.VNI][2][]netip.Prefix{7000: {everywhere, pfx("10.1.0.0/25")}}, leaksOf(m, "t", "web"))
	require.True(t, m.Carries("hv2", 7000))
	require.False(t, m.Carries("hv1", 7000))
	m.TakeRoutes("leaf9", []RouteChange{ofBorder(9, "0.0.0.0/0")})
	for _, p := range []string{"198.51.100.64/26", "198.51.100.0/24", "203.0.113.7/32", "203.0.113.0/24", "10.1.0.0/25", "10.1.0.7/32", "2001:db8::/32"} {
		m.TakeRoutes("leaf9", []RouteChange{ofBorder(9, p)})
	}
	a, b := leaf(8).Spec.VTEP.String(), leaf(9).Spec.VTEP.String()
	require.Equal(t, map[string][]string{"0.0.0.0/0": {a, b}, "198.51.100.64/26": {b}, "198.51.100.0/24": {b}}, exits(m, 7000))
	limited := internet()
	limited.Spec.Import = pfx("198.51.100.0/24")
	m.Put(limited)
	require.Equal(t, map[string][]string{"198.51.100.64/26": {b}, "198.51.100.0/24": {b}}, exits(m, 7000))
	m.Put(internet())
	require.Equal(t, []string{a, b}, exits(m, 7000)["0.0.0.0/0"])

	// Another router MAC is another row, and the old one goes.
	changed := ofBorder(8, "0.0.0.0/0")
	changed.RouterMAC = intent.MAC{6, 77}
	m.TakeRoutes("leaf8", []RouteChange{changed})
	require.Equal(t, []string{a, b}, exits(m, 7000)["0.0.0.0/0"])
	m.TakePeerLost("leaf8")
	require.Equal(t, []string{b}, exits(m, 7000)["0.0.0.0/0"])
	m.Delete(intent.ExternalRef("internet"))
	require.Empty(t, exits(m, 7000))
	require.Empty(t, leaksOf(m, "t", "web"))
	require.Nil(t, m.ExternalWith(7000))
}

// What is advertised has rows outside, with the router MAC of its vSwitch, and
// nothing else has; they follow the port.
func TestAdvertisedHostsHaveRowsOutside(t *testing.T) {
	m, _, user := sharingModel()
	user.Spec.External = &intent.RouterExternal{Network: "internet", Advertise: pfx("10.1.0.0/25")}
	m.Put(internet())
	m.Put(user)
	hosts := func() (out []string) {
		s := m.Segment(7000)
		if s == nil {
			return nil
		}
		for r := range s.Rows() {
			require.Equal(t, evpn.MACIP, r.Type)
			require.Equal(t, intent.RouterMAC(r.VTEP), r.RouterMAC)
			require.Equal(t, intent.VNI(100), r.VNI)
			out = append(out, r.IP.String()+" at "+r.VTEP.String())
		}
		return out
	}
	require.Equal(t, []string{"10.1.0.2 at 10.0.0.2"}, hosts())
	ifs := []Interface{{Name: "new", IfaceID: "tweb", OFPort: 7}}
	m.Observe("hv2", nil)
	require.Empty(t, hosts())
	m.Observe("hv1", ifs)
	require.Equal(t, []string{"10.1.0.2 at 10.0.0.1"}, hosts())
	user = routerOf("t", "r", 5000, "web", "db")
	user.Spec.External = &intent.RouterExternal{Network: "internet", Advertise: pfx("10.2.0.0/24")}
	m.Put(user)
	require.Empty(t, hosts())
}

// An EVPN leaf can't look anything up in another VRF, and is not asked to. The hosts
// of other routers that share with its router have rows in the table of that, as long
// as it has stations on leaves.
func TestLeavesKnowWhatIsShared(t *testing.T) {
	m, services, user := sharingModel()
	user.Spec.Imports = []intent.RouterImport{imports("65000:900")}
	services.Spec.Imports = []intent.RouterImport{imports("65000:100", "10.1.0.0/24")}
	user.Spec.External = &intent.RouterExternal{Network: "internet", Advertise: pfx("10.1.0.0/24")}
	m.Put(leaf(8))
	srv := port("srv", "web", 9, intent.Binding{Node: "leaf8", Interface: "eth1"})
	srv.Spec.Addresses = []netip.Addr{netip.MustParseAddr("10.1.0.9")}
	m.Put(srv)
	m.Put(internet())
	m.Put(services)
	m.Put(user)
	m.Observe("leaf8", []Interface{{Name: "eth1", OFPort: 1}})
	at, ok := m.Attachment(srv.Ref())
	require.True(t, ok)
	require.NotNil(t, at.Routing)
	require.Empty(t, at.Routing.VRF.Leaks)
	require.Equal(t, []intent.VNI{5000}, at.Reads())
	require.NotEmpty(t, leaksOf(m, "t", "web"))
	for r := range m.Segment(7000).Rows() {
		require.NotEqual(t, at.Addresses[0], r.IP)
	}

	guests := func(v intent.VNI) (out []string) {
		for r := range m.Segment(v).Rows() {
			if n := m.NetworkOf(r.VNI); n != nil && m.RouterOf(n.Ref()).Spec.VNI != v {
				require.Equal(t, intent.RouterMAC(r.VTEP), r.RouterMAC)
				out = append(out, r.IP.String())
			}
		}
		slices.Sort(out)
		return out
	}
	leafOf := func(tenant, network string) bool {
		a, _ := m.Attachment(intent.Ref{Kind: intent.KindPort, Tenant: tenant, Name: "vm-" + tenant + network})
		return slices.ContainsFunc(a.Routing.VRF.Leaks, func(l Leak) bool { return l.Leaf })
	}
	require.Equal(t, []string{"10.9.0.2", "10.9.1.2"}, guests(5000), "what red's router imports")
	require.Empty(t, guests(6000), "no station of it is on a leaf")
	require.True(t, leafOf("s", "dns"))
	require.False(t, leafOf("t", "web"))
	services.Spec.RouteTargets.Export = nil
	m.Put(services)
	require.Empty(t, guests(5000), "nothing is shared any more")
	services = routerOf("s", "services", 6000, "dns", "ntp")
	services.Spec.RouteTargets.Export, services.Spec.Imports = []string{"65000:900"}, []intent.RouterImport{imports("65000:100", "10.1.0.0/24")}
	m.Put(services)
	require.Len(t, guests(5000), 2)
	m.Observe("leaf8", nil)
	require.Empty(t, guests(5000))
	require.False(t, leafOf("s", "dns"))
}
