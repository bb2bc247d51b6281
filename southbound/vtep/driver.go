package vtep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// Times of the driver.
const (
	retryWait = 500 * time.Millisecond // after a lost connection or a refusal
	paceFirst = 20 * time.Millisecond  // between two repairs
	paceMost  = 5 * time.Second
)

// chunk bounds the rows of one transaction.
const chunk = 2000

// Driver keeps one switch at what its feed says.
type Driver struct {
	name, db, replication, swName string
	vtep                          netip.Addr
	feed                          southbound.Feed
	log                           *slog.Logger

	mu      sync.Mutex
	status  southbound.Status
	ports   map[intent.Ref]overlay.LocalPort // as confirmed
	refused map[intent.Ref]string            // why ports can't be bound
	cursors map[intent.VNI]evpn.Revision     // as confirmed

	// What the driver's own goroutine remembers.
	alarms   map[southbound.AlarmKey]string
	learned  []overlay.Learned
	observed []overlay.Interface
	settled  bool // everything was in place once, over this connection
	feedRev  map[intent.VNI]evpn.Revision
	pace     time.Duration // between repairs of what somebody else changes
	mended   time.Time     // the last one
}

// New returns the driver of a node that has a hardware VTEP.
func New(n *intent.Node, feed southbound.Feed, log *slog.Logger) *Driver {
	h := n.Spec.HardwareVTEP
	d := &Driver{name: n.Metadata.Name, db: h.OVSDB, replication: h.Replication, swName: h.Switch, vtep: n.Spec.VTEP, feed: feed,
		log: log.With("device", n.Metadata.Name), status: southbound.Status{Since: time.Now()}, alarms: map[southbound.AlarmKey]string{}}
	if d.swName == "" {
		d.swName = d.name
	}
	return d
}

// Run implements southbound.Driver.
func (d *Driver) Run(ctx context.Context) error {
	for {
		err := d.session(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.lost(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryWait):
		}
	}
}

// session serves one connection; it returns why that ended.
func (d *Driver) session(ctx context.Context) error {
	c, err := ovsdb.DialVTEP(ctx, d.db)
	if err != nil {
		return d.fail(southbound.CodeUnreachable, "connect to OVSDB "+d.db, "", err)
	}
	defer c.Close()
	d.settled, d.feedRev = false, nil
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.Done():
			return d.fail(southbound.CodeUnreachable, "talk to OVSDB "+d.db, "", c.Err())
		case <-c.Changed():
		case <-d.feed.Wake():
		case <-again.C:
		}
		wait, err := d.step(ctx, c)
		if err != nil {
			return err
		}
		if wait > 0 {
			again.Reset(wait)
		}
	}
}

// step compares and writes until nothing differs. It returns when to look
// again, zero when a change will tell.
func (d *Driver) step(ctx context.Context, c *ovsdb.VTEPDB) (time.Duration, error) {
	for {
		rows := c.Rows(d.swName)
		if err := d.check(rows); err != nil {
			d.lost(err)
			return 0, nil // the database tells when that changes
		}
		d.tell(rows)
		w := d.wanted()
		res := plan(w.wanted, rows)
		d.tellAlarms(rows, res)
		if res.change.Empty() {
			d.settled, d.feedRev = true, w.revs
			d.confirm(rows, res, w.revs)
			return 0, nil
		}
		// A difference that the feed did not bring is somebody else's doing.
		foreign := d.settled && maps.Equal(w.revs, d.feedRev) && d.sameLocal(w.local)
		if foreign {
			since := time.Since(d.mended)
			if since < d.pace {
				return d.pace - since, nil
			}
			if d.pace = min(max(2*d.pace, paceFirst), paceMost); since > 2*paceMost {
				d.pace = paceFirst
			}
			d.mended = time.Now()
		}
		part := cut(res.change)
		if err := c.Write(ctx, rows, &part); err != nil {
			if errors.Is(err, ovsdb.ErrRefused) {
				d.lost(d.fail(southbound.CodeRefused, fmt.Sprintf("write %d rows", part.Rows()), "look at the switch's log; its schema must be hardware_vtep 1.6 or newer", err))
				return retryWait, nil
			}
			return 0, d.fail(southbound.CodeUnreachable, "talk to OVSDB "+d.db, "", err)
		}
		if foreign {
			d.feed.Event(southbound.Event{Severity: southbound.Warning, Reason: "Repaired", Message: fmt.Sprintf("%d rows of the database were not as they should be; put back", part.Rows())})
		}
	}
}

