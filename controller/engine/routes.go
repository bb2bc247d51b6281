package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// BGPPeer is an EVPN leaf, or a speaker of another fabric, as the speaker must know
// it.
type BGPPeer struct {
	Name      string
	Address   netip.AddrPort
	ASN       uint32
	Password  string
	MaxRoutes uint32
	Source    netip.Addr // to dial from; may be invalid
	VTEP      netip.Addr // of a leaf
	// Of a speaker of another fabric:
	LocalASN uint32
	HoldTime time.Duration
	Passive  bool // it dials
}

// Speaker speaks BGP EVPN with the leaves; package southbound/evpn has one.
type Speaker interface {
	// SetPeers states all peers; what did not change is not touched.
	SetPeers([]BGPPeer) error
	// Announce originates routes, and withdraws some.
	Announce(add []evpn.Route, withdraw []evpn.RouteID) error
	// Open lets sessions start: what was to be announced first is announced.
	Open()
	// Release lets peers be sent routes: all that were to be heard are announced.
	Release()
	// Refresh judges all routes of a leaf again by Admit.
	Refresh(name string) error
	// Peer tells the state of a session.
	Peer(name string) (intent.BGPSession, bool)
}

// LeafSpeaker is the Speaker with EVPN leaves.
type LeafSpeaker interface {
	Speaker
	// SetColouring says at which of their addresses leaves are told to send unicast
	// frames to VTEPs: the next hops of MAC/IP and prefix routes, whoever announced
	// them.
	SetColouring(*overlay.Colouring)
}

// reflector keeps the speaker at what the segment tables say: one more reader
// of all of them, with a cursor each.
type reflector struct {
	engine  *Engine
	speaker LeafSpeaker
	wake    chan struct{}

	opened  atomic.Bool
	holding atomic.Bool // leaves are sent nothing yet

	// Guarded by the engine's lock.
	touched map[intent.VNI]struct{}
	peers   bool                         // they changed
	idle    bool                         // there is no leaf to announce anything to
	leaves  []string                     // EVPN leaves
	doubts  map[string]time.Time         // of those whose routes are to be judged again, and when
	cursors map[intent.VNI]evpn.Revision // up to which was announced
	targets map[intent.VNI]string        // with which the VNI's routes are announced
	routers map[intent.VNI]bool          // L3VNIs of which something was announced
	// external are those of external networks, guests those of routers of which
	// hosts of others were announced.
	external, guests map[intent.VNI]bool
}

// openWait bounds how long BGP sessions wait at the start for other edges to
// say what they have: what is not known then is withdrawn from leaves that kept
// it (RFC 4724).
const openWait = 20 * time.Second

func newReflector(e *Engine, s LeafSpeaker) *reflector {
	r := &reflector{engine: e, speaker: s, wake: make(chan struct{}, 1), touched: map[intent.VNI]struct{}{},
		cursors: map[intent.VNI]evpn.Revision{}, targets: map[intent.VNI]string{}, routers: map[intent.VNI]bool{}, external: map[intent.VNI]bool{}, guests: map[intent.VNI]bool{}, idle: true, doubts: map[string]time.Time{}}
	r.holding.Store(true)
	return r
}

func (r *reflector) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends.
func (r *reflector) run(ctx context.Context) {
	late := time.NewTimer(openWait)
	defer late.Stop()
	timeUp := false
	again := time.NewTimer(0)
	<-again.C
	defer again.Stop()
	for {
		complete, heard := r.complete() || timeUp, r.heard() || timeUp // before what that is made of is announced
		if err := r.bring(); err != nil {
			r.engine.log.Warn("announcing routes failed", "err", err)
		}
		if next := r.refresh(); next > 0 {
			again.Reset(next)
		}
		if r.waiting() && complete {
			r.opened.Store(true)
			r.speaker.Open()
		}
		if r.holding.Load() && !r.waiting() && heard {
			r.holding.Store(false)
			r.speaker.Release()
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-again.C:
		case <-late.C:
			timeUp = true
		}
	}
}

// refreshWait is how long a leaf is let be before all its routes are judged
// again, and between two times.
const refreshWait = 500 * time.Millisecond

