package congestion

import (
	"fmt"
	"math"
)

// Table is what a switch's group of next hops can hold.
type Table struct {
	// Total is the largest sum of the weights of one group: its entries, where
	// hardware repeats a next hop. 64 when zero.
	Total int
	// Error is how much more than its part a way may get, as a part of it, where
	// the total permits. 0.02 when zero.
	Error float64
}

const (
	defaultTotal = 64
	defaultError = 0.02
)

func (t Table) total() int {
	if t.Total <= 0 {
		return defaultTotal
	}
	return t.Total
}

func (t Table) tolerance() float64 {
	if t.Error <= 0 {
		return defaultError
	}
	return t.Error
}

// Reduce finds small integers for parts: those with the smallest sum with which
// no way gets more than 1+t.Error times its part, or the nearest that there are.
// The second value is by how much the worst way exceeds its part, as a part of
// it. With n ways that have a part it is at most (n-1)/t.Total, or t.Error.
//
// Units are given one by one to the way that exceeds its part least with one more
// (D'Hondt), which for each sum makes the worst excess least (Balinski and Young,
// Fair Representation, 1982).
func Reduce(parts []float64, t Table) (weights []int, over float64, err error) {
	sum := 0.0
	for w, v := range parts {
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			return nil, 0, fmt.Errorf("way %d: %v is not a part", w, v)
		}
		sum += v
	}
	if sum <= 0 {
		return nil, 0, fmt.Errorf("no way has a part")
	}
	now := make([]int, len(parts))
	over = math.Inf(1)
	for total := 1; total <= t.total(); total++ {
		next, least := -1, math.Inf(1)
		for w, v := range parts {
			if v > 0 {
				if r := float64(now[w]+1) * sum / v; r < least {
					next, least = w, r
				}
			}
		}
		now[next]++
		worst := 0.0
		for w, v := range parts {
			if v > 0 {
				worst = max(worst, float64(now[w])*sum/(v*float64(total)))
			}
		}
		if worst-1 < over-1e-12 {
			over = max(0, worst-1)
			weights = append(weights[:0], now...)
		}
		if over <= t.tolerance() {
			break
		}
	}
	return lowest(weights), over, nil
}

// lowest divides weights by what they have in common.
func lowest(weights []int) []int {
	d := 0
	for _, w := range weights {
		for a := w; a != 0; {
			d, a = a, d%a
		}
	}
	if d > 1 {
		for i := range weights {
			weights[i] /= d
		}
	}
	return weights
}

// Weights has for each commodity the integer weight of each of its ways. A nil
// entry is plain ECMP.
type Weights [][]int

// Split is the parts that the weights give.
func (ws Weights) Split() Split {
	s := make(Split, len(ws))
	for i, weights := range ws {
		if weights == nil {
			continue
		}
		sum := 0
		for _, w := range weights {
			sum += w
		}
		s[i] = make([]float64, len(weights))
		for w, v := range weights {
			s[i][w] = float64(v) / float64(sum)
		}
	}
	return s
}
