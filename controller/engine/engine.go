package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// Source is where intent comes from; *store.Store is one.
type Source interface {
	// Snapshot returns all objects at one revision; with a *store.BrokenError
	// those that can be read.
	Snapshot(ctx context.Context) ([]intent.Object, int64, error)
	// Watch yields what changes from a revision on.
	Watch(ctx context.Context, from int64) iter.Seq2[[]store.Event, error]
}

// Config says what an Engine works with. All fields are required but Logger.
type Config struct {
	Source Source
	// NewDriver makes the driver of an edge.
	NewDriver func(*intent.Node, southbound.Feed) southbound.Driver
	// Speaker speaks BGP EVPN with the leaves; nil without any. It calls back
	// TakeRoutes, PeerChanged and PeerAlarm.
	Speaker LeafSpeaker
	// NewFabric makes the speaker of an interconnect with a fabric of an AS; nil
	// without any. It calls back as Speaker does.
	NewFabric func(interconnect string, asn uint32) Fabric
	// NewInjector makes the injector of a leaf that is steered; nil without any.
	NewInjector func(leaf *intent.Node) Injector
	// ASN is the controller's AS, from which route targets and distinguishers
	// are made.
	ASN uint32
	// BGPSource is the address from which leaves are dialled; may be invalid.
	BGPSource netip.Addr
	// Moved writes into the intent that a port has come to the place that was
	// requested for it; nil writes nothing.
	Moved func(ctx context.Context, port intent.Ref, to intent.Place) error
	// GivenColours keeps what the optimiser gave tenants over restarts; nil keeps nothing.
	GivenColours GivenColours
	Logger       *slog.Logger
}

// Engine is the controller's core. Make it with New, then call Run.
type Engine struct {
	config Config
	log    *slog.Logger
	events *ring
	alarms alarms
	bgp    *reflector // nil without a speaker
	moves  moveQueue
	// crossings are nil without speakers to other fabrics.
	crossings *crossings
	readers   readers
	wakes     wakes
	wiring    *wiring
	routing   *routing
	steerer   *steerer
	chooser   *chooser
	underlay  *underlay
	transit   *transit
	unknowns  *unknowns
	loads     *loads
	questions *questions
	colours   *colours

	mu       sync.RWMutex
	model    *overlay.Model
	objects  map[intent.Ref]int64                   // revision of every object that was taken
	members  map[intent.Ref]map[intent.Ref]struct{} // security group -> ports that are in it
	broken   map[string]*store.Broken               // by key, what can't be read now
	sessions map[string]*session
	ending   map[string]*session // left the intent; the last of each node
	rev      int64               // of the store, up to which intent was taken
	loaded   bool
	moving   map[intent.Ref]*moving  // ports that moved, until all edges follow
	trims    map[intent.VNI]struct{} // segments that may have deletions to forget
	// away and allReported are what the model said of edges that have not
	// reported when sessions were last woken for that.
	away        int
	allReported bool
	// nodesChanged is set until the sessions were compared with the nodes.
	nodesChanged bool

	readyMu sync.Mutex // so that health checks don't wait for mu while much is loaded
	ready   error      // why intent is not loaded, nil when it is

	anyMoving atomic.Bool // moving has entries, or had until just now

	changedMu sync.Mutex
	changed   chan struct{} // closed and replaced at each change of status
}

// New returns an engine that has not read anything yet.
func New(c Config) *Engine {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		config: c, log: c.Logger, events: newRing(eventsKept), moves: newMoveQueue(), wakes: newWakes(), wiring: newWiring(), routing: newRouting(), underlay: newUnderlay(), transit: newTransit(), unknowns: newUnknowns(), loads: newLoads(), questions: newQuestions(),
		model: overlay.NewModel(), objects: map[intent.Ref]int64{}, members: map[intent.Ref]map[intent.Ref]struct{}{}, sessions: map[string]*session{}, ending: map[string]*session{}, moving: map[intent.Ref]*moving{}, trims: map[intent.VNI]struct{}{},
		changed: make(chan struct{}),
	}
	e.steerer = newSteerer(e)
	e.colours = newColours(e)
	e.chooser = newChooser(e)
	if c.Speaker != nil {
		e.bgp = newReflector(e, c.Speaker)
	}
	if c.NewFabric != nil {
		e.crossings = newCrossings(e)
	}
	e.model.Hold(true)
	e.ready = errors.New("intent is not loaded yet")
	return e
}

// holdTime is how long at the start a port that could be in several places
// waits for edges that may know which one is in use.
const holdTime = 2 * time.Second

