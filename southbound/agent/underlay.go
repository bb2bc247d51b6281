package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Underlay is the switch as a part of the underlay; *linux.Underlay is one.
type Underlay interface {
	// Apply makes the switch what the state says; last is the state that was
	// wanted before, nil when none is known. It returns what others had changed. An
	// error that has a method Refused which is true says that the state itself is
	// at fault.
	Apply(ctx context.Context, want device.State, last *device.State) (repaired []string, err error)
}

// Times of the underlay's part.
const (
	underlayAudit = 2 * time.Second
	// repairsKept bounds the repairs that wait to be reported.
	repairsKept = 64
)

// underlay is what the underlay's part of the agent knows. The lock is for the
// report, which another goroutine makes.
type underlay struct {
	mu      sync.Mutex
	status  switchstate.Underlay
	dropped int // repairs that did not fit
	changed chan struct{}

	good    *switchstate.State // in place, or found on disk
	wanted  *switchstate.State // that the controller told last
	refused string             // hash of a state that is not tried again
	loaded  bool               // good is from disk and was not put in place yet
	told    string
}

// report is the status, and how many repairs it has.
func (u *underlay) report() (switchstate.Underlay, int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.status
	if u.dropped > 0 {
		s.Repaired = append(s.Repaired[:len(s.Repaired):len(s.Repaired)], switchstate.Repair{At: time.Now(), What: fmt.Sprintf("%d more changes of others", u.dropped)})
	}
	return s, len(u.status.Repaired)
}

// reported forgets the first repairs: the controller knows them.
func (u *underlay) reported(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.status.Repaired = u.status.Repaired[n:]; len(u.status.Repaired) == 0 {
		u.status.Repaired, u.dropped = nil, 0
	}
}

