package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func newFabricDrain(a *app) *cobra.Command {
	var timeout time.Duration
	var force bool
	c := &cobra.Command{
		Use: "drain SWITCH", Short: "Lead all traffic around a switch, before people work on it", Args: cobra.ExactArgs(1),
		Long: `Lead all traffic around a switch: its neighbours prefer any other way (graceful
shutdown of BGP, RFC 8326; the overload bit of IS-IS), while it goes on to forward
what still comes. No packet is lost. Then waits until the switch says that the drain
is in place and its counters that it passes nothing on any more.

It is refused when two leaves would have no way to each other without the switch, or
ports would have none, unless it is forced. The drain stays until it is undrained,
also over restarts.`,
		Example: `  weft fabric drain spine2
  weft fabric undrain spine2`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			began := time.Now()
			if _, err := cl.SetMaintenance(c.Context(), args[0], intent.MaintenanceDrain, force); err != nil {
				return forcible(err)
			}
			said := ""
			err = cl.AwaitDrained(c.Context(), args[0], timeout, func(n *intent.Node) {
				if now := passes(n); now != said && now != "" {
					said = now
					fmt.Fprintln(a.err, now)
				}
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s drained after %.1fs\n", args[0], time.Since(began).Seconds())
			return nil
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait until it is drained")
	c.Flags().BoolVar(&force, "force", false, "also when leaves or ports are left without a way")
	return c
}

// passes says what a switch still passes on.
func passes(n *intent.Node) string {
	if n.Status == nil || n.Status.Maintenance == nil || n.Status.Maintenance.Rate == nil {
		return ""
	}
	return fmt.Sprintf("%s passes on %.0f packets a second", n.Metadata.Name, *n.Status.Maintenance.Rate)
}

func newFabricUndrain(a *app) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "undrain SWITCH", Short: "Have a switch used again", Args: cobra.ExactArgs(1),
		Long: `Have a switch that was drained used again, and wait until it says that it has no
drain in place any more.`,
		Example: `  weft fabric undrain spine2`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			n, err := cl.SetMaintenance(c.Context(), args[0], "", false)
			if err != nil {
				return err
			}
			if err := awaitNode(c, cl, n, timeout); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is used again\n", args[0])
			return nil
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait until it is")
	return c
}

// awaitNode waits until a switch has confirmed what its node says.
func awaitNode(c *cobra.Command, cl *client.Client, n *intent.Node, timeout time.Duration) error {
	_, err := cl.Await(c.Context(), n.Ref(), n.Metadata.Revision, timeout)
	return err
}