// Run works until ctx ends; it returns ctx's error. While the store can't be
// read the devices stay as they are.
func (e *Engine) Run(ctx context.Context) error {
	defer e.stopSessions()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if e.bgp != nil {
		wg.Go(func() { e.bgp.run(ctx) })
	}
	if e.crossings != nil {
		wg.Go(func() { e.crossings.run(ctx) })
	}
	wg.Go(func() { e.finishMoves(ctx) })
	wg.Go(func() { e.wakes.run(ctx) })
	wg.Go(func() { e.trimAll(ctx) })
	wg.Go(func() { e.watchWiring(ctx) })
	wg.Go(func() { e.steerer.run(ctx) })
	wg.Go(func() { e.colours.run(ctx) })
	wg.Go(func() { e.chooser.run(ctx) })
	wg.Go(func() { e.planUnderlay(ctx) })
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := e.follow(ctx, func() { wait = 100 * time.Millisecond })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.setReady(err)
		e.log.Warn("reading intent failed; reading it again", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// follow loads all intent and takes changes until the watch breaks.
func (e *Engine) follow(ctx context.Context, good func()) error {
	objects, rev, err := e.config.Source.Snapshot(ctx)
	var broken *store.BrokenError
	if err != nil && !errors.As(err, &broken) {
		return fmt.Errorf("read intent: %w", err)
	}
	e.load(ctx, objects, broken, rev)
	good()
	e.log.Info("intent is loaded", "objects", len(objects), "rev", rev)
	for batch, err := range e.config.Source.Watch(ctx, rev+1) {
		if errors.Is(err, store.ErrCompacted) {
			return fmt.Errorf("watch intent: fell behind: %w", err)
		}
		if err != nil {
			return fmt.Errorf("watch intent: %w", err)
		}
		e.take(ctx, batch)
	}
	return errors.New("watch intent: ended")
}

// load takes a whole snapshot: what it lacks is gone, and what is broken in it
// stays as it was.
func (e *Engine) load(ctx context.Context, objects []intent.Object, broken *store.BrokenError, rev int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	keep := make(map[intent.Ref]bool, len(objects))
	e.setBroken(broken, keep)
	for _, o := range objects {
		keep[o.Ref()] = true
		if e.objects[o.Ref()] != o.Meta().Revision {
			e.put(o)
		}
	}
	for r := range e.objects {
		if !keep[r] {
			e.delete(r)
		}
	}
	if !e.loaded {
		release := time.AfterFunc(holdTime, e.release)
		context.AfterFunc(ctx, func() { release.Stop() })
	}
	e.rev, e.loaded = rev, true
	e.colours.loaded()
	e.settle(ctx)
	e.setReady(nil)
	e.underlay.at(rev)
	e.underlay.again()
}

// release lets ports that could be in several places be used in one.
func (e *Engine) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.model.Hold(false)
	for _, s := range e.sessions {
		s.notify() // what is kept for ports that were held back can be judged now
	}
	e.wakeTouched()
	e.broadcast()
}

// take takes a batch of changes.
func (e *Engine) take(ctx context.Context, batch []store.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range batch {
		e.underlay.at(ev.Revision)
		switch {
		case ev.Broken != nil:
			e.breaks(ev.Broken)
		case ev.Mended != "":
			e.mends(ev.Mended)
		case ev.Object != nil:
			e.mendsObject(ev.Ref)
			e.put(ev.Object)
		default:
			e.mendsObject(ev.Ref)
			e.delete(ev.Ref)
		}
		e.rev = max(e.rev, ev.Revision)
	}
	e.settle(ctx)
}

func (e *Engine) put(o intent.Object) {
	e.nodesChanged = e.nodesChanged || o.Ref().Kind == intent.KindNode
	e.noteInterconnect(o.Ref())
	e.objects[o.Ref()] = o.Meta().Revision
	if p, ok := o.(*intent.Port); ok {
		e.regroup(e.model.Port(p.Ref()), p)
	}
	e.wiring.put(o.Ref(), o)
	e.routing.put(o.Ref(), o)
	e.steerer.put(o.Ref(), o)
	e.colours.put(o.Ref(), o)
	e.underlay.put(o.Ref(), o)
	e.model.Put(o)
}

// noteInterconnect has the interconnects looked at when an object changed.
func (e *Engine) noteInterconnect(r intent.Ref) {
	if e.crossings != nil {
		e.crossings.note(r.Kind)
	}
}

func (e *Engine) delete(r intent.Ref) {
	e.nodesChanged = e.nodesChanged || r.Kind == intent.KindNode
	e.noteInterconnect(r)
	delete(e.objects, r)
	if r.Kind == intent.KindPort {
		e.regroup(e.model.Port(r), nil)
	}
	e.wiring.put(r, nil)
	e.routing.put(r, nil)
	e.steerer.put(r, nil)
	e.colours.put(r, nil)
	e.underlay.put(r, nil)
	e.loads.put(r, nil)
	if r.Kind == intent.KindNode {
		e.alarms.end(r.Name, AlarmSilent, agentObject)
		e.alarms.end(r.Name, AlarmIdentity, agentObject)
		e.alarms.end(r.Name, AlarmUnderlay, "the underlay")
	}
	e.model.Delete(r)
}

// settle starts and ends sessions as the nodes ask for and wakes those that
// the last changes concern. The caller holds the lock.
func (e *Engine) settle(ctx context.Context) {
	e.colours.settle()
	if e.nodesChanged && e.colours.ready() {
		e.settleSessions(ctx)
		e.nodesChanged = false
		if e.bgp != nil {
			e.bgp.peers = true
			e.bgp.notify()
		}
	}
	e.wakeTouched()
	e.broadcast()
}

// wakeTouched wakes the sessions that the last changes of the model concern.
// The caller holds the lock.
func (e *Engine) wakeTouched() {
	e.wakeKeepers()
	nodes, vnis := e.model.Touched()
	for _, n := range nodes {
		if s := e.sessions[n]; s != nil {
			e.wakes.add(s)
		}
	}
	for _, v := range vnis {
		for n := range e.model.Carriers(v) {
			if s := e.sessions[n]; s != nil {
				e.wakes.add(s)
			}
		}
		if e.bgp != nil && overlay.IsVNI(v) {
			e.bgp.touched[v] = struct{}{}
		}
		e.trims[v] = struct{}{}
	}
	if e.bgp != nil && (len(vnis) > 0 || e.bgp.holding.Load()) {
		e.bgp.notify()
	}
	if e.crossings != nil {
		e.crossings.touch(vnis)
	}
	e.takeAlarms()
	e.takeMoved()
}

// wakeKeepers wakes the sessions that kept something for edges that had not
// reported, and can judge it now. The caller holds the lock.
func (e *Engine) wakeKeepers() {
	away, all := e.model.Away(), e.model.AllReported() && e.model.FabricsReported()
	if away == e.away && all == e.allReported {
		return
	}
	for _, s := range e.sessions {
		if all != e.allReported || s.awaits.Load() {
			s.notify()
		}
	}
	e.away, e.allReported = away, all
}

// trimEvery is how often deletions that all have read are forgotten.
const trimEvery = 500 * time.Millisecond

// trimAll forgets deletions in the segments that have some, until ctx ends.
func (e *Engine) trimAll(ctx context.Context) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.mu.Lock()
		for v := range e.trims {
			if e.trim(v) {
				delete(e.trims, v)
			}
		}
		e.mu.Unlock()
	}
}

