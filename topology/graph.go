package topology

import (
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
}

// Link joins two interfaces.
type Link struct {
	A, B End
	MTU  int // bytes; zero means the default
}

// Graph is a set of nodes and links, immutable after it was built. Nodes are
// sorted by name, links keep the file's order.
type Graph struct {
	Name  string
	Nodes []Node
	Links []Link
}
