package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
)

func init() { commands = append(commands, newPathsCommand) }

func newPathsCommand(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "paths FROM TO", Short: "Show the equal-cost paths between two places: intended, learned and programmed", Args: cobra.ExactArgs(2),
		Long: `Show the equal-cost paths between two switches, hypervisors or addresses of the
underlay, hop by hop and three times: intended, as the graph has them; learned, as
the switches' routing protocols have them; and programmed, by which their kernels
send. The last two are what the agents on the switches report. Each difference says
which switch lacks which next hop, and why. Exits with status 1 when there are some.`,
		Example: `  weft paths leaf1 leaf3
  weft paths hv1 10.254.0.3
  weft paths leaf1 leaf3 -o json`,
		RunE: func(c *cobra.Command, args []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("paths can't be printed as %s: use json", output)}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			p, err := cl.Paths(c.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(a.out, p)
			} else {
				err = a.printPaths(p)
			}
			if err == nil && len(p.Differences) > 0 {
				return errDiffers(fmt.Sprintf("differences found: %d", len(p.Differences)))
			}
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json")
	return c
}

func (a *app) printPaths(p client.Paths) error {
	fmt.Fprintf(a.out, "%s to %s\n\n", placeWords(p.From), placeWords(p.To))
	sets := table{header: []string{"SET", "WIDTH", "PATHS", "HOPS"}}
	sets.add("intended", fmt.Sprint(p.Intended.Width), fmt.Sprint(p.Intended.Paths), fmt.Sprint(p.Intended.Hops))
	if p.Up != p.Intended {
		sets.add("  up", fmt.Sprint(p.Up.Width), fmt.Sprint(p.Up.Paths), fmt.Sprint(p.Up.Hops))
	}
	sets.add("learned", fmt.Sprint(p.Learned.Width), fmt.Sprint(p.Learned.Paths), fmt.Sprint(p.Learned.Hops))
	sets.add("programmed", fmt.Sprint(p.Programmed.Width), fmt.Sprint(p.Programmed.Paths), fmt.Sprint(p.Programmed.Hops))
	if err := sets.print(a.out, true); err != nil {
		return err
	}
	if len(p.Hops) > 0 {
		fmt.Fprintln(a.out)
		hops := hopTable(p.Hops)
		if err := hops.print(a.out, true); err != nil {
			return err
		}
	}
	if len(p.Differences) > 0 {
		fmt.Fprintln(a.out)
	}
	for _, d := range p.Differences {
		fmt.Fprintf(a.out, "%s: %s\n", d.Kind, d.Message)
	}
	var silent []string
	for _, h := range p.Hops {
		if !h.Reported {
			silent = append(silent, h.Switch)
		}
	}
	if len(silent) > 0 {
		fmt.Fprintf(a.err, "Taken to be as intended: no agent reports the routing of %s.\n", strings.Join(silent, ", "))
	}
	return nil
}

// placeWords says what a place is: "hv1 (10.64.1.2) behind leaf2".
func placeWords(e client.PathEnd) string {
	s := e.Name
	if a := e.Address.String(); a != e.Name {
		s += " (" + a + ")"
	} else if e.Node != "" {
		s += " (" + e.Node + ")"
	}
	if e.Switch != e.Node {
		s += " behind " + e.Switch
	}
	return s
}

// hopTable has a line for each next hop. What a set lacks that it should have is
// written in capitals.
func hopTable(hops []client.PathHop) table {
	t := table{header: []string{"SWITCH", "BY", "NEXT HOP", "INTENDED", "LEARNED", "PROGRAMMED"}}
	for _, h := range hops {
		for _, l := range h.NextHops {
			intended := has(l.Intended, false)
			if l.Intended && !l.Up {
				intended = "down"
			}
			learned, programmed := has(l.Learned, l.Up && !h.Steered), has(l.Programmed, l.Learned && !h.Steered)
			if l.Weight > 1 {
				programmed += fmt.Sprintf(" (weight %d)", l.Weight)
			}
			if !h.Reported {
				learned, programmed = "?", "?"
			}
			t.add(h.Switch, l.Interface, l.Neighbour, intended, learned, programmed)
		}
	}
	return t
}

func has(is, should bool) string {
	switch {
	case is:
		return "yes"
	case should:
		return "MISSING"
	}
	return "-"
}
