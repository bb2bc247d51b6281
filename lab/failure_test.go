package lab

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// wired is a graph of links such as "leaf1-spine1"; roles are told by names.
func wired(links ...string) *topology.Graph {
	s := &State{Name: "dc"}
	seen := map[string]int{}
	for _, l := range links {
		var ends [2]End
		for i, name := range strings.Split(l, "-") {
			if seen[name]++; seen[name] == 1 {
				role := map[byte]intent.Role{'l': intent.RoleLeaf, 's': intent.RoleSpine, 'x': intent.RoleSuperspine, 'h': intent.RoleHypervisor, 'v': intent.RoleVM, 'b': intent.RoleServer}[name[0]]
				s.Nodes = append(s.Nodes, Node{Name: name, Role: role})
			}
			ends[i] = End{Node: name, Interface: "eth" + string(rune('0'+seen[name]))}
		}
		s.Links = append(s.Links, Link{A: ends[0], B: ends[1]})
	}
	return s.graph()
}

func twoByTwo() *topology.Graph {
	return wired("l1-s1", "l1-s2", "l2-s1", "l2-s2", "b1-l1", "b2-l2", "h1-l2", "v1-h1")
}

func TestWhatAFailureCutsOff(t *testing.T) {
	hosts := []string{"b1", "b2", "v1"}
	for _, c := range []struct {
		name  string
		graph *topology.Graph
		links []int
		nodes []string
		want  []Severed
	}{
		{"one uplink of two", twoByTwo(), []int{0}, nil, nil},
		{"a spine of two", twoByTwo(), nil, []string{"s1"}, nil},
		{"a leaf", twoByTwo(), nil, []string{"l1"}, []Severed{{"b1", "it hangs on l1 alone, which failed"}}},
		{"both uplinks", twoByTwo(), []int{0, 1}, nil, []Severed{{"b1", "it hangs on l1, which has lost all its links to others"}}},
		{"a server's link", twoByTwo(), []int{4}, nil, []Severed{{"b1", "it has this link alone"}}},
		{"a server", twoByTwo(), nil, []string{"b1"}, []Severed{{"b1", "it is what failed"}}},
		{"a hypervisor's link", twoByTwo(), []int{6}, nil, []Severed{{"v1", "it hangs on h1, which has this link alone"}}},
		{"a hypervisor", twoByTwo(), nil, []string{"h1"}, []Severed{{"v1", "it hangs on h1 alone, which failed"}}},
		{"all spines", twoByTwo(), nil, []string{"s1", "s2"}, []Severed{{"b1", "it hangs on l1, which has lost all its links to others"}}},
		{"a leaf's only uplink", wired("l1-s1", "l2-s1", "b1-l1", "b2-l2", "h1-l2", "v1-h1"), []int{0}, nil, []Severed{{"b1", "it hangs on l1, which has this link alone"}}},
	} {
		require.Equal(t, c.want, cutsOf(c.graph, true, c.links, c.nodes).severed(hosts), c.name)
	}
}

func cutsOf(g *topology.Graph, bgp bool, links []int, nodes []string) cuts {
	c := cuts{graph: g, bgp: bgp, nodes: nodes}
	for _, i := range links {
		c.links = append(c.links, g.Links[i])
	}
	return c
}

// With BGP no leaf carries what is not its own; with IS-IS it does.
func TestWaysOverALeaf(t *testing.T) {
	crossed := []int{0, 3} // l1 has s2 only, l2 has s1 only
	g := wired("l1-s1", "l1-s2", "l2-s1", "l2-s2", "l3-s1", "l3-s2", "b1-l1", "b2-l2", "b3-l3")
	require.False(t, cutsOf(g, true, crossed, nil).reaches("b1", "b2"))
	require.True(t, cutsOf(g, false, crossed, nil).reaches("b1", "b2"))
	require.True(t, cutsOf(g, true, crossed, nil).reaches("b1", "b3"))
	ring := wired("l1-l2", "l2-l3", "l3-l4", "l4-l1", "b1-l1", "b3-l3")
	require.True(t, cutsOf(ring, true, []int{0}, nil).reaches("b1", "b3"), "leaves that are joined with each other do")
	pods := wired("l1-s1", "l2-s2", "s1-x1", "s2-x1", "b1-l1", "b2-l2")
	require.True(t, cutsOf(pods, true, nil, nil).reaches("b1", "b2"))
	require.False(t, cutsOf(pods, true, nil, []string{"x1"}).reaches("b1", "b2"))
	require.False(t, cutsOf(pods, true, nil, nil).reaches("b1", "b1"))
}

func exampleReport() *FailureReport {
	ms := time.Millisecond
	link := topology.Link{A: topology.End{Node: "l1", Interface: "eth1"}, B: topology.End{Node: "s1", Interface: "eth1"}}
	return &FailureReport{Lab: "dc", Underlay: "bgp numbered bfd", Streams: 6, Interval: ms, Notes: []string{"a note"}, Results: []FailureResult{
		{Kind: LinkDown, What: link.String() + ", at s1", Link: link.String(), Crossing: 2, Down: Impact{Hit: 1, Lost: 117, Sent: 4000, Gap: 118 * ms, Pause: 2 * ms}, Healed: 1230 * ms},
		{Kind: OneWayLoss, What: "l1:eth1 to s1:eth1", Link: link.String(), Crossing: 2, Down: Impact{Hit: 1, Lost: 140, Sent: 4000, Gap: 141 * ms}, Healed: 2 * time.Second},
		{Kind: NodeCrash, What: "l1", Node: "l1", Crossing: 4, Severed: []Severed{{"b1", "it hangs on l1 alone, which failed"}}},
		{Kind: NodeCrash, What: "s1", Node: "s1", Crossing: 4, Down: Impact{Sent: 1}, Faults: []string{"while it lasted: <b1> still loses"}},
	}}
}

func TestFailureReport(t *testing.T) {
	r := exampleReport()
	require.False(t, r.OK())
	var out bytes.Buffer
	require.NoError(t, r.Print(&out))
	for _, want := range []string{"6 streams, a datagram each every 1ms", "note: a note", "118ms", "b1: it hangs on l1 alone, which failed", "not as it must be: node crash of s1: while it lasted"} {
		require.Contains(t, out.String(), want)
	}
	out.Reset()
	require.NoError(t, r.CSV(&out))
	rows, err := csv.NewReader(&out).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 5)
	require.Equal(t, []string{"link down", "l1:eth1 - s1:eth1, at s1", "2", "1", "4000", "117", "118.0", "2.0", "0", "0.0", "1230.0", "", ""}, rows[1])
	r.Results = r.Results[:3]
	require.True(t, r.OK(), "what has no way left is no fault")
}

func TestFailurePicture(t *testing.T) {
	s := &State{Name: "dc"}
	g := twoByTwo()
	for _, n := range g.Nodes {
		s.Nodes = append(s.Nodes, Node{Name: n.Name, Role: n.Role})
	}
	for _, l := range g.Links {
		s.Links = append(s.Links, Link{A: End{Node: l.A.Node, Interface: l.A.Interface}, B: End{Node: l.B.Node, Interface: l.B.Interface}})
	}
	picture := exampleReport().SVG(s)
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	text := string(picture)
	require.Contains(t, text, ">141<", "of a link the worst")
	require.NotContains(t, text, ">118ms<")
	require.Contains(t, text, "link down of l1:eth1 - s1:eth1, at s1: 1 of 2 streams on it lost 117 datagrams, gap 118ms")
	require.Contains(t, text, cutColour)
	require.Contains(t, text, "Failures of lab dc, bgp numbered bfd")
}
