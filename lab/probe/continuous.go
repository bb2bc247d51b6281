package probe

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"
)

// ContinuousOptions say how to probe while something else happens.
type ContinuousOptions struct {
	Interval time.Duration // between two probes of a pair; 10 ms when zero
	Duration time.Duration // until the context ends when zero
	// Rate bounds all probes together: a machine that is full loses packets
	// that the network would not.
	Rate int // most probes per second in all; 6000 when zero
	// Only says which pairs are probed; all when nil.
	Only func(Flow) bool
}

// PairLoss is what one pair lost.
type PairLoss struct {
	Flow Flow `json:"flow"`
	Sent int  `json:"sent"`
	Lost int  `json:"lost"`
	// Gap is the longest time, by when they were sent, between two probes that
	// arrived one after the other.
	Gap        time.Duration `json:"gap"`
	GapBegan   time.Time     `json:"gapBegan"` // to look up in the devices' logs
	Duplicated int           `json:"duplicated"`
}

// LossReport is the result of a continuous probe.
type LossReport struct {
	Pairs    int           `json:"pairs"`
	Sent     int           `json:"sent"`
	Lost     int           `json:"lost"`
	Leaked   int           `json:"leaked"`
	Interval time.Duration `json:"interval"` // really kept
	Took     time.Duration `json:"took"`
	Worst    []PairLoss    `json:"worst"` // pairs that lost any, the longest gap first
	Dup      int           `json:"duplicated"`
}

// OK reports whether nothing was lost, leaked or doubled.
func (r *LossReport) OK() bool { return r.Lost == 0 && r.Leaked == 0 && r.Dup == 0 }

// pairState follows one pair: by the sequence numbers of what arrived and the
// times at which each was sent.
type pairState struct {
	sent, got, dup int
	lastSent       int64
	lastGot        int64 // when the newest that arrived was sent
	newest         int   // its number
	gap, gapBegan  int64
	seen           [window / 64]uint64 // a bit per number, of the newest ones
}

// window is how many of a pair's newest numbers are remembered to tell copies:
// ten seconds at the usual rate.
const window = 1024

func (p *pairState) arrive(r Receipt) {
	for n := p.newest + 1; n <= r.Seq; n++ {
		p.seen[n%window/64] &^= 1 << (n % 64)
	}
	word, bit := &p.seen[r.Seq%window/64], uint64(1)<<(r.Seq%64)
	if r.Seq > p.newest-window && *word&bit != 0 {
		p.dup++
		return
	}
	*word |= bit
	p.got++
	if r.Seq > p.newest {
		if gap := r.Sent - p.lastGot; p.newest > 0 && gap > p.gap {
			p.gap, p.gapBegan = gap, p.lastGot
		}
		p.newest, p.lastGot = r.Seq, r.Sent
	}
}

// Continuous sends between all pairs that must reach each other until the
// context ends or the time is over. It counts from after a first exchange that
// fills the neighbour caches.
func (f *Field) Continuous(ctx context.Context, o ContinuousOptions) (*LossReport, error) {
	o.Interval = cmp.Or(o.Interval, 10*time.Millisecond)
	o.Rate = cmp.Or(o.Rate, 6000)
	targets := expect(f.Hosts).reach
	if o.Only != nil {
		targets = slices.DeleteFunc(targets, func(t target) bool { return !o.Only(t.flow) })
	}
	rep := &LossReport{Pairs: len(targets), Interval: o.Interval, Worst: []PairLoss{}}
	if len(targets) == 0 {
		return rep, nil
	}
	if _, err := f.Check(ctx, CheckOptions{Tries: 2}); err != nil {
		return nil, err
	}
	if least := time.Duration(len(targets)) * time.Second / time.Duration(o.Rate); rep.Interval < least {
		rep.Interval = least
	}
	states := make(map[Flow]*pairState, len(targets))
	for _, t := range targets {
		states[t.flow] = &pairState{}
	}
	kind := f.round("continuous")
	defer f.collect(func(r Receipt) {
		if r.Kind != kind {
			return
		}
		p := states[Flow{r.Source, r.Dest, r.IPv6}]
		if p == nil || r.At != r.Dest {
			rep.Leaked++
			return
		}
		p.arrive(r)
	})()
	began := time.Now()
	if o.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Duration)
		defer cancel()
	}
	f.rounds(ctx, kind, targets, states, rep.Interval)
	// The last may be on their way.
	f.wait(context.Background(), 500*time.Millisecond, func() bool {
		for _, p := range states {
			if p.got < p.sent {
				return false
			}
		}
		return true
	})
	rep.Took = time.Since(began)
	f.locked(func() bool { rep.sum(f.began, states); return true })
	return rep, nil
}

// rounds sends one probe per pair and interval, spread over the interval,
// until the context ends.
func (f *Field) rounds(ctx context.Context, kind string, targets []target, states map[Flow]*pairState, interval time.Duration) {
	pace := pacer{rate: max(1, int(float64(len(targets))*float64(time.Second)/float64(interval)))}
	for seq := 1; ; seq++ {
		for _, t := range targets {
			if pace.wait(ctx) != nil {
				return
			}
			f.locked(func() bool {
				p := states[t.flow]
				p.sent++
				p.lastSent = f.now()
				return true
			})
			_ = f.send(t.from, t.to, ID{Kind: kind, Source: t.flow.Source, Dest: t.flow.Dest, Seq: seq}) // a refusal shows as loss
		}
	}
}

// sum fills the report in from the pairs.
func (r *LossReport) sum(began time.Time, states map[Flow]*pairState) {
	for _, flow := range slices.SortedFunc(maps.Keys(states), func(a, b Flow) int { return cmp.Compare(a.String(), b.String()) }) {
		p := states[flow]
		r.Sent += p.sent
		r.Lost += p.sent - p.got
		r.Dup += p.dup
		if p.sent > p.got || p.dup > 0 {
			if gap := p.lastSent - p.lastGot; gap > p.gap { // at the end
				p.gap, p.gapBegan = gap, p.lastGot
			}
			r.Worst = append(r.Worst, PairLoss{flow, p.sent, p.sent - p.got, time.Duration(p.gap), began.Add(time.Duration(p.gapBegan)), p.dup})
		}
	}
	slices.SortStableFunc(r.Worst, func(a, b PairLoss) int { return cmp.Compare(b.Gap, a.Gap) })
}
