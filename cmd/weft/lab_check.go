package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/lab"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

func newLabCheck() *cobra.Command {
	var f labFlags
	var o probe.CheckOptions
	var co probe.ContinuousOptions
	var continuous bool
	var ready time.Duration
	c := &cobra.Command{
		Use: "check", Short: "Send packets between all hosts and leaves and count what arrives", Args: cobra.NoArgs,
		Long: `Send packets between all leaves' loopbacks and between all VMs and servers, and
count every copy that arrives anywhere. What must arrive follows from the
topology and from the controller's intent: within a network everything, between
networks nothing. Exits with status 1 on any difference.`,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := lab.Find(f.lab)
			if err != nil {
				return err
			}
			ctx, cancel := interruptible(c)
			defer cancel()
			if ready > 0 && s.Controller != "" {
				wait, cancel := context.WithTimeout(ctx, ready)
				err := lab.WaitReady(wait, s)
				cancel()
				if err != nil {
					return err
				}
			}
			if continuous {
				co.Rate = o.Rate
				rep, err := lab.CheckContinuously(ctx, s, co)
				if err != nil {
					return err
				}
				if err := f.print(c, rep, func() error { return rep.Print(c.OutOrStdout()) }); err != nil {
					return err
				}
				if !rep.OK() {
					return errDiffers("packets were lost, leaked or doubled")
				}
				return nil
			}
			res, err := lab.Check(ctx, s, o)
			if err != nil {
				return err
			}
			if err := f.print(c, res, func() error { return res.Print(c.OutOrStdout()) }); err != nil {
				return err
			}
			if !res.OK() {
				return errDiffers("not everything is as expected")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&continuous, "continuous", false, "send between the VMs until Ctrl-C, and report what was lost")
	c.Flags().DurationVar(&co.Interval, "interval", 0, "with --continuous: time between two probes of a pair (default 10ms)")
	c.Flags().DurationVar(&co.Duration, "duration", 0, "with --continuous: end after this time")
	c.Flags().DurationVar(&ready, "ready", 0, "wait this long for all ports to be Ready first")
	c.Flags().IntVar(&o.Tries, "tries", 3, "probes per pair before it counts as lost")
	c.Flags().DurationVar(&o.Wait, "wait", 0, "time that each try may take (default 1.2s)")
	c.Flags().IntVar(&o.Rate, "rate", 0, "most probes per second in all")
	f.add(c, true)
	return c
}

func newLabGraph() *cobra.Command {
	var f labFlags
	c := &cobra.Command{
		Use: "graph [FILE]", Short: "Draw a topology, or the running lab's, as SVG or Mermaid", Args: cobra.MaximumNArgs(1),
		Example: "  weft lab graph lab.clab.yml -o svg > lab.svg",
		RunE: func(c *cobra.Command, args []string) error {
			var path string
			if len(args) == 1 {
				path = args[0]
			} else {
				s, err := lab.Find(f.lab)
				if errors.Is(err, lab.ErrNoLab) && f.lab == "" {
					return errors.New("no lab is running: name a topology file")
				}
				if err != nil {
					return err
				}
				path = s.Source
			}
			file, err := lab.LoadFile(path)
			if err != nil {
				return err
			}
			text, err := draw(file.Graph, f.output)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().StringVarP(&f.output, "output", "o", "mermaid", "svg or mermaid")
	f.add(c, false)
	return c
}

func draw(g *topology.Graph, format string) (string, error) {
	switch format {
	case "svg":
		return string(g.SVG()), nil
	case "mermaid":
		return g.Mermaid(), nil
	}
	return "", fmt.Errorf("output %q is not known: use svg or mermaid", format)
}
