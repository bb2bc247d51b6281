// Package agent is the process on a switch. On each it reports the ports and who is
// at their other ends, fetches from the controller what the switch is to be as a part
// of the underlay, and puts it in place. On an EVPN leaf it does the same for what the
// leaf is to have, and reports what the kernel has. Which of both a switch is, the
// controller says.
//
// The underlay's last good state is on disk, so that a switch that starts without the
// controller routes; see Disk. Nothing else is: what the agent made is in the kernel
// and in FRR, is recognised there after a restart, and stays while the controller is
// away. Every two seconds it looks whether the underlay, and what a leaf has, is still
// as it was left, and mends what somebody else changed; it tells what that was.
//
// The first report is whole; later ones have what changed, and one is sent every few
// seconds even when nothing did. Reports that are lost are made up for by a whole
// one.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Controller is what the agent asks and tells; *client.Client is one.
type Controller interface {
	LeafState(ctx context.Context, node string, since uint64) (s leafstate.State, ok bool, err error)
	ReportLeaf(ctx context.Context, node string, r leafstate.Report) (full bool, err error)
	// ReportSwitch says whether the switch is a leaf that has a state.
	ReportSwitch(ctx context.Context, node string, r switchstate.Report) (leaf bool, err error)
	// SwitchState waits for a state of another revision than since; ok is false when
	// there was none for a while.
	SwitchState(ctx context.Context, node, serial string, since uint64) (s switchstate.State, ok bool, err error)
	ReportLoad(ctx context.Context, node string, r switchstate.Load) (switchstate.LoadAnswer, error)
}

// Switch is the switch that the agent runs on; *linux.Switch is one.
type Switch interface {
	// Ready reports whether the switch can become a leaf: its BGP instance is there.
	Ready(context.Context) bool
	// Apply makes the switch what the state says and returns what is in place.
	Apply(context.Context, leafstate.State) (leafstate.InPlace, error)
	// Sessions reads the sessions with routers outside, by L3VNI.
	Sessions(context.Context) (map[intent.VNI][]leafstate.OutsideSession, error)
	Interfaces() ([]leafstate.Interface, error)
	Software(context.Context) string
}

// Tables are the switch's forwarding tables; *linux.Tables are some.
type Tables interface {
	Follow(context.Context) error
	Read() error
	Changed() <-chan struct{}
	All() []leafstate.Entry
	Changes() (add, remove []leafstate.Entry)
}

// Wires are the switch's ports and who is at their other ends; *linux.Wires are some.
type Wires interface {
	Run(context.Context) error
	Changed() <-chan struct{}
	Report() (switchstate.Report, error)
}

// Agent serves one switch.
type Agent struct {
	Node       string
	Serial     string // of the box
	Controller Controller
	Switch     Switch
	Tables     Tables
	Wires      Wires
	Routing    *Routing // of the underlay; nil where it is not to be reported
	Asked      *Asked   // about single flows; nil where nothing is answered
	// Joining announces the switch, with Wires, while the controller does not know it
	// by the node's name; all that is in place stays. Nil leaves that out.
	Joining  *Joining
	Counting Counting
	Logger   *slog.Logger
	// Underlay configures the switch as a part of the underlay; nil leaves that to
	// somebody else. Disk keeps its last good state.
	Underlay Underlay
	Disk     *Disk

	state   leafstate.State // as wanted; of revision 0 until the controller told
	applied uint64
	in      leafstate.InPlace
	failed  error
	full    bool // the next report must be
	told    string

	underlay underlay
}

// Times of the agent.
const (
	retryWait  = 300 * time.Millisecond
	readyWait  = 100 * time.Millisecond // between looks whether bgpd has its instance
	heartbeat  = 3 * time.Second
	auditEvery = 2 * time.Second  // the state is applied again: what others changed is mended
	failedWait = time.Second      // and this long after it could not be
	gatherTime = time.Millisecond // a route changes several tables
)

