package paths

import (
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// Node is a switch or a host of the intent.
type Node struct {
	Name     string
	Role     intent.Role
	ASN      uint32
	Loopback netip.Addr
	VTEP     netip.Addr
	Colours  []netip.Addr // further addresses of the VTEP
	// Drained says that traffic is to keep away from the switch: other switches send
	// through it only where there is no other way.
	Drained bool
}

// Network is the intended fabric and what its switches report.
type Network struct {
	nodes map[string]Node
	names []string
	links map[string][]topology.Link // of each node, A being its end
	ends  map[topology.End]topology.End
	seen  map[string]*Seen
	// places has who an address belongs to; several with one address are in none.
	places map[netip.Addr]string
	isis   bool
	// drained says that some switch is.
	drained bool
}

// Seen is what a switch reports.
type Seen struct {
	Routing switchstate.Routing
	Down    map[string]bool // ports without a carrier
	learned table
	kernel  table
}

// NewSeen makes a report ready for being looked up in.
func NewSeen(r switchstate.Routing, down map[string]bool) *Seen {
	return &Seen{Routing: r, Down: down, learned: tableOf(r.Learned), kernel: tableOf(r.Programmed)}
}

// WithDown is the same report with other ports down.
func (s *Seen) WithDown(down map[string]bool) *Seen {
	out := *s
	out.Down = down
	return &out
}

// NewNetwork puts the intent and reports together. Links lead between nodes; a switch
// without a report is assumed to be as intended.
func NewNetwork(nodes []Node, links []topology.Link, seen map[string]*Seen) *Network {
	n := &Network{nodes: map[string]Node{}, links: map[string][]topology.Link{}, ends: map[topology.End]topology.End{}, seen: seen, places: map[netip.Addr]string{}}
	for _, node := range nodes {
		n.nodes[node.Name] = node
		n.drained = n.drained || node.Drained
		n.names = append(n.names, node.Name)
	}
	slices.Sort(n.names)
	for _, l := range links {
		a, b := bare(l.A), bare(l.B)
		n.ends[a], n.ends[b] = b, a
		n.links[a.Node] = append(n.links[a.Node], topology.Link{A: a, B: b})
		n.links[b.Node] = append(n.links[b.Node], topology.Link{A: b, B: a})
	}
	for _, list := range n.links {
		slices.SortFunc(list, func(x, y topology.Link) int { return compareEnds(x.A, y.A) })
	}
	for _, s := range seen {
		n.isis = n.isis || len(s.Routing.ISIS) > 0
	}
	n.place()
	return n
}

// place notes who has which address.
func (n *Network) place() {
	twice := map[netip.Addr]bool{}
	note := func(a netip.Addr, node string) {
		if has, ok := n.places[a]; ok && has != node {
			twice[a] = true
		}
		if a.IsValid() {
			n.places[a] = node
		}
	}
	for _, name := range n.names {
		note(n.nodes[name].Loopback, name)
		note(n.nodes[name].VTEP, name)
		for _, a := range n.nodes[name].Colours {
			note(a, name)
		}
		for _, a := range n.own(name) {
			note(a, name)
		}
	}
	for a := range twice {
		delete(n.places, a)
	}
}

// own are the addresses of a switch's loopback, as it reports them.
func (n *Network) own(name string) (out []netip.Addr) {
	if s := n.seen[name]; s != nil {
		for _, g := range s.Routing.Learned {
			if !g.Local() {
				continue
			}
			for _, p := range g.Prefixes {
				if p.IsSingleIP() && !p.Addr().IsLoopback() {
					out = append(out, p.Addr())
				}
			}
		}
	}
	return out
}

func bare(e topology.End) topology.End { return topology.End{Node: e.Node, Interface: e.Interface} }

// down reports whether one end of a link has no carrier.
func (n *Network) down(l topology.Link) bool {
	for _, e := range []topology.End{l.A, l.B} {
		if s := n.seen[e.Node]; s != nil && s.Down[e.Interface] {
			return true
		}
	}
	return false
}

// ways are the links by which each switch is to send to a destination.
type ways map[string][]topology.Link

// towards finds the shortest ways to a switch that the routing protocol takes. With
// whole set, links that are down count as well. A drained switch is on a way only where
// there is no other (RFC 8326 section 4: its routes have the lowest preference).
func (n *Network) towards(to string, whole bool) ways {
	out := n.shortest(to, whole, false)
	if !n.drained {
		return out
	}
	for from, list := range n.shortest(to, whole, true) {
		if _, other := out[from]; !other {
			out[from] = list
		}
	}
	return out
}

// shortest finds the shortest ways to a switch, which lead through drained switches as
// through others when through says so, and not at all when not.
func (n *Network) shortest(to string, whole, through bool) ways {
	out := ways{}
	path := map[string][]uint32{to: {n.nodes[to].ASN}}
	for level := []string{to}; len(level) > 0; {
		var next []string
		for _, at := range level {
			if at != to && n.nodes[at].Drained && !through {
				continue
			}
			for _, l := range n.links[at] {
				if l.A.Node == l.B.Node || !n.nodes[l.B.Node].Role.Switch() || !whole && n.down(l) {
					continue
				}
				from := l.B.Node
				if _, known := path[from]; known && !slices.Contains(next, from) || n.refuses(from, path[at]) {
					continue
				}
				if !slices.Contains(next, from) {
					next = append(next, from)
					path[from] = append([]uint32{n.nodes[from].ASN}, path[at]...)
				}
				out[from] = append(out[from], topology.Link{A: l.B, B: l.A})
			}
		}
		level = next
	}
	for _, list := range out {
		slices.SortFunc(list, func(x, y topology.Link) int { return compareEnds(x.A, y.A) })
	}
	return out
}

// refuses reports whether a switch takes no path that goes through the given ASes.
func (n *Network) refuses(node string, path []uint32) bool {
	asn := n.nodes[node].ASN
	return !n.isis && asn != 0 && slices.Contains(path, asn)
}
