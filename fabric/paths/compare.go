package paths

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// Place is one end of a path.
type Place struct {
	Name    string     // as asked for
	Node    string     // who has the address; empty when nobody of the intent
	Switch  string     // that the node is, or is behind
	Address netip.Addr // that packets are sent to
}

// Behind reports whether the place is not the switch itself.
func (p Place) Behind() bool { return p.Node != p.Switch }

// Leg is a next hop of a switch towards a place, and which sets have it.
type Leg struct {
	Interface string
	Neighbour topology.End // at the other end; not set when no link is intended there
	// Intended says that it is on a shortest path of the graph, Up that it is on one
	// of those over links that are up.
	Intended, Up        bool
	Learned, Programmed bool
	Weight              int // in the kernel, beside the other legs'
}

// Hop is a switch on a path.
type Hop struct {
	Switch string
	// Reported says that the switch tells what it has; else it is taken to have what
	// is intended and up.
	Reported bool
	// Steered says that the routing protocol's next hops were chosen by the
	// controller, or that a route of Weft's own is there: they need not be all.
	Steered bool
	Legs    []Leg

	learned, kernel *switchstate.Group
	prefix          netip.Prefix // of the kernel's route
}

// Set is a set of paths.
type Set struct {
	Width int    // next hops of the first switch
	Paths uint64 // the largest number when there are more
	Hops  int    // of the longest
}

// Result is what there is between two places.
type Result struct {
	From, To                          Place
	Intended, Up, Learned, Programmed Set
	Hops                              []Hop // nearest first
	Differences                       []Difference
}

// Compare finds the three sets of paths between two places.
func (n *Network) Compare(from, to Place) Result {
	r := Result{From: from, To: to}
	w := n.walk(to)
	w.whole = n.towards(to.Switch, true)
	at := map[string]int{}
	for queue := []string{from.Switch}; len(queue) > 0; queue = queue[1:] {
		name := queue[0]
		if _, known := at[name]; known {
			continue
		}
		h := w.hop(name)
		at[name] = len(r.Hops)
		r.Hops = append(r.Hops, h)
		if name == to.Switch {
			continue
		}
		for _, l := range h.Legs {
			if n.nodes[l.Neighbour.Node].Role.Switch() {
				queue = append(queue, l.Neighbour.Node)
			}
		}
	}
	for _, h := range r.Hops {
		r.Differences = append(r.Differences, w.differences(h)...)
	}
	// The last switch is a hop only for what is behind it.
	if i, ok := at[to.Switch]; ok && len(r.Hops[i].Legs) == 0 {
		r.Hops = slices.Delete(r.Hops, i, i+1)
	}
	r.Intended = w.set(r.Hops, from.Switch, func(l Leg) bool { return l.Intended })
	r.Up = w.set(r.Hops, from.Switch, func(l Leg) bool { return l.Up })
	r.Learned = w.set(r.Hops, from.Switch, func(l Leg) bool { return l.Learned })
	r.Programmed = w.set(r.Hops, from.Switch, func(l Leg) bool { return l.Programmed })
	return r
}

// walk goes towards a place.
type walk struct {
	*Network
	to        Place
	whole, up ways
	// left are ways over links that are up and through drained switches: until these
	// are left by all traffic they are used. Nil when no switch is drained.
	left ways
}

// walk is one over links that are up, for which that is the whole fabric.
func (n *Network) walk(to Place) walk {
	w := walk{Network: n, to: to, up: n.towards(to.Switch, false)}
	w.whole = w.up
	if n.drained {
		w.left = n.shortest(to.Switch, false, true)
	}
	return w
}

// leaves reports whether a leg is one that traffic is just leaving, since a switch on
// the way is drained.
func (w walk) leaves(at string, l Leg) bool {
	return slices.ContainsFunc(w.left[at], func(x topology.Link) bool { return x.A.Interface == l.Interface })
}

