package engine

import (
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Times and rates of a drain.
const (
	// stillRate is the most packets a second that a switch which carries no traffic
	// passes on: stragglers of flows that ended.
	stillRate = 2.0
	// stillFor is over how long the rate is taken, at least.
	stillFor = time.Second
)

// transit knows how much each drained switch still forwards.
type transit struct {
	mu       sync.Mutex
	switches map[string]*passing
	now      func() time.Time
}

// passing is what a switch forwards since its drain is in place.
type passing struct {
	at    time.Time
	count uint64
	rate  float64 // packets a second
	known bool    // rate is
}

func newTransit() *transit { return &transit{switches: map[string]*passing{}, now: time.Now} }

// take takes a switch's count of forwarded packets. Only what it forwards while it is
// drained counts; drained is what the switch itself has in place.
func (t *transit) take(node string, drained bool, forwarded uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !drained {
		delete(t.switches, node)
		return
	}
	p, now := t.switches[node], t.now()
	if p == nil || forwarded < p.count { // it began to count anew
		t.switches[node] = &passing{at: now, count: forwarded}
		return
	}
	if span := now.Sub(p.at); span >= stillFor {
		*p = passing{at: now, count: forwarded, rate: float64(forwarded-p.count) / span.Seconds(), known: true}
	}
}

// still reports whether a drained switch passes nothing on, and at what rate it
// does; known is false until that can be told.
func (t *transit) still(node string) (still bool, rate float64, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.switches[node]
	if p == nil || !p.known {
		return false, 0, false
	}
	return p.rate <= stillRate, p.rate, true
}

// takeTransit takes what a switch passes on, which counts from when it says that its
// drain is in place.
func (e *Engine) takeTransit(node string, r switchstate.Report) {
	was := e.maintenance(node)
	want, drained := e.drainOf(node)
	e.transit.take(node, drained && r.Underlay.Hash == want, r.Forwarded)
	if now := e.maintenance(node); was != nil && now != nil && was.State != now.State {
		e.broadcast()
	}
}

// drainOf is the state that a switch is to have, and whether that is drained.
func (e *Engine) drainOf(node string) (hash string, drained bool) {
	e.underlay.mu.Lock()
	defer e.underlay.mu.Unlock()
	want := e.underlay.states[node]
	return want.Hash, want.Device.Drained
}

// maintenance is how far a switch's drain is; nil when it is not to be drained.
func (e *Engine) maintenance(node string) *intent.MaintenanceStatus {
	if _, drained := e.drainOf(node); !drained {
		return nil
	}
	still, rate, known := e.transit.still(node)
	m := &intent.MaintenanceStatus{State: intent.Draining}
	if still {
		m.State = intent.Drained
	}
	if known {
		m.Rate = &rate
	}
	return m
}

// unplanned reports whether a revision of a node came after the last plan.
func (u *underlay) unplanned(rev int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.done < uint64(rev)
}
