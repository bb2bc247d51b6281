package topology

import (
	"bytes"
	"fmt"
)

// Marks are what a drawing says of a graph beside what it is.
type Marks struct {
	Title  string
	Nodes  map[string]Mark
	Links  map[string]Mark // by Link.String
	Legend []Mark
}

// Mark is a colour and a few words at a node or link.
type Mark struct {
	Colour string // as in SVG: "#cf222e"
	Label  string // short: it stands in the drawing
	Tip    string // in the tooltip, below what is there anyway
}

// Sizes of what is added to a drawing.
const (
	legendRoom = 40
	legendStep = 132
)

// SVGWith draws the graph with marks: the tooltips have all of it, the labels the
// least.
func (g *Graph) SVGWith(m Marks) []byte {
	d := g.layout()
	d.marks = &m
	d.height += legendRoom
	if wide := float64(len(m.Legend))*legendStep + 2*margin; wide > d.width {
		for _, b := range d.boxes {
			b.x += (wide - d.width) / 2
		}
		d.width = wide
	}
	return d.draw()
}

// markOf is a link's colour, width and further tooltip.
func (d *drawing) markOf(l Link) (m Mark, ok bool) {
	if d.marks == nil {
		return m, false
	}
	m, ok = d.marks.Links[l.String()]
	return m, ok
}

// labels writes the links' labels on the lines, those of one switch at different heights.
func (d *drawing) labels(b *bytes.Buffer) {
	if d.marks == nil {
		return
	}
	of := map[string]int{} // links of each lower end so far
	for _, l := range d.graph.Links {
		from, to := d.boxes[l.A.Node], d.boxes[l.B.Node]
		if from == nil || to == nil {
			continue
		}
		if from.y > to.y || from.y == to.y && from.x > to.x {
			from, to = to, from
		}
		n := of[to.node.Name]
		of[to.node.Name]++
		m, ok := d.markOf(l)
		if !ok || m.Label == "" || to.stacked {
			continue
		}
		x, y := labelAt(from, to, n)
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"9\" text-anchor=\"middle\" stroke=\"#ffffff\" stroke-width=\"3\" paint-order=\"stroke\" fill=\"%s\">%s</text>\n", x, y, m.Colour, xmlText(m.Label))
	}
}

// labelAt is the place of a link's label, the n-th of those of its lower end.
func labelAt(from, to *box, n int) (x, y float64) {
	if from.y == to.y {
		return (from.x + to.x) / 2, from.y + boxHeight + 22 + float64(n)*10
	}
	top, bottom := from.y+boxHeight, to.y
	up := 0.19 + 0.16*float64(n%4)
	return to.x + (from.x-to.x)*up, bottom + (top-bottom)*up
}

// legend writes what the colours mean.
func (d *drawing) legend(b *bytes.Buffer) {
	if d.marks == nil {
		return
	}
	y := d.height - margin
	for i, m := range d.marks.Legend {
		x := margin + float64(i)*legendStep
		fmt.Fprintf(b, "<path d=\"M%.1f %.1fh22\" stroke=\"%s\" stroke-width=\"4\"/><text x=\"%.1f\" y=\"%.1f\" font-size=\"11\" fill=\"#1d2230\">%s</text>\n", x, y-4, m.Colour, x+28, y, xmlText(m.Label))
	}
}

// nodeMark writes a node's label to the right of its box, where no link is, and gives
// its colour.
func (d *drawing) nodeMark(b *bytes.Buffer, x *box) (m Mark, ok bool) {
	if d.marks == nil {
		return m, false
	}
	if m, ok = d.marks.Nodes[x.node.Name]; ok && m.Label != "" {
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"9\" fill=\"%s\">%s</text>\n", x.x+x.width/2+4, x.y+boxHeight/2+3, m.Colour, xmlText(m.Label))
	}
	return m, ok
}
