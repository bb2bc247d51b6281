package engine

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// session runs the driver of one edge and is its feed.
type session struct {
	engine *Engine
	node   string
	spec   intent.NodeSpec // with which the driver was made
	driver southbound.Driver
	wake   chan struct{}
	done   chan struct{}

	stop      context.CancelFunc // ends the driver
	stopClean context.CancelFunc // ends its clean-up
	leave     atomic.Bool        // the node left the intent: clean it
	queued    atomic.Bool        // in the engine's wakes
	awaits    atomic.Bool        // the driver keeps things for single edges that have not reported

	mu sync.Mutex
	// reads are the cursors that the driver asked from but did not confirm
	// yet: they hold back Trim as confirmed cursors do.
	reads map[intent.VNI]evpn.Revision
	// trouble is the reason of the last event about the device as a whole.
	trouble string
}

// settleSessions makes the sessions agree with the edges in the intent. A node
// whose connection changed gets a new session. The caller holds the lock.
func (e *Engine) settleSessions(ctx context.Context) {
	for name, s := range e.sessions {
		n := e.model.Node(name)
		switch {
		case n == nil || !n.Spec.Edge():
			delete(e.sessions, name)
			e.ending[name] = s
			e.alarms.endDevice(name)
			e.follows(name)
			s.leave.Store(true)
			s.stop()
		case !reflect.DeepEqual(n.Spec, s.spec):
			delete(e.sessions, name)
			e.ending[name] = s
			e.alarms.endReasons(name, troubles)
			s.stop()
		}
	}
	for _, name := range e.model.Edges() {
		if e.sessions[name] == nil {
			e.start(ctx, e.model.Node(name))
		}
	}
}

// withdrawTime bounds the clean-up of a device that left the intent.
const withdrawTime = 10 * time.Second

// start runs a session once the one that it replaces, if any, has ended.
func (e *Engine) start(ctx context.Context, n *intent.Node) {
	s := &session{engine: e, node: n.Metadata.Name, spec: n.Spec, wake: make(chan struct{}, 1),
		done: make(chan struct{}), reads: map[intent.VNI]evpn.Revision{}}
	run, stop := context.WithCancel(ctx)
	clean, stopClean := context.WithCancel(ctx)
	s.stop, s.stopClean = stop, stopClean
	s.driver = e.config.NewDriver(n, s)
	before := e.ending[s.node]
	delete(e.ending, s.node)
	e.sessions[s.node] = s
	go func() {
		defer close(s.done)
		defer s.stopReading()
		defer stopClean()
		if before != nil {
			before.stopClean()
			<-before.done
		}
		_ = s.driver.Run(run) // returns ctx's error only
		if s.leave.Load() {
			s.withdraw(clean)
		}
	}()
}

// stopReading ends what holds back trim.
func (s *session) stopReading() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.reads {
		s.engine.readers.remove(v, s)
	}
	clear(s.reads)
}

// readers are the sessions that read each segment.
type readers struct {
	mu sync.Mutex
	by map[intent.VNI]map[*session]struct{}
}

func (r *readers) add(v intent.VNI, s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[intent.VNI]map[*session]struct{}{}
	}
	if r.by[v] == nil {
		r.by[v] = map[*session]struct{}{}
	}
	r.by[v][s] = struct{}{}
}

func (r *readers) remove(v intent.VNI, s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.by[v], s); len(r.by[v]) == 0 {
		delete(r.by, v)
	}
}

func (r *readers) of(v intent.VNI) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.by[v]))
}

// withdraw cleans a device that left the intent, unless it has come back.
func (s *session) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, withdrawTime)
	defer cancel()
	if err := s.driver.Withdraw(ctx); err != nil {
		s.Event(southbound.Event{Severity: southbound.Warning, Reason: "NotCleaned",
			Message: "the node left the intent but could not be cleaned: " + err.Error()})
	}
}

// stopSessions ends all sessions and waits for them.
func (e *Engine) stopSessions() {
	e.mu.Lock()
	all := slices.Concat(slices.Collect(maps.Values(e.sessions)), slices.Collect(maps.Values(e.ending)))
	clear(e.sessions)
	clear(e.ending)
	e.mu.Unlock()
	for _, s := range all {
		s.stop()
		s.stopClean()
	}
	for _, s := range all {
		<-s.done
	}
}

