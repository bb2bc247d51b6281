package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

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
