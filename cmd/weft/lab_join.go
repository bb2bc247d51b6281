package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/lab"
)

// newLabJoin is "weft lab join".
func newLabJoin() *cobra.Command {
	return &cobra.Command{
		Use: "join LAB:LEAF LAB:LEAF ...", Short: "Join two running labs by links between border leaves", Args: cobra.MinimumNArgs(2),
		Long: `Join two running labs of different sites, as their operators would: links between
a leaf of each, on which eBGP tells both where the other's VTEPs are, and a link
between the controllers. No network crosses before an Interconnect
on both says so.`,
		Example: `  sudo weft lab up west.clab.yml --site 1
  sudo weft lab up east.clab.yml --site 2
  sudo weft lab join west:leaf1 east:leaf1 west:leaf2 east:leaf2`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args)%2 != 0 {
				return usageError{errors.New("give two ends of each link: LAB:LEAF LAB:LEAF")}
			}
			var labs [2]*lab.State
			leaves := make([][2]string, len(args)/2)
			for i, a := range args {
				name, leaf, ok := strings.Cut(a, ":")
				if !ok {
					return usageError{fmt.Errorf("%q is not LAB:LEAF", a)}
				}
				if l := labs[i%2]; l != nil && l.Name != name {
					return usageError{fmt.Errorf("%s: all links are between the same two labs, in the same order: %s was expected", a, l.Name)}
				}
				s, err := lab.Load(name)
				if err != nil {
					return err
				}
				labs[i%2], leaves[i/2][i%2] = s, leaf
			}
			j, err := lab.Join(c.Context(), labs, leaves...)
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
