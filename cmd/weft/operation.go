package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func init() { commands = append(commands, newClearCommand) }

func newClearCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "clear alarm ID...",
		Short: "Clear alarms that do not end by themselves",
		Long: `Clear alarms that do not end by themselves: a MAC that was found in two places
at once is kept in one until its alarm is cleared. "weft get alarms" lists them.`,
		Example: `  weft clear alarm 1f0c9a7b21`,
		Args:    cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] != "alarm" && args[0] != "alarms" {
				return usageError{fmt.Errorf("%q can't be cleared: only alarms can", args[0])}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			var errs []error
			for _, id := range args[1:] {
				if err := cl.ClearAlarm(c.Context(), id); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(a.out, "alarm", id, "cleared")
			}
			return errors.Join(errs...)
		},
	}
}

// printJSON writes a value as people and jq read it.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (a *app) getAlarms(ctx context.Context, cl *client.Client, o getOptions) error {
	if o.output == "yaml" || o.output == "name" {
		return usageError{fmt.Errorf("alarms can't be printed as %s: use json", o.output)}
	}
	alarms, err := cl.Alarms(ctx)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(a.out, client.Alarms{Items: alarms})
	}
	if len(alarms) == 0 {
		fmt.Fprintln(a.err, "No alarms.")
		return nil
	}
	t := table{header: []string{"ID", "AGE", "COUNT", "DEVICE", "REASON", "OBJECT", "MESSAGE"}}
	for _, m := range alarms {
		t.add(m.ID, age(&m.Since), fmt.Sprint(m.Count), m.Device, m.Reason, m.Object, m.Message)
	}
	return t.print(a.out, !o.noHeaders)
}

// getRoutes prints the segment tables of networks: the one named, or all of a
// tenant or of all tenants.
func (a *app) getRoutes(ctx context.Context, cl *client.Client, o getOptions) error {
	if o.output == "yaml" || o.output == "name" {
		return usageError{fmt.Errorf("routes can't be printed as %s: use json", o.output)}
	}
	networks, err := a.list1(ctx, cl, intent.KindNetwork, o)
	if err != nil {
		return err
	}
	t := table{header: []string{"TENANT", "NETWORK", "VNI", "TYPE", "MAC", "IP", "VTEP", "NODE", "ORIGIN", "SEQ"}}
	if o.output == "wide" {
		t.header = append(t.header, "BEST", "REVISION", "SOURCE")
	}
	var all []networkRoutes
	found := false
	for _, n := range networks {
		r := n.Ref()
		if o.network != "" && r.Name != o.network {
			continue
		}
		found = true
		routes, err := cl.Routes(ctx, r)
		if err != nil {
			return err
		}
		all = append(all, networkRoutes{r.Tenant, r.Name, routes})
		for _, p := range routes.Items {
			if !p.Best && o.output != "wide" {
				continue
			}
			cells := []string{r.Tenant, r.Name, fmt.Sprint(routes.VNI), p.Type, p.MAC, text(p.IP), text(p.VTEP), p.Node, p.Origin, fmt.Sprint(p.Sequence)}
			if o.output == "wide" {
				cells = append(cells, map[bool]string{true: "yes", false: "no"}[p.Best], fmt.Sprint(p.Revision), p.Source)
			}
			t.add(cells...)
		}
	}
	if o.network != "" && !found {
		return fmt.Errorf("there is no network %s here: \"weft get networks -A\" lists them", o.network)
	}
	if o.output == "json" {
		return printJSON(a.out, all)
	}
	if len(t.rows) == 0 {
		fmt.Fprintln(a.err, "No routes found.")
		return nil
	}
	return t.print(a.out, !o.noHeaders)
}

type networkRoutes struct {
	Tenant  string `json:"tenant"`
	Network string `json:"network"`
	client.Routes
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// parsePlace reads NODE or NODE:INTERFACE.
func parsePlace(s string) (intent.Place, error) {
	node, iface, _ := strings.Cut(s, ":")
	if node == "" || strings.HasSuffix(s, ":") {
		return intent.Place{}, usageError{fmt.Errorf("--to %q is no place: give NODE or NODE:INTERFACE", s)}
	}
	return intent.Place{Node: node, Interface: iface}, nil
}
