package vtep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// chunk bounds the MACs of one transaction.
const chunk = 5000

// Changes that the database refuses because it changed meanwhile are made
// again at once, this often.
const (
	conflictsMost = 20
	conflictsUsed = 5 // then logical switches that are to go are left
	conflictWait  = 20 * time.Millisecond
)

// refusedWait is between two attempts of what the database refuses.
const refusedWait = time.Second

// session serves one connection; it returns why that ended.
func (d *Driver) session(ctx context.Context, connected func()) error {
	c, err := ovsdb.DialVTEP(ctx, d.db)
	if err != nil {
		return d.fail(southbound.CodeUnreachable, "connect to OVSDB "+d.db, "", err)
	}
	defer c.Close()
	connected()
	s := &session{Driver: d, conn: c}
	for {
		again, err := s.step(ctx)
		if err == nil { // at most half of a core for one device
			err = sleep(ctx, c, s.busy)
		}
		if err != nil {
			return err
		}
		var timer <-chan time.Time
		if again > 0 {
			timer = time.After(again)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.Done():
			return d.fail(southbound.CodeUnreachable, "talk to OVSDB "+d.db, "", c.Err())
		case <-c.Changed():
		case <-d.feed.Wake():
		case <-timer:
		}
	}
}

func sleep(ctx context.Context, c *ovsdb.VTEPDB, t time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.Done():
		return c.Err()
	case <-time.After(t):
		return nil
	}
}

// session is one connection.
type session struct {
	*Driver
	conn      *ovsdb.VTEPDB
	busy      time.Duration // with the last comparison
	behind    map[intent.VNI]time.Time
	conflicts int
	more      bool            // of a change in several parts
	used      map[string]bool // logical switches that can't be removed
}

// step compares and writes until nothing differs. It returns when to look
// again even if nothing changes (zero: need not), or why the connection is of
// no use any more.
func (s *session) step(ctx context.Context) (time.Duration, error) {
	for {
		began := time.Now()
		rows := s.conn.Rows(s.swName)
		if s.conn.Err() != nil {
			return 0, s.fail(southbound.CodeUnreachable, "talk to OVSDB "+s.db, "", s.conn.Err())
		}
		if err := s.check(rows); err != nil {
			s.lost(err)
			return 0, nil // the database tells when that changes
		}
		s.tell(rows)
		// The feed is read after the database: what another driver wrote there
		// is in the feed by then.
		in := s.input()
		des := desire(in, rows)
		now := time.Now()
		mend := s.more || s.pace.wait(now) == 0
		res := planner{input: in, desired: des, r: rows, mem: s.mem, mend: mend, now: now, was: s.behind, used: s.used}.plan()
		s.behind, s.busy = res.behind, time.Since(began)
		s.mem.seen(des, res)
		s.alarm(rows, des, res)
		if res.change.Empty() {
			s.more, s.conflicts = false, 0
			s.confirm(in, des, rows, res)
			return s.again(res), nil
		}
		if again, err := s.write(ctx, des, rows, res, now); again > 0 || err != nil {
			return again, err
		}
	}
}

// again is when to look at what is left.
func (s *session) again(res result) time.Duration {
	if !res.left {
		return 0
	}
	wait := s.pace.wait(time.Now())
	if len(res.behind) > 0 && (wait == 0 || wait > yieldTime) {
		wait = yieldTime
	}
	return max(wait, time.Millisecond)
}

// write writes a change or its first part. It returns when to try again what
// was refused.
func (s *session) write(ctx context.Context, des *desired, rows *ovsdb.VTEPRows, res result, now time.Time) (time.Duration, error) {
	part, cut := first(res.change)
	err := s.conn.Write(ctx, rows, &part)
	switch {
	case err == nil:
	case errors.Is(err, ovsdb.ErrConflict) && s.conflicts < conflictsMost:
		if s.conflicts++; s.conflicts == conflictsUsed && len(part.Remove) > 0 {
			s.keep(rows, part.Remove, err)
		}
		return conflictWait, nil
	case errors.Is(err, ovsdb.ErrRefused):
		s.lost(s.fail(southbound.CodeRefused, fmt.Sprintf("write %d rows", part.Rows()), "look at the switch's log", err))
		return refusedWait, nil
	default:
		return 0, s.fail(southbound.CodeUnreachable, "talk to OVSDB "+s.db, "", err)
	}
	s.conflicts = 0
	s.mem.wrote(des, rows, &part)
	if res.found.n > 0 && !s.more {
		s.pace.mended(now)
		s.feed.Event(southbound.Event{Severity: southbound.Warning, Reason: "Repaired", Message: res.found.String()})
	}
	s.more = cut
	return 0, nil
}

