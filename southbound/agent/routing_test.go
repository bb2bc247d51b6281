package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/southbound/switchstate"
)

// routed is a switch's underlay and the controller that hears of it.
type routed struct {
	mu      sync.Mutex
	hash    string
	has     string // the controller
	away    bool
	heard   []switchstate.RoutingReport
	changed chan struct{}
	runs    int
}

func (r *routed) Run(ctx context.Context) error {
	r.mu.Lock()
	r.runs++
	first := r.runs == 1
	r.mu.Unlock()
	if first {
		return errors.New("the kernel's messages ended")
	}
	<-ctx.Done()
	return ctx.Err()
}

func (r *routed) Changed() <-chan struct{} { return r.changed }

func (r *routed) Routing() (switchstate.Routing, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return switchstate.Routing{}, r.hash
}

func (r *routed) ReportRouting(_ context.Context, node string, report switchstate.RoutingReport) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away {
		return false, errors.New("connection refused")
	}
	r.heard = append(r.heard, report)
	if report.Routing != nil {
		r.has = report.Hash
	}
	return r.has != report.Hash, nil
}

func (r *routed) take() (out []switchstate.RoutingReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, r.heard = r.heard, nil
	return out
}

// change makes the underlay another one.
func (r *routed) change(hash string) {
	r.mu.Lock()
	r.hash = hash
	r.mu.Unlock()
	r.changed <- struct{}{}
}

// The routing is reported whole when it changed and to a controller that has not got
// it, and else by its hash; nothing before it was read.
func TestRoutingIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		r := &routed{changed: make(chan struct{}, 1)}
		done := make(chan error, 1)
		go func() {
			done <- (&Routing{Node: "leaf1", Controller: r, Routes: r, Logger: slog.New(slog.DiscardHandler)}).Run(ctx)
		}()
		time.Sleep(2 * heartbeat)
		synctest.Wait()
		require.Empty(t, r.take())
		require.Equal(t, 2, r.runs, "what fails is tried again")

		r.change("a")
		time.Sleep(time.Second)
		got := r.take()
		require.Len(t, got, 1)
		require.NotNil(t, got[0].Routing)
		time.Sleep(2 * heartbeat)
		for _, g := range r.take() {
			require.Equal(t, switchstate.RoutingReport{Hash: "a"}, g)
		}

		r.mu.Lock()
		r.has = "" // another controller
		r.mu.Unlock()
		time.Sleep(2 * heartbeat)
		got = r.take()
		require.Nil(t, got[0].Routing)
		require.NotNil(t, got[1].Routing)

		r.mu.Lock()
		r.away = true
		r.mu.Unlock()
		r.change("b")
		time.Sleep(heartbeat)
		r.mu.Lock()
		r.away = false
		r.mu.Unlock()
		time.Sleep(heartbeat)
		got = r.take()
		require.Equal(t, "b", got[0].Hash)
		require.NotNil(t, got[0].Routing)
		stop()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}
