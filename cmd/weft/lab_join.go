package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/lab"
)

// newLabJoin is "weft lab join".
func newLabJoin() *cobra.Command {
	return &cobra.Command{
		Use: "join LAB:LEAF LAB:LEAF", Short: "Join two running labs by a link between a border leaf of each", Args: cobra.ExactArgs(2),
		Long: `Join two running labs of different sites, as their operators would: a link
between a leaf of each, on which eBGP tells both where the other's VTEPs are,
and a link between the controllers. No network crosses before an Interconnect
on both says so.`,
		Example: `  sudo weft lab up west.clab.yml
  sudo weft lab up east.clab.yml --site 1
  sudo weft lab join west:leaf1 east:leaf1`,
		RunE: func(c *cobra.Command, args []string) error {
			var labs [2]*lab.State
			var leaves [2]string
			for i, a := range args {
				name, leaf, ok := strings.Cut(a, ":")
				if !ok {
					return usageError{fmt.Errorf("%q is not LAB:LEAF", a)}
				}
				s, err := lab.Load(name)
				if err != nil {
					return err
				}
				labs[i], leaves[i] = s, leaf
			}
			j, err := lab.Join(c.Context(), labs, leaves)
			if err != nil {
				return err
			}
			for i, s := range labs {
				fmt.Fprintf(c.OutOrStdout(), "for an Interconnect on the controller of %s: asn: %d, peers: [{address: %s}]\n", s.Name, j.ASNs[1-i], j.Controllers[1-i])
			}
			return nil
		},
	}
}