// keep leaves logical switches that something else in the database refers to.
func (s *session) keep(rows *ovsdb.VTEPRows, logical []string, err error) {
	if s.used == nil {
		s.used = map[string]bool{}
	}
	for _, uuid := range logical {
		s.used[uuid] = true
		s.feed.Event(southbound.Event{Severity: southbound.Warning, Reason: "NotCleaned",
			Message: fmt.Sprintf("logical switch %s is on no port any more but could not be removed: %v", rows.Logical[uuid].Name, err)})
	}
}

// first is a change's first part: all of it but the MACs that are too many.
func first(ch ovsdb.VTEPChange) (part ovsdb.VTEPChange, cut bool) {
	if len(ch.Ucast) <= chunk {
		return ch, false
	}
	macs := make(map[ovsdb.VTEPStation]ovsdb.VTEPRemote, chunk)
	for k, u := range ch.Ucast {
		if macs[k] = u; len(macs) == chunk {
			break
		}
	}
	ch.Ucast = macs
	return ch, true
}

// input reads the feed.
func (d *Driver) input() input {
	in := input{name: d.swName, vtep: d.vtep, replication: d.replication,
		// Before the rows are read: what an edge that reports meanwhile has is in
		// them, or still kept.
		unreported: d.feed.Unreported(true).Without(d.vtep),
		rows:       map[intent.VNI][]evpn.Row{}, revs: map[intent.VNI]evpn.Revision{}}
	in.local = d.feed.Local()
	for _, l := range in.local {
		if _, ok := in.rows[l.VNI]; !ok {
			in.rows[l.VNI], in.revs[l.VNI] = d.feed.Rows(l.VNI, 0)
		}
	}
	return in
}

// check says what the database lacks before anything can be written.
func (d *Driver) check(r *ovsdb.VTEPRows) error {
	use := "use tunnel address " + d.vtep.String()
	switch {
	case !d.vtep.Is4():
		return d.fail(southbound.CodeNotReady, use, "set spec.vtep of the node to an IPv4 address", errors.New("the hardware_vtep schema knows VXLAN over IPv4 only"))
	case r.Switch == nil:
		return d.fail(southbound.CodeNotReady, "find physical switch "+d.swName,
			fmt.Sprintf("on the switch: vtep-ctl add-ps %s -- set Physical_Switch %s tunnel_ips=%s; or correct spec.hardwareVTEP.switch of the node", d.swName, d.swName, d.vtep),
			fmt.Errorf("the database has no Physical_Switch %s", d.swName))
	case len(r.Switch.TunnelIPs) > 0 && !slices.Contains(r.Switch.TunnelIPs, d.vtep.String()):
		return d.fail(southbound.CodeNotReady, use, "correct spec.vtep of the node, or tunnel_ips of the physical switch",
			fmt.Errorf("tunnel_ips of physical switch %s are %s", d.swName, strings.Join(r.Switch.TunnelIPs, ", ")))
	case r.Others[d.vtep] != "":
		return d.fail(southbound.CodeNotReady, use, "give each switch a tunnel address of its own",
			fmt.Errorf("physical switch %s of the same database has it too", r.Others[d.vtep]))
	}
	return nil
}

// alarm raises what is wrong now.
func (d *Driver) alarm(r *ovsdb.VTEPRows, des *desired, res result) {
	now := res.alarms
	for _, f := range r.Switch.Faults {
		now[southbound.AlarmKey{Reason: alarmFault, Object: f}] = fmt.Sprintf("physical switch %s says %s: look at its log", d.swName, f)
	}
	for _, t := range r.Tunnels {
		if t.Enabled && t.Down {
			now[southbound.AlarmKey{Reason: alarmTunnel, Object: "tunnel to " + t.Remote.String()}] = "BFD says that the tunnel is down: " + t.Words
		}
	}
	for _, m := range r.Malformed {
		if v, ours := vniOf(r.Logical[m.Logical].Name); ours && m.VTEP == d.vtep && des.segments[v] != nil {
			now[southbound.AlarmKey{Reason: southbound.AlarmMalformed, Object: fmt.Sprintf("VNI %d Ucast_Macs_Local %s", v, m.MAC)}] = "the switch learned what can't be read: " + m.Words
		}
	}
	d.tellAlarms(now)
}

// Reasons of alarms that only this driver has.
const (
	alarmTunnel = "TunnelDown"
	alarmKey    = "KeyTaken"
	alarmFault  = "SwitchFault"
)

// tellAlarms raises those that are new or say something else now, and ends
// those that are gone.
func (d *Driver) tellAlarms(now map[southbound.AlarmKey]string) {
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
