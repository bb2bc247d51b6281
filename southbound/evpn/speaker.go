package evpn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// Config of a Speaker. The callbacks come from one goroutine, in order; they
// may call the Speaker's methods but SetPeers and Refresh, and should not block
// for long, since the leaves wait then.
type Config struct {
	ASN      uint32
	RouterID netip.Addr // BGP identifier and cluster ID: an IPv4 address that is the controller's alone
	// RestartTime is how long leaves keep our routes while the controller is
	// away (RFC 4724), 4095 s at most; 120 s when zero.
	RestartTime time.Duration
	// StaleTime is how long they keep them beyond that, as the last resort,
	// and we theirs (RFC 9494); nothing when zero.
	StaleTime time.Duration
	// DeferralTime is how long after Open a leaf that is up may take to
	// announce its routes before the others get theirs without them (RFC 4724
	// section 4.1); 30 s when zero.
	DeferralTime time.Duration
	// Pause is how long a session rests that had more than MaxRoutes; a minute
	// when zero.
	Pause  time.Duration
	Logger *slog.Logger
	// Fabric says that the peers are speakers of another fabric, and no leaves:
	// none of their routes is handed on, and those that are announced carry
	// Prepend in AS_PATH. An expired hold timer ends no route (RFC 8538).
	Fabric  bool
	Prepend uint32 // the controller's AS towards external peers; 0 towards internal ones
	// Hold has peers be sent nothing until Release, or for DeferralTime.
	Hold bool
	// Listener has the connections of peers that dial; may be nil.
	Listener *Listener

	// Admit says whether a route that a peer announces may be handed on to the
	// others; all are when it is nil. It is called before OnRoutes tells of the
	// route, from any goroutine.
	Admit func(peer string, r *table.Route) bool
	// OnRoutes tells what a peer announces and withdraws. What a removed peer
	// had announced is withdrawn.
	OnRoutes func(peer string, changes []Change)
	// OnPeer tells that a peer's state changed; its counters change silently.
	OnPeer func(peer string)
	// OnAlarm raises an alarm about a peer, or with an empty message ends it;
	// the speaker does not log it.
	OnAlarm func(peer string, key southbound.AlarmKey, message string)
}

// restart is what graceful restart is negotiated with.
type restart struct{ RestartTime, StaleTime time.Duration }

func (r restart) restartSeconds() uint32 {
	return uint32(min(max(r.RestartTime/time.Second, 1), 4095))
}
func (r restart) staleSeconds() uint32 { return uint32(min(r.StaleTime/time.Second, 1<<24-1)) }

// Speaker is a route reflector that originates routes of its own.
type Speaker struct {
	cfg    Config
	gr     restart
	rib    *rib
	ready  chan struct{}
	opened chan struct{}
	open   func()
	free   chan struct{} // peers may be sent routes
	freed  func()
	events chan event
	check  chan struct{} // a session may have become the last that was waited for

	ctx       context.Context // of the sessions; set before ready is closed
	announced sync.Mutex      // one Announce at a time
	finished  atomic.Bool     // the restart is over: leaves are sent routes
	sendHold  time.Duration

	setting sync.Mutex // one SetPeers at a time; guards these
	wanted  map[string]Peer

	mu       sync.Mutex
	sessions map[string]*session
}

// event is one thing for a callback.
type event struct {
	peer    string
	changes []Change
	alarm   southbound.AlarmKey
	message string
}

// New returns a speaker without peers.
func New(cfg Config) *Speaker {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&cfg.RestartTime, 120 * time.Second}, {&cfg.DeferralTime, 30 * time.Second}, {&cfg.Pause, time.Minute}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Speaker{cfg: cfg, gr: restart{cfg.RestartTime, cfg.StaleTime}, rib: newRIB(), sendHold: sendHoldTime,
		ready: make(chan struct{}), opened: make(chan struct{}), free: make(chan struct{}), events: make(chan event, 256), check: make(chan struct{}, 1),
		wanted: map[string]Peer{}, sessions: map[string]*session{}}
	s.open = sync.OnceFunc(func() { close(s.opened) })
	s.freed = sync.OnceFunc(func() { close(s.free) })
	if !cfg.Hold {
		s.freed()
	}
	return s
}

