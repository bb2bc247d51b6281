package steering

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
)

// Sizes of a heat map in pixels.
const (
	cellWidth  = 26
	cellHeight = 16 // two halves: up, down
	letter     = 6.2
	mapMargin  = 28
	titleRoom  = 78
	panelGap   = 40
	blockGap   = 26
)

// block is a grid of links: lower switches by upper ones.
type block struct {
	lower, upper []string
	links        map[[2]string][]int // the direction up
}

// panel is one way to carry the traffic.
type panel struct {
	title string
	load  []float64
}

// HeatMap draws how utilised each link is: a row of panels for each report, each a
// grid with a row for each switch and a column for each switch of the tier above. The
// upper half of a field is the way up, the lower half the way down; of parallel links
// the most utilised.
func (n *Network) HeatMap(title string, reports ...Report) []byte {
	blocks := n.blocks()
	width, height := 0.0, 0.0
	for _, b := range blocks {
		width = max(width, b.labels()+float64(len(b.upper)*cellWidth))
		height += float64(len(b.lower)*cellHeight) + blockGap
	}
	panels := 0
	for _, r := range reports {
		panels = max(panels, len(r.panels()))
	}
	d := &heat{network: n}
	y := float64(mapMargin + titleRoom)
	for _, r := range reports {
		d.text(mapMargin, y, 14, "600", r.Case.Name)
		for i, p := range r.panels() {
			d.panel(mapMargin+float64(i)*(width+panelGap), y+20, p, r, blocks)
		}
		y += 30 + height + blockGap
	}
	all := max(2*mapMargin+float64(panels)*(width+panelGap)-panelGap, 640)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="11">`+"\n", all, y, all, y)
	b.WriteString("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n")
	fmt.Fprintf(&b, "<title>%s</title>\n", escape(title))
	head := &heat{}
	head.text(mapMargin, 34, 18, "600", title)
	head.legend(mapMargin, 46)
	head.text(mapMargin, 76, 11, "400", "Rows: lower switches. Columns: upper switches. Upper half of a field: the way up; lower half: the way down.")
	b.Write(head.out.Bytes())
	b.Write(d.out.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (r Report) panels() []panel {
	out := []panel{{"ECMP", r.ECMP}}
	if r.Policy != nil {
		out = append(out, panel{"policy", r.Policy})
	}
	return append(out, panel{"auto", r.Auto})
}

// blocks sorts the links by the tiers that they join, the top ones first; those
// within a tier come last.
func (n *Network) blocks() []block {
	tier := func(name string) int {
		nd, _ := n.graph.Node(name)
		return slices.Index([]intent.Role{intent.RoleLeaf, intent.RoleSpine, intent.RoleSuperspine}, nd.Role) * 10
	}
	found := map[[2]int]*block{}
	for l := 0; l < len(n.Links); l += 2 {
		up := l
		low, high := n.Links[l].From.Node, n.Links[l].To.Node
		if tier(low) > tier(high) {
			up, low, high = l+1, high, low
		}
		at := [2]int{max(0, tier(low)), max(0, tier(high))}
		if found[at] == nil {
			found[at] = &block{links: map[[2]string][]int{}}
		}
		b := found[at]
		if !slices.Contains(b.lower, low) {
			b.lower = append(b.lower, low)
		}
		if !slices.Contains(b.upper, high) {
			b.upper = append(b.upper, high)
		}
		b.links[[2]string{low, high}] = append(b.links[[2]string{low, high}], up)
	}
	var keys [][2]int
	for k := range found {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]int) int {
		if flat := func(k [2]int) bool { return k[0] == k[1] }; flat(a) != flat(b) {
			if flat(a) {
				return 1
			}
			return -1
		}
		return slices.Compare(b[:], a[:])
	})
	var out []block
	for _, k := range keys {
		slices.SortFunc(found[k].lower, fabric.Natural)
		slices.SortFunc(found[k].upper, fabric.Natural)
		out = append(out, *found[k])
	}
	return out
}

// labels is the room for the names of the rows.
func (b block) labels() float64 {
	most := 0
	for _, s := range b.lower {
		most = max(most, len(s))
	}
	return float64(most)*letter + 10
}

// heat is a drawing.
type heat struct {
	network *Network
	out     bytes.Buffer
}

func (d *heat) text(x, y, size float64, weight, s string) {
	fmt.Fprintf(&d.out, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.0f\" font-weight=\"%s\" fill=\"#1d2230\">%s</text>\n", x, y, size, weight, escape(s))
}

func (d *heat) panel(x, y float64, p panel, r Report, blocks []block) {
	worst, link := d.network.Worst(p.load)
	d.text(x, y, 12, "600", fmt.Sprintf("%s: at most %.1f %%", p.title, 100*worst))
	if worst > 0 {
		fmt.Fprintf(&d.out, "<g><title>%s</title></g>\n", escape(link.String()))
	}
	y += blockGap
	for _, b := range blocks {
		left := x + b.labels()
		for i, up := range b.upper {
			fmt.Fprintf(&d.out, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"8\" text-anchor=\"middle\" fill=\"#5b5f6b\"><title>%s</title>%s</text>\n",
				left+(float64(i)+0.5)*cellWidth, y-3, escape(up), escape(short(up)))
		}
		for row, low := range b.lower {
			at := y + float64(row*cellHeight)
			fmt.Fprintf(&d.out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" fill=\"#1d2230\">%s</text>\n", left-5, at+12, escape(low))
			for i, up := range b.upper {
				if links := b.links[[2]string{low, up}]; len(links) > 0 {
					d.field(left+float64(i*cellWidth), at, links, p.load, r)
				}
			}
		}
		y += float64(len(b.lower)*cellHeight) + blockGap
	}
}

// short is what fits over a column: the number of a switch, or the end of its name.
func short(name string) string {
	i := len(name)
	for i > 0 && name[i-1] >= '0' && name[i-1] <= '9' {
		i--
	}
	if i == len(name) {
		i = max(0, len(name)-4)
	}
	return name[i:]
}

// field draws both directions of the links between two switches.
func (d *heat) field(x, y float64, links []int, load []float64, r Report) {
	for half, back := range []int{0, 1} {
		most, at, down := -1.0, links[0], true
		for _, l := range links {
			l ^= back
			if u := load[l] / d.network.Links[l].Capacity; u > most {
				most, at = u, l
			}
			down = down && r.Down != nil && r.Down[l]
		}
		fill, words := colour(most), fmt.Sprintf("%.1f %%", 100*most)
		if down {
			fill, words = "#d0d3da", "down"
		}
		fmt.Fprintf(&d.out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" fill=\"%s\"><title>%s: %s</title></rect>\n",
			x+0.5, y+float64(half*cellHeight/2)+0.5*float64(1-half), cellWidth-1, cellHeight/2-half, fill, escape(d.network.Links[at].String()), words)
	}
}

// stops are the colours at utilisations; above the last one it stays.
var stops = []struct {
	at      float64
	r, g, b float64
}{
	{0, 244, 247, 252}, {0.3, 198, 219, 239}, {0.5, 253, 224, 139}, {0.75, 244, 133, 66}, {1, 200, 30, 35}, {1.5, 92, 8, 60},
}

func colour(u float64) string {
	last := stops[0]
	for _, s := range stops {
		if u <= s.at {
			f := 0.0
			if s.at > last.at {
				f = (u - last.at) / (s.at - last.at)
			}
			mix := func(a, b float64) int { return int(math.Round(a + f*(b-a))) }
			return fmt.Sprintf("#%02x%02x%02x", mix(last.r, s.r), mix(last.g, s.g), mix(last.b, s.b))
		}
		last = s
	}
	return fmt.Sprintf("#%02x%02x%02x", int(last.r), int(last.g), int(last.b))
}

func (d *heat) legend(x, y float64) {
	for i, s := range stops {
		fmt.Fprintf(&d.out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"22\" height=\"12\" fill=\"%s\"/>", x+float64(i)*76, y, colour(s.at))
		words := fmt.Sprintf("%.0f %%", 100*s.at)
		if i == len(stops)-1 {
			words = "≥ " + words
		}
		fmt.Fprintf(&d.out, "<text x=\"%.1f\" y=\"%.1f\" fill=\"#5b5f6b\">%s</text>\n", x+float64(i)*76+26, y+10, words)
	}
	fmt.Fprintf(&d.out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"22\" height=\"12\" fill=\"#d0d3da\"/><text x=\"%.1f\" y=\"%.1f\" fill=\"#5b5f6b\">down</text>\n",
		x+float64(len(stops))*76, y, x+float64(len(stops))*76+26, y+10)
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a Buffer takes all
	return b.String()
}
