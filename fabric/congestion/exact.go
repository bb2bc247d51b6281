package congestion

import (
	"errors"
	"fmt"
)

// Exact is the optimum of the linear program, with its proof.
type Exact struct {
	Split       Split
	Utilisation float64
	Lengths     []float64 // of the links; Problem.Bound of them is the utilisation
	Bound       float64
	Pivots      int
	Rows        int // links that were at the maximum in the end
}

// ErrPivots ends a linear program that took more pivots than it may.
var ErrPivots = errors.New("the linear program takes too many pivots")

const (
	tiny = 1e-9
	// jitter is by how much, as a part of the maximum, loads are moved apart so that
	// no two bases are equal.
	jitter = 1e-8
)

// SolveExact finds the optimum of the linear program: all traffic can be divided,
// also what is whole. The answer is within 1e-6 of its own bound, or an error is
// returned. pivots bounds the work.
func SolveExact(p *Problem, pivots int) (Exact, error) {
	if err := p.Check(); err != nil {
		return Exact{}, err
	}
	s, err := newSimplex(p)
	if err != nil {
		return Exact{}, err
	}
	if s.start == 0 {
		return Exact{Split: make(Split, len(p.Commodities)), Lengths: make([]float64, len(p.Capacity))}, nil
	}
	for s.pivots < pivots {
		more, err := s.pivot()
		if err != nil {
			return Exact{}, err
		}
		if !more {
			return s.exact()
		}
		s.pivots++
	}
	return Exact{}, fmt.Errorf("%w: %d with %d rows", ErrPivots, pivots, len(s.rows))
}

// column is a way of a commodity.
type column struct{ commodity, way int }

// simplex is a basis: a way of each commodity that is its key, the maximum, and
// as many more ways as there are rows but one. Rows are the links that are at the
// maximum; the slack of every other link is basic too.
type simplex struct {
	*Problem
	demand   []float64 // scaled, as capacity and base are
	capacity []float64
	base     []float64

	start   float64 // utilisation of the first basis
	key     []int
	columns []column
	rows    []int // links
	inRow   []int // by link: its row, or -1

	values []float64   // maximum, then the columns
	load   []float64   // by link
	parts  [][]float64 // by commodity, nil when all is on the key
	y      []float64   // price of each row
	m      lu
	pivots int
}

// newSimplex begins with all commodities on one way each, as whole.
func newSimplex(p *Problem) (*simplex, error) {
	whole := *p
	whole.Commodities = make([]Commodity, len(p.Commodities))
	copy(whole.Commodities, p.Commodities)
	for i := range whole.Commodities {
		whole.Commodities[i].Whole = true
	}
	start, err := Solve(&whole, Options{Gap: 1e-3, Sweeps: 200})
	if err != nil {
		return nil, err
	}
	s := &simplex{Problem: p, key: make([]int, len(p.Commodities)), inRow: make([]int, len(p.Capacity)), parts: make([][]float64, len(p.Commodities))}
	scale := 0.0
	for _, c := range p.Capacity {
		scale = max(scale, c)
	}
	for i, c := range p.Commodities {
		s.demand = append(s.demand, c.Demand/scale)
		for w := range c.Ways {
			if start.Split.part(i, w, len(c.Ways)) == 1 {
				s.key[i] = w
			}
		}
	}
	for l, c := range p.Capacity {
		s.capacity = append(s.capacity, c/scale)
		s.base = append(s.base, 0)
		if p.Base != nil {
			s.base[l] = p.Base[l] / scale
		}
		s.inRow[l] = -1
	}
	s.reload()
	s.start, _ = s.utilisation()
	random := uint64(1)
	for l := range s.base {
		random = random*6364136223846793005 + 1442695040888963407
		s.base[l] += jitter * s.start * s.capacity[l] * float64(random>>40) / (1 << 24)
	}
	s.reload()
	_, hottest := s.utilisation()
	s.rows, s.inRow[hottest] = []int{hottest}, 0
	return s, nil
}

func (s *simplex) utilisation() (most float64, link int) {
	for l, c := range s.capacity {
		if u := s.load[l] / c; u > most {
			most, link = u, l
		}
	}
	return most, link
}

