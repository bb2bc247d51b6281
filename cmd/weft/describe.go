package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func init() { commands = append(commands, newDescribeCommand, newVersionCommand) }

func newDescribeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "describe KIND NAME | KIND/NAME",
		Short:   "Show an object, why it is not ready, what to do, and its events",
		Example: `  weft describe port vm1 -t blue`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			refs, _, err := a.parseRefs(args)
			if err != nil {
				return err
			}
			if len(refs) == 0 {
				return usageError{fmt.Errorf("say which %s by name", args[0])}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			for _, r := range refs {
				o, err := cl.Get(c.Context(), r)
				if err != nil {
					return err
				}
				if err := a.describe(o); err != nil {
					return err
				}
				if err := a.describeCounters(c.Context(), cl, r); err != nil {
					return err
				}
				if p, ok := o.(*intent.Port); ok && len(p.Spec.SecurityGroups) > 0 {
					a.describePolicy(c.Context(), cl, r)
				}
				if t, ok := o.(*intent.Tenant); ok && t.Spec.QoS != nil {
					a.describeTenantCounters(c.Context(), cl, t.Metadata.Name)
				}
				if r.Kind == intent.KindRouter {
					a.describeRouterCounters(c.Context(), cl, r)
				}
				if r.Kind == intent.KindNetworkACL {
					a.describeACL(c.Context(), cl, r)
				}
				events, err := cl.Events(c.Context())
				if err != nil {
					return err
				}
				about := devicesOf(o)
				fmt.Fprintln(a.out, "Events:")
				for _, e := range events {
					if e.Object == r.String() || about[e.Device] {
						fmt.Fprintf(a.out, "  %s  %s  %s  %s: %s\n", e.Time.Format("15:04:05.000"), e.Severity, e.Device, e.Reason, e.Message)
					}
				}
			}
			return nil
		},
		ValidArgsFunction: a.completeKindAndName,
	}
}

// describeCounters prints what a port's edge has counted, or why it has not.
func (a *app) describeCounters(ctx context.Context, cl *client.Client, r intent.Ref) error {
	if r.Kind != intent.KindPort {
		return nil
	}
	c, err := cl.PortCounters(ctx, r)
	var p *client.Problem
	switch {
	case errors.As(err, &p):
		fmt.Fprintf(a.out, "Counters:   none: %s\n", p.Detail)
		return nil
	case err != nil:
		return err
	}
	fmt.Fprintf(a.out, "Counters:   of %s\n  sent      %d packets, %d bytes\n  received  %d packets, %d bytes\n", c.Node, c.Sent.Packets, c.Sent.Bytes, c.Received.Packets, c.Received.Bytes)
	for _, d := range c.Dropped {
		if d.Packets > 0 {
			fmt.Fprintf(a.out, "  dropped   %d packets, %d bytes: %s\n", d.Packets, d.Bytes, d.Why)
		}
	}
	return nil
}

// devicesOf are the devices whose events concern an object.
func devicesOf(o intent.Object) map[string]bool {
	about := map[string]bool{}
	if o.Ref().Kind == intent.KindNode {
		about[o.Ref().Name] = true
	}
	if s := statusOf(o); s != nil {
		about[s.Node] = s.Node != ""
		for _, r := range s.Reasons {
			about[r.Device] = r.Device != ""
		}
	}
	return about
}

func statusOf(o intent.Object) *intent.Status {
	switch o := o.(type) {
	case *intent.Tenant:
		return o.Status
	case *intent.Node:
		return o.Status
	case *intent.Link:
		return o.Status
	case *intent.Network:
		return o.Status
	case *intent.NetworkACL:
		return o.Status
	case *intent.SecurityGroup:
		return o.Status
	case *intent.Port:
		return o.Status
	case *intent.Router:
		return o.Status
	case *intent.ExternalNetwork:
		return o.Status
	case *intent.FloatingIP:
		return o.Status
	case *intent.Interconnect:
		return o.Status
	case *intent.Fabric:
		return o.Status
	case *intent.SteeringPolicy:
		return o.Status
	}
	return nil
}

// describeSharing prints in words what a router has from elsewhere.
func (a *app) describeSharing(r *intent.Router) {
	if x := r.Spec.External; x != nil {
		way := "floating IPs only"
		if x.SNAT {
			way = "floating IPs, and source NAT by hypervisor"
		}
		if len(x.Advertise) > 0 {
			way += fmt.Sprintf("; %s announced as they are", joined(x.Advertise))
		}
		fmt.Fprintf(a.out, "Outside:    %s: %s\n", x.Network, way)
	}
	for i, imp := range r.Spec.Imports {
		what := "all subnets"
		if len(imp.Prefixes) > 0 {
			what = "what is inside " + joined(imp.Prefixes)
		}
		fmt.Fprintf(a.out, "%-11s %s of routers that export %s\n", fmt.Sprintf("Import %d:", i), what, imp.RouteTarget)
	}
}

