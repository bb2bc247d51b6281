//go:build bench

package bench

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	plotFrom = flag.String("figures", "", "directory of JSON lines that scale benchmarks wrote")
	plotTo   = flag.String("svg", "", "drawing to write")
)

// panel is one figure over the number of endpoints.
type panel struct {
	title, figure string
	scale         float64 // from the figure's unit to the title's
}

var panels = []panel{
	{"one port added: flow-mods in all", "one port added, flow-mods in all", 1},
	{"one port added: CPU of the controller, ms", "one port added, controller CPU less idle", 1},
	{"heap of the controller per endpoint, KiB", "heap per endpoint", 1.0 / 1024},
	{"etcd per endpoint, bytes", "etcd database per endpoint", 1},
}

// TestPlot draws how costs grow with the number of endpoints.
func TestPlot(t *testing.T) {
	require.NotEmpty(t, *plotFrom, "-args -figures DIRECTORY -svg FILE")
	files, err := filepath.Glob(filepath.Join(*plotFrom, "*.jsonl"))
	require.NoError(t, err)
	type point struct {
		edges, endpoints int
		value            float64
	}
	points := map[string][]point{}
	for _, f := range files {
		r, err := os.Open(f)
		require.NoError(t, err)
		for s := bufio.NewScanner(r); s.Scan(); {
			var l struct {
				Figure, Point string
				Value         float64
			}
			require.NoError(t, json.Unmarshal(s.Bytes(), &l), f)
			p := point{value: l.Value}
			if n, _ := fmt.Sscanf(l.Point, "%d/%d", &p.edges, &p.endpoints); n == 2 {
				points[l.Figure] = append(points[l.Figure], p)
			}
		}
		require.NoError(t, r.Close())
	}
	const width, height, left, top = 380, 200, 60, 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", 2*(width+left+20), 2*(height+top+50))
	for i, p := range panels {
		ps := points[p.figure]
		require.NotEmpty(t, ps, p.figure)
		slices.SortFunc(ps, func(a, b point) int { return cmp.Compare(a.endpoints, b.endpoints) })
		most := 0.0
		for _, q := range ps {
			most = max(most, q.value*p.scale)
		}
		most *= 1.2
		x0, y0 := (i%2)*(width+left+20)+left, (i/2)*(height+top+50)+top
		x := func(n int) float64 { return float64(x0) + float64(width)*(math.Log10(float64(n))-3)/3.2 }
		y := func(v float64) float64 { return float64(y0+height) - float64(height)*v/most }
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="13">%s</text>`+"\n", x0, y0-12, p.title)
		fmt.Fprintf(&b, `<path d="M%d %dv%dh%d" fill="none" stroke="black"/>`+"\n", x0, y0, height, width)
		for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
			fmt.Fprintf(&b, `<text x="%.0f" y="%d" text-anchor="middle">%d</text>`+"\n", x(n), y0+height+15, n)
		}
		for _, share := range []float64{0, 0.5, 1} {
			v := most * share / 1.2
			fmt.Fprintf(&b, `<text x="%d" y="%.0f" text-anchor="end">%.3g</text>`+"\n", x0-5, y(v)+4, v)
		}
		var line []string
		for _, q := range ps {
			at := fmt.Sprintf("%.1f,%.1f", x(q.endpoints), y(q.value*p.scale))
			line = append(line, at)
			cx, cy, _ := strings.Cut(at, ",")
			fmt.Fprintf(&b, `<circle cx="%s" cy="%s" r="3"><title>%d edges, %d endpoints: %.4g</title></circle>`+"\n", cx, cy, q.edges, q.endpoints, q.value*p.scale)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="steelblue"/>`+"\n", strings.Join(line, " "))
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">endpoints</text>`+"\n", x0+width, y0+height+30)
	}
	b.WriteString("</svg>\n")
	require.NoError(t, os.WriteFile(*plotTo, []byte(b.String()), 0o644))
}
