package agent

import (
	"context"
	"time"

	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Counting are the switch's counters; *linux.Counting are some.
type Counting interface {
	// Load reads the ports', and with tunnels those of what leaves in tunnels: all
	// with full, else those that rose since Told was called.
	Load(ctx context.Context, tunnels, full bool) (switchstate.Load, error)
	// Told says that what was read last has been taken.
	Told()
}

// loadWait is how long after a report of the load that failed the next one comes.
const loadWait = 3 * time.Second

// tellLoad reports what the switch has counted as often as the controller asks for,
// until ctx ends; it returns ctx's error.
func (a *Agent) tellLoad(ctx context.Context) error {
	tunnels, full, lost := false, true, false
	for {
		began, wait := time.Now(), loadWait
		r, err := a.Counting.Load(ctx, tunnels, full)
		var answer switchstate.LoadAnswer
		if err == nil {
			answer, err = a.Controller.ReportLoad(ctx, a.Node, r)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if (err != nil) != lost {
			if lost = err != nil; lost {
				a.Logger.Warn("the load can't be reported; trying again", "err", err)
			} else {
				a.Logger.Info("the load is reported again")
			}
		}
		if err == nil {
			a.Counting.Told()
			wait = answer.Every
			// The first report with tunnels has all, so that counting begins with it.
			full = answer.Full || answer.Tunnels && !tunnels
			tunnels = answer.Tunnels
		}
		if err := sleep(ctx, max(wait-time.Since(began), 10*time.Millisecond)); err != nil {
			return err
		}
	}
}
