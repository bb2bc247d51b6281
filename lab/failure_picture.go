package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-sdn/weft/topology"
)

// severity is a colour for gaps up to a length.
type severity struct {
	most   time.Duration
	colour string
	words  string
}

// severities from the least on. The last has no bound.
var severities = []severity{
	{0, "#2da44e", "nothing lost"},
	{20 * time.Millisecond, "#8bb02a", "gap to 20 ms"},
	{100 * time.Millisecond, "#d4a017", "to 100 ms"},
	{500 * time.Millisecond, "#d9730d", "to 500 ms"},
	{0, "#cf222e", "longer"},
}

// cutColour is that of what cuts something off, whatever else it does.
const cutColour = "#6e40c9"

func (f FailureResult) colour() string {
	if len(f.Severed) > 0 {
		return cutColour
	}
	for i, s := range severities {
		if f.Down.Gap <= s.most || i == len(severities)-1 {
			return s.colour
		}
	}
	return ""
}

// SVG draws the lab's graph. Each link has the colour and the gap, in milliseconds, of
// its worst failure, each node those of its own; what happened stands in the tooltips.
func (r *FailureReport) SVG(s *State) []byte {
	m := topology.Marks{Title: "Failures of lab " + r.Lab + ", " + r.Underlay + ": longest gaps in ms", Nodes: map[string]topology.Mark{}, Links: map[string]topology.Mark{}}
	for _, sev := range severities {
		m.Legend = append(m.Legend, topology.Mark{Colour: sev.colour, Label: sev.words})
	}
	m.Legend = append(m.Legend, topology.Mark{Colour: cutColour, Label: "cuts hosts off"})
	for _, l := range s.Links {
		if mark, ok := r.mark(func(f FailureResult) bool { return f.of(l.topology()) }); ok {
			m.Links[l.topology().String()] = mark
		}
	}
	for _, n := range s.Nodes {
		if mark, ok := r.mark(func(f FailureResult) bool { return f.Node == n.Name }); ok {
			m.Nodes[n.Name] = mark
		}
	}
	return s.graph().SVGWith(m)
}

// of reports whether a failure is that of a link.
func (f FailureResult) of(l topology.Link) bool { return f.Link == l.String() }

// mark sums the failures of one thing up.
func (r *FailureReport) mark(of func(FailureResult) bool) (m topology.Mark, ok bool) {
	var worst FailureResult
	var tips []string
	for _, f := range r.Results {
		if !of(f) {
			continue
		}
		if !ok || f.worse(worst) {
			worst = f
		}
		ok = true
		tip := fmt.Sprintf("%s of %s: %d of %d streams on it lost %d datagrams, gap %s", f.Kind, f.What, f.Down.Hit, f.Crossing, f.Down.Lost, gap(f.Down))
		if c := f.cutOff(); c != "" {
			tip += "; cut off: " + c
		}
		tips = append(tips, tip)
	}
	if !ok {
		return m, false
	}
	m = topology.Mark{Colour: worst.colour(), Tip: strings.Join(tips, "\n")}
	if worst.Down.Lost > 0 {
		m.Label = strconv.FormatInt(max(worst.Down.Gap.Round(time.Millisecond), time.Millisecond).Milliseconds(), 10)
	}
	return m, true
}

func (f FailureResult) worse(o FailureResult) bool {
	at := func(f FailureResult) int {
		return slices.IndexFunc(severities, func(s severity) bool { return s.colour == f.colour() })
	}
	a, b := at(f), at(o) // -1: cuts off
	if (a < 0) != (b < 0) {
		return a < 0
	}
	return f.Down.Gap > o.Down.Gap
}
