package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a file or a graph.
type Fault struct {
	Source string // name of the file; empty for a graph without one
	Line   int
	Text   string // a sentence that names the node or link and the field
}

// Error is "source:line: sentence".
func (f Fault) Error() string {
	if f.Source == "" && f.Line == 0 {
		return f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.Source, f.Line, f.Text)
}

// Faults is all that is wrong, in the order of the lines.
type Faults []Fault

// Error has one fault in a line, and tells how many more there are than people
// read.
func (fs Faults) Error() string {
	const most = 20
	var s []string
	for _, f := range fs[:min(most, len(fs))] {
		s = append(s, f.Error())
	}
	if n := len(fs) - most; n > 0 {
		s = append(s, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(s, "\n")
}

func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	slices.SortStableFunc(fs, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
	return fs
}
