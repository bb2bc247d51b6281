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

// asking is a controller with some questions, of which the first attempt fails.
type asking struct {
	mu       sync.Mutex
	failed   bool
	waiting  []switchstate.Question
	answered chan switchstate.Answer
}

func (a *asking) Questions(ctx context.Context, node string) ([]switchstate.Question, error) {
	a.mu.Lock()
	list := a.waiting
	if !a.failed {
		a.failed = true
		a.mu.Unlock()
		return nil, errors.New("no route to host")
	}
	a.waiting = nil
	a.mu.Unlock()
	if len(list) == 0 {
		<-ctx.Done()
	}
	return list, ctx.Err()
}

func (a *asking) Answer(_ context.Context, node string, answer switchstate.Answer) error {
	a.answered <- answer
	return nil
}

type echo struct{}

func (echo) Answer(_ context.Context, q switchstate.Question) switchstate.Answer {
	return switchstate.Answer{ID: q.ID, Route: &switchstate.NextHop{Interface: q.Route.In}}
}

// Each question is answered once, also after the controller was away, and more than are
// answered at a time.
func TestQuestionsAreAnswered(t *testing.T) {
	c := &asking{answered: make(chan switchstate.Answer)}
	want := map[uint64]bool{}
	for i := range uint64(20) {
		c.waiting = append(c.waiting, switchstate.Question{ID: i, Route: &switchstate.RouteQuestion{In: "eth1"}})
		want[i] = true
	}
	ctx, stop := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() {
		_ = (&Asked{Node: "leaf1", Asker: c, Answers: echo{}, Logger: slog.New(slog.DiscardHandler)}).Run(ctx)
	})
	for len(want) > 0 {
		a := <-c.answered
		require.True(t, want[a.ID], "question %d is answered twice", a.ID)
		require.Equal(t, "eth1", a.Route.Interface)
		delete(want, a.ID)
	}
	stop()
	ended.Wait()
}

// watching takes as long for a watch as is asked for.
type watching struct{}

func (watching) Answer(ctx context.Context, q switchstate.Question) switchstate.Answer {
	if q.Watch == nil {
		return switchstate.Answer{ID: q.ID, Route: &switchstate.NextHop{}}
	}
	select {
	case <-ctx.Done():
	case <-time.After(q.Watch.For):
	}
	return switchstate.Answer{ID: q.ID, Seen: []switchstate.Tunnel{{VNI: 1}}}
}

// Routes are told at once however many idle flows are watched, and who asked for a watch
// that comes to its turn too late is told so while he still waits.
func TestWatchesDoNotHoldUpRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle, watch = 2 * watchesMost, 3 * time.Second
		c := &asking{failed: true, answered: make(chan switchstate.Answer)}
		for i := range uint64(idle) {
			c.waiting = append(c.waiting, switchstate.Question{ID: i, Watch: &switchstate.WatchQuestion{For: watch}})
		}
		c.waiting = append(c.waiting, switchstate.Question{ID: idle, Route: &switchstate.RouteQuestion{}})
		ctx, stop := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() {
			_ = (&Asked{Node: "leaf1", Asker: c, Answers: watching{}, Logger: slog.New(slog.DiscardHandler)}).Run(ctx)
		})
		began, watched, refused := time.Now(), 0, 0
		for range idle + 1 {
			a := <-c.answered
			after := time.Since(began)
			switch {
			case a.Route != nil:
				require.Zero(t, after, "a route waits for watches")
			case a.Error != "":
				refused++
				require.Contains(t, a.Error, "ask again")
				require.Less(t, after, watch+switchstate.AnswerWait)
			default:
				watched++
				require.LessOrEqual(t, after, watch+switchstate.AnswerWait)
			}
		}
		require.Equal(t, 2*watchesAtOnce, watched, "those that begin at once, and after three seconds")
		require.Equal(t, idle-watched, refused)
		stop()
		ended.Wait()
	})
}

// Watches that are under way or wait end with ctx.
func TestWatchesEndWithTheirAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &asking{failed: true, answered: make(chan switchstate.Answer, watchesMost)}
		for i := range uint64(watchesMost) {
			c.waiting = append(c.waiting, switchstate.Question{ID: i, Watch: &switchstate.WatchQuestion{For: time.Hour}})
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- (&Asked{Node: "leaf1", Asker: c, Answers: watching{}, Logger: slog.New(slog.DiscardHandler)}).Run(ctx)
		}()
		synctest.Wait()
		stop()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}
