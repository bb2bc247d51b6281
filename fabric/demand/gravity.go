package demand

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Gravity says how a matrix is made up for trials.
type Gravity struct {
	Nodes []string // each sends to each other
	Total float64  // bit/s in all
	// Spread is the standard deviation of the logarithm of a node's mass: 0 makes
	// all nodes equal, 0.5 is like a data centre's racks.
	Spread float64
	// Heavy is the part of the pairs that are elephants: one flow each, Times
	// as large as the mass of the two says.
	Heavy float64
	Times float64
	Seed  uint64
}

// Matrix makes the matrix: the traffic between two nodes is proportional to the
// product of their masses. The same Gravity makes the same matrix.
func (g Gravity) Matrix() (Matrix, error) {
	switch {
	case len(g.Nodes) < 2:
		return Matrix{}, fmt.Errorf("a matrix needs two nodes, there are %d", len(g.Nodes))
	case !(g.Total > 0) || g.Total > maxRate:
		return Matrix{}, fmt.Errorf("total: %v is not a rate", g.Total)
	case !(g.Spread >= 0 && g.Spread <= 5):
		return Matrix{}, fmt.Errorf("spread: %v is outside 0..5", g.Spread)
	case !(g.Heavy >= 0 && g.Heavy <= 1):
		return Matrix{}, fmt.Errorf("heavy: %v is not a part of the pairs", g.Heavy)
	case g.Heavy > 0 && !(g.Times > 0 && g.Times <= 1e6):
		return Matrix{}, fmt.Errorf("times: %v is outside 0..1000000", g.Times)
	}
	r := rand.New(rand.NewPCG(g.Seed, 7))
	mass := make([]float64, len(g.Nodes))
	for i := range mass {
		mass[i] = math.Exp(g.Spread * r.NormFloat64())
	}
	var out []Demand
	sum := 0.0
	for i, from := range g.Nodes {
		for j, to := range g.Nodes {
			if i == j {
				continue
			}
			d := Demand{Key: Key{From: from, To: to}, Rate: mass[i] * mass[j]}
			if r.Float64() < g.Heavy {
				d.Rate *= g.Times
				d.Flows = 1
			}
			sum += d.Rate
			out = append(out, d)
		}
	}
	for i := range out {
		out[i].Rate = math.Round(out[i].Rate * g.Total / sum)
	}
	return New(out)
}
