package lab

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes the table, a line for each failure.
func (r *FailureReport) Print(w io.Writer) error {
	fmt.Fprintf(w, "lab %s, %s: %d streams, a datagram each every %s. Gaps are the longest of any stream that had a way left; pauses are the sender's own, by which gaps look longer.\n", r.Lab, r.Underlay, r.Streams, r.Interval)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FAILURE\tOF\tSTREAMS ON IT\tHIT\tLOST\tGAP\tPAUSE\tMENDED: LOST\tGAP\tALL ROUTES AGAIN\tCUT OFF")
	for _, f := range r.Results {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%d\t%s\t%s\t%s\n", f.Kind, f.What, f.Crossing, f.Down.Hit, f.Down.Lost, gap(f.Down), f.Down.Pause.Round(time.Millisecond), f.Up.Lost, gap(f.Up), f.Healed.Round(10*time.Millisecond), f.cutOff())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Results {
		for _, fault := range f.Faults {
			fmt.Fprintf(w, "not as it must be: %s of %s: %s\n", f.Kind, f.What, fault)
		}
	}
	return nil
}

func gap(i Impact) string {
	if i.Lost == 0 {
		return "-"
	}
	return i.Gap.Round(time.Millisecond).String()
}

func (f FailureResult) cutOff() string {
	var list []string
	for _, s := range f.Severed {
		list = append(list, s.Node+": "+s.Why)
	}
	return strings.Join(list, "; ")
}

// CSV writes the table for programs, times in milliseconds (RFC 4180).
func (r *FailureReport) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	ms := func(d time.Duration) string {
		return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64)
	}
	rows := [][]string{{"failure", "of", "streams_on_it", "streams_hit", "sent", "lost", "gap_ms", "pause_ms",
		"mended_lost", "mended_gap_ms", "healed_after_ms", "cut_off", "faults"}}
	for _, f := range r.Results {
		rows = append(rows, []string{string(f.Kind), f.What, strconv.Itoa(f.Crossing), strconv.Itoa(f.Down.Hit), strconv.Itoa(f.Down.Sent), strconv.Itoa(f.Down.Lost),
			ms(f.Down.Gap), ms(f.Down.Pause), strconv.Itoa(f.Up.Lost), ms(f.Up.Gap), ms(f.Healed), f.cutOff(), strings.Join(f.Faults, "; ")})
	}
	if err := c.WriteAll(rows); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
