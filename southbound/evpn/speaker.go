package evpn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
	"golang.org/x/sync/errgroup"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// Config of a Speaker. The callbacks come from one goroutine, in order; they
// may call the Speaker's methods but SetPeers, and should not block for long,
// since the leaves wait then.
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

// Peer is an EVPN leaf.
type Peer struct {
	Name         string
	Address      netip.AddrPort
	ASN          uint32     // the leaf's; the session claims the same
	Password     string     // for TCP-MD5 (RFC 2385), may be empty
	MaxRoutes    uint32     // that it may announce; 0 for no limit
	LocalAddress netip.Addr // to dial from; may be invalid
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
	key    string // of the sessions on the loopback
	ready  chan struct{}
	ended  chan struct{}
	opened chan struct{}
	open   func()
	events chan event
	check  chan struct{} // a session may have become the last that was waited for

	gobgp  *server.BgpServer // these three are set before ready is closed
	listen netip.AddrPort
	origin *origin
	ctx    context.Context // of the sessions

	setting sync.Mutex // one SetPeers at a time; guards these
	wanted  map[string]Peer
	last    uint32 // loopback address handed out last

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
	s := &Speaker{cfg: cfg, gr: restart{cfg.RestartTime, cfg.StaleTime}, key: rand.Text(), last: loopbackFirst,
		ready: make(chan struct{}), ended: make(chan struct{}), opened: make(chan struct{}), events: make(chan event, 256), check: make(chan struct{}, 1),
		wanted: map[string]Peer{}, sessions: map[string]*session{}}
	s.open = sync.OnceFunc(func() { close(s.opened) })
	return s
}

// Run works until ctx ends, or until GoBGP fails. It is called once.
func (s *Speaker) Run(ctx context.Context) error {
	defer close(s.ended)
	var err error
	s.gobgp, s.listen, err = startGoBGP(ctx, s.cfg.ASN, s.cfg.RouterID, netip.MustParseAddrPort("127.0.0.1:0"), s.cfg.Logger)
	if err != nil {
		return err
	}
	defer stopGoBGP(s.gobgp)
	if err := mute(ctx, s.gobgp, netip.MustParseAddr(originRouter)); err != nil {
		return fmt.Errorf("configure GoBGP: %w", err)
	}
	if err := s.addNeighbor(ctx, neighbor{addr: netip.MustParseAddr(originRouter), asn: s.cfg.ASN, hold: originHold}, true); err != nil {
		return err
	}
	if s.origin, err = openOrigin(ctx, s.listen, s.key, s.cfg.ASN); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	s.ctx = ctx
	g.Go(func() error { return s.origin.run(ctx) })
	g.Go(func() error { return s.dispatch(ctx) })
	s.setting.Lock()
	close(s.ready)
	applied := s.apply()
	s.setting.Unlock()
	g.Go(func() error { return applied })
	g.Go(func() error { return s.deferral(ctx) }) // only now: it must see the sessions
	err = g.Wait()
	for _, p := range s.all() {
		<-p.done
	}
	return err
}

// addNeighbor tells GoBGP of a client.
func (s *Speaker) addNeighbor(ctx context.Context, n neighbor, restarting bool) error {
	n.password, n.restarting, n.gr = s.key, restarting, s.gr
	n.deferral = uint32(s.cfg.DeferralTime/time.Second) + 60 // ours comes first
	if err := s.gobgp.AddPeer(ctx, &api.AddPeerRequest{Peer: n.peer(s.cfg.RouterID)}); err != nil {
		return fmt.Errorf("configure GoBGP: %w", err)
	}
	return nil
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
		return s.apply()
	default:
		return nil
	}
}

// apply makes the sessions those that are wanted. s.setting is held.
func (s *Speaker) apply() error {
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
	var errs []error
	here := s.all()
	for name, p := range s.wanted {
		if here[name] != nil || s.ctx.Err() != nil {
			continue
		}
		s.last++
		n := newSession(s, p, netip.AddrFrom4([4]byte{127, byte(s.last >> 16), byte(s.last >> 8), byte(s.last)}))
		if err := s.addNeighbor(s.ctx, neighbor{addr: n.addr, asn: p.ASN, maxRoutes: p.MaxRoutes}, !s.origin.finished()); err != nil {
			errs = append(errs, fmt.Errorf("peer %q: %w", name, err))
			continue
		}
		s.mu.Lock()
		s.sessions[name] = n
		s.mu.Unlock()
		go n.run(s.ctx)
	}
	s.recheck()
	return errors.Join(errs...)
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

// loopbackFirst is origin's address; those after it are the sessions'.
const loopbackFirst = 64<<16 | 1

// Open says that all routes that were known are announced: sessions may start.
func (s *Speaker) Open() { s.open() }

// Announce originates routes, each in place of one with the same ID, and
// withdraws others. It waits until the speaker runs.
func (s *Speaker) Announce(add []table.Route, withdraw []table.RouteID) error {
	var errs []error
	good := add
	for i := range add {
		if err := check(&add[i]); err != nil {
			if errs == nil {
				good = append([]table.Route(nil), add[:i]...)
			}
			errs = append(errs, err)
		} else if errs != nil {
			good = append(good, add[i])
		}
	}
	select {
	case <-s.ready:
	case <-s.ended:
		return errors.New("the BGP speaker has ended")
	}
	if err := s.origin.announce(good, withdraw); err != nil {
		errs = append(errs, fmt.Errorf("announce routes to GoBGP: %w", err))
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
	if st.State == stateEstablished && s.origin.finished() {
		st.Advertised = uint64(s.origin.count())
		for other, o := range s.all() {
			if other != name {
				st.Advertised += o.status().Received
			}
		}
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

// Refresh asks a peer to announce all its routes again (RFC 2918).
func (s *Speaker) Refresh(name string) error {
	if p := s.session(name); p != nil {
		return p.refresh()
	}
	return fmt.Errorf("no BGP peer %q", name)
}

// recheck is called when a session may have become the last that was waited
// for.
func (s *Speaker) recheck() {
	select {
	case s.check <- struct{}{}:
	default:
	}
}

// deferral ends GoBGP's restart once every leaf was heard, or after
// DeferralTime.
func (s *Speaker) deferral(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.opened:
	}
	late := time.NewTimer(s.cfg.DeferralTime)
	defer late.Stop()
	for expired := false; ; {
		if done, err := s.finish(expired); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.check:
		case <-late.C:
			expired = true
		}
	}
}

// finish ends GoBGP's restart if no leaf is waited for. No peer is added
// meanwhile, since GoBGP must know whether it restarts for that peer.
func (s *Speaker) finish(anyway bool) (done bool, err error) {
	s.setting.Lock()
	defer s.setting.Unlock()
	for _, p := range s.all() {
		if !anyway && !p.heard() {
			return false, nil
		}
	}
	return true, s.origin.finish()
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
