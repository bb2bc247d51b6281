package overlay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// toFabric is an interconnect with networks of tenant t, NAME=TARGET each.
func toFabric(name string, peers []string, networks ...string) *intent.Interconnect {
	c := &intent.Interconnect{Metadata: intent.Metadata{Name: name}, Spec: intent.InterconnectSpec{ASN: 64513}}
	for _, p := range peers {
		c.Spec.Peers = append(c.Spec.Peers, intent.FabricPeer{Address: netip.MustParseAddr(p)})
	}
	for _, n := range networks {
		network, target, _ := strings.Cut(n, "=")
		c.Spec.Networks = append(c.Spec.Networks, intent.StretchedNetwork{Tenant: "t", Network: network, RouteTarget: target})
	}
	return c
}

// there is a route of another fabric's VTEP.
func there(i byte, v intent.VNI, ip, targets string) RouteChange {
	c := macRoute(i, v, ip, targets)
	c.RD, c.VTEP = evpn.NewRD(64513, v), vtep("10.80.0.1")
	return c
}

func flooder(v intent.VNI, targets string) RouteChange {
	c := there(0, v, "", targets)
	c.Key = evpn.FloodKey(c.VTEP)
	return c
}

const eastPeer = "east@192.0.2.1"

// bridged is a model with network web, VNI 100, stretched to a fabric.
func bridged() *Model {
	m := NewModel()
	m.Put(network("web", 100))
	m.Put(network("db", 200))
	m.Put(toFabric("east", []string{"192.0.2.1"}, "web=65500:1"))
	m.Touched()
	return m
}

func TestOnlyWhatIsStretchedComesIn(t *testing.T) {
	m := bridged()
	m.TakeRoutes(eastPeer, []RouteChange{there(1, 100, "192.168.0.50", "65500:1"), flooder(100, "65500:1")})
	require.Equal(t, []string{"IMET 00:00:00:00:00:00 10.80.0.1 10.80.0.1", "MAC/IP 02:01:00:00:00:01 192.168.0.50 10.80.0.1", "MAC/IP 02:01:00:00:00:01 invalid IP 10.80.0.1"}, rowsOf(m, 100))
	for p := range m.Segment(100).Rows() {
		require.Equal(t, evpn.OriginFabric, p.Origin)
	}
	require.Empty(t, m.TakeAlarms())

	// The automatic target of a network, one that it imports, and a prefix: none
	// of these is between fabrics.
	imports := network("db", 200)
	imports.Spec.RouteTargets.Import = []string{"1:1"}
	m.Put(imports)
	prefix := RouteChange{Route: evpn.Route{Key: evpn.PrefixKey(netip.MustParsePrefix("10.9.0.0/16")), RD: evpn.NewRD(64513, 9), VNI: 9, VTEP: vtep("10.80.0.1"),
		RouterMAC: intent.MAC{6}, Targets: []intent.RouteTarget{target("65500:1")}}}
	m.TakeRoutes(eastPeer, []RouteChange{there(2, 100, "", "64512:100"), there(3, 200, "", "64513:200"), there(4, 200, "", "1:1"), prefix})
	require.Len(t, rowsOf(m, 100), 3)
	require.Empty(t, rowsOf(m, 200))
	alarms := m.TakeAlarms()
	require.Len(t, alarms, 3, "one for each target: %v", alarms)
	for _, a := range alarms {
		require.Equal(t, AlarmUnknownVNI, a.Reason)
		require.Equal(t, eastPeer, a.Device)
	}
	// And a leaf of ours can't speak for another fabric.
	m.Put(leaf(2))
	m.TakeRoutes("leaf2", []RouteChange{macRoute(5, 100, "", "65500:1")})
	require.Len(t, rowsOf(m, 100), 3)
}

func TestANetworkWithAnotherVNIThereIsNotUsed(t *testing.T) {
	m := bridged()
	c := there(1, 300, "", "65500:1")
	m.TakeRoutes(eastPeer, []RouteChange{c, flooder(300, "65500:1")})
	require.Empty(t, rowsOf(m, 100))
	alarms := m.TakeAlarms()
	require.Len(t, alarms, 1)
	require.Equal(t, "Network t/web VNI 300", alarms[0].Object)
	require.Contains(t, alarms[0].Message, "give the network the same spec.vni in both fabrics")
	m.Put(network("web", 300))
	require.Len(t, rowsOf(m, 300), 2, "it is taken once the VNIs are the same")
	alarms = m.TakeAlarms()
	require.Len(t, alarms, 1)
	require.Empty(t, alarms[0].Message)
	m.Delete(intent.Ref{Kind: intent.KindNetwork, Tenant: "t", Name: "web"})
	require.Empty(t, rowsOf(m, 300))
}

func TestStretchingBeginsAndEnds(t *testing.T) {
	m := bridged()
	m.TakeRoutes(eastPeer, []RouteChange{there(1, 100, "", "65500:1"), there(2, 200, "", "65500:2")})
	require.Len(t, rowsOf(m, 100), 1)
	m.TakeAlarms()
	m.Put(toFabric("east", []string{"192.0.2.1"}, "db=65500:2"))
	require.Empty(t, rowsOf(m, 100))
	require.Len(t, rowsOf(m, 200), 1)
	_, vnis := m.Touched()
	require.Equal(t, []intent.VNI{100, 200}, vnis)
	m.Put(toFabric("east", []string{"192.0.2.9"}, "web=65500:1"))
	require.Empty(t, rowsOf(m, 200), "the peer is gone")
	require.False(t, m.IsPeer(eastPeer))
	m.Delete(intent.Ref{Kind: intent.KindInterconnect, Name: "east"})
	require.True(t, m.FabricsReported())
	for _, a := range m.TakeAlarms() {
		require.Empty(t, a.Message, "all alarms end")
	}
}

