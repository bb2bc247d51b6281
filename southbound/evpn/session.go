package evpn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// States of a session (RFC 4271 section 8.2.2).
const (
	stateIdle        = "Idle"
	stateConnect     = "Connect"
	stateOpenSent    = "OpenSent"
	stateOpenConfirm = "OpenConfirm"
	stateEstablished = "Established"
)

const (
	retryTime = time.Second
	// absence is for how long attempts may fail, two at least, before the leaf
	// is no longer waited for and an alarm is raised. It is longer than a leaf
	// may refuse sessions after the last one ended (RFC 4271 section 8.1.1,
	// IdleHoldTime).
	absence = 8 * time.Second
	// staleLimit is how long stale routes outlive a session that is back but
	// sends no End-of-RIB.
	staleLimit = 6 * time.Minute
	// quietTime is how long a leaf without graceful restart, which sends no
	// End-of-RIB, must announce nothing to have announced all.
	quietTime = 2 * time.Second
)

// session is what stands between GoBGP and one leaf.
type session struct {
	s       *Speaker
	peer    Peer
	addr    netip.Addr // GoBGP knows the leaf by
	leaving chan struct{}
	done    chan struct{}

	in, out, malformed atomic.Uint64

	ribMu  sync.Mutex // guards these, and the order of what is told of routes
	rib    adjIn
	expiry *time.Timer // of stale routes; nil when there are none
	bad    bad

	mu       sync.Mutex
	state    intent.BGPSession
	alarms   map[string]string // by reason
	failures int               // attempts in a row that did not establish it
	failing  time.Time         // since when
	wasUp    bool              // since the controller started
	synced   bool              // it has announced all: End-of-RIB came, or it is quiet
	quiet    *time.Timer       // until that; nil when End-of-RIB is to come
	caps     capabilities      // of the session
	leaf     *net.TCPConn      // while established
	writing  sync.Mutex        // of leaf
}

func newSession(s *Speaker, p Peer, addr netip.Addr) *session {
	return &session{s: s, peer: p, addr: addr, leaving: make(chan struct{}), done: make(chan struct{}), alarms: map[string]string{},
		state: intent.BGPSession{State: stateIdle}}
}

// run keeps the session up until ctx ends or the peer leaves.
func (p *session) run(ctx context.Context) {
	defer close(p.done)
	defer func() {
		p.ribMu.Lock()
		p.stopExpiry()
		p.ribMu.Unlock()
	}()
	select {
	case <-p.s.opened:
	case <-p.leaving:
	case <-ctx.Done():
	}
	for ctx.Err() == nil {
		var err error
		var wait time.Duration
		if !p.left() {
			err = p.attempt(ctx)
			wait = p.ended(ctx, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.leaving:
			p.forget()
			return
		case <-time.After(wait):
		}
		if n, ok := notified(err); ok && n.tooMany() {
			_ = p.s.gobgp.EnablePeer(ctx, &api.EnablePeerRequest{Address: p.addr.String()})
		}
	}
}

// tooMany reports whether the session was ended for too many routes.
func (e errNotification) tooMany() bool {
	return !e.byLeaf && e.code == bgp.BGP_ERROR_CEASE && e.subcode == bgp.BGP_ERROR_SUB_MAXIMUM_NUMBER_OF_PREFIXES_REACHED
}

// leave ends the session for good and withdraws what the peer announced.
func (p *session) leave() {
	close(p.leaving)
	p.hangUp()
	<-p.done
	_ = p.s.gobgp.DeletePeer(context.Background(), &api.DeletePeerRequest{Address: p.addr.String()})
}

// hangUp tells the leaf that it is no peer any longer.
func (p *session) hangUp() {
	p.mu.Lock()
	leaf := p.leaf
	p.mu.Unlock()
	if leaf == nil {
		return
	}
	_ = leaf.SetWriteDeadline(time.Now().Add(retryTime)) // which frees p.writing, too
	p.writing.Lock()
	_, _ = leaf.Write(notificationOf(bgp.BGP_ERROR_CEASE, bgp.BGP_ERROR_SUB_PEER_DECONFIGURED))
	p.writing.Unlock()
	leaf.Close()
}

// forget withdraws all routes and ends all alarms.
func (p *session) forget() {
	p.ribMu.Lock()
	p.stopExpiry()
	p.rib.retain()
	p.tellRoutes(p.rib.sweep())
	p.ribMu.Unlock()
	for _, reason := range []string{southbound.AlarmSession, southbound.AlarmMalformed} {
		p.alarm(reason, "")
	}
}

// attempt dials the leaf, then GoBGP, and relays until the session ends.
func (p *session) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dialing := make(chan struct{})
	go func() { // a peer that leaves is not dialled to the end
		select {
		case <-p.leaving:
			cancel()
		case <-dialing:
		}
	}()
	p.set(stateConnect)
	leaf, err := dial(ctx, p.peer.LocalAddress, p.peer.Address, p.peer.Password)
	if err != nil {
		close(dialing)
		return p.unreachable(err)
	}
	defer leaf.Close()
	p.set(stateOpenSent)
	r, err := p.connect(ctx, leaf)
	close(dialing)
	if err != nil {
		return err
	}
	defer r.gobgp.Close()
	p.mu.Lock()
	p.leaf = leaf
	p.mu.Unlock()
	if p.left() {
		p.hangUp() // leave has missed the connection
	}
	defer func() {
		p.mu.Lock()
		p.leaf = nil
		p.mu.Unlock()
	}()
	if err = r.run(ctx); p.left() {
		err = errors.New("it is no peer any longer")
	}
	return err
}

