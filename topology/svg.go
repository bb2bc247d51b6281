package topology

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
)

// Sizes of a drawing in pixels.
const (
	boxHeight  = 30
	boxGap     = 18
	rowGap     = 74 // between tiers
	stackGap   = 10 // between the VMs of a hypervisor, or servers of a hardware VTEP
	letter     = 7.6
	boxPadding = 20
	margin     = 32
	titleRoom  = 46
)

// box is a node on the page; x is its centre, y its top.
type box struct {
	node        Node
	x, y, width float64
	stacked     bool // a VM under its hypervisor, or a server under its hardware VTEP
}

// drawing lays the graph out: tiers of switches in rows; below them a column
// for each hypervisor, hardware VTEP or server, in the order of the leaves, with
// the VMs of a hypervisor and the servers of a hardware VTEP under it.
type drawing struct {
	graph         *Graph
	boxes         map[string]*box
	near          map[string][]string
	levels        map[string]int
	tenants       []string // that nodes are labelled with, in order
	width, height float64
	marks         *Marks // none in a plain drawing
}

// SVG draws the graph: a page by itself, with the interfaces of each link in
// its tooltip.
func (g *Graph) SVG() []byte { return g.layout().draw() }

// layout places all nodes.
func (g *Graph) layout() *drawing {
	d := &drawing{graph: g, boxes: map[string]*box{}, near: map[string][]string{}, levels: g.levels()}
	for _, n := range g.Nodes {
		if t := n.Labels[LabelTenant]; t != "" && !slices.Contains(d.tenants, t) {
			d.tenants = append(d.tenants, t)
		}
		d.boxes[n.Name] = &box{node: n, width: max(56, float64(len(n.Name))*letter+boxPadding)}
	}
	for _, l := range g.Links {
		if d.boxes[l.A.Node] != nil && d.boxes[l.B.Node] != nil {
			d.near[l.A.Node] = append(d.near[l.A.Node], l.B.Node)
			d.near[l.B.Node] = append(d.near[l.B.Node], l.A.Node)
		}
	}
	d.columns()
	d.rows()
	return d
}

// row is the names of a level, in natural order.
func (d *drawing) row(at int) []string {
	var out []string
	for _, n := range d.graph.Nodes {
		if d.levels[n.Name] == at {
			out = append(out, n.Name)
		}
	}
	slices.SortFunc(out, natural)
	return out
}

// columns places the leaves and, below them, their hosts from left to right.
func (d *drawing) columns() {
	x := float64(margin)
	below := d.under(2, 3)
	stacks := d.under(3, 4)
	place := func(hosts []string) {
		for _, h := range hosts {
			widest := 0.0
			for _, vm := range stacks[h] {
				widest = max(widest, d.boxes[vm].width)
			}
			width := max(d.boxes[h].width, widest+16)
			d.boxes[h].x = x + width/2
			for _, vm := range stacks[h] {
				b := d.boxes[vm]
				b.x, b.width, b.stacked = x+width/2+8, widest, true
			}
			x += width + boxGap
		}
	}
	for _, leaf := range d.row(2) {
		start := x
		place(below[leaf])
		b := d.boxes[leaf]
		if x-start < b.width+boxGap {
			shift := (b.width + boxGap - (x - start)) / 2
			for _, h := range below[leaf] {
				d.boxes[h].x += shift
				for _, vm := range stacks[h] {
					d.boxes[vm].x += shift
				}
			}
			x = start + b.width + boxGap
		}
		b.x = (start + x - boxGap) / 2
		x += boxGap
	}
	place(below[""])
	for _, vm := range stacks[""] {
		b := d.boxes[vm]
		b.x = x + b.width/2
		x += b.width + boxGap
	}
	d.width = x - boxGap + margin
}

// under assigns each node of a level to the first node of the level above that
// it is linked to, or to "" when there is none.
func (d *drawing) under(above, at int) map[string][]string {
	out := map[string][]string{}
	for _, name := range d.row(at) {
		parent := ""
		for _, other := range d.near[name] {
			if d.levels[other] == above && (parent == "" || natural(other, parent) < 0) {
				parent = other
			}
		}
		out[parent] = append(out[parent], name)
	}
	return out
}

// rows gives each level its height, and spreads the spines over the page.
func (d *drawing) rows() {
	y := float64(margin)
	if d.graph.Name != "" {
		y += titleRoom - 16
	}
	for at := range 4 {
		row := d.row(at)
		if len(row) == 0 {
			continue
		}
		for _, name := range row {
			d.boxes[name].y = y
		}
		if at < 2 {
			d.spread(row)
		}
		y += boxHeight + rowGap
	}
	bottom := y - rowGap
	free := bottom + 24
	for _, vms := range d.under(3, 4) {
		for i, vm := range vms {
			b := d.boxes[vm]
			b.y = free
			if b.stacked {
				b.y += float64(i) * (boxHeight + stackGap)
			}
			bottom = max(bottom, b.y+boxHeight)
		}
	}
	d.height = bottom + margin
}

