package overlay

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

func target(s string) intent.RouteTarget {
	t, err := intent.ParseRouteTarget(s)
	if err != nil {
		panic(err)
	}
	return t
}

func macRoute(i byte, v intent.VNI, ip, targets string) RouteChange {
	k := evpn.MACKey(intent.MAC{2, 1, 0, 0, 0, i})
	if ip != "" {
		k = evpn.HostKey(k.MAC, netip.MustParseAddr(ip))
	}
	return RouteChange{Route: evpn.Route{Key: k, RD: evpn.NewRD(65001, v), VNI: v, Targets: []intent.RouteTarget{target(targets)}, VTEP: vtep("10.0.0.2")}}
}

func withdrawn(c RouteChange) RouteChange {
	c.Withdrawn = true
	return c
}

func TestRoutesGoWhereTheirTargetsSay(t *testing.T) {
	m := NewModel()
	m.Put(leaf(2))
	m.Put(network("web", 100))
	host := macRoute(1, 100, "192.168.0.50", "65001:100")
	m.TakeRoutes("leaf2", []RouteChange{host})
	require.Equal(t, []string{"MAC/IP 02:01:00:00:00:01 192.168.0.50 10.0.0.2", "MAC/IP 02:01:00:00:00:01 invalid IP 10.0.0.2"}, rowsOf(m, 100),
		"a MAC/IP route tells where the MAC is, too")
	m.TakeRoutes("leaf2", []RouteChange{macRoute(1, 100, "", "65001:100"), withdrawn(host)})
	require.Equal(t, []string{"MAC/IP 02:01:00:00:00:01 invalid IP 10.0.0.2"}, rowsOf(m, 100))
	require.Empty(t, m.TakeAlarms())

	stray := macRoute(2, 200, "", "65001:200")
	m.TakeRoutes("leaf2", []RouteChange{stray, macRoute(3, 200, "", "65001:200")})
	alarms := m.TakeAlarms()
	require.Len(t, alarms, 1, "once, however many routes")
	require.Equal(t, "leaf2", alarms[0].Device)
	require.Equal(t, AlarmUnknownVNI, alarms[0].Reason)
	m.Put(network("db", 200))
	require.Len(t, rowsOf(m, 200), 2, "routes are there when the network comes later")
	require.Len(t, m.TakeAlarms(), 1)
	m.Delete(intent.Ref{Kind: intent.KindNetwork, Tenant: "t", Name: "db"})
	require.Empty(t, rowsOf(m, 200))
	require.Len(t, m.TakeAlarms(), 1)

	n := network("web", 100)
	n.Spec.RouteTargets.Import = []string{"65001:77"}
	m.Put(n)
	require.Empty(t, rowsOf(m, 100), "another target is imported now")
	m.TakeRoutes("leaf2", []RouteChange{macRoute(4, 100, "", "65001:77")})
	require.Len(t, rowsOf(m, 100), 1)
	m.TakePeerLost("leaf2")
	require.Empty(t, rowsOf(m, 100))
	m.TakeAlarms()
	m.TakeRoutes("leaf2", []RouteChange{macRoute(5, 300, "", "65001:77")})
	require.Empty(t, rowsOf(m, 100), "its label is another segment")
	require.Len(t, m.TakeAlarms(), 1)
}

func TestPortsAreNotImitated(t *testing.T) {
	m, p := twoHosts(t)
	m.Put(leaf(2))
	mac := macRoute(0, 100, "", "65001:100")
	mac.MAC, mac.Seq = p.Spec.MAC, 9
	m.TakeRoutes("leaf2", []RouteChange{mac})
	r, _ := m.Segment(100).Get(mac.Key)
	require.Equal(t, vtep("10.0.0.1"), r.VTEP)
	alarms := m.TakeAlarms()
	require.Len(t, alarms, 1)
	require.Equal(t, AlarmSpoofing, alarms[0].Reason)
	m.TakeRoutes("leaf2", []RouteChange{withdrawn(mac)})
	require.Equal(t, []Alarm{{Device: "leaf2", Reason: AlarmSpoofing, Object: alarms[0].Object}}, m.TakeAlarms())

	ip := macRoute(5, 100, p.Spec.Addresses[0].String(), "65001:100")
	m.TakeRoutes("leaf2", []RouteChange{ip})
	_, ok := m.Segment(100).Get(ip.Key)
	require.False(t, ok, "the address is a port's")
	require.Len(t, m.TakeAlarms(), 1)
	m.Delete(p.Ref())
	_, ok = m.Segment(100).Get(ip.Key)
	require.True(t, ok, "nobody's address any more")
	require.Len(t, m.TakeAlarms(), 1)
	m.Put(p)

	n := network("web", 100)
	n.Spec.Spoofing = intent.SpoofingReport
	m.Put(n)
	m.TakeRoutes("leaf2", []RouteChange{mac})
	r, _ = m.Segment(100).Get(mac.Key)
	require.Equal(t, vtep("10.0.0.2"), r.VTEP, "followed, and told")
	require.NotEmpty(t, m.TakeAlarms())
}

