package leaf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// Config is what a driver works with.
type Config struct {
	// Session tells the state of the BGP session with the leaf.
	Session func() (intent.BGPSession, bool)
	// Network tells the network that has a VNI, or nil.
	Network func(intent.VNI) *intent.Network
	// Router tells the router that has an L3VNI, or nil.
	Router func(intent.VNI) *intent.Router
	// Borders lists the external networks that the leaf leads to; it may be nil.
	Borders func() []overlay.Border
	// Leaf reports whether a VTEP is that of an EVPN leaf.
	Leaf func(netip.Addr) bool
	// Source is the address from which the controller's BGP dials; the one
	// that the kernel picks towards the leaf when it is not valid.
	Source netip.Addr
	Logger *slog.Logger
}

// silence is how long an agent may say nothing; it reports every few seconds.
const silence = 15 * time.Second

// Driver is the driver of one EVPN leaf.
type Driver struct {
	name   string
	spec   intent.NodeSpec
	config Config
	feed   southbound.Feed
	log    *slog.Logger
	wake   chan struct{} // a report was taken

	mu      sync.Mutex
	status  southbound.Status
	state   leafstate.State // valid from the first report on
	changed chan struct{}   // closed and replaced when state changes
	leaving bool
	heard   time.Time // of the last report; zero without one
	report  leafstate.Report
	// observed is what the feed was told last, if it was.
	observed []overlay.Interface
	told     bool
	tables   tables
	ports    map[intent.Ref]overlay.LocalPort // as confirmed
	cursors  map[intent.VNI]evpn.Revision     // as confirmed
	raised   map[southbound.AlarmKey]string
	unrouted map[intent.Ref]*southbound.OpError // ports whose router is not in place, and why
	// peersDown are the sessions with routers outside, and since when each is down;
	// the zero time for one that is up.
	peersDown map[peerKey]time.Time
}

// New returns the driver of a node that has an EVPN part.
func New(n *intent.Node, feed southbound.Feed, c Config) *Driver {
	return &Driver{name: n.Metadata.Name, spec: n.Spec, config: c, feed: feed, log: c.Logger.With("device", n.Metadata.Name),
		wake: make(chan struct{}, 1), status: southbound.Status{Since: time.Now()}, changed: make(chan struct{}),
		state: leafstate.State{Revision: uint64(time.Now().UnixMicro())}}
}

// Run implements southbound.Driver.
func (d *Driver) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	if d.spec.EVPN.Unmanaged {
		d.feed.Observe(nil)
	}
	for {
		began := time.Now()
		d.bring()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(began.Add(southbound.Rest(time.Since(began))))):
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.feed.Wake():
		case <-d.wake:
		case <-tick.C:
		}
	}
}

// bring publishes the state that follows from the feed, and what is confirmed
// of it.
func (d *Driver) bring() {
	local := d.feed.Local()
	d.mu.Lock()
	heard := !d.heard.IsZero()
	d.mu.Unlock()
	if heard {
		d.want(local)
	}
	err := d.trouble()
	ports, cursors, lacks := map[intent.Ref]overlay.LocalPort{}, map[intent.VNI]evpn.Revision{}, ""
	if err == nil {
		ports, cursors, lacks = d.judge(local)
		d.alarms(local)
	}
	d.confirm(err, ports, cursors, lacks)
}

// want makes the state that the leaf is to have.
func (d *Driver) want(local map[intent.Ref]overlay.LocalPort) {
	s := leafstate.State{VTEP: d.spec.VTEP, ASN: d.spec.PeerASN(), Peers: []leafstate.Peer{{Address: d.source(), Password: d.spec.EVPN.Password}}}
	by := map[intent.VNI]*leafstate.Segment{}
	for r, l := range local {
		seg := by[l.VNI]
		if seg == nil {
			seg = &leafstate.Segment{VNI: l.VNI, MTU: intent.DefaultMTU, Suppress: true}
			if n := d.config.Network(l.VNI); n != nil {
				seg.MTU = cmp.Or(n.Spec.MTU, intent.DefaultMTU)
				seg.Import, seg.Export = n.Spec.RouteTargets.Import, n.Spec.RouteTargets.Export
			}
			by[l.VNI] = seg
		}
		// A port in standby is served like any other: its coming changes
		// nothing here.
		p := leafstate.Port{Port: r, Interface: l.Interface, MAC: l.MAC, Addresses: l.Addresses}
		if l.Routing != nil {
			p.Sources = l.Routing.Sources
		}
		seg.Ports = append(seg.Ports, p)
	}
	for _, v := range slices.Sorted(maps.Keys(by)) {
		slices.SortFunc(by[v].Ports, func(a, b leafstate.Port) int { return cmp.Compare(a.Interface, b.Interface) })
		s.Segments = append(s.Segments, *by[v])
	}
	s.Routers = d.routers(local, by)
	for _, b := range d.borders() {
		s.Routers = append(s.Routers, external(b))
	}
	slices.SortFunc(s.Routers, func(a, b leafstate.Router) int { return cmp.Compare(a.VNI, b.VNI) })
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaving || s.Equal(d.state) {
		return
	}
	s.Revision = d.state.Revision + 1
	d.publish(s)
}

