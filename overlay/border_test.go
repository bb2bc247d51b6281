package overlay

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// A border knows what is inside, pools and what routers advertise, and the other
// borders; it is told of each change, and needs the network's table.
func TestBordersOfExternalNetworks(t *testing.T) {
	const v = intent.VNI(7000)
	m := NewModel()
	leaf := func(i byte) *intent.Node {
		return &intent.Node{Metadata: intent.Metadata{Name: "leaf" + string('0'+i)}, Spec: intent.NodeSpec{VTEP: netip.AddrFrom4([4]byte{10, 0, 0, i}), ASN: 65000 + uint32(i), EVPN: &intent.EVPN{}}}
	}
	m.Put(leaf(1))
	m.Put(leaf(2))
	pool := netip.MustParsePrefix("203.0.113.0/24")
	x := &intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: v, Pools: []netip.Prefix{pool},
		Borders: []intent.Border{{Node: "leaf1", Peers: []intent.BorderPeer{{ASN: 64999}}}, {Node: "leaf2"}}}}
	m.Put(x)
	touched := func() []string {
		nodes, _ := m.Touched()
		return nodes
	}
	require.Equal(t, []string{"leaf1", "leaf2"}, touched())
	require.Equal(t, []Border{{Network: x, Border: x.Spec.Borders[0], Announce: []netip.Prefix{pool}, Others: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}}, m.Borders("leaf1"))
	require.Empty(t, m.Borders("leaf3"))
	require.Equal(t, []string{"leaf1", "leaf2"}, slices.Sorted(m.Carriers(v)))

	n := &intent.Network{Metadata: intent.Metadata{Name: "web", Tenant: "t"}, Spec: intent.NetworkSpec{VNI: 100, Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}}}
	m.Put(n)
	touched()
	advertised := netip.MustParsePrefix("10.1.0.0/25")
	r := &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: 5000, Networks: []intent.RouterNetwork{{Network: "web"}},
		External: &intent.RouterExternal{Network: "internet", Advertise: []netip.Prefix{advertised}}}}
	m.Put(r)
	require.Subset(t, touched(), []string{"leaf1", "leaf2"})
	require.Equal(t, []netip.Prefix{advertised, pool}, m.Borders("leaf2")[0].Announce)
	m.Delete(r.Ref())
	require.Subset(t, touched(), []string{"leaf1", "leaf2"})
	require.Equal(t, []netip.Prefix{pool}, m.Borders("leaf2")[0].Announce, "what is not advertised any more is not announced")

	moved := leaf(2)
	moved.Spec.VTEP = netip.MustParseAddr("10.0.0.9")
	m.Put(moved)
	require.Contains(t, touched(), "leaf1")
	require.Equal(t, []netip.Addr{moved.Spec.VTEP}, m.Borders("leaf1")[0].Others)

	one := *x
	one.Spec.Borders = x.Spec.Borders[1:]
	m.Put(&one)
	require.Contains(t, touched(), "leaf1", "who is no border any more must hear of it")
	require.Empty(t, m.Borders("leaf1"))
	require.Empty(t, m.Borders("leaf2")[0].Others)
	m.Delete(x.Ref())
	require.Contains(t, touched(), "leaf2")
	require.Empty(t, m.Borders("leaf2"))
	require.Empty(t, slices.Collect(m.Carriers(v)))
}

// A border that is away leads nowhere where another one leads; where nobody else
// does, it still does.
func TestBordersThatAreAway(t *testing.T) {
	const v = intent.VNI(7000)
	m := NewModel()
	for i := byte(1); i <= 2; i++ {
		m.Put(&intent.Node{Metadata: intent.Metadata{Name: "leaf" + string('0'+i)}, Spec: intent.NodeSpec{VTEP: netip.AddrFrom4([4]byte{10, 0, 0, i}), ASN: 65000 + uint32(i), EVPN: &intent.EVPN{}}})
	}
	m.Put(&intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: v, Borders: []intent.Border{{Node: "leaf1"}, {Node: "leaf2"}}}})
	tell := func(i byte, prefix string, withdrawn bool) {
		m.TakeRoutes("leaf"+string('0'+i), []RouteChange{{Withdrawn: withdrawn, Route: evpn.Route{Key: evpn.PrefixKey(netip.MustParsePrefix(prefix)), RD: evpn.NewRD(65000+uint32(i), v), VNI: v,
			VTEP: netip.AddrFrom4([4]byte{10, 0, 0, i}), RouterMAC: intent.MAC{6, i}, Targets: []intent.RouteTarget{intent.VNIRouteTarget(65000+uint32(i), v)}}}})
	}
	led := func() map[string][]byte {
		out := map[string][]byte{}
		for r := range m.Segment(v).Rows() {
			p := netip.PrefixFrom(r.IP, int(r.Bits)).String()
			out[p] = append(out[p], r.VTEP.As4()[3])
			slices.Sort(out[p])
		}
		return out
	}
	const both, one = "0.0.0.0/0", "198.51.100.0/24"
	tell(1, both, false)
	tell(1, one, false)
	tell(2, both, false)
	require.Equal(t, map[string][]byte{both: {1, 2}, one: {1}}, led())
	m.SetAway("leaf1", true)
	require.Equal(t, map[string][]byte{both: {2}, one: {1}}, led())
	tell(2, one, false)
	require.Equal(t, map[string][]byte{both: {2}, one: {2}}, led())
	tell(2, both, true)
	require.Equal(t, map[string][]byte{both: {1}, one: {2}}, led(), "better one that may be dead than none")
	m.SetAway("leaf2", true)
	require.Equal(t, map[string][]byte{both: {1}, one: {1, 2}}, led())
	m.SetAway("leaf2", false)
	m.SetAway("leaf1", false)
	require.Equal(t, map[string][]byte{both: {1}, one: {1, 2}}, led())
	m.SetAway("leaf1", true)
	m.TakePeerLost("leaf2")
	require.Equal(t, map[string][]byte{both: {1}, one: {1}}, led())
}
