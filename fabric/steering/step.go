package steering

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/weft-sdn/weft/fabric/congestion"
	"github.com/weft-sdn/weft/fabric/demand"
)

// stepping is one step.
type stepping struct {
	*Controller
	*placed
	Outcome
	now     time.Time
	present congestion.Split
	load    []float64
}

// withdraw lets go of what leads nowhere: first links from which there is no way to
// the destination, and cells that have no other.
func (s *stepping) withdraw() {
	at := map[demand.Key]int{}
	for i, c := range s.placed.cells {
		at[c.Key] = i
	}
	for key, st := range s.Controller.cells {
		before := s.hops(st.weights)
		i, ok := at[key]
		if !ok {
			delete(s.Controller.cells, key)
			s.Changes = append(s.Changes, Change{key, before, nil, "there is no traffic, or no way for it"})
			continue
		}
		left := map[int32]int{}
		for _, w := range s.problem.Commodities[i].Ways {
			if v := st.weights[w.First]; v > 0 {
				left[w.First] = v
			}
		}
		switch {
		case len(left) == len(st.weights):
			continue
		case len(left) == 0:
			delete(s.Controller.cells, key)
		default:
			s.Controller.cells[key] = steered{left}
		}
		s.Changes = append(s.Changes, Change{key, before, s.hops(left), "it led to where there is no way any more"})
	}
}

// hops lists weights by link; nil for none.
func (s *stepping) hops(weights map[int32]int) []Hop {
	var out []Hop
	for _, l := range slices.Sorted(maps.Keys(weights)) {
		out = append(out, Hop{s.Links[l], weights[l]})
	}
	return out
}

// split is how the traffic is divided at present.
func (s *stepping) split(seed uint64) congestion.Split {
	parts := make(congestion.Split, len(s.placed.cells))
	for i, c := range s.placed.cells {
		st, ok := s.Controller.cells[c.Key]
		if !ok {
			continue
		}
		parts[i] = make([]float64, len(s.problem.Commodities[i].Ways))
		for w, way := range s.problem.Commodities[i].Ways {
			parts[i][w] = float64(st.weights[way.First])
		}
		normalise(parts[i])
	}
	return s.hashed(parts, seed)
}

// act decides whether to change anything, and does as much as one step may.
func (s *stepping) act() error {
	switch {
	case s.frozen:
		s.Why = "frozen"
		return nil
	case s.Before < s.damping.Floor:
		s.Why = fmt.Sprintf("the most utilised link is at %.0f %%, below the floor of %.0f %%", 100*s.Before, 100*s.damping.Floor)
		return nil
	}
	free := make([]bool, len(s.placed.cells))
	for i, c := range s.placed.cells {
		at, held := s.changed[c.Key]
		free[i] = !held || s.now.Sub(at) >= s.damping.Hold
	}
	target, err := s.choose(s.present, s.largest(free, s.settings.Most), s.settings)
	if err != nil {
		return err
	}
	s.Target, _ = s.problem.Utilisation(target.load)
	if s.Before-s.Target < s.damping.Gain*s.Before {
		s.Why = fmt.Sprintf("%.1f %% could become %.1f %%, which is not worth it", 100*s.Before, 100*s.Target)
		return nil
	}
	s.approach(target, free)
	return nil
}

// approach moves cells to the target, those that relieve the most first, while the
// share lasts and no link gets above what the most utilised one has.
func (s *stepping) approach(target chosen, free []bool) {
	total := 0.0
	for _, c := range s.placed.cells {
		total += c.Rate
	}
	budget := s.damping.Share * total
	wanted := s.hashed(target.weights.Split(), s.settings.Seed)
	for _, i := range s.urgent(target, wanted, free) {
		c := s.placed.cells[i]
		weights, parts, moved := target.weights[i], wanted[i], c.Rate*distance(s.present[i], wanted[i], len(s.problem.Commodities[i].Ways))
		if moved > budget {
			weights, parts, moved = s.towards(i, wanted[i], budget)
		}
		if weights == nil && moved == 0 {
			s.Why = "one step may not move more"
			continue
		}
		s.try(i, weights, parts, moved, &budget)
	}
	s.After, _ = s.problem.Utilisation(s.load)
	if total > 0 {
		s.Moved = (s.damping.Share*total - budget) / total
	}
}

// try changes a cell if no link suffers.
func (s *stepping) try(i int, weights []int, parts []float64, moved float64, budget *float64) {
	c := s.placed.cells[i]
	shift := func(parts []float64, rate float64) { s.problem.Add(s.load, i, parts, rate) }
	shift(s.present[i], -c.Rate)
	shift(parts, c.Rate)
	if level, _ := s.problem.Utilisation(s.load); level > s.Before*(1+1e-9) {
		shift(parts, -c.Rate)
		shift(s.present[i], c.Rate)
		return
	}
	*budget -= moved
	s.present[i] = parts
	before := s.Controller.cells[c.Key].weights
	after := map[int32]int{}
	for w, v := range weights {
		if v > 0 {
			after[s.problem.Commodities[i].Ways[w].First] = v
		}
	}
	if len(after) == 0 {
		delete(s.Controller.cells, c.Key)
	} else {
		s.Controller.cells[c.Key] = steered{after}
	}
	s.changed[c.Key] = s.now
	s.Changes = append(s.Changes, Change{c.Key, s.hops(before), s.hops(after),
		fmt.Sprintf("the most utilised link, at %.1f %%, can be at %.1f %%", 100*s.Before, 100*s.Target)})
}

// urgent are the free cells that the target changes, the one that moves the most
// traffic first.
func (s *stepping) urgent(target chosen, wanted congestion.Split, free []bool) []int {
	rates := map[int]float64{}
	var out []int
	for i, c := range s.placed.cells {
		if !free[i] {
			continue
		}
		if target.weights[i] == nil && c.Whole() {
			wanted[i] = s.present[i] // it is where it should be
		}
		if d := distance(s.present[i], wanted[i], len(s.problem.Commodities[i].Ways)); d > 1e-9 {
			rates[i] = d * c.Rate
			out = append(out, i)
		}
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(rates[b], rates[a]) })
	return out
}

// towards is as far to the wanted parts as so much traffic goes; nil when that is
// less than weights can say.
func (s *stepping) towards(i int, wanted []float64, budget float64) (weights []int, parts []float64, moved float64) {
	c := s.placed.cells[i]
	n := len(s.problem.Commodities[i].Ways)
	if c.Whole() {
		return nil, nil, 0
	}
	whole := c.Rate * distance(s.present[i], wanted, n)
	for step := budget / whole; step > 0.02; step *= 0.7 {
		mix := make([]float64, n)
		for w := range mix {
			mix[w] = (1-step)*part(s.present[i], w, n) + step*part(wanted, w, n)
		}
		weights, _, err := congestion.Reduce(mix, s.settings.Table)
		if err != nil {
			return nil, nil, 0
		}
		parts := s.fall(i, congestion.Weights{weights}.Split()[0], s.settings.Seed)
		if moved := c.Rate * distance(s.present[i], parts, n); moved <= budget && moved > 0 {
			return weights, parts, moved
		}
	}
	return nil, nil, 0
}

func part(parts []float64, w, n int) float64 {
	if parts == nil {
		return 1 / float64(n)
	}
	return parts[w]
}

// distance is the part of the traffic that goes another way under b than under a.
func distance(a, b []float64, n int) float64 {
	sum := 0.0
	for w := range n {
		sum += math.Abs(part(a, w, n) - part(b, w, n))
	}
	return sum / 2
}
