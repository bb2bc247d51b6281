package steering

import (
	"cmp"
	"fmt"
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
	open    []bool           // cells that the rules leave to the controller; nil when all
	decided congestion.Split // how the rules divide the others
	// doubted are cells a part of which the next step may see to be an elephant: until then
	// they stay as they are.
	doubted map[demand.Key]bool
	tied    map[demand.Key]bool // cells that can't be changed by themselves
}

// withdraw lets go of what leads nowhere: first links from which there is no way to
// the destination, and cells that have no other.
func (s *stepping) withdraw() {
	at := map[demand.Key]int{}
	for i, c := range s.placed.cells {
		at[c.Key] = i
	}
	for key, st := range s.Controller.cells {
		before := s.Controller.network.hops(st.weights)
		i, ok := at[key]
		why := ""
		switch {
		case !ok && key.Tenant != "" && s.paints() && !slices.Contains(s.coloured, key.Tenant):
			why = "the tenant has no colour of its own any more"
		case !ok:
			why = "there is no traffic, or no way for it"
		case s.open != nil && !s.open[i]:
			why = "another policy decides, or others have more traffic"
		}
		if why != "" {
			delete(s.Controller.cells, key)
			s.Changes = append(s.Changes, Change{key, before, nil, why})
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
		s.Changes = append(s.Changes, Change{key, before, s.Controller.network.hops(left), "it led to where there is no way any more"})
	}
}

// split is how the traffic is divided at present.
func (s *stepping) split() congestion.Split {
	parts := make(congestion.Split, len(s.placed.cells))
	for i := range s.placed.cells {
		parts[i] = s.divided(i)
	}
	return s.hashed(parts)
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
	free := s.free()
	target, err := s.choose(s.present, s.largest(free, s.settings.Most), s.settings)
	if err != nil {
		return err
	}
	s.Target, _ = s.problem.Utilisation(target.load)
	gain := s.damping.Gain
	if s.pursuing || s.now.Before(s.partly) {
		gain = min(gain, enough)
	}
	s.pursuing = false
	if target.kept || s.Before-s.Target < gain*s.Before {
		s.Why = fmt.Sprintf("%.1f %% could become %.1f %%, which is not worth it", 100*s.Before, 100*s.Target)
		return nil
	}
	s.approach(target, free)
	return nil
}

// free are the cells that may be changed now.
func (s *stepping) free() []bool {
	free := make([]bool, len(s.placed.cells))
	for i, c := range s.placed.cells {
		free[i] = !s.held(c.Key) && !s.doubted[c.Key] && !s.tied[c.Key] && (s.open == nil || s.open[i])
	}
	return free
}

// held reports whether a cell was changed a moment ago.
func (s *stepping) held(k demand.Key) bool {
	at, held := s.changed[k]
	return held && s.now.Sub(at) < s.damping.Hold
}

// approach moves cells to the target, as many as one step may. When all of them
// together make the most utilised link less utilised, they are made; else only those
// that each relieve the links concerned. So with the same demand each step lowers the
// highest utilisation, or leaves it and lowers others, and none can come again.
func (s *stepping) approach(target chosen, free []bool) {
	wanted := s.hashed(target.weights.Split())
	order := s.urgent(target, wanted, free)
	b := s.batch(order, target, wanted, func(_, after float64) bool { return after <= s.Before*(1+1e-9) })
	if level, _ := s.problem.Utilisation(b.load); level > s.Before*(1-enough) {
		b = s.batch(order, target, wanted, func(before, after float64) bool { return after <= before*(1-enough) })
	}
	for _, m := range b.moves {
		s.make(m)
	}
	s.load = b.load
	s.After, _ = s.problem.Utilisation(s.load)
	if b.moved > 0 {
		s.Moved = b.moved / s.total()
	}
	s.Why = b.why
	s.pursuing = b.moved > 0 && b.full
	if b.partly {
		s.partly = s.now.Add(2 * s.damping.Hold)
	}
}

// move is what a cell is to have.
type move struct {
	cell    int
	weights []int
	parts   []float64
}

// batch is some moves and the load that they lead to.
type batch struct {
	moves  []move
	load   []float64
	moved  float64 // bit/s that go another way
	full   bool    // one step may not move more
	partly bool    // a cell went a part of its way
	why    string  // why there are no more
}

// batch collects moves in order, while there is something to gain and the share lasts.
// accept tells by the highest utilisation of the links that a move concerns, before
// and after it, whether it may be made.
func (s *stepping) batch(order []int, target chosen, wanted congestion.Split, accept func(before, after float64) bool) batch {
	b := batch{load: slices.Clone(s.load)}
	most := s.damping.Share * s.total()
	for _, i := range order {
		if level, _ := s.problem.Utilisation(b.load); level <= s.Target*(1+enough) {
			break // the rest would gain nothing
		}
		c, cut := s.placed.cells[i], false
		m, rate := move{i, target.weights[i], wanted[i]}, c.Rate*distance(s.present[i], wanted[i], len(s.problem.Commodities[i].Ways))
		// What can't be divided goes in a step of its own when it is more than the share.
		if alone := rate > most && c.Whole() && b.moved == 0; rate > most-b.moved && !alone {
			if b.full = true; rate <= most {
				b.why = "one step may not move more"
				continue // the next one can do it whole
			}
			cut = true
			m.weights, m.parts, rate = s.towards(i, wanted[i], most-b.moved)
			if rate == 0 {
				b.why = "one step may not move more"
				continue
			}
		}
		change := s.change(i, m.parts)
		before, after := 0.0, 0.0
		for l, rate := range change {
			before = max(before, b.load[l]/s.Links[l].Capacity)
			after = max(after, (b.load[l]+rate)/s.Links[l].Capacity)
		}
		if !accept(before, after) {
			continue
		}
		for l, rate := range change {
			b.load[l] += rate
		}
		b.moved += rate
		b.partly = b.partly || cut
		b.moves = append(b.moves, m)
	}
	return b
}

// total is all traffic in bit/s.
func (s *stepping) total() float64 {
	sum := 0.0
	for _, c := range s.placed.cells {
		sum += c.Rate
	}
	return sum
}

// make notes a move.
func (s *stepping) make(m move) {
	c := s.placed.cells[m.cell]
	s.present[m.cell] = m.parts
	had, has := s.Controller.cells[c.Key].weights, map[int32]int{}
	for w, v := range m.weights {
		if v > 0 {
			has[s.problem.Commodities[m.cell].Ways[w].First] = v
		}
	}
	if len(has) == 0 {
		delete(s.Controller.cells, c.Key)
	} else {
		s.Controller.cells[c.Key] = steered{has}
	}
	s.changed[c.Key] = s.now
	s.Changes = append(s.Changes, Change{c.Key, s.Controller.network.hops(had), s.Controller.network.hops(has),
		fmt.Sprintf("the most utilised link, at %.1f %%, can be at %.1f %%", 100*s.Before, 100*s.Target)})
}

// change is by how much the load of links changes when a cell is divided otherwise.
func (s *stepping) change(i int, parts []float64) map[int]float64 {
	c := &s.problem.Commodities[i]
	out := map[int]float64{}
	for w, way := range c.Ways {
		d := part(parts, w, len(c.Ways)) - part(s.present[i], w, len(c.Ways))
		if d == 0 {
			continue
		}
		out[int(way.First)] += d * c.Demand
		for _, t := range s.tails[int(c.Offset)+int(way.Tail)] {
			out[int(t.Link)] += d * c.Demand * t.Part
		}
	}
	for l, rate := range out {
		if math.Abs(rate) < 1e-9*c.Demand {
			delete(out, l)
		}
	}
	return out
}

// enough is how far above the target, as a part of it, a step may end, and by how
// much at least a change must relieve its links.
const enough = 0.01

// least is the part of a cell's traffic below which it is left as it is: a rounding.
const least = 0.02

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
		if d := distance(s.present[i], wanted[i], len(s.problem.Commodities[i].Ways)); d > least {
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
		parts := s.fall(i, congestion.Weights{weights}.Split()[0])
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
