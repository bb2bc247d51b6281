package vswitch

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// tables keep the flows of segments' rows, so that all edges that have a segment
// are compared with, and sent, what was made once. What nobody has used for
// tablesIdle is dropped, and what was used least recently when there is more than
// most, but for the last one.
type tables struct {
	most int          // bytes of all; tablesMost when zero
	made atomic.Int64 // how often a segment was compiled

	mu    sync.Mutex
	all   map[tableID]*table
	size  int // bytes of all
	steps map[intent.VNI]step
	sweep *time.Timer // nil when there is nothing
}

// Bounds of tables: bytes, and the time without use.
const (
	tablesMost = 256 << 20 // half a million stations with an address each
	tablesIdle = 30 * time.Second
)

// tableID says for which edges a table is the same: those whose tunnel ports have
// one number, which they have unless somebody took it, and that colour it alike.
type tableID struct {
	vni  intent.VNI
	path tunnelPath
	hue  overlay.Hue
}

// table is one segment's.
type table struct {
	making sync.Mutex // held while it is made: others that want it wait

	// The rest is guarded by tables.mu.
	c    *compiled
	used time.Time
}

// segment returns the flows of a segment's rows at a revision that is not before
// since. The reader must have been reading the segment from since on, so that
// deletions after the table's revision are still to be had; it goes on from there.
func (t *tables) segment(id tableID, since evpn.Revision, compile func() *compiled) *compiled {
	t.mu.Lock()
	e := t.all[id]
	if e == nil {
		if t.all == nil {
			t.all = map[tableID]*table{}
		}
		e = &table{}
		t.all[id] = e
	}
	e.used = time.Now()
	t.mu.Unlock()
	e.making.Lock()
	defer e.making.Unlock()
	t.mu.Lock()
	c := e.c
	t.mu.Unlock()
	if c != nil && c.rev >= since {
		return c
	}
	c = compile()
	t.made.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[id] != e {
		return c // dropped meanwhile
	}
	if e.c != nil {
		t.size -= e.c.size()
	}
	e.c, e.used = c, time.Now()
	t.size += c.size()
	for t.size > cmp.Or(t.most, tablesMost) && t.dropOldest(e) {
	}
	t.sweepLater()
	return c
}

// dropOldest drops what was used least recently, but for one; it reports whether
// there was anything. The caller holds the lock.
func (t *tables) dropOldest(but *table) bool {
	var oldest tableID
	var e *table
	for id, o := range t.all {
		if o.c != nil && o != but && (e == nil || o.used.Before(e.used)) {
			oldest, e = id, o
		}
	}
	if e == nil {
		return false
	}
	t.size -= e.c.size()
	delete(t.all, oldest)
	return true
}

// sweepLater has what is idle dropped in time. The caller holds the lock.
func (t *tables) sweepLater() {
	if t.sweep == nil {
		t.sweep = time.AfterFunc(tablesIdle, t.dropIdle)
	}
}

// dropIdle drops what nobody has used for a while.
func (t *tables) dropIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for id, e := range t.all {
		if now.Sub(e.used) >= tablesIdle {
			if e.c != nil {
				t.size -= e.c.size()
			}
			delete(t.all, id)
		}
	}
	for v, s := range t.steps {
		if now.Sub(s.used) >= tablesIdle {
			delete(t.steps, v)
		}
	}
	t.sweep = nil
	if len(t.all)+len(t.steps) > 0 {
		t.sweepLater()
	}
}

// step is a flood list and the one that followed from it at a revision.
type step struct {
	from, to *vtepList
	rev      evpn.Revision
	used     time.Time
}

// follow is the flood list that follows from one by the IMET rows up to a
// revision. Edges that have the same list get the same, which is made once.
func (t *tables) follow(v intent.VNI, from *vtepList, rows []evpn.Row, rev evpn.Revision) *vtepList {
	if len(rows) == 0 || from == nil || from.n < floodInline {
		return from.with(rows)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.steps[v]
	if s.from != from || s.rev != rev {
		to := from.with(rows)
		if s.to != nil && to.equal(s.to) {
			to = s.to
		}
		s = step{from: from, to: to, rev: rev}
	}
	s.used = time.Now()
	if t.steps == nil {
		t.steps = map[intent.VNI]step{}
	}
	t.steps[v] = s
	t.sweepLater()
	return s.to
}
