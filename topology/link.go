package topology

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"go.yaml.in/yaml/v3"
)

// Bounds of an MTU: what IPv4 needs (RFC 791) and what Linux accepts.
const (
	minMTU = 68
	maxMTU = 65535
)

// writtenLink is a link as the file has it, before its nodes are looked up.
type writtenLink struct {
	line int
	link Link
}

// special are the names that containerlab takes for something that is no node,
// and its types of links that do not join two nodes.
var special = map[string]string{
	"host":         "to the host",
	"mgmt-net":     "to the management network",
	"macvlan":      "to an interface of the host",
	"vxlan":        "to another host",
	"vxlan-stitch": "to another host",
	"dummy":        "to nowhere",
}

// link reads one link, in the brief or in the extended form.
func (p *parser) link(n *yaml.Node, number int) {
	what := fmt.Sprintf("link %d", number)
	var kind string
	var ends *yaml.Node
	l := writtenLink{line: n.Line}
	entries := p.mapping(n, what)
	for _, e := range entries {
		switch e.name {
		case "type":
			kind = strings.ToLower(p.text(e.value, what+": type"))
		case "endpoints":
			ends = e.value
		case "mtu":
			l.link.MTU = p.number(e.value, what+": mtu", minMTU, maxMTU)
		case "vars", "labels":
			p.ignore("link "+e.name, what)
		}
	}
	if why := special[kind]; why != "" {
		p.ignore(fmt.Sprintf("links of type %s (%s)", kind, why), what)
		return
	}
	if kind != "" && kind != "veth" && kind != "brief" {
		p.fault(n.Line, "%s: type: %q is not a type of link: use veth, or leave it out", what, kind)
		return
	}
	for _, e := range entries {
		if known := []string{"type", "endpoints", "mtu", "vars", "labels"}; !slices.Contains(known, e.name) {
			p.unknown(e, what, known)
		}
	}
	if isNull(ends) {
		p.fault(n.Line, "%s has no endpoints", what)
		return
	}
	list := p.list(ends, what+": endpoints")
	if resolve(ends).Kind == yaml.SequenceNode && len(list) != 2 {
		p.fault(ends.Line, "%s: endpoints: a link has two ends, this one has %d%s", what, len(list), p.name(list))
	}
	if len(list) != 2 {
		return
	}
	a, okA := p.end(list[0], what)
	b, okB := p.end(list[1], what)
	if !okA || !okB {
		return
	}
	l.link.A, l.link.B = a, b
	for _, e := range []End{a, b} {
		if _, node := p.file.Nodes[e.Node]; special[e.Node] != "" && !node {
			p.ignore(fmt.Sprintf("links of type %s (%s)", e.Node, special[e.Node]), what)
			return
		}
	}
	p.links = append(p.links, l)
}

// name tells the ends of a broken link, so that it can be found.
func (p *parser) name(list []*yaml.Node) string {
	var out []string
	for _, n := range list {
		if v := resolve(n); v.Kind == yaml.ScalarNode {
			out = append(out, v.Value)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// end reads "node:interface" or the mapping of the extended form.
func (p *parser) end(n *yaml.Node, what string) (End, bool) {
	var e End
	if v := resolve(n); v.Kind == yaml.ScalarNode {
		node, iface, ok := strings.Cut(strings.TrimSpace(v.Value), ":")
		if !ok || node == "" || iface == "" {
			p.fault(n.Line, "%s: endpoints: %q is not an end like leaf1:eth1", what, v.Value)
			return e, false
		}
		return End{Node: strings.TrimSpace(node), Written: strings.TrimSpace(iface)}, true
	}
	before := len(p.faults)
	for _, f := range p.mapping(n, what+": endpoints") {
		switch field := what + ": endpoints." + f.name; f.name {
		case "node":
			e.Node = p.text(f.value, field)
		case "interface":
			e.Written = p.text(f.value, field)
		case "mac":
			e.MAC = p.mac(f.value, field)
		case "ipv4", "ipv6", "vars":
			p.ignore("link endpoints."+f.name, e.Node)
		default:
			p.unknown(f, what+": endpoints", []string{"node", "interface", "mac", "ipv4", "ipv6", "vars"})
		}
	}
	switch {
	case len(p.faults) > before:
	case e.Node == "":
		p.fault(n.Line, "%s: endpoints: an end names no node", what)
	case e.Written == "":
		p.fault(n.Line, "%s: endpoints: the end at %s names no interface", what, e.Node)
	}
	return e, len(p.faults) == before
}

func (p *parser) mac(n *yaml.Node, what string) string {
	s := strings.ToLower(p.text(n, what))
	if s == "" {
		return ""
	}
	m, err := intent.ParseMAC(s)
	switch {
	case err != nil:
		p.fault(n.Line, "%s: %s", what, err)
	case m.IsZero() || m.Multicast():
		p.fault(n.Line, "%s: %s can't be the address of an interface", what, s)
	}
	return s
}

// withoutController takes the controller's node out of the file.
func (p *parser) withoutController() {
	for name, c := range p.file.Nodes {
		if c.Labels[LabelRole] == RoleController {
			p.ignore("the node of the controller", name)
			delete(p.file.Nodes, name)
		}
	}
}

// graph joins the nodes and links, and refuses links that can't be.
func (p *parser) graph() {
	g := p.file.Graph
	g.Name = p.file.Name
	p.withoutController()
	for _, name := range slices.Sorted(maps.Keys(p.file.Nodes)) {
		c := p.file.Nodes[name]
		g.Nodes = append(g.Nodes, Node{Name: name, Kind: c.Kind, Group: c.Group, Labels: c.Labels})
	}
	names := slices.Sorted(maps.Keys(p.file.Nodes))
	type place struct {
		line    int
		written string
	}
	used := map[[2]string]place{}
	for _, w := range p.links {
		l := w.link
		what := fmt.Sprintf("link %s:%s - %s:%s", l.A.Node, l.A.Written, l.B.Node, l.B.Written)
		before := len(p.faults)
		for _, e := range []*End{&l.A, &l.B} {
			c, ok := p.file.Nodes[e.Node]
			if !ok {
				hint := ""
				if len(p.faults) < maxHints {
					hint = meant(nearest(e.Node, names))
				}
				p.fault(w.line, "%s: there is no node %q%s", what, e.Node, hint)
				continue
			}
			e.Interface = kernelInterface(e.Written, c.Kind)
			if e.Interface == "lo" {
				p.fault(w.line, "%s: lo of node %s is its loopback and can't have a link", what, e.Node)
			}
			if l.MTU == 0 && c.MTU != 0 {
				l.MTU = c.MTU
			} else if w.link.MTU == 0 && c.MTU != 0 {
				l.MTU = min(l.MTU, c.MTU)
			}
		}
		if l.A.Node == l.B.Node {
			p.fault(w.line, "%s: both ends are on node %s", what, l.A.Node)
			continue
		}
		if len(p.faults) > before {
			continue
		}
		for _, e := range []End{l.A, l.B} {
			at := [2]string{e.Node, e.Interface}
			switch old, ok := used[at]; {
			case ok && old.written != e.Written:
				p.fault(w.line, "%s: interface %s of node %s is the same as %s, which has a link in line %d", what, e.Written, e.Node, old.written, old.line)
			case ok:
				p.fault(w.line, "%s: interface %s of node %s has a link already, in line %d", what, e.Written, e.Node, old.line)
			default:
				used[at] = place{w.line, e.Written}
			}
		}
		g.Links = append(g.Links, l)
	}
}
