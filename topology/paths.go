package topology

import (
	"iter"
	"math"
	"slices"
)

// PathOptions leave parts of the graph out: what is down, or to be drained.
type PathOptions struct {
	WithoutLinks []Link   // whichever end is A
	WithoutNodes []string // also as the ends of the path
}

// Path is a way through the graph; each link is turned so that A is its end
// towards the start.
type Path []Link

// PathSet is the set of the shortest paths from a node to another.
type PathSet struct {
	from, to string
	hops     int
	next     map[string][]Link // on towards the destination, for each node on a path
	count    map[string]uint64 // paths from a node to the destination
}

// Paths finds all paths with the fewest hops. They lead over switches only; the
// two ends may be hosts. Each of several parallel links makes a path of its
// own. The set is empty when a node is unknown, left out or can't be reached.
func (g *Graph) Paths(from, to string, opt PathOptions) PathSet {
	s := PathSet{from: from, to: to}
	start, ok1 := g.find(from)
	end, ok2 := g.find(to)
	if !ok1 || !ok2 || slices.Contains(opt.WithoutNodes, from) || slices.Contains(opt.WithoutNodes, to) {
		return s
	}
	links := g.adjacency(opt)
	far := g.distances(end, links)
	if far[start] < 0 {
		return s
	}
	s.hops = far[start]
	s.next, s.count = map[string][]Link{}, map[string]uint64{to: 1}
	g.collect(&s, start, links, far)
	return s
}

// hop is a link as seen from a node.
type hop struct {
	link Link // A is here
	to   int
}

// adjacency has the links of each node in the file's order.
func (g *Graph) adjacency(opt PathOptions) [][]hop {
	out := make([][]hop, len(g.Nodes))
	for _, l := range g.Links {
		if slices.ContainsFunc(opt.WithoutLinks, l.same) ||
			slices.Contains(opt.WithoutNodes, l.A.Node) || slices.Contains(opt.WithoutNodes, l.B.Node) {
			continue
		}
		a, ok1 := g.find(l.A.Node)
		b, ok2 := g.find(l.B.Node)
		if !ok1 || !ok2 || a == b {
			continue
		}
		back, _ := l.From(l.B.Node)
		out[a] = append(out[a], hop{l, b})
		out[b] = append(out[b], hop{back, a})
	}
	return out
}

// same reports whether two links join the same interfaces.
func (l Link) same(o Link) bool {
	at := func(a, b End) bool { return a.Node == b.Node && a.Interface == b.Interface }
	return at(l.A, o.A) && at(l.B, o.B) || at(l.A, o.B) && at(l.B, o.A)
}

// distances counts the hops from each node to the end, -1 where there is no
// way. What is not a switch is reached, but not passed.
func (g *Graph) distances(end int, links [][]hop) []int {
	far := make([]int, len(g.Nodes))
	for i := range far {
		far[i] = -1
	}
	far[end] = 0
	for queue := []int{end}; len(queue) > 0; queue = queue[1:] {
		i := queue[0]
		if i != end && !g.Nodes[i].Role.Switch() {
			continue
		}
		for _, h := range links[i] {
			if far[h.to] < 0 {
				far[h.to] = far[i] + 1
				queue = append(queue, h.to)
			}
		}
	}
	return far
}

// collect notes the links that lead on, and counts the paths, nearest first.
func (g *Graph) collect(s *PathSet, start int, links [][]hop, far []int) {
	seen := map[int]bool{start: true}
	order := []int{start}
	for k := 0; k < len(order); k++ {
		i := order[k]
		for _, h := range links[i] {
			if far[h.to] != far[i]-1 || far[h.to] > 0 && !g.Nodes[h.to].Role.Switch() {
				continue
			}
			s.next[g.Nodes[i].Name] = append(s.next[g.Nodes[i].Name], h.link)
			if !seen[h.to] {
				seen[h.to] = true
				order = append(order, h.to)
			}
		}
	}
	for _, i := range slices.Backward(order) {
		name := g.Nodes[i].Name
		for _, l := range s.next[name] {
			s.count[name] = addCapped(s.count[name], s.count[l.B.Node])
		}
	}
}

func addCapped(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// Empty reports whether there is no path.
func (s PathSet) Empty() bool { return s.count[s.from] == 0 }

// Hops is the number of links of each path.
func (s PathSet) Hops() int { return s.hops }

// Count is the number of paths, without enumerating them; the largest uint64
// when there are more.
func (s PathSet) Count() uint64 { return s.count[s.from] }

// Width is the number of links over which the first node spreads its flows.
func (s PathSet) Width() int { return len(s.next[s.from]) }

// Next are the links that lead on from a node that is on a path, A being the
// node's end: the legs of its ECMP group.
func (s PathSet) Next(node string) []Link { return slices.Clone(s.next[node]) }

// All gives the paths in the order of the file's links, at most limit of them;
// all when limit is zero.
func (s PathSet) All(limit int) iter.Seq[Path] {
	return func(yield func(Path) bool) {
		if s.Empty() {
			return
		}
		given := 0
		var walk func(node string, path Path) bool
		walk = func(node string, path Path) bool {
			if node == s.to {
				given++
				return yield(slices.Clone(path)) && given != limit
			}
			for _, l := range s.next[node] {
				if !walk(l.B.Node, append(path, l)) {
					return false
				}
			}
			return true
		}
		walk(s.from, make(Path, 0, s.hops))
	}
}
