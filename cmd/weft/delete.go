package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func init() { commands = append(commands, newDeleteCommand, newWaitCommand) }

func newDeleteCommand(a *app) *cobra.Command {
	var files []string
	var recursive, cascade, missing, force bool
	c := &cobra.Command{
		Use:   "delete KIND NAME... | KIND/NAME... | -f FILE",
		Short: "Delete objects",
		Long: `Delete objects. One that others name is refused, unless these are to be
deleted too, or --cascade deletes all that belongs to it: what is in a tenant, a
network's ports, what is on a node, the security groups whose rules name a group.
What only names it must let go of it first: the router of a network, the routes
and floating IPs of a port, the floating IPs behind a router, the ports in a
security group, what uses an external network, the external networks of a border.`,
		Example: `  weft delete port vm1 -t blue
  weft delete tenant blue --cascade
  weft delete -f tenants.yaml --ignore-not-found`,
		RunE: func(c *cobra.Command, args []string) error {
			refs, err := a.refsToDelete(files, recursive, args)
			if err != nil {
				return err
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			return a.delete(c.Context(), cl, refs, deleting{cascade, missing, force})
		},
		ValidArgsFunction: a.completeKindAndName,
	}
	f := c.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "delete the objects of this file, folder or - for the standard input")
	f.BoolVarP(&recursive, "recursive", "R", false, "read folders within folders")
	f.BoolVar(&cascade, "cascade", false, "delete what belongs to the objects too")
	f.BoolVar(&force, "force", false, "delete nodes and links also when ports would be cut off from the fabric")
	f.BoolVar(&missing, "ignore-not-found", false, "do not mind objects that do not exist")
	return c
}

// deleting are the manners of a deletion.
type deleting struct{ cascade, missing, force bool }

// delete deletes objects in order. What is in use by others of the list goes
// together with these: groups may name each other, in any order.
func (a *app) delete(ctx context.Context, cl *client.Client, refs []intent.Ref, o deleting) error {
	listed, deleted := map[intent.Ref]bool{}, map[intent.Ref]bool{}
	for _, r := range refs {
		listed[r] = true
	}
	bad := 0
	for _, r := range refs {
		if deleted[r] {
			continue
		}
		gone, err := cl.Delete(ctx, r, client.DeleteOptions{Cascade: o.cascade, Force: o.force})
		var p *client.Problem
		if errors.As(err, &p) && p.Type == client.TypeInUse && !o.cascade {
			// Would a cascade delete anything that is not listed?
			if all, try := cl.Delete(ctx, r, client.DeleteOptions{Cascade: true, DryRun: true, Force: o.force}); try == nil &&
				!slices.ContainsFunc(all, func(r intent.Ref) bool { return !listed[r] }) {
				gone, err = cl.Delete(ctx, r, client.DeleteOptions{Cascade: true, Force: o.force})
			}
		}
		var lost *client.ConnectError
		switch {
		case err == nil:
		case o.missing && errors.As(err, &p) && p.Status == http.StatusNotFound:
		case errors.As(err, &lost):
			return err
		default:
			fmt.Fprintln(a.err, "Error:", err)
			bad++
		}
		for _, g := range gone {
			deleted[g] = true
			fmt.Fprintln(a.out, shortRef(g), "deleted")
		}
	}
	if bad > 0 {
		return failed(bad)
	}
	return nil
}

// refsToDelete takes them from files, in the reverse of the order of apply, or
// from arguments.
func (a *app) refsToDelete(files []string, recursive bool, args []string) ([]intent.Ref, error) {
	if len(files) == 0 && len(args) == 0 {
		return nil, usageError{errors.New("say what to delete: KIND NAME, KIND/NAME or -f FILE")}
	}
	if len(files) == 0 {
		refs, _, err := a.parseRefs(args)
		if err == nil && len(refs) == 0 {
			err = usageError{errors.New("say which by name; all of a kind are not deleted at once")}
		}
		return refs, err
	}
	if len(args) > 0 {
		return nil, usageError{errors.New("give names or -f, not both")}
	}
	objects, err := a.readObjects(files, recursive)
	if err != nil {
		return nil, err
	}
	var refs []intent.Ref
	for _, o := range objects {
		refs = append(refs, o.Ref())
	}
	slices.Reverse(refs)
	return refs, nil
}

func newWaitCommand(a *app) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:     "wait KIND NAME... | KIND/NAME...",
		Short:   "Wait until the devices confirmed objects",
		Example: `  weft wait port/vm1 -t blue --timeout 10s`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			refs, kind, err := a.parseRefs(args)
			if err != nil {
				return err
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			if len(refs) == 0 {
				var opt client.ListOptions
				if kind.Tenanted() {
					if opt.Tenant, err = a.tenant(); err != nil {
						return err
					}
				}
				objects, err := cl.List(c.Context(), kind, opt)
				if err != nil {
					return err
				}
				for _, o := range objects {
					refs = append(refs, o.Ref())
				}
			}
			end, bad := time.Now().Add(timeout), 0
			for _, r := range refs {
				if _, err := cl.Await(c.Context(), r, 0, max(time.Until(end), time.Millisecond)); err != nil {
					fmt.Fprintln(a.err, "Error:", err)
					bad++
					continue
				}
				fmt.Fprintln(a.out, shortRef(r), "ready")
			}
			if bad > 0 {
				return failed(bad)
			}
			return nil
		},
		ValidArgsFunction: a.completeKindAndName,
	}
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait for all of them")
	return c
}
