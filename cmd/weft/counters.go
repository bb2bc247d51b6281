package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// describeRouterCounters prints what the edges of a router have counted of it. Edges
// that can't be asked are told, and no failure.
func (a *app) describeRouterCounters(ctx context.Context, cl *client.Client, router intent.Ref) {
	c, err := cl.RouterCounters(ctx, router)
	if err != nil {
		fmt.Fprintf(a.out, "Counters:   not known now: %v\n", err)
		return
	}
	if len(c.Edges)+len(c.Missing) == 0 {
		fmt.Fprintln(a.out, "Counters:   of no edge: no vSwitch has a port of its networks now")
	} else {
		fmt.Fprintln(a.out, "Counters:   routed for stations of the edge, and received from others by the L3VNI")
		t := table{header: []string{"EDGE", "ROUTED", "BYTES", "RECEIVED", "BYTES", "SINCE"}}
		add := func(name string, of client.RouterTotal, since string) {
			t.add(name, fmt.Sprint(of.Routed.Packets), fmt.Sprint(of.Routed.Bytes), fmt.Sprint(of.Received.Packets), fmt.Sprint(of.Received.Bytes), since)
		}
		for _, e := range c.Edges {
			add(e.Node, e.RouterTotal, e.Since.Format(time.RFC3339))
		}
		if c.Total != nil {
			add("all", *c.Total, "")
		}
		_ = t.print(a.out, true) // as the rest of what is printed here
	}
	a.describeUncounted(c.Missing, c.Uncounted)
}

// describeTenantCounters prints what a tenant's limits have done on each edge.
func (a *app) describeTenantCounters(ctx context.Context, cl *client.Client, tenant string) {
	c, err := cl.TenantCounters(ctx, tenant)
	if err != nil {
		fmt.Fprintf(a.out, "Counters:   not known now: %v\n", err)
		return
	}
	if len(c.Edges)+len(c.Missing) == 0 {
		fmt.Fprintln(a.out, "Counters:   of no edge: no vSwitch has a port of the tenant now")
	} else {
		fmt.Fprintln(a.out, "Counters:   packets that came to the limits, and what these dropped")
		t := table{header: []string{"EDGE", "SENT", "DROPPED", "RECEIVED", "DROPPED"}}
		for _, e := range c.Edges {
			t.add(e.Node, fmt.Sprint(e.Sent.Came.Packets), fmt.Sprint(e.Sent.Dropped.Packets), fmt.Sprint(e.Received.Came.Packets), fmt.Sprint(e.Received.Dropped.Packets))
		}
		_ = t.print(a.out, true) // as the rest of what is printed here
	}
	a.describeUncounted(c.Missing, c.Uncounted)
}

func (a *app) describeUncounted(missing []client.MissingCount, uncounted []string) {
	for _, m := range missing {
		fmt.Fprintf(a.out, "  without   %s: %s\n", m.Node, m.Why)
	}
	if len(uncounted) > 0 {
		fmt.Fprintf(a.out, "  without   %s: only vSwitches count and limit\n", strings.Join(uncounted, ", "))
	}
}
