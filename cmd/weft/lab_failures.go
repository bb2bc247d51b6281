package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/lab"
)

// failureWords are the words of --only.
var failureWords = map[string]lab.FailureKind{
	"links": lab.LinkDown, "one-way": lab.OneWayLoss, "nodes": lab.NodeCut, "crashes": lab.NodeCrash, "daemons": lab.DaemonCrash,
}

func newLabFailures() *cobra.Command {
	var f labFlags
	var o lab.FailureOptions
	var svg, table string
	var only []string
	c := &cobra.Command{
		Use: "failures [LAB]", Short: "Fail every link and every node of a lab in turn, and tell what was lost", Args: cobra.MaximumNArgs(1),
		Long: `Fail every link and every switch of a running lab in turn, while datagrams run
between all hosts that must reach each other, each pair on a flow of its own. Each
failure is mended, and the next comes when every kernel has all its next hops again.
The table says how many flows were hit, what was lost, for how long, what was cut off,
and why. Exits with status 1 if something did not heal, or was not carried although
there was a way.`,
		Example: `  weft lab failures
  weft lab failures dc --only links,one-way --svg failures.svg --out failures.csv`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.lab = args[0]
			}
			kinds, err := failureKinds(only)
			if err != nil {
				return err
			}
			if o.Interval <= 0 {
				return usageError{fmt.Errorf("--interval: %s is no time between two datagrams: use 1ms or more", o.Interval)}
			}
			if o.Rate < 1 {
				return usageError{errors.New("--rate: at least one datagram a second must be allowed")}
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
			failures := s.Failures(o.Weft, kinds...)
			o.Told = func(r lab.FailureResult) {
				fmt.Fprintf(c.ErrOrStderr(), "%s of %s: lost %d, gap %s\n", r.Kind, r.What, r.Down.Lost, r.Down.Gap.Round(time.Millisecond))
			}
			rep, err := lab.TryFailures(ctx, s, failures, o)
			if rep == nil || len(rep.Results) == 0 {
				return err
			}
			return errors.Join(err, f.report(c, s, rep, svg, table))
		},
	}
	c.Flags().StringVar(&svg, "svg", "", "draw the lab with the gaps to this file")
	c.Flags().StringVar(&table, "out", "", "write the table as CSV to this file")
	c.Flags().StringSliceVar(&only, "only", []string{"links", "crashes"}, "what fails: links, one-way, nodes (their links only), crashes (of switches), daemons (of FRR)")
	c.Flags().DurationVar(&o.Interval, "interval", time.Millisecond, "between two datagrams of a flow")
	c.Flags().IntVar(&o.Rate, "rate", 40000, "most datagrams per second in all, for which the interval is made longer")
	c.Flags().BoolVar(&o.Underlay, "underlay", false, "between the leaves' loopbacks too")
	f.add(c, true)
	return c
}

func failureKinds(words []string) (kinds []lab.FailureKind, err error) {
	for _, w := range words {
		k, ok := failureWords[strings.TrimSpace(w)]
		if !ok {
			return nil, usageError{fmt.Errorf("--only: %q is not known: use links, one-way, nodes, crashes, daemons", w)}
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

// report prints the table, and writes what is asked for besides.
func (f *labFlags) report(c *cobra.Command, s *lab.State, rep *lab.FailureReport, svg, table string) error {
	err := f.print(c, rep, func() error { return rep.Print(c.OutOrStdout()) })
	write := func(path string, to func(io.Writer) error) {
		if path == "" {
			return
		}
		file, e := os.Create(path)
		if e == nil {
			e = errors.Join(to(file), file.Close())
		}
		err = errors.Join(err, e)
	}
	write(svg, func(w io.Writer) error { _, e := w.Write(rep.SVG(s)); return e })
	write(table, rep.CSV)
	if err == nil && !rep.OK() {
		err = errDiffers("not everything went as it must")
	}
	return err
}