// trim lets the model forget the deletions that every session has passed. It
// reports whether nothing is left to forget. A pass costs as much as the segment
// has rows, so it waits for a share of them to be deletions. The caller holds the
// lock.
func (e *Engine) trim(v intent.VNI) bool {
	seg := e.model.Segment(v)
	if seg == nil || seg.Len() > 0 && seg.Tombstones() == 0 {
		return true
	}
	if seg.Len() > 0 && seg.Tombstones() < seg.Len()/8 {
		return false
	}
	read, readers := seg.Rev(), 0
	for _, s := range e.readers.of(v) {
		if at, ok := s.reading(v); ok {
			read = min(read, at)
			readers++
		}
	}
	if e.bgp != nil && !e.bgp.idle && (seg.Len() > 0 || e.bgp.cursors[v] < seg.Rev()) {
		read = min(read, e.bgp.cursors[v])
		readers++
	}
	if e.crossings != nil {
		at, n := e.crossings.reading(v, seg)
		read, readers = min(read, at), readers+n
	}
	e.model.Trim(v, read, readers)
	if e.crossings != nil && e.model.Segment(v) == nil {
		e.crossings.forget(v)
	}
	if e.bgp != nil && e.model.Segment(v) == nil {
		delete(e.bgp.cursors, v)
		delete(e.bgp.targets, v)
	}
	return e.model.Segment(v) == nil || seg.Tombstones() == 0 && seg.Len() > 0
}

// Ready reports why intent is not loaded, or nil when it is. It never waits for
// work of the engine.
func (e *Engine) Ready() error {
	e.readyMu.Lock()
	defer e.readyMu.Unlock()
	return e.ready
}

func (e *Engine) setReady(err error) {
	e.readyMu.Lock()
	defer e.readyMu.Unlock()
	e.ready = err
}

// Changed returns a channel that is closed at the next change of any status.
func (e *Engine) Changed() <-chan struct{} {
	e.changedMu.Lock()
	defer e.changedMu.Unlock()
	return e.changed
}

func (e *Engine) broadcast() {
	e.changedMu.Lock()
	defer e.changedMu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}

// Events lists what happened, oldest first; only the newest are kept.
func (e *Engine) Events() []southbound.Event { return e.events.list() }
