package congestion

import (
	"cmp"
	"math"
	"slices"
)

// Choice is what switches are to be told, with a proof of how good it is.
type Choice struct {
	Weights     Weights
	Utilisation float64 // of the most utilised link, with these weights
	Bound       float64 // as of Solution
	Divided     float64 // utilisation before the parts became integers
	Start       float64 // utilisation of the start
	Sweeps      int
	Steered     int // commodities that have weights
}

// Gap is by how much the utilisation is above the bound, as a part of it.
func (c Choice) Gap() float64 { return Solution{Utilisation: c.Utilisation, Bound: c.Bound}.Gap() }

// Choose solves, reduces the parts to weights, and lets go of weights that gain
// nothing. When that is no better than the start, what can be divided stays on
// ECMP, and what is whole where it is.
func Choose(p *Problem, o Options, t Table) (Choice, error) {
	s, err := Solve(p, o)
	if err != nil {
		return Choice{}, err
	}
	c := Choice{Bound: s.Bound, Divided: s.Utilisation, Sweeps: s.Sweeps}
	c.Start, _ = p.Utilisation(p.Load(o.Start))
	r, err := newRounding(p, s.Split, t)
	if err != nil {
		return Choice{}, err
	}
	r.mend(s.Utilisation)
	gap := o.Gap
	if gap <= 0 {
		gap = defaultGap
	}
	r.release(s.Bound * (1 + gap))
	c.Weights = r.weights
	c.Utilisation, _ = p.Utilisation(p.Load(r.weights.Split()))
	if plain, ok := p.plain(o.Start); ok && c.Utilisation >= c.Start {
		if u, _ := p.Utilisation(p.Load(plain.Split())); u <= c.Utilisation {
			c.Weights, c.Utilisation = plain, u
		}
	}
	for _, w := range c.Weights {
		if w != nil {
			c.Steered++
		}
	}
	return c, nil
}

// plain is ECMP, with what is whole where the start has it; not ok when it is
// nowhere there.
func (p *Problem) plain(start Split) (ws Weights, ok bool) {
	ws = make(Weights, len(p.Commodities))
	for i, c := range p.Commodities {
		if !c.Whole || len(c.Ways) < 2 {
			continue
		}
		if i >= len(start) || start[i] == nil {
			return nil, false
		}
		ws[i] = make([]int, len(c.Ways))
		for w, part := range start[i] {
			ws[i][w] = int(math.Round(part))
		}
	}
	return ws, true
}

// rounding makes integers of a split.
type rounding struct {
	*Problem
	table   Table
	weights Weights
	sums    []int // of the weights
	load    []float64
}

func newRounding(p *Problem, s Split, t Table) (*rounding, error) {
	r := &rounding{Problem: p, table: t, weights: make(Weights, len(p.Commodities)), sums: make([]int, len(p.Commodities))}
	for i, parts := range s {
		if parts == nil {
			continue
		}
		w, _, err := Reduce(parts, t)
		if err != nil {
			return nil, err
		}
		r.set(i, w)
	}
	r.load = p.Load(r.weights.Split())
	return r, nil
}

func (r *rounding) set(i int, weights []int) {
	r.weights[i], r.sums[i] = weights, 0
	for _, w := range weights {
		r.sums[i] += w
	}
}

// part is what a way gets now.
func (r *rounding) part(i, w int) float64 {
	if r.weights[i] == nil {
		return 1 / float64(len(r.Commodities[i].Ways))
	}
	return float64(r.weights[i][w]) / float64(r.sums[i])
}

// uses is the part of a way's traffic that is on a link.
func (p *Problem) uses(w Way, link int) float64 {
	sum := 0.0
	if int(w.First) == link {
		sum = 1
	}
	for _, s := range p.tail(w) {
		if int(s.Link) == link {
			sum += s.Part
		}
	}
	return sum
}

// mend takes units of weight off the most utilised link, one by one, until it is
// no more utilised than the goal or nothing helps. Each step makes the most
// utilised link less utilised and no other as much as it was.
func (r *rounding) mend(goal float64) {
	for range 8 * len(r.Capacity) {
		level, link := r.Utilisation(r.load)
		if link < 0 || level <= goal*(1+1e-9) || !r.relieve(link, level) {
			return
		}
	}
}

// step is a change of one commodity's weights.
type step struct {
	commodity int
	weights   []int
	level     float64 // highest utilisation among the links of its ways
}

// relieve makes the best step for a link.
func (r *rounding) relieve(link int, level float64) bool {
	best := step{level: level * (1 - 1e-9)}
	for i := range r.Commodities {
		if r.weights[i] == nil {
			continue
		}
		for from := range r.weights[i] {
			if r.weights[i][from] > 0 && r.uses(r.Commodities[i].at(from), link) > 0 {
				r.try(i, from, link, &best)
			}
		}
	}
	if best.weights == nil {
		return false
	}
	r.replace(best.commodity, best.weights)
	return true
}

// try looks at steps that take weight from one way: a unit moved, a unit less, or
// a unit more for another.
func (r *rounding) try(i, from, link int, best *step) {
	c := &r.Commodities[i]
	whole := c.Whole
	for to := range c.Ways {
		if to == from || r.uses(c.at(to), link) >= r.uses(c.at(from), link) {
			continue
		}
		changed := slices.Clone(r.weights[i])
		changed[from]--
		changed[to]++
		r.consider(i, changed, best)
		if !whole && r.sums[i] < r.table.total() {
			changed = slices.Clone(r.weights[i])
			changed[to]++
			r.consider(i, changed, best)
		}
	}
	if !whole && r.sums[i] > 1 {
		changed := slices.Clone(r.weights[i])
		changed[from]--
		r.consider(i, changed, best)
	}
}

// consider keeps a step when the links of its ways end up less utilised than
// with the best so far.
func (r *rounding) consider(i int, weights []int, best *step) {
	old := r.weights[i]
	r.replace(i, weights)
	level := 0.0
	for w := range r.Commodities[i].Ways {
		way := r.Commodities[i].at(w)
		level = max(level, r.load[way.First]/r.Capacity[way.First])
		for _, t := range r.tail(way) {
			level = max(level, r.load[t.Link]/r.Capacity[t.Link])
		}
	}
	r.replace(i, old)
	if level < best.level {
		*best = step{commodity: i, weights: weights, level: level}
	}
}

// replace sets weights, nil being even, and the loads that follow.
func (r *rounding) replace(i int, weights []int) {
	c := &r.Commodities[i]
	r.shift(i, -c.Demand)
	r.set(i, weights)
	r.shift(i, c.Demand)
}

func (r *rounding) shift(i int, rate float64) {
	for w := range r.Commodities[i].Ways {
		if part := r.part(i, w); part > 0 {
			r.add(r.load, r.Commodities[i].at(w), rate*part)
		}
	}
}

// release lets go of weights, those of the smallest commodities first, while no
// link goes above the limit, or above what it was.
func (r *rounding) release(limit float64) {
	r.load = r.Load(r.weights.Split())
	level, _ := r.Utilisation(r.load)
	limit = max(limit, level) * (1 + 1e-9)
	var order []int
	for i, w := range r.weights {
		if w != nil && !r.Commodities[i].Whole {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(r.Commodities[a].Demand, r.Commodities[b].Demand), cmp.Compare(a, b))
	})
	for _, i := range order {
		free := step{level: limit}
		if r.consider(i, nil, &free); free.level < limit {
			r.replace(i, nil)
		}
	}
}
