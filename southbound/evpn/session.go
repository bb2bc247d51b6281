package evpn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
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

// session is the BGP session with one leaf.
type session struct {
	s       *Speaker
	peer    Peer
	source  *source // of what it announces
	leaving chan struct{}
	done    chan struct{}

	incoming chan *net.TCPConn // connections of a peer that dials

	in, out, malformed atomic.Uint64

	ribMu   sync.Mutex  // held for each change of the source; guards these
	expiry  *time.Timer // of stale routes; nil when there are none
	bad     bad
	said    []said   // of one UPDATE, used again and again
	changes []Change // that are not told yet

	mu       sync.Mutex
	state    intent.BGPSession
	alarms   map[string]string // by reason
	failures int               // attempts in a row that did not establish it
	failing  time.Time         // since when
	wasUp    bool              // since the controller started
	synced   bool              // it has announced all: End-of-RIB came, or it is quiet
	quiet    *time.Timer       // until that; nil when End-of-RIB is to come
	caps     capabilities      // of the session
	leaf     *net.TCPConn      // once connected
	writing  sync.Mutex        // of leaf
}

func newSession(s *Speaker, p Peer) *session {
	return &session{s: s, peer: p, source: s.rib.sourceAt(p.VTEP), leaving: make(chan struct{}), done: make(chan struct{}), alarms: map[string]string{},
		state: intent.BGPSession{State: stateIdle}, incoming: make(chan *net.TCPConn)}
}

// run keeps the session up until ctx ends or the peer leaves.
func (p *session) run(ctx context.Context) {
	defer close(p.done)
	if l := p.s.cfg.Listener; l != nil && p.peer.Passive {
		if err := l.expect(p); err != nil {
			p.alarm(southbound.AlarmSession, err.Error())
		}
		defer l.forget(p)
	}
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
		var wait time.Duration
		if !p.left() {
			wait = p.ended(ctx, p.attempt(ctx))
		}
		select {
		case <-ctx.Done():
			return
		case <-p.leaving:
			p.forget()
			return
		case <-time.After(wait):
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
	p.mu.Lock()
	leaf := p.leaf
	p.mu.Unlock()
	if leaf != nil {
		p.bye(leaf, bgp.BGP_ERROR_CEASE, bgp.BGP_ERROR_SUB_PEER_DECONFIGURED, false)
	}
	<-p.done
	p.s.rib.leave(p.source)
}

// bye sends a NOTIFICATION, after what is being sent if the leaf takes that
// soon, and closes the connection. With drain, which only who reads may ask for,
// the leaf's end comes first: to close with octets unread would reset the
// connection, and the leaf might never read why.
func (p *session) bye(leaf *net.TCPConn, code, sub byte, drain bool) {
	late := time.AfterFunc(retryTime, func() { leaf.Close() }) // which frees p.writing, too
	p.writing.Lock()
	_ = leaf.SetWriteDeadline(time.Now().Add(retryTime))
	_, err := leaf.Write(notificationOf(code, sub))
	p.writing.Unlock()
	if err == nil && drain && leaf.CloseWrite() == nil {
		_ = leaf.SetReadDeadline(time.Now().Add(retryTime))
		_, _ = io.Copy(io.Discard, leaf)
	}
	late.Stop()
	leaf.Close()
}

// connect dials the peer, or waits for it to dial.
func (p *session) connect(ctx context.Context) (*net.TCPConn, error) {
	if !p.peer.Passive {
		return dial(ctx, p.peer.LocalAddress, p.peer.Address, p.peer.Password)
	}
	if p.s.cfg.Listener == nil {
		return nil, errors.New("the peer is to dial, and this controller does not listen for BGP: start it with --bgp-listen")
	}
	late := time.NewTimer(dialTimeout)
	defer late.Stop()
	select {
	case c := <-p.incoming:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		why := "it does not dial, or it is not reachable"
		if p.peer.Password != "" {
			why += ", or the TCP-MD5 passwords differ"
		}
		return nil, fmt.Errorf("no connection from %s: %s", p.peer.Address.Addr(), why)
	}
}

// superseded is called with a connection of a peer whose session is up: the peer
// has lost it without our knowing (RFC 4724 section 4.2). It dials again once we
// know, too.
func (p *session) superseded(c *net.TCPConn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.State == stateEstablished && p.leaf != nil {
		p.leaf.Close()
	}
}

// attempt dials the leaf and speaks with it until the session ends.
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
	leaf, err := p.connect(ctx)
	close(dialing)
	if err != nil {
		return p.unreachable(err)
	}
	defer leaf.Close()
	p.mu.Lock()
	p.leaf = leaf
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.leaf = nil
		p.mu.Unlock()
	}()
	if p.left() { // leave may have missed the connection
		return errLeft
	}
	p.set(stateOpenSent)
	t := &talk{p: p, conn: leaf, in: bufio.NewReaderSize(leaf, 1<<16)}
	if err = t.run(ctx); p.left() {
		return errLeft
	}
	return err
}

