package load

import (
	"math"
	"slices"
	"time"
)

// Resolution is a ring's: so many of the latest buckets, each of so long a time.
type Resolution struct {
	Step    time.Duration
	Buckets int
}

// Resolutions are those of links: a minute by seconds, ten minutes by 10 s, an hour by
// minutes and a day by 5 min.
func Resolutions() []Resolution { return slices.Clone(ofLinks[:]) }

// ofLinks and ofTunnels are the rings of the two; the latter are many.
var (
	ofLinks   = [...]Resolution{{time.Second, 64}, {10 * time.Second, 64}, {time.Minute, 64}, {5 * time.Minute, 288}}
	ofTunnels = [...]Resolution{{time.Second, 64}, {10 * time.Second, 32}, {time.Minute, 32}, {5 * time.Minute, 24}}
)

// ring counts in buckets of time; a bucket is overwritten when its time is over for
// the length of the ring.
type ring struct {
	step    int64 // ns
	newest  int64 // number of the newest bucket
	buckets []float32
}

// Series is one counter's rise in the rings of its resolutions, by the time since some
// beginning.
type Series struct{ rings []ring }

// newSeries makes rings that are all in one piece of memory.
func newSeries(rs []Resolution) *Series {
	n := 0
	for _, r := range rs {
		n += r.Buckets
	}
	all := make([]float32, n)
	s := &Series{rings: make([]ring, len(rs))}
	for i, r := range rs {
		s.rings[i] = ring{step: int64(r.Step), newest: math.MinInt64, buckets: all[:r.Buckets:r.Buckets]}
		all = all[r.Buckets:]
	}
	return s
}

// Add spreads an amount evenly over a time that ends after it begins. What is older
// than a ring is in no bucket of it.
func (s *Series) Add(from, to time.Duration, amount float64) {
	for i := range s.rings {
		s.rings[i].add(int64(from), int64(to), amount)
	}
}

func (r *ring) add(from, to int64, amount float64) {
	if to <= from || amount == 0 {
		return
	}
	last := floor(to-1, r.step)
	r.advance(last)
	first := max(floor(from, r.step), r.newest-int64(len(r.buckets))+1)
	for k := first; k <= last; k++ {
		part := min(to, (k+1)*r.step) - max(from, k*r.step)
		r.buckets[mod(k, len(r.buckets))] += float32(amount * float64(part) / float64(to-from))
	}
}

// advance makes room up to a bucket.
func (r *ring) advance(to int64) {
	if r.newest == math.MinInt64 || to-r.newest >= int64(len(r.buckets)) {
		clear(r.buckets)
		r.newest = max(to, r.newest)
		return
	}
	for r.newest < to {
		r.newest++
		r.buckets[mod(r.newest, len(r.buckets))] = 0
	}
}

// sum adds up the buckets from first to last.
func (r *ring) sum(first, last int64) float64 {
	total := 0.0
	for k := max(first, r.newest-int64(len(r.buckets))+1); k <= min(last, r.newest); k++ {
		total += float64(r.buckets[mod(k, len(r.buckets))])
	}
	return total
}

// Rate is the mean per second over a window that ends at a bucket's end, at or before
// end, of the finest ring that has the window whole; since is when counting began:
// what is before it is no part of the window.
func (s *Series) Rate(since, end, window time.Duration) float64 {
	r := s.of(window)
	last := floor(int64(end), r.step) - 1
	first := last - max(int64(window)/r.step, 1) + 1
	begin, stop := max(first*r.step, int64(since)), (last+1)*r.step
	if stop <= begin {
		return 0
	}
	return r.sum(first, last) / (float64(stop-begin) / 1e9)
}

// of is the finest ring that has a window whole, and a bucket to spare for the one
// that is being filled.
func (s *Series) of(window time.Duration) *ring {
	for i := range s.rings {
		if r := &s.rings[i]; int64(window) <= r.step*int64(len(r.buckets)-2) {
			return r
		}
	}
	return &s.rings[len(s.rings)-1]
}

// Point is a rate per second in a bucket that begins at Time.
type Point struct {
	Time time.Duration
	Rate float64
}

// History are the whole buckets of a resolution since counting began, oldest first;
// none when there is no such resolution.
func (s *Series) History(since, end, step time.Duration) []Point {
	i := slices.IndexFunc(s.rings, func(r ring) bool { return r.step == int64(step) })
	if i < 0 {
		return nil
	}
	r := &s.rings[i]
	last := floor(int64(end), r.step) - 1
	var out []Point
	for k := max(last-int64(len(r.buckets))+2, floor(int64(since), r.step)+1); k <= last; k++ {
		out = append(out, Point{time.Duration(k * r.step), r.sum(k, k) / step.Seconds()})
	}
	return out
}

// idle reports whether nothing is in any ring since a time, at the resolution of the
// last.
func (s *Series) idle(since time.Duration) bool {
	r := &s.rings[len(s.rings)-1]
	return r.newest == math.MinInt64 || r.sum(floor(int64(since), r.step), r.newest) == 0
}

func floor(v, by int64) int64 {
	q := v / by
	if v%by < 0 {
		q--
	}
	return q
}

func mod(k int64, n int) int { return int(((k % int64(n)) + int64(n)) % int64(n)) }