// left reports whether the peer was removed.
func (p *session) left() bool {
	select {
	case <-p.leaving:
		return true
	default:
		return false
	}
}

// unreachable words why a leaf can't be dialled.
func (p *session) unreachable(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		why := "it is not reachable, or it wants a TCP-MD5 password"
		if p.peer.Password != "" {
			why = "it is not reachable, or the TCP-MD5 passwords differ"
		}
		return fmt.Errorf("no answer from %s: %s", p.peer.Address, why)
	}
	return err
}

// ended notes how an attempt ended and returns after what time the next may
// begin.
func (p *session) ended(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return 0 // the controller ends: leaves are told nothing and we forget nothing
	}
	n, byNotification := notified(err)
	p.mu.Lock()
	was := p.state.State == stateEstablished
	if p.quiet != nil {
		p.quiet.Stop()
		p.quiet = nil
	}
	if was {
		p.failures = 0
		p.state.Flaps++
	} else if p.failures++; p.failures == 1 {
		p.failing = time.Now()
	}
	absent := p.failures > 1 && time.Since(p.failing) >= absence
	p.synced = p.synced && !was || absent
	refused := absent || byNotification && n.code == bgp.BGP_ERROR_OPEN_MESSAGE_ERROR || byNotification && n.tooMany()
	caps := p.caps
	p.state.State, p.state.LastError = stateIdle, err.Error()
	if was {
		p.state.Since = time.Now()
	}
	p.mu.Unlock()

	if was {
		p.s.cfg.Logger.Info("BGP session lost", "device", p.peer.Name, "err", err)
		p.lost(caps, byNotification)
	}
	if refused {
		p.alarm(southbound.AlarmSession, p.advice(err, caps))
	}
	p.s.tell(event{peer: p.peer.Name})
	p.s.recheck()
	if n.tooMany() {
		return p.s.cfg.Pause
	}
	return retryTime
}

// advice words an alarm about a session that is not established.
func (p *session) advice(err error, caps capabilities) string {
	n, ok := notified(err)
	bad := ok && n.code == bgp.BGP_ERROR_OPEN_MESSAGE_ERROR
	switch {
	case bad && caps.asn != 0 && caps.asn != p.peer.ASN:
		return fmt.Sprintf("%v: the leaf is in AS %d, the intent says %d", err, caps.asn, p.peer.ASN)
	case bad && n.subcode == bgp.BGP_ERROR_SUB_BAD_PEER_AS:
		return fmt.Sprintf("%v: the leaf does not expect AS %d; it must name the controller with its own AS", err, p.peer.ASN)
	case ok && n.tooMany():
		return fmt.Sprintf("%v: the leaf announces more than the %d routes that it may; next attempt in %s", err, p.peer.MaxRoutes, p.s.cfg.Pause)
	}
	return err.Error()
}

// lost keeps or withdraws the routes of a session that ended.
func (p *session) lost(caps capabilities, byNotification bool) {
	p.ribMu.Lock()
	defer p.ribMu.Unlock()
	p.stopExpiry()
	p.rib.retain()
	if !caps.restart || byNotification {
		p.tellRoutes(p.rib.sweep())
		return
	}
	p.tellRoutes(nil)
	if p.rib.stale == 0 {
		return
	}
	stale := min(time.Duration(caps.staleTime)*time.Second, p.s.cfg.StaleTime)
	p.expire(time.Duration(caps.restartTime)*time.Second + stale)
}

// expire sweeps what is stale after a while. p.ribMu is held.
func (p *session) expire(after time.Duration) {
	p.stopExpiry()
	var t *time.Timer
	t = time.AfterFunc(after, func() {
		p.ribMu.Lock()
		defer p.ribMu.Unlock()
		if p.expiry == t {
			p.expiry = nil
			p.tellRoutes(p.rib.sweep())
			p.s.tell(event{peer: p.peer.Name})
		}
	})
	p.expiry = t
}

func (p *session) stopExpiry() {
	if p.expiry != nil {
		p.expiry.Stop()
		p.expiry = nil
	}
}

// tellRoutes queues changes. p.ribMu is held.
func (p *session) tellRoutes(changes []Change) {
	p.mu.Lock()
	p.state.Received = uint64(len(p.rib.routes))
	p.state.Restarting = p.rib.stale > 0
	p.mu.Unlock()
	if len(changes) > 0 {
		p.s.tell(event{peer: p.peer.Name, changes: changes})
	}
}

// set changes the state on the way up.
func (p *session) set(state string) {
	p.mu.Lock()
	p.state.State = state
	p.mu.Unlock()
	p.s.tell(event{peer: p.peer.Name})
}