// sameLocal reports whether the ports are those that were confirmed last.
func (d *Driver) sameLocal(local map[intent.Ref]overlay.LocalPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r, l := range d.ports {
		if n, ok := local[r]; !ok || !n.Equal(l) {
			return false
		}
	}
	return true
}

// cut takes a change's first part: bindings and logical switches with as many
// MACs as fit.
func cut(ch ovsdb.VTEPChange) ovsdb.VTEPChange {
	if len(ch.Ucast) <= chunk {
		return ch
	}
	part := map[ovsdb.VTEPStation]ovsdb.VTEPUcast{}
	for k, u := range ch.Ucast {
		if part[k] = u; len(part) == chunk {
			break
		}
	}
	ch.Ucast = part
	return ch
}

// planned is what is wanted, and the revisions at which it was read.
type planned struct {
	wanted
	revs map[intent.VNI]evpn.Revision
}

func (d *Driver) wanted() planned {
	p := planned{wanted{vtep: d.vtep, replication: d.replication, local: d.feed.Local(), rows: map[intent.VNI][]evpn.Row{}, unreported: d.feed.Unreported()}, map[intent.VNI]evpn.Revision{}}
	delete(p.unreported, d.vtep)
	for _, l := range p.local {
		if _, ok := p.rows[l.VNI]; !ok {
			p.rows[l.VNI], p.revs[l.VNI] = d.feed.Rows(l.VNI, 0)
		}
	}
	return p
}

// check says what the database lacks before anything can be written.
func (d *Driver) check(r *ovsdb.VTEPRows) error {
	switch {
	case r.Switch == nil:
		return d.fail(southbound.CodeNotReady, "find physical switch "+d.swName, fmt.Sprintf("on the switch: vtep-ctl add-ps %s; or correct spec.hardwareVTEP.switch", d.swName),
			fmt.Errorf("the database has no Physical_Switch %s", d.swName))
	case len(r.Switch.TunnelIPs) > 0 && !slices.Contains(r.Switch.TunnelIPs, d.vtep.String()):
		return d.fail(southbound.CodeNotReady, "use tunnel address "+d.vtep.String(), "correct spec.vtep of the node, or tunnel_ips of the switch",
			fmt.Errorf("the switch's tunnel_ips are %s", strings.Join(r.Switch.TunnelIPs, ", ")))
	case len(r.Switch.Faults) > 0:
		return d.fail(southbound.CodeNotReady, "use physical switch "+d.swName, "look at the switch's log", errors.New(strings.Join(r.Switch.Faults, ", ")))
	}
	return nil
}

// tell tells the feed what the switch has learned and which ports it has. The
// stations come first: once the ports are known, what others keep for this
// edge is judged.
func (d *Driver) tell(r *ovsdb.VTEPRows) {
	var learned []overlay.Learned
	for _, l := range r.Local {
		var v intent.VNI
		name := r.Logical[l.Logical].Name
		if _, err := fmt.Sscanf(name, mark+"%d", &v); err != nil || name != logicalName(v) || l.VTEP != d.vtep {
			continue
		}
		learned = append(learned, overlay.Learned{VNI: v, MAC: l.MAC})
		if l.IP.IsValid() {
			learned = append(learned, overlay.Learned{VNI: v, MAC: l.MAC, IP: l.IP})
		}
	}
	if !sameSet(learned, d.learned) || d.observed == nil {
		d.learned = learned
		d.feed.Learned(learned)
	}
	ifaces := make([]overlay.Interface, 0, len(r.Switch.Ports))
	for name, p := range r.Switch.Ports {
		i := overlay.Interface{Name: name, OFPort: 1}
		if len(p.Faults) > 0 {
			i.OFPort, i.Error = 0, strings.Join(p.Faults, ", ")
		}
		ifaces = append(ifaces, i)
	}
	slices.SortFunc(ifaces, func(a, b overlay.Interface) int { return strings.Compare(a.Name, b.Name) })
	if d.observed == nil || !slices.Equal(ifaces, d.observed) {
		d.observed = ifaces
		d.feed.Observe(ifaces)
	}
}

func sameSet[T comparable](a, b []T) bool {
	set := make(map[T]struct{}, len(a))
	for _, x := range a {
		set[x] = struct{}{}
	}
	for _, x := range b {
		if _, ok := set[x]; !ok {
			return false
		}
	}
	return len(a) == len(b)
}

