package fabric_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
)

// objects are what Intent registers, by kind.
func objects(f *fabric.Facts) (spec intent.FabricSpec, nodes []*intent.Node, links []*intent.Link) {
	for _, o := range fabric.Intent(f) {
		switch o := o.(type) {
		case *intent.Fabric:
			spec = o.Spec
		case *intent.Node:
			nodes = append(nodes, o)
		case *intent.Link:
			links = append(links, o)
		}
	}
	return spec, nodes, links
}

// states are the states of all switches of a fabric.
func states(t *testing.T, f *fabric.Facts) map[string]string {
	out := map[string]string{}
	for _, n := range f.Nodes {
		if n.Role.Switch() {
			s, err := fabric.Device(f, n.Name)
			require.NoError(t, err)
			out[n.Name] = string(s.Encode())
		}
	}
	return out
}

var underlays = []string{"bgp", "isis bfd", "bgp ipv6 bfd", "bgp unnumbered ipv6", "isis unnumbered ipv6"}

// What a plan registers is planned from intent as it was planned from the graph.
func TestPlanIntentIsThePlan(t *testing.T) {
	for _, words := range underlays {
		p, err := fabric.ParseUnderlay(words)
		require.NoError(t, err)
		f, err := fabric.Plan(clos{pods: 2, superspines: 2, spines: 2, leaves: 3, borders: 1, hypervisors: 2}.graph(), p)
		require.NoError(t, err)
		spec, nodes, links := objects(f)
		rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		rand.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
		again, err := fabric.PlanIntent(spec, nodes, links)
		require.NoError(t, err)
		require.Equal(t, states(t, f), states(t, again), words)

		// A rack follows from the addresses behind the leaf.
		for _, n := range nodes {
			n.Spec.Rack = netip.Prefix{}
		}
		again, err = fabric.PlanIntent(spec, nodes, links)
		require.NoError(t, err)
		require.Equal(t, states(t, f), states(t, again), words)

		// Nothing but roles and cables is stated: the plan is the same too.
		for _, n := range nodes {
			n.Spec = intent.NodeSpec{Role: n.Spec.Role}
		}
		for _, l := range links {
			for i := range l.Spec.Endpoints {
				l.Spec.Endpoints[i].Address = netip.Prefix{}
			}
		}
		again, err = fabric.PlanIntent(spec, nodes, links)
		require.NoError(t, err)
		require.Equal(t, states(t, f), states(t, again), words)
	}
}

// Whatever is added to a registered fabric, and whatever its name, nothing that was
// there gets another number; what goes and comes back is numbered anew.
func TestPlanIntentGrowthRenumbersNothing(t *testing.T) {
	for _, words := range underlays {
		p, err := fabric.ParseUnderlay(words)
		require.NoError(t, err)
		f, err := fabric.Plan(clos{pods: 1, spines: 2, leaves: 3, hypervisors: 1}.graph(), p)
		require.NoError(t, err)
		spec, nodes, links := objects(f)
		for _, name := range []string{"leaf0", "leaf2a", "leaf9"} { // before, between and after
			nodes = append(nodes, &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: intent.RoleLeaf}})
			for _, n := range f.Nodes {
				if n.Role == intent.RoleSpine {
					a, b := intent.LinkEnd{Node: name, Interface: "up-" + n.Name}, intent.LinkEnd{Node: n.Name, Interface: "to-" + name}
					links = append(links, &intent.Link{Metadata: intent.Metadata{Name: name + n.Name}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{a, b}}})
				}
			}
		}
		grown, err := fabric.PlanIntent(spec, nodes, links)
		require.NoError(t, err, words)
		for _, was := range f.Nodes {
			is, ok := grown.Node(was.Name)
			require.True(t, ok)
			require.Equal(t, was, is, words)
		}
		for _, was := range f.Links {
			is, ok := grown.Link(was.A.Node, was.A.Interface)
			require.True(t, ok)
			require.Equal(t, was, is, words)
		}
		// Written down, it stays so.
		_, nodes, links = objects(grown)
		again, err := fabric.PlanIntent(spec, nodes, links)
		require.NoError(t, err)
		require.Equal(t, states(t, grown), states(t, again), words)
	}
}

