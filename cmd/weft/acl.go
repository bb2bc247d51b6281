package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// describeACL prints what the rules of a network ACL have decided on. Devices that
// can't be asked are told, and no failure.
func (a *app) describeACL(ctx context.Context, cl *client.Client, acl intent.Ref) {
	c, err := cl.ACLCounters(ctx, acl)
	if err != nil {
		fmt.Fprintf(a.out, "Counters:   not known now: %v\n", err)
		return
	}
	if len(c.Devices) == 0 {
		fmt.Fprintln(a.out, "Counters:   of no device: no vSwitch has a port of its networks now")
	} else {
		fmt.Fprintf(a.out, "Counters:   of %s\n", strings.Join(c.Devices, ", "))
	}
	for _, m := range c.Missing {
		fmt.Fprintf(a.out, "  without   %s: %s\n", m.Node, m.Why)
	}
	t := table{header: []string{"RULE", "WHAT", "PACKETS", "BYTES"}}
	for _, r := range c.Rules {
		t.add(fmt.Sprint(r.Index), r.Rule, fmt.Sprint(r.Packets), fmt.Sprint(r.Bytes))
	}
	for _, d := range []struct {
		what string
		client.PolicyRest
	}{{"ingress", c.Ingress}, {"egress", c.Egress}} {
		t.add("-", d.Action+" "+d.what+" anything else", fmt.Sprint(d.Packets), fmt.Sprint(d.Bytes))
	}
	_ = t.print(a.out, true) // as the rest of what is printed here
}