// alarmTunnel and alarmKey are the reasons of this driver's own alarms.
const (
	alarmTunnel = "TunnelDown"
	alarmKey    = "KeyTaken"
)

// tellAlarms raises what is wrong now and ends what is not any more.
func (d *Driver) tellAlarms(r *ovsdb.VTEPRows, res result) {
	now := map[southbound.AlarmKey]string{}
	for object, m := range res.taken {
		now[southbound.AlarmKey{Reason: southbound.AlarmVLANTaken, Object: object}] = m
	}
	for object, m := range res.keys {
		now[southbound.AlarmKey{Reason: alarmKey, Object: object}] = m
	}
	for _, t := range r.Tunnels {
		if t.Enabled && t.Down {
			now[southbound.AlarmKey{Reason: alarmTunnel, Object: "tunnel to " + t.Remote.String()}] = "BFD says that the tunnel is down: " + t.Words
		}
	}
	for k := range d.alarms {
		if _, ok := now[k]; !ok {
			d.feed.Alarm(k, "")
		}
	}
	for k, m := range now {
		if d.alarms[k] != m {
			d.feed.Alarm(k, m)
		}
	}
	d.alarms = now
}

// confirm publishes what the database has.
func (d *Driver) confirm(_ *ovsdb.VTEPRows, res result, revs map[intent.VNI]evpn.Revision) {
	cursors := map[intent.VNI]evpn.Revision{}
	for v, ok := range res.complete {
		if ok {
			cursors[v] = revs[v]
		}
	}
	d.mu.Lock()
	d.ports, d.cursors, d.refused = res.confirmed, cursors, res.refused
	was := d.status.Err
	if was != nil || !d.status.Synced {
		d.status.Since = time.Now()
	}
	d.status.Err, d.status.Synced, d.status.Software = nil, true, "hardware_vtep"
	d.mu.Unlock()
	if was != nil {
		d.feed.Event(southbound.Event{Severity: southbound.Normal, Reason: "Recovered", Message: "the device is reached again"})
	}
	d.feed.Confirmed()
}

// lost publishes that nothing is confirmed any more, and why.
func (d *Driver) lost(err error) {
	var op *southbound.OpError
	if !errors.As(err, &op) {
		op = d.fail(southbound.CodeUnreachable, "talk to OVSDB "+d.db, "", err)
	}
	d.mu.Lock()
	was := d.status.Err
	same := was != nil && was.Error() == op.Error()
	if !same {
		d.status.Since = time.Now()
	}
	d.ports, d.cursors = nil, nil
	d.status.Err, d.status.Synced = op, false
	d.mu.Unlock()
	if !same {
		d.feed.Event(southbound.Event{Severity: southbound.Warning, Reason: op.Code, Message: op.Error()})
		d.feed.Confirmed()
	}
}

func (d *Driver) fail(code, op, action string, err error) *southbound.OpError {
	if action == "" {
		action = fmt.Sprintf("on %s: check that ovsdb-server runs and that the controller reaches it", d.name)
	}
	return &southbound.OpError{Device: d.name, Op: op, Code: code, Action: action, Err: err}
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

// PortError says why a port can't be as it should be, or nil.
func (d *Driver) PortError(r intent.Ref) *southbound.OpError {
	d.mu.Lock()
	defer d.mu.Unlock()
	if why := d.refused[r]; why != "" {
		return d.fail(southbound.CodeRefused, "bind the port", "free it on the switch, or change the port or its network", errors.New(why))
	}
	return nil
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

// Withdraw implements southbound.Driver: it removes the switch's bindings to
// our logical switches, and those that nobody needs any more.
func (d *Driver) Withdraw(ctx context.Context) error {
	c, err := ovsdb.DialVTEP(ctx, d.db)
	if err != nil {
		return d.fail(southbound.CodeUnreachable, "connect to OVSDB "+d.db, "", err)
	}
	defer c.Close()
	rows := c.Rows(d.swName)
	if rows.Switch == nil {
		return nil
	}
	res := plan(wanted{vtep: d.vtep}, rows)
	res.change.TunnelIP = netip.Addr{}
	if res.change.Empty() {
		return nil
	}
	if err := c.Write(ctx, rows, &res.change); err != nil {
		return d.fail(southbound.CodeRefused, "remove what was made", "", err)
	}
	return nil
}
