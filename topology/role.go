package topology

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/weft-sdn/weft/controller/intent"
)

// Labels that Weft reads.
const (
	LabelRole      = "weft-role"      // role of the node
	LabelUnderlay  = "weft-underlay"  // the fabric's protocol and addressing; package fabric has the words
	LabelTenant    = "weft-tenant"    // tenant of the VM or server
	LabelNetwork   = "weft-network"   // network of the tenant
	LabelAddresses = "weft-addresses" // addresses with prefix length, by spaces
	LabelMAC       = "weft-mac"       // address of eth1, when exec does not set it
	LabelVLAN      = "weft-vlan"      // 802.1Q tag of a server's frames
)

// KindVTEP is the kind of a switch that is driven by the hardware_vtep schema.
// It is Weft's own: containerlab has none.
const KindVTEP = "vtep"

// roleWords are the words that people use in the names of groups and nodes.
var roleWords = map[string]intent.Role{
	"superspine": intent.RoleSuperspine, "superspines": intent.RoleSuperspine, "sspine": intent.RoleSuperspine,
	"spine": intent.RoleSpine, "spines": intent.RoleSpine,
	"leaf": intent.RoleLeaf, "leafs": intent.RoleLeaf, "leaves": intent.RoleLeaf, "tor": intent.RoleLeaf, "tors": intent.RoleLeaf,
	"router": intent.RoleLeaf, "routers": intent.RoleLeaf, "rtr": intent.RoleLeaf,
	"border": intent.RoleBorder, "borders": intent.RoleBorder, "borderleaf": intent.RoleBorder, "borderleaves": intent.RoleBorder, "borderleafs": intent.RoleBorder,
	"hypervisor": intent.RoleHypervisor, "hypervisors": intent.RoleHypervisor, "hv": intent.RoleHypervisor, "hvs": intent.RoleHypervisor,
	"compute": intent.RoleHypervisor, "computes": intent.RoleHypervisor,
	"vtep": intent.RoleVTEP, "vteps": intent.RoleVTEP, "hwvtep": intent.RoleVTEP, "hwvteps": intent.RoleVTEP,
	"server": intent.RoleServer, "servers": intent.RoleServer, "srv": intent.RoleServer, "host": intent.RoleServer, "hosts": intent.RoleServer,
	"client": intent.RoleServer, "clients": intent.RoleServer, "pc": intent.RoleServer, "pcs": intent.RoleServer,
	"vm": intent.RoleVM, "vms": intent.RoleVM, "guest": intent.RoleVM, "guests": intent.RoleVM,
}

// roleOfWords finds the role in a name such as spine1, super-spine-2, dc1-leaf3
// or PC1. The last word counts most: leaf1-client2 is a client.
func roleOfWords(name string) intent.Role {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) })
	for i := len(words) - 1; i >= 0; i-- {
		if i > 0 {
			if r, ok := roleWords[words[i-1]+words[i]]; ok {
				return r
			}
		}
		if r, ok := roleWords[words[i]]; ok {
			return r
		}
	}
	return ""
}

// roles gives each node of the file its role.
func (r *reader) roles(f *File) {
	g := f.Graph
	s := newRoleSolver(g)
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if label, ok := n.Labels[LabelRole]; ok {
			role := intent.Role(strings.ToLower(label))
			if !slices.Contains(intent.Roles(), role) {
				r.fault(f.Nodes[n.Name].Line, "node %s: label %s: %q is not a role: use one of %v", n.Name, LabelRole, label, intent.Roles())
				continue
			}
			n.Role, n.RoleRule = role, "label "+LabelRole
		} else if n.Kind == KindVTEP {
			n.Role, n.RoleRule = intent.RoleVTEP, "kind "+KindVTEP
		} else if role := roleOfWords(n.Group); role != "" {
			n.Role, n.RoleRule = role, "group"
		} else if role := roleOfWords(n.Name); role != "" {
			n.Role, n.RoleRule = role, "name"
		}
	}
	if len(r.faults) > 0 {
		return
	}
	s.vms(r, f)
	s.hosts(f)
	s.switches()
	s.collapsed()
}

// guessRoles gives roles to the switches of a graph that have none, by their names and
// by the graph; hosted tells which have a host that is not in the graph.
func guessRoles(g *Graph, hosted func(Node) bool) {
	s := newRoleSolver(g)
	s.hosted = hosted
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if role := roleOfWords(n.Name); n.Role == "" && role.Switch() {
			n.Role, n.RoleRule = role, "name"
		}
	}
	s.switches()
	s.collapsed()
}

// roleSolver decides by the graph what words did not.
type roleSolver struct {
	graph  *Graph
	near   [][]int         // neighbours by index, one for each link
	hosted func(Node) bool // has a host that is not in the graph
}

func newRoleSolver(g *Graph) *roleSolver {
	s := &roleSolver{graph: g, near: make([][]int, len(g.Nodes)), hosted: func(Node) bool { return false }}
	for _, l := range g.Links {
		a, _ := g.find(l.A.Node)
		b, _ := g.find(l.B.Node)
		s.near[a] = append(s.near[a], b)
		s.near[b] = append(s.near[b], a)
	}
	return s
}

// host tells whether a node has a host.
func (s *roleSolver) host(i int) bool { return s.linked(i, isHost) || s.hosted(s.graph.Nodes[i]) }

func (s *roleSolver) linked(i int, want func(Node) bool) bool {
	return slices.ContainsFunc(s.near[i], func(j int) bool { return want(s.graph.Nodes[j]) })
}

