package vtep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

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

	// What the driver's own goroutine remembers, over connections too.
	mem      *memory
	pace     pace
	alarms   map[southbound.AlarmKey]string
	learned  map[overlay.Learned]struct{} // as told; nil before the first time
	observed []overlay.Interface          // the same
}

// New returns the driver of a node that has a hardware VTEP.
func New(n *intent.Node, feed southbound.Feed, log *slog.Logger) *Driver {
	h := n.Spec.HardwareVTEP
	d := &Driver{name: n.Metadata.Name, db: h.OVSDB, replication: h.Replication, swName: h.Switch, vtep: n.Spec.VTEP, feed: feed,
		log: log.With("device", n.Metadata.Name), status: southbound.Status{Since: time.Now()}, mem: newMemory(), alarms: map[southbound.AlarmKey]string{}}
	if d.swName == "" {
		d.swName = d.name
	}
	return d
}

// Waits between connections.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
)

// Run implements southbound.Driver.
func (d *Driver) Run(ctx context.Context) error {
	defer d.tellAlarms(nil)
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := d.session(ctx, func() { wait = retryFirst })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.lost(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// confirm publishes what the database has.
func (d *Driver) confirm(in input, des *desired, r *ovsdb.VTEPRows, res result) {
	ports := make(map[intent.Ref]overlay.LocalPort, len(res.bound))
	cursors := map[intent.VNI]evpn.Revision{}
	d.mu.Lock()
	for at := range res.bound {
		if l := des.slots[at]; res.refused[l.Port] == "" && !res.unjudged[l.Port] {
			ports[l.Port] = l
		}
		v := res.bound[at]
		if before, ok := d.cursors[v]; ok {
			cursors[v] = before // still true: it is behind, not wrong
		}
	}
	for v, ok := range res.complete {
		if ok {
			cursors[v] = in.revs[v]
		}
	}
	was, synced := d.status.Err, res.change.Empty() && !res.left
	software := "hardware_vtep " + r.Schema
	if s := r.Switch.Description; s != "" {
		software = s + " (" + software + ")"
	}
	same := was == nil && d.status.Synced == synced && d.status.Software == software && maps.Equal(cursors, d.cursors) &&
		maps.EqualFunc(ports, d.ports, overlay.LocalPort.Equal) && maps.Equal(res.refused, d.refused)
	if was != nil {
		d.status.Since = time.Now()
	}
	d.ports, d.cursors, d.refused = ports, cursors, res.refused
	d.status.Err, d.status.Synced, d.status.Software = nil, synced, software
	d.mu.Unlock()
	if was != nil {
		d.feed.Event(southbound.Event{Severity: southbound.Normal, Reason: "Recovered", Message: "the device is reached again"})
	}
	if !same {
		d.feed.Confirmed()
	}
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
	told := same || was != nil && was.Code == op.Code && op.Code == southbound.CodeUnreachable // the words change from one attempt to the next
	if !same {
		d.status.Since = time.Now()
	}
	d.ports, d.cursors, d.refused = nil, nil, nil
	d.status.Err, d.status.Synced = op, false
	d.mu.Unlock()
	if !told {
		d.feed.Event(southbound.Event{Severity: southbound.Warning, Reason: op.Code, Message: op.Error()})
	}
	if !same {
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
	for tries := 0; ; tries++ {
		rows := c.Rows(d.swName)
		if rows.Switch == nil {
			return nil
		}
		in := input{name: d.swName, vtep: d.vtep}
		ch := planner{input: in, desired: desire(in, rows), r: rows, mem: newMemory(), mend: true, now: time.Now()}.plan().change
		ch.TunnelIP = netip.Addr{}
		if ch.Empty() {
			return nil
		}
		err := c.Write(ctx, rows, &ch)
		switch {
		case err == nil:
		case errors.Is(err, ovsdb.ErrConflict) && tries < conflictsMost:
			if err := sleep(ctx, c, conflictWait); err != nil {
				return d.fail(southbound.CodeUnreachable, "talk to OVSDB "+d.db, "", err)
			}
		case errors.Is(err, ovsdb.ErrRefused):
			return d.fail(southbound.CodeRefused, "remove what was made", "", err)
		default:
			return d.fail(southbound.CodeUnreachable, "talk to OVSDB "+d.db, "", err)
		}
	}
}
