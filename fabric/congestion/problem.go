package congestion

import (
	"fmt"
	"math"
)

// Share is the part of a tail's traffic that a link gets, above 0 and up to 1.
type Share struct {
	Link int32
	Part float64
}

// Way is the first link of a way, and the tail that follows it.
type Way struct {
	First int32
	Tail  int32 // index in Problem.Tails; -1 when the way ends after its first link
}

// Commodity is traffic that may be split over its ways.
type Commodity struct {
	Demand float64 // bit/s
	Ways   []Way   // at least one; may be shared with other commodities
	// Offset is added to the tails of the ways, so that commodities with the same
	// first links share their ways, whatever they lead to.
	Offset int32
	// Whole traffic is one flow, which no weights can split: it takes one way.
	Whole bool
}

// at is a way of the commodity with its own tail.
func (c *Commodity) at(w int) Way {
	way := c.Ways[w]
	if way.Tail >= 0 {
		way.Tail += c.Offset
	}
	return way
}

// Problem is links with capacities, and the traffic that is to be split. It is
// not changed by what is computed from it.
type Problem struct {
	Capacity    []float64 // bit/s of each link
	Base        []float64 // bit/s on each link that are not to be moved; may be nil
	Tails       [][]Share
	Commodities []Commodity
}

// Split has for each commodity the part of each of its ways, with sum 1. A nil
// entry is an even split: plain ECMP.
type Split [][]float64

// Check tells what can't be computed with: an index outside, a number that is
// not finite, a capacity that is not above zero, a commodity without a way, a way
// that has a link twice.
func (p *Problem) Check() error {
	links := int32(len(p.Capacity))
	bad := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) || v < 0 }
	for l, c := range p.Capacity {
		if bad(c) || c == 0 {
			return fmt.Errorf("link %d: capacity %v is not above zero", l, c)
		}
	}
	if p.Base != nil && len(p.Base) != len(p.Capacity) {
		return fmt.Errorf("there are %d links, but a base load for %d", len(p.Capacity), len(p.Base))
	}
	for l, b := range p.Base {
		if bad(b) {
			return fmt.Errorf("link %d: base load %v is not a rate", l, b)
		}
	}
	for t, tail := range p.Tails {
		for i, s := range tail {
			for _, o := range tail[:i] {
				if o.Link == s.Link {
					return fmt.Errorf("tail %d has link %d twice", t, s.Link)
				}
			}
			if s.Link < 0 || s.Link >= links || bad(s.Part) || s.Part == 0 || s.Part > 1+1e-9 {
				return fmt.Errorf("tail %d: a part of %v on link %d", t, s.Part, s.Link)
			}
		}
	}
	for i, c := range p.Commodities {
		if bad(c.Demand) {
			return fmt.Errorf("commodity %d: demand %v is not a rate", i, c.Demand)
		}
		if len(c.Ways) == 0 {
			return fmt.Errorf("commodity %d has no way", i)
		}
		for k := range c.Ways {
			w := c.at(k)
			if w.First < 0 || w.First >= links || w.Tail < -1 || int(w.Tail) >= len(p.Tails) {
				return fmt.Errorf("commodity %d: way %v leads outside", i, w)
			}
			for _, s := range p.tail(w) {
				if s.Link == w.First {
					return fmt.Errorf("commodity %d: way %v goes twice over link %d", i, w, w.First)
				}
			}
		}
	}
	return nil
}

// tail is the links after the first.
func (p *Problem) tail(w Way) []Share {
	if w.Tail < 0 {
		return nil
	}
	return p.Tails[w.Tail]
}

// Load is the traffic on each link in bit/s.
func (p *Problem) Load(s Split) []float64 {
	load := make([]float64, len(p.Capacity))
	copy(load, p.Base)
	for i := range p.Commodities {
		var parts []float64
		if i < len(s) {
			parts = s[i]
		}
		p.Add(load, i, parts, p.Commodities[i].Demand)
	}
	return load
}

// Add puts so many bit/s of a commodity on the links, divided by its parts; nil is
// even.
func (p *Problem) Add(load []float64, commodity int, parts []float64, rate float64) {
	c := &p.Commodities[commodity]
	for w := range c.Ways {
		part := 1 / float64(len(c.Ways))
		if parts != nil {
			part = parts[w]
		}
		if part > 0 {
			p.add(load, c.at(w), rate*part)
		}
	}
}

// part is what a way of a commodity gets.
func (s Split) part(commodity, way, ways int) float64 {
	if commodity >= len(s) || s[commodity] == nil {
		return 1 / float64(ways)
	}
	return s[commodity][way]
}

func (p *Problem) add(load []float64, w Way, rate float64) {
	load[w.First] += rate
	for _, s := range p.tail(w) {
		load[s.Link] += rate * s.Part
	}
}

// Utilisation is the highest of load by capacity, and the first link that has
// it; -1 when there is no link.
func (p *Problem) Utilisation(load []float64) (most float64, link int) {
	link = -1
	for l, c := range p.Capacity {
		if u := load[l] / c; link < 0 || u > most {
			most, link = u, l
		}
	}
	return most, link
}

// length of a way, by the lengths of links.
func (p *Problem) length(w Way, lengths []float64) float64 {
	sum := lengths[w.First]
	for _, s := range p.tail(w) {
		sum += s.Part * lengths[s.Link]
	}
	return sum
}

// Bound is a utilisation below which no split can bring the most utilised link,
// as the lengths prove: weak duality. Lengths are at least zero, one for each
// link; all zero proves nothing.
func (p *Problem) Bound(lengths []float64) float64 {
	volume, need := 0.0, 0.0
	for l, c := range p.Capacity {
		volume += c * lengths[l]
		if p.Base != nil {
			need += p.Base[l] * lengths[l]
		}
	}
	if volume <= 0 {
		return 0
	}
	for i := range p.Commodities {
		c := &p.Commodities[i]
		least := math.Inf(1)
		for w := range c.Ways {
			least = min(least, p.length(c.at(w), lengths))
		}
		need += c.Demand * least
	}
	return need / volume
}
