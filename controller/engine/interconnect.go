package engine

import (
	"context"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Fabric speaks BGP EVPN with the speakers of one other fabric; package
// southbound/evpn has one. Its table has only what is announced here.
type Fabric interface {
	Speaker
	// Run works until ctx ends.
	Run(ctx context.Context) error
	// Heard reports whether no peer is waited for any longer.
	Heard() bool
	// Routes returns what a peer announces now.
	Routes(peer string) []evpn.Route
}

// crossings keep a Fabric for each interconnect, each one more reader of the
// tables of the networks that it stretches.
//
// At the start all sessions begin as soon as they can, and hear what leaves and other
// fabrics have; what is missing at the End-of-RIB that is sent counts as gone (RFC 4724
// section 4.1). So other fabrics are sent nothing before all edges have reported, and
// leaves nothing before all fabrics have. Neither waits for what the other waits for,
// also when the controllers of both fabrics start at once.
type crossings struct {
	engine *Engine
	wake   chan struct{}

	// Guarded by the engine's lock.
	all     map[string]*crossing
	changed bool // interconnects, or networks, did
}

// crossing is one interconnect's.
type crossing struct {
	fabric Fabric
	asn    uint32 // of the other fabric
	stop   context.CancelFunc
	done   chan struct{}

	// Guarded by the engine's lock.
	spec     *intent.Interconnect // for which the peers were set
	peers    []string
	released bool
	wanted   map[intent.VNI]intent.RouteTarget // tables that are to be announced
	touched  map[intent.VNI]struct{}           // those of them that changed
	cursors  map[intent.VNI]evpn.Revision      // up to which was announced
	targets  map[intent.VNI]intent.RouteTarget // with which it was
}

func newCrossings(e *Engine) *crossings {
	return &crossings{engine: e, wake: make(chan struct{}, 1), all: map[string]*crossing{}}
}

func (c *crossings) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// note has all looked at again after an object changed, if that may concern them. The
// caller holds the engine's lock.
func (c *crossings) note(k intent.Kind) {
	if k == intent.KindInterconnect || k == intent.KindNetwork && len(c.all) > 0 {
		c.changed = true
	}
}

// touch notes which tables changed, and has them announced. The caller holds the
// engine's lock.
func (c *crossings) touch(vnis []intent.VNI) {
	work := c.changed
	for _, x := range c.all {
		for _, v := range vnis {
			if _, ok := x.wanted[v]; ok {
				x.touched[v] = struct{}{}
				work = true
			}
		}
		work = work || !x.released
	}
	if work {
		c.notify()
	}
}

// run works until ctx ends.
func (c *crossings) run(ctx context.Context) {
	defer c.end()
	for {
		c.bring(ctx)
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
	}
}

// end waits for all speakers, whose ctx has ended: peers are told nothing and keep
// what they have.
func (c *crossings) end() {
	c.engine.mu.Lock()
	all := c.all
	c.all = map[string]*crossing{}
	c.engine.mu.Unlock()
	for _, x := range all {
		x.stop()
		<-x.done
	}
}

// work is what a crossing's speaker is to be told.
type work struct {
	*crossing
	name     string
	peers    []BGPPeer // when set
	set      bool
	add      []evpn.Route
	withdraw []evpn.RouteID
	release  bool
}

// bring makes the speakers those of the interconnects, and announces what changed.
func (c *crossings) bring(ctx context.Context) {
	e := c.engine
	e.mu.Lock()
	var leaving []*crossing
	var todo []work
	all := c.changed
	if all {
		c.changed = false
		leaving = c.settle(ctx)
	}
	for name, x := range c.all {
		todo = append(todo, c.workOf(name, x, all))
	}
	e.mu.Unlock()
	for _, x := range leaving {
		c.leave(x)
	}
	if len(leaving) > 0 {
		c.notify() // in place of one that left there may be another to start
	}
	for _, w := range todo {
		if w.set {
			if err := w.fabric.SetPeers(w.peers); err != nil {
				e.log.Warn("set the peers of an interconnect", "interconnect", w.name, "err", err)
			}
			w.fabric.Open()
		}
		if len(w.add)+len(w.withdraw) > 0 {
			if err := w.fabric.Announce(w.add, w.withdraw); err != nil {
				e.log.Warn("announcing routes to another fabric failed", "interconnect", w.name, "err", err)
			}
		}
		if w.release {
			w.fabric.Release()
		}
	}
}

// settle starts the speakers of new interconnects and returns those that are to
// leave. One whose AS changed leaves, and is started once it has. The caller holds
// the engine's lock.
func (c *crossings) settle(ctx context.Context) (leaving []*crossing) {
	m := c.engine.model
	for name, x := range c.all {
		if spec := m.Interconnect(name); spec == nil || spec.Spec.ASN != x.asn {
			delete(c.all, name)
			leaving = append(leaving, x)
			c.changed = c.changed || spec != nil
		}
	}
	for _, name := range m.Interconnects() {
		if c.all[name] != nil || c.changed {
			continue
		}
		asn := m.Interconnect(name).Spec.ASN
		x := &crossing{fabric: c.engine.config.NewFabric(name, asn), asn: asn, done: make(chan struct{}), touched: map[intent.VNI]struct{}{},
			cursors: map[intent.VNI]evpn.Revision{}, targets: map[intent.VNI]intent.RouteTarget{}}
		c.all[name] = x
		run, stop := context.WithCancel(ctx)
		x.stop = stop
		go func() {
			defer close(x.done)
			if err := x.fabric.Run(run); err != nil && run.Err() == nil {
				c.engine.log.Error("the BGP speaker of an interconnect ended", "interconnect", name, "err", err)
			}
		}()
	}
	return leaving
}

// leave tells the peers that they are none any longer, and ends the speaker.
func (c *crossings) leave(x *crossing) {
	if err := x.fabric.SetPeers(nil); err != nil {
		c.engine.log.Warn("end the sessions of an interconnect", "err", err)
	}
	x.stop()
	<-x.done
	e := c.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range x.peers {
		e.alarms.endDevice(p)
		e.model.TakePeerLost(p)
	}
	e.wakeTouched()
	e.broadcast()
}

// workOf is what changed for a crossing, with all when objects did. The caller holds
// the engine's lock.
func (c *crossings) workOf(name string, x *crossing, all bool) (w work) {
	e := c.engine
	w = work{crossing: x, name: name}
	if spec := e.model.Interconnect(name); all && spec != nil {
		w.set = x.follow(e, spec)
		w.peers = e.fabricPeers(spec)
		for v := range x.cursors {
			if _, ok := x.wanted[v]; !ok {
				w.withdraw = append(w.withdraw, x.retract(e, v)...)
			}
		}
	}
	for v := range x.touched {
		if target, ok := x.wanted[v]; ok {
			add, withdraw := x.changes(e, v, target)
			w.add, w.withdraw = append(w.add, add...), append(w.withdraw, withdraw...)
		}
	}
	clear(x.touched)
	if !x.released && e.loaded && e.model.AllReported() {
		x.released, w.release = true, true
	}
	return w
}

// follow takes the interconnect and its networks as they are now, and reports whether
// the peers may be others.
func (x *crossing) follow(e *Engine, spec *intent.Interconnect) (peers bool) {
	x.wanted = map[intent.VNI]intent.RouteTarget{}
	for _, sn := range spec.Spec.Networks {
		n := e.model.Network(sn.Ref())
		if n == nil || e.model.NetworkOf(n.Spec.VNI) != n || !n.Spec.Encapsulation.Standard() {
			continue
		}
		v, target := n.Spec.VNI, sn.Target()
		x.wanted[v] = target
		if _, known := x.cursors[v]; !known || x.targets[v] != target {
			x.touched[v] = struct{}{}
		}
	}
	if spec == x.spec {
		return false
	}
	gone := x.peers
	x.spec, x.peers = spec, nil
	for _, p := range spec.Spec.Peers {
		x.peers = append(x.peers, overlay.PeerName(spec.Metadata.Name, p.Address))
	}
	for _, p := range gone {
		if !slices.Contains(x.peers, p) {
			e.alarms.endDevice(p)
		}
	}
	return true
}

// changes lists what is to be announced of a table's changes.
func (x *crossing) changes(e *Engine, v intent.VNI, target intent.RouteTarget) (add []evpn.Route, withdraw []evpn.RouteID) {
	seg := e.model.Segment(v)
	if seg == nil {
		delete(x.cursors, v)
		delete(x.targets, v)
		return nil, nil
	}
	since := x.cursors[v]
	if x.targets[v] != target {
		since = 0
	}
	x.cursors[v], x.targets[v] = seg.Rev(), target
	e.trims[v] = struct{}{}
	targets := []intent.RouteTarget{target}
	for row := range seg.Changes(since) {
		route := evpn.Route{Key: row.Key, RD: evpn.NewRD(e.config.ASN, v), VNI: v, Targets: targets, VTEP: row.VTEP, Seq: row.Seq, Sticky: row.Sticky}
		if crosses(row) {
			add = append(add, route)
		} else {
			withdraw = append(withdraw, route.ID())
		}
	}
	return add, withdraw
}

// crosses reports whether a row is announced to other fabrics: what is here. What
// another fabric announces goes no further, so that fabrics that are all joined
// with each other can't loop.
func crosses(row evpn.Row) bool {
	return !row.Deleted && row.Origin != evpn.OriginFabric && (row.Type == evpn.MACIP || row.Type == evpn.IMET)
}

// retract lists what was announced of a table that is not stretched any longer.
func (x *crossing) retract(e *Engine, v intent.VNI) (withdraw []evpn.RouteID) {
	delete(x.cursors, v)
	delete(x.targets, v)
	seg := e.model.Segment(v)
	if seg == nil {
		return nil
	}
	e.trims[v] = struct{}{}
	for row := range seg.Changes(0) {
		route := evpn.Route{Key: row.Key, RD: evpn.NewRD(e.config.ASN, v)}
		withdraw = append(withdraw, route.ID())
	}
	return withdraw
}

// reading is how far the crossings have read a table, of those that do.
func (c *crossings) reading(v intent.VNI, seg *evpn.Segment) (read evpn.Revision, readers int) {
	read = seg.Rev()
	for _, x := range c.all {
		if at, ok := x.cursors[v]; ok && (seg.Len() > 0 || at < seg.Rev()) {
			read = min(read, at)
			readers++
		}
	}
	return read, readers
}

// forget forgets a table that was given up.
func (c *crossings) forget(v intent.VNI) {
	for _, x := range c.all {
		delete(x.cursors, v)
		delete(x.targets, v)
	}
}

// heard reports whether all other fabrics have told what they have, or can't. The
// caller holds the engine's lock.
func (c *crossings) heard() bool {
	m := c.engine.model
	if m.FabricsReported() {
		return true
	}
	if c.changed || len(c.all) < len(m.Interconnects()) {
		return false
	}
	for _, x := range c.all {
		if x.spec == nil || !x.fabric.Heard() {
			return false
		}
		for _, p := range x.peers {
			// What it has told may be on its way to the model.
			if st, _ := x.fabric.Peer(p); st.Synced && m.IsAbsent(p) {
				return false
			}
		}
	}
	return true
}

// fabricPeers lists an interconnect's peers. The caller holds the lock.
func (e *Engine) fabricPeers(c *intent.Interconnect) []BGPPeer {
	out := make([]BGPPeer, len(c.Spec.Peers))
	for i, p := range c.Spec.Peers {
		out[i] = BGPPeer{Name: overlay.PeerName(c.Metadata.Name, p.Address), Address: p.At(), ASN: c.Spec.ASN, LocalASN: e.config.ASN, Password: p.Password,
			MaxRoutes: p.MaxRoutes, Source: e.config.BGPSource, HoldTime: p.Hold(), Passive: p.Passive}
		if p.MaxRoutes == 0 {
			out[i].MaxRoutes = defaultMaxRoutes
		}
	}
	return out
}

// fabricOf is the speaker of a peer's interconnect, nil when there is none. The
// caller holds the lock.
func (e *Engine) fabricOf(peer string) Fabric {
	name, ok := overlay.InterconnectOf(peer)
	if !ok || e.crossings == nil || e.crossings.all[name] == nil {
		return nil
	}
	return e.crossings.all[name].fabric
}
