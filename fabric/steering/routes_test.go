package steering

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/congestion"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/topology"
)

// cabled builds a graph from cables, "leaf1:eth1 spine1:eth1"; a node's role is its
// name without the number.
func cabled(cables ...string) *topology.Graph {
	g := &topology.Graph{Name: "dc"}
	seen := map[string]bool{}
	for _, c := range cables {
		var ends []topology.End
		for _, e := range strings.Fields(c) {
			node, iface, _ := strings.Cut(e, ":")
			if !seen[node] {
				g.Nodes = append(g.Nodes, topology.Node{Name: node, Role: intent.Role(strings.TrimRight(node, "0123456789"))})
			}
			seen[node] = true
			ends = append(ends, topology.End{Node: node, Interface: iface})
		}
		g.Links = append(g.Links, topology.Link{A: ends[0], B: ends[1]})
	}
	slices.SortFunc(g.Nodes, func(a, b topology.Node) int { return strings.Compare(a.Name, b.Name) })
	return g
}

// fabrics draws Clos fabrics of two and three tiers, with parallel links.
func fabrics(t *rapid.T) *topology.Graph {
	var cables []string
	port := map[string]int{}
	cable := func(a, b string) {
		port[a]++
		port[b]++
		cables = append(cables, fmt.Sprintf("%s:eth%d %s:eth%d", a, port[a], b, port[b]))
	}
	pods := rapid.IntRange(1, 2).Draw(t, "pods")
	superspines := 0
	if pods > 1 {
		superspines = rapid.IntRange(1, 2).Draw(t, "superspines")
	}
	spines, leaves := rapid.IntRange(1, 3).Draw(t, "spines"), rapid.IntRange(2, 3).Draw(t, "leaves")
	parallel := rapid.IntRange(1, 2).Draw(t, "parallel")
	for p := range pods {
		for s := range spines {
			spine := fmt.Sprintf("spine%d", p*spines+s+1)
			for i := range superspines {
				cable(spine, fmt.Sprintf("superspine%d", i+1))
			}
			for l := range leaves {
				for range parallel {
					cable(fmt.Sprintf("leaf%d", p*leaves+l+1), spine)
				}
			}
		}
	}
	return cabled(cables...)
}

// failures draws some links and switches that are down.
func failures(t *rapid.T, n *Network) Failure {
	var f Failure
	for range rapid.IntRange(0, 4).Draw(t, "down") {
		f.Links = append(f.Links, n.Links[rapid.IntRange(0, len(n.Links)-1).Draw(t, "link")].From.String())
	}
	if rapid.IntRange(0, 3).Draw(t, "node") == 0 {
		f.Nodes = append(f.Nodes, rapid.SampledFrom(n.names).Draw(t, "dead"))
	}
	return f
}

// without are the failures as topology has them.
func without(n *Network, f Failure) topology.PathOptions {
	o := topology.PathOptions{WithoutNodes: f.Nodes}
	for _, name := range f.Links {
		for _, l := range n.graph.Links {
			if l.A.String() == name || l.B.String() == name {
				o.WithoutLinks = append(o.WithoutLinks, l)
			}
		}
	}
	return o
}

