package overlay

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// What a leaf may tell other leaves.
func TestAdmits(t *testing.T) {
	ip, mac := netip.MustParseAddr("192.0.2.7"), intent.MAC{2, 0, 0, 0, 0, 7}
	rt := func(v intent.VNI) []intent.RouteTarget { return []intent.RouteTarget{intent.VNIRouteTarget(65001, v)} }
	route := func(k evpn.Key, v intent.VNI) evpn.Route {
		return evpn.Route{Key: k, RD: evpn.NewRD(65001, v), VNI: v, Targets: rt(v), VTEP: vtep("10.0.0.5")}
	}
	crossed := route(evpn.MACKey(intent.MAC{2, 9}), 100)
	crossed.Targets = rt(200)
	both := route(evpn.MACKey(intent.MAC{2, 9}), 100)
	both.Targets = append(rt(100), rt(200)...)
	here := route(evpn.MACKey(mac), 100)
	here.VTEP = vtep("10.0.0.1")
	imet := route(evpn.FloodKey(vtep("10.0.0.5")), 100)
	for _, c := range []struct {
		name  string
		route evpn.Route
		want  bool
	}{
		{"a station of its own", route(evpn.MACKey(intent.MAC{2, 9}), 100), true},
		{"its flood route", imet, true},
		{"a network that nobody has", route(evpn.MACKey(mac), 777), true},
		{"a port's MAC", route(evpn.MACKey(mac), 100), false},
		{"a port's MAC and address", route(evpn.HostKey(mac, ip), 100), false},
		{"a port's address, another MAC", route(evpn.HostKey(intent.MAC{2, 9}, ip), 100), false},
		{"a port's MAC, the port's VTEP", here, true},
		{"a port's MAC in another network", route(evpn.MACKey(mac), 200), true},
		{"into another network", crossed, false},
		{"into another network, too", both, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := admitting(ip)
			require.Equal(t, c.want, m.Admits("leaf1", &c.route))
			m.Delete(port("a", "web", 7, intent.Binding{}).Ref())
			other := c.route.VNI != 100 || len(c.route.Targets) > 1 || c.route.Targets[0] != rt(100)[0]
			require.Equal(t, c.want || !other, m.Admits("leaf1", &c.route), "the port is gone")
		})
	}

	m := admitting(ip)
	n := network("web", 100)
	n.Spec.Spoofing = intent.SpoofingReport
	m.Put(n)
	r := route(evpn.HostKey(mac, ip), 100)
	require.True(t, m.Admits("leaf1", &r), "the network only reports")

	// A port that is about to come there.
	m = admitting(ip)
	p := port("a", "web", 7, intent.Binding{IfaceID: "vm-a"})
	p.Spec.Addresses = []netip.Addr{ip}
	p.Spec.Requested = intent.Place{Node: "leaf1", Interface: "eth3"}
	m.Put(p)
	m.Observe("leaf1", []Interface{{Name: "eth3", OFPort: 1}})
	require.NotEmpty(t, m.Standby(p.Ref()))
	require.True(t, m.Admits("leaf1", &r))
	require.False(t, m.Admits("leaf2", &r))
}

// admitting has network web with a port on hv1 and network other, and a leaf.
func admitting(ip netip.Addr) *Model {
	m := NewModel()
	m.Put(network("web", 100))
	m.Put(network("other", 200))
	m.Put(hypervisor(1))
	l := leaf(1)
	l.Spec.VTEP = vtep("10.0.0.5")
	m.Put(l)
	p := port("a", "web", 7, intent.Binding{IfaceID: "vm-a"})
	p.Spec.Addresses = []netip.Addr{ip}
	m.Put(p)
	m.Observe("hv1", []Interface{{Name: "tap0", IfaceID: "vm-a", OFPort: 5}})
	return m
}