// Run works until ctx ends, and returns ctx's error, or until the controller says that
// the switch is another node, and returns a *MovedError.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	leaf := make(chan bool)
	g.Go(func() error { return a.again(ctx, "LLDP failed; trying again", a.Wires.Run) })
	a.underlay.changed = make(chan struct{}, 1)
	g.Go(func() error { return a.tellWires(ctx, leaf) })
	if a.Underlay != nil {
		g.Go(func() error { return a.runUnderlay(ctx) })
	}
	g.Go(func() error { return a.tellLoad(ctx) })
	g.Go(func() error { return a.whileLeaf(ctx, leaf) })
	if a.Routing != nil {
		g.Go(func() error { return a.Routing.Run(ctx) })
	}
	if a.Asked != nil {
		g.Go(func() error { return a.Asked.Run(ctx) })
	}
	return g.Wait()
}

// tellWires reports the ports whenever something at them changes and every few
// seconds, and passes on whether the switch is a leaf.
func (a *Agent) tellWires(ctx context.Context, leaf chan<- bool) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for lost := ""; ; {
		r, err := a.Wires.Report()
		r.Serial = a.Serial
		var repairs int
		r.Underlay, repairs = a.underlay.report()
		var is bool
		if err == nil {
			is, err = a.Controller.ReportSwitch(ctx, a.Node, r)
		}
		if err == nil {
			a.underlay.reported(repairs)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := retryWait
		if nameless(err) {
			err, wait = a.rejoin(ctx, err), announceEvery
		}
		if moved := (*MovedError)(nil); errors.As(err, &moved) {
			return moved
		}
		if now := text(err); now != lost {
			if lost = now; err != nil {
				a.Logger.Warn("the switch can't be reported; trying again", "err", err)
			} else {
				a.Logger.Info("the switch is reported again")
			}
		}
		again := beat.C
		if err != nil {
			again = time.After(wait)
		} else {
			select {
			case leaf <- is:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again:
		case <-a.Wires.Changed():
		case <-a.underlay.changed:
		}
	}
}

// whileLeaf serves the leaf for as long as the switch is one.
func (a *Agent) whileLeaf(ctx context.Context, leaf <-chan bool) error {
	for {
		if err := await(ctx, leaf, true); err != nil {
			return err
		}
		serving, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = a.runLeaf(serving) // its context's error: it has no other
		}()
		err := await(ctx, leaf, false)
		stop()
		<-ended
		if err != nil {
			return err
		}
	}
}

// await waits until a value comes.
func await(ctx context.Context, values <-chan bool, want bool) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case v := <-values:
			if v == want {
				return nil
			}
		}
	}
}

// again runs something again and again until ctx ends.
func (a *Agent) again(ctx context.Context, failed string, run func(context.Context) error) error {
	return repeat(ctx, a.Logger, failed, run)
}