// The ways are the shortest paths of package topology that have no ASN twice, and
// each gets what ECMP at each switch gives it.
func TestWaysAreTheShortestPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, err := NewNetwork(fabrics(t), Capacities{Default: 1e9})
		if err != nil {
			t.Fatal(err)
		}
		f := failures(t, n)
		r, err := n.Routes(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range n.ends {
			for _, to := range n.ends {
				if from == to {
					continue
				}
				want := map[string]bool{}
				for path := range n.graph.Paths(n.names[from], n.names[to], without(n, f)).All(0) {
					groups := map[int]bool{n.group[from]: true}
					for _, l := range path {
						groups[n.group[n.index[l.B.Node]]] = true
					}
					if len(groups) == len(path)+1 {
						want[path[0].A.String()] = true
					}
				}
				ways, offset := r.between(from, to)
				got := map[string]bool{}
				for _, w := range ways {
					got[n.Links[w.First].From.String()] = true
					into := 0.0
					for _, s := range r.tails[offset+int(w.Tail)] {
						if r.dead[s.Link] || r.dead[w.First] {
							t.Fatalf("%s to %s: a way over a dead link", n.names[from], n.names[to])
						}
						if n.to[s.Link] == to {
							into += s.Part
						}
					}
					if n.to[w.First] != to && math.Abs(into-1) > 1e-9 {
						t.Fatalf("%s to %s by %s: %v of it arrives", n.names[from], n.names[to], n.Links[w.First], into)
					}
				}
				if len(want) > 0 && fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("%s to %s without %v: first links %v, package topology has %v", n.names[from], n.names[to], f, got, want)
				}
				if len(want) == 0 && len(got) > 0 && !n.graph.Paths(n.names[from], n.names[to], without(n, f)).Empty() {
					// All shortest paths have an ASN twice: a longer one may serve.
					if hops(r, from, to) <= n.graph.Paths(n.names[from], n.names[to], without(n, f)).Hops() {
						t.Fatalf("%s to %s without %v: %v has an ASN twice", n.names[from], n.names[to], f, got)
					}
				}
			}
		}
	})
}

// hops is the length of the first way.
func hops(r *Routes, from, to int) int {
	ways, offset := r.between(from, to)
	n := 1.0
	for _, s := range r.tails[offset+int(ways[0].Tail)] {
		n += s.Part
	}
	return int(math.Round(n))
}

// matrices draws traffic between leaves.
func matrices(t *rapid.T, n *Network) demand.Matrix {
	var ds []demand.Demand
	leaf := rapid.SampledFrom(n.Leaves())
	for range rapid.IntRange(1, 12).Draw(t, "cells") {
		d := demand.Demand{Key: demand.Key{From: leaf.Draw(t, "from"), To: leaf.Draw(t, "to"), Tenant: rapid.SampledFrom([]string{"", "blue"}).Draw(t, "tenant")}}
		d.Rate, d.Flows = float64(rapid.IntRange(0, 900).Draw(t, "mbit"))*1e6, rapid.SampledFrom([]int{0, 0, 1, 7}).Draw(t, "flows")
		if d.From != d.To {
			ds = append(ds, d)
		}
	}
	m, err := demand.New(ds)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What goes into a leaf by its links is what the matrix sends there, less what has no
// way; nothing is on a dead link; auto is never worse than ECMP, nor below its bound;
// and a rule never makes traffic disappear.
func TestNothingIsLostOrMadeUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, err := NewNetwork(fabrics(t), Capacities{Default: 1e9})
		if err != nil {
			t.Fatal(err)
		}
		traffic, err := NewTraffic(n, matrices(t, n))
		if err != nil {
			t.Fatal(err)
		}
		rules := someRules(t, n)
		c := Case{Failure: failures(t, n)}
		s := Settings{Most: rapid.IntRange(0, 3).Draw(t, "most"), Seed: uint64(rapid.IntRange(0, 9).Draw(t, "seed"))}
		r, err := Simulate(traffic, rules, c, s)
		if err != nil {
			t.Fatal(err)
		}
		routes, err := n.Routes(c.Failure)
		if err != nil {
			t.Fatal(err)
		}
		sent, lost := make([]float64, len(n.names)), 0.0
		for _, cell := range traffic.cells {
			if ways, _ := routes.between(cell.from, cell.to); len(ways) == 0 {
				lost += cell.Rate
				continue
			}
			sent[cell.to] += cell.Rate
			sent[cell.from] -= cell.Rate
		}
		if math.Abs(lost-r.Lost) > 1 {
			t.Fatalf("%v is lost, it says %v", lost, r.Lost)
		}
		for name, load := range map[string][]float64{"ECMP": r.ECMP, "policy": r.Policy, "auto": r.Auto} {
			net := make([]float64, len(n.names))
			for l, v := range load {
				if routes.dead[l] && v != 0 {
					t.Fatalf("%s: %v on the dead link %s", name, v, n.Links[l])
				}
				net[n.to[l]] += v
				net[n.to[l^1]] -= v
			}
			for s := range net {
				if math.Abs(net[s]-sent[s]) > 1 {
					t.Fatalf("%s: %s keeps %v bit/s, the matrix says %v", name, n.names[s], net[s], sent[s])
				}
			}
		}
		ecmp, _ := n.Worst(r.ECMP)
		auto, _ := n.Worst(r.Auto)
		if auto > ecmp*(1+1e-9) {
			t.Fatalf("auto %v is worse than ECMP %v", auto, ecmp)
		}
		counted := slices.ContainsFunc(traffic.cells, func(c cell) bool { return c.counted() && !c.Whole() })
		if auto < r.Bound*(1-1e-9) && !counted && s.Most == 0 {
			t.Fatalf("auto %v is below its bound %v", auto, r.Bound)
		}
	})
}

