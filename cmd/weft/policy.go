package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// describePolicy prints what the security groups of a port say together, and what
// its device counted. A device that can't be asked is told, and no failure.
func (a *app) describePolicy(ctx context.Context, cl *client.Client, port intent.Ref) {
	p, err := cl.Policy(ctx, port)
	if err != nil {
		fmt.Fprintf(a.out, "Policy:     not known now: %v\n", err)
		return
	}
	fmt.Fprintf(a.out, "Policy:     groups %s, on %s; counters are those of %s\n", strings.Join(p.Groups, ", "), p.Node, together(p.Ports))
	t := table{header: []string{"  GROUP", "RULE", "PACKETS", "BYTES"}}
	for _, r := range p.Rules {
		t.add(fmt.Sprintf("  %s[%d]", r.Group, r.Index), r.Rule, fmt.Sprint(r.Packets), fmt.Sprint(r.Bytes))
	}
	for _, d := range []struct {
		what string
		client.PolicyRest
	}{{"ingress", p.Ingress}, {"egress", p.Egress}} {
		t.add("  -", d.what+" anything else: "+d.Action, fmt.Sprint(d.Packets), fmt.Sprint(d.Bytes))
	}
	_ = t.print(a.out, true) // as the rest of what is printed here
}

func together(ports int) string {
	if ports == 1 {
		return "this port alone"
	}
	return fmt.Sprintf("the %d ports there that are in these groups, together", ports)
}

// getFlows prints the flows of a port in words.
func (a *app) getFlows(ctx context.Context, cl *client.Client, o getOptions) error {
	if o.output == "yaml" || o.output == "name" {
		return usageError{fmt.Errorf("flows can't be printed as %s: use json", o.output)}
	}
	if o.port == "" {
		return usageError{fmt.Errorf("say of which port: weft get flows -t TENANT --port PORT")}
	}
	refs, _, err := a.parseRefs([]string{"port", o.port})
	if err != nil {
		return err
	}
	flows, err := cl.Flows(ctx, refs[0])
	if err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(a.out, flows)
	}
	t := table{header: []string{"TABLE", "PRIORITY", "PACKETS", "BYTES", "WHAT"}}
	for _, f := range flows.Items {
		t.add(fmt.Sprint(f.Table), fmt.Sprint(f.Priority), fmt.Sprint(f.Packets), fmt.Sprint(f.Bytes), f.Words)
	}
	return t.print(a.out, !o.noHeaders)
}
