package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newSteerChosen(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "chosen", Short: "What the optimiser did last, for policies that hand over to it", Args: cobra.NoArgs,
		Long: `What the optimiser did in its last step: the highest utilisation of a link before and
after it, what can be reached, what it changed, and why it did not change more. It runs
while a policy hands over to it, every 5 s, on the matrix that weft steer matrix
--measured prints.`,
		Example: "  weft steer chosen",
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("it can't be printed as %s: use json", output)}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := cl.Choice(c.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(a.out, got)
			}
			if !got.Active {
				_, err := fmt.Fprintln(a.out, "no policy hands over to the optimiser")
				return err
			}
			fmt.Fprintf(a.out, "The most utilised link: %s before, %s after the step, %s can be reached. %d cells are steered.\n", percent(got.Before), percent(got.After), percent(got.Target), got.Steered)
			if got.Why != "" {
				fmt.Fprintf(a.out, "Why: %s.\n", got.Why)
			}
			if len(got.Changes) == 0 {
				return nil
			}
			t := table{header: []string{"FROM", "TO", "OF", "BEFORE", "AFTER"}}
			for _, k := range got.Changes {
				t.add(k.From, k.To, cmp.Or(k.Tenant, "all"), weightsOf(k.Before), weightsOf(k.After))
			}
			return t.print(a.out, true)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json")
	return c
}

// weightsOf is "eth1/spine1*3,eth2/spine2*1"; ECMP when there are none.
func weightsOf(weights map[string]int) string {
	var words []string
	for _, hop := range slices.Sorted(maps.Keys(weights)) {
		words = append(words, fmt.Sprintf("%s*%d", hop, weights[hop]))
	}
	return cmp.Or(strings.Join(words, ","), "ECMP")
}
