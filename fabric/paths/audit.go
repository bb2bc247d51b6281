package paths

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/topology"
)

// Fault is a difference at one next hop of a switch, towards one or several
// destinations.
type Fault struct {
	Kind    Kind
	Switch  string
	Link    string // "leaf1:eth1 - spine1:eth1", or the interface alone where none is intended
	Message string
}

// Audit compares, on each switch that reports, the next hops to the loopback and VTEP
// addresses of all others; not to their colours, which routes of the controller may lead
// otherwise. What follows from a link that is down is none of the faults:
// that the link is down is one of the cabling. The result follows from intent and
// reports alone: the same order each time.
func (n *Network) Audit() []Fault {
	type key struct {
		kind         Kind
		node, iface  string
		neighbourEnd topology.End
	}
	type found struct {
		places    int
		what, why string // of the first
	}
	faults, judged := map[key]*found{}, map[string]int{}
	for _, to := range n.destinations() {
		w := n.walk(to)
		for _, name := range n.names {
			if n.seen[name] == nil || name == to.Switch || !n.nodes[name].Role.Switch() {
				continue
			}
			judged[name]++
			h := w.hop(name)
			for _, l := range h.Legs {
				kind, why := w.judge(h, l)
				if kind == "" || kind == Unintended && to.Address != n.nodes[to.Node].Loopback {
					continue
				}
				k := key{kind, name, l.Interface, l.Neighbour}
				if faults[k] == nil {
					faults[k] = &found{what: fmt.Sprintf(sentences[kind], name, named(l), to.Name+w.address()), why: why}
				}
				faults[k].places++
			}
		}
	}
	out := make([]Fault, 0, len(faults))
	for k, f := range faults {
		more := ""
		if f.places > 1 {
			more = fmt.Sprintf(" and %d of %d other addresses", f.places-1, judged[k.node]-1)
		}
		link := k.iface
		if k.neighbourEnd.Node != "" {
			link = topology.Link{A: topology.End{Node: k.node, Interface: k.iface}, B: k.neighbourEnd}.String()
		}
		out = append(out, Fault{k.kind, k.node, link, f.what + more + ": " + f.why})
	}
	slices.SortFunc(out, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.Switch, b.Switch), strings.Compare(a.Link, b.Link), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	return out
}

// destinations are the addresses of switches, each with one owner.
func (n *Network) destinations() []Place {
	var out []Place
	for _, name := range n.names {
		node := n.nodes[name]
		if !node.Role.Switch() || node.Drained {
			continue
		}
		told := map[netip.Addr]bool{}
		for _, a := range append([]netip.Addr{node.Loopback, node.VTEP}, n.own(name)...) {
			if a.IsValid() && n.places[a] == name && !told[a] && !slices.Contains(node.Colours, a) {
				told[a] = true
				out = append(out, Place{Name: name, Node: name, Switch: name, Address: a})
			}
		}
	}
	return out
}
