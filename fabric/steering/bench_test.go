package steering

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/congestion"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/topology"
)

// twoTier is a Clos of two tiers.
func twoTier(leaves, spines int) *topology.Graph {
	g := &topology.Graph{}
	for s := range spines {
		g.Nodes = append(g.Nodes, topology.Node{Name: fmt.Sprintf("spine%d", s+1), Role: intent.RoleSpine})
	}
	for l := range leaves {
		leaf := fmt.Sprintf("leaf%d", l+1)
		g.Nodes = append(g.Nodes, topology.Node{Name: leaf, Role: intent.RoleLeaf})
		for s := range spines {
			g.Links = append(g.Links, topology.Link{
				A: topology.End{Node: leaf, Interface: fmt.Sprintf("eth%d", s+1)},
				B: topology.End{Node: fmt.Sprintf("spine%d", s+1), Interface: fmt.Sprintf("eth%d", l+1)},
			})
		}
	}
	slices.SortFunc(g.Nodes, func(a, b topology.Node) int { return strings.Compare(a.Name, b.Name) })
	return g
}

// setting is a fabric and its traffic in a benchmark.
type setting struct {
	name           string
	leaves, spines int
	failed         int  // every so many-th link is down; 0 is none
	mixed          bool // a quarter of the spines has links of 40G instead of 100G
	whole          bool // the heavy pairs are single flows
}

func (s setting) lay(t testing.TB) *placed {
	g := twoTier(s.leaves, s.spines)
	c := Capacities{Default: 100e9, Of: map[string]float64{}}
	for k := range s.spines {
		if s.mixed && k%4 == 3 {
			c.Of[fmt.Sprintf("spine%d", k+1)] = 40e9
		}
	}
	n, err := NewNetwork(g, c)
	if err != nil {
		t.Fatal(err)
	}
	gravity := demand.Gravity{Nodes: n.Leaves(), Total: float64(s.leaves*s.spines) * 100e9 * 0.3, Spread: 0.4, Heavy: 0.1, Times: 10, Seed: 1}
	if s.whole {
		gravity.Times = 3
	}
	m, err := gravity.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	if !s.whole {
		for i := range m.Demands {
			m.Demands[i].Flows = 0
		}
	}
	traffic, err := NewTraffic(n, m)
	if err != nil {
		t.Fatal(err)
	}
	var f Failure
	for l := 0; s.failed > 0 && l < len(n.Links)/2; l += s.failed {
		f.Links = append(f.Links, n.Links[2*l].From.String())
	}
	routes, err := n.Routes(f)
	if err != nil {
		t.Fatal(err)
	}
	return traffic.place(routes, 1)
}

// cpu is the processor time that this process has used.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The fast method beside the linear program, at 64 leaves and 16 spines.
func BenchmarkOptimum(b *testing.B) {
	for _, s := range []setting{
		{name: "equal", leaves: 64, spines: 16},
		{name: "links-down", leaves: 64, spines: 16, failed: 19},
		{name: "mixed", leaves: 64, spines: 16, mixed: true},
		{name: "mixed-links-down", leaves: 64, spines: 16, failed: 19, mixed: true},
		{name: "whole-elephants", leaves: 64, spines: 16, failed: 19, mixed: true, whole: true},
	} {
		b.Run(s.name, func(b *testing.B) {
			p := s.lay(b)
			start := p.hashed(nil)
			ecmp, _ := p.problem.Utilisation(p.problem.Load(start))
			var c congestion.Choice
			used := cpu(b)
			b.ResetTimer()
			for b.Loop() {
				var err error
				if c, err = congestion.Choose(p.problem, congestion.Options{Start: start, Gap: 0.01}, congestion.Table{}); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric((cpu(b)-used).Seconds()*1000/float64(b.N), "cpu-ms")
			used = cpu(b)
			e, err := congestion.SolveExact(p.problem, 200000)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric((cpu(b)-used).Seconds()*1000, "lp-cpu-ms")
			b.ReportMetric(float64(e.Pivots), "lp-pivots")
			b.ReportMetric(ecmp/e.Utilisation, "ecmp/lp")
			b.ReportMetric(c.Divided/e.Utilisation, "divided/lp")
			b.ReportMetric(c.Utilisation/e.Utilisation, "weights/lp")
			b.ReportMetric(c.Bound/e.Utilisation, "bound/lp")
			b.ReportMetric(float64(c.Steered), "steered")
			b.ReportMetric(float64(c.Sweeps), "sweeps")
		})
	}
}

// 1,000 leaves and 32 spines: run time and memory.
func BenchmarkThousandLeaves(b *testing.B) {
	for _, s := range []setting{
		{name: "links-down", leaves: 1000, spines: 32, failed: 97},
		{name: "mixed-links-down", leaves: 1000, spines: 32, failed: 97, mixed: true},
	} {
		b.Run(s.name, func(b *testing.B) {
			p := s.lay(b)
			var c congestion.Choice
			used := cpu(b)
			b.ResetTimer()
			for b.Loop() {
				var err error
				if c, err = congestion.Choose(p.problem, congestion.Options{Gap: 0.01}, congestion.Table{}); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric((cpu(b)-used).Seconds()*1000/float64(b.N), "cpu-ms")
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
			b.ReportMetric(float64(m.Sys)/1e6, "sys-MB")
			b.ReportMetric(c.Start/c.Bound, "ecmp/bound")
			b.ReportMetric(c.Divided/c.Bound, "divided/bound")
			b.ReportMetric(c.Utilisation/c.Bound, "weights/bound")
			b.ReportMetric(float64(c.Steered), "steered")
			b.ReportMetric(float64(c.Sweeps), "sweeps")
			runtime.KeepAlive(p)
		})
	}
}

// A policy for all traffic in a fabric of 200 leaves: routes for all pairs of leaves, and
// with the switch down by which it pins, all pairs fallen back.
func BenchmarkPlanAllPairs(b *testing.B) {
	n, err := NewNetwork(twoTier(200, 4), Capacities{Default: 100e9})
	if err != nil {
		b.Fatal(err)
	}
	rules, err := Compile(n, []Policy{pin("all", "", "spine1", 0)}, now)
	if err != nil {
		b.Fatal(err)
	}
	facts := colourful(b, n, 0)
	for name, f := range map[string]Failure{"routes": {}, "fallen": {Nodes: []string{"spine1"}}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				p, err := rules.PlanChosen(facts, nil, f, Settings{})
				if err != nil || len(p.Routes)+len(p.Fallen) < 200*199 {
					b.Fatal(err, len(p.Routes), len(p.Fallen))
				}
			}
		})
	}
}
