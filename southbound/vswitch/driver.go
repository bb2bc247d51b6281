package vswitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// TunnelName is the name of the one tunnel port of a bridge.
const TunnelName = "weft-vxlan"

// openFlowPort is the switch's OpenFlow listener when the intent names none.
const openFlowPort = 6653

// Times of the driver.
const (
	retryWait  = 500 * time.Millisecond // after a lost connection or a refusal
	auditEvery = 10 * time.Minute       // the slow reading of the whole device; the switch tells of most changes itself
	settleTime = 50 * time.Millisecond  // from a suspicious change to reading
	settleMost = 3 * time.Second        // the same after many that were harmless
	opTime     = 30 * time.Second       // of one bundle or dump
)

// Driver keeps one Open vSwitch at what its feed says.
type Driver struct {
	name     string
	spec     intent.VSwitch
	vtep     netip.Addr
	colours  []netip.Addr // of the VTEP
	openflow string       // endpoint to dial
	listen   string       // what the switch must listen on; empty when it does anyway
	feed     southbound.Feed
	gates    *Gates
	log      *slog.Logger
	patience time.Duration // viaTime, but in tests

	mu      sync.Mutex
	status  southbound.Status
	ports   map[intent.Ref]overlay.LocalPort // as confirmed
	cursors map[intent.VNI]evpn.Revision     // as confirmed
	closed  map[intent.Ref]string            // ports whose tunnel port is not open, and why
	guard   *guard                           // as confirmed
	acls    *acls                            // as confirmed
	tenants *tenants                         // as confirmed
	short   map[intent.Ref]string            // ports whose policy names groups that have no bit, and which
	active  map[uint32]bool                  // OpenFlow ports that were in use when the device was read first
	speak   map[intent.Ref]overlay.LocalPort // to be announced
	conn    *openflow.Conn                   // of the session, while there is one
	poke    chan struct{}                    // capacity 1: there is something to announce
}

// New returns the driver of a node that has a vSwitch.
func New(n *intent.Node, feed southbound.Feed, gates *Gates, log *slog.Logger) *Driver {
	d := &Driver{name: n.Metadata.Name, spec: *n.Spec.VSwitch, vtep: n.Spec.VTEP, colours: n.Spec.Colours, feed: feed, gates: gates,
		log: log.With("device", n.Metadata.Name), patience: viaTime, status: southbound.Status{Since: time.Now()},
		speak: map[intent.Ref]overlay.LocalPort{}, poke: make(chan struct{}, 1)}
	d.openflow, d.listen = openFlowEndpoint(d.spec)
	return d
}

// openFlowEndpoint says where to reach a bridge by OpenFlow, and on what the
// switch must listen for it: nothing when its own socket is used, which
// ovs-vswitchd opens beside the database's.
func openFlowEndpoint(s intent.VSwitch) (dial, listen string) {
	at := s.OpenFlow
	if at == "" {
		if p, ok := strings.CutPrefix(s.OVSDB, "unix:"); ok {
			return "unix:" + path.Join(path.Dir(p), s.BridgeName()+".mgmt"), ""
		}
		_, hostPort, _ := strings.Cut(s.OVSDB, ":")
		ap, err := netip.ParseAddrPort(hostPort)
		if err != nil {
			return "", ""
		}
		at = fmt.Sprintf("tcp:%s", netip.AddrPortFrom(ap.Addr(), openFlowPort))
	}
	ap, err := netip.ParseAddrPort(strings.TrimPrefix(at, "tcp:"))
	if err != nil {
		return at, ""
	}
	host := ap.Addr().String()
	if ap.Addr().Is6() {
		host = "[" + host + "]"
	}
	return at, fmt.Sprintf("ptcp:%d:%s", ap.Port(), host)
}

