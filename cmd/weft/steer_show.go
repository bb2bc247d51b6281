package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func newSteerList(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "list", Short: "List the policies and what the leaves say of them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.get(c.Context(), getOptions{output: output}, []string{intent.KindSteeringPolicy.Plural()})
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "wide, yaml, json or name")
	return c
}

func steeringRef(name string) intent.Ref {
	return intent.Ref{Kind: intent.KindSteeringPolicy, Name: name}
}

// steeringPolicy reads a policy, and returns the client that it was read by.
func (a *app) steeringPolicy(ctx context.Context, name string) (*client.Client, *intent.SteeringPolicy, error) {
	cl, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	o, err := cl.Get(ctx, steeringRef(name))
	if err != nil {
		return nil, nil, err
	}
	return cl, o.(*intent.SteeringPolicy), nil
}

func newSteerShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show the routes that a policy makes on leaves, before and after", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, p, err := a.steeringPolicy(c.Context(), args[0])
			if err != nil {
				return err
			}
			s := status(p.Status)
			fmt.Fprintf(a.out, "Traffic:  %s\nWhat:     %s\nStatus:   %s\n", trafficOf(p.Spec.Scope), actionOf(p.Spec), s.Phase)
			for _, r := range s.Reasons {
				fmt.Fprintf(a.out, "  %s: %s (%s)\n", r.Device, r.Message, r.Action)
			}
			for _, g := range s.Given {
				fmt.Fprintf(a.out, "Colour:   %d for %s since %s: its elephants, %s, go apart from others' mice; the most utilised link is at %s, without it could be at %s\n",
					g.Colour, g.Tenant, g.Since.Format(time.RFC3339), rate(g.Rate), percent(g.With), percent(g.Without))
			}
			return a.printSteered(s.Steered, false)
		},
	}
}

// printSteered prints routes of leaves.
func (a *app) printSteered(routes []intent.SteeredRoute, wide bool) error {
	if len(routes) == 0 {
		_, err := fmt.Fprintln(a.out, "no route is other than that of ECMP")
		return err
	}
	t := table{header: []string{"DEVICE", "PREFIX", "TO", "OF", "POLICY", "BEFORE", "AFTER", "STATUS"}}
	for _, r := range routes {
		t.add(r.Device, r.Prefix.String(), r.To, whose(r), r.Policy, nextHops(r.Before, wide), nextHops(r.After, wide), string(r.State))
	}
	return t.print(a.out, true)
}

// whose is whose traffic a route is for, and its colour: "blue (colour 2)".
func whose(r intent.SteeredRoute) string {
	switch {
	case r.Colour == 0:
		return "all"
	case r.Network != "":
		return fmt.Sprintf("%s/%s (colour %d)", r.Tenant, r.Network, r.Colour)
	}
	return fmt.Sprintf("%s (colour %d)", r.Tenant, r.Colour)
}

func newSteerOff(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "off NAME...", Short: "Take policies back", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			var refs []intent.Ref
			for _, name := range args {
				refs = append(refs, steeringRef(name))
			}
			return a.delete(c.Context(), cl, refs, deleting{})
		},
	}
}

// newSteerSuspend makes suspend, or resume.
func newSteerSuspend(a *app, suspend bool) *cobra.Command {
	c := &cobra.Command{Use: "resume NAME", Short: "Have a suspended policy do something again", Args: cobra.ExactArgs(1)}
	if suspend {
		c.Use, c.Short = "suspend NAME", "Keep a policy and have it do nothing"
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, p, err := a.steeringPolicy(c.Context(), args[0])
		if err != nil {
			return err
		}
		p.Spec.Suspended, p.Status = suspend, nil
		res, err := cl.Put(c.Context(), p, client.PutOptions{IfMatch: p.Metadata.Revision})
		if err == nil {
			fmt.Fprintf(a.out, "%s %s\n", shortRef(p.Ref()), res.Action)
		}
		return err
	}
	return c
}

func newSteerExplain(a *app) *cobra.Command {
	var tenant, network, flow string
	c := &cobra.Command{
		Use: "explain FROM TO", Short: "Tell which policy decides between two leaves, and what the leaf does", Args: cobra.ExactArgs(2),
		Long: `Tell which policies are about the traffic between two leaves, and which routes the
leaf has been given.

With --flow it names the links that one flow takes now. The flow is the tenant's:
addresses, protocol and ports of its packets. Its leaf's agent sees in which tunnel it
leaves, so it must be sent while this is asked, or within 3 s; then the kernel of each
switch on the way is asked where it sends that outer header. Nothing is sent for it. A
flow that is not sent now can be given by its outer header: the addresses of the VTEPs,
17, the tunnel's source port, and 4789.`,
		Example: `  weft steer explain leaf1 leaf3
  weft steer explain leaf1 leaf3 --tenant blue --flow 10.0.0.1,10.0.0.3,tcp,45012,443
  weft steer explain leaf1 leaf3 --flow 10.254.0.1,10.254.0.3,17,51034,4789`,
		RunE: func(c *cobra.Command, args []string) error {
			q := client.FlowQuestion{From: args[0], To: args[1], Tenant: tenant, Network: network}
			if network != "" && tenant == "" {
				return usageError{errors.New("--network goes with --tenant: say whose network it is")}
			}
			if c.Flags().Changed("flow") {
				var err error
				if q.Header, err = parseFlow(flow); err != nil {
					return usageError{err}
				}
			}
			if err := a.explain(c.Context(), args[0], args[1], tenant); err != nil || !q.Header.From.IsValid() {
				return err
			}
			return a.explainFlow(c.Context(), q)
		},
	}
	c.Flags().StringVarP(&tenant, "tenant", "t", "", "the traffic of this tenant")
	c.Flags().StringVar(&network, "network", "", "with --flow: only in this network of the tenant, or routed")
	c.Flags().StringVar(&flow, "flow", "", "name the links of this flow: SRC,DST,PROTO,SPORT,DPORT, or SRC,DST,PROTO where there are no ports")
	return c
}

