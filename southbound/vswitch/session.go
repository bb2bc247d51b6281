package vswitch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// session serves the device from one OpenFlow connection until that is lost
// or the bridge is another. It returns why.
func (d *Driver) session(ctx context.Context, ovs *ovsdb.VSwitch) error {
	state := ovs.State()
	if err := d.checkOVSDB(state); err != nil {
		d.observe(state)
		return err
	}
	c, err := d.dial(ctx)
	if err != nil {
		d.observe(state)
		return err
	}
	defer c.Close()
	touched := make(chan struct{}, 1)
	err = c.MonitorFlows(ctx, func(u openflow.FlowUpdate) {
		if u.Flow.Cookie == greetingCookie {
			return // it ends by itself
		}
		if u.Flow.Cookie&cookieMarkMask != cookieMark && !usesTable(u.Flow.Table) {
			return
		}
		select {
		case touched <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return d.fail(southbound.CodeRefused, "monitor flows", "use Open vSwitch 2.16 or newer", err)
	}
	s := &connection{Driver: d, conn: c, ovs: ovs, at: state, pipe: pipeline{vtep: d.vtep}, heard: make(chan uint32, heardMost), reported: openflow.NewPacketQueue(reportedMost), told: map[intent.Ref]time.Time{}, deaf: "nobody knows yet"}
	s.at.Interfaces = nil // nobody asks what there was at the beginning
	s.answers = newResponder(c, d.feed, d.log)
	defer s.answers.close()
	s.setConn(true)
	defer s.setConn(false)
	if err := s.hear(ctx); err != nil {
		return d.fail(southbound.CodeRefused, "ask for packets", "use Open vSwitch 2.16 or newer", err)
	}
	// Which ports are in use is known by our flows: after a restart a port
	// that could be in two places stays where it is.
	seen := func(has *openflow.Described) {
		d.mu.Lock()
		d.active = inUse(has)
		d.mu.Unlock()
		d.observe(state)
	}
	if err := s.readAll(ctx, seen, false); err != nil {
		return err
	}
	d.setErr(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { s.answerReported(ctx, s.reported.C()) })
	return s.serve(ctx, touched)
}

func (d *Driver) dial(ctx context.Context) (*openflow.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := openflow.Dial(ctx, d.openflow, openflow.Config{Logger: d.log})
	if err != nil {
		return nil, d.fail(southbound.CodeUnreachable, "connect by OpenFlow to "+d.openflow, "", err)
	}
	return c, nil
}

// connection is one OpenFlow connection and what was programmed over it.
type connection struct {
	*Driver
	conn *openflow.Conn
	ovs  *ovsdb.VSwitch
	at   ovsdb.State // when the connection began
	pipe pipeline

	done      programmed
	reading   map[intent.VNI]evpn.Revision // segments that are read from there on, though nothing is confirmed
	localRev  uint64                       // of the feed's local ports that were read last
	answers   *responder
	heard     chan uint32              // ports in standby that have spoken
	reported  *openflow.PacketQueue    // packets that can't be routed
	told      map[intent.Ref]time.Time // when their feed was told
	keptFlows flowSet                  // kept for edges that have not reported, until they do
	kept      bool                     // something was kept for edges that have not reported
	late      bool                     // see prefixes
	faults    int                      // that were found and mended so far
	deaf      string                   // the alarm that colours are not taken in
}

// serve reacts to whatever happens: changes of the feed, of the database, and
// of flows by others.
func (s *connection) serve(ctx context.Context, touched <-chan struct{}) error {
	// Devices are not all read at the same time.
	audit := time.NewTimer(rand.N(auditEvery))
	defer audit.Stop()
	late := time.NewTimer(s.patience)
	defer late.Stop()
	settle := time.NewTimer(0)
	<-settle.C
	defer settle.Stop()
	calm, suspects := settleTime, false // how long a suspicion waits; whether one does
	rest := time.NewTimer(0)
	<-rest.C
	defer rest.Stop()
	var rested time.Time // when the device may be sent to again
	bring := func() error {
		began := time.Now()
		err := s.bring(ctx)
		rested = began.Add(southbound.Rest(time.Since(began)))
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.conn.Done():
			return s.fail(southbound.CodeUnreachable, "talk OpenFlow to "+s.openflow, "", s.conn.Err())
		case <-s.ovs.Changed():
			err = s.database(ctx)
		case <-s.feed.Wake():
			if wait := time.Until(rested); wait > 0 {
				rest.Reset(wait)
			} else {
				err = bring()
			}
		case <-rest.C:
			err = bring()
		case port := <-s.heard:
			s.announced(port)
		case <-s.poke:
			err = s.speakNow()
		case <-touched:
			if !suspects {
				suspects = true
				settle.Reset(calm)
			}
		case <-settle.C:
			suspects = false
			before := s.faults
			// Another program that works in our tables all the time, and does
			// us no harm, must not keep both of us busy.
			if err = s.readAll(ctx, nil, true); s.faults != before {
				calm = settleTime
			} else {
				calm = min(2*calm, settleMost)
			}
		case <-late.C:
			err = s.viasLate(ctx)
		case <-audit.C:
			err = s.readAll(ctx, nil, true)
			audit.Reset(auditEvery)
		}
		if err != nil {
			return err
		}
	}
}

// database takes a change of the device's database. A lost database does not
// end the session: flows still go.
func (s *connection) database(ctx context.Context) error {
	now := s.ovs.State()
	s.observe(now)
	s.tellColours(now)
	err := s.checkOVSDB(now)
	if now.Connected && err == nil && now.BridgeUUID == s.at.BridgeUUID && now.TunnelOFPort == s.at.TunnelOFPort && s.tunnelsChanged(now) {
		s.localRev = 0 // the same ports, by other tunnels
		if err := s.bring(ctx); err != nil {
			return err
		}
	}
	if now.Connected && (err != nil || now.BridgeUUID != s.at.BridgeUUID || now.TunnelOFPort != s.at.TunnelOFPort) {
		if err == nil {
			err = s.fail(southbound.CodeNotReady, "follow bridge "+s.spec.BridgeName(), "wait a moment", errors.New("the bridge or its tunnel port was made anew"))
		}
		return err
	}
	if err == nil {
		s.Driver.mu.Lock()
		s.status.Synced = true
		s.Driver.mu.Unlock()
	}
	s.setErr(err)
	s.feed.Confirmed()
	return nil
}

// send sends a bundle; the device takes all of it or nothing.
func (s *connection) send(ctx context.Context, c *changes) error {
	if c.empty() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	what := fmt.Sprintf("program %d meters", len(c.meters)+len(c.spent))
	err := s.conn.SetMeters(ctx, c.meters)
	if err == nil {
		if err = s.conn.Bundle(ctx, c.mods(), c.runs...); err != nil {
			what = fmt.Sprintf("program %d flow changes", c.len())
		} else {
			err = s.conn.SetMeters(ctx, c.spent)
		}
	}
	if err == nil {
		return nil
	}
	select {
	case <-s.conn.Done():
		return s.fail(southbound.CodeUnreachable, "talk OpenFlow to "+s.openflow, "", s.conn.Err())
	default:
	}
	return s.fail(southbound.CodeRefused, what, "look at ovs-vswitchd's log on "+s.name+"; it must be Open vSwitch 2.16 or newer", err)
}