func (a *app) describe(o intent.Object) error {
	b, err := intent.EncodeYAML(o)
	if err != nil {
		return err
	}
	text, _, _ := strings.Cut(string(b), "\nstatus:")
	fmt.Fprintln(a.out, strings.TrimSpace(text))
	if g, ok := o.(*intent.SecurityGroup); ok {
		for i, r := range g.Spec.Rules {
			fmt.Fprintf(a.out, "%-11s %s\n", fmt.Sprintf("Rule %d:", i), r)
		}
	}
	if r, ok := o.(*intent.Router); ok {
		a.describeSharing(r)
	}
	s := statusOf(o)
	if s == nil {
		return nil
	}
	fmt.Fprintf(a.out, "Status:     %s\n", s.Phase)
	fmt.Fprintf(a.out, "Revision:   %d (applied: %d)\n", o.Meta().Revision, s.Applied)
	for _, l := range [][2]string{{"Node", s.Node}, {"Interface", s.Interface}, {"VTEP", s.VTEP}, {"VTEPs", strings.Join(s.VTEPs, ", ")}, {"Gateways", strings.Join(s.Gateways, ", ")}, {"Ports", readyOf(s.Ports)}, {"Switches", readyOf(s.Switches)}, {"Underlay", underlayOf(s.Underlay)}, {"Software", s.Software}} {
		if l[1] != "" {
			fmt.Fprintf(a.out, "%-11s %s\n", l[0]+":", l[1])
		}
	}
	a.describeOutside(s.Outside)
	if err := a.describeFabric(s); err != nil {
		return err
	}
	for _, r := range s.Reasons {
		fmt.Fprintf(a.out, "Waits for:  %s (%s): %s\n", r.Device, r.Code, r.Message)
		if r.Action != "" {
			fmt.Fprintf(a.out, "  To do:    %s\n", r.Action)
		}
	}
	return nil
}

// underlayOf says whether a switch has confirmed its present state, by the beginnings
// of the hashes.
func underlayOf(u *intent.UnderlayStatus) string {
	short := func(hash string) string { return hash[:min(len(hash), 12)] }
	switch {
	case u == nil:
		return ""
	case u.Applied == u.Wanted:
		return fmt.Sprintf("state %s in place, wanted since revision %d", short(u.Wanted), u.Revision)
	case u.Applied == "":
		return fmt.Sprintf("state %s wanted since revision %d, none confirmed", short(u.Wanted), u.Revision)
	}
	return fmt.Sprintf("state %s wanted since revision %d, %s in place", short(u.Wanted), u.Revision, short(u.Applied))
}

// describeOutside prints the sessions of an external network's borders.
func (a *app) describeOutside(sessions []intent.OutsideSession) {
	if len(sessions) == 0 {
		return
	}
	fmt.Fprintln(a.out, "Sessions:")
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  BORDER\tPEER\tAS\tSTATE\tSINCE\tTAKEN\tANNOUNCED")
	for _, s := range sessions {
		since := "-"
		if !s.Since.IsZero() {
			since = s.Since.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "  %s\t%s\t%d\t%s\t%s\t%d\t%d\n", s.Node, s.Peer, s.ASN, s.State, since, s.Taken, s.Announced)
	}
	_ = w.Flush()
}

// describeFabric prints the sessions of an interconnect and what crosses.
func (a *app) describeFabric(s *intent.Status) error {
	if len(s.Peers) > 0 {
		fmt.Fprintln(a.out, "Peers:")
		t := table{header: []string{"PEER", "STATE", "SINCE", "RECEIVED", "ADVERTISED", "FLAPS", "LAST-ERROR"}}
		for _, p := range s.Peers {
			since := ""
			if !p.Since.IsZero() {
				since = p.Since.Format("15:04:05")
			}
			state := p.State
			if p.Restarting {
				state += ", its routes are kept"
			}
			t.add(p.Peer, state, since, fmt.Sprint(p.Received), fmt.Sprint(p.Advertised), fmt.Sprint(p.Flaps), p.LastError)
		}
		if err := t.print(a.out, true); err != nil {
			return err
		}
	}
	if len(s.Lines) > 0 {
		fmt.Fprintln(a.out, "Lines:")
		t := table{header: []string{"LINE", "NODE", "PREFERENCE", "STATE", "SINCE", "IN-USE"}}
		for _, l := range s.Lines {
			since, used := "", "no"
			if !l.Since.IsZero() {
				since = l.Since.Local().Format(time.DateTime)
			}
			if l.InUse {
				used = "yes"
			}
			t.add(l.Name, l.Node, fmt.Sprint(l.Preference), string(l.State), since, used)
		}
		if err := t.print(a.out, true); err != nil {
			return err
		}
	}
	if len(s.Stretched) > 0 {
		fmt.Fprintln(a.out, "Stretched:")
		t := table{header: []string{"NETWORK", "VNI", "SENT", "RECEIVED", "USED", "VTEPS-THERE"}}
		for _, n := range s.Stretched {
			t.add(n.Network, fmt.Sprint(n.VNI), fmt.Sprint(n.Sent), fmt.Sprint(n.Received), fmt.Sprint(n.Used), strings.Join(n.VTEPs, ", "))
		}
		return t.print(a.out, true)
	}
	return nil
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the versions of this program and of the controller", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintln(a.out, "client:", version(), commit())
			cl, err := a.client()
			if err != nil {
				return err
			}
			v, err := cl.Version(c.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, "controller:", v.Version, v.Commit, "API", v.API)
			return nil
		}}
}