// set changes the status and has it reported.
func (u *underlay) set(change func(*switchstate.Underlay)) {
	u.mu.Lock()
	change(&u.status)
	u.mu.Unlock()
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// runUnderlay keeps the underlay's state in place until ctx ends; it returns ctx's
// error.
func (a *Agent) runUnderlay(ctx context.Context) error {
	if s, err := a.Disk.Load(); err != nil {
		a.Logger.Warn("the state on disk can't be read; waiting for the controller", "err", err)
		a.note(err)
	} else if s != nil {
		a.Logger.Info("starting from the state on disk", "rev", s.Revision, "hash", s.Hash)
		a.underlay.good, a.underlay.loaded = s, true
		a.underlay.set(func(u *switchstate.Underlay) { u.Wanted = s.Hash })
	}
	g, ctx := errgroup.WithContext(ctx)
	wanted := make(chan switchstate.State, 1)
	g.Go(func() error { return a.fetchUnderlay(ctx, wanted) })
	g.Go(func() error { return a.serveUnderlay(ctx, wanted) })
	return g.Wait()
}

// note keeps a trouble with the disk; nil ends it.
func (a *Agent) note(err error) {
	a.underlay.set(func(u *switchstate.Underlay) {
		u.Notes = nil
		if err != nil {
			u.Notes = []string{err.Error()}
		}
	})
}

// fetchUnderlay hands on each state that the controller tells; the last one wins.
func (a *Agent) fetchUnderlay(ctx context.Context, wanted chan switchstate.State) error {
	since, lost := uint64(0), false
	for {
		s, ok, err := a.Controller.SwitchState(ctx, a.Node, a.Serial, since)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if (err != nil) != lost {
			if lost = err != nil; lost {
				a.Logger.Warn("the underlay's state can't be fetched; the switch stays as it is", "err", err)
			} else {
				a.Logger.Info("the underlay's state is fetched again")
			}
		}
		switch {
		case err != nil:
			if err := sleep(ctx, retryWait); err != nil {
				return err
			}
		case ok:
			since = s.Revision
			select {
			case <-wanted:
			default:
			}
			wanted <- s
		}
	}
}

// serveUnderlay applies what is wanted, and looks again and again whether it still is
// in place.
func (a *Agent) serveUnderlay(ctx context.Context, wanted <-chan switchstate.State) error {
	for {
		again := underlayAudit
		if err := a.applyUnderlay(ctx); err != nil {
			again = retryWait
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s := <-wanted:
			a.underlay.wanted = &s
			a.underlay.set(func(u *switchstate.Underlay) { u.Wanted = s.Hash })
		case <-time.After(again):
		}
	}
}

// applyUnderlay puts the wanted state in place, or sees to it that the last good one
// still is. Its error says that it is worth trying again soon.
func (a *Agent) applyUnderlay(ctx context.Context) error {
	u := &a.underlay
	want := u.wanted
	var newer error
	if want != nil && want.Version > switchstate.Version {
		newer = fmt.Errorf("state version %d is newer than this agent understands (%d): upgrade the agent", want.Version, switchstate.Version)
		want = u.good
	}
	if want == nil || want.Hash == u.refused {
		want = u.good
	}
	if want == nil {
		a.outcome(newer, newer != nil)
		return nil
	}
	var last *device.State
	if u.good != nil {
		last = &u.good.Device
	}
	repaired, err := a.Underlay.Apply(ctx, want.Device, last)
	if ctx.Err() != nil {
		return nil
	}
	var r interface{ Refused() bool }
	switch {
	case err == nil:
		a.inPlace(*want)
		if u.refused == "" || u.wanted != nil && u.wanted.Hash != u.refused {
			u.refused = ""
			a.outcome(newer, newer != nil)
		}
		a.repaired(repaired)
		return nil
	case errors.As(err, &r) && r.Refused() && (u.good == nil || want.Hash != u.good.Hash):
		u.refused = want.Hash
		a.outcome(err, true)
		a.rollBack(ctx, *want)
		return nil
	}
	if u.refused == "" {
		a.outcome(err, false)
	}
	return err
}

// rollBack puts the last good state in place of one that was refused.
func (a *Agent) rollBack(ctx context.Context, refused switchstate.State) {
	if a.underlay.good == nil {
		return
	}
	if _, err := a.Underlay.Apply(ctx, a.underlay.good.Device, &refused.Device); err != nil && ctx.Err() == nil {
		a.Logger.Warn("the last good state is not in place", "err", err)
	}
}

// inPlace notes that a state is in place, and keeps it on disk.
func (a *Agent) inPlace(s switchstate.State) {
	u := &a.underlay
	if u.good == nil || u.good.Hash != s.Hash || u.good.Revision != s.Revision || u.loaded {
		a.Logger.Info("the underlay's state is in place", "rev", s.Revision, "hash", s.Hash)
		if u.good == nil || u.good.Hash != s.Hash {
			a.note(a.Disk.Save(s))
		}
		u.good, u.loaded = &s, false
		u.set(func(u *switchstate.Underlay) { u.Revision, u.Hash = s.Revision, s.Hash })
	}
}

// outcome says once why the wanted state is not in place, or that it is.
func (a *Agent) outcome(err error, refused bool) {
	now := text(err)
	if now == a.underlay.told {
		return
	}
	a.underlay.told = now
	if err != nil {
		a.Logger.Warn("the underlay's state is not in place", "err", err)
	}
	a.underlay.set(func(u *switchstate.Underlay) { u.Error, u.Refused = now, refused })
}

// repaired notes what others had changed.
func (a *Agent) repaired(what []string) {
	if len(what) == 0 {
		return
	}
	now := time.Now()
	for _, w := range what {
		a.Logger.Warn("somebody changed the switch; it is mended", "what", w)
	}
	a.underlay.mu.Lock()
	for _, w := range what {
		if len(a.underlay.status.Repaired) >= repairsKept {
			a.underlay.dropped++
			continue
		}
		a.underlay.status.Repaired = append(a.underlay.status.Repaired, switchstate.Repair{At: now, What: w})
	}
	a.underlay.mu.Unlock()
	a.underlay.set(func(*switchstate.Underlay) {})
}