// runLeaf serves a leaf until ctx ends; it returns ctx's error.
func (a *Agent) runLeaf(ctx context.Context) error {
	for !a.Switch.Ready(ctx) {
		if err := sleep(ctx, readyWait); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	wanted, again := make(chan leafstate.State, 1), make(chan struct{}, 1)
	g.Go(func() error {
		return a.again(ctx, "following the kernel's tables failed; trying again", a.Tables.Follow)
	})
	g.Go(func() error { return a.fetch(ctx, wanted, again) })
	g.Go(func() error { return a.serve(ctx, wanted, again) })
	return g.Wait()
}

// fetch hands on each state that the controller tells; the last one wins. While
// the controller does not answer, it has reports tried again: the first that
// gets through is what a new controller waits for.
func (a *Agent) fetch(ctx context.Context, wanted chan leafstate.State, again chan<- struct{}) error {
	since, lost := uint64(0), false
	for {
		s, ok, err := a.Controller.LeafState(ctx, a.Node, since)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if (err != nil) != lost {
			if lost = err != nil; lost {
				a.Logger.Warn("the controller does not answer; the leaf stays as it is", "err", err)
			} else {
				a.Logger.Info("the controller answers")
			}
		}
		if err != nil {
			if err := sleep(ctx, retryWait); err != nil {
				return err
			}
			select {
			case again <- struct{}{}:
			default:
			}
			continue
		}
		if !ok {
			continue
		}
		since = s.Revision
		select {
		case <-wanted:
		default:
		}
		wanted <- s
	}
}

// serve applies and reports.
func (a *Agent) serve(ctx context.Context, wanted <-chan leafstate.State, again <-chan struct{}) error {
	a.full = true
	beat, audit := time.NewTicker(heartbeat), time.NewTicker(auditEvery)
	defer beat.Stop()
	defer audit.Stop()
	a.report(ctx)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s := <-wanted:
			a.state = s
			a.apply(ctx)
			audit.Reset(a.auditAfter())
		case <-audit.C:
			a.apply(ctx)
			audit.Reset(a.auditAfter())
		case <-a.Tables.Changed():
			if err := sleep(ctx, gatherTime); err != nil {
				return err
			}
		case <-again:
		case <-beat.C:
		}
		began := time.Now()
		a.report(ctx)
		// As long as a report takes is for what it is about.
		if err := sleep(ctx, time.Since(began)); err != nil {
			return err
		}
	}
}

// apply puts the wanted state in place.
func (a *Agent) apply(ctx context.Context) {
	if a.state.Revision == 0 {
		return
	}
	in, err := a.Switch.Apply(ctx, a.state)
	if ctx.Err() != nil {
		return
	}
	if e := a.Tables.Read(); err == nil {
		err = e
	}
	a.in, a.failed = in, err
	a.repaired(in.Repaired)
	if err == nil {
		if a.applied != a.state.Revision {
			a.Logger.Info("the state is in place", "rev", a.state.Revision, "segments", len(a.state.Segments))
		}
		a.applied = a.state.Revision
	}
	if now := text(err); now != a.told {
		a.told = now
		if err != nil {
			a.Logger.Warn("the state is not in place", "rev", a.state.Revision, "err", err)
		}
	}
}

// auditAfter is after what time the state is applied again: soon, when a part of it
// is not in place and may be the next time, or is doubtful.
func (a *Agent) auditAfter() time.Duration {
	if a.failed != nil || a.in.Again || slices.ContainsFunc(a.in.Routers, func(r leafstate.RouterReport) bool { return r.Error != "" && !r.Capability }) {
		return failedWait
	}
	return auditEvery
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// report tells the controller what there is. Changes that don't reach it are
// made up for by a full report.
func (a *Agent) report(ctx context.Context) {
	r := leafstate.Report{Full: a.full, Applied: a.applied, Ports: a.in.Ports, Routers: a.in.Routers}
	if a.failed != nil {
		r.Errors, r.Applied = []string{a.failed.Error()}, 0
	}
	var err error
	if r.Interfaces, err = a.Switch.Interfaces(); err != nil {
		r.Errors = append(r.Errors, err.Error())
	}
	r.Software = a.Switch.Software(ctx)
	sessions, err := a.Switch.Sessions(ctx)
	if err != nil {
		r.Errors = append(r.Errors, err.Error())
	}
	r.Routers = slices.Clone(r.Routers)
	for i := range r.Routers {
		r.Routers[i].Sessions = sessions[r.Routers[i].VNI]
	}
	if a.full {
		if err := a.Tables.Read(); err != nil {
			r.Errors = append(r.Errors, err.Error())
		}
		r.Add = a.Tables.All()
	} else {
		r.Add, r.Remove = a.Tables.Changes()
	}
	full, err := a.Controller.ReportLeaf(ctx, a.Node, r)
	if ctx.Err() != nil {
		return
	}
	a.full = full || err != nil
	if full && err == nil {
		a.report(ctx) // once: a full one is never refused
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