// someRules draws policies that compile; nil when they don't.
func someRules(t *rapid.T, n *Network) *Rules {
	var ps []Policy
	for i := range rapid.IntRange(1, 3).Draw(t, "policies") {
		p := Policy{Name: fmt.Sprintf("p%d", i), Spec: intent.SteeringPolicySpec{Priority: i}}
		if rapid.Bool().Draw(t, "scoped") {
			p.Spec.Scope.From = rapid.SampledFrom(n.Leaves()).Draw(t, "of")
		}
		link := n.Links[rapid.IntRange(0, len(n.Links)-1).Draw(t, "at")]
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			p.Spec.Pin = &intent.SteeringPin{Via: []string{link.To.Node}}
		case 1:
			p.Spec.Avoid = &intent.SteeringAvoid{Links: []string{link.From.String()}}
		case 2:
			p.Spec.Weight = map[string]int{link.To.Node: 3, link.From.Node: 1}
		default:
			p.Spec.Auto = &intent.SteeringAuto{}
		}
		ps = append(ps, p)
	}
	r, err := Compile(n, ps, now)
	if err != nil {
		r, err = Compile(n, nil, now)
		require.NoError(t, err)
	}
	return r
}

// On fabrics, too, the bound is below the optimum of the linear program and what can
// be divided is within the gap above it; weights that hardware holds are never better
// than it.
func TestTheOptimumIsTheLinearPrograms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := fabrics(t)
		capacities := Capacities{Default: 1e9, Of: map[string]float64{"spine1": 4e8}}
		n, err := NewNetwork(g, capacities)
		require.NoError(t, err)
		m := matrices(t, n)
		for i := range m.Demands {
			m.Demands[i].Flows = 0
		}
		traffic, err := NewTraffic(n, m)
		require.NoError(t, err)
		routes, err := n.Routes(failures(t, n))
		require.NoError(t, err)
		p := traffic.place(routes, 0).problem
		e, err := congestion.SolveExact(p, 10000)
		require.NoError(t, err)
		c, err := congestion.Choose(p, congestion.Options{Gap: 0.01}, congestion.Table{})
		require.NoError(t, err)
		switch {
		case c.Bound > e.Utilisation*(1+1e-6):
			t.Fatalf("the bound %v is above the optimum %v", c.Bound, e.Utilisation)
		case c.Divided > e.Utilisation*1.0101:
			t.Fatalf("divided %v, the optimum is %v", c.Divided, e.Utilisation)
		case c.Utilisation < e.Utilisation*(1-1e-6):
			t.Fatalf("weights %v are better than the optimum %v", c.Utilisation, e.Utilisation)
		}
	})
}
