package topology_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

func TestGraph(t *testing.T) {
	g := load(t, "clos01.clab.yml").Graph
	if n, ok := g.Node("leaf2"); !ok || n.Kind != "nokia_srlinux" || n.Role != intent.RoleLeaf {
		t.Errorf("leaf2 is %+v", n)
	}
	if _, ok := g.Node("leaf3"); ok {
		t.Error("there is a leaf3")
	}
	if got := g.Neighbours("leaf1"); !slices.Equal(got, []string{"client1", "spine"}) {
		t.Errorf("neighbours of leaf1 are %v", got)
	}
	if got := fmt.Sprint(g.LinksOf("leaf1")); got != "[leaf1:e1-1 - spine:e1-1 leaf1:e1-2 - client1:eth1]" {
		t.Errorf("links of leaf1 are %s", got)
	}
	var names []string
	for _, n := range g.Switches() {
		names = append(names, n.Name)
	}
	if !slices.Equal(names, []string{"leaf1", "leaf2", "spine"}) {
		t.Errorf("switches are %v", names)
	}
	if n := len(g.ByRole(intent.RoleServer, intent.RoleSpine)); n != 3 {
		t.Errorf("%d servers and spines", n)
	}
}

func TestCheck(t *testing.T) {
	leaf := func(names ...string) (out []topology.Node) {
		for _, n := range names {
			out = append(out, topology.Node{Name: n, Role: intent.RoleLeaf})
		}
		return out
	}
	link := func(a, ai, b, bi string) topology.Link {
		return topology.Link{A: topology.End{Node: a, Interface: ai}, B: topology.End{Node: b, Interface: bi}}
	}
	for want, g := range map[string]topology.Graph{
		"":                                     {Nodes: leaf("a", "b"), Links: []topology.Link{link("a", "x", "b", "x")}},
		"node a: nodes are not sorted by name": {Nodes: leaf("b", "a")},
		"node a is there twice":                {Nodes: leaf("a", "a")},
		"node 0 has no name":                   {Nodes: leaf("")},
		`node a: role "" is not one of [superspine spine leaf border hypervisor vtep server vm]`: {Nodes: []topology.Node{{Name: "a"}}},
		`link a:x - c:x: there is no node "c"`:                                                   {Nodes: leaf("a", "b"), Links: []topology.Link{link("a", "x", "c", "x")}},
		"link a:x - a:y: both ends are on node a":                                                {Nodes: leaf("a", "b"), Links: []topology.Link{link("a", "x", "a", "y")}},
		"link a:x - b:y: interface a:x has a link already":                                       {Nodes: leaf("a", "b"), Links: []topology.Link{link("a", "x", "b", "x"), link("a", "x", "b", "y")}},
		`link a:e/1 - b:x: "e/1" is not a name for an interface`:                                 {Nodes: leaf("a", "b"), Links: []topology.Link{link("a", "e/1", "b", "x")}},
	} {
		err := g.Check()
		if err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestClos(t *testing.T) {
	f, err := topology.Generate(topology.GenerateParams{Name: "t", Superspines: 2, Spines: 4, Leaves: 12, Pods: 2, HypervisorsPerLeaf: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Graph.Clos()
	if err != nil {
		t.Fatal(err)
	}
	want := []topology.Pod{
		{Spines: []string{"spine1", "spine2"}, Leaves: []string{"leaf1", "leaf2", "leaf3", "leaf4", "leaf5", "leaf6"}},
		{Spines: []string{"spine3", "spine4"}, Leaves: []string{"leaf7", "leaf8", "leaf9", "leaf10", "leaf11", "leaf12"}},
	}
	if !reflect.DeepEqual(c.Pods, want) {
		t.Errorf("pods are %+v", c.Pods)
	}
	if got := fmt.Sprint(c.Uplinks["leaf7"], c.Uplinks["spine3"]); got != "[leaf7:eth1 - spine3:eth1 leaf7:eth2 - spine4:eth1] [spine3:eth7 - superspine1:eth3 spine3:eth8 - superspine2:eth3]" {
		t.Errorf("uplinks are %s", got)
	}
	if n := len(c.Tiers()); n != 3 || len(c.Sideways) != 0 {
		t.Errorf("%d tiers, sideways %v", n, c.Sideways)
	}

	c, err = load(t, "frr01.clab.yml").Graph.Clos()
	if err != nil || len(c.Tiers()) != 1 || len(c.Sideways) != 3 || len(c.Pods) != 1 || len(c.Pods[0].Leaves) != 3 {
		t.Errorf("three routers in a ring: %+v, %v", c, err)
	}
	if _, err := build(t, []string{"spine1", "leaf1", "leaf2"}, "leaf1-spine1").Graph.Clos(); err == nil || err.Error() != "leaf leaf2 has no link to a spine" {
		t.Errorf("a leaf alone: %v", err)
	}
	if _, err := build(t, []string{"spine1"}).Graph.Clos(); err == nil || err.Error() != "fabric t has no leaf" {
		t.Errorf("no leaf: %v", err)
	}
}

func TestDrawings(t *testing.T) {
	f, err := topology.Generate(topology.GenerateParams{Name: "draw", Superspines: 1, Spines: 2, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2, ServersPerLeaf: 1})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "draw.mmd", []byte(f.Graph.Mermaid()))
	golden(t, "draw.svg", f.Graph.SVG())
	edges := generate(t, everyEdge)
	golden(t, "edges.mmd", []byte(edges.Graph.Mermaid()))
	golden(t, "edges.svg", edges.Graph.SVG())
	odd := &topology.Graph{Name: `a<b>&"c"`, Nodes: []topology.Node{{Name: `x"<&`}}, Links: []topology.Link{{A: topology.End{Node: "gone"}}}}
	checkXML(t, odd.SVG())
	if m := odd.Mermaid(); !strings.Contains(m, `n0["x#quot;#lt;&"]`) {
		t.Errorf("Mermaid is %s", m)
	}
	for _, g := range []*topology.Graph{{}, load(t, "clos01.clab.yml").Graph, load(t, "frr01.clab.yml").Graph, build(t, []string{"vm1", "spine1", "hv1"}).Graph, f.Graph, edges.Graph} {
		svg := g.SVG()
		checkXML(t, svg)
		for _, n := range g.Nodes {
			if !strings.Contains(string(svg), ">"+n.Name+"</text>") {
				t.Errorf("%s: %s is not drawn", g.Name, n.Name)
			}
		}
		if n := strings.Count(string(svg), "<path "); n != len(g.Links) {
			t.Errorf("%s: %d lines for %d links", g.Name, n, len(g.Links))
		}
	}
}
