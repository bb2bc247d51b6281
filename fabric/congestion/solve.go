package congestion

import (
	"cmp"
	"math"
	"slices"
)

// Options of Solve; the zero value has sensible ones.
type Options struct {
	Start  Split   // where to begin; nil is even
	Gap    float64 // utilisation may be above the bound by this part of it; 0.01 when zero
	Sweeps int     // over all commodities, at most; 2000 when zero
}

// Solution is a split with a proof of how good it is.
type Solution struct {
	Split       Split
	Utilisation float64 // of the most utilised link
	// Bound is what no split can go below.
	Bound  float64
	Sweeps int // that were needed
	Moved  int // commodities that are not split as at the start
}

// Gap is by how much the utilisation is above the bound, as a part of it.
func (s Solution) Gap() float64 {
	if s.Bound <= 0 {
		if s.Utilisation <= 0 {
			return 0
		}
		return math.Inf(1)
	}
	return s.Utilisation/s.Bound - 1
}

const (
	defaultGap    = 0.01
	defaultSweeps = 2000
	// coldest and hottest are the exponents beyond which a link counts as if it
	// were no farther from the maximum.
	coldest = -600
	hottest = 600
	// tries are the pairs of ways of a commodity that one sweep looks at.
	tries = 4
	// firstScale is eta at the beginning, by the spread and the maximum.
	firstScale = 20
)

// Solve splits the traffic so that the most utilised link is utilised least,
// within the gap. The result is never worse than the start. Traffic that is
// whole may prevent that the gap is reached; then it ends when nothing moves.
func Solve(p *Problem, o Options) (Solution, error) {
	if err := p.Check(); err != nil {
		return Solution{}, err
	}
	if o.Gap <= 0 {
		o.Gap = defaultGap
	}
	if o.Sweeps <= 0 {
		o.Sweeps = defaultSweeps
	}
	s := newSearch(p, o)
	if len(s.whole) > 0 {
		s.bound = p.boundOfWhole(o)
	}
	s.run()
	return s.solution(), nil
}

// boundOfWhole is a bound for traffic with whole flows: that of the same traffic
// divided, and what the largest flow alone needs. Lengths at a split with whole
// flows prove little, as one flow may be all there is on the most utilised link.
func (p *Problem) boundOfWhole(o Options) float64 {
	divided := *p
	divided.Commodities = slices.Clone(p.Commodities)
	bound := 0.0
	for i := range divided.Commodities {
		c := &divided.Commodities[i]
		if !c.Whole {
			continue
		}
		c.Whole = false
		least := math.Inf(1)
		for w := range c.Ways {
			least = min(least, p.alone(c.at(w), c.Demand))
		}
		bound = max(bound, least)
	}
	s := newSearch(&divided, Options{Gap: o.Gap, Sweeps: o.Sweeps})
	s.run()
	return max(bound, s.bound)
}

// alone is the highest utilisation on a way with the base and so much more.
func (p *Problem) alone(w Way, rate float64) float64 {
	base := func(l int32) float64 {
		if p.Base == nil {
			return 0
		}
		return p.Base[l]
	}
	u := (base(w.First) + rate) / p.Capacity[w.First]
	for _, t := range p.tail(w) {
		u = max(u, (base(t.Link)+rate*t.Part)/p.Capacity[t.Link])
	}
	return u
}

// search is the state of Solve.
type search struct {
	*Problem
	options Options
	order   []int32 // commodities with a choice, the largest first
	whole   []int32 // those of them that take one way, the largest first
	volume  float64 // demand of those with a choice

	split   Split
	owned   []bool // splits that are no longer the start's
	load    []float64
	level   float64   // utilisation at which the exponent is zero
	eta     float64   // per unit of utilisation
	lengths []float64 // derivative of the sum by load, times eta
	sum     float64   // of exp
	moves   int       // in this sweep

	start  Split   // with all that is whole on one way
	first  float64 // utilisation of start
	bound  float64
	sweeps int
}

