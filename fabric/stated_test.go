package fabric

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// What is planned and registered is stated again: the same addresses and links.
func TestStatedIsWhatWasRegistered(t *testing.T) {
	file, err := topology.Generate(topology.GenerateParams{Name: "stated", Spines: 2, Leaves: 3, HypervisorsPerLeaf: 2})
	require.NoError(t, err)
	planned, err := Plan(file.Graph, Params{})
	require.NoError(t, err)
	var nodes []*intent.Node
	var links []*intent.Link
	for _, o := range Intent(planned) {
		switch o := o.(type) {
		case *intent.Node:
			nodes = append(nodes, o)
		case *intent.Link:
			links = append(links, o)
		}
	}
	links = append(links, &intent.Link{Metadata: intent.Metadata{Name: "of-a-server"}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{{Node: "leaf1", Interface: "eth99"}, {Node: "server99", Interface: "eth1"}}}})
	graph, facts := Stated(nodes, links)
	require.Len(t, facts.Nodes, len(planned.Nodes))
	require.Len(t, facts.Links, len(planned.Links))
	require.Len(t, graph.Links, len(planned.Links)+1)
	for _, n := range planned.Nodes {
		got, ok := facts.Node(n.Name)
		require.True(t, ok)
		require.Equal(t, [3]any{n.Role, n.Loopback, n.VTEP}, [3]any{got.Role, got.Loopback, got.VTEP})
		for _, l := range planned.LinksOf(n.Name) {
			got, ok := facts.Link(n.Name, l.A.Interface)
			require.True(t, ok)
			require.Equal(t, [2]End{l.A, l.B}, [2]End{{l.A.Node, got.A.Interface, got.A.Address, l.A.Address6}, {got.B.Node, got.B.Interface, got.B.Address, l.B.Address6}})
		}
	}
	_, ok := facts.Link("leaf1", "eth99")
	require.False(t, ok)
}