// explain tells of the policies about the traffic between two leaves, and of the routes
// that they make.
func (a *app) explain(ctx context.Context, from, to, tenant string) error {
	cl, err := a.client()
	if err != nil {
		return err
	}
	for _, name := range []string{from, to} {
		o, err := cl.Get(ctx, intent.Ref{Kind: intent.KindNode, Name: name})
		if err != nil {
			return err
		}
		if r := o.(*intent.Node).Spec.Role; r != intent.RoleLeaf && r != intent.RoleBorder {
			return usageError{fmt.Errorf("%s is a %s: traffic is steered between leaves", name, r)}
		}
	}
	if from == to {
		return usageError{errors.New("what stays at a leaf is not steered")}
	}
	objects, err := cl.List(ctx, intent.KindSteeringPolicy, client.ListOptions{})
	if err != nil {
		return err
	}
	policies := table{header: []string{"POLICY", "PRIORITY", "TRAFFIC", "WHAT", "STATUS", "REASON"}}
	var routes []intent.SteeredRoute
	for _, o := range objects {
		p := o.(*intent.SteeringPolicy)
		if !concerns(p.Spec.Scope, from, to, tenant) && !p.Spec.Freeze {
			continue
		}
		s := status(p.Status)
		policies.add(p.Metadata.Name, fmt.Sprint(p.Spec.Priority), trafficOf(p.Spec.Scope), actionOf(p.Spec), string(s.Phase), why(s))
		for _, r := range s.Steered {
			if r.Device == from && r.To == to && (tenant == "" || r.Tenant == "" || r.Tenant == tenant) {
				routes = append(routes, r)
			}
		}
	}
	if len(policies.rows) == 0 {
		_, err := fmt.Fprintf(a.out, "no policy is about traffic from %s to %s: plain ECMP serves\n", from, to)
		return err
	}
	if err := policies.print(a.out, true); err != nil {
		return err
	}
	if len(routes) == 0 {
		_, err := fmt.Fprintf(a.out, "\n%s has no route of theirs to %s now: plain ECMP serves\n", from, to)
		return err
	}
	fmt.Fprintln(a.out)
	return a.printSteered(routes, true)
}

// concerns reports whether a policy may be about traffic between two leaves.
func concerns(s intent.SteeringScope, from, to, tenant string) bool {
	meets := func(a, b string) bool { return a == "" || a == b }
	ways := [][2]string{{s.From, s.To}}
	if s.Direction == intent.SteerBoth {
		ways = append(ways, [2]string{s.To, s.From})
	}
	return meets(s.Tenant, tenant) && slices.ContainsFunc(ways, func(w [2]string) bool { return meets(w[0], from) && meets(w[1], to) })
}

// planChange prints what would be steered otherwise than it is.
func (a *app) planChange(ctx context.Context, cl *client.Client, q client.SteeringQuestion, output string) error {
	now, err := cl.PlanSteering(ctx, client.SteeringQuestion{})
	if err != nil {
		return err
	}
	then, err := cl.PlanSteering(ctx, q)
	if err != nil {
		return err
	}
	for _, p := range then.Problems {
		fmt.Fprintf(a.err, "Warning: policy %s: %s\n", p.Policy, p.Message)
	}
	for _, o := range then.Overloads {
		fmt.Fprintf(a.err, "Warning: with policy %s %s\n", strings.Join(o.Policies, ", "), o.Message)
	}
	key := func(r intent.SteeredRoute) string { return r.Device + " " + r.Prefix.String() }
	has := map[string]intent.SteeredRoute{}
	for _, r := range now.Routes {
		has[key(r)] = r
	}
	var changes []intent.SteeredRoute
	for _, r := range then.Routes {
		if was, ok := has[key(r)]; ok {
			delete(has, key(r))
			if slices.Equal(was.After, r.After) {
				continue
			}
			r.Before = was.After
		}
		changes = append(changes, r)
	}
	for _, was := range now.Routes {
		if _, gone := has[key(was)]; gone {
			changes = append(changes, intent.SteeredRoute{Device: was.Device, Prefix: was.Prefix, To: was.To, Colour: was.Colour, Tenant: was.Tenant, Network: was.Network, Policy: "-", Before: was.After, After: was.Before})
		}
	}
	if len(changes) == 0 {
		_, err := fmt.Fprintln(a.out, "no route would change")
		return err
	}
	t := table{header: []string{"DEVICE", "PREFIX", "TO", "OF", "POLICY", "BEFORE", "AFTER"}}
	for _, r := range changes {
		t.add(r.Device, r.Prefix.String(), r.To, whose(r), r.Policy, nextHops(r.Before, output == "wide"), nextHops(r.After, output == "wide"))
	}
	return t.print(a.out, true)
}