func newSearch(p *Problem, o Options) *search {
	s := &search{Problem: p, options: o, split: make(Split, len(p.Commodities)), owned: make([]bool, len(p.Commodities)), lengths: make([]float64, len(p.Capacity))}
	copy(s.split, o.Start)
	for i := range p.Commodities {
		c := &p.Commodities[i]
		if c.Demand == 0 || len(c.Ways) < 2 {
			continue
		}
		s.volume += c.Demand
		if c.Whole {
			s.whole = append(s.whole, int32(i))
		} else {
			s.order = append(s.order, int32(i))
		}
	}
	largest := func(a, b int32) int {
		return cmp.Or(cmp.Compare(p.Commodities[b].Demand, p.Commodities[a].Demand), cmp.Compare(a, b))
	}
	slices.SortFunc(s.order, largest)
	slices.SortFunc(s.whole, largest)
	s.load = p.Load(s.split)
	s.settle()
	s.start = slices.Clone(s.split)
	clear(s.owned)
	s.first, _ = p.Utilisation(p.Load(s.start))
	return s
}

// settle puts what is whole, and divided at the start, on one way each.
func (s *search) settle() {
	s.aim(firstScale * s.spread())
	var loose []int32
	for _, i := range s.whole {
		n := len(s.Commodities[i].Ways)
		if s.split[i] != nil && slices.Contains(s.split[i], 1) {
			continue
		}
		loose = append(loose, i)
		for w := range n {
			s.shift(s.Commodities[i].at(w), -s.Commodities[i].Demand*s.split.part(int(i), w, n))
		}
		clear(s.own(int(i)))
	}
	for _, i := range loose {
		s.place(int(i))
	}
	s.aim(firstScale * s.spread())
}

// spread is how far, in units of 1/eta, the smooth maximum is above the maximum
// at most.
func (s *search) spread() float64 { return math.Log(float64(len(s.Capacity)) + 1) }

// run makes eta grow, and sweeps until the gap is closed or nothing moves.
func (s *search) run() {
	if s.level == 0 {
		return
	}
	last := max(8/s.options.Gap, firstScale) * s.spread()
	for scale := firstScale * s.spread(); ; scale = min(2*scale, last) {
		s.aim(scale)
		s.prove()
		for !s.done() && s.sweeps < s.options.Sweeps {
			s.sweep()
			s.aim(scale)
			s.prove()
			if s.moves == 0 {
				break
			}
		}
		if s.done() || scale >= last || s.sweeps >= s.options.Sweeps {
			return
		}
	}
}

func (s *search) done() bool { return s.level <= s.bound*(1+s.options.Gap) }

// aim computes the lengths and the sum anew, for an eta that is so many times
// one by the present maximum.
func (s *search) aim(scale float64) {
	s.level, _ = s.Utilisation(s.load)
	if s.level == 0 {
		return
	}
	s.eta = scale / s.level
	s.sum = 0
	for l := range s.lengths {
		e := s.exp(l)
		s.sum += e
		s.lengths[l] = e / s.Capacity[l]
	}
}

func (s *search) exp(l int) float64 {
	return math.Exp(min(hottest, max(coldest, s.eta*(s.load[l]/s.Capacity[l]-s.level))))
}

// prove raises the bound by the present lengths.
func (s *search) prove() { s.bound = max(s.bound, s.Bound(s.lengths)) }

// sweep moves traffic of each commodity once.
func (s *search) sweep() {
	s.sweeps++
	s.moves = 0
	// What is closer than this can't add up to more than what the smooth maximum
	// is above the maximum.
	near := s.spread() / (s.eta * s.volume)
	for _, i := range s.whole {
		s.place(int(i))
	}
	for _, i := range s.order {
		for range tries {
			if !s.move(int(i), near) {
				break
			}
		}
	}
}

