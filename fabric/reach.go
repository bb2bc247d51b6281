package fabric

import (
	"fmt"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Wiring is the graph of nodes and links as their objects state it. A drained
// switch is as good as gone in it.
type Wiring struct {
	roles map[string]intent.Role
	next  map[string][]string // by links, parallel ones once
}

// Wire makes the graph of Node and Link objects; others are ignored.
func Wire(objects []intent.Object) *Wiring {
	w := &Wiring{roles: map[string]intent.Role{}, next: map[string][]string{}}
	for _, o := range objects {
		if n, ok := o.(*intent.Node); ok && !n.Spec.Drains() {
			w.roles[n.Metadata.Name] = n.Spec.Role
		}
	}
	for _, o := range objects {
		l, ok := o.(*intent.Link)
		if !ok || len(l.Spec.Endpoints) != 2 {
			continue
		}
		a, b := l.Spec.Endpoints[0].Node, l.Spec.Endpoints[1].Node
		if w.roles[a] == "" || w.roles[b] == "" || a == b || slices.Contains(w.next[a], b) {
			continue
		}
		w.next[a], w.next[b] = append(w.next[a], b), append(w.next[b], a)
	}
	return w
}

// leaves are the switches at which edges are, in natural order.
func (w *Wiring) leaves() []string {
	var out []string
	for n, r := range w.roles {
		if tier(r) == 1 {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, Natural)
	return out
}

// reach is the set of leaves to which a switch has a way that goes up, and then
// down (RFC 7938 section 5.2.1): no other passes the spines' shared ASN.
func (w *Wiring) reach(from string) map[string]bool {
	type at struct {
		node string
		down bool // it went down before
	}
	seen := map[at]bool{{from, false}: true}
	out := map[string]bool{}
	for queue := []at{{from, false}}; len(queue) > 0; queue = queue[1:] {
		here := queue[0]
		if tier(w.roles[here.node]) == 1 {
			out[here.node] = true
		}
		for _, n := range w.next[here.node] {
			to, step := at{n, here.down}, tier(w.roles[n])-tier(w.roles[here.node])
			if !w.roles[n].Switch() || step > 0 && here.down {
				continue
			}
			to.down = to.down || step < 0
			if !seen[to] {
				seen[to] = true
				queue = append(queue, to)
			}
		}
	}
	return out
}

// ways are the leaves that each leaf and each node behind leaves reaches, itself
// included.
func (w *Wiring) ways() map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, l := range w.leaves() {
		out[l] = w.reach(l)
	}
	for n, r := range w.roles {
		if r.Switch() {
			continue
		}
		all := map[string]bool{}
		for _, l := range w.next[n] {
			for x := range out[l] {
				all[x] = true
			}
		}
		out[n] = all
	}
	return out
}

// Pair are two leaves.
type Pair struct{ A, B string }

// String is "leaf1 and leaf2".
func (p Pair) String() string { return fmt.Sprintf("%s and %s", p.A, p.B) }

// Loss is what a change of the wiring takes away.
type Loss struct {
	// Cut are the nodes that had a way to others and lose that to half of them
	// or more, or are no more: those which are cut off, not those which they are
	// cut off from. In natural order.
	Cut []string
	// Pairs are leaves that stay and have no way to each other any more.
	Pairs []Pair
}

// Lost compares two wirings.
func Lost(before, after *Wiring) Loss {
	var out Loss
	was, is := before.ways(), after.ways()
	for n, ways := range was {
		lost := 0
		for l := range ways {
			if !is[n][l] {
				lost++
			}
		}
		if lost > 0 && 2*lost >= len(ways) {
			out.Cut = append(out.Cut, n)
		}
	}
	slices.SortFunc(out.Cut, Natural)
	leaves := after.leaves()
	for i, a := range leaves {
		for _, b := range leaves[i+1:] {
			if was[a][b] && !is[a][b] {
				out.Pairs = append(out.Pairs, Pair{a, b})
			}
		}
	}
	return out
}