func isHypervisor(n Node) bool { return n.Role == intent.RoleHypervisor }
func isHost(n Node) bool       { return n.Role != "" && !n.Role.Switch() }
func isLeaf(n Node) bool       { return n.Role == intent.RoleLeaf || n.Role == intent.RoleBorder }

// vms looks after those that are called VMs but are on no hypervisor: they are
// servers, unless a label insists.
func (s *roleSolver) vms(r *reader, f *File) {
	for i := range s.graph.Nodes {
		n := &s.graph.Nodes[i]
		if n.Role != intent.RoleVM || s.linked(i, isHypervisor) {
			continue
		}
		if strings.HasPrefix(n.RoleRule, "label") {
			r.fault(f.Nodes[n.Name].Line, "node %s: label %s says vm, but no link leads to a hypervisor", n.Name, LabelRole)
			continue
		}
		n.Role, n.RoleRule = intent.RoleServer, fmt.Sprintf("graph: called a VM by its %s, but linked to no hypervisor", n.RoleRule)
	}
}

// hosts finds servers and VMs among the nodes of kind linux.
func (s *roleSolver) hosts(f *File) {
	for i := range s.graph.Nodes {
		n := &s.graph.Nodes[i]
		if n.Role != "" || n.Kind != "linux" {
			continue
		}
		routes := routesItself(f.Nodes[n.Name])
		switch {
		case s.linked(i, isHypervisor):
			n.Role, n.RoleRule = intent.RoleVM, "graph: linux, linked to a hypervisor"
		case routes:
		case len(s.near[i]) <= 1:
			n.Role, n.RoleRule = intent.RoleServer, "graph: linux with at most one link and no routing daemon"
		}
	}
	for i := range s.graph.Nodes {
		n := &s.graph.Nodes[i]
		if n.Role == "" && n.Kind == "linux" && !routesItself(f.Nodes[n.Name]) && !s.linked(i, func(m Node) bool { return isHost(m) && m.Role != intent.RoleVTEP || m.Kind == "linux" && m.Role == "" }) {
			n.Role, n.RoleRule = intent.RoleServer, "graph: linux with several links to switches and no routing daemon"
		}
	}
}

// routesItself tells from image, binds and commands whether a linux node runs a
// routing daemon.
func routesItself(c NodeConfig) bool {
	words := append([]string{c.Image}, c.Exec...)
	for _, b := range c.Binds {
		words = append(words, b.Target)
	}
	for _, w := range words {
		w = strings.ToLower(w)
		for _, daemon := range []string{"frr", "bgp", "bird", "vtysh", "ospf", "zebra", "quagga", "openr"} {
			if strings.Contains(w, daemon) {
				return true
			}
		}
	}
	return false
}

// switches tells leaves, spines and superspines apart.
func (s *roleSolver) switches() {
	nodes := s.graph.Nodes
	set := func(rule string, role intent.Role, want func(i int) bool) {
		var hits []int
		for i := range nodes {
			if nodes[i].Role == "" && want(i) {
				hits = append(hits, i)
			}
		}
		for _, i := range hits {
			nodes[i].Role, nodes[i].RoleRule = role, "graph: "+rule
		}
	}
	set("a switch with a host", intent.RoleLeaf, s.host)
	set("a switch linked to all leaves", intent.RoleSpine, s.linkedToAllLeaves)
	set("a switch linked to leaves", intent.RoleSpine, func(i int) bool { return s.linked(i, isLeaf) })
	set("a switch linked as a leaf is", intent.RoleLeaf, func(i int) bool {
		return slices.ContainsFunc(s.leaves(), func(j int) bool { return slices.Equal(s.up(i), s.up(j)) && len(s.up(i)) > 0 })
	})
	set("a switch linked to spines only", intent.RoleSuperspine, func(i int) bool {
		return len(s.near[i]) > 0 && len(s.leaves()) > 0 && !s.linked(i, func(n Node) bool { return n.Role != intent.RoleSpine })
	})
	set("a switch, and nothing says that it is a spine", intent.RoleLeaf, func(int) bool { return true })
}

// collapsed finds a collapsed spine: switches that are called spines, but have
// hosts, in a fabric without leaves. They are leaves, joined with each other.
func (s *roleSolver) collapsed() {
	if len(s.leaves()) > 0 {
		return
	}
	found := false
	called := func(n Node) bool { return n.Role == intent.RoleSpine && !strings.HasPrefix(n.RoleRule, "label") }
	for i, n := range s.graph.Nodes {
		found = found || called(n) && s.host(i)
	}
	for i := range s.graph.Nodes {
		if n := &s.graph.Nodes[i]; found && called(*n) {
			n.Role, n.RoleRule = intent.RoleLeaf, fmt.Sprintf("graph: called a spine by its %s, but the fabric has no leaf: a collapsed spine", n.RoleRule)
		}
	}
}

func (s *roleSolver) leaves() []int {
	var out []int
	for i, n := range s.graph.Nodes {
		if isLeaf(n) {
			out = append(out, i)
		}
	}
	return out
}

func (s *roleSolver) linkedToAllLeaves(i int) bool {
	leaves := s.leaves()
	for _, l := range leaves {
		if !slices.Contains(s.near[i], l) {
			return false
		}
	}
	return len(leaves) > 0
}

// up are the neighbours of a node that are spines.
func (s *roleSolver) up(i int) []int {
	var out []int
	for _, j := range s.near[i] {
		if s.graph.Nodes[j].Role == intent.RoleSpine {
			out = append(out, j)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
