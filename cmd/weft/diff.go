package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func newDiffCommand(a *app) *cobra.Command {
	var files []string
	var recursive bool
	var to int64
	c := &cobra.Command{
		Use:   "diff -f FILE|DIR|- | --to REV",
		Short: "Show what apply, or a rollback, would change",
		Long: `Show what apply would change or, with --to, what a rollback to a revision would.
Exit status 0: nothing; 1: something; 2 or more: an error.`,
		Example: `  weft diff -f tenants.yaml
  weft diff --to 118`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var differs bool
			var err error
			switch {
			case to != 0 && len(files) > 0:
				return usageError{errors.New("give -f or --to, not both")}
			case to != 0:
				differs, err = a.diffTo(c, to)
			default:
				differs, err = a.diff(c, files, recursive)
			}
			switch {
			case err != nil:
				return exitError{2, err.Error()}
			case differs:
				return exitError{1, ""}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "file, folder or - for the standard input; may be repeated")
	f.BoolVarP(&recursive, "recursive", "R", false, "read folders within folders")
	f.Int64Var(&to, "to", 0, "revision to compare with: \"weft history\" lists them")
	return c
}

func (a *app) diff(c *cobra.Command, files []string, recursive bool) (bool, error) {
	objects, err := a.readObjects(files, recursive)
	if err != nil {
		return false, err
	}
	cl, err := a.client()
	if err != nil {
		return false, err
	}
	differs := false
	for _, o := range objects {
		live, err := cl.Get(c.Context(), o.Ref())
		var p *client.Problem
		if errors.As(err, &p) && p.Status == http.StatusNotFound {
			live, err = nil, nil
		}
		if err != nil {
			return differs, err
		}
		// The controller says what it would store. What an object that does
		// not exist yet names may not exist yet either: then the file's text
		// is all there is to show.
		want := o
		if res, err := cl.Put(c.Context(), o, client.PutOptions{DryRun: true}); err == nil {
			want = res.Object
		} else if !errors.As(err, &p) || !namesUnknown(p) {
			return differs, err
		}
		before, err := plain(live)
		if err != nil {
			return differs, err
		}
		after, err := plain(want)
		if err != nil {
			return differs, err
		}
		if before != after {
			differs = true
			a.printDiff("live", "file", o.Ref(), before, after)
		}
	}
	return differs, nil
}

// printDiff shows two versions of an object line by line.
func (a *app) printDiff(old, now string, r intent.Ref, before, after string) {
	fmt.Fprintf(a.out, "--- %s %s\n+++ %s %s\n", old, r, now, r)
	for _, l := range lines(before, after) {
		fmt.Fprintln(a.out, l)
	}
}

// diffTo shows what a rollback to a revision would change.
func (a *app) diffTo(c *cobra.Command, to int64) (bool, error) {
	cl, err := a.client()
	if err != nil {
		return false, err
	}
	got, err := cl.Rollback(c.Context(), client.Rollback{Revision: to, DryRun: true, Objects: true})
	if err != nil {
		return false, err
	}
	for _, change := range got.Changes {
		now, then, err := change.Objects()
		if err != nil {
			return false, err
		}
		before, err := plain(now)
		if err != nil {
			return false, err
		}
		after, err := plain(then)
		if err != nil {
			return false, err
		}
		a.printDiff("live", fmt.Sprint("revision ", to), change.Ref, before, after)
	}
	return len(got.Changes) > 0, nil
}

// namesUnknown reports whether the only trouble with an object is that what it
// names does not exist yet.
func namesUnknown(p *client.Problem) bool {
	for _, e := range p.Errors {
		if !strings.Contains(e.Message, "unknown") {
			return false
		}
	}
	return len(p.Errors) > 0
}

// plain is an object's YAML without what only the server writes.
func plain(o intent.Object) (string, error) {
	if o == nil {
		return "", nil
	}
	o.Meta().Revision, o.Meta().Created = 0, nil
	b, err := intent.EncodeYAML(o)
	text, _, _ := strings.Cut(string(b), "\nstatus:")
	return strings.TrimRight(text, "\n"), err
}

// lines compares two short texts line by line: the longest common sequence
// stays, the rest is marked.
func lines(before, after string) []string {
	a, b := split(before), split(after)
	n := make([][]int, len(a)+1)
	for i := range n {
		n[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				n[i][j] = n[i+1][j+1] + 1
			} else {
				n[i][j] = max(n[i+1][j], n[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, " "+a[i])
			i++
			j++
		case i < len(a) && (j == len(b) || n[i+1][j] >= n[i][j+1]):
			out = append(out, "-"+a[i])
			i++
		default:
			out = append(out, "+"+b[j])
			j++
		}
	}
	return out
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
