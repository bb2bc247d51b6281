package paths_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/fabric/paths"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// drains has switches drained.
func (r *rig) drains(names ...string) {
	for i := range r.nodes {
		r.nodes[i].Drained = slices.Contains(names, r.nodes[i].Name)
	}
}

// A drained switch is on no intended way, unless there is no other; that it is used
// until all have left it is no fault, and that nobody uses it any more neither.
func TestDrained(t *testing.T) {
	for name, p := range shapes {
		if name == "collapsed" {
			continue // a spine with ports is on no way between others
		}
		t.Run(name, func(t *testing.T) {
			r := newRig(t, p)
			before := r.compare("leaf1", "leaf2")
			r.drains("spine1")
			require.Empty(t, r.network().Audit(), "nobody has left it yet")
			draining := r.compare("leaf1", "leaf2")
			require.Empty(t, draining.Differences)
			require.Equal(t, before.Learned, draining.Learned)
			legs := 0 // of leaf1 to spine1
			for _, at := range r.graph.Switches() {
				s := r.reports[at.Name]
				for i := range s.Learned {
					for _, l := range r.graph.Links {
						for _, l := range []topology.Link{l, {A: l.B, B: l.A}} {
							if l.A.Node == at.Name && l.B.Node == "spine1" && len(s.Learned[i].NextHops) > 1 {
								drop(&s.Learned[i], l.A.Interface)
							}
						}
					}
				}
				for i := range s.Programmed {
					s.Programmed[i].NextHops = group(t, s.Learned, s.Programmed[i].Prefixes[0].Addr()).NextHops
				}
			}
			for _, l := range r.graph.Links {
				if (l.A.Node == "leaf1" && l.B.Node == "spine1") || (l.B.Node == "leaf1" && l.A.Node == "spine1") {
					legs++
				}
			}
			require.Positive(t, legs)
			require.Empty(t, r.network().Audit(), "all that can have left it")
			require.Equal(t, before.Intended.Width-legs, r.compare("leaf1", "leaf2").Intended.Width)
			r.drains()
			require.NotEmpty(t, r.network().Audit(), "it is to be used again")
		})
	}
}

// With all other ways gone the drained switch is the way.
func TestDrainedIsTheLastWay(t *testing.T) {
	r := newRig(t, topology.GenerateParams{Spines: 2, Leaves: 3})
	r.drains("spine1", "spine2")
	require.Equal(t, 2, r.compare("leaf1", "leaf2").Intended.Width)
	r.drains("spine2")
	require.Equal(t, 1, r.compare("leaf1", "leaf2").Intended.Width)
	r.down["leaf1"] = map[string]bool{"eth1": true} // to spine1
	require.Equal(t, 1, r.compare("leaf1", "leaf2").Up.Width)
	for _, table := range [][]switchstate.Group{r.reports["leaf1"].Learned, r.reports["leaf1"].Programmed} {
		for i := range table {
			drop(&table[i], "eth1")
		}
	}
	for _, f := range r.network().Audit() {
		require.NotEqual(t, "leaf1", f.Switch, "%+v", f)
	}
	drop(group(t, r.reports["leaf1"].Learned, r.nodeOf("leaf2").Loopback), "eth2")
	drop(group(t, r.reports["leaf1"].Programmed, r.nodeOf("leaf2").Loopback), "eth2")
	got := r.network().Audit()
	i := slices.IndexFunc(got, func(f paths.Fault) bool { return f.Switch == "leaf1" })
	require.GreaterOrEqual(t, i, 0)
	require.Equal(t, paths.NotLearned, got[i].Kind, "the last way is missed")
}

// nodeOf is a node by its name.
func (r *rig) nodeOf(name string) paths.Node {
	return r.nodes[slices.IndexFunc(r.nodes, func(n paths.Node) bool { return n.Name == name })]
}
