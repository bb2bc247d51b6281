package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// world is the controller, the switch and its tables.
type world struct {
	mu       sync.Mutex
	away     bool // the controller
	fresh    bool // it knows nothing of the leaf yet
	state    leafstate.State
	reports  []leafstate.Report
	applied  []uint64
	fail     error
	entries  []leafstate.Entry
	add      []leafstate.Entry
	changed  chan struct{}
	spine    bool // the switch is no leaf
	wired    int  // reports of ports
	rewired  chan struct{}
	refused  error // what reports of ports are answered with
	loads    []switchstate.Load
	answer   switchstate.LoadAnswer
	told     int // readings of the counters that were taken
	wanted   switchstate.State
	underlay []switchstate.Underlay // as reported
}

// wires are the ports of a world's switch.
type wires struct{ *world }

func (w wires) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (w wires) Changed() <-chan struct{}      { return w.rewired }
func (w wires) Report() (switchstate.Report, error) {
	return switchstate.Report{Ports: []switchstate.Port{{Name: "eth1"}}}, nil
}

func (w *world) Ready(context.Context) bool { return true }

func (w *world) ReportSwitch(_ context.Context, _ string, r switchstate.Report) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused != nil {
		return false, w.refused
	}
	if w.away {
		return false, errors.New("connection refused")
	}
	w.underlay = append(w.underlay, r.Underlay)
	w.wired++
	return !w.spine, nil
}

func (w *world) SwitchState(ctx context.Context, _, _ string, since uint64) (switchstate.State, bool, error) {
	for range 200 {
		w.mu.Lock()
		s, away := w.wanted, w.away
		w.mu.Unlock()
		if away {
			return switchstate.State{}, false, errors.New("connection refused")
		}
		if s.Revision != since && s.Revision != 0 {
			return s, true, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return switchstate.State{}, false, err
		}
	}
	return switchstate.State{}, false, nil
}

func (w *world) Load(_ context.Context, tunnels, full bool) (switchstate.Load, error) {
	return switchstate.Load{Counts: tunnels, Full: full}, nil
}

func (w *world) Told() { w.set(func() { w.told++ }) }

func (w *world) ReportLoad(_ context.Context, _ string, r switchstate.Load) (switchstate.LoadAnswer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return switchstate.LoadAnswer{}, errors.New("connection refused")
	}
	w.loads = append(w.loads, r)
	a := w.answer
	a.Every = max(a.Every, time.Second)
	w.answer.Full = false
	return a, nil
}

func (w *world) LeafState(ctx context.Context, _ string, since uint64) (leafstate.State, bool, error) {
	for range 200 {
		w.mu.Lock()
		s, away, known := w.state, w.away, !w.fresh
		w.mu.Unlock()
		if away {
			return leafstate.State{}, false, errors.New("connection refused")
		}
		if known && s.Revision != since && s.Revision != 0 {
			return s, true, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return leafstate.State{}, false, err
		}
	}
	return leafstate.State{}, false, nil
}

func (w *world) ReportLeaf(_ context.Context, _ string, r leafstate.Report) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return false, errors.New("connection refused")
	}
	if w.fresh && !r.Full {
		return true, nil
	}
	w.fresh = false
	w.reports = append(w.reports, r)
	return false, nil
}

func (w *world) Apply(_ context.Context, s leafstate.State) (leafstate.InPlace, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = append(w.applied, s.Revision)
	return leafstate.InPlace{Ports: []leafstate.PortReport{{Interface: "eth1", VNI: 100}}}, w.fail
}

func (w *world) Sessions(context.Context) (map[intent.VNI][]leafstate.OutsideSession, error) {
	return nil, nil
}
func (w *world) Interfaces() ([]leafstate.Interface, error) {
	return []leafstate.Interface{{Name: "eth1", Up: true}}, nil
}
func (w *world) Software(context.Context) string  { return "FRR" }
func (w *world) Follow(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (w *world) Read() error                      { return nil }
func (w *world) Changed() <-chan struct{}         { return w.changed }
func (w *world) All() []leafstate.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add = nil
	return w.entries
}
func (w *world) Changes() (add, remove []leafstate.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	add, w.add = w.add, nil
	return add, nil
}

func (w *world) set(f func()) { w.mu.Lock(); defer w.mu.Unlock(); f() }

func (w *world) last() leafstate.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reports[len(w.reports)-1]
}

// seen are copies of the reports and of the revisions that were applied.
func (w *world) seen() (reports []leafstate.Report, applied []uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.reports), slices.Clone(w.applied)
}

func start(t *testing.T, w *world) {
	a := &Agent{Node: "leaf1", Controller: w, Switch: w, Tables: w, Wires: wires{w}, Counting: w, Logger: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() { stop(); require.ErrorIs(t, <-done, context.Canceled) })
}

