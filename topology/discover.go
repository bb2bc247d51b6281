package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// Found is a switch that reports what it hears, whether the intent has it or not.
type Found struct {
	Name string      // by which its neighbours hear it
	Role intent.Role // when the intent has it; to be found otherwise
	// Nameless switches are heard by their serial number: they get a name by role.
	Nameless   bool
	Management string // port that leads to the controller, and to no host
	Ports      []Seen
}

// Discovered is a fabric as its switches report it.
type Discovered struct {
	// Graph has the switches, with roles, and the cables that both ends hear.
	Graph *Graph
	// Names are those of the graph's nodes, by the name by which the switch is heard.
	Names map[string]string
	// Doubts are sentences on what was heard and is not in the graph.
	Doubts []string
}

// Discover makes a graph of what switches report. Only a cable that both its ends
// hear is in it; a neighbour that does not report is none of it, whatever it says.
// Roles follow from names and from the graph as they do for a file, where a port that
// is up and hears nobody has a host. Switches that say the same name are left out.
func Discover(found []Found) Discovered {
	d := &discovering{by: map[string]Found{}, c: cabling{seen: map[string][]Seen{}, ports: map[End]Seen{}}}
	d.switches(found)
	d.cables()
	slices.SortFunc(d.graph.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	guessRoles(&d.graph, d.hosted)
	names := d.name()
	return Discovered{Graph: &d.graph, Names: names, Doubts: d.doubts}
}

type discovering struct {
	by     map[string]Found
	c      cabling
	graph  Graph
	doubts []string
}

func (d *discovering) doubt(format string, args ...any) {
	d.doubts = append(d.doubts, fmt.Sprintf(format, args...))
}

// switches takes those in whose names are one switch's.
func (d *discovering) switches(found []Found) {
	times := map[string]int{}
	for _, f := range found {
		times[f.Name]++
	}
	for _, f := range found {
		switch n := times[f.Name]; {
		case n > 1:
			times[f.Name] = -n // told once
			d.doubt("%d switches say that they are %s: none of them is written down; give them different names", n, f.Name)
		case n < 0:
		default:
			d.by[f.Name] = f
			d.c.seen[f.Name] = f.Ports
			for _, p := range f.Ports {
				d.c.ports[End{Node: f.Name, Interface: p.Interface}] = p
			}
			node := Node{Name: f.Name, Kind: "linux", Role: f.Role}
			if f.Role != "" {
				node.RoleRule = "intent"
			}
			d.graph.Nodes = append(d.graph.Nodes, node)
		}
	}
}

// cables takes those in that both ends hear, and tells of the others.
func (d *discovering) cables() {
	for _, at := range sortedEnds(d.c.ports) {
		heard := d.c.ports[at].Heard
		if len(heard) > 1 {
			d.doubt("%s hears %d neighbours, and a cable has one: it is not written down", at, len(heard))
			continue
		}
		for _, other := range heard {
			switch back, known := d.c.ports[other]; {
			case !d.c.reports(other.Node):
				d.doubt("%s hears %s, which does not report: it is not written down; run an agent there, or add it by hand", at, other)
			case other.Node == at.Node:
				d.doubt("%s hears %s, a port of its own switch: it is not written down", at, other)
			case !known:
				d.doubt("%s hears %s, and %s has no such port: its neighbour is not what it says", at, other, other.Node)
			case !d.c.hears(other, at):
				d.doubt("%s hears %s, but is not heard there: it is not written down", at, other)
			case len(back.Heard) == 1 && compareEnds(at, other) < 0:
				l := Link{A: at, B: other}
				if p := d.c.ports[at]; p.MTU == back.MTU {
					l.MTU = p.MTU
				}
				d.graph.Links = append(d.graph.Links, l)
			}
		}
	}
}

// hosted tells whether a switch has a port that is up and hears nobody, beside the one
// that leads to the controller: it has a host.
func (d *discovering) hosted(n Node) bool {
	f := d.by[n.Name]
	return slices.ContainsFunc(f.Ports, func(p Seen) bool { return p.Up && len(p.Heard) == 0 && p.Interface != f.Management })
}

// name gives nameless switches the next free name of their role, in the order of
// their serial numbers.
func (d *discovering) name() map[string]string {
	names, taken := map[string]string{}, map[string]bool{}
	for _, n := range d.graph.Nodes {
		if !d.by[n.Name].Nameless {
			names[n.Name], taken[n.Name] = n.Name, true
		}
	}
	next := map[intent.Role]int{}
	for i, n := range d.graph.Nodes {
		if !d.by[n.Name].Nameless {
			continue
		}
		name := n.Name
		for ok := true; ok; ok = taken[name] {
			next[n.Role]++
			name = string(n.Role) + strconv.Itoa(next[n.Role])
		}
		names[n.Name], taken[name] = name, true
		d.graph.Nodes[i].Name = name
	}
	for i := range d.graph.Links {
		l := &d.graph.Links[i]
		l.A.Node, l.B.Node = names[l.A.Node], names[l.B.Node]
	}
	slices.SortFunc(d.graph.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return names
}