// doubtAfter doubts the leaves of which routes may be judged otherwise now that an
// alarm was raised or has ended. The caller holds the engine's lock.
func (r *reflector) doubtAfter(a overlay.Alarm) {
	for _, node := range r.leaves {
		if node == a.Device || a.Reason == overlay.AlarmDuplicateMAC {
			r.doubt(node)
		}
	}
}

// doubt notes that what a leaf announced may be judged otherwise now. The caller
// holds the engine's lock.
func (r *reflector) doubt(node string) {
	if _, ok := r.doubts[node]; !ok {
		r.doubts[node] = time.Now().Add(refreshWait)
		r.notify()
	}
}

// refresh has the routes of the leaves in doubt judged again, and returns after
// what time there is more to do.
func (r *reflector) refresh() (next time.Duration) {
	var due []string
	r.engine.mu.Lock()
	for node, at := range r.doubts {
		if wait := time.Until(at); wait > 0 {
			next = max(next, wait)
		} else {
			due = append(due, node)
			delete(r.doubts, node)
		}
	}
	r.engine.mu.Unlock()
	for _, node := range due {
		if err := r.speaker.Refresh(node); err != nil {
			r.engine.log.Debug("the leaf has left meanwhile", "device", node, "err", err)
		}
	}
	return next
}

// Admit reports whether a route of a leaf may be handed on to the others.
func (e *Engine) Admit(peer string, r *evpn.Route) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.model.Admits(peer, r)
}

// waiting reports whether sessions were not let start yet.
func (r *reflector) waiting() bool { return !r.opened.Load() }

// complete reports whether all edges but the EVPN leaves have reported: all
// that the controller originates is in the tables.
func (r *reflector) complete() bool {
	r.engine.mu.RLock()
	defer r.engine.mu.RUnlock()
	return r.engine.loaded && r.engine.colours.ready() && r.engine.model.OthersReported()
}

// heard reports whether all other fabrics have told what they have: so that leaves
// are told that, too, in the first table that they get.
func (r *reflector) heard() bool {
	r.engine.mu.RLock()
	defer r.engine.mu.RUnlock()
	return r.engine.loaded && (r.engine.crossings == nil || r.engine.crossings.heard())
}

// bring announces what changed since the last time.
func (r *reflector) bring() error {
	e := r.engine
	r.speaker.SetColouring(e.colours.now.Load())
	e.mu.Lock()
	var peers []BGPPeer
	var add []evpn.Route
	var withdraw []evpn.RouteID
	setPeers := r.peers
	if r.peers {
		r.peers = false
		peers = e.bgpPeers()
		r.leaves = nil
		for _, p := range peers {
			r.leaves = append(r.leaves, p.Name)
		}
		withdraw = r.setIdle(len(peers) == 0)
	}
	if !r.idle {
		for v := range r.touched {
			a, w := r.changes(v)
			add, withdraw = append(add, a...), append(withdraw, w...)
		}
	}
	clear(r.touched)
	e.mu.Unlock()
	if setPeers {
		if err := r.speaker.SetPeers(peers); err != nil {
			return fmt.Errorf("set BGP peers: %w", err)
		}
	}
	if len(add)+len(withdraw) == 0 {
		return nil
	}
	return r.speaker.Announce(add, withdraw)
}

// setIdle says whether there is nobody to announce anything to: then nothing is
// held for them. It returns what is to be withdrawn. The caller holds the engine's
// lock.
func (r *reflector) setIdle(idle bool) (withdraw []evpn.RouteID) {
	if r.idle == idle {
		return nil
	}
	r.idle = idle
	for v := range r.engine.model.VNIs() {
		if overlay.IsVNI(v) {
			r.touched[v] = struct{}{}
		}
	}
	if idle {
		for v := range r.cursors {
			seg := r.engine.model.Segment(v)
			if seg == nil {
				continue
			}
			for row := range seg.Changes(0) {
				route := evpn.Route{Key: row.Key, RD: evpn.NewRD(r.engine.config.ASN, v)}
				withdraw = append(withdraw, route.ID())
			}
			r.engine.trims[v] = struct{}{}
		}
		clear(r.cursors)
		clear(r.targets)
		clear(r.routers)
		clear(r.external)
		clear(r.guests)
	}
	return withdraw
}

