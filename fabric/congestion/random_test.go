package congestion

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize/convex/lp"
	"pgregory.net/rapid"
)

// problems draws small problems of any shape, not only those of a Clos.
func problems(t *rapid.T, whole bool) *Problem {
	p := &Problem{}
	links := rapid.IntRange(2, 8).Draw(t, "links")
	for range links {
		p.Capacity = append(p.Capacity, float64(rapid.IntRange(1, 5).Draw(t, "capacity"))*10)
	}
	if rapid.Bool().Draw(t, "based") {
		for range links {
			p.Base = append(p.Base, float64(rapid.IntRange(0, 9).Draw(t, "base")))
		}
	}
	link := rapid.IntRange(0, links-1)
	for range rapid.IntRange(1, 6).Draw(t, "tails") {
		var tail []Share
		for _, l := range rapid.SliceOfNDistinct(link, 1, min(3, links-1), rapid.ID).Draw(t, "shares") {
			tail = append(tail, Share{Link: int32(l)})
		}
		for i := range tail {
			tail[i].Part = 1 / float64(len(tail))
		}
		p.Tails = append(p.Tails, tail)
	}
	for range rapid.IntRange(1, 6).Draw(t, "commodities") {
		c := Commodity{Demand: float64(rapid.IntRange(0, 20).Draw(t, "demand")), Offset: int32(rapid.IntRange(0, 1).Draw(t, "offset"))}
		for range rapid.IntRange(1, 4).Draw(t, "ways") {
			w := Way{Tail: int32(rapid.IntRange(-1, len(p.Tails)-1).Draw(t, "tail"))}
			w.First = int32(link.Filter(func(l int) bool { return p.uses(Way{First: -1, Tail: w.Tail}, l) == 0 }).Draw(t, "first"))
			if w.Tail >= 0 {
				w.Tail -= c.Offset
				if w.Tail < 0 {
					w.Tail = -1
				}
			}
			c.Ways = append(c.Ways, w)
		}
		c.Whole = whole && rapid.Bool().Draw(t, "whole")
		p.Commodities = append(p.Commodities, c)
	}
	return p
}

// gonum's simplex on the whole program, densely.
func dense(t interface{ Fatal(...any) }, p *Problem) float64 {
	links, ways := len(p.Capacity), 0
	for _, c := range p.Commodities {
		ways += len(c.Ways)
	}
	// Columns: the ways, the maximum, the slacks.
	n := ways + 1 + links
	a := mat.NewDense(links+len(p.Commodities), n, nil)
	b := make([]float64, links+len(p.Commodities))
	cost := make([]float64, n)
	cost[ways] = 1
	for l, c := range p.Capacity {
		a.Set(l, ways, -c)
		a.Set(l, ways+1+l, 1)
		if p.Base != nil {
			b[l] = -p.Base[l]
		}
	}
	at := 0
	for i, c := range p.Commodities {
		for w := range c.Ways {
			load := make([]float64, links)
			p.add(load, c.at(w), c.Demand)
			for l, v := range load {
				a.Set(l, at, v)
			}
			a.Set(links+i, at, 1)
			at++
		}
		b[links+i] = 1
	}
	least, _, err := lp.Simplex(cost, a, b, 1e-10, nil)
	if err != nil {
		t.Fatal(err)
	}
	return least
}

func sumsToOne(t *rapid.T, p *Problem, s Split) {
	for i, parts := range s {
		if parts == nil {
			continue
		}
		if len(parts) != len(p.Commodities[i].Ways) {
			t.Fatalf("commodity %d has %d ways and %d parts", i, len(p.Commodities[i].Ways), len(parts))
		}
		sum := 0.0
		for _, v := range parts {
			if v < 0 {
				t.Fatalf("commodity %d has a part of %v", i, v)
			}
			sum += v
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Fatalf("the parts of commodity %d add up to %v", i, sum)
		}
	}
}

// The linear program is what gonum says it is, and its bound is its value.
func TestExactIsGonums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := problems(t, false)
		e, err := SolveExact(p, 10000)
		if err != nil {
			t.Fatal(err)
		}
		want := dense(t, p)
		if math.Abs(e.Utilisation-want) > 1e-5*want+1e-9 {
			t.Fatalf("ours %v, gonum's %v", e.Utilisation, want)
		}
		sumsToOne(t, p, e.Split)
	})
}

