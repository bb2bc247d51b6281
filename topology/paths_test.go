package topology_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
	"pgregory.net/rapid"
)

func pathText(p topology.Path) string {
	var s []string
	for _, l := range p {
		s = append(s, l.String())
	}
	return strings.Join(s, ", ")
}

func paths(s topology.PathSet, limit int) []string {
	var out []string
	for p := range s.All(limit) {
		out = append(out, pathText(p))
	}
	return out
}

func TestPathsOfAClos(t *testing.T) {
	f, err := topology.Generate(topology.GenerateParams{Name: "t", Superspines: 2, Spines: 4, Leaves: 4, Pods: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 1})
	if err != nil {
		t.Fatal(err)
	}
	g := f.Graph
	for _, c := range []struct {
		from, to    string
		hops, width int
		count       uint64
		opt         topology.PathOptions
	}{
		{from: "leaf1", to: "leaf2", hops: 2, width: 2, count: 2},
		{from: "leaf1", to: "leaf3", hops: 4, width: 2, count: 8},
		{from: "hv1", to: "hv4", hops: 6, width: 1, count: 8},
		{from: "spine1", to: "spine2", hops: 2, width: 4, count: 4}, // by leaves or superspines
		{from: "blue-vm1", to: "green-vm1", hops: 0, width: 0, count: 0},
		{from: "leaf1", to: "leaf1", hops: 0, width: 0, count: 1},
		{from: "leaf1", to: "nobody"},
		{from: "leaf1", to: "leaf3", hops: 4, width: 1, count: 4, opt: topology.PathOptions{WithoutNodes: []string{"spine1"}}},
		{from: "leaf1", to: "leaf3", opt: topology.PathOptions{WithoutNodes: []string{"leaf3"}}},
		{from: "leaf1", to: "leaf2", hops: 2, width: 1, count: 1, opt: topology.PathOptions{WithoutLinks: g.LinksOf("leaf1")[:1]}},
	} {
		s := g.Paths(c.from, c.to, c.opt)
		if s.Hops() != c.hops || s.Width() != c.width || s.Count() != c.count || s.Empty() != (c.count == 0) {
			t.Errorf("%s to %s without %v: %d hops, width %d, %d paths; want %d, %d, %d", c.from, c.to, c.opt, s.Hops(), s.Width(), s.Count(), c.hops, c.width, c.count)
		}
		if n := len(paths(s, 0)); uint64(n) != c.count {
			t.Errorf("%s to %s: All gives %d paths, Count says %d", c.from, c.to, n, c.count)
		}
		if n := len(paths(s, 3)); uint64(n) != min(c.count, 3) {
			t.Errorf("%s to %s: All(3) gives %d paths", c.from, c.to, n)
		}
	}
	if got := paths(g.Paths("leaf1", "leaf2", topology.PathOptions{}), 1); got[0] != "leaf1:eth1 - spine1:eth1, spine1:eth2 - leaf2:eth1" {
		t.Errorf("the first path is %q", got)
	}
	if got := g.Paths("leaf1", "leaf3", topology.PathOptions{}).Next("spine1"); len(got) != 2 || got[0].A.Node != "spine1" {
		t.Errorf("spine1 spreads over %v", got)
	}
	for range g.Paths("leaf1", "leaf3", topology.PathOptions{}).All(0) {
		break // must not go on
	}
}

func TestCountIsCapped(t *testing.T) {
	g := &topology.Graph{}
	for i := range 70 {
		g.Nodes = append(g.Nodes, topology.Node{Name: fmt.Sprintf("n%02d", i), Role: intent.RoleLeaf})
		for k := range 2 {
			if i > 0 {
				g.Links = append(g.Links, topology.Link{
					A: topology.End{Node: fmt.Sprintf("n%02d", i-1), Interface: fmt.Sprint("r", k)},
					B: topology.End{Node: fmt.Sprintf("n%02d", i), Interface: fmt.Sprint("l", k)},
				})
			}
		}
	}
	if c := g.Paths("n00", "n63", topology.PathOptions{}).Count(); c != 1<<63 {
		t.Errorf("count is %d", c)
	}
	if c := g.Paths("n00", "n69", topology.PathOptions{}).Count(); c != math.MaxUint64 {
		t.Errorf("count is %d", c)
	}
	if n := len(paths(g.Paths("n00", "n69", topology.PathOptions{}), 5)); n != 5 {
		t.Errorf("%d paths", n)
	}
}