// changes lists what is to be announced of a VNI's changes. The caller holds
// the engine's lock.
func (r *reflector) changes(v intent.VNI) (add []evpn.Route, withdraw []evpn.RouteID) {
	e := r.engine
	if e.model.RouterWith(v) != nil || r.routers[v] {
		return r.routerChanges(v)
	}
	n := e.model.NetworkOf(v)
	seg := e.model.Segment(v)
	var exports string
	var targets []intent.RouteTarget
	if n != nil {
		targets = exportTargets(n, e.config.ASN)
		exports = fmt.Sprint(targets, n.Spec.Encapsulation.Standard())
	}
	routed := r.routedAs(n)
	exports += routed.words()
	since := r.cursors[v]
	if exports != r.targets[v] {
		since = 0
	}
	if seg == nil {
		delete(r.cursors, v)
		delete(r.targets, v)
		return nil, nil
	}
	r.cursors[v], r.targets[v] = seg.Rev(), exports
	e.trims[v] = struct{}{}
	for row := range seg.Changes(since) {
		if route, ok := r.routeOf(n, v, row, targets, routed); ok {
			add = append(add, route)
		} else {
			withdraw = append(withdraw, route.ID())
		}
	}
	return add, withdraw
}

// routeOf is the route that a row of a network's table becomes; ok is false when
// it is not, or not any more, announced. What EVPN leaves announce themselves is
// reflected; the flood route of a leaf is its own.
func (r *reflector) routeOf(n *intent.Network, v intent.VNI, row evpn.Row, targets []intent.RouteTarget, as routedAs) (route evpn.Route, ok bool) {
	route = evpn.Route{Key: row.Key, RD: evpn.NewRD(r.engine.config.ASN, v), VNI: v, Targets: targets, VTEP: row.VTEP, Seq: row.Seq, Sticky: row.Sticky}
	if row.Deleted || n == nil || !n.Spec.Encapsulation.Standard() || row.Origin == evpn.OriginBGP ||
		row.Type == evpn.IMET && r.engine.model.IsEVPN(row.IP) {
		return route, false
	}
	as.apply(r.engine.model, v, &route)
	return route, true
}

// exportTargets are the route targets of what the controller announces of a
// network.
func exportTargets(n *intent.Network, asn uint32) []intent.RouteTarget {
	return targetsOr(n.Spec.RouteTargets.Export, asn, n.Spec.VNI)
}