// Run implements southbound.Driver.
func (d *Driver) Run(ctx context.Context) error {
	ovs := ovsdb.NewVSwitch(ovsdb.VSwitchConfig{
		Name: d.name, Endpoint: d.spec.OVSDB, Bridge: d.spec.BridgeName(), DatapathType: d.spec.DatapathType,
		VTEP: d.vtep, Tunnel: TunnelName, OpenFlowListen: d.listen, Logger: d.log, OnRepair: d.repaired,
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { _ = ovs.Run(ctx) }) // returns ctx's error only
	select {                           // there is nothing to say before the first attempt
	case <-ctx.Done():
		return ctx.Err()
	case <-ovs.Changed():
	}
	for {
		err := d.session(ctx, ovs)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.lost(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ovs.Changed():
			d.observe(ovs.State())
		case <-time.After(retryWait):
		}
	}
}

// repaired tells of rows that another program removed or changed.
func (d *Driver) repaired(r ovsdb.Repair) {
	d.feed.Event(southbound.Event{Severity: southbound.Warning, Reason: "Repaired", Object: r.Object,
		Message: fmt.Sprintf("%s: %s; %s", r.Object, r.Found, r.Did)})
}

// lost publishes that nothing is confirmed any more, and why.
func (d *Driver) lost(err error) {
	var op *southbound.OpError
	if !errors.As(err, &op) {
		op = d.fail(southbound.CodeUnreachable, "talk OpenFlow to "+d.openflow, "", err)
	}
	d.mu.Lock()
	d.ports, d.cursors = nil, nil
	d.mu.Unlock()
	d.setErr(op)
	d.feed.Confirmed()
}

func (d *Driver) fail(code, op, action string, err error) *southbound.OpError {
	if action == "" {
		action = fmt.Sprintf("on %s: check that ovs-vswitchd and ovsdb-server run and that the controller reaches them", d.name)
	}
	return &southbound.OpError{Device: d.name, Op: op, Code: code, Action: action, Err: err}
}

// setErr publishes the device's trouble, or with nil that it is well.
func (d *Driver) setErr(err *southbound.OpError) {
	d.mu.Lock()
	was := d.status.Err
	if (was == nil) != (err == nil) || was != nil && was.Error() != err.Error() {
		d.status.Since = time.Now()
	}
	d.status.Err = err
	if err != nil {
		d.status.Synced = false
	}
	d.mu.Unlock()
	switch {
	case err != nil && (was == nil || was.Error() != err.Error()):
		d.feed.Event(southbound.Event{Severity: southbound.Warning, Reason: err.Code, Message: err.Error()})
	case err == nil && was != nil:
		d.feed.Event(southbound.Event{Severity: southbound.Normal, Reason: "Recovered", Message: "the device is reached again"})
	}
}

// checkOVSDB says what the database lacks before flows can be sent.
func (d *Driver) checkOVSDB(s ovsdb.State) *southbound.OpError {
	switch {
	case !s.Connected:
		err := s.Err
		if err == nil {
			err = errors.New("not connected yet")
		}
		return d.fail(southbound.CodeUnreachable, "connect to OVSDB "+d.spec.OVSDB, "", err)
	case !s.BridgeReady:
		err := s.Err
		if err == nil {
			err = fmt.Errorf("bridge %s is not there yet", d.spec.BridgeName())
		}
		return d.fail(southbound.CodeNotReady, "set up bridge "+d.spec.BridgeName(), "look at ovs-vswitchd's log on "+d.name, err)
	case s.TunnelOFPort == 0:
		err := errors.New("it has no OpenFlow port number yet")
		if s.TunnelError != "" {
			err = errors.New(s.TunnelError)
		}
		return d.fail(southbound.CodeNotReady, "open tunnel port "+TunnelName, "look at ovs-vswitchd's log on "+d.name, err)
	}
	return nil
}

// observe tells the feed which interfaces the device has, if it says so.
func (d *Driver) observe(s ovsdb.State) {
	d.mu.Lock()
	if s.OVSVersion != "" {
		d.status.Software = "Open vSwitch " + s.OVSVersion
	}
	active := d.active
	d.mu.Unlock()
	if !s.Connected || !s.BridgeReady {
		return
	}
	ifs := make([]overlay.Interface, 0, len(s.Interfaces))
	for _, i := range s.Interfaces {
		o := overlay.Interface{Name: i.Name, IfaceID: i.IfaceID, Error: i.Error}
		if i.OFPort > 0 {
			o.OFPort = uint32(i.OFPort)
			o.Active = active[o.OFPort]
		}
		ifs = append(ifs, o)
	}
	d.feed.Observe(ifs)
}

// confirm publishes what the device confirmed.
func (d *Driver) confirm(p *programmed, flows int) {
	d.mu.Lock()
	d.ports, d.cursors = p.local, maps.Clone(p.cursors) // local ports are replaced as a whole
	if len(d.short) > 0 {
		d.ports = maps.Clone(p.local)
		for r := range d.short {
			delete(d.ports, r) // it has all but the rules that name these
		}
	}
	d.guard, d.acls, d.tenants = p.guard, p.acls, p.tenants
	d.status.Synced = true
	if flows >= 0 {
		d.status.Flows = flows
	}
	d.mu.Unlock()
	d.feed.Confirmed()
}

// confirmRows publishes how far the device has come in some segments.
func (d *Driver) confirmRows(cursors map[intent.VNI]evpn.Revision) {
	d.mu.Lock()
	maps.Copy(d.cursors, cursors)
	d.mu.Unlock()
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

// Withdraw implements southbound.Driver: it deletes our flows. The bridge and
// the tunnel port stay, without flows they carry nothing.
func (d *Driver) Withdraw(ctx context.Context) error {
	c, err := openflow.Dial(ctx, d.openflow, openflow.Config{Logger: d.log})
	if err != nil {
		return d.fail(southbound.CodeUnreachable, "connect by OpenFlow to "+d.openflow, "", err)
	}
	defer c.Close()
	var all changes
	all.dropCookie(cookieMark, cookieMarkMask)
	if err := c.Bundle(ctx, all.mods()); err != nil {
		return d.fail(southbound.CodeRefused, "delete our flows", "", err)
	}
	has, err := ourMeters(ctx, c)
	if err != nil {
		return d.fail(southbound.CodeUnreachable, "read meters", "", err)
	}
	for id := range has {
		all.spent = append(all.spent, openflow.MeterMod{Command: openflow.MeterDelete, Meter: openflow.Meter{ID: id}})
	}
	if err := c.SetMeters(ctx, all.spent); err != nil {
		return d.fail(southbound.CodeRefused, "delete our meters", "", err)
	}
	return nil
}
