package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func newFabricReplace(a *app) *cobra.Command {
	var serial, mac string
	var force bool
	c := &cobra.Command{
		Use: "replace SWITCH --serial SERIAL", Short: "Give a switch's identity to another box", Args: cobra.ExactArgs(1),
		Long: `Give a switch's identity to another box: its name, AS number, addresses and place
among the cables. The box that had it is refused from then on; the new one joins with
the serial number or MAC address that is given here, by a token. Drain the switch
before; it stays drained until it is undrained.`,
		Example: `  weft fabric drain spine2
  weft fabric replace spine2 --serial FOX2219A1B2
  weft fabric undrain spine2`,
		RunE: func(c *cobra.Command, args []string) error {
			if serial == "" && mac == "" {
				return usageError{errors.New("say which box it is to be: --serial or --mac")}
			}
			var m intent.MAC
			if mac != "" {
				var err error
				if m, err = intent.ParseMAC(mac); err != nil {
					return usageError{fmt.Errorf("--mac: %w", err)}
				}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			if err := replaceBox(c, cl, args[0], serial, m, force); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is the new box from now on: plug its cables in as before and start its agent\n", args[0])
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&serial, "serial", "", "serial number of the new box")
	f.StringVar(&mac, "mac", "", "MAC address of a port of the new box")
	f.BoolVar(&force, "force", false, "although the switch is not drained, such as when it is dead")
	return c
}

// replaceBox writes the new box into the node, and takes the credential from the old
// one.
func replaceBox(c *cobra.Command, cl *client.Client, node, serial string, mac intent.MAC, force bool) error {
	o, err := cl.Get(c.Context(), intent.Ref{Kind: intent.KindNode, Name: node})
	if err != nil {
		return err
	}
	n := o.(*intent.Node)
	if !n.Spec.Role.Switch() {
		return fmt.Errorf("%s is no switch: its role is %s", node, n.Spec.Role)
	}
	if s := n.Status; !force && (s == nil || s.Maintenance == nil || s.Maintenance.State != intent.Drained) {
		return fmt.Errorf("%s is not drained: drain it first with \"weft fabric drain %s\", or give --force when it is dead", node, node)
	}
	n.Spec.Serial, n.Spec.MAC, n.Status = serial, mac, nil
	if _, err := cl.Put(c.Context(), n, client.PutOptions{IfMatch: n.Metadata.Revision}); err != nil {
		return err
	}
	var p *client.Problem
	if err := cl.Revoke(c.Context(), node); err != nil && !(errors.As(err, &p) && p.Status == http.StatusNotFound) {
		return fmt.Errorf("the node has the new box, but the old one's credential is not revoked: %w; try \"weft fabric revoke %s\"", err, node)
	}
	return nil
}
