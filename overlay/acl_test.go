package overlay

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func networkACL(name string, rules ...intent.ACLRule) *intent.NetworkACL {
	return &intent.NetworkACL{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.NetworkACLSpec{Rules: rules}}
}

var (
	allowTCP = intent.ACLRule{Action: intent.Allow, Direction: intent.Ingress, Protocol: "tcp"}
	denyUDP  = intent.ACLRule{Action: intent.Deny, Direction: intent.Ingress, Protocol: "udp"}
)

// judgedModel has networks n0 and n1 on hv1 and hv2, of which n0 has the ACL "edge",
// and for its second subnet "db".
func judgedModel() *Model {
	m := NewModel()
	m.Put(hypervisor(1))
	m.Put(hypervisor(2))
	for i := range 2 {
		n := network(fmt.Sprintf("n%d", i), intent.VNI(100+i))
		n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.1.0/24", i)), netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", i))}
		if i == 0 {
			n.Spec.ACLs = []intent.SubnetACL{{ACL: "edge"}, {ACL: "db", Subnet: n.Spec.Subnets[0]}}
		}
		m.Put(n)
		name := fmt.Sprintf("p%d", i)
		m.Put(port(name, n.Metadata.Name, byte(i+1), intent.Binding{IfaceID: name}))
		m.Observe(fmt.Sprintf("hv%d", i+1), []Interface{{Name: "tap", IfaceID: name, OFPort: 1}})
	}
	m.Touched()
	return m
}

func (m *Model) aclsOf(t *testing.T, port string) *NetworkACLs {
	a, ok := m.Attachment(intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: port})
	require.True(t, ok)
	return a.ACLs
}

// An ACL that is not there allows nothing; which subnet has which does not depend on
// the order in which they came.
func TestNetworkACLs(t *testing.T) {
	m := judgedModel()
	b := m.aclsOf(t, "p0")
	require.Equal(t, &NetworkACLs{Rest: &ACL{Tenant: "t", Name: "edge"}, Subnets: []ACLSubnet{
		{netip.MustParsePrefix("10.0.0.0/24"), &ACL{Tenant: "t", Name: "edge"}}, {netip.MustParsePrefix("10.0.1.0/24"), &ACL{Tenant: "t", Name: "db"}}}}, b)
	require.Nil(t, m.aclsOf(t, "p1"))
	m.Put(networkACL("edge", allowTCP, denyUDP))
	b = m.aclsOf(t, "p0")
	require.Equal(t, []intent.ACLRule{allowTCP, denyUDP}, b.Rest.Rules)
	require.Same(t, b.Rest, b.Subnets[0].ACL)
	require.Empty(t, b.Subnets[1].ACL.Rules)
	require.Equal(t, []intent.Ref{{Kind: intent.KindNetwork, Tenant: "t", Name: "n0"}}, m.JudgedBy(networkACL("edge").Ref()))
	m.Delete(networkACL("edge").Ref())
	require.Empty(t, m.aclsOf(t, "p0").Rest.Rules)
	n := network("n0", 100)
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	m.Put(n)
	require.Nil(t, m.aclsOf(t, "p0"))
	require.Empty(t, m.JudgedBy(networkACL("edge").Ref()))
	m.Put(networkACL("edge", allowTCP))
	nodes, vnis := m.Touched()
	require.Equal(t, []string{"hv1"}, nodes, "by what was done before")
	require.Empty(t, vnis)
	m.Put(networkACL("edge", denyUDP))
	nodes, _ = m.Touched()
	require.Empty(t, nodes, "no network names it")
}

// A rule's edit touches edges with networks that name the ACL only, and no table.
func TestARuleTouchesItsNetworksOnly(t *testing.T) {
	m := judgedModel()
	m.Put(networkACL("edge", allowTCP, denyUDP))
	m.Touched()
	m.Put(networkACL("edge", denyUDP, allowTCP))
	nodes, vnis := m.Touched()
	require.Equal(t, []string{"hv1"}, nodes)
	require.Empty(t, vnis)
	m.Put(networkACL("edge", denyUDP, allowTCP))
	nodes, _ = m.Touched()
	require.Empty(t, nodes, "it says the same")
}

// All networks that name an ACL share one.
func TestAnACLIsOnce(t *testing.T) {
	m := judgedModel()
	n := network("n1", 101)
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}
	n.Spec.ACLs = []intent.SubnetACL{{ACL: "edge"}}
	m.Put(n)
	for _, r := range []intent.ACLRule{allowTCP, denyUDP} {
		m.Put(networkACL("edge", r))
		require.Same(t, m.aclsOf(t, "p0").Rest, m.aclsOf(t, "p1").Rest)
		require.Same(t, m.ACL(networkACL("edge").Ref()), m.aclsOf(t, "p1").Rest)
	}
}
