package congestion

import (
	"fmt"
	"math"
)

// leaving is what reaches zero first when a variable enters the basis: a column,
// the key of a commodity, or the slack of a link. The others are -1.
type leaving struct {
	column, key, link int
	ratio             float64
	pivot             float64 // how fast it falls
}

// ratio finds the leaving variable. The entering one is the slack of a row, or a
// way.
func (s *simplex) ratio(change []float64, slack int, enter column) leaving {
	out := leaving{-1, -1, -1, math.Inf(1), 0}
	consider := func(value, fall float64, o leaving) {
		if fall <= tiny {
			return
		}
		r := max(0, value) / fall
		if r < out.ratio-1e-13 || r < out.ratio+1e-13 && fall > out.pivot {
			o.ratio, o.pivot = r, fall
			out = o
		}
	}
	load := make([]float64, len(s.capacity))
	keys := map[int]float64{} // how fast the keys fall
	put := func(c column, d float64) {
		commodity := &s.Commodities[c.commodity]
		s.add(load, commodity.at(c.way), s.demand[c.commodity]*d)
		s.add(load, commodity.at(s.key[c.commodity]), -s.demand[c.commodity]*d)
		keys[c.commodity] += d
	}
	for j, c := range s.columns {
		consider(s.values[j+1], -change[j+1], leaving{j, -1, -1, 0, 0})
		put(c, change[j+1])
	}
	if slack < 0 {
		put(enter, 1)
	}
	for _, c := range s.columns {
		consider(s.keyValue(c.commodity), keys[c.commodity], leaving{-1, c.commodity, -1, 0, 0})
	}
	if slack < 0 {
		consider(s.keyValue(enter.commodity), keys[enter.commodity], leaving{-1, enter.commodity, -1, 0, 0})
	}
	for l, c := range s.capacity {
		if s.inRow[l] < 0 {
			consider(s.values[0]*c-s.load[l], load[l]-change[0]*c, leaving{-1, -1, l, 0, 0})
		}
	}
	return out
}

// keyValue is the part of a commodity that is on its key.
func (s *simplex) keyValue(i int) float64 {
	if s.parts[i] == nil {
		return 1
	}
	return s.parts[i][s.key[i]]
}

// swap changes the basis.
func (s *simplex) swap(slack int, enter column, out leaving) error {
	switch {
	case out.link >= 0 && slack >= 0:
		s.inRow[s.rows[slack]], s.inRow[out.link] = -1, slack
		s.rows[slack] = out.link
	case out.link >= 0:
		s.inRow[out.link] = len(s.rows)
		s.rows = append(s.rows, out.link)
		s.columns = append(s.columns, enter)
	case out.column >= 0:
		s.replace(slack, enter, out.column)
	case out.key >= 0:
		j := s.columnOf(out.key)
		if j < 0 {
			s.key[out.key] = enter.way
			return nil
		}
		s.key[out.key] = s.columns[j].way
		s.replace(slack, enter, j)
	default:
		return fmt.Errorf("the linear program has no bound: pivot %d", s.pivots)
	}
	return nil
}

// columnOf is the column of a commodity that has the largest value.
func (s *simplex) columnOf(i int) int {
	at := -1
	for j, c := range s.columns {
		if c.commodity == i && (at < 0 || s.values[j+1] > s.values[at+1]) {
			at = j
		}
	}
	return at
}

// replace puts a way in the place of a column, or drops the column with the row
// whose slack enters.
func (s *simplex) replace(slack int, enter column, j int) {
	if slack < 0 {
		s.columns[j] = enter
		return
	}
	last := len(s.rows) - 1
	s.inRow[s.rows[slack]] = -1
	if slack != last {
		s.rows[slack] = s.rows[last]
		s.inRow[s.rows[slack]] = slack
	}
	s.rows = s.rows[:last]
	s.columns = append(s.columns[:j], s.columns[j+1:]...)
}

// exact is the answer, checked by its own bound.
func (s *simplex) exact() (Exact, error) {
	e := Exact{Split: make(Split, len(s.Commodities)), Lengths: make([]float64, len(s.capacity)), Pivots: s.pivots, Rows: len(s.rows)}
	for i, parts := range s.parts {
		e.Split[i] = make([]float64, len(s.Commodities[i].Ways))
		if parts == nil {
			e.Split[i][s.key[i]] = 1
			continue
		}
		sum := 0.0
		for w, v := range parts {
			e.Split[i][w] = max(0, v)
			sum += e.Split[i][w]
		}
		for w := range e.Split[i] {
			e.Split[i][w] /= sum
		}
	}
	for r, l := range s.rows {
		e.Lengths[l] = max(0, s.y[r])
	}
	e.Utilisation, _ = s.Utilisation(s.Load(e.Split))
	e.Bound = s.Bound(e.Lengths)
	if e.Utilisation > e.Bound*(1+1e-6) {
		return Exact{}, fmt.Errorf("the linear program ended at %v, but its bound is %v", e.Utilisation, e.Bound)
	}
	return e, nil
}
