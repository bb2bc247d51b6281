package topology

import (
	"fmt"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Clos is a graph seen as a Clos fabric (RFC 7938 section 3): tiers of
// switches, and pods below the superspines.
type Clos struct {
	Superspines []string
	Spines      []string
	Leaves      []string // border leaves too
	Pods        []Pod
	// Uplinks are the links of each leaf to spines and of each spine to
	// superspines, in the file's order, A being the lower end.
	Uplinks map[string][]Link
	// Sideways are the links between two switches of one tier, and those that
	// pass over a tier. A plain Clos has none.
	Sideways []Link
}

// Pod is a set of leaves and spines that reach each other without superspines.
type Pod struct {
	Spines []string
	Leaves []string
}

// Tiers lists the tiers that have switches, the top one first.
func (c *Clos) Tiers() [][]string {
	return slices.DeleteFunc([][]string{c.Superspines, c.Spines, c.Leaves}, func(t []string) bool { return len(t) == 0 })
}

// tier counts from the leaves up; hosts are below zero.
func tier(r intent.Role) int {
	switch r {
	case intent.RoleSuperspine:
		return 2
	case intent.RoleSpine:
		return 1
	case intent.RoleLeaf, intent.RoleBorder:
		return 0
	}
	return -1
}

// Clos finds tiers and pods. A fabric without a leaf, and a leaf that has no
// way to the spines that there are, are errors; links within a tier are not.
func (g *Graph) Clos() (*Clos, error) {
	c := &Clos{Uplinks: map[string][]Link{}}
	names := func(roles ...intent.Role) []string {
		var out []string
		for _, n := range g.ByRole(roles...) {
			out = append(out, n.Name)
		}
		slices.SortFunc(out, natural)
		return out
	}
	c.Superspines = names(intent.RoleSuperspine)
	c.Spines = names(intent.RoleSpine)
	c.Leaves = names(intent.RoleLeaf, intent.RoleBorder)
	if len(c.Leaves) == 0 {
		return nil, fmt.Errorf("fabric %s has no leaf", g.Name)
	}
	pods := newSets()
	for _, l := range g.Links {
		a, ok1 := g.Node(l.A.Node)
		b, ok2 := g.Node(l.B.Node)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("link %s: one of its nodes is not in the graph", l)
		}
		low, high := tier(a.Role), tier(b.Role)
		if low > high {
			l, _ = l.From(l.B.Node)
			low, high = high, low
		}
		switch {
		case low < 0:
			continue
		case high == low+1:
			c.Uplinks[l.A.Node] = append(c.Uplinks[l.A.Node], l)
		default:
			c.Sideways = append(c.Sideways, l)
		}
		if high < 2 {
			pods.join(l.A.Node, l.B.Node)
		}
	}
	var fs Faults
	for _, leaf := range c.Leaves {
		besides := slices.ContainsFunc(c.Sideways, func(l Link) bool { return l.A.Node == leaf || l.B.Node == leaf })
		if len(c.Spines) > 0 && len(c.Uplinks[leaf]) == 0 && !besides {
			fs = append(fs, Fault{Text: fmt.Sprintf("leaf %s has no link to a spine", leaf)})
		}
	}
	c.pods(pods)
	return c, fs.err()
}

// pods gathers the connected switches below the superspines, in the order of
// their first leaves.
func (c *Clos) pods(sets *sets) {
	index := map[string]int{}
	pod := func(name string) *Pod {
		root := sets.root(name)
		i, ok := index[root]
		if !ok {
			i = len(c.Pods)
			index[root] = i
			c.Pods = append(c.Pods, Pod{})
		}
		return &c.Pods[i]
	}
	for _, l := range c.Leaves {
		p := pod(l)
		p.Leaves = append(p.Leaves, l)
	}
	for _, s := range c.Spines {
		p := pod(s)
		p.Spines = append(p.Spines, s)
	}
}

// sets are disjoint sets of names.
type sets struct{ parent map[string]string }

func newSets() *sets { return &sets{map[string]string{}} }

func (s *sets) root(name string) string {
	for {
		p, ok := s.parent[name]
		if !ok {
			return name
		}
		if q, ok := s.parent[p]; ok {
			s.parent[name] = q
		}
		name = p
	}
}

func (s *sets) join(a, b string) {
	if a, b = s.root(a), s.root(b); a != b {
		s.parent[a] = b
	}
}
