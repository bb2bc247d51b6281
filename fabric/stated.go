package fabric

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// Stated are the graph and the facts that objects state of a fabric: nothing is planned,
// and what they leave out is not there. Of links, those between switches, and from them
// to hypervisors and hardware VTEPs, are among the facts.
func Stated(nodes []*intent.Node, links []*intent.Link) (*topology.Graph, *Facts) {
	g, p := &topology.Graph{}, &planner{Facts: &Facts{nodes: map[string]int{}}}
	for _, n := range nodes {
		s := n.Spec
		g.Nodes = append(g.Nodes, topology.Node{Name: n.Metadata.Name, Role: s.Role})
		if s.Role.Switch() || s.Role.Tunnels() {
			p.Nodes = append(p.Nodes, Node{Name: n.Metadata.Name, Role: s.Role, ASN: s.ASN, RouterID: s.Loopback, Loopback: s.Loopback, VTEP: s.VTEP})
		}
	}
	slices.SortFunc(g.Nodes, func(a, b topology.Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(p.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(tier(b.Role), tier(a.Role)), cmp.Compare(a.Role, b.Role), Natural(a.Name, b.Name))
	})
	for i, n := range p.Nodes {
		p.nodes[n.Name] = i
	}
	for _, l := range slices.SortedFunc(slices.Values(links), func(a, b *intent.Link) int { return Natural(a.Metadata.Name, b.Metadata.Name) }) {
		if len(l.Spec.Endpoints) != 2 {
			continue
		}
		a, b := l.Spec.Endpoints[0], l.Spec.Endpoints[1]
		g.Links = append(g.Links, topology.Link{A: topology.End{Node: a.Node, Interface: a.Interface}, B: topology.End{Node: b.Node, Interface: b.Interface}, MTU: l.Spec.MTU})
		if p.role(a.Node) != "" && p.role(b.Node) != "" {
			p.Links = append(p.Links, Link{A: End{Node: a.Node, Interface: a.Interface, Address: a.Address}, B: End{Node: b.Node, Interface: b.Interface, Address: b.Address}, MTU: l.Spec.MTU})
		}
	}
	p.index()
	return g, p.Facts
}
