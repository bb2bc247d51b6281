package engine

import (
	"sync"
	"time"

	"github.com/weft-sdn/weft/southbound"
)

// eventsKept bounds the events in memory.
const eventsKept = 2048

// ring keeps the newest events.
type ring struct {
	mu   sync.Mutex
	buf  []southbound.Event
	next int
}

func newRing(n int) *ring { return &ring{buf: make([]southbound.Event, 0, n)} }

func (r *ring) add(e southbound.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.buf) < cap(r.buf) {
		r.buf = append(r.buf, e)
		return
	}
	r.buf[r.next] = e
	r.next = (r.next + 1) % len(r.buf)
}

func (r *ring) list() []southbound.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(append(make([]southbound.Event, 0, len(r.buf)), r.buf[r.next:]...), r.buf[:r.next]...)
}