// established is called when the leaf confirmed the session.
func (p *session) established() {
	p.mu.Lock()
	p.state.State, p.state.Since, p.state.LastError = stateEstablished, time.Now(), ""
	p.failures = 0
	p.wasUp = true
	caps := p.caps
	p.synced = false
	if !caps.restart {
		p.quiet = time.AfterFunc(quietTime, p.isQuiet)
	}
	p.mu.Unlock()
	p.ribMu.Lock()
	if p.rib.stale > 0 {
		p.expire(staleLimit)
	}
	p.bad = bad{}
	p.ribMu.Unlock()
	p.s.cfg.Logger.Info("BGP session established", "device", p.peer.Name)
	if !caps.restart { // else at End-of-RIB
		p.calm()
	}
	switch {
	case !caps.family:
		p.alarm(southbound.AlarmSession, "the leaf does not offer the address family l2vpn evpn to the controller: activate it for this neighbor")
	case p.peer.MaxRoutes == 0 || !caps.restart: // else at End-of-RIB, when they were not too many again
		p.alarm(southbound.AlarmSession, "")
	}
	p.s.tell(event{peer: p.peer.Name})
	p.s.recheck()
}

// isQuiet takes that a leaf that sends no End-of-RIB has announced all.
func (p *session) isQuiet() {
	p.mu.Lock()
	waits := p.quiet != nil && !p.synced
	p.mu.Unlock()
	if waits {
		p.endOfRIB()
	}
}

// endOfRIB is called when the leaf has announced all its routes.
func (p *session) endOfRIB() {
	p.ribMu.Lock()
	p.stopExpiry()
	p.tellRoutes(p.rib.sweep())
	p.ribMu.Unlock()
	p.mu.Lock()
	p.synced = true
	p.mu.Unlock()
	p.alarm(southbound.AlarmSession, "")
	p.ribMu.Lock()
	good := p.bad.none()
	p.ribMu.Unlock()
	if good {
		p.alarm(southbound.AlarmMalformed, "")
	}
	p.s.tell(event{peer: p.peer.Name})
	p.s.recheck()
}

// calm ends the alarm about a malformed UPDATE in an earlier session with a leaf
// that will not say when it has announced all, once this one has lasted.
func (p *session) calm() {
	since := p.status().Since
	time.AfterFunc(absence, func() {
		p.ribMu.Lock()
		good := p.bad.none()
		p.ribMu.Unlock()
		if st := p.status(); good && st.State == stateEstablished && st.Since.Equal(since) {
			p.alarm(southbound.AlarmMalformed, "")
		}
	})
}

// received takes in what an UPDATE says.
func (p *session) received(u update) {
	p.mu.Lock()
	if p.quiet != nil && !p.synced {
		p.quiet.Reset(quietTime)
	}
	p.mu.Unlock()
	p.ribMu.Lock()
	defer p.ribMu.Unlock()
	var said []Change
	if u.body != nil {
		said = changes(u.body)
	}
	lost, mended := p.bad.take(&u, said)
	if lost > 0 {
		p.malformed.Add(uint64(lost))
		p.alarm(southbound.AlarmMalformed, fmt.Sprintf("an UPDATE could not be read, its routes count as withdrawn (RFC 7606): %v", u.cause))
	} else if mended {
		p.alarm(southbound.AlarmMalformed, "")
	}
	if u.body != nil {
		p.tellRoutes(p.rib.apply(said))
	}
}

// alarm raises or ends an alarm, if that changes anything. Who is told logs it.
func (p *session) alarm(reason, message string) {
	p.mu.Lock()
	was := p.alarms[reason]
	p.alarms[reason] = message
	p.mu.Unlock()
	if was == message || was != "" && message != "" && reason == southbound.AlarmMalformed {
		return
	}
	p.s.tell(event{peer: p.peer.Name, alarm: southbound.AlarmKey{Reason: reason, Object: "BGP session with " + p.peer.Address.String()}, message: message})
}

// status is the session as others see it.
func (p *session) status() intent.BGPSession {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.state
	st.Updates = intent.Traffic{In: p.in.Load(), Out: p.out.Load()}
	st.Malformed = p.malformed.Load()
	st.Synced = p.synced && st.State == stateEstablished
	return st
}

// heard reports whether the leaf need not be waited for any longer.
func (p *session) heard() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.synced
}

// list copies the routes that the leaf announces.
func (p *session) list() []table.Route {
	p.ribMu.Lock()
	defer p.ribMu.Unlock()
	out := make([]table.Route, 0, len(p.rib.routes))
	for _, h := range p.rib.routes {
		out = append(out, h.Route)
	}
	return out
}

// refresh asks the leaf for its routes.
func (p *session) refresh() error {
	p.mu.Lock()
	leaf, up := p.leaf, p.state.State == stateEstablished
	p.mu.Unlock()
	if leaf == nil || !up {
		return fmt.Errorf("the session with %q is not established", p.peer.Name)
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	_, err := leaf.Write(refresh())
	return err
}