// hop is what a switch has towards the place.
func (w walk) hop(name string) Hop {
	h := Hop{Switch: name}
	leg := func(iface string) *Leg {
		i := slices.IndexFunc(h.Legs, func(l Leg) bool { return l.Interface == iface })
		if i < 0 {
			i = len(h.Legs)
			h.Legs = append(h.Legs, Leg{Interface: iface, Neighbour: w.ends[topology.End{Node: name, Interface: iface}]})
		}
		return &h.Legs[i]
	}
	for _, l := range w.intended(name, w.whole) {
		leg(l.A.Interface).Intended = true
	}
	for _, l := range w.intended(name, w.up) {
		if !w.down(l) {
			leg(l.A.Interface).Up = true
		}
	}
	s := w.seen[name]
	if s == nil {
		for i := range h.Legs {
			h.Legs[i].Learned, h.Legs[i].Programmed = h.Legs[i].Up, h.Legs[i].Up
		}
		return h
	}
	h.Reported = true
	if name == w.to.Switch && !w.to.Behind() {
		return h
	}
	_, h.learned = s.learned.find(w.to.Address)
	h.prefix, h.kernel = s.kernel.find(w.to.Address)
	h.Steered = h.learned != nil && h.learned.Internal || h.kernel != nil && h.kernel.Protocol == switchstate.Weft
	for _, hop := range hopsOf(h.learned) {
		leg(hop.Interface).Learned = true
	}
	for _, hop := range hopsOf(h.kernel) {
		l := leg(hop.Interface)
		l.Programmed, l.Weight = true, max(hop.Weight, 1)
	}
	slices.SortFunc(h.Legs, func(a, b Leg) int {
		return compareEnds(topology.End{Interface: a.Interface}, topology.End{Interface: b.Interface})
	})
	return h
}

func hopsOf(g *switchstate.Group) []switchstate.NextHop {
	if g == nil || g.Local() {
		return nil
	}
	return g.NextHops
}

// intended are the links by which a switch is to send; of the last one those to who
// is behind it.
func (w walk) intended(name string, in ways) []topology.Link {
	if name != w.to.Switch {
		return in[name]
	}
	var out []topology.Link
	for _, l := range w.links[name] {
		if w.to.Behind() && l.B.Node == w.to.Node {
			out = append(out, l)
		}
	}
	return out
}

// set counts the paths that some of the legs make.
func (w walk) set(hops []Hop, from string, in func(Leg) bool) Set {
	legs := map[string][]string{}
	for _, h := range hops {
		for _, l := range h.Legs {
			if in(l) && h.Switch != w.to.Switch {
				legs[h.Switch] = append(legs[h.Switch], l.Neighbour.Node)
			}
		}
	}
	type count struct {
		paths uint64
		hops  int
		busy  bool
	}
	counts := map[string]*count{w.to.Switch: {paths: 1}}
	var walk func(string) *count
	walk = func(name string) *count {
		if c := counts[name]; c != nil {
			return c // also one that is busy: packets would go round
		}
		c := &count{busy: true}
		counts[name] = c
		for _, next := range legs[name] {
			if on := walk(next); !on.busy && on.paths > 0 {
				if c.paths > math.MaxUint64-on.paths {
					c.paths = math.MaxUint64
				} else {
					c.paths += on.paths
				}
				c.hops = max(c.hops, on.hops+1)
			}
		}
		c.busy = false
		return c
	}
	c := walk(from)
	return Set{Width: len(legs[from]), Paths: c.paths, Hops: c.hops}
}

// Resolve finds a place by the name of a node, by an address of one, or by any address
// that a switch reports to be on one of its links.
func (n *Network) Resolve(name string) (Place, error) {
	if node, ok := n.nodes[name]; ok {
		p := Place{Name: name, Node: name, Switch: name, Address: node.Loopback}
		if !p.Address.IsValid() {
			p.Address = node.VTEP
		}
		if !node.Role.Switch() {
			p.Switch = n.attachment(node, p.Address)
		}
		return p, p.check()
	}
	a, err := netip.ParseAddr(name)
	if err != nil {
		return Place{}, fmt.Errorf("there is no node %s: give the name of a switch or hypervisor, or an address", name)
	}
	p := Place{Name: name, Node: n.places[a], Address: a}
	if node := n.nodes[p.Node]; node.Role.Switch() {
		p.Switch = p.Node
	} else {
		p.Switch = n.attachment(node, a)
	}
	return p, p.check()
}

func (p Place) check() error {
	switch {
	case p.Switch == "":
		return fmt.Errorf("%s is behind no switch: no link of the intent leads from it to one, and no switch reports its address to be on a link", p.Name)
	case !p.Address.IsValid():
		return fmt.Errorf("%s has no address: give its node a loopback or VTEP", p.Name)
	}
	return nil
}

// attachment is the switch that has an address on one of its links; if none reports
// that, the first that a node's links lead to.
func (n *Network) attachment(node Node, a netip.Addr) string {
	best, bits := "", -1
	for _, name := range n.names {
		if s := n.seen[name]; s != nil && a.IsValid() {
			if p, g := s.kernel.find(a); g != nil && g.OnLink() && p.Bits() > bits {
				best, bits = name, p.Bits()
			}
		}
	}
	if best != "" {
		return best
	}
	for _, l := range n.links[node.Name] {
		if n.nodes[l.B.Node].Role.Switch() {
			return l.B.Node
		}
	}
	return ""
}
