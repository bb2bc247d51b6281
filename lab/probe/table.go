package probe

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// listed is the number of failures that a table names.
const listed = 20

func printFailures(w io.Writer, fs []Failure) {
	for i, f := range fs {
		if i == listed {
			fmt.Fprintf(w, "  and %d more\n", len(fs)-listed)
			return
		}
		if i == 0 {
			fmt.Fprintln(w, "\nnot as expected:")
		}
		fmt.Fprintf(w, "  %s %s: %s\n", f.What, f.Flow, f.Detail)
	}
}

// Print writes the report as a table, a line per pair of tenants.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "FROM\tTO\tPAIRS\tEXPECTED\tSEEN\tLOST\tLEAKED\tDUPLICATED\t")
	var sum Row
	for _, o := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", o.From, o.To, o.Pairs, o.Expected, o.Seen, o.Lost, o.Leaked, o.Duplicated)
		sum.Pairs += o.Pairs
		sum.Expected += o.Expected
		sum.Seen += o.Seen
		sum.Lost += o.Lost
		sum.Leaked += o.Leaked
		sum.Duplicated += o.Duplicated
	}
	if len(r.Rows) > 1 {
		fmt.Fprintf(t, "all\tall\t%d\t%d\t%d\t%d\t%d\t%d\t\n", sum.Pairs, sum.Expected, sum.Seen, sum.Lost, sum.Leaked, sum.Duplicated)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "frames that came to a host they were not addressed to: %d\n", r.Flooded)
	if r.Unlearned > 0 {
		fmt.Fprintf(w, "and %d that a hardware VTEP sent to its own other ports, since it had not learned the station yet\n", r.Unlearned)
	}
	if err := printEdges(w, "unicast by kind of edge:", r.Edges); err != nil {
		return err
	}
	printFailures(w, r.Failures)
	return nil
}

// printEdges writes a line per ordered pair of kinds of edges.
func printEdges(w io.Writer, title string, rows []EdgeRow) error {
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\n"+title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "FROM EDGE\tTO EDGE\tEXPECTED\tSEEN\tDUPLICATED\t")
	for _, o := range rows {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t\n", o.From, o.To, o.Expected, o.Seen, o.Duplicated)
	}
	return t.Flush()
}

// Print writes the report as a table, a line per network and kind.
func (r *BroadcastReport) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "NETWORK\tTO\tSENT\tEXPECTED\tSEEN\tLOST\tLEAKED\tDUPLICATED\tTUNNELLED\tSTRAY\t")
	for _, o := range r.Rows {
		fmt.Fprintf(t, "%s/%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", o.Tenant, o.Network, o.Kind, o.Sent, o.Expected, o.Seen, o.Lost, o.Leaked, o.Duplicated, o.Tunnels, o.Stray)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := printEdges(w, "broadcast by kind of edge, copies:", r.Edges); err != nil {
		return err
	}
	printFailures(w, r.Failures)
	return nil
}

// Print writes what was lost.
func (r *LossReport) Print(w io.Writer) error {
	fmt.Fprintf(w, "%d pairs, one probe each every %s for %s: sent %d, lost %d, leaked %d, duplicated %d\n",
		r.Pairs, r.Interval.Round(time.Microsecond), r.Took.Round(time.Millisecond), r.Sent, r.Lost, r.Leaked, r.Dup)
	if len(r.Worst) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "PAIR\tSENT\tLOST\tDUPLICATED\tLONGEST GAP\tFROM\t")
	for i, p := range r.Worst {
		if i == listed {
			fmt.Fprintf(t, "and %d more\t\t\t\t\t\t\n", len(r.Worst)-listed)
			break
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%s\t\n", p.Flow, p.Sent, p.Lost, p.Duplicated, p.Gap.Round(time.Millisecond), p.GapBegan.UTC().Format("15:04:05.000"))
	}
	return t.Flush()
}
