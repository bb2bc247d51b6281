package overlay

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

func group(name string, id uint32, rules ...intent.SecurityRule) *intent.SecurityGroup {
	return &intent.SecurityGroup{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.SecurityGroupSpec{ID: id, Rules: rules}}
}

func from(group string) intent.SecurityRule {
	return intent.SecurityRule{Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: 80, Last: 80}, Group: group}
}

// membersOf are the rows of a group's table in words.
func membersOf(m *Model, id uint32) []string {
	var out []string
	if s := m.Segment(GroupTable(id)); s != nil {
		for r := range s.Rows() {
			out = append(out, fmt.Sprint(r.Domain, " ", r.IP))
		}
	}
	slices.Sort(out)
	return out
}

// secured is a model with ports p1, p2, ... in groups, port i on hv1 or hv2 in
// turn.
func secured(groups ...[]string) *Model {
	m := NewModel()
	m.Put(network("web", 100))
	for i := 1; i <= 2; i++ {
		m.Put(hypervisor(i))
	}
	ifs := map[int][]Interface{}
	for i, gs := range groups {
		name := fmt.Sprintf("p%d", i+1)
		p := port(name, "web", byte(i+1), intent.Binding{IfaceID: name})
		p.Spec.SecurityGroups = gs
		m.Put(p)
		ifs[1+i%2] = append(ifs[1+i%2], Interface{Name: "tap" + name, IfaceID: name, OFPort: uint32(i + 1)})
	}
	for i := 1; i <= 2; i++ {
		m.Observe(fmt.Sprintf("hv%d", i), ifs[i])
	}
	m.Touched()
	return m
}

func TestPortsOfTheSameGroupsShareOnePolicy(t *testing.T) {
	m := secured([]string{"web", "db"}, nil, []string{"db", "web", "db"})
	m.Put(group("web", 7, from("web")))
	m.Put(group("db", 8, from("web"), intent.SecurityRule{Direction: intent.Egress}))
	local := m.Local("hv1")
	a, b := local[portRef("p1")], local[portRef("p3")]
	require.Same(t, a.Policy, b.Policy)
	require.Equal(t, []PolicyGroup{{"db", 8}, {"web", 7}}, a.Policy.Groups)
	require.Len(t, a.Policy.Rules, 3)
	require.True(t, a.Policy.Limited)
	require.Equal(t, []uint32{7}, a.Policy.Peers(intent.Ingress))
	require.Empty(t, a.Policy.Peers(intent.Egress))
	require.Equal(t, []intent.VNI{GroupTable(7)}, a.Reads())
	require.Nil(t, m.Local("hv2")[portRef("p2")].Policy)
	require.Equal(t, []string{"100 192.168.0.1", "100 192.168.0.3"}, membersOf(m, 7))
	require.Equal(t, []string{"hv1"}, slices.Sorted(m.Carriers(GroupTable(7))), "hv2 has nobody whose rules name it")
}

// A change of one member wakes who reads the group's table, and changes one row
// for each address; the ports of others stay as they are.
func TestOneMemberIsOneRow(t *testing.T) {
	m := secured([]string{"web"}, []string{"web"}, nil)
	m.Put(group("web", 7, from("web")))
	m.Touched()
	at := m.Segment(GroupTable(7)).Rev()
	p := port("p3", "web", 3, intent.Binding{IfaceID: "p3"})
	p.Spec.SecurityGroups = []string{"web"}
	m.Put(p)
	nodes, vnis := m.Touched()
	require.Equal(t, []string{"hv1"}, nodes, "only its own edge has another local port")
	require.Equal(t, []intent.VNI{GroupTable(7)}, vnis)
	require.Equal(t, 1, countChanges(m.Segment(GroupTable(7)), at))

	// When it moves, nobody hears of it as a member.
	at = m.Segment(GroupTable(7)).Rev()
	m.Observe("hv2", []Interface{{Name: "tapp2", IfaceID: "p2", OFPort: 2}, {Name: "tapp3", IfaceID: "p3", OFPort: 9}})
	require.True(t, m.Local("hv2")[portRef("p3")].Standby)
	m.Observe("hv1", []Interface{{Name: "tapp1", IfaceID: "p1", OFPort: 1}})
	a, _ := m.Attachment(portRef("p3"))
	require.Equal(t, "hv2", a.Node)
	require.Zero(t, countChanges(m.Segment(GroupTable(7)), at))
	m.Delete(portRef("p3"))
	require.NotContains(t, membersOf(m, 7), "100 192.168.0.3")
}

