package congestion

import (
	"errors"
	"math"
)

// lu is a dense square matrix, by rows, and its factors with partial pivoting.
type lu struct {
	n    int
	a    []float64
	perm []int
}

var errSingular = errors.New("the basis of the linear program is singular")

func (m *lu) reset(n int) {
	m.n = n
	if cap(m.a) < n*n {
		m.a = make([]float64, n*n)
	}
	m.a = m.a[:n*n]
	m.perm = m.perm[:0]
	for i := range n {
		m.perm = append(m.perm, i)
	}
}

// decompose replaces the matrix by its factors.
func (m *lu) decompose() error {
	n, a := m.n, m.a
	for k := range n {
		p := k
		for i := k + 1; i < n; i++ {
			if math.Abs(a[i*n+k]) > math.Abs(a[p*n+k]) {
				p = i
			}
		}
		if math.Abs(a[p*n+k]) < 1e-13 {
			return errSingular
		}
		if p != k {
			m.perm[p], m.perm[k] = m.perm[k], m.perm[p]
			for j := range n {
				a[p*n+j], a[k*n+j] = a[k*n+j], a[p*n+j]
			}
		}
		top := a[k*n+k+1 : (k+1)*n]
		for i := k + 1; i < n; i++ {
			f := a[i*n+k]
			if f == 0 {
				continue
			}
			f /= a[k*n+k]
			a[i*n+k] = f
			row := a[i*n+k+1 : (i+1)*n]
			for j, v := range top {
				row[j] -= f * v
			}
		}
	}
	return nil
}

// solve gives x of Ax = b.
func (m *lu) solve(b []float64) []float64 {
	n, a := m.n, m.a
	x := make([]float64, n)
	for i := range n {
		v := b[m.perm[i]]
		for j := range i {
			v -= a[i*n+j] * x[j]
		}
		x[i] = v
	}
	for i := n - 1; i >= 0; i-- {
		v := x[i]
		for j := i + 1; j < n; j++ {
			v -= a[i*n+j] * x[j]
		}
		x[i] = v / a[i*n+i]
	}
	return x
}

// solveTransposed gives x of A'x = b.
func (m *lu) solveTransposed(b []float64) []float64 {
	n, a := m.n, m.a
	y := append([]float64(nil), b...)
	for i := range n {
		y[i] /= a[i*n+i]
		for j := i + 1; j < n; j++ {
			y[j] -= a[i*n+j] * y[i]
		}
	}
	for i := n - 1; i >= 0; i-- {
		for j := range i {
			y[j] -= a[i*n+j] * y[i]
		}
	}
	x := make([]float64, n)
	for i := range n {
		x[m.perm[i]] = y[i]
	}
	return x
}
