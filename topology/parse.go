package topology

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Parse reads a containerlab topology file. The source is the file's name, for
// messages. The error is Faults: all that is wrong, not only the first.
func Parse(data []byte, source string) (*File, error) {
	r := newReader(source, len(data))
	doc, fault := decode(data)
	if fault != nil {
		fault.Source = source
		return nil, Faults{*fault}
	}
	f := &File{Graph: &Graph{}, Nodes: map[string]NodeConfig{}, source: source, text: bytes.Clone(data), ignored: map[string][]string{}}
	p := &parser{reader: r, file: f}
	p.top(doc.Content[0])
	if len(r.faults) == 0 {
		r.roles(f)
	}
	if err := r.faults.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// parser reads the parts of a topology file.
type parser struct {
	*reader
	file     *File
	defaults settings
	kinds    map[string]settings
	groups   map[string]settings
	links    []writtenLink
}

func (p *parser) top(n *yaml.Node) {
	var topology *yaml.Node
	line := n.Line
	for _, e := range p.mapping(n, "the file") {
		switch e.name {
		case "name":
			p.file.Name = p.text(e.value, "name")
			line = e.key.Line
		case "prefix":
			p.file.Prefix = p.text(e.value, "prefix")
			p.ignore("prefix", "")
		case "mgmt":
			p.mgmt(e.value)
			p.ignore("mgmt", "")
		case "topology":
			topology = e.value
		case "settings", "debug":
			p.ignore(e.name, "")
		default:
			p.unknown(e, "the file", []string{"name", "prefix", "mgmt", "topology", "settings", "debug"})
		}
	}
	switch {
	case resolve(n).Kind != yaml.MappingNode:
		return
	case p.file.Name == "":
		p.fault(line, "the file has no name: containerlab needs one, such as name: clos01")
	case !goodName(p.file.Name):
		p.fault(line, "name: %q is not a name for a lab: use 1 to 63 letters, digits, '-', '.' or '_', with a letter or digit at both ends", p.file.Name)
	}
	if topology == nil {
		p.fault(n.Line, "the file has no topology")
		return
	}
	p.topology(topology)
}

func (p *parser) topology(n *yaml.Node) {
	var nodes, links *yaml.Node
	for _, e := range p.mapping(n, "topology") {
		switch e.name {
		case "defaults":
			p.defaults = p.settings(e.value, "defaults")
		case "kinds":
			p.kinds = p.levels(e.value, "kind")
		case "groups":
			p.groups = p.levels(e.value, "group")
		case "nodes":
			nodes = e.value
		case "links":
			links = e.value
		default:
			p.unknown(e, "topology", []string{"defaults", "kinds", "groups", "nodes", "links"})
		}
	}
	if isNull(nodes) {
		p.fault(n.Line, "topology has no nodes")
		return
	}
	for _, e := range p.mapping(nodes, "topology.nodes") {
		p.node(e)
	}
	for i, l := range p.list(links, "topology.links") {
		p.link(l, i+1)
	}
	p.graph()
}

func (p *parser) levels(n *yaml.Node, what string) map[string]settings {
	out := map[string]settings{}
	for _, e := range p.mapping(n, "topology."+what+"s") {
		out[e.name] = p.settings(e.value, what+" "+e.name)
	}
	return out
}

func (p *parser) mgmt(n *yaml.Node) {
	m := &p.file.Mgmt
	texts := map[string]*string{
		"network": &m.Network, "bridge": &m.Bridge,
		"ipv4-subnet": &m.IPv4Subnet, "ipv4_subnet": &m.IPv4Subnet, "ipv4-range": &m.IPv4Range, "ipv4-gw": &m.IPv4GW,
		"ipv6-subnet": &m.IPv6Subnet, "ipv6_subnet": &m.IPv6Subnet, "ipv6-range": &m.IPv6Range, "ipv6-gw": &m.IPv6GW,
	}
	for _, e := range p.mapping(n, "mgmt") {
		switch t := texts[e.name]; {
		case t != nil:
			*t = p.text(e.value, "mgmt."+e.name)
		case e.name == "mtu":
			m.MTU = p.number(e.value, "mgmt.mtu", 1, 65535)
		case e.name == "external-access" || e.name == "driver-opts":
		default:
			p.unknown(e, "mgmt", append(slices.Sorted(maps.Keys(texts)), "mtu", "external-access", "driver-opts"))
		}
	}
}

// ignore notes a field that Weft has no use for.
func (p *parser) ignore(field, where string) {
	list := p.file.ignored[field]
	if where != "" && !slices.Contains(list[max(0, len(list)-1):], where) {
		list = append(list, where)
	}
	p.file.ignored[field] = list
}

// unknown refuses a field and says which one may be meant.
func (p *parser) unknown(e entry, what string, known []string) {
	p.fault(e.key.Line, "%s: there is no field %q%s", what, e.name, meant(nearest(e.name, known)))
}

// maxHints is how many faults get a hint that takes a search over all nodes.
const maxHints = 50

// meant is the hint for a mistyped word.
func meant(word string) string {
	if word == "" {
		return ""
	}
	return ": is " + word + " meant?"
}

// nearest is the known word that differs in at most two letters, or in case or
// in '_' for '-'.
func nearest(s string, known []string) string {
	best, word := 3, ""
	plain := strings.ReplaceAll(strings.ToLower(s), "_", "-")
	for _, k := range known {
		if d := distance(plain, strings.ToLower(k)); d < best && d < len(k) {
			best, word = d, k
		}
	}
	return word
}

// distance counts the letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	if len(a) > 40 {
		return 99
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?$`)

func goodName(s string) bool { return nameRE.MatchString(s) }
