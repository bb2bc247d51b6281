package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/lab"
)

func newLabChange() *cobra.Command {
	var o lab.Options
	c := &cobra.Command{
		Use: "change FILE", Short: "Make a running lab what its changed file says, while it runs", Args: cobra.ExactArgs(1),
		Long: `Make a running lab what its changed file says: nodes and links that are new in the
file come, those that are in it no more go, and all others run on. Switches that go
are drained before. Traffic between what stays loses nothing.

Ports of tenants for new hosts are added as always: weft lab intent FILE | weft apply -f -`,
		Example: `  weft lab generate --spines 3 --leaves 5 --hypervisors 5 > dc.clab.yml
  weft lab change dc.clab.yml`,
		RunE: func(c *cobra.Command, args []string) error {
			name, err := lab.NameOf(args[0])
			if err != nil {
				return err
			}
			running, err := lab.Load(name)
			if err != nil {
				return err
			}
			file, err := lab.LoadFile(args[0])
			if err != nil {
				return err
			}
			s, notes, err := lab.PlanChange(file, running)
			if err != nil {
				return err
			}
			if o.Weft, err = os.Executable(); err != nil {
				return err
			}
			o.Progress = progressOf(c)
			ctx, cancel := interruptible(c)
			defer cancel()
			began := time.Now()
			d, err := lab.Change(ctx, s, o)
			if err != nil {
				return err
			}
			for _, n := range notes {
				o.Progress.Note(n)
			}
			fmt.Fprintf(c.OutOrStdout(), "lab %s: %s, after %.1fs\n", s.Name, d, time.Since(began).Seconds())
			return nil
		},
	}
	c.Flags().DurationVar(&o.Timeout, "timeout", 2*time.Minute, "give up after this time")
	return c
}
