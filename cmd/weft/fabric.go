package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func init() { commands = append(commands, newFabricCommand) }

func newFabricCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "fabric", Short: "Look after the underlay: cables, switches that join, changes, drains",
		Example: `  weft fabric render dc.clab.yml --out configs
  weft fabric cabling
  weft fabric neighbours leaf1
  weft fabric load
  weft fabric token create --node leaf7
  weft fabric discover -o yaml
  weft fabric drain spine2`}
	c.AddCommand(newFabricRender(a), newFabricCabling(a), newFabricNeighbours(a), newFabricLoad(a), newFabricRouting(a),
		newFabricDiscover(a), newFabricUnknown(a), newFabricAdmit(a), newFabricRevoke(a), newFabricToken(a),
		newFabricPlan(a), newFabricDrain(a), newFabricUndrain(a), newFabricReplace(a))
	return c
}

func newFabricNeighbours(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "neighbours SWITCH", Aliases: []string{"neighbors"}, Short: "List the ports of a switch and who is at their other ends, by LLDP", Args: cobra.ExactArgs(1),
		Example: `  weft fabric neighbours leaf1`,
		RunE: func(c *cobra.Command, args []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("neighbours can't be printed as %s: use json", output)}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := cl.Switch(c.Context(), args[0])
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(a.out, got)
			}
			t := table{header: []string{"PORT", "UP", "MTU", "MAC", "NEIGHBOUR", "ITS PORT"}}
			for _, p := range got.Ports {
				up := map[bool]string{true: "yes", false: "no"}[p.Up]
				if len(p.Neighbours) == 0 {
					t.add(p.Name, up, fmt.Sprint(p.MTU), p.MAC.String(), "", "")
				}
				for _, n := range p.Neighbours {
					t.add(p.Name, up, fmt.Sprint(p.MTU), p.MAC.String(), n.Device, n.Port)
				}
			}
			return t.print(a.out, true)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json")
	return c
}

func newFabricCabling(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "cabling", Short: "Compare the intended links with what switches hear by LLDP", Args: cobra.NoArgs,
		Long: `Compare the intended links with what the agents on switches hear by LLDP (IEEE
802.1AB). Each fault says which cable is concerned and what to do. A link is judged
when an agent reports from one of its ends. Exits with status 1 when there are
faults.`,
		Example: `  weft fabric cabling
  weft fabric cabling -o json`,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("cabling can't be printed as %s: use json", output)}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := cl.Cabling(c.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(a.out, got)
			} else if len(got.Faults) > 0 {
				t := table{header: []string{"FAULT", "LINK", "AGE", "WHAT TO DO"}}
				for _, f := range got.Faults {
					t.add(f.Kind, f.Link, age(&f.Since), f.Message)
				}
				err = t.print(a.out, true)
			} else {
				fmt.Fprintf(a.out, "%d links, no faults.\n", got.Links)
			}
			if len(got.Unheard) > 0 && output == "" {
				fmt.Fprintf(a.err, "Not judged: no agent has reported from %s.\n", strings.Join(got.Unheard, ", "))
			}
			if len(got.Silent) > 0 && output == "" {
				fmt.Fprintf(a.err, "Not judged: the agents report no more from %s.\n", strings.Join(got.Silent, ", "))
			}
			if err == nil && len(got.Faults) > 0 {
				return errDiffers(fmt.Sprintf("faults found: %d", len(got.Faults)))
			}
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json")
	return c
}
