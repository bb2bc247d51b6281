package agent

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-sdn/weft/southbound/switchstate"
)

// RoutingController is who is told of a switch's routing; *client.Client is one.
type RoutingController interface {
	// ReportRouting says whether the controller wants the whole, of which it has
	// another hash or none.
	ReportRouting(ctx context.Context, node string, r switchstate.RoutingReport) (whole bool, err error)
}

// Routes are what daemons and kernel know of the underlay; *linux.Routing are some.
type Routes interface {
	Run(context.Context) error
	Changed() <-chan struct{}
	// Routing is what was read last, and its hash, empty before the first time.
	Routing() (switchstate.Routing, string)
}

// Routing follows a switch's routing and reports it: whole when it changed, by its
// hash alone every few seconds otherwise.
type Routing struct {
	Node       string
	Controller RoutingController
	Routes     Routes
	Logger     *slog.Logger
}

// routingGap is the least time between two reports, so that routes that come one by
// one after a failure are told together.
const routingGap = 200 * time.Millisecond

// Run works until ctx ends; it returns ctx's error.
func (r *Routing) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return repeat(ctx, r.Logger, "following the underlay failed; trying again", r.Routes.Run)
	})
	g.Go(func() error { return r.tell(ctx) })
	return g.Wait()
}

// repeat runs something again and again until ctx ends.
func repeat(ctx context.Context, log *slog.Logger, failed string, run func(context.Context) error) error {
	for {
		err := run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		log.Warn(failed, "err", err)
		if err := sleep(ctx, retryWait); err != nil {
			return err
		}
	}
}

// tell reports until ctx ends.
func (r *Routing) tell(ctx context.Context) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	known, lost := "", false // hash of what the controller has
	for {
		whole, err := false, error(nil)
		state, hash := r.Routes.Routing()
		if hash != "" {
			report := switchstate.RoutingReport{Hash: hash}
			if hash != known {
				report.Routing = &state
			}
			whole, err = r.Controller.ReportRouting(ctx, r.Node, report)
			known = hash
			if err != nil || whole {
				known = ""
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if (err != nil) != lost {
			if lost = err != nil; lost {
				r.Logger.Warn("the routing can't be reported; trying again", "err", err)
			} else {
				r.Logger.Info("the routing is reported again")
			}
		}
		if err != nil || whole {
			if err := sleep(ctx, retryWait); err != nil {
				return err
			}
			continue
		}
		if err := sleep(ctx, routingGap); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
		case <-r.Routes.Changed():
		}
	}
}