// A switch that is no leaf reports its ports, at once when something changes there,
// and nothing else; it becomes a leaf, and ceases to be one, while the agent runs.
func TestAgentOfAnySwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{spine: true, fresh: true, changed: make(chan struct{}, 1), rewired: make(chan struct{}, 1), state: leafstate.State{Revision: 7}}
		start(t, w)
		time.Sleep(heartbeat / 2)
		told := func() (ports, leaf int) { w.set(func() { ports, leaf = w.wired, len(w.reports) }); return }
		ports, leaf := told()
		require.Equal(t, 1, ports)
		require.Zero(t, leaf)
		w.rewired <- struct{}{}
		synctest.Wait()
		ports, leaf = told()
		require.Equal(t, 2, ports)
		require.Zero(t, leaf)
		w.set(func() { w.spine = false })
		time.Sleep(heartbeat + time.Second)
		_, applied := w.seen()
		require.Equal(t, []uint64{7}, applied)
		w.set(func() { w.spine = true })
		time.Sleep(2 * heartbeat)
		_, leaf = told()
		time.Sleep(5 * heartbeat)
		ports, still := told()
		require.Equal(t, leaf, still, "it is no leaf any more")
		w.set(func() { w.away = true })
		time.Sleep(heartbeat)
		w.set(func() { w.away = false })
		time.Sleep(heartbeat)
		now, _ := told()
		require.Greater(t, now, ports, "it reports again once the controller is back")
	})
}

func TestAgentAppliesAndReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{fresh: true, changed: make(chan struct{}, 1), state: leafstate.State{Revision: 7}, entries: []leafstate.Entry{{Kind: leafstate.Remote, VNI: 100}}}
		start(t, w)
		time.Sleep(time.Second)
		reports, applied := w.seen()
		require.True(t, reports[0].Full, "the first report is whole")
		require.Len(t, reports[0].Add, 1)
		require.Zero(t, reports[0].Applied)
		require.Equal(t, []uint64{7}, applied)
		require.Equal(t, uint64(7), w.last().Applied)
		require.Equal(t, []leafstate.PortReport{{Interface: "eth1", VNI: 100}}, w.last().Ports)
		require.False(t, w.last().Full)

		w.set(func() {
			w.add = []leafstate.Entry{{Kind: leafstate.Remote, VNI: 100, MAC: intent.MAC{2}, VTEP: netip.MustParseAddr("10.0.0.1")}}
		})
		w.changed <- struct{}{}
		time.Sleep(gatherTime)
		synctest.Wait()
		require.Len(t, w.last().Add, 1, "what changed is told at once")

		w.set(func() { w.fail = errors.New("eth9: no such device"); w.state.Revision = 8 })
		time.Sleep(time.Second)
		require.Equal(t, []string{"eth9: no such device"}, w.last().Errors)
		require.Zero(t, w.last().Applied)
		w.set(func() { w.fail = nil })
		time.Sleep(auditEvery + time.Second)
		require.Empty(t, w.last().Errors, "it is tried again")
		require.Equal(t, uint64(8), w.last().Applied)
	})
}

func TestAgentOutlivesItsController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{fresh: true, changed: make(chan struct{}, 1), state: leafstate.State{Revision: 7}}
		start(t, w)
		time.Sleep(time.Second)
		w.set(func() { w.away = true; w.add = []leafstate.Entry{{Kind: leafstate.Flood, VNI: 100}}; w.entries = w.add })
		w.changed <- struct{}{}
		time.Sleep(time.Minute)
		before, _ := w.seen()
		n := len(before)
		w.set(func() { w.away, w.fresh, w.state.Revision = false, true, 100 })
		time.Sleep(2 * retryWait)
		synctest.Wait()
		reports, _ := w.seen()
		require.Greater(t, len(reports), n, "a new controller hears of the leaf at once")
		require.True(t, reports[n].Full)
		require.Len(t, reports[n].Add, 1, "what was not told then is told now")
		time.Sleep(time.Second)
		require.Equal(t, uint64(100), w.last().Applied)
	})
}

// The load is told as often as the controller asks for, with tunnels when it asks for
// them: with all of them first, and when it knows none.
func TestAgentTellsTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{spine: true, fresh: true, changed: make(chan struct{}, 1), rewired: make(chan struct{}, 1)}
		start(t, w)
		loads := func(d time.Duration) (out []switchstate.Load) {
			time.Sleep(d)
			synctest.Wait()
			w.set(func() { out, w.loads = w.loads, nil })
			return out
		}
		require.Equal(t, []switchstate.Load{{Full: true}, {}, {}}, loads(2500*time.Millisecond))
		w.set(func() { w.answer = switchstate.LoadAnswer{Tunnels: true, Every: 2 * time.Second} })
		require.Equal(t, []switchstate.Load{{}, {Full: true, Counts: true}, {Counts: true}}, loads(5*time.Second))
		told := w.told
		w.set(func() { w.away = true })
		require.Empty(t, loads(10*time.Second))
		require.Equal(t, told, w.told, "what was not taken is told again")
		w.set(func() { w.away, w.answer.Full = false, true })
		require.Equal(t, []switchstate.Load{{Counts: true}, {Full: true, Counts: true}}, loads(4*time.Second))
	})
}