// Run works until ctx ends. It is called once.
func (s *Speaker) Run(ctx context.Context) error {
	if !s.cfg.RouterID.Is4() {
		return fmt.Errorf("BGP identifier %s: it must be an IPv4 address", s.cfg.RouterID)
	}
	g, ctx := errgroup.WithContext(ctx)
	s.ctx = ctx
	g.Go(func() error { return s.dispatch(ctx) })
	s.setting.Lock()
	close(s.ready)
	s.apply()
	s.setting.Unlock()
	g.Go(func() error { return s.deferral(ctx) }) // only now: it must see the sessions
	err := g.Wait()
	for _, p := range s.all() {
		<-p.done
	}
	return err
}

// SetPeers says which leaves there are. A peer that is as it was is not
// touched, a changed one is made anew. Peers that are known when Open is called
// are waited for after a restart.
func (s *Speaker) SetPeers(peers []Peer) error {
	wanted := make(map[string]Peer, len(peers))
	at := make(map[netip.AddrPort]string, len(peers))
	var errs []error
	for _, p := range peers {
		if _, twice := wanted[p.Name]; twice || p.Name == "" || !p.Address.IsValid() || p.Address.Port() == 0 || p.ASN == 0 {
			errs = append(errs, fmt.Errorf("peer %q: it needs a name of its own, an address with a port, and an AS number", p.Name))
		}
		if other, twice := at[p.Address]; twice {
			errs = append(errs, fmt.Errorf("peers %q and %q are both at %s", other, p.Name, p.Address))
		}
		wanted[p.Name], at[p.Address] = p, p.Name
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	s.setting.Lock()
	defer s.setting.Unlock()
	s.wanted = wanted
	select {
	case <-s.ready:
		s.apply()
	default:
	}
	return nil
}

// apply makes the sessions those that are wanted. s.setting is held.
func (s *Speaker) apply() {
	var leaving sync.WaitGroup
	for name, p := range s.all() {
		if s.wanted[name] != p.peer {
			s.mu.Lock()
			delete(s.sessions, name)
			s.mu.Unlock()
			leaving.Go(p.leave)
		}
	}
	leaving.Wait()
	here := s.all()
	for name, p := range s.wanted {
		if here[name] != nil || s.ctx.Err() != nil {
			continue
		}
		n := newSession(s, p)
		s.mu.Lock()
		s.sessions[name] = n
		s.mu.Unlock()
		go n.run(s.ctx)
	}
	s.recheck()
}

// all copies the sessions.
func (s *Speaker) all() map[string]*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.sessions)
}

// session returns a peer's session, nil when there is none.
func (s *Speaker) session(name string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[name]
}

// Open says that all routes that were known are announced: sessions may start.
func (s *Speaker) Open() { s.open() }

// Release says that all routes are announced that were held back by Hold.
func (s *Speaker) Release() {
	s.freed()
	s.recheck()
}

// Heard reports whether no peer is waited for any longer: each has announced all
// that it has, or can't be reached.
func (s *Speaker) Heard() bool {
	for _, p := range s.all() {
		if !p.heard() {
			return false
		}
	}
	return true
}

// batch is how many routes go into the table, or to OnRoutes, at a time.
const batch = 4096

