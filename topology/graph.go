package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// Node is a device of the graph.
type Node struct {
	Name   string
	Kind   string // containerlab kind; "linux" for plain hosts
	Group  string
	Labels map[string]string
	Role   intent.Role
	// RoleRule tells which rule decided the role: "label weft-role",
	// "group", "name" or "graph: ...".
	RoleRule string
}

// End is one end of a link.
type End struct {
	Node      string
	Interface string // as the node's kernel names it: eth1
	MAC       string // when the file gives one
	Written   string // the interface as the file writes it: ethernet-1/1
}

// String gives node:interface.
func (e End) String() string { return e.Node + ":" + e.Interface }

// Link joins two interfaces.
type Link struct {
	A, B End
	MTU  int // bytes; zero means the default
}

// String gives both ends: "leaf1:eth1 - spine1:eth1".
func (l Link) String() string { return l.A.String() + " - " + l.B.String() }

// From turns the link so that A is the end on the node. It is false when the
// link has no end there.
func (l Link) From(node string) (Link, bool) {
	switch node {
	case l.A.Node:
		return l, true
	case l.B.Node:
		return Link{A: l.B, B: l.A, MTU: l.MTU}, true
	}
	return Link{}, false
}

// Graph is a set of nodes and links, immutable after it was built. Nodes are
// sorted by name, links keep the file's order.
type Graph struct {
	Name  string
	Nodes []Node
	Links []Link
}

// Node finds a node by name.
func (g *Graph) Node(name string) (Node, bool) {
	if i, ok := g.find(name); ok {
		return g.Nodes[i], true
	}
	return Node{}, false
}

func (g *Graph) find(name string) (int, bool) {
	return slices.BinarySearchFunc(g.Nodes, name, func(n Node, s string) int { return strings.Compare(n.Name, s) })
}

// LinksOf are the links of a node in the file's order, each turned so that A
// is the node's end. It reads all links.
func (g *Graph) LinksOf(node string) []Link {
	var out []Link
	for _, l := range g.Links {
		if l, ok := l.From(node); ok {
			out = append(out, l)
		}
	}
	return out
}

// Neighbours are the names of the nodes that share a link with a node, sorted.
func (g *Graph) Neighbours(node string) []string {
	var out []string
	for _, l := range g.LinksOf(node) {
		out = append(out, l.B.Node)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ByRole are the nodes that have one of the roles, sorted by name.
func (g *Graph) ByRole(roles ...intent.Role) []Node {
	var out []Node
	for _, n := range g.Nodes {
		if slices.Contains(roles, n.Role) {
			out = append(out, n)
		}
	}
	return out
}

// Switches are the nodes of the underlay: superspines, spines, leaves and
// border leaves.
func (g *Graph) Switches() []Node {
	var out []Node
	for _, n := range g.Nodes {
		if n.Role.Switch() {
			out = append(out, n)
		}
	}
	return out
}

// Check tells what is wrong with a graph, whoever built it: nodes out of order
// or given twice, unknown roles, links to unknown nodes, from a node to itself,
// or at an interface that has one already.
func (g *Graph) Check() error {
	var fs Faults
	add := func(format string, args ...any) { fs = append(fs, Fault{Text: fmt.Sprintf(format, args...)}) }
	for i, n := range g.Nodes {
		if !slices.Contains(intent.Roles(), n.Role) {
			add("node %s: role %q is not one of %v", n.Name, n.Role, intent.Roles())
		}
		switch {
		case n.Name == "":
			add("node %d has no name", i)
		case i > 0 && g.Nodes[i-1].Name == n.Name:
			add("node %s is there twice", n.Name)
		case i > 0 && g.Nodes[i-1].Name > n.Name:
			add("node %s: nodes are not sorted by name", n.Name)
		}
	}
	used := map[[2]string]bool{}
	for _, l := range g.Links {
		if l.A.Node == l.B.Node {
			add("link %s: both ends are on node %s", l, l.A.Node)
		}
		for _, e := range []End{l.A, l.B} {
			if _, ok := g.find(e.Node); !ok {
				add("link %s: there is no node %q", l, e.Node)
			}
			if !kernelName(e.Interface) {
				add("link %s: %q is not a name for an interface", l, e.Interface)
			}
			at := [2]string{e.Node, e.Interface}
			if used[at] {
				add("link %s: interface %s has a link already", l, e)
			}
			used[at] = true
		}
	}
	return fs.err()
}
