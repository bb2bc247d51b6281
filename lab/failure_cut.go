package lab

import (
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// cuts says which ways a failure leaves in a graph.
type cuts struct {
	graph *topology.Graph
	bgp   bool // leaves carry nothing for others: spines refuse their own ASN
	links []topology.Link
	nodes []string
}

// Severed is a node that a failure cuts off from all others, and why.
type Severed struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// reaches reports whether a way from a node to another is left.
func (c cuts) reaches(from, to string) bool {
	if from == to {
		return false
	}
	var there [2]string
	for i, n := range []string{from, to} {
		ok := false
		if there[i], ok = c.edge(n); !ok {
			return false
		}
	}
	if there[0] == there[1] {
		return true
	}
	from, to = there[0], there[1]
	set := c.graph.Paths(from, to, topology.PathOptions{WithoutLinks: c.links, WithoutNodes: c.nodes})
	if len(set.Next(from)) == 0 {
		return false
	}
	return !c.bgp || !c.valley(set, from, to)
}

// edge is the hypervisor or hardware VTEP that a host hangs on, over which paths don't
// lead; of other nodes themselves. It is false when there is no way to it.
func (c cuts) edge(node string) (string, bool) {
	if slices.Contains(c.nodes, node) {
		return node, false
	}
	n, _ := c.graph.Node(node)
	if n.Role.Switch() || n.Role.Tunnels() {
		return node, true
	}
	hangs := false
	for _, l := range c.graph.LinksOf(node) {
		if far, _ := c.graph.Node(l.B.Node); far.Role.Tunnels() {
			hangs = true
			if !c.failed(l) && !slices.Contains(c.nodes, far.Name) {
				return far.Name, true
			}
		}
	}
	return node, !hangs
}

// valley reports whether the shortest ways lead down to a leaf and up again.
func (c cuts) valley(set topology.PathSet, from, to string) bool {
	tier := func(name string) int {
		n, _ := c.graph.Node(name)
		return slices.Index([]intent.Role{"", intent.RoleLeaf, intent.RoleSpine, intent.RoleSuperspine}, n.Role)
	}
	down := false
	for at := from; at != to; {
		next := set.Next(at)[0].B.Node
		switch a, b := tier(at), tier(next); {
		case a < 1 || b < 1: // a host's or border's link
		case a > b:
			down = true
		case a < b && down:
			return true
		}
		at = next
	}
	return false
}

// severed are the hosts of a list, or switches, that reach none of the others any
// more.
func (c cuts) severed(nodes []string) []Severed {
	var list []Severed
	for _, n := range nodes {
		if !slices.ContainsFunc(nodes, func(o string) bool { return c.reaches(n, o) }) {
			list = append(list, Severed{n, c.why(n)})
		}
	}
	return list
}

// why follows a node's only way up to what failed on it.
func (c cuts) why(node string) string {
	var way []string // that node hangs on
	for at, came := node, ""; ; {
		if slices.Contains(c.nodes, at) {
			if at == node {
				return "it is what failed"
			}
			return chain(way) + " alone, which failed"
		}
		up := slices.DeleteFunc(c.graph.LinksOf(at), func(l topology.Link) bool { return l.B.Node == came || !c.above(at, l.B.Node) })
		left := slices.DeleteFunc(slices.Clone(up), func(l topology.Link) bool { return c.failed(l) || slices.Contains(c.nodes, l.B.Node) })
		switch {
		case len(up) == 1 && c.failed(up[0]):
			return has(way) + " this link alone"
		case len(up) == 1:
			at, came = up[0].B.Node, at
			way = append(way, at)
		case len(left) == 0:
			return has(way) + " lost all its links to others"
		default:
			return has(way) + " no way left to the others"
		}
	}
}

// above reports whether a node is nearer to the fabric's middle than another, or a
// switch beside a switch.
func (c cuts) above(node, other string) bool {
	n, _ := c.graph.Node(node)
	o, _ := c.graph.Node(other)
	return o.Role.Switch() || o.Role.Tunnels() && !n.Role.Switch() && !n.Role.Tunnels()
}

func (c cuts) failed(l topology.Link) bool {
	return slices.ContainsFunc(c.links, func(o topology.Link) bool {
		return o.A == l.A && o.B == l.B || o.A == l.B && o.B == l.A || sameEnds(o, l) || sameEnds(o, topology.Link{A: l.B, B: l.A})
	})
}

func sameEnds(a, b topology.Link) bool {
	return a.A.String() == b.A.String() && a.B.String() == b.B.String()
}

// chain says on what a node hangs: "it hangs on hv1, which hangs on leaf1".
func chain(way []string) string {
	if len(way) == 0 {
		return "it"
	}
	return "it hangs on " + strings.Join(way, ", which hangs on ")
}

// has begins to say what the last of them lacks.
func has(way []string) string {
	if len(way) == 0 {
		return "it has"
	}
	return chain(way) + ", which has"
}
