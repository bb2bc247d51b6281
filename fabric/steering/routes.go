package steering

import (
	"fmt"
	"slices"

	"github.com/weft-sdn/weft/fabric/congestion"
)

// Failure is what is down.
type Failure struct {
	Links []string // interfaces: leaf1:eth1
	Nodes []string
}

// Routes are the ways between all leaves that eBGP with multipath leaves, with
// something down: the fewest hops, and no two switches of one ASN.
type Routes struct {
	*Network
	dead  []bool // links
	tails [][]congestion.Share
	ways  [][][]congestion.Way // from and to a leaf, both by place in ends; nil when there is none
}

// Routes finds the ways.
func (n *Network) Routes(f Failure) (*Routes, error) {
	r := &Routes{Network: n, dead: make([]bool, len(n.Links)), tails: make([][]congestion.Share, len(n.ends)*len(n.names))}
	for _, name := range slices.Concat(f.Links, f.Nodes) {
		links := n.LinksAt(name)
		if _, node := n.index[name]; !node && len(links) == 0 {
			return nil, fmt.Errorf("failure: the fabric has no switch and no link between switches at %s", name)
		}
		for _, l := range links {
			r.dead[l] = true
		}
	}
	r.ways = make([][][]congestion.Way, len(n.ends))
	for i := range r.ways {
		r.ways[i] = make([][]congestion.Way, len(n.ends))
	}
	w := &walk{Routes: r, far: make([]int, len(n.names)), legs: make([][]int, len(n.names)), flow: make([]float64, len(n.names))}
	w.in = make([][]int, len(n.names))
	for l, to := range n.to {
		w.in[to] = append(w.in[to], l)
	}
	sets := map[string][]congestion.Way{} // ways with the same first links are kept once
	for j := range n.ends {
		w.toward(n.ends[j])
		w.keep(j, sets)
	}
	return r, nil
}

// walk finds the ways to one leaf.
type walk struct {
	*Routes
	in    [][]int // links that lead to a switch
	far   []int   // hops to the leaf, -1 when there is no way
	legs  [][]int // links that lead on from a switch
	order []int   // switches, the nearest first
	flow  []float64
	part  []float64 // by link
	used  []int     // links with a part
}

// toward fills far and legs, nearest switches first.
func (w *walk) toward(leaf int) {
	for i := range w.far {
		w.far[i] = -1
		w.legs[i] = w.legs[i][:0]
	}
	w.far[leaf] = 0
	w.order = append(w.order[:0], leaf)
	for k := 0; k < len(w.order); k++ {
		v := w.order[k]
		for _, l := range w.in[v] {
			u := w.to[l^1]
			if w.dead[l] || w.far[u] >= 0 && w.far[u] != w.far[v]+1 || w.passes(v, w.group[u]) {
				continue
			}
			if w.far[u] < 0 {
				w.far[u] = w.far[v] + 1
				w.order = append(w.order, u)
			}
			w.legs[u] = append(w.legs[u], l)
		}
	}
	for _, legs := range w.legs {
		slices.Sort(legs)
	}
}

// passes reports whether the route that a switch announces, its first one, has a
// switch of the group.
func (w *walk) passes(v, group int) bool {
	for {
		if w.group[v] == group {
			return true
		}
		if w.far[v] == 0 {
			return false
		}
		v = w.to[w.legs[v][0]]
	}
}

// keep notes the ways of all leaves to this one, and the tails after their first
// links.
func (w *walk) keep(j int, sets map[string][]congestion.Way) {
	base := j * len(w.names)
	var key []byte
	for i, s := range w.ends {
		if w.far[s] <= 0 {
			continue
		}
		key = key[:0]
		for _, l := range w.legs[s] {
			key = append(key, byte(l), byte(l>>8), byte(l>>16), byte(l>>24))
		}
		set, ok := sets[string(key)]
		if !ok {
			for _, l := range w.legs[s] {
				set = append(set, congestion.Way{First: int32(l), Tail: int32(w.to[l])})
			}
			sets[string(key)] = set
		}
		w.ways[i][j] = set
		for _, l := range w.legs[s] {
			if next := w.to[l]; w.far[next] > 0 && w.tails[base+next] == nil {
				w.tails[base+next] = w.tail(next)
			}
		}
	}
}

// tail is how plain ECMP divides what a switch gets for the leaf.
func (w *walk) tail(from int) []congestion.Share {
	if w.part == nil {
		w.part = make([]float64, len(w.Links))
	}
	w.used = w.used[:0]
	w.flow[from] = 1
	// Farther switches come first, as nothing goes back.
	pending := []int{from}
	for k := 0; k < len(pending); k++ {
		v := pending[k]
		each := w.flow[v] / float64(len(w.legs[v]))
		w.flow[v] = 0
		for _, l := range w.legs[v] {
			if w.part[l] == 0 {
				w.used = append(w.used, l)
			}
			w.part[l] += each
			u := w.to[l]
			if w.far[u] == 0 {
				continue
			}
			if w.flow[u] == 0 {
				pending = append(pending, u)
			}
			w.flow[u] += each
		}
	}
	out := make([]congestion.Share, 0, len(w.used))
	for _, l := range w.used {
		out = append(out, congestion.Share{Link: int32(l), Part: w.part[l]})
		w.part[l] = 0
	}
	return out
}

// between are the ways from a leaf to another, and the offset of their tails.
func (r *Routes) between(from, to int) (ways []congestion.Way, offset int) {
	i, _ := slices.BinarySearch(r.ends, from)
	j, _ := slices.BinarySearch(r.ends, to)
	return r.ways[i][j], j * len(r.names)
}