func (s *session) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// reading is the revision that the session still needs the changes after.
func (s *session) reading(v intent.VNI) (evpn.Revision, bool) {
	s.mu.Lock()
	at, ok := s.reads[v]
	s.mu.Unlock()
	if c, has := s.driver.Cursor(v); has {
		return c, true
	}
	return at, ok
}

// Wake implements southbound.Feed.
func (s *session) Wake() <-chan struct{} { return s.wake }

// Behind implements southbound.Feed.
func (s *session) Behind(cursors map[intent.VNI]evpn.Revision) (local uint64, newer []intent.VNI) {
	s.engine.mu.RLock()
	defer s.engine.mu.RUnlock()
	return s.engine.model.Behind(s.node, cursors)
}

// Local implements southbound.Feed.
func (s *session) Local() map[intent.Ref]overlay.LocalPort {
	s.engine.mu.RLock()
	defer s.engine.mu.RUnlock()
	return s.engine.model.Local(s.node)
}

// Rows implements southbound.Feed.
func (s *session) Rows(v intent.VNI, since evpn.Revision) ([]evpn.Row, evpn.Revision) {
	s.engine.mu.RLock()
	defer s.engine.mu.RUnlock()
	seg := s.engine.model.Segment(v)
	if seg == nil {
		return nil, 0
	}
	s.mu.Lock()
	if _, ok := s.reads[v]; !ok {
		s.engine.readers.add(v, s)
	}
	s.reads[v] = since
	s.mu.Unlock()
	return slices.Collect(seg.Changes(since)), seg.Rev()
}

// Unreported implements southbound.Feed.
func (s *session) Unreported(await bool) overlay.Away {
	s.engine.mu.RLock()
	defer s.engine.mu.RUnlock()
	away := s.engine.model.Unreported()
	s.awaits.Store(await && !away.None())
	return away
}

// Observe implements southbound.Feed.
func (s *session) Observe(ifaces []overlay.Interface) {
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sessions[s.node] != s {
		return // replaced: what it saw may be another device's
	}
	e.model.Observe(s.node, ifaces)
	e.wakeTouched()
	e.broadcast()
}

// Learned implements southbound.Feed.
func (s *session) Learned(all []overlay.Learned) {
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sessions[s.node] != s {
		return
	}
	e.model.Learn(s.node, all)
	e.wakeTouched()
	e.broadcast()
}

// Confirmed implements southbound.Feed.
func (s *session) Confirmed() {
	e := s.engine
	s.mu.Lock()
	for v := range s.reads {
		if _, ok := s.driver.Cursor(v); !ok {
			delete(s.reads, v)
			e.readers.remove(v, s)
		}
	}
	s.mu.Unlock()
	if e.anyMoving.Load() {
		e.mu.Lock()
		if e.sessions[s.node] == s {
			e.follows(s.node)
		}
		e.mu.Unlock()
	}
	e.broadcast()
}

// Event implements southbound.Feed.
func (s *session) Event(ev southbound.Event) {
	ev.Device = s.node
	if ev.Reason == recovered || slices.Contains(troubles, ev.Reason) {
		s.engine.trouble(s, ev)
		s.mu.Lock()
		again := ev.Reason == southbound.CodeUnreachable && s.trouble == ev.Reason
		s.trouble = ev.Reason
		s.mu.Unlock()
		if again {
			return // the words change from one attempt to the next
		}
	}
	s.engine.events.add(ev)
	s.engine.log.Info(ev.Message, "device", s.node, "reason", ev.Reason)
}

// Announced implements southbound.Feed.
func (s *session) Announced(iface string) {
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sessions[s.node] != s {
		return
	}
	e.model.Announced(s.node, iface)
	e.wakeTouched()
	e.broadcast()
}

// Alarm implements southbound.Feed.
func (s *session) Alarm(key southbound.AlarmKey, message string) {
	s.engine.alarm(s.node, key, message)
}
