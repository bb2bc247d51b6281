package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/fabric/demand"
)

func newFabricLoad(a *app) *cobra.Command {
	var output string
	var window time.Duration
	var most int
	c := &cobra.Command{
		Use: "load", Short: "What the links between switches carry, as their counters say", Args: cobra.NoArgs,
		Long: `What the links between switches carried within a window that ends now, the most
utilised first, from the counters that the switches' agents report each second; how it
is divided among the spines; and how unequal the uplinks of each leaf are used.`,
		Example: `  weft fabric load
  weft fabric load --window 5m --most 10
  weft fabric load -o json`,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("the load can't be printed as %s: use json", output)}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := cl.FabricLoad(c.Context(), window)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(a.out, got)
			}
			return printLoad(a.out, got, most)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json")
	c.Flags().DurationVar(&window, "window", 10*time.Second, "time that ends now, from 1s to 5h")
	c.Flags().IntVar(&most, "most", 0, "print so many directions of links at most; all by default")
	return c
}

func printLoad(out io.Writer, l client.FabricLoad, most int) error {
	links := slices.Clone(l.Links)
	slices.SortStableFunc(links, func(a, b client.LinkLoad) int {
		return cmp.Or(cmp.Compare(b.Utilisation, a.Utilisation), cmp.Compare(b.Rate, a.Rate))
	})
	if most > 0 {
		links = links[:min(most, len(links))]
	}
	t := table{header: []string{"LINK", "RATE", "CAPACITY", "UTILISATION", "DROPPED"}}
	for _, k := range links {
		row := []string{k.From + " → " + k.To, "unknown", "-", "-", "-"}
		if k.Seen {
			row[1], row[4] = bitrate(k.Rate), fmt.Sprintf("%.0f/s", k.Dropped)
			if k.Capacity > 0 {
				row[2], row[3] = demand.FormatRate(k.Capacity), percent(k.Utilisation)
			}
		}
		t.add(row...)
	}
	if err := t.print(out, true); err != nil {
		return err
	}
	if len(l.Shares) > 0 {
		fmt.Fprintln(out)
		t = table{header: []string{"SPINE", "FROM BELOW", "SHARE", "TO BELOW"}}
		for _, s := range l.Shares {
			t.add(s.Node, bitrate(s.Up), percent(s.Part), bitrate(s.Down))
		}
		if err := t.print(out, true); err != nil {
			return err
		}
	}
	var uneven []string
	for _, b := range l.Imbalances {
		// Below a tenth it is what a hash does to a few hundred flows.
		if b.Excess >= 0.1 && b.Mean > 0 {
			uneven = append(uneven, fmt.Sprintf("%s by %s", b.Node, percent(b.Excess)))
		}
	}
	if len(uneven) > 0 {
		fmt.Fprintf(out, "\nThe most utilised uplink is above the mean: of %s.\n", strings.Join(uneven, ", of "))
	}
	return nil
}

// bitrate is a rate for people, also when it is none.
func bitrate(v float64) string { return cmp.Or(rate(v), "0") }

// measuredMatrix prints what leaves have measured as a matrix.
func (a *app) measuredMatrix(c *cobra.Command, window time.Duration) error {
	cl, err := a.client()
	if err != nil {
		return err
	}
	got, err := cl.Matrix(c.Context(), window)
	if err != nil {
		return err
	}
	for _, leaf := range slices.Sorted(maps.Keys(got.Missing)) {
		fmt.Fprintf(a.err, "Not in it: what %s sends: %s.\n", leaf, got.Missing[leaf])
	}
	if got.Unknown > 0 {
		fmt.Fprintf(a.err, "Not in it: %s of addresses that are no node's VTEP: %v.\n", bitrate(got.Unknown), got.Addresses)
	}
	if got.Uncounted > 0 {
		fmt.Fprintf(a.err, "Not in it: %s for which the switches had no counters left.\n", bitrate(got.Uncounted))
	}
	csv, err := cl.MatrixCSV(c.Context(), window)
	if err != nil {
		return err
	}
	_, err = c.OutOrStdout().Write(csv)
	return err
}
