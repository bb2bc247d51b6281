package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// router is a switch's FRR and kernel.
type router struct {
	*world
	has      string // host name in the state that is in place
	applied  []string
	lasts    []string
	tampered []string
	refuse   string // host name of a state that is not taken
	broken   error
}

type refusal struct{ error }

func (refusal) Refused() bool { return true }

func (r *router) Apply(_ context.Context, want device.State, last *device.State) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return nil, r.broken
	}
	r.applied = append(r.applied, want.Hostname)
	before := ""
	if last != nil {
		before = last.Hostname
	}
	r.lasts = append(r.lasts, before)
	if want.Hostname == r.refuse {
		r.has = "half of " + want.Hostname
		return nil, refusal{errors.New(`bgpd: "neighbor x": % Unknown command`)}
	}
	var repaired []string
	if r.has == want.Hostname {
		repaired, r.tampered = r.tampered, nil
	}
	r.has = want.Hostname
	return repaired, nil
}

func stateOf(rev uint64, host string) switchstate.State {
	d := device.State{Hostname: host}
	return switchstate.State{Version: switchstate.Version, Revision: rev, Hash: d.Hash(), Device: d}
}

func (r *router) start(t *testing.T, d *Disk) (stop func()) {
	a := &Agent{Node: "leaf1", Controller: r, Switch: r.world, Tables: r.world, Wires: wires{r.world}, Counting: r.world, Underlay: r, Disk: d, Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() { cancel(); require.ErrorIs(t, <-done, context.Canceled) }
}

func (r *router) told() switchstate.Underlay {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.underlay[len(r.underlay)-1]
}

func newRouter() *router {
	return &router{world: &world{spine: true, changed: make(chan struct{}, 1), rewired: make(chan struct{}, 1)}}
}

func TestUnderlayIsAppliedKeptAndMended(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		r.wanted = stateOf(7, "one")
		stop := r.start(t, &Disk{Dir: dir})
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, switchstate.Underlay{Revision: 7, Hash: r.wanted.Hash, Wanted: r.wanted.Hash}, r.told())

		r.set(func() { r.tampered = []string{"bgpd: neighbor eth1 shutdown"} })
		time.Sleep(underlayAudit + time.Second)
		synctest.Wait()
		var repairs []string
		r.set(func() {
			for _, u := range r.underlay {
				for _, x := range u.Repaired {
					repairs = append(repairs, x.What)
				}
			}
		})
		require.Equal(t, []string{"bgpd: neighbor eth1 shutdown"}, repairs, "told, and once")

		r.set(func() { r.wanted = stateOf(8, "two") })
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, uint64(8), r.told().Revision)
		stop()
	})
	synctest.Test(t, func(t *testing.T) { // another run, without a controller
		r := newRouter()
		r.away = true
		stop := r.start(t, &Disk{Dir: dir})
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, "two", r.has)
		r.set(func() { r.away, r.wanted = false, stateOf(3, "two") })
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, switchstate.Underlay{Revision: 3, Hash: r.wanted.Hash, Wanted: r.wanted.Hash}, r.told())
		stop()
	})
}

func TestUnderlayThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		r.wanted = stateOf(7, "one")
		stop := r.start(t, nil)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		r.set(func() { r.refuse, r.wanted = "two", stateOf(8, "two") })
		time.Sleep(time.Minute)
		synctest.Wait()
		u := r.told()
		require.Equal(t, `bgpd: "neighbor x": % Unknown command`, u.Error, "the device's own words")
		require.True(t, u.Refused)
		require.Equal(t, stateOf(7, "one").Hash, u.Hash)
		require.Equal(t, "one", r.has, "it was rolled back")
		tries := 0
		for i, h := range r.applied {
			if h == "two" {
				tries++
				require.Equal(t, "one", r.applied[i+1])
				require.Equal(t, "two", r.lasts[i+1], "what was half done is undone")
			}
		}
		require.Equal(t, 1, tries, "it is not tried again and again")
		r.set(func() { r.wanted = stateOf(9, "three") })
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, switchstate.Underlay{Revision: 9, Hash: r.wanted.Hash, Wanted: r.wanted.Hash}, r.told())
	})
}

func TestUnderlayOfNewerVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		r.wanted = stateOf(7, "one")
		stop := r.start(t, nil)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		r.set(func() { r.wanted = switchstate.State{Version: switchstate.Version + 1, Revision: 8, Hash: "x"} })
		time.Sleep(time.Second)
		synctest.Wait()
		u := r.told()
		require.Equal(t, "state version 2 is newer than this agent understands (1): upgrade the agent", u.Error)
		require.True(t, u.Refused)
		require.Equal(t, "one", r.has)
		r.set(func() { r.wanted = stateOf(9, "one") })
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, r.told().Error)
	})
}

// What can't be done now is tried until it can.
func TestUnderlayIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		r.wanted, r.broken = stateOf(7, "one"), errors.New("bgpd is not running")
		stop := r.start(t, nil)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, "bgpd is not running", r.told().Error)
		require.False(t, r.told().Refused)
		r.set(func() { r.broken = nil })
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, r.told().Error)
	})
}

func TestDisk(t *testing.T) {
	d := &Disk{Dir: filepath.Join(t.TempDir(), "agent")}
	s, err := d.Load()
	require.NoError(t, err)
	require.Nil(t, s, "the first start")
	want := stateOf(7, "one")
	require.NoError(t, d.Save(want))
	s, err = d.Load()
	require.NoError(t, err)
	require.Equal(t, want, *s)

	path := filepath.Join(d.Dir, stateFile)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, c := range map[string]struct{ content, want string }{
		"torn":       {string(whole[:len(whole)/2]), "is damaged and not used"},
		"empty":      {"", "is damaged and not used"},
		"bit flip":   {string(whole[:len(whole)-20]) + "X" + string(whole[len(whole)-19:]), "is damaged and not used"},
		"too new":    {`{"version": 99, "hash": "x", "device": {"hostname": 7}}`, "state version 99 is newer than this agent understands (1): upgrade the agent"},
		"other hash": {`{"version": 1, "hash": "x", "device": {"hostname": "one"}}`, "its content has the hash " + want.Hash},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
			s, err := d.Load()
			require.ErrorContains(t, err, c.want)
			require.Nil(t, s)
		})
	}
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	full := &Disk{Dir: "/dev/full/agent"}
	require.ErrorContains(t, full.Save(want), "can't be kept for a start without the controller")
	left, err := os.ReadDir(d.Dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no half written file is left")
}

// What the controller tells while the disk is full is in place, and the trouble told.
func TestUnderlayWithoutADisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		r.wanted = stateOf(7, "one")
		stop := r.start(t, &Disk{Dir: "/dev/full/agent"})
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, uint64(7), r.told().Revision)
		require.Len(t, r.told().Notes, 1)
		require.Contains(t, r.told().Notes[0], "can't be kept")
	})
}
