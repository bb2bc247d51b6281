package demand

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/weft-sdn/weft/fabric"
)

// Key is a cell of the matrix.
type Key struct {
	From, To string // nodes
	Tenant   string // may be empty
}

// String is from → to, with the tenant.
func (k Key) String() string {
	if k.Tenant == "" {
		return k.From + " → " + k.To
	}
	return fmt.Sprintf("%s → %s of %s", k.From, k.To, k.Tenant)
}

// Demand is what one cell asks for.
type Demand struct {
	Key
	Rate float64 // bit/s
	// Flows is how many flows of one size it is; zero means so many that they
	// can be divided at will.
	Flows int
}

// Matrix is a traffic matrix: cells in natural order, each once. It is not
// changed after it was made.
type Matrix struct{ Demands []Demand }

// Elephant is the largest number of flows that are steered as they are, one way
// for each cell: with so few, the hash of ECMP is a matter of luck.
const Elephant = 1

// Whole reports whether the traffic is one flow, which can't be divided.
func (d Demand) Whole() bool { return d.Flows > 0 && d.Flows <= Elephant }

// New makes a matrix; demands of one cell are added up. A rate that is negative
// or not finite, and traffic from a node to itself, are errors.
func New(demands []Demand) (Matrix, error) {
	sorted := slices.Clone(demands)
	slices.SortStableFunc(sorted, func(a, b Demand) int { return a.Key.Compare(b.Key) })
	var m Matrix
	for _, d := range sorted {
		switch {
		case !(d.Rate >= 0) || math.IsInf(d.Rate, 0):
			return Matrix{}, fmt.Errorf("demand %s: %v is not a rate", d.Key, d.Rate)
		case d.Flows < 0:
			return Matrix{}, fmt.Errorf("demand %s: %d is not a number of flows", d.Key, d.Flows)
		case d.From == d.To:
			return Matrix{}, fmt.Errorf("demand %s: it goes nowhere", d.Key)
		}
		if n := len(m.Demands); n > 0 && m.Demands[n-1].Key == d.Key {
			m.Demands[n-1] = m.Demands[n-1].With(d)
			continue
		}
		m.Demands = append(m.Demands, d)
	}
	return m, nil
}

// With is the demand with another one for the same cell added.
func (d Demand) With(o Demand) Demand {
	d.Rate += o.Rate
	if d.Flows > 0 && o.Flows > 0 {
		d.Flows += o.Flows
	} else {
		d.Flows = 0
	}
	return d
}

// Compare orders cells naturally: by from, to and tenant.
func (k Key) Compare(o Key) int {
	return cmp.Or(fabric.Natural(k.From, o.From), fabric.Natural(k.To, o.To), fabric.Natural(k.Tenant, o.Tenant))
}

// Total is the sum of all rates in bit/s.
func (m Matrix) Total() float64 {
	sum := 0.0
	for _, d := range m.Demands {
		sum += d.Rate
	}
	return sum
}

// Scale is the matrix with all rates multiplied.
func (m Matrix) Scale(by float64) Matrix {
	out := Matrix{Demands: slices.Clone(m.Demands)}
	for i := range out.Demands {
		out.Demands[i].Rate *= by
	}
	return out
}

// Largest are the n cells with the highest rates, the largest first.
func (m Matrix) Largest(n int) []Demand {
	out := slices.Clone(m.Demands)
	slices.SortStableFunc(out, func(a, b Demand) int { return cmp.Compare(b.Rate, a.Rate) })
	return out[:min(max(n, 0), len(out))]
}

// Tenants are the tenants and what they send in all, the largest first.
func (m Matrix) Tenants() []Demand {
	sums := map[string]float64{}
	for _, d := range m.Demands {
		if d.Tenant != "" {
			sums[d.Tenant] += d.Rate
		}
	}
	var out []Demand
	for t, rate := range sums {
		out = append(out, Demand{Key: Key{Tenant: t}, Rate: rate})
	}
	slices.SortFunc(out, func(a, b Demand) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), fabric.Natural(a.Tenant, b.Tenant))
	})
	return out
}
