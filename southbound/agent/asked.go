package agent

import (
	"context"
	"log/slog"

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

// answersAtOnce bounds the questions that are answered at a time; others wait at the
// controller.
const answersAtOnce = 4

// Run works until ctx ends; it returns ctx's error.
func (a *Asked) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(answersAtOnce + 1)
	g.Go(func() error {
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
				g.Go(func() error {
					if err := a.Asker.Answer(ctx, a.Node, a.Answers.Answer(ctx, q)); err != nil {
						a.Logger.Debug("a question can't be answered", "question", q.ID, "err", err)
					}
					return nil
				})
			}
		}
	})
	return g.Wait()
}