func TestPlanIntentRefuses(t *testing.T) {
	node := func(name string, s intent.NodeSpec) *intent.Node {
		s.Role = intent.RoleLeaf
		return &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: s}
	}
	link := func(a, b netip.Prefix) *intent.Link {
		return &intent.Link{Metadata: intent.Metadata{Name: "l"}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{{Node: "leaf1", Interface: "eth1", Address: a}, {Node: "leaf2", Interface: "eth1", Address: b}}}}
	}
	lo := netip.MustParseAddr("10.255.0.7")
	for _, c := range []struct {
		name  string
		nodes []*intent.Node
		links []*intent.Link
		want  string
	}{
		{"one identity", []*intent.Node{node("leaf1", intent.NodeSpec{Loopback: lo}), node("leaf2", intent.NodeSpec{Loopback: lo})}, nil, "address 10.255.0.7 is given to leaf1's loopback and to leaf2's loopback"},
		{"one AS", []*intent.Node{node("leaf1", intent.NodeSpec{ASN: 65001}), node("leaf2", intent.NodeSpec{ASN: 65001})}, nil, "leaf2: ASN 65001 is already that of a leaf"},
		{"outside the pool", []*intent.Node{node("leaf1", intent.NodeSpec{Loopback: netip.MustParseAddr("192.0.2.1")})}, nil, "leaf1: loopback 192.0.2.1 is outside pool Loopbacks (10.255.0.0/16)"},
		{"half a link", []*intent.Node{node("leaf1", intent.NodeSpec{}), node("leaf2", intent.NodeSpec{})}, []*intent.Link{link(netip.MustParsePrefix("10.192.0.1/30"), netip.Prefix{})}, "only one end has an address, 10.192.0.1/30: give the other one too"},
		{"no such node", []*intent.Node{node("leaf1", intent.NodeSpec{})}, []*intent.Link{link(netip.Prefix{}, netip.Prefix{})}, "there is no node leaf2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := fabric.PlanIntent(intent.FabricSpec{}, c.nodes, c.links)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// What a leaf of somebody else states is nobody's trouble as long as it has no link in
// the fabric.
func TestForeignLeavesAreNoPartOfTheFabric(t *testing.T) {
	far := &intent.Node{Metadata: intent.Metadata{Name: "far"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, VTEP: netip.MustParseAddr("192.0.2.1"), EVPN: &intent.EVPN{Unmanaged: true}}}
	spine := &intent.Node{Metadata: intent.Metadata{Name: "spine1"}, Spec: intent.NodeSpec{Role: intent.RoleSpine}}
	leaf := &intent.Node{Metadata: intent.Metadata{Name: "leaf1"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf}}
	link := func(a string) *intent.Link {
		return &intent.Link{Metadata: intent.Metadata{Name: a}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{{Node: a, Interface: "eth1"}, {Node: "spine1", Interface: a}}}}
	}
	f, err := fabric.PlanIntent(intent.FabricSpec{}, []*intent.Node{far, leaf, spine}, []*intent.Link{link("leaf1")})
	require.NoError(t, err)
	_, there := f.Node("far")
	require.False(t, there)
	_, err = fabric.PlanIntent(intent.FabricSpec{}, []*intent.Node{far, leaf, spine}, []*intent.Link{link("leaf1"), link("far")})
	require.ErrorContains(t, err, "far: VTEP 192.0.2.1 is outside pool VTEPs")
	far.Spec.EVPN = nil
	_, err = fabric.PlanIntent(intent.FabricSpec{}, []*intent.Node{far, leaf, spine}, []*intent.Link{link("leaf1")})
	require.Error(t, err, "a switch of ours without a link")
}
