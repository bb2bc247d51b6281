package sim

import (
	"net"
	"sync"
	"time"
)

// Edge is one simulated Open vSwitch. Its methods may be called from any
// goroutine.
type Edge struct {
	farm  *Farm
	index int

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	down  bool
	stuck chan struct{} // closed when it goes on; nil when it is not stuck
	slow  time.Duration // before each OpenFlow message
	wait  chan struct{} // closed and replaced when slow changes
	stats Stats
	flowTable
	meters map[uint32][]byte // descriptions, by number

	dbMu sync.Mutex // before mu
	db   database
}

// Stats are what an edge has and was told.
type Stats struct {
	OVSDBConnects, OpenFlowConnects int
	Transactions                    int // that change something
	Bundles, FlowMods, Dumps        int
	Bytes                           int64 // of OpenFlow messages
	PacketOuts                      int
	ZonesFlushed                    int // messages to forget the connections of a zone
	Refused                         int // requests that this package does not know
	Flows                           int // now
	Tables                          [tables]int32
	// Sum is a checksum of all flows: equal for two sets of flows when they
	// are the same.
	Sum uint64
}

func newEdge(f *Farm, i int) *Edge {
	e := &Edge{farm: f, index: i, wait: make(chan struct{})}
	e.db.init(e)
	return e
}

// Stats returns the counts since the start.
func (e *Edge) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Flows, s.Sum, s.Tables = len(e.flows), e.sum, e.counts
	return s
}

// join takes a new connection, unless the edge is down.
func (e *Edge) join(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down {
		return false
	}
	if e.conns == nil {
		e.conns = make(map[net.Conn]struct{}, 2)
	}
	e.conns[c] = struct{}{}
	return true
}

func (e *Edge) leave(c net.Conn) {
	c.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
}

// Drop ends all connections; new ones are taken.
func (e *Edge) Drop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.conns {
		c.Close()
	}
}

// SetDown ends all connections and takes no new ones until it is called with
// false.
func (e *Edge) SetDown(down bool) {
	e.mu.Lock()
	e.down = down
	e.mu.Unlock()
	if down {
		e.Drop()
	}
}

// Empty removes all flows, as a restart of ovs-vswitchd does. The database
// stays.
func (e *Edge) Empty() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k := range e.flows {
		e.remove(k)
	}
	e.flows, e.long, e.meters = nil, nil, nil
}

// Slow has the edge wait before it reads each OpenFlow message; zero ends it.
func (e *Edge) Slow(wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.slow = wait
	close(e.wait)
	e.wait = make(chan struct{})
}

// Stick has the edge read and answer nothing while its connections stay, until
// it is called with false.
func (e *Edge) Stick(stuck bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case stuck && e.stuck == nil:
		e.stuck = make(chan struct{})
	case !stuck && e.stuck != nil:
		close(e.stuck)
		e.stuck = nil
	}
}

// pause waits as Stick and, for OpenFlow, Slow ask for.
func (e *Edge) pause(openFlow bool) {
	e.mu.Lock()
	stuck, slow, changed := e.stuck, e.slow, e.wait
	e.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	if slow > 0 && openFlow {
		t := time.NewTimer(slow)
		defer t.Stop()
		select {
		case <-t.C:
		case <-changed:
		}
	}
}