// targetsOr reads configured route targets; without any it is the automatic one.
func targetsOr(configured []string, asn uint32, v intent.VNI) []intent.RouteTarget {
	var out []intent.RouteTarget
	for _, s := range configured {
		if t, err := intent.ParseRouteTarget(s); err == nil { // validated when stored
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		out = append(out, intent.VNIRouteTarget(asn, v))
	}
	slices.SortFunc(out, func(a, b intent.RouteTarget) int { return slices.Compare(a[:], b[:]) })
	return out
}

// defaultMaxRoutes is how many routes are taken from a leaf when its node says
// nothing.
const defaultMaxRoutes = 100000

// bgpPeers lists the EVPN leaves. The caller holds the lock.
func (e *Engine) bgpPeers() []BGPPeer {
	var out []BGPPeer
	for _, name := range e.model.Edges() {
		s := e.model.Node(name).Spec
		if s.EVPN == nil {
			continue
		}
		p := BGPPeer{Name: name, Address: s.Peer(), ASN: s.PeerASN(), Password: s.EVPN.Password, MaxRoutes: s.EVPN.MaxRoutes, Source: e.config.BGPSource, VTEP: s.VTEP}
		if p.MaxRoutes == 0 {
			p.MaxRoutes = defaultMaxRoutes
		}
		out = append(out, p)
	}
	return out
}

// TakeRoutes takes what an EVPN leaf announces and withdraws.
func (e *Engine) TakeRoutes(peer string, changes []overlay.RouteChange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.model.Node(peer) == nil && !e.model.IsPeer(peer) {
		return // it left the intent
	}
	e.model.TakeRoutes(peer, changes)
	e.wakeTouched()
	e.broadcast()
}

// PeerChanged takes that the state of a session with an EVPN leaf changed. One
// that has announced all that it has (End-of-RIB, RFC 4724 section 2) has
// reported by that.
func (e *Engine) PeerChanged(peer string) {
	session := e.bgpSession(peer)
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.model.Node(peer); n != nil || e.model.IsPeer(peer) {
		if n != nil {
			e.model.SetAway(peer, session.State != established)
		}
		if session.Synced {
			e.model.Synced(peer)
		}
		e.wakeTouched()
	}
	if e.bgp != nil && e.bgp.holding.Load() {
		e.bgp.notify()
	}
	if e.crossings != nil {
		e.crossings.notify()
	}
	if s := e.sessions[peer]; s != nil {
		s.notify()
	}
	e.broadcast()
}

// bgpSession is the state of the session with a leaf, or a speaker of another
// fabric.
func (e *Engine) bgpSession(peer string) (session intent.BGPSession) {
	if _, ok := overlay.InterconnectOf(peer); !ok {
		session, _ = e.config.Speaker.Peer(peer)
		return session
	}
	e.mu.RLock()
	fabric := e.fabricOf(peer)
	e.mu.RUnlock()
	if fabric != nil {
		session, _ = fabric.Peer(peer)
	}
	return session
}

// PeerAlarm raises or ends an alarm about an EVPN leaf.
func (e *Engine) PeerAlarm(peer string, key southbound.AlarmKey, message string) {
	e.alarm(peer, key, message)
}

// Route is a row of a segment table, for people.
type Route struct {
	evpn.Row
	Node string // that has the VTEP, or the interconnect behind which it is
	Best bool
}

// Leaf is the driver of a leaf that an agent serves.
type Leaf interface {
	// Want waits for a state of another revision, or the end of ctx.
	Want(ctx context.Context, since uint64) (leafstate.State, error)
	// Take takes a report; it returns false when a full one is needed.
	Take(leafstate.Report) bool
}

// Leaf is the driver of a leaf that an agent serves, nil when there is none.
func (e *Engine) Leaf(node string) Leaf {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, s := range []*session{e.sessions[node], e.ending[node]} {
		if s == nil {
			continue
		}
		if l, ok := s.driver.(Leaf); ok && (s.spec.EVPN == nil || !s.spec.EVPN.Unmanaged) {
			return l
		}
	}
	return nil
}

// Network returns the network that has a VNI, or nil.
func (e *Engine) Network(v intent.VNI) *intent.Network {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.model.NetworkOf(v)
}

// Routes lists the rows of a VNI's table with all their paths: the IMET routes
// first, then by MAC and address, the best path first. Rows by which edges find
// next hops are no routes and left out.
func (e *Engine) Routes(v intent.VNI) []Route {
	e.mu.RLock()
	defer e.mu.RUnlock()
	seg := e.model.Segment(v)
	if seg == nil {
		return nil
	}
	names := map[netip.Addr]string{}
	for _, name := range e.model.Edges() {
		names[e.model.Node(name).Spec.VTEP] = name
	}
	rows := map[evpn.Key]evpn.Row{}
	for r := range seg.Rows() {
		if r.Type == evpn.MACIP && overlay.IsHopAddress(r.IP) {
			continue
		}
		rows[r.Key] = r
	}
	var out []Route
	for _, k := range slices.SortedFunc(maps.Keys(rows), compareKeys) {
		for i, p := range seg.Paths(k) {
			row := rows[k]
			row.Path = p
			node := names[p.VTEP]
			if p.Origin == evpn.OriginFabric {
				peer, _, _ := strings.Cut(string(p.Source), "/")
				node, _ = overlay.InterconnectOf(peer)
			}
			out = append(out, Route{row, node, i == 0})
		}
	}
	return out
}

// compareKeys puts IMET routes first, then orders by MAC and address.
func compareKeys(a, b evpn.Key) int {
	if (a.Type == evpn.IMET) != (b.Type == evpn.IMET) {
		if a.Type == evpn.IMET {
			return -1
		}
		return 1
	}
	if c := slices.Compare(a.MAC[:], b.MAC[:]); c != 0 {
		return c
	}
	if c := int(a.Type) - int(b.Type); c != 0 {
		return c
	}
	return cmp.Or(a.IP.Compare(b.IP), int(a.Bits)-int(b.Bits))
}