// reload computes the loads from the columns' values.
func (s *simplex) reload() {
	s.load = append(s.load[:0], s.base...)
	clear(s.parts)
	for j, c := range s.columns {
		if s.parts[c.commodity] == nil {
			s.parts[c.commodity] = make([]float64, len(s.Commodities[c.commodity].Ways))
			s.parts[c.commodity][s.key[c.commodity]] = 1
		}
		s.parts[c.commodity][c.way] += s.values[j+1]
		s.parts[c.commodity][s.key[c.commodity]] -= s.values[j+1]
	}
	for i := range s.Commodities {
		if s.parts[i] == nil {
			s.add(s.load, s.Commodities[i].at(s.key[i]), s.demand[i])
			continue
		}
		for w, v := range s.parts[i] {
			if v != 0 {
				s.add(s.load, s.Commodities[i].at(w), s.demand[i]*v)
			}
		}
	}
}

// entry is a column in the rows: by how much the load changes when traffic goes
// from the key to the way.
func (s *simplex) entry(c column, out []float64) {
	clear(out)
	commodity := &s.Commodities[c.commodity]
	put := func(w Way, d float64) {
		if r := s.inRow[w.First]; r >= 0 {
			out[r] += d
		}
		for _, t := range s.tail(w) {
			if r := s.inRow[t.Link]; r >= 0 {
				out[r] += d * t.Part
			}
		}
	}
	put(commodity.at(c.way), s.demand[c.commodity])
	put(commodity.at(s.key[c.commodity]), -s.demand[c.commodity])
}

// factor makes the matrix of rows and basic columns, the values and the prices.
func (s *simplex) factor() error {
	k := len(s.rows)
	s.m.reset(k)
	col := make([]float64, k)
	for j := range k {
		if j == 0 {
			for r, l := range s.rows {
				col[r] = -s.capacity[l]
			}
		} else {
			s.entry(s.columns[j-1], col)
		}
		for r, v := range col {
			s.m.a[r*k+j] = v
		}
	}
	if err := s.m.decompose(); err != nil {
		return err
	}
	// What the keys alone put on the rows.
	keys := append([]float64(nil), s.base...)
	for i := range s.Commodities {
		s.add(keys, s.Commodities[i].at(s.key[i]), s.demand[i])
	}
	rhs := make([]float64, k)
	for r, l := range s.rows {
		rhs[r] = -keys[l]
	}
	s.values = s.m.solve(rhs)
	cost := make([]float64, k)
	cost[0] = -1
	s.y = s.m.solveTransposed(cost)
	s.reload()
	return nil
}

// pivot makes one step. It is false at the optimum.
func (s *simplex) pivot() (bool, error) {
	if err := s.factor(); err != nil {
		return false, err
	}
	slack, enter, ok := s.price()
	if !ok {
		return false, nil
	}
	k := len(s.rows)
	col := make([]float64, k)
	if slack >= 0 {
		col[slack] = 1
	} else {
		s.entry(enter, col)
	}
	for r := range col {
		col[r] = -col[r]
	}
	change := s.m.solve(col) // of the values, by the entering variable
	out := s.ratio(change, slack, enter)
	return true, s.swap(slack, enter, out)
}

// price finds what makes the maximum smaller: the slack of a row, or a way.
func (s *simplex) price() (slack int, enter column, ok bool) {
	lengths := make([]float64, len(s.capacity))
	slack, best := -1, -tiny
	for r, l := range s.rows {
		lengths[l] = s.y[r]
		if v := s.y[r] * s.capacity[l]; v < best {
			slack, best = r, v
		}
	}
	if slack >= 0 {
		return slack, column{}, true
	}
	for i := range s.Commodities {
		if s.demand[i] == 0 {
			continue
		}
		c := &s.Commodities[i]
		at := s.length(c.at(s.key[i]), lengths)
		if at == 0 {
			continue
		}
		for w := range c.Ways {
			if v := s.demand[i] * (s.length(c.at(w), lengths) - at); v < best {
				best, enter, ok = v, column{i, w}, true
			}
		}
	}
	return -1, enter, ok
}
