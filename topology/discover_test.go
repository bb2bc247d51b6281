package topology

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// reportsOf are what the switches of a graph report when each is heard as heardAs says.
// Hosts say nothing.
func reportsOf(g *Graph, heardAs func(string) string) []Found {
	var out []Found
	for _, n := range g.Switches() {
		f := Found{Name: heardAs(n.Name), Nameless: heardAs(n.Name) != n.Name, Management: "eth0", Ports: []Seen{{Interface: "eth0", Up: true, MTU: 1500}}}
		for _, l := range g.LinksOf(n.Name) {
			s := Seen{Interface: l.A.Interface, Up: true, MTU: 9216}
			if other, _ := g.Node(l.B.Node); other.Role.Switch() {
				s.Heard = []End{{Node: heardAs(l.B.Node), Interface: l.B.Interface}}
			}
			f.Ports = append(f.Ports, s)
		}
		out = append(out, f)
	}
	return out
}

// between are the links between switches, as text, in order.
func between(g *Graph, rename map[string]string) []string {
	var out []string
	for _, l := range g.Links {
		a, _ := g.Node(l.A.Node)
		b, _ := g.Node(l.B.Node)
		if !a.Role.Switch() || !b.Role.Switch() {
			continue
		}
		ends := []string{End{Node: rename[a.Name], Interface: l.A.Interface}.String(), End{Node: rename[b.Name], Interface: l.B.Interface}.String()}
		slices.Sort(ends)
		out = append(out, strings.Join(ends, " - "))
	}
	slices.Sort(out)
	return out
}

func rolesOf(g *Graph, rename map[string]string) map[string]intent.Role {
	out := map[string]intent.Role{}
	for _, n := range g.Switches() {
		out[rename[n.Name]] = n.Role
	}
	return out
}

// What the switches of each shape report is the graph of its file again: with the names
// that they have, and, for boxes fresh from the factory, with new ones, but the same
// roles and cables.
func TestDiscoverAFabric(t *testing.T) {
	for name, p := range map[string]GenerateParams{
		"two tiers":       {Name: "a", Spines: 2, Leaves: 4, HypervisorsPerLeaf: 1, HostsPerHypervisor: 1},
		"parallel links":  {Name: "b", Spines: 2, Leaves: 3, ParallelLinks: 2, ServersPerLeaf: 1},
		"pods":            {Name: "c", Superspines: 2, Spines: 4, Leaves: 8, Pods: 2, ServersPerLeaf: 1},
		"planes":          {Name: "d", Superspines: 4, Spines: 4, Leaves: 4, Pods: 2, Planes: 2, ServersPerLeaf: 1},
		"collapsed spine": {Name: "e", Spines: 2, ParallelLinks: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Generate(p)
			require.NoError(t, err)
			same := map[string]string{}
			for _, n := range f.Graph.Nodes {
				same[n.Name] = n.Name
			}
			got := Discover(reportsOf(f.Graph, func(s string) string { return s }))
			require.Empty(t, got.Doubts)
			require.NoError(t, got.Graph.Check())
			require.Equal(t, between(f.Graph, same), between(got.Graph, same))
			require.Equal(t, rolesOf(f.Graph, same), rolesOf(got.Graph, same))
			require.Equal(t, 9216, got.Graph.Links[0].MTU)

			serial := func(s string) string { return fmt.Sprintf("SN%x", s) }
			got = Discover(reportsOf(f.Graph, serial))
			require.Empty(t, got.Doubts)
			require.NoError(t, got.Graph.Check())
			renamed := map[string]string{}
			for _, n := range f.Graph.Switches() {
				renamed[n.Name] = got.Names[serial(n.Name)]
				require.NotContains(t, renamed[n.Name], "SN")
			}
			for _, n := range got.Graph.Nodes {
				same[n.Name] = n.Name
			}
			require.Equal(t, between(f.Graph, renamed), between(got.Graph, same))
			require.Equal(t, rolesOf(f.Graph, renamed), rolesOf(got.Graph, same))
		})
	}
}

// What only one side says is told, and is no part of the graph.
func TestDiscoverDoubts(t *testing.T) {
	leaf := func(name string, ports ...Seen) Found { return Found{Name: name, Ports: ports} }
	d := Discover([]Found{
		leaf("leaf1", heardAt("eth1", at("spine1", "eth1")), heardAt("eth2", at("spine1", "eth1")), heardAt("eth3", at("spine1", "eth9")), heardAt("eth4", at("server", "eth0")),
			heardAt("eth5", at("spine1", "eth2"), at("spine1", "eth3")), heardAt("eth6", at("leaf1", "eth7")), heardAt("eth7", at("leaf1", "eth6"))),
		leaf("spine1", heardAt("eth1", at("leaf1", "eth1"))),
		leaf("twin", heardAt("eth1", at("spine1", "eth1"))), leaf("twin"),
	})
	require.Equal(t, []string{
		"2 switches say that they are twin: none of them is written down; give them different names",
		"leaf1:eth2 hears spine1:eth1, but is not heard there: it is not written down",
		"leaf1:eth3 hears spine1:eth9, and spine1 has no such port: its neighbour is not what it says",
		"leaf1:eth4 hears server:eth0, which does not report: it is not written down; run an agent there, or add it by hand",
		"leaf1:eth5 hears 2 neighbours, and a cable has one: it is not written down",
		"leaf1:eth6 hears leaf1:eth7, a port of its own switch: it is not written down",
		"leaf1:eth7 hears leaf1:eth6, a port of its own switch: it is not written down",
	}, d.Doubts)
	require.Len(t, d.Graph.Nodes, 2)
	require.Equal(t, []Link{{A: at("leaf1", "eth1"), B: at("spine1", "eth1")}}, d.Graph.Links)
}

// New boxes beside switches that the intent has: these keep their roles, and names in
// use are not given again.
func TestDiscoverBesideAFabric(t *testing.T) {
	d := Discover([]Found{
		{Name: "spine1", Role: intent.RoleSpine, Ports: []Seen{heardAt("eth1", at("leaf1", "eth1")), heardAt("eth2", at("NEW", "eth1"))}},
		{Name: "leaf1", Role: intent.RoleLeaf, Ports: []Seen{heardAt("eth1", at("spine1", "eth1"))}},
		{Name: "NEW", Nameless: true, Ports: []Seen{heardAt("eth1", at("spine1", "eth2"))}},
	})
	require.Equal(t, map[string]string{"spine1": "spine1", "leaf1": "leaf1", "NEW": "leaf2"}, d.Names)
	n, ok := d.Graph.Node("leaf2")
	require.True(t, ok)
	require.Equal(t, "graph: a switch linked as a leaf is", n.RoleRule)
}
