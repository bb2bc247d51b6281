package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Asker is who has questions for a switch; *client.Client is one.
type Asker interface {
	// Questions waits until there are some; there are none when nobody asked for a while.
	Questions(ctx context.Context, node string) ([]switchstate.Question, error)
	Answer(ctx context.Context, node string, a switchstate.Answer) error
}

// Answerer knows what becomes of flows on the switch; linux.Flows is one.
type Answerer interface {
	Answer(context.Context, switchstate.Question) switchstate.Answer
}

// Asked answers the controller's questions about single flows.
type Asked struct {
	Node    string
	Asker   Asker
	Answers Answerer
	Logger  *slog.Logger
}

// watchesAtOnce bounds the flows that are watched at a time, watchesMost those that wait
// for their turn.
const (
	watchesAtOnce = 4
	watchesMost   = 32
)

// errWatchesMany is why a flow is not watched.
var errWatchesMany = fmt.Errorf("it watches %d flows at a time, and too many others were asked for before: ask again", watchesAtOnce)

// watchAsked is a question that takes time to answer.
type watchAsked struct {
	switchstate.Question
	at time.Time
}

// Run works until ctx ends; it returns ctx's error. What the kernel answers at once is
// answered where questions are fetched; flows are watched beside that.
func (a *Asked) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	watches := make(chan watchAsked, watchesMost)
	g.Go(func() error { return a.fetch(ctx, watches) })
	for range watchesAtOnce {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case w := <-watches:
					a.watch(ctx, w)
				}
			}
		})
	}
	return g.Wait()
}

// fetch fetches questions and never waits for watches.
func (a *Asked) fetch(ctx context.Context, watches chan<- watchAsked) error {
	for {
		list, err := a.Asker.Questions(ctx, a.Node)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil { // the other tasks tell that the controller is away
			a.Logger.Debug("the controller's questions can't be heard", "err", err)
			if err := sleep(ctx, retryWait); err != nil {
				return err
			}
		}
		for _, q := range list {
			if q.Watch == nil {
				a.answer(ctx, a.Answers.Answer(ctx, q))
				continue
			}
			select {
			case watches <- watchAsked{q, time.Now()}:
			default:
				a.answer(ctx, switchstate.Answer{ID: q.ID, Error: errWatchesMany.Error()})
			}
		}
	}
}

// watch watches a flow, unless who asked will have given up before that ends.
func (a *Asked) watch(ctx context.Context, w watchAsked) {
	if time.Since(w.at) > switchstate.AnswerWait {
		a.answer(ctx, switchstate.Answer{ID: w.ID, Error: errWatchesMany.Error()})
		return
	}
	a.answer(ctx, a.Answers.Answer(ctx, w.Question))
}

func (a *Asked) answer(ctx context.Context, is switchstate.Answer) {
	if err := a.Asker.Answer(ctx, a.Node, is); err != nil {
		a.Logger.Debug("a question can't be answered", "question", is.ID, "err", err)
	}
}