// bruteForce walks all simple ways and keeps the shortest.
func bruteForce(g *topology.Graph, from, to string, opt topology.PathOptions) []string {
	best := len(g.Nodes) + 1
	var out []string
	left := func(l topology.Link) bool {
		return slices.ContainsFunc(opt.WithoutLinks, func(o topology.Link) bool {
			return o.A == l.A && o.B == l.B || o.A == l.B && o.B == l.A
		}) || slices.Contains(opt.WithoutNodes, l.B.Node)
	}
	var walk func(at string, path topology.Path, seen []string)
	walk = func(at string, path topology.Path, seen []string) {
		if at == to {
			if len(path) < best {
				best, out = len(path), nil
			}
			if len(path) == best {
				out = append(out, pathText(path))
			}
			return
		}
		if n, _ := g.Node(at); at != from && !n.Role.Switch() || len(path) >= best {
			return
		}
		for _, l := range g.LinksOf(at) {
			if !left(l) && !slices.Contains(seen, l.B.Node) {
				walk(l.B.Node, append(slices.Clip(path), l), append(slices.Clip(seen), l.B.Node))
			}
		}
	}
	if !slices.Contains(opt.WithoutNodes, from) && !slices.Contains(opt.WithoutNodes, to) {
		walk(from, nil, []string{from})
	}
	slices.Sort(out)
	return out
}

func drawGraph(t *rapid.T) *topology.Graph {
	g := &topology.Graph{Name: "t"}
	roles := []intent.Role{intent.RoleLeaf, intent.RoleSpine, intent.RoleServer, intent.RoleHypervisor}
	n := rapid.IntRange(2, 7).Draw(t, "nodes")
	for i := range n {
		g.Nodes = append(g.Nodes, topology.Node{Name: string(rune('a' + i)), Role: rapid.SampledFrom(roles).Draw(t, "role")})
	}
	used := map[string]int{}
	end := func(i int) topology.End {
		name := g.Nodes[i].Name
		used[name]++
		return topology.End{Node: name, Interface: fmt.Sprintf("eth%d", used[name])}
	}
	for range rapid.IntRange(0, 14).Draw(t, "links") {
		a, b := rapid.IntRange(0, n-1).Draw(t, "a"), rapid.IntRange(0, n-1).Draw(t, "b")
		if a != b {
			g.Links = append(g.Links, topology.Link{A: end(a), B: end(b)})
		}
	}
	return g
}

func TestPathsEqualBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t)
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		var opt topology.PathOptions
		for _, l := range g.Links {
			switch rapid.IntRange(0, 9).Draw(t, "without") {
			case 0:
				opt.WithoutLinks = append(opt.WithoutLinks, l)
			case 1:
				opt.WithoutLinks = append(opt.WithoutLinks, topology.Link{A: l.B, B: l.A})
			}
		}
		if rapid.Bool().Draw(t, "drain") {
			opt.WithoutNodes = []string{rapid.SampledFrom(g.Nodes).Draw(t, "node").Name}
		}
		from, to := rapid.SampledFrom(g.Nodes).Draw(t, "from").Name, rapid.SampledFrom(g.Nodes).Draw(t, "to").Name
		s := g.Paths(from, to, opt)
		got, want := paths(s, 0), bruteForce(g, from, to, opt)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%s to %s: paths\n%q\nwant\n%q", from, to, got, want)
		}
		if s.Count() != uint64(len(want)) {
			t.Fatalf("count is %d, want %d", s.Count(), len(want))
		}
		first := map[string]bool{}
		for p := range s.All(0) {
			if len(p) > 0 {
				first[p[0].String()] = true
			}
			if len(p) != s.Hops() {
				t.Fatalf("a path of %d hops, not %d", len(p), s.Hops())
			}
		}
		if s.Width() != len(first) {
			t.Fatalf("width is %d, want %d", s.Width(), len(first))
		}
	})
}
