package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/lab"
)

func newLabRollingRestart() *cobra.Command {
	var f labFlags
	var o lab.FailureOptions
	var only []string
	c := &cobra.Command{
		Use: "rolling-restart [LAB]", Short: "Restart all daemons of all switches, one switch after the other, under traffic", Args: cobra.MaximumNArgs(1),
		Long: `Restart FRR's daemons and the agent of each switch of a running lab, one switch
after the other, while datagrams run between all hosts that must reach each other. A
spine is drained before and used again afterwards; a leaf can't be, since its hosts
hang on it alone. The next switch comes when every kernel has all its next hops again
and nothing is lost any more; when that does not come, the rest is left alone. The
table says for each switch what was lost.`,
		Example: `  weft lab rolling-restart
  weft lab rolling-restart dc --only leaf1,leaf2 --interval 10ms`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.lab = args[0]
			}
			if o.Interval <= 0 {
				return usageError{fmt.Errorf("--interval: %s is no time between two datagrams: use 1ms or more", o.Interval)}
			}
			s, err := lab.Find(f.lab)
			if err != nil {
				return err
			}
			if o.Weft, err = os.Executable(); err != nil {
				return err
			}
			ctx, cancel := interruptible(c)
			defer cancel()
			o.Abort = true
			o.Told = func(r lab.FailureResult) {
				fmt.Fprintf(c.ErrOrStderr(), "%s of %s: lost %d, then %d\n", r.Kind, r.What, r.Down.Lost, r.Up.Lost)
			}
			restarts := s.Restarts(o.Weft, time.Minute)
			for _, name := range only {
				if !slices.ContainsFunc(restarts, func(f lab.Failure) bool { return f.Node == name }) {
					return usageError{fmt.Errorf("--only: %s is no switch of lab %s that Weft configures", name, s.Name)}
				}
			}
			if len(only) > 0 {
				restarts = slices.DeleteFunc(restarts, func(f lab.Failure) bool { return !slices.Contains(only, f.Node) })
			}
			rep, err := lab.TryFailures(ctx, s, restarts, o)
			if rep == nil || len(rep.Results) == 0 {
				return err
			}
			return errors.Join(err, f.report(c, s, rep, "", ""))
		},
	}
	c.Flags().DurationVar(&o.Interval, "interval", time.Millisecond, "between two datagrams of a flow")
	c.Flags().IntVar(&o.Rate, "rate", 40000, "most datagrams per second in all, for which the interval is made longer")
	c.Flags().StringSliceVar(&only, "only", nil, "restart these switches alone")
	f.add(c, true)
	return c
}