// move shifts traffic of a commodity from the longest way that it uses to the
// shortest. It is false when they are about equal.
func (s *search) move(i int, near float64) bool {
	c := &s.Commodities[i]
	from, to := -1, -1
	longest, shortest := -1.0, math.Inf(1)
	for w := range c.Ways {
		d := s.length(c.at(w), s.lengths)
		if d < shortest {
			shortest, to = d, w
		}
		if d > longest && s.split.part(i, w, len(c.Ways)) > 0 {
			longest, from = d, w
		}
	}
	if from == to || (longest-shortest)/s.sum <= near {
		return false
	}
	a, b := c.at(from), c.at(to)
	have := c.Demand * s.split.part(i, from, len(c.Ways))
	rate := math.Log(longest/shortest) / (s.eta * (1/s.narrow(a) + 1/s.narrow(b)))
	rate = min(rate, have)
	if rate <= 0 {
		return false
	}
	parts := s.own(i)
	parts[to] += rate / c.Demand
	if rate == have {
		parts[from] = 0
	} else {
		parts[from] -= rate / c.Demand
	}
	s.shift(a, -rate)
	s.shift(b, rate)
	s.moves++
	return true
}

// own is the commodity's parts, to be written to.
func (s *search) own(i int) []float64 {
	if s.owned[i] {
		return s.split[i]
	}
	n := len(s.Commodities[i].Ways)
	parts := make([]float64, n)
	for w := range parts {
		parts[w] = s.split.part(i, w, n)
	}
	s.split[i], s.owned[i] = parts, true
	return parts
}

// narrow is the smallest rate that would fill a link of the way.
func (p *Problem) narrow(w Way) float64 {
	c := p.Capacity[w.First]
	for _, s := range p.tail(w) {
		c = min(c, p.Capacity[s.Link]/s.Part)
	}
	return c
}

// shift adds traffic to a way, and computes its links' lengths anew.
func (s *search) shift(w Way, rate float64) {
	s.charge(int(w.First), rate)
	for _, t := range s.tail(w) {
		s.charge(int(t.Link), rate*t.Part)
	}
}

func (s *search) charge(l int, rate float64) {
	s.load[l] += rate
	e := s.exp(l)
	s.sum += e - s.lengths[l]*s.Capacity[l]
	s.lengths[l] = e / s.Capacity[l]
}

// place puts a whole commodity on the way with which the sum is least. What is
// split at the start is placed in any case.
func (s *search) place(i int) {
	c := &s.Commodities[i]
	at := -1
	for w := range c.Ways {
		if s.split.part(i, w, len(c.Ways)) == 1 {
			at = w
		}
		s.shift(c.at(w), -c.Demand*s.split.part(i, w, len(c.Ways)))
	}
	to, least := -1, math.Inf(1)
	for w := range c.Ways {
		// Staying wins where nothing is gained.
		cost := s.cost(c.at(w), c.Demand)
		if cost < least*(1-1e-9) || w == at && cost <= least*(1+1e-9) {
			to, least = w, cost
		}
	}
	if to != at {
		parts := s.own(i)
		clear(parts)
		parts[to] = 1
		s.moves++
	}
	s.shift(c.at(to), c.Demand)
}

// cost is how much the sum of exp grows when so much is added to a way.
func (s *search) cost(w Way, rate float64) float64 {
	grow := func(l int32, rate float64) float64 {
		x := s.eta * rate / s.Capacity[l]
		return math.Exp(min(hottest, x+max(coldest, s.eta*(s.load[l]/s.Capacity[l]-s.level)))) - s.lengths[l]*s.Capacity[l]
	}
	sum := grow(w.First, rate)
	for _, t := range s.tail(w) {
		sum += grow(t.Link, rate*t.Part)
	}
	return sum
}

func (s *search) solution() Solution {
	r := Solution{Split: s.split, Sweeps: s.sweeps}
	// The loads that moves were added to are off by what rounding did.
	r.Utilisation, _ = s.Utilisation(s.Load(s.split))
	if r.Utilisation >= s.first {
		r.Split, r.Utilisation = s.start, s.first
	}
	r.Bound = min(s.bound, r.Utilisation)
	for i := range r.Split {
		if r.Split[i] != nil && s.differs(r.Split, i) {
			r.Moved++
		}
	}
	return r
}

func (s *search) differs(split Split, i int) bool {
	n := len(s.Commodities[i].Ways)
	for w := range n {
		if math.Abs(split.part(i, w, n)-s.options.Start.part(i, w, n)) > 1e-12 {
			return true
		}
	}
	return false
}