// An alarm about what offends against a port ends with the port, too, and when
// it comes to the place; a route that was there before the port offends as well.
func TestSpoofingEndsWithItsPort(t *testing.T) {
	m, p := twoHosts(t)
	m.Put(leaf(2))
	m.Put(leaf(3))
	mac := macRoute(0, 100, "192.168.0.99", "65001:100") // becomes two rows
	mac.MAC, mac.VTEP = p.Spec.MAC, vtep("10.0.0.3")
	m.TakeRoutes("leaf3", []RouteChange{mac})
	raised := m.TakeAlarms()
	require.Len(t, raised, 1)
	require.Contains(t, raised[0].Message, "a port's at VTEP 10.0.0.1")
	ended := []Alarm{{Device: "leaf3", Reason: AlarmSpoofing, Object: raised[0].Object}}

	mac.Seq = 3
	m.TakeRoutes("leaf3", []RouteChange{mac})
	require.Empty(t, m.TakeAlarms(), "announced again, it is the same")
	m.TakeRoutes("leaf3", []RouteChange{withdrawn(mac)})
	require.Equal(t, ended, m.TakeAlarms())

	m.TakeRoutes("leaf3", []RouteChange{mac})
	require.Equal(t, raised, m.TakeAlarms())
	m.Delete(p.Ref())
	require.Equal(t, ended, m.TakeAlarms(), "there is no port to offend against")
	m.Put(p)
	require.Equal(t, raised, m.TakeAlarms(), "the route is older than the port")
	require.Empty(t, m.offences[rowOf{100, evpn.MACKey(intent.MAC{9})}])

	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 2}})
	m.Announced("hv2", "tap9")
	moved := m.TakeAlarms()
	require.Len(t, moved, 1)
	require.Equal(t, raised[0].Object, moved[0].Object)
	require.Contains(t, moved[0].Message, "a port's at VTEP 10.0.0.2", "the same alarm tells where the port is now")

	n := hypervisor(2)
	n.Spec.VTEP = vtep("10.0.0.3")
	m.Put(n)
	require.Equal(t, ended, m.TakeAlarms(), "the port came to where it is announced")
	require.Empty(t, m.offences)
}

// What an edge still says of a port that left it is no offence: it takes it back
// when its own table ages.
func TestPortLeavesNoOffenceBehind(t *testing.T) {
	m, p := twoHosts(t)
	m.Learn("hv1", []Learned{{VNI: 100, MAC: p.Spec.MAC}})
	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 2}})
	m.Announced("hv2", "tap9")
	m.Observe("hv1", nil)
	require.Empty(t, m.TakeAlarms())
	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 3}})
	require.Empty(t, m.TakeAlarms())
}

// After any sequence of routes, networks and ports the tables equal those of a
// model that is told only the end.
func TestRoutesEqualFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewModel()
		networks := map[intent.VNI]*intent.Network{}
		routes := map[string]map[evpn.RouteID]RouteChange{"leaf1": {}, "leaf2": {}}
		ports := map[string]*intent.Port{}
		edges := func(m *Model) {
			m.Put(leaf(1))
			m.Put(leaf(2))
			m.Put(hypervisor(7))
			var plugs []Interface
			for i := range 9 {
				plugs = append(plugs, Interface{Name: fmt.Sprint("tap", i), IfaceID: fmt.Sprint("p", i), OFPort: uint32(i + 1)})
			}
			m.Observe("hv7", plugs)
		}
		edges(m)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			v := intent.VNI(rapid.IntRange(100, 102).Draw(t, "vni"))
			node := rapid.SampledFrom([]string{"leaf1", "leaf2"}).Draw(t, "node")
			switch rapid.IntRange(0, 8).Draw(t, "op") {
			case 0:
				n := network("n"+string(rune('a'+v-100)), v)
				n.Spec.RouteTargets.Import = rapid.SampledFrom([][]string{nil, nil, {"1:1"}, {"1:1", "1:2"}}).Draw(t, "import")
				networks[v] = n
				m.Put(n)
			case 1:
				if n := networks[v]; n != nil {
					m.Delete(n.Ref())
					delete(networks, v)
				}
			case 2:
				m.TakePeerLost(node)
				clear(routes[node])
			case 3, 4: // a port with a MAC that leaves announce, too
				i := rapid.IntRange(0, 2).Draw(t, "port")
				name := fmt.Sprint("p", 3*int(v-100)+i)
				if p := ports[name]; p != nil {
					m.Delete(p.Ref())
					delete(ports, name)
					continue
				}
				p := port(name, "n"+string(rune('a'+v-100)), byte(i), intent.Binding{IfaceID: name})
				p.Spec.MAC = macRoute(byte(i), v, "", "1:1").MAC
				ports[name] = p
				m.Put(p)
			default:
				// Sequence numbers are fixed by place, so that the choice does
				// not depend on the order.
				c := macRoute(byte(rapid.IntRange(0, 2).Draw(t, "mac")), v, rapid.SampledFrom([]string{"", "192.168.0.1", "192.168.0.2"}).Draw(t, "ip"),
					rapid.SampledFrom([]string{"1:1", "1:2", "65001:100", "65001:101"}).Draw(t, "target"))
				c.VTEP = vtep("10.0.0." + node[4:])
				c.Withdrawn = rapid.IntRange(0, 3).Draw(t, "withdraw") == 0
				m.TakeRoutes(node, []RouteChange{c})
				if c.Withdrawn {
					delete(routes[node], c.ID())
				} else {
					routes[node][c.ID()] = c
				}
			}
		}
		want := NewModel()
		edges(want)
		for _, p := range ports {
			want.Put(p)
		}
		for _, n := range networks {
			want.Put(n)
		}
		for node, rs := range routes {
			for _, c := range rs {
				want.TakeRoutes(node, []RouteChange{c})
			}
		}
		for v := intent.VNI(100); v < 103; v++ {
			if g, w := rowsOf(m, v), rowsOf(want, v); !slices.Equal(g, w) {
				t.Fatalf("VNI %d\n got %v\nwant %v", v, g, w)
			}
		}
		require.Equal(t, lasting(want), lasting(m))
	})
}

// lasting are the alarms that a model raised and did not end, without what they
// say.
func lasting(m *Model) map[Alarm]bool {
	out := map[Alarm]bool{}
	for _, a := range m.TakeAlarms() {
		if a.Message != "" {
			out[a.bare()] = true
		}
	}
	return out
}
