package engine

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Wakes of sessions are spread out: what changes for an edge while its wake waits
// goes with that, in one bundle. A change to ten edges wakes all of them at once;
// five thousand changes a second, which are fifty thousand wakes, become as many
// bundles as the processors can make.
const (
	wakeCost  = 200 * time.Microsecond // of one processor, for one bundle and what comes of it
	wakeBurst = 64                     // wakes that go at once after a rest
	wakeMost  = 100 * time.Millisecond // that a wake waits, however many there are
	wakeTick  = time.Millisecond
)

// wakes are the sessions that are to wake: each is there once, and they go in the
// order in which they came.
type wakes struct {
	every  time.Duration // between two wakes
	wanted chan struct{} // capacity 1: the queue is not empty

	mu    sync.Mutex
	queue []waiting
	free  time.Time // when as many as went have been paid for
}

type waiting struct {
	session *session
	since   time.Time
}

func newWakes() wakes {
	return wakes{every: wakeCost / time.Duration(runtime.GOMAXPROCS(0)), wanted: make(chan struct{}, 1)}
}

// add wakes a session, at once when few others wake.
func (w *wakes) add(s *session) {
	if s.queued.Swap(true) {
		return
	}
	now := time.Now()
	w.mu.Lock()
	if w.free.Before(now) {
		w.free = now
	}
	if len(w.queue) == 0 && w.free.Sub(now) < wakeBurst*w.every {
		w.free = w.free.Add(w.every)
		w.mu.Unlock()
		s.queued.Store(false)
		s.notify()
		return
	}
	w.queue = append(w.queue, waiting{s, now})
	w.mu.Unlock()
	select {
	case w.wanted <- struct{}{}:
	default:
	}
}

// run lets the sessions of the queue wake, until ctx ends.
func (w *wakes) run(ctx context.Context) {
	tick := time.NewTicker(wakeTick)
	tick.Stop()
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wanted:
		}
		last := time.Now()
		tick.Reset(wakeTick)
		for left := true; left; {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				left = w.release(now, now.Sub(last))
				last = now
			}
		}
		tick.Stop()
	}
}

// release wakes those whose turn it is when some time has passed, and reports
// whether more are left.
func (w *wakes) release(now time.Time, passed time.Duration) bool {
	w.mu.Lock()
	n := min(len(w.queue), max(0, int(passed/w.every)+1)) // a clock's steps are small, and may be back
	for n < len(w.queue) && now.Sub(w.queue[n].since) >= wakeMost {
		n++
	}
	turn := w.queue[:n]
	if w.queue = w.queue[n:]; len(w.queue) == 0 {
		w.queue = nil
	}
	left := len(w.queue) > 0
	w.free = now.Add(wakeBurst * w.every)
	w.mu.Unlock()
	for _, t := range turn {
		t.session.queued.Store(false)
		t.session.notify()
	}
	return left
}