// What a controller that starts has for VTEPs it does not know stays until the
// other fabric has told what it has.
func TestAnAbsentFabricIsWaitedFor(t *testing.T) {
	m := bridged()
	m.Put(hypervisor(1))
	m.Observe("hv1", nil)
	away := m.Unreported()
	require.False(t, away.None())
	require.True(t, away.Has(vtep("10.80.0.1")))
	require.False(t, away.Has(m.Node("hv1").Spec.VTEP), "one of ours that has reported")
	require.True(t, m.AllReported())
	require.Equal(t, 1, m.Away())
	m.Synced(eastPeer)
	require.True(t, m.Unreported().None())
	require.False(t, m.Unreported().Has(vtep("10.80.0.1")))
}

// A station that moves to the other fabric and back is where its newest route is;
// a port of ours that is still plugged in keeps what is its own.
func TestAStationMovesBetweenFabrics(t *testing.T) {
	m := bridged()
	m.Put(hypervisor(1))
	p := port("vm", "web", 10, intent.Binding{IfaceID: "vm"})
	m.Put(p)
	here := func() evpn.Row {
		r, ok := m.Segment(100).Get(evpn.MACKey(p.Spec.MAC))
		require.True(t, ok)
		return r
	}
	plugged := []Interface{{Name: "tap", IfaceID: "vm", OFPort: 1}}
	m.Observe("hv1", plugged)
	require.Equal(t, evpn.OriginPort, here().Origin)
	c := there(1, 100, "", "65500:1")
	c.Key, c.Seq = evpn.MACKey(p.Spec.MAC), 1
	m.TakeRoutes(eastPeer, []RouteChange{c})
	require.Equal(t, evpn.OriginPort, here().Origin, "it is still here")
	alarms := m.TakeAlarms()
	require.Len(t, alarms, 1, "it is in two places")
	require.Equal(t, AlarmSpoofing, alarms[0].Reason)
	m.Observe("hv1", nil)
	require.Equal(t, vtep("10.80.0.1"), here().VTEP)
	m.Observe("hv1", plugged)
	require.Equal(t, evpn.OriginPort, here().Origin)
	require.Equal(t, uint32(2), here().Seq, "so that the other fabric follows")
}

// fabric does something about the other fabric: an interconnect, its peers'
// routes, or that it has told all.
func (w *world) fabric() string {
	switch w.IntN(5) {
	case 0:
		peers := [][]string{{"192.0.2.1"}, {"192.0.2.2"}, {"192.0.2.1", "192.0.2.2"}}[w.IntN(3)]
		var networks []string
		for i := range oracleNetworks {
			if w.IntN(2) == 0 {
				networks = append(networks, fmt.Sprintf("n%d=65500:%d", i, i+w.IntN(2)*10))
			}
		}
		c := toFabric("east", peers, networks...)
		for n := range w.routes { // as the engine: with its session ends what a peer said
			if _, ok := InterconnectOf(n); ok && !slices.Contains(peersOf(c), n) {
				delete(w.routes, n)
			}
		}
		for n := range w.synced {
			if _, ok := InterconnectOf(n); ok && !slices.Contains(peersOf(c), n) {
				delete(w.synced, n)
			}
		}
		return w.put(c)
	case 1:
		if n := w.peer(); w.m.IsPeer(n) {
			w.m.Synced(n)
			w.synced[n] = true
			return n + " is synced"
		}
	case 2:
		if n := w.peer(); w.m.IsPeer(n) && w.IntN(4) == 0 {
			w.m.TakePeerLost(n)
			delete(w.routes, n)
			return n + " is lost"
		}
	}
	n := w.peer()
	if !w.m.IsPeer(n) {
		return "no peer " + n
	}
	i := w.IntN(oracleNetworks)
	c := there(byte(w.IntN(3)), firstVNI+intent.VNI(i), []string{"", "192.168.0.1", "192.168.0.2"}[w.IntN(3)], fmt.Sprintf("65500:%d", i+w.IntN(2)*10))
	if w.IntN(6) == 0 {
		c.VNI = lastVNI
	}
	if w.IntN(4) == 0 {
		c.Key = evpn.FloodKey(c.VTEP)
	}
	// Which of two peers wins must not depend on who came first.
	c.VTEP = netip.AddrFrom4([4]byte{10, 80, 0, n[len(n)-1] - '0'})
	c.Withdrawn = w.IntN(4) == 0
	w.m.TakeRoutes(n, []RouteChange{c})
	if w.routes[n] == nil {
		w.routes[n] = map[evpn.RouteID]RouteChange{}
	}
	if c.Withdrawn {
		delete(w.routes[n], c.ID())
	} else {
		w.routes[n][c.ID()] = c
	}
	return fmt.Sprintf("%s tells %v, withdrawn %v", n, c.Key, c.Withdrawn)
}

func (w *world) peer() string { return fmt.Sprintf("east@192.0.2.%d", 1+w.IntN(2)) }
