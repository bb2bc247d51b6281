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

// getRoutes prints tables of VNIs: those of networks, of one or of all; with
// --router or --external that of an L3VNI.
func (a *app) getRoutes(ctx context.Context, cl *client.Client, o getOptions) error {
	if o.output == "yaml" || o.output == "name" {
		return usageError{fmt.Errorf("routes can't be printed as %s: use json", o.output)}
	}
	kind, name := intent.KindNetwork, o.network
	switch {
	case o.router != "":
		kind, name = intent.KindRouter, o.router
	case o.external != "":
		kind, name = intent.KindExternalNetwork, o.external
	}
	of, err := a.list1(ctx, cl, kind, o)
	if err != nil {
		return err
	}
	var all []tableRoutes
	for _, n := range of {
		r := n.Ref()
		if name != "" && r.Name != name {
			continue
		}
		routes, err := cl.Routes(ctx, r)
		if err != nil {
			return err
		}
		all = append(all, routesOf(r, routes))
	}
	if name != "" && len(all) == 0 {
		return fmt.Errorf("there is no %s %s here: \"weft get %s -A\" lists them", strings.ToLower(string(kind)), name, kind.Plural())
	}
	if o.output == "json" {
		return printJSON(a.out, all)
	}
	t := segmentTable(all, o.output == "wide")
	if kind != intent.KindNetwork {
		t = vrfTable(all, o.output == "wide")
	}
	if len(t.rows) == 0 {
		fmt.Fprintln(a.err, "No routes found.")
		return nil
	}
	return t.print(a.out, !o.noHeaders)
}

// tableRoutes is the table of a VNI and whose it is.
type tableRoutes struct {
	Tenant   string `json:"tenant,omitempty"`
	Network  string `json:"network,omitempty"`
	Router   string `json:"router,omitempty"`
	External string `json:"external,omitempty"`
	client.Routes
}

func routesOf(r intent.Ref, routes client.Routes) tableRoutes {
	t := tableRoutes{Tenant: r.Tenant, Routes: routes}
	switch r.Kind {
	case intent.KindRouter:
		t.Router = r.Name
	case intent.KindExternalNetwork:
		t.External = r.Name
	default:
		t.Network = r.Name
	}
	return t
}

// segmentTable are tables of L2VNIs: without wide the best paths only.
func segmentTable(all []tableRoutes, wide bool) table {
	t := table{header: []string{"TENANT", "NETWORK", "VNI", "TYPE", "MAC", "IP", "VTEP", "NODE", "ORIGIN", "SEQ"}}
	if wide {
		t.header = append(t.header, "BEST", "REVISION", "SOURCE")
	}
	for _, n := range all {
		for _, p := range n.Items {
			if !p.Best && !wide {
				continue
			}
			cells := []string{n.Tenant, n.Network, fmt.Sprint(n.VNI), p.Type, p.MAC, text(p.IP), text(p.VTEP), p.Node, p.Origin, fmt.Sprint(p.Sequence)}
			if wide {
				cells = append(cells, map[bool]string{true: "yes", false: "no"}[p.Best], fmt.Sprint(p.Revision), p.Source)
			}
			t.add(cells...)
		}
	}
	return t
}

// vrfTable are tables of L3VNIs. Of a prefix all paths are in use.
func vrfTable(all []tableRoutes, wide bool) table {
	t := table{header: []string{"TENANT", "VRF", "L3VNI", "TYPE", "PREFIX", "MAC", "L2VNI", "VTEP", "NODE", "ROUTER-MAC", "ORIGIN"}}
	if wide {
		t.header = append(t.header, "BEST", "REVISION", "SOURCE")
	}
	for _, n := range all {
		for _, p := range n.Items {
			if !p.Best && !wide && !p.Prefix.IsValid() {
				continue
			}
			to, l2 := p.Prefix, ""
			if p.IP.IsValid() {
				to = netip.PrefixFrom(p.IP, p.IP.BitLen())
			}
			if p.L2VNI != 0 {
				l2 = fmt.Sprint(p.L2VNI)
			}
			cells := []string{n.Tenant, n.Router + n.External, fmt.Sprint(n.VNI), p.Type, to.String(), p.MAC, l2, text(p.VTEP), p.Node, p.RouterMAC, p.Origin}
			if wide {
				cells = append(cells, map[bool]string{true: "yes", false: "no"}[p.Best], fmt.Sprint(p.Revision), p.Source)
			}
			t.add(cells...)
		}
	}
	return t
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
