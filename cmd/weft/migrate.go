package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func init() { commands = append(commands, newMigrateCommand) }

// migrateOptions are the flags of "weft migrate".
type migrateOptions struct {
	to      string
	timeout time.Duration
	cancel  bool
	noWait  bool
}

func newMigrateCommand(a *app) *cobra.Command {
	var o migrateOptions
	c := &cobra.Command{
		Use:   "migrate PORT --to NODE[:INTERFACE]",
		Short: "Move a port to another place, as a live migration does",
		Long: `Prepare another place for a port and use it as soon as the port speaks there:
by a gratuitous ARP, a RARP or an unsolicited neighbour advertisement, as
hypervisors send for a VM that arrives; or when the old place loses the port.
MAC and addresses stay.

The place is prepared when the node has the interface. A hypervisor manager that
plugs the same iface-id elsewhere needs no command: the second place is prepared
in the same way.`,
		Example: `  weft migrate vm1 -t blue --to hv2            # the interface there has the iface-id
  weft migrate srv1 -t blue --to leaf2:eth3
  weft migrate vm1 -t blue --cancel`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			tenant, err := a.tenant()
			if err != nil {
				return err
			}
			if tenant == "" {
				return usageError{fmt.Errorf("port/%s: say of which tenant with -t", args[0])}
			}
			return a.migrate(c.Context(), intent.Ref{Kind: intent.KindPort, Tenant: tenant, Name: args[0]}, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.to, "to", "", "NODE, or NODE:INTERFACE for a port that is bound by interface")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait for the port to arrive")
	f.BoolVar(&o.noWait, "no-wait", false, "only ask for it")
	f.BoolVar(&o.cancel, "cancel", false, "stop preparing; the port stays where it is")
	return c
}

func (a *app) migrate(ctx context.Context, r intent.Ref, o migrateOptions) error {
	if o.cancel == (o.to != "") {
		return usageError{errors.New("give --to or --cancel")}
	}
	cl, err := a.client()
	if err != nil {
		return err
	}
	var to intent.Place
	if !o.cancel {
		if to, err = parsePlace(o.to); err != nil {
			return err
		}
	}
	obj, err := cl.Get(ctx, r)
	if err != nil {
		return err
	}
	p := obj.(*intent.Port)
	p.Spec.Requested = to
	rev, from := p.Metadata.Revision, place(status(p.Status).Node, status(p.Status).Interface)
	p.Status = nil
	start := time.Now()
	if _, err := cl.Put(ctx, p, client.PutOptions{IfMatch: rev}); err != nil {
		return err
	}
	if o.cancel {
		fmt.Fprintln(a.out, shortRef(r), "stays at", from)
		return nil
	}
	fmt.Fprintf(a.out, "%s moves from %s to %s\n", shortRef(r), from, to)
	if o.noWait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return a.followMove(ctx, cl, r, to, start)
}

func place(node, iface string) string { return intent.Place{Node: node, Interface: iface}.String() }

// followMove tells how a move gets on, until it is done.
func (a *app) followMove(ctx context.Context, cl *client.Client, r intent.Ref, to intent.Place, start time.Time) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	prepared := false
	var last intent.Status
	for {
		obj, err := cl.Get(ctx, r)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			p := obj.(*intent.Port)
			last = status(p.Status)
			took := time.Since(start).Round(time.Millisecond)
			if last.Node == to.Node && (to.Interface == "" || last.Interface == to.Interface) && last.Phase == intent.PhaseReady {
				fmt.Fprintf(a.out, "%s is at %s after %s\n", shortRef(r), place(last.Node, last.Interface), took)
				return nil
			}
			if p.Spec.Requested != to && last.Node != to.Node {
				return fmt.Errorf("%s: somebody else changed spec.requested to %q", shortRef(r), p.Spec.Requested)
			}
			if last.Requested != "" && !prepared {
				prepared = true
				fmt.Fprintf(a.out, "%s is prepared after %s; the port moves with its first announcement there\n", last.Requested, took)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			why := "it has not spoken at " + to.String() + " yet"
			if !prepared {
				why = to.String() + " is not prepared: check that the node is Ready and has the interface"
			}
			return fmt.Errorf("%s did not move in time: %s; it goes on when that happens, or stop it with --cancel: %w", shortRef(r), why, ctx.Err())
		}
	}
}
