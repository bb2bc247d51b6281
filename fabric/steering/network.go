package steering

import (
	"fmt"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/topology"
)

// Link is one direction of a link between two switches.
type Link struct {
	From, To topology.End
	Capacity float64 // bit/s
}

// String gives the direction: leaf1:eth1 → spine1:eth1.
func (l Link) String() string { return l.From.String() + " → " + l.To.String() }

// Network is a fabric prepared for questions about traffic: its switches and the
// two directions of each link between them, by number. It is not changed after it
// was built.
type Network struct {
	Links []Link // two for each link of the graph between switches: there and back

	graph *topology.Graph
	names []string       // of the switches, in natural order
	index map[string]int // number of a switch
	group []int          // switches with one number share an ASN, see groups
	ends  []int          // switches at which traffic begins and ends
	out   [][]int        // links that leave a switch
	to    []int          // switch at a link's end
	leaf  map[string]int // of what is behind one: hypervisors, hardware VTEPs, servers, VMs
	// tunnel is the node at which tunnels to those end.
	tunnel map[string]string
}

// Capacities are those of links in bit/s.
type Capacities struct {
	Default float64
	// Of has exceptions: by interface (leaf1:eth1), for both directions of its
	// link, or by node, for all its links. An interface wins.
	Of map[string]float64
}

// NewNetwork prepares a graph. A capacity for something that is not there, or that
// is not above zero, is an error; so is a fabric without a leaf.
func NewNetwork(g *topology.Graph, c Capacities) (*Network, error) {
	clos, err := g.Clos()
	if err != nil {
		return nil, err
	}
	n := &Network{graph: g, index: map[string]int{}, leaf: map[string]int{}, tunnel: map[string]string{}}
	for _, s := range g.Switches() {
		n.names = append(n.names, s.Name)
	}
	slices.SortFunc(n.names, fabric.Natural)
	for i, name := range n.names {
		n.index[name] = i
	}
	for _, l := range clos.Leaves {
		n.ends = append(n.ends, n.index[l])
	}
	slices.Sort(n.ends)
	n.groups(clos)
	if err := n.cable(c); err != nil {
		return nil, err
	}
	n.behind()
	return n, nil
}

// groups numbers the switches that share an ASN: the spines of a pod, and all
// superspines. Routes do not pass two switches of one ASN (RFC 4271 section
// 9.1.2), see package fabric.
func (n *Network) groups(c *topology.Clos) {
	n.group = make([]int, len(n.names))
	for i := range n.group {
		n.group[i] = i
	}
	share := func(names []string) {
		for _, name := range names {
			n.group[n.index[name]] = n.index[names[0]]
		}
	}
	share(c.Superspines)
	for _, p := range c.Pods {
		share(p.Spines)
	}
}

func (n *Network) cable(c Capacities) error {
	if !(c.Default > 0) {
		return fmt.Errorf("capacity: %v is not above zero", c.Default)
	}
	n.out = make([][]int, len(n.names))
	used := map[string]bool{}
	for _, l := range n.graph.Links {
		a, ok1 := n.index[l.A.Node]
		b, ok2 := n.index[l.B.Node]
		if !ok1 || !ok2 {
			continue
		}
		capacity := c.Default
		for _, of := range []string{l.A.Node, l.B.Node, l.A.String(), l.B.String()} {
			if v, ok := c.Of[of]; ok {
				capacity = v
				used[of] = true
			}
		}
		if !(capacity > 0) {
			return fmt.Errorf("capacity of link %s: %v is not above zero", l, capacity)
		}
		n.out[a] = append(n.out[a], len(n.Links))
		n.out[b] = append(n.out[b], len(n.Links)+1)
		n.Links = append(n.Links, Link{l.A, l.B, capacity}, Link{l.B, l.A, capacity})
		n.to = append(n.to, b, a)
	}
	for of := range c.Of {
		if !used[of] {
			return fmt.Errorf("capacity: there is no link between switches at %s", of)
		}
	}
	return nil
}

// behind finds the leaf of each node that is not a switch, and where tunnels to it
// end. A hypervisor or hardware VTEP is at the leaf of its first uplink, by the
// uplinks' names, and has an end of its own; a VM or a server has that of the
// hypervisor, hardware VTEP or leaf that it is on.
func (n *Network) behind() {
	first := map[string]topology.Link{}
	near := map[string][]string{}
	for _, l := range n.graph.Links {
		for _, node := range []string{l.A.Node, l.B.Node} {
			l, _ := l.From(node)
			if _, ok := n.index[node]; ok {
				continue
			}
			s, ok := n.index[l.B.Node]
			if !ok {
				near[node] = append(near[node], l.B.Node)
				continue
			}
			if old, ok := first[node]; slices.Contains(n.ends, s) && (!ok || fabric.Natural(l.A.Interface, old.A.Interface) < 0) {
				first[node] = l
				n.leaf[node], n.tunnel[node] = s, n.names[s]
			}
		}
	}
	for _, v := range n.graph.Nodes {
		if _, ok := n.leaf[v.Name]; ok && v.Role.Tunnels() {
			n.tunnel[v.Name] = v.Name
		}
	}
	for _, v := range n.graph.ByRole(intent.RoleServer, intent.RoleVM) {
		for _, h := range near[v.Name] {
			s, ok := n.leaf[h]
			if _, done := n.leaf[v.Name]; ok && !done {
				n.leaf[v.Name], n.tunnel[v.Name] = s, n.tunnel[h]
			}
		}
	}
}

// End is nil when traffic can begin and end at the node: a leaf, or what is
// behind one.
func (n *Network) End(node string) error {
	_, err := n.end(node)
	return err
}

func (n *Network) end(node string) (int, error) {
	if s, ok := n.index[node]; ok {
		if !slices.Contains(n.ends, s) {
			nd, _ := n.graph.Node(node)
			return 0, fmt.Errorf("%s is a %s: traffic begins and ends at leaves and behind them", node, nd.Role)
		}
		return s, nil
	}
	if s, ok := n.leaf[node]; ok {
		return s, nil
	}
	if _, ok := n.graph.Node(node); ok {
		return 0, fmt.Errorf("%s is linked to no leaf", node)
	}
	return 0, fmt.Errorf("the fabric has no node %q", node)
}

// Leaves are the names of the leaves and border leaves.
func (n *Network) Leaves() []string {
	var out []string
	for _, s := range n.ends {
		out = append(out, n.names[s])
	}
	return out
}

// LinksAt are the links, both directions, that a name stands for: an interface
// (leaf1:eth1) or a switch.
func (n *Network) LinksAt(name string) []int {
	var out []int
	for l, k := range n.Links {
		if name == k.From.String() || name == k.To.String() || name == k.From.Node || name == k.To.Node {
			out = append(out, l)
		}
	}
	return out
}
