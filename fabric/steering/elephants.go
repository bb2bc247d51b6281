package steering

import (
	"slices"

	"github.com/weft-sdn/weft/fabric/congestion"
	"github.com/weft-sdn/weft/fabric/demand"
)

// Observed is by which interfaces (leaf1:eth1) of its leaf each cell leaves, in bit/s.
// The key is that of the cell: from a leaf to a VTEP, of a tenant.
type Observed map[demand.Key]map[string]float64

// What makes an elephant of a cell.
const (
	// elephantShare is the part of a cell's traffic that leaves by one first link,
	// although the weights give that link elephantEven of it at most.
	elephantShare, elephantEven = 0.9, 0.7
	// elephantSeen is how many steps in a row must have seen that: what was measured
	// before a route changed is in one of them at most.
	elephantSeen = 2
	// elephantRate is the part of its first link's capacity below which nobody cares.
	elephantRate = 0.02
)

// elephant is a cell whose traffic goes one way although it could go several: it is one
// flow, or so few that the hash has put them together.
type elephant struct {
	at   int32   // the first link, when ECMP decides
	seen int     // steps in a row
	rate float64 // bit/s when it was found
}

// found reports whether it was seen often enough.
func (e elephant) found() bool { return e.seen >= elephantSeen }

// Observe tells by which links the cells leave, for the next step. Without it each cell
// of many flows is taken to be divided as the weights say.
func (c *Controller) Observe(o Observed) { c.told = o }

// mark finds the elephants among the cells and makes each one thing that can't be
// divided, which is where it was seen. A cell that was given one way stays what it was
// found to be, as nothing can be seen there, until its rate is a wholly other one.
func (s *stepping) mark() {
	known := make(map[demand.Key]elephant, len(s.elephants))
	for i, c := range s.placed.cells {
		e, ok := s.elephants[c.Key]
		if st, steered := s.Controller.cells[c.Key]; steered && len(st.weights) == 1 {
			if ok && e.found() && (c.Rate < e.rate/2 || c.Rate > 2*e.rate) {
				ok = false
			}
		} else {
			e, ok = s.look(i, c, e)
		}
		if ok {
			known[c.Key] = e
		}
	}
	s.elephants = known
	s.whole()
}

// whole makes each cell that was found to be an elephant one thing, where it was seen.
func (s *stepping) whole() {
	for i, c := range s.placed.cells {
		if e := s.elephants[c.Key]; e.found() {
			s.placed.cells[i].Flows, s.placed.cells[i].of = 1, nil
			s.problem.Commodities[i].Whole = true
			s.placed.seen[i] = e.at
		}
	}
}

// look sees whether a cell that could go several ways goes by one.
func (s *stepping) look(i int, c cell, before elephant) (elephant, bool) {
	ways, seen := s.problem.Commodities[i].Ways, s.observed[c.Key]
	parts := s.divided(i)
	sum, most, at := 0.0, 0.0, -1
	for w, way := range ways {
		rate := seen[s.Links[way.First].From.String()]
		if sum += rate; rate > most {
			most, at = rate, w
		}
	}
	switch {
	case at < 0 || most < elephantShare*sum || part(parts, at, len(ways)) > elephantEven:
		return elephant{}, false
	case c.Rate < elephantRate*s.Links[ways[at].First].Capacity:
		return elephant{}, false
	case before.at != ways[at].First:
		before = elephant{at: ways[at].First}
	}
	before.seen, before.rate = before.seen+1, c.Rate
	return before, true
}

// divided is how weights or rules divide a cell over its ways; nil is evenly.
func (s *stepping) divided(i int) []float64 {
	st, ok := s.Controller.cells[s.placed.cells[i].Key]
	if !ok {
		if s.decided != nil {
			return s.decided[i]
		}
		return nil
	}
	ways := s.problem.Commodities[i].Ways
	parts := make([]float64, len(ways))
	for w, way := range ways {
		parts[w] = float64(st.weights[way.First])
	}
	normalise(parts)
	return parts
}

// stands is where a cell of one flow was seen, when its parts let it be there.
func (p *placed) stands(i int, parts []float64) []float64 {
	first, ok := p.seen[i]
	if !ok {
		return nil
	}
	ways := p.problem.Commodities[i].Ways
	w := slices.IndexFunc(ways, func(w congestion.Way) bool { return w.First == first })
	if w < 0 || part(parts, w, len(ways)) == 0 {
		return nil
	}
	out := make([]float64, len(ways))
	out[w] = 1
	return out
}
