package steering

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// elements counts the elements of a document by name, and its rectangles by what
// their tooltip says.
func elements(t require.TestingT, data []byte) (names map[string]int, tips []string) {
	names = map[string]int{}
	d := xml.NewDecoder(bytes.NewReader(data))
	title := false
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return names, tips
		}
		require.NoError(t, err)
		switch e := tok.(type) {
		case xml.StartElement:
			names[e.Name.Local]++
			title = e.Name.Local == "title"
		case xml.CharData:
			if title {
				tips = append(tips, string(e))
			}
			title = false
		}
	}
}

func TestHeatMap(t *testing.T) {
	n := square(t)
	traffic := matrix(t, n, "leaf1,leaf3,4G,,")
	r := under(t, n, traffic, "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {pin: {via: [spine2]}}", Failure{Links: []string{"leaf4:eth1"}})
	r.Case.Name = "a < b & c"
	names, tips := elements(t, n.HeatMap(`"<title>"`, r))
	// Background, seven of the legend, and for each of three panels 8 links with two
	// directions.
	require.Equal(t, 1+len(stops)+1+3*8*2, names["rect"])
	all := strings.Join(tips, "\n")
	require.Equal(t, 1, strings.Count(all, "leaf1:eth2 → spine2:eth1: 40.0 %"), all)
	require.Equal(t, 2, strings.Count(all, "leaf1:eth2 → spine2:eth1: 20.0 %"), all)
	require.Equal(t, 3, strings.Count(all, "leaf4:eth1 → spine1:eth4: down"), all)
	require.Contains(t, all, `"<title>"`)
}

// Every drawing of every fabric is a well-formed document, with as many panels as
// there are ways to carry the traffic.
func TestHeatMapsAreXML(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, err := NewNetwork(fabrics(t), Capacities{Default: 1e9})
		require.NoError(t, err)
		traffic, err := NewTraffic(n, matrices(t, n))
		require.NoError(t, err)
		var reports []Report
		for range rapid.IntRange(1, 2).Draw(t, "cases") {
			r, err := Simulate(traffic, nil, Case{"x", failures(t, n)}, Settings{})
			require.NoError(t, err)
			reports = append(reports, r)
		}
		reports = append(reports, Highest("highest", reports))
		_, tips := elements(t, n.HeatMap("t", reports...))
		require.NotEmpty(t, tips)
	})
}

func TestColours(t *testing.T) {
	require.Equal(t, "#f4f7fc", colour(0))
	require.Equal(t, "#c81e23", colour(1))
	require.Equal(t, "#5c083c", colour(9))
	require.NotEqual(t, colour(0.6), colour(0.7))
}

func TestFailuresAreEachOnce(t *testing.T) {
	n := square(t)
	var names []string
	for _, c := range n.Failures() {
		names = append(names, c.Name)
		_, err := n.Routes(c.Failure)
		require.NoError(t, err)
	}
	require.Len(t, names, 8+2)
	require.Equal(t, "without link leaf1:eth1 - spine1:eth1", names[0])
	require.Equal(t, "without spine2", names[9])
}

func TestTheHighestOfReports(t *testing.T) {
	a := Report{ECMP: []float64{1, 5}, Auto: []float64{1, 2}, Bound: 1, Steered: 4, Lost: 7}
	b := Report{ECMP: []float64{3, 4}, Auto: []float64{2, 1}, Bound: 2, Steered: 3}
	h := Highest("h", []Report{a, b})
	require.Equal(t, []float64{3, 5}, h.ECMP)
	require.Equal(t, []float64{2, 2}, h.Auto)
	require.Nil(t, h.Policy)
	require.Equal(t, []any{2.0, 4, 7.0}, []any{h.Bound, h.Steered, h.Lost})
	require.Equal(t, []float64{1, 5}, a.ECMP)
}