// Announce originates routes, each in place of one with the same ID, and
// withdraws others: the routes first, so that what moves under another
// distinguisher is never gone. Routes that can't be announced are left out, and
// the error tells which.
func (s *Speaker) Announce(add []table.Route, withdraw []table.RouteID) error {
	s.announced.Lock()
	defer s.announced.Unlock()
	var errs []error
	var wire, one []byte
	var last *attributes // of the route before
	var before *table.Route
	for part := range slices.Chunk(add, batch) {
		s.rib.mu.Lock()
		for i := range part {
			r := &part[i]
			if err := check(r); err != nil {
				errs = append(errs, err)
				continue
			}
			if before == nil || !alike(before, r) {
				wire = own(wire[:0], r, s.cfg.Prepend)
				if last = s.rib.set(wire); last == nil {
					last, _ = understand(wire) // a route that was checked fits
				}
			}
			before = r
			id := r.ID()
			one = appendLabel2(appendNLRI(one[:0], &id, r.VNI, r.Gateway), 0, r.L3VNI)
			s.rib.announce(s.rib.sources[ownSource], one, last, false)
		}
		s.rib.publish()
		s.rib.mu.Unlock()
	}
	for part := range slices.Chunk(withdraw, batch) {
		s.rib.mu.Lock()
		for i := range part {
			one = appendNLRI(one[:0], &part[i], 0, netip.Addr{})
			s.rib.withdraw(s.rib.sources[ownSource], one)
		}
		s.rib.publish()
		s.rib.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Peer tells how the session with a peer is. Its Advertised counts what the
// peer was sent and not withdrawn: our own routes and those of the other peers.
func (s *Speaker) Peer(name string) (intent.BGPSession, bool) {
	p := s.session(name)
	if p == nil {
		return intent.BGPSession{}, false
	}
	st := p.status()
	if st.State == stateEstablished && s.finished.Load() {
		s.rib.mu.Lock()
		st.Advertised = uint64(s.rib.live - p.source.best)
		s.rib.mu.Unlock()
	}
	return st, true
}

// Routes returns what a peer announces now, in no order.
func (s *Speaker) Routes(name string) []table.Route {
	if p := s.session(name); p != nil {
		return p.list()
	}
	return nil
}

// Refresh asks Admit again about all routes of a peer. They are in the table,
// so that the peer need not announce them again (RFC 2918).
func (s *Speaker) Refresh(name string) error {
	p := s.session(name)
	if p == nil {
		return fmt.Errorf("no BGP peer %q", name)
	}
	p.judge()
	return nil
}

// recheck is called when a session may have become the last that was waited
// for.
func (s *Speaker) recheck() {
	select {
	case s.check <- struct{}{}:
	default:
	}
}

// deferral ends our restart once every leaf was heard, or after DeferralTime.
func (s *Speaker) deferral(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.opened:
	}
	late := time.NewTimer(s.cfg.DeferralTime)
	defer late.Stop()
	for expired := false; !s.finish(expired); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.check:
		case <-late.C:
			expired = true
		}
	}
	return nil
}

// finish ends the restart if no leaf is waited for. No peer is added meanwhile.
func (s *Speaker) finish(anyway bool) (done bool) {
	s.setting.Lock()
	defer s.setting.Unlock()
	if !anyway {
		select {
		case <-s.free:
		default:
			return false
		}
		for _, p := range s.all() {
			if !p.heard() && !p.waitsToo() {
				return false
			}
		}
	}
	s.finished.Store(true)
	s.rib.start()
	return true
}

// tell queues something for the callbacks.
func (s *Speaker) tell(e event) {
	select {
	case s.events <- e:
	case <-s.ctx.Done():
	}
}

// dispatch calls the callbacks. What a peer announced in several UPDATEs goes
// into one call if it is there already.
func (s *Speaker) dispatch(ctx context.Context) error {
	var next *event
	for {
		var e event
		if next != nil {
			e, next = *next, nil
		} else {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case e = <-s.events:
			}
		}
		switch {
		case e.alarm != southbound.AlarmKey{}:
			if s.cfg.OnAlarm != nil {
				s.cfg.OnAlarm(e.peer, e.alarm, e.message)
			}
		case e.changes != nil:
			next = s.gather(&e)
			if s.cfg.OnRoutes != nil {
				s.cfg.OnRoutes(e.peer, e.changes)
			}
		default:
			if s.cfg.OnPeer != nil {
				s.cfg.OnPeer(e.peer)
			}
		}
	}
}

// gather adds to e what is queued after it of the same kind, and returns the
// first event that is not.
func (s *Speaker) gather(e *event) *event {
	for len(e.changes) < batch {
		select {
		case n := <-s.events:
			if n.changes == nil || n.peer != e.peer {
				return &n
			}
			e.changes = append(e.changes, n.changes...)
		default:
			return nil
		}
	}
	return nil
}