// The fast method is between the optimum and its promise above it, its bound
// below the optimum, and never above the start.
func TestSolveIsNearTheOptimum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := problems(t, false)
		gap := rapid.SampledFrom([]float64{0.05, 0.01, 0.002}).Draw(t, "gap")
		s, err := Solve(p, Options{Gap: gap})
		if err != nil {
			t.Fatal(err)
		}
		sumsToOne(t, p, s.Split)
		best := dense(t, p)
		even, _ := p.Utilisation(p.Load(nil))
		got, _ := p.Utilisation(p.Load(s.Split))
		switch {
		case math.Abs(got-s.Utilisation) > 1e-9:
			t.Fatalf("says %v, is %v", s.Utilisation, got)
		case got > even+1e-9:
			t.Fatalf("%v is worse than the start's %v", got, even)
		case s.Bound > best+1e-9:
			t.Fatalf("bound %v is above the optimum %v", s.Bound, best)
		case got < best-1e-9:
			t.Fatalf("%v is below the optimum %v", got, best)
		case got > best*(1+gap)+1e-9:
			t.Fatalf("%v is more than %v above the optimum %v after %d sweeps", got, gap, best, s.Sweeps)
		}
	})
}

// Weights that hardware holds: within the table, by no more above the parts than
// is said, never worse than the start, and reached from both.
func TestChoiceHoldsItsWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := problems(t, true)
		table := Table{Total: rapid.IntRange(4, 64).Draw(t, "total")}
		o := Options{Gap: 0.01}
		if rapid.Bool().Draw(t, "started") {
			o.Start = make(Split, len(p.Commodities))
			for i, c := range p.Commodities {
				if c.Whole {
					o.Start[i] = make([]float64, len(c.Ways))
					o.Start[i][rapid.IntRange(0, len(c.Ways)-1).Draw(t, "at")] = 1
				}
			}
		}
		c, err := Choose(p, o, table)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := p.Utilisation(p.Load(c.Weights.Split()))
		if math.Abs(got-c.Utilisation) > 1e-9 {
			t.Fatalf("says %v, is %v", c.Utilisation, got)
		}
		loose := false
		for i, com := range p.Commodities {
			sum, used := 0, 0
			for _, w := range c.Weights.at(i) {
				if w < 0 {
					t.Fatalf("commodity %d has weights %v", i, c.Weights[i])
				}
				if w > 0 {
					used++
				}
				sum += w
			}
			if c.Weights[i] != nil && (sum < 1 || sum > table.Total) {
				t.Fatalf("commodity %d has weights %v, the table holds %d", i, c.Weights[i], table.Total)
			}
			if c.Weights[i] != nil && com.Whole && used != 1 {
				t.Fatalf("commodity %d is whole and has weights %v", i, c.Weights[i])
			}
			loose = loose || com.Whole && o.Start == nil
		}
		if !loose && c.Utilisation > c.Start+1e-9 {
			t.Fatalf("%v is worse than the start's %v", c.Utilisation, c.Start)
		}
		if c.Utilisation < c.Bound-1e-9 {
			t.Fatalf("%v is below its bound %v", c.Utilisation, c.Bound)
		}
	})
}

func (ws Weights) at(i int) []int { return ws[i] }

// Reduce is the best there is for its sum, by trying all.
func TestReduceIsTheNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "ways")
		parts := make([]float64, n)
		parts[0] = 1
		for w := range parts {
			parts[w] += float64(rapid.IntRange(0, 100).Draw(t, "part"))
		}
		table := Table{Total: rapid.IntRange(1, 9).Draw(t, "total"), Error: rapid.SampledFrom([]float64{0.001, 0.05, 0.3}).Draw(t, "error")}
		weights, over, err := Reduce(parts, table)
		if err != nil {
			t.Fatal(err)
		}
		if got := excess(parts, weights); math.Abs(got-over) > 1e-9 {
			t.Fatalf("%v for %v is %v above, it says %v", weights, parts, got, over)
		}
		used := 0
		for _, v := range parts {
			if v > 0 {
				used++
			}
		}
		if bound := max(float64(used-1)/float64(table.Total), table.Error); over > bound+1e-9 {
			t.Fatalf("%v above, the bound is %v", over, bound)
		}
		best := math.Inf(1)
		every(make([]int, n), 0, table.Total, func(w []int) { best = min(best, excess(parts, w)) })
		if over > max(best, table.Error)+1e-9 {
			t.Fatalf("%v for %v is %v above, there are some that are %v", weights, parts, over, best)
		}
	})
}

func excess(parts []float64, weights []int) float64 {
	sum, total, worst := 0.0, 0, 0.0
	for w := range parts {
		sum += parts[w]
		total += weights[w]
	}
	for w, v := range parts {
		if weights[w] > 0 {
			worst = max(worst, float64(weights[w])/float64(total)*sum/v)
		}
	}
	return max(0, worst-1)
}

// every gives all weights with a sum of 1 up to total.
func every(w []int, at, total int, f func([]int)) {
	if at == len(w) {
		for _, v := range w {
			if v > 0 {
				f(w)
				return
			}
		}
		return
	}
	for v := 0; v <= total; v++ {
		w[at] = v
		every(w, at+1, total-v, f)
	}
	w[at] = 0
}