// publish hands a state to the agent. The caller holds the lock.
func (d *Driver) publish(s leafstate.State) {
	d.state = s
	close(d.changed)
	d.changed = make(chan struct{})
}

// source is the address from which the controller dials the leaf.
func (d *Driver) source() netip.Addr {
	if d.config.Source.IsValid() {
		return d.config.Source
	}
	c, err := net.Dial("udp", d.spec.Peer().String()) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// trouble says why nothing can be confirmed now, or nil.
func (d *Driver) trouble() *southbound.OpError {
	d.mu.Lock()
	heard, report := d.heard, d.report
	d.mu.Unlock()
	if !d.spec.EVPN.Unmanaged {
		switch age := time.Since(heard); {
		case heard.IsZero():
			return d.fail(southbound.CodeUnreachable, "wait for its agent", "run \"weft agent --node "+d.name+"\" on the leaf", errors.New("it has not reported yet"))
		case age > silence:
			return d.fail(southbound.CodeUnreachable, "hear from its agent", "on "+d.name+": check that weft agent runs and reaches the controller",
				fmt.Errorf("it is silent since %s", heard.Format(time.TimeOnly)))
		case len(report.Errors) > 0:
			return d.fail(southbound.CodeRefused, "configure the leaf", "look at the agent's log on "+d.name, errors.New(report.Errors[0]))
		}
	}
	s, ok := d.config.Session()
	if ok && s.State == established {
		return nil
	}
	why := cmp.Or(s.LastError, "the session is "+cmp.Or(s.State, "not started"))
	return d.fail(southbound.CodeUnreachable, "speak BGP with "+d.spec.Peer().String(), "on "+d.name+": check AS "+fmt.Sprint(d.spec.PeerASN())+", password and that bgpd listens", errors.New(why))
}

// established is the state of a BGP session that works (RFC 4271 section
// 8.2.2).
const established = "Established"

func (d *Driver) fail(code, op, action string, err error) *southbound.OpError {
	return &southbound.OpError{Device: d.name, Op: op, Code: code, Action: action, Err: err}
}

// confirm publishes what is confirmed, and tells of trouble that comes or goes.
func (d *Driver) confirm(err *southbound.OpError, ports map[intent.Ref]overlay.LocalPort, cursors map[intent.VNI]evpn.Revision, lacks string) {
	d.mu.Lock()
	was := d.status.Err
	turned := (was == nil) != (err == nil) || was != nil && was.Error() != err.Error()
	same := !turned && maps.Equal(cursors, d.cursors) && maps.EqualFunc(ports, d.ports, overlay.LocalPort.Equal) && d.status.Synced == (err == nil && lacks == "")
	if turned {
		d.status.Since = time.Now()
	}
	d.status.Err, d.status.Synced = err, err == nil && lacks == ""
	d.ports, d.cursors = ports, cursors
	d.mu.Unlock()
	if same {
		return
	}
	switch {
	case err != nil && turned:
		d.feed.Event(southbound.Event{Severity: southbound.Warning, Reason: err.Code, Message: err.Error()})
	case err == nil && was != nil:
		d.feed.Event(southbound.Event{Severity: southbound.Normal, Reason: "Recovered", Message: "the device is reached again"})
	}
	d.feed.Confirmed()
}

// Status implements southbound.Driver.
func (d *Driver) Status() southbound.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// Programmed implements southbound.Driver.
func (d *Driver) Programmed(r intent.Ref) (overlay.LocalPort, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.ports[r]
	return p, ok
}

// Cursor implements southbound.Driver.
func (d *Driver) Cursor(v intent.VNI) (evpn.Revision, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.cursors[v]
	return c, ok
}

// Cursors implements southbound.Driver.
func (d *Driver) Cursors() map[intent.VNI]evpn.Revision {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.cursors)
}

// Session is the BGP session with the leaf.
func (d *Driver) Session() (intent.BGPSession, bool) { return d.config.Session() }

// Withdraw implements southbound.Driver: the agent is given an empty state, and
// takes away what was made.
func (d *Driver) Withdraw(ctx context.Context) error {
	if d.spec.EVPN.Unmanaged {
		return nil
	}
	d.mu.Lock()
	d.leaving = true
	d.publish(leafstate.State{Revision: d.state.Revision + 1, VTEP: d.spec.VTEP, ASN: d.spec.PeerASN()})
	want := d.state.Revision
	d.mu.Unlock()
	for {
		d.mu.Lock()
		done := d.report.Applied == want
		d.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return d.fail(southbound.CodeUnreachable, "hear from its agent", "on "+d.name+": check that weft agent runs", ctx.Err())
		case <-d.wake:
		}
	}
}
