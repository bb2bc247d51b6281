package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func newFabricPlan(a *app) *cobra.Command {
	var files, gone []string
	var recursive, commands bool
	var output string
	c := &cobra.Command{
		Use: "plan -f FILE|DIR|- | --delete KIND/NAME", Short: "Show what a change of the fabric would do to each switch, before it is done", Args: cobra.NoArgs,
		Long: `Show what a change of the fabric would do to each switch, before it is done: what is
renumbered, which sessions come, go or flap, and with --commands the very lines that
FRR would be told. Nothing is written. Switches that are not named are left alone.
Objects of other kinds in the files are left out. Exit status 0: nothing would
change; 1: something; 2 or more: an error.`,
		Example: `  weft fabric plan -f grown.yaml
  weft fabric plan --delete node/spine4 --commands`,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("a plan can't be printed as %s: use json", output)}
			}
			plan, err := a.planFabric(c, files, gone, recursive)
			if err != nil {
				var usage usageError
				if errors.As(err, &usage) {
					return err
				}
				return exitError{2, err.Error()}
			}
			if output == "json" {
				err = printJSON(a.out, plan)
			} else {
				a.printPlan(plan, commands)
			}
			if err == nil && len(plan.Changes) > 0 {
				return exitError{1, ""}
			}
			return err
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "file, folder or - for the standard input; may be repeated")
	f.BoolVarP(&recursive, "recursive", "R", false, "read folders within folders")
	f.StringArrayVar(&gone, "delete", nil, "KIND/NAME that would be deleted; may be repeated")
	f.BoolVar(&commands, "commands", false, "show what FRR would be told")
	f.StringVarP(&output, "output", "o", "", "json")
	return c
}

func (a *app) planFabric(c *cobra.Command, files, gone []string, recursive bool) (client.FabricPlan, error) {
	if len(files) == 0 && len(gone) == 0 {
		return client.FabricPlan{}, usageError{errors.New("say what would be written with -f, or what would be deleted with --delete")}
	}
	var objects []intent.Object
	if len(files) > 0 {
		all, err := a.readObjects(files, recursive)
		if err != nil {
			return client.FabricPlan{}, err
		}
		for _, o := range all {
			if k := o.Ref().Kind; k == intent.KindFabric || k == intent.KindNode || k == intent.KindLink {
				objects = append(objects, o)
			}
		}
	}
	var refs []intent.Ref
	if len(gone) > 0 {
		var err error
		if refs, _, err = a.parseRefs(gone); err != nil {
			return client.FabricPlan{}, err
		}
	}
	cl, err := a.client()
	if err != nil {
		return client.FabricPlan{}, err
	}
	return cl.PlanFabric(c.Context(), objects, refs)
}

// printPlan writes a plan for people: a paragraph for each switch.
func (a *app) printPlan(p client.FabricPlan, commands bool) {
	if len(p.Changes) == 0 {
		fmt.Fprintln(a.out, "No switch changes.")
	}
	for _, c := range p.Changes {
		fmt.Fprintf(a.out, "%s is %s\n", c.Node, c.Kind)
		for _, r := range c.Renumbered {
			fmt.Fprintln(a.out, "  RENUMBERED:", r)
		}
		for _, d := range c.Details {
			fmt.Fprintln(a.out, "  "+d)
		}
		for _, s := range c.Sessions {
			why := ""
			if s.Why != "" {
				why = ": " + s.Why
			}
			fmt.Fprintf(a.out, "  session with %s %s%s\n", s.Peer, s.Fate, why)
		}
		if !commands {
			fmt.Fprintf(a.out, "  %d commands for FRR\n", len(c.Commands))
			continue
		}
		for _, l := range c.Commands {
			fmt.Fprintln(a.out, "  "+l)
		}
	}
	for _, n := range p.Notes {
		fmt.Fprintln(a.err, "Note:", n)
	}
}
