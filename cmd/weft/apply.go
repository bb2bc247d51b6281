package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
)

func init() { commands = append(commands, newApplyCommand, newDiffCommand) }

// failed ends a command whose faults were printed one by one.
func failed(n int) error { return exitError{1, fmt.Sprintf("%d of the objects failed", n)} }

func newApplyCommand(a *app) *cobra.Command {
	var files []string
	var recursive, wait, force bool
	var dryRun string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "apply -f FILE|DIR|-",
		Short: "Make objects as files say; repeating it changes nothing",
		Long: `Make objects as files say, or change them; repeating it changes nothing.

All files are read and checked before anything is sent. Objects are sent many at
a time, what is named before what names it; one that the controller refuses does
not hold back the others, and the exit status is then 1.`,
		Example: `  weft apply -f tenants.yaml
  weft apply -f intent/ -R --wait
  weft lab intent dc.clab.yml | weft apply -f -
  weft apply -f tenants.yaml --dry-run=server`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if dryRun != "none" && dryRun != "server" {
				return usageError{fmt.Errorf("--dry-run %q is not known: use none or server", dryRun)}
			}
			objects, err := a.readObjects(files, recursive)
			if err != nil {
				return err
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			bad := 0
			suffix := ""
			if dryRun == "server" {
				suffix = " (dry run)"
			}
			var sent []client.AppliedItem
			err = cl.Apply(c.Context(), objects, client.ApplyOptions{DryRun: dryRun == "server", Force: force}, func(i client.AppliedItem) {
				if i.Problem != nil {
					fmt.Fprintln(a.err, "Error:", i.Problem)
					bad++
					return
				}
				fmt.Fprintf(a.out, "%s %s%s\n", shortRef(i.Ref), i.Action, suffix)
				sent = append(sent, i)
			})
			if err != nil {
				return err
			}
			if wait && dryRun == "none" {
				bad += a.awaitAll(c, cl, sent, timeout)
			}
			if bad > 0 {
				return failed(bad)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "file, folder or - for the standard input; may be repeated")
	f.BoolVarP(&recursive, "recursive", "R", false, "read folders within folders")
	f.StringVar(&dryRun, "dry-run", "none", "server: let the controller check, and write nothing")
	f.Lookup("dry-run").NoOptDefVal = "server"
	f.BoolVar(&force, "force", false, "write nodes and links also when ports would be cut off from the fabric")
	f.BoolVar(&wait, "wait", false, "wait until the devices confirmed everything")
	f.DurationVar(&timeout, "timeout", time.Minute, "how long --wait waits for all of it")
	return c
}

// awaitAll waits for what has a state on devices and returns how many failed.
func (a *app) awaitAll(c *cobra.Command, cl *client.Client, sent []client.AppliedItem, timeout time.Duration) int {
	bad := 0
	end := time.Now().Add(timeout)
	for _, s := range sent {
		if _, err := cl.Await(c.Context(), s.Ref, s.Revision, max(time.Until(end), time.Millisecond)); err != nil {
			fmt.Fprintln(a.err, "Error:", err)
			bad++
		}
	}
	return bad
}
