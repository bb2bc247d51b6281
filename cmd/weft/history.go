package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func init() { commands = append(commands, newHistoryCommand, newRollbackCommand) }

func newHistoryCommand(a *app) *cobra.Command {
	var limit int
	var before int64
	var output string
	c := &cobra.Command{
		Use:   "history",
		Short: "List the last changes of all objects, the newest first",
		Long: `List the last changes of all objects, the newest first. "weft rollback REV" makes
everything what it was after the change of that revision, "weft diff --to REV" shows
what that would change.

The store keeps its history until it is compacted: the etcd inside the controller
keeps the last 100,000 changes, a cluster what its own settings say, and "weft store
compact" forgets all.`,
		Example: `  weft history
  weft history --limit 100 --before 4711`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case output != "" && output != "json":
				return usageError{fmt.Errorf("history can't be printed as %s: use json", output)}
			case limit < 1 || limit > 1000:
				return usageError{fmt.Errorf("--limit %d: give 1 to 1000", limit)}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			return a.history(c.Context(), cl, limit, before, output)
		},
	}
	f := c.Flags()
	f.IntVarP(&limit, "limit", "n", 20, "how many changes")
	f.Int64Var(&before, "before", 0, "only changes before this revision")
	f.StringVarP(&output, "output", "o", "", "json")
	return c
}

func (a *app) history(ctx context.Context, cl *client.Client, limit int, before int64, output string) error {
	h, err := cl.History(ctx, limit, before)
	if err != nil {
		return err
	}
	if output == "json" {
		return printJSON(a.out, h)
	}
	if len(h.Items) == 0 {
		fmt.Fprintf(a.err, "No changes are known; the oldest revision that is kept is %d.\n", h.Oldest)
		return nil
	}
	t := table{header: []string{"REVISION", "TIME", "CHANGES", "NOTE"}}
	for _, r := range h.Items {
		at := ""
		if !r.At.IsZero() {
			at = r.At.Local().Format("2006-01-02 15:04:05")
		}
		t.add(fmt.Sprint(r.Revision), at, summary(r.Changes), r.Note)
	}
	return t.print(a.out, true)
}

// summary tells in a few words what was changed.
func summary(changes []client.Touched) string {
	const most = 3
	var said []string
	for _, c := range changes[:min(most, len(changes))] {
		said = append(said, c.Action+" "+c.Ref.String())
	}
	if n := len(changes) - len(said); n > 0 {
		said = append(said, fmt.Sprintf("%d more", n))
	}
	return strings.Join(said, ", ")
}

func newRollbackCommand(a *app) *cobra.Command {
	var dryRun, force bool
	c := &cobra.Command{
		Use:   "rollback REV",
		Short: "Make all objects what they were at a revision",
		Long: `Make all objects what they were after the change of a revision, with the VNIs,
addresses and MACs that they had; what came since is deleted. A rollback is a change
like others: it can be rolled back too.

It is refused when ports that are in use would be deleted, or would be cut off from
the fabric, unless it is forced. Up to 20,000 keys of the store (an object has two to
ten) are written by one transaction with the etcd inside the controller, 120 with a
cluster. What is more takes several, and devices may then see what is between.`,
		Example: `  weft history
  weft diff --to 118
  weft rollback 118 --dry-run
  weft rollback 118`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			rev, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || rev < 1 {
				return usageError{fmt.Errorf("%q is no revision: \"weft history\" lists them", args[0])}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := cl.Rollback(c.Context(), client.Rollback{Revision: rev, DryRun: dryRun, Force: force})
			if err != nil {
				return forcible(err)
			}
			suffix := ""
			if dryRun {
				suffix = " (dry run)"
			}
			for _, ch := range got.Changes {
				fmt.Fprintf(a.out, "%s %s%s\n", refOf(ch.Ref), ch.Action, suffix)
			}
			if len(got.Changes) == 0 {
				fmt.Fprintf(a.out, "nothing has changed since revision %d\n", rev)
			}
			if got.Transactions > 1 {
				fmt.Fprintf(a.err, "This takes %d transactions of the store.\n", got.Transactions)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only tell what would change")
	c.Flags().BoolVar(&force, "force", false, "also when ports in use would be deleted or cut off")
	return c
}

// refOf names an object with its tenant: port/blue/vm1.
func refOf(r intent.Ref) string {
	if r.Tenant == "" {
		return shortRef(r)
	}
	return strings.ToLower(string(r.Kind)) + "/" + r.Tenant + "/" + r.Name
}

// forcible says by which flag a refusal for the sake of ports is overcome.
func forcible(err error) error {
	var p *client.Problem
	if errors.As(err, &p) && p.Type == client.TypeOrphans {
		return fmt.Errorf("%w (--force)", err)
	}
	return err
}