var errLeft = errors.New("it is no peer any longer")

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
		p.lost(caps, byNotification && !(p.s.cfg.Fabric && caps.lasts && n.code == bgp.BGP_ERROR_HOLD_TIMER_EXPIRED))
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
	case bad && caps.asn != 0 && caps.asn != p.peer.ASN && p.s.cfg.Fabric:
		return fmt.Sprintf("%v: the peer is in AS %d, spec.asn of the interconnect says %d", err, caps.asn, p.peer.ASN)
	case bad && n.subcode == bgp.BGP_ERROR_SUB_BAD_PEER_AS && p.s.cfg.Fabric:
		return fmt.Sprintf("%v: the peer does not expect AS %d: its interconnect must name the AS of this controller", err, p.peer.localASN())
	case bad && caps.asn != 0 && caps.asn != p.peer.ASN:
		return fmt.Sprintf("%v: the peer is in AS %d, the intent says %d", err, caps.asn, p.peer.ASN)
	case bad && n.subcode == bgp.BGP_ERROR_SUB_BAD_PEER_AS:
		return fmt.Sprintf("%v: the peer does not expect AS %d; it must name the controller with its own AS", err, p.peer.ASN)
	case ok && n.tooMany():
		return fmt.Sprintf("%v: the peer announces more than the %d routes that it may; next attempt in %s", err, p.peer.MaxRoutes, p.s.cfg.Pause)
	}
	return err.Error()
}

// set changes the state on the way up.
func (p *session) set(state string) {
	p.mu.Lock()
	p.state.State = state
	p.mu.Unlock()
	p.s.tell(event{peer: p.peer.Name})
}

// established is called when the leaf confirmed the session.
func (p *session) established(caps capabilities) {
	p.mu.Lock()
	p.state.State, p.state.Since, p.state.LastError = stateEstablished, time.Now(), ""
	p.failures = 0
	p.wasUp = true
	p.synced = false
	if !caps.restart {
		p.quiet = time.AfterFunc(quietTime, p.isQuiet)
	}
	p.mu.Unlock()
	p.ribMu.Lock()
	if p.s.rib.stale(p.source) {
		p.expire(staleLimit, p.sweep)
	}
	p.bad = bad{}
	p.ribMu.Unlock()
	p.s.cfg.Logger.Info("BGP session established", "device", p.peer.Name)
	if !caps.restart { // else at End-of-RIB
		p.calm()
	}
	switch {
	case !caps.family:
		p.alarm(southbound.AlarmSession, "the peer does not offer the address family l2vpn evpn to the controller: activate it for this neighbor")
	case p.peer.MaxRoutes == 0 || !caps.restart: // else at End-of-RIB, when they were not too many again
		p.alarm(southbound.AlarmSession, "")
	}
	p.s.tell(event{peer: p.peer.Name})
	p.s.recheck()
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
	p.s.rib.mu.Lock()
	st.Received, st.Restarting = uint64(len(p.source.entries)), p.source.stale > 0
	p.s.rib.mu.Unlock()
	st.Updates = intent.Traffic{In: p.in.Load(), Out: p.out.Load()}
	st.Malformed = p.malformed.Load()
	st.Synced = p.synced && st.State == stateEstablished
	return st
}

// waitsToo reports whether the peer has just started and sends nothing before it
// has heard from us (RFC 4724 section 4.1): one of two must begin.
func (p *session) waitsToo() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.s.cfg.Fabric && p.state.State == stateEstablished && p.caps.restarting
}

// heard reports whether the leaf need not be waited for any longer.
func (p *session) heard() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.synced
}
