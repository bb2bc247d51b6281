package fabric

import (
	"cmp"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// Stated are the graph and the facts that objects state of a fabric: nothing is planned,
// and what they leave out is not there. Of links, those between switches, and from them
// to hypervisors and hardware VTEPs, are among the facts.
func Stated(nodes []*intent.Node, links []*intent.Link) (*topology.Graph, *Facts) {
	p := &planner{Facts: &Facts{nodes: map[string]int{}}}
	for _, n := range nodes {
		s := n.Spec
		if s.Role.Switch() || s.Role.Tunnels() {
			colours := s.Colours
			if !s.TakesColours() {
				colours = nil
			}
			p.Nodes = append(p.Nodes, Node{Name: n.Metadata.Name, Role: s.Role, ASN: s.ASN, RouterID: s.Loopback, Loopback: s.Loopback, VTEP: s.VTEP, Colours: colours, Rack: s.Rack})
		}
	}
	slices.SortFunc(p.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(tier(b.Role), tier(a.Role)), cmp.Compare(a.Role, b.Role), Natural(a.Name, b.Name))
	})
	for i, n := range p.Nodes {
		p.nodes[n.Name] = i
	}
	for _, l := range inOrder(links) {
		if len(l.Spec.Endpoints) != 2 {
			continue
		}
		a, b := l.Spec.Endpoints[0], l.Spec.Endpoints[1]
		if p.role(a.Node) != "" && p.role(b.Node) != "" {
			p.Links = append(p.Links, Link{A: End{Node: a.Node, Interface: a.Interface, Address: a.Address}, B: End{Node: b.Node, Interface: b.Interface, Address: b.Address}, MTU: l.Spec.MTU})
		}
	}
	p.index()
	return graphOf(nodes, links), p.Facts
}