// A port whose group is not known yet is filtered by nothing allowed, and never
// left open.
func TestAnUnknownGroupAllowsNothing(t *testing.T) {
	m := secured([]string{"web"})
	p := m.Local("hv1")[portRef("p1")].Policy
	require.NotNil(t, p)
	require.Empty(t, p.Rules)
	require.Equal(t, "web", p.Names())
	m.Put(group("web", 7, from("later")))
	require.Zero(t, m.Local("hv1")[portRef("p1")].Policy.Rules[0].Peer)
	m.Put(group("later", 9))
	require.Equal(t, uint32(9), m.Local("hv1")[portRef("p1")].Policy.Rules[0].Peer, "a group that comes after the rule that names it")
	m.Delete(intent.Ref{Kind: intent.KindSecurityGroup, Tenant: "t", Name: "later"})
	require.Zero(t, m.Local("hv1")[portRef("p1")].Policy.Rules[0].Peer)
}

// Equal addresses of two networks are two members, unless a router joins the
// networks: then addresses are known by its L3VNI.
func TestEqualAddressesOfTwoNetworks(t *testing.T) {
	m := secured([]string{"web"}, []string{"web"})
	m.Put(group("web", 7, from("web")))
	m.Put(network("other", 200))
	p := port("p2", "other", 1, intent.Binding{IfaceID: "p2"})
	p.Spec.SecurityGroups = []string{"web"}
	m.Put(p)
	require.Equal(t, []string{"100 192.168.0.1", "200 192.168.0.1"}, membersOf(m, 7))
	r := &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: 900, Networks: []intent.RouterNetwork{{Network: "web"}}}}
	m.Put(r)
	require.Equal(t, []string{"200 192.168.0.1", "900 192.168.0.1"}, membersOf(m, 7))
	require.Equal(t, intent.VNI(900), m.Local("hv1")[portRef("p1")].Domain)
	m.Delete(r.Ref())
	require.Equal(t, []string{"100 192.168.0.1", "200 192.168.0.1"}, membersOf(m, 7))
}

// Two ports with one address keep the row until both are gone.
func TestAnAddressOfTwoMembersCountsTwice(t *testing.T) {
	m := secured([]string{"web"}, []string{"web"})
	m.Put(group("web", 7))
	p := port("p2", "web", 1, intent.Binding{IfaceID: "p2"})
	p.Spec.MAC = intent.MAC{2, 0, 0, 0, 0, 99}
	p.Spec.SecurityGroups = []string{"web"}
	m.Put(p)
	require.Len(t, membersOf(m, 7), 1)
	m.Delete(portRef("p1"))
	require.Len(t, membersOf(m, 7), 1)
	m.Delete(portRef("p2"))
	require.Empty(t, membersOf(m, 7))
}

// A rule that changes settles the ports of its group and nobody else.
func TestARuleConcernsThePortsOfItsGroup(t *testing.T) {
	m := secured([]string{"web"}, []string{"db"})
	m.Put(group("web", 7))
	m.Put(group("db", 8, from("web")))
	m.Touched()
	m.Put(group("web", 7, from("db")))
	nodes, vnis := m.Touched()
	require.Equal(t, []string{"hv1"}, nodes)
	require.Empty(t, vnis)
	m.Put(group("web", 7, from("db")))
	nodes, _ = m.Touched()
	require.Empty(t, nodes, "the same again")
}

func countChanges(s *evpn.Segment, since evpn.Revision) (n int) {
	for range s.Changes(since) {
		n++
	}
	return n
}
