package topology

import (
	"fmt"
	"slices"
	"strings"
)

// Box is a switch that has no place in the fabric yet, by what it says and hears.
type Box struct {
	Name  string // by which its neighbours hear it
	Ports []Seen
}

// Place finds the node whose place in the intended links a box has, by its cables.
// Only a cable counts that both its ends hear: what one end says of itself may be a
// lie. seen has the ports of the switches that report. The node is empty unless all
// cables that count lead to ports where one and the same node belongs; why then says
// what is in the way, and otherwise which cables tell.
func Place(links []Link, seen map[string][]Seen, b Box) (node, why string) {
	p := placing{box: b, cabling: cabling{seen: seen, intended: map[End]End{}, ports: map[End]Seen{}}}
	for _, l := range links {
		x, y := bare(l.A), bare(l.B)
		p.intended[x], p.intended[y] = y, x
	}
	for name, ports := range seen {
		for _, s := range ports {
			p.ports[End{Node: name, Interface: s.Interface}] = s
		}
	}
	for _, port := range b.Ports {
		p.port(port)
	}
	return p.verdict()
}

type placing struct {
	cabling
	box     Box
	nodes   []string // where cables that count say that the box belongs
	counted []string // these cables, in words
	against []string // what speaks against any place
	doubts  []string // what does not count, and why
}

// port takes what a port of the box hears into account.
func (p *placing) port(s Seen) {
	at := End{Node: p.box.Name, Interface: s.Interface}
	switch {
	case len(s.Heard) == 0:
		return
	case len(s.Heard) > 1:
		p.doubts = append(p.doubts, fmt.Sprintf("%s hears %d neighbours, and a cable has one", s.Interface, len(s.Heard)))
		return
	}
	other := s.Heard[0]
	back, known := p.ports[other]
	switch {
	case !p.reports(other.Node):
		p.doubts = append(p.doubts, fmt.Sprintf("%s hears %s, which does not report to the controller", s.Interface, other))
	case !known:
		p.doubts = append(p.doubts, fmt.Sprintf("%s hears %s, and %s has no such port: its neighbour is not what it says", s.Interface, other, other.Node))
	case len(back.Heard) == 0:
		p.doubts = append(p.doubts, fmt.Sprintf("%s hears %s, which hears nobody", s.Interface, other))
	case !slices.Contains(back.Heard, at):
		p.doubts = append(p.doubts, fmt.Sprintf("%s hears %s, which hears %s: its neighbour is not what it says", s.Interface, other, back.Heard[0]))
	default:
		p.cable(s.Interface, other)
	}
}

// cable takes a cable that both ends hear into account.
func (p *placing) cable(iface string, other End) {
	want, planned := p.intended[other]
	switch {
	case !planned:
		p.against = append(p.against, fmt.Sprintf("%s is wired to %s, where no link is intended", iface, other))
	case want.Interface != iface:
		p.against = append(p.against, fmt.Sprintf("%s is wired to %s, where %s belongs", iface, other, want))
		p.nodes = append(p.nodes, want.Node)
	default:
		p.nodes = append(p.nodes, want.Node)
		p.counted = append(p.counted, fmt.Sprintf("%s to %s", iface, other))
	}
}

func (p *placing) verdict() (node, why string) {
	slices.Sort(p.nodes)
	nodes := slices.Compact(p.nodes)
	switch {
	case len(nodes) > 1:
		return "", fmt.Sprintf("its cables lead to the places of %s: move them to those of one", strings.Join(nodes, " and "))
	case len(p.against) > 0:
		return "", strings.Join(p.against, ", ")
	case len(nodes) == 1:
		return nodes[0], "it is wired as " + nodes[0] + " is to be: " + strings.Join(p.counted, ", ")
	case len(p.doubts) > 0:
		return "", strings.Join(p.doubts, "; ")
	}
	return "", "none of its ports hears a switch of the fabric"
}
