package overlay

import (
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

// After any sequence of routes, networks and ports the tables equal those of a
// model that is told only the end.
func TestRoutesEqualFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewModel()
		networks := map[intent.VNI]*intent.Network{}
		routes := map[string]map[evpn.RouteID]RouteChange{"leaf1": {}, "leaf2": {}}
		m.Put(leaf(1))
		m.Put(leaf(2))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			v := intent.VNI(rapid.IntRange(100, 102).Draw(t, "vni"))
			node := rapid.SampledFrom([]string{"leaf1", "leaf2"}).Draw(t, "node")
			switch rapid.IntRange(0, 6).Draw(t, "op") {
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
		want.Put(leaf(1))
		want.Put(leaf(2))
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
		raised := map[Alarm]int{}
		for _, a := range m.TakeAlarms() {
			by := 1
			if a.Message == "" {
				by = -1
			}
			a.Message = ""
			if raised[a] += by; raised[a] < 0 || raised[a] > 1 {
				t.Fatalf("alarm %v is raised %d times", a, raised[a])
			}
		}
		for _, a := range want.TakeAlarms() {
			if a.Message != "" {
				a.Message = ""
				raised[a]--
			} else {
				raised[a]++
			}
		}
		for a, n := range raised {
			if n != 0 {
				t.Fatalf("alarm %v: %d", a, n)
			}
		}
	})
}