// spread puts the switches of a row at even distances over the page.
func (d *drawing) spread(row []string) {
	need := float64(2*margin - boxGap)
	for _, name := range row {
		need += d.boxes[name].width + boxGap
	}
	if need > d.width {
		for _, b := range d.boxes {
			b.x += (need - d.width) / 2
		}
		d.width = need
	}
	free := (d.width - need) / float64(len(row)+1)
	x := float64(margin) + free
	for _, name := range row {
		b := d.boxes[name]
		b.x = x + b.width/2
		x += b.width + boxGap + free
	}
}

func (d *drawing) draw() []byte {
	var b bytes.Buffer
	title := d.graph.Name
	if d.marks != nil {
		title = d.marks.Title
	}
	d.width = max(d.width, float64(len(title))*11+2*margin, 200)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="13">`+"\n", d.width, d.height, d.width, d.height)
	fmt.Fprintf(&b, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n")
	if title != "" {
		fmt.Fprintf(&b, "<title>%s</title>\n<text x=\"%d\" y=\"36\" font-size=\"18\" font-weight=\"600\" fill=\"#1d2230\">%s</text>\n", xmlText(title), margin, xmlText(title))
	}
	parallel := map[[2]string]int{}
	b.WriteString("<g fill=\"none\" stroke=\"#8a93a6\" stroke-width=\"1.4\">\n")
	for _, l := range d.graph.Links {
		from, to := d.boxes[l.A.Node], d.boxes[l.B.Node]
		if from == nil || to == nil {
			continue
		}
		if from.y > to.y || from.y == to.y && from.x > to.x {
			from, to = to, from
		}
		pair := [2]string{from.node.Name, to.node.Name}
		style, tip := "", l.String()
		if m, ok := d.markOf(l); ok {
			style, tip = fmt.Sprintf(" stroke=\"%s\" stroke-width=\"2.6\"", m.Colour), tip+"\n"+m.Tip
		}
		fmt.Fprintf(&b, "<path d=\"%s\"%s><title>%s</title></path>\n", route(from, to, parallel[pair]), style, xmlText(tip))
		parallel[pair]++
	}
	b.WriteString("</g>\n")
	for _, n := range d.graph.Nodes {
		d.drawBox(&b, d.boxes[n.Name])
	}
	d.labels(&b)
	d.legend(&b)
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// route is the way of a line from the upper to the lower box; the n-th of
// several between the same two is moved aside.
func route(from, to *box, n int) string {
	aside := float64((n+1)/2*8) * float64(1-n%2*2)
	switch {
	case from.y == to.y: // an arc below the row
		deep := from.y + boxHeight + min(20+(to.x-from.x)/9, rowGap-8) + float64(n)*8
		return fmt.Sprintf("M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f", from.x, from.y+boxHeight, from.x, deep, to.x, deep, to.x, to.y+boxHeight)
	case to.stacked && from.node.Role.Tunnels() && from.x-from.width/2+8 <= to.x-to.width/2:
		return fmt.Sprintf("M%.1f %.1fV%.1fH%.1f", from.x-from.width/2+8, from.y+boxHeight, to.y+boxHeight/2+aside, to.x-to.width/2)
	case to.stacked && from.node.Role.Tunnels():
		left := to.x - to.width/2 - 8
		return fmt.Sprintf("M%.1f %.1fV%.1fH%.1fV%.1fH%.1f", from.x, from.y+boxHeight, from.y+boxHeight+12, left, to.y+boxHeight/2+aside, to.x-to.width/2)
	}
	return fmt.Sprintf("M%.1f %.1fL%.1f %.1f", from.x+aside, from.y+boxHeight, to.x+aside, to.y)
}

// tenantColours tell VMs of tenants apart.
var tenantColours = []string{"#1f6feb", "#2da44e", "#bf5700", "#8250df", "#cf222e", "#0a7f8c"}

func (d *drawing) drawBox(b *bytes.Buffer, x *box) {
	fill, line := "#ffffff", "#444444"
	if c, ok := colours[x.node.Role]; ok {
		fill, line = c[0], c[1]
	}
	tip := x.node.Name + ": " + string(x.node.Role)
	if t := x.node.Labels[LabelTenant]; t != "" {
		tip += ", tenant " + t
		line = tenantColours[slices.Index(d.tenants, t)%len(tenantColours)]
	}
	stroke := 1.4
	if m, ok := d.nodeMark(b, x); ok {
		line, tip, stroke = m.Colour, tip+"\n"+m.Tip, 3
	}
	fmt.Fprintf(b, "<g><title>%s</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"5\" fill=\"%s\" stroke=\"%s\" stroke-width=\"%.1f\"/>",
		xmlText(tip), x.x-x.width/2, x.y, x.width, boxHeight, fill, line, stroke)
	fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" fill=\"#1d2230\">%s</text></g>\n", x.x, x.y+20, xmlText(x.node.Name))
}

func xmlText(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a Buffer takes all
	return b.String()
}
