package overlay

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// bridgedRouter has a server on tor in web, and VMs on hv1 and hv2 in db, which a
// router joins.
func bridgedRouter(replication string) *Model {
	m := NewModel()
	web, db := network("web", 100), network("db", 200)
	web.Spec.Subnets, db.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/28")}, []netip.Prefix{netip.MustParsePrefix("192.168.0.16/28")}
	m.Put(web)
	m.Put(db)
	m.Put(&intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: 900, Networks: []intent.RouterNetwork{{Network: "web"}, {Network: "db"}}}})
	tor := hypervisor(9)
	tor.Metadata.Name, tor.Spec.VSwitch, tor.Spec.HardwareVTEP = "tor", nil, &intent.HardwareVTEP{Replication: replication}
	m.Put(tor)
	m.Put(hypervisor(1))
	m.Put(hypervisor(2))
	m.Put(port("s", "web", 3, intent.Binding{Node: "tor", Interface: "eth1"}))
	m.Put(port("a", "db", 17, intent.Binding{IfaceID: "a"}))
	m.Put(port("b", "db", 18, intent.Binding{IfaceID: "b"}))
	return m
}

func has(m *Model, node string, names ...string) {
	var all []Interface
	for i, n := range names {
		all = append(all, Interface{Name: n, IfaceID: n, OFPort: uint32(i + 1)})
	}
	m.Observe(node, all)
}

// gatewayOf is the gateway as an edge knows it for what is behind tor.
func gatewayOf(t *testing.T, m *Model, node string) (gateway netip.Addr) {
	for _, l := range m.Local(node) {
		require.NotNil(t, l.Routing)
		for _, b := range l.Routing.VRF.Bridges {
			require.Equal(t, Bridge{100, vtep("10.0.0.9"), b.Gateway}, b)
			gateway = b.Gateway
		}
	}
	return gateway
}

// sendersOf are those that an edge knows.
func sendersOf(m *Model, node string) (all []netip.Addr) {
	for _, l := range m.Local(node) {
		all = l.Routing.VRF.Senders
	}
	return all
}

func TestGatewayOfAHardwareVTEP(t *testing.T) {
	m := bridgedRouter("")
	has(m, "tor", "eth1")
	require.False(t, gatewayOf(t, m, "tor").IsValid(), "no vSwitch has the router")
	has(m, "hv2", "b")
	require.Equal(t, vtep("10.0.0.2"), gatewayOf(t, m, "tor"))
	has(m, "hv1", "a")
	for _, n := range []string{"tor", "hv1", "hv2"} {
		require.Equal(t, vtep("10.0.0.1"), gatewayOf(t, m, n), "the first by name, at %s", n)
	}
	require.Equal(t, []netip.Addr{vtep("10.0.0.1"), vtep("10.0.0.2")}, sendersOf(m, "tor"))
	moved := hypervisor(1)
	moved.Spec.VTEP = vtep("10.0.1.1")
	m.Put(moved)
	require.Equal(t, vtep("10.0.1.1"), gatewayOf(t, m, "tor"))
	has(m, "hv1")
	require.Equal(t, vtep("10.0.0.2"), gatewayOf(t, m, "hv2"), "its last port went")
	require.Equal(t, []netip.Addr{vtep("10.0.0.2")}, sendersOf(m, "tor"))
	has(m, "tor")
	require.False(t, gatewayOf(t, m, "hv2").IsValid(), "nobody is behind it")
}

// A switch for which another one replicates hears only of that one.
func TestGatewayIsWhoReplicates(t *testing.T) {
	m := bridgedRouter(serviceNode)
	has(m, "tor", "eth1")
	has(m, "hv1", "a")
	require.Equal(t, vtep("10.0.0.1"), gatewayOf(t, m, "tor"))
	m.Put(port("w", "web", 4, intent.Binding{IfaceID: "w"}))
	has(m, "hv2", "w")
	require.Equal(t, vtep("10.0.0.2"), gatewayOf(t, m, "tor"))
}

// After a start nobody is appointed that another one precedes which has not reported.
func TestGatewayWaitsForReports(t *testing.T) {
	m := bridgedRouter("")
	m.Hold(true)
	has(m, "tor", "eth1")
	has(m, "hv2", "b")
	require.False(t, gatewayOf(t, m, "hv2").IsValid())
	has(m, "hv1")
	require.Equal(t, vtep("10.0.0.2"), gatewayOf(t, m, "hv2"))

	m = bridgedRouter("")
	m.Hold(true)
	has(m, "tor", "eth1")
	has(m, "hv2", "b")
	m.Hold(false)
	require.Equal(t, vtep("10.0.0.2"), gatewayOf(t, m, "tor"), "it may never report")
}
