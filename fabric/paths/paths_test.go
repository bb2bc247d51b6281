package paths_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/paths"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// rig is a planned fabric whose switches report what a test says; at first all that is
// intended.
type rig struct {
	t       testing.TB
	graph   *topology.Graph
	facts   *fabric.Facts
	nodes   []paths.Node
	reports map[string]switchstate.Routing
	down    map[string]map[string]bool
}

func newRig(t testing.TB, p topology.GenerateParams) *rig {
	t.Helper()
	p.Name, p.HostsPerHypervisor = "paths", 0
	file, err := topology.Generate(p)
	require.NoError(t, err)
	params, err := fabric.ParamsOf(file.Graph)
	require.NoError(t, err)
	facts, err := fabric.Plan(file.Graph, params)
	require.NoError(t, err)
	r := &rig{t: t, graph: file.Graph, facts: facts, reports: map[string]switchstate.Routing{}, down: map[string]map[string]bool{}}
	for _, n := range facts.Nodes {
		r.nodes = append(r.nodes, paths.Node{Name: n.Name, Role: n.Role, ASN: n.ASN, Loopback: n.Loopback, VTEP: n.VTEP, Colours: n.Colours})
	}
	r.asIntended()
	return r
}

// asIntended has every switch report, for each loopback and VTEP, the next hops of the
// graph's path set, in both tables.
func (r *rig) asIntended() {
	for _, at := range r.graph.Switches() {
		var learned, programmed []switchstate.Group
		for _, to := range r.facts.Nodes {
			if !to.Role.Switch() {
				continue
			}
			g := switchstate.Group{Prefixes: []netip.Prefix{netip.PrefixFrom(to.Loopback, 32)}, Protocol: "bgp"}
			if to.VTEP.IsValid() {
				g.Prefixes = append(g.Prefixes, netip.PrefixFrom(to.VTEP, 32))
			}
			if to.Name == at.Name {
				for _, a := range to.Colours {
					g.Prefixes = append(g.Prefixes, netip.PrefixFrom(a, 32))
				}
				g.Protocol, g.NextHops = "connected", []switchstate.NextHop{{Interface: switchstate.Loopback}}
				learned = append(learned, g)
				continue
			}
			for _, p := range r.paths(at.Name, to.Name) {
				hop := switchstate.NextHop{Interface: p[0].A.Interface, Via: netip.MustParseAddr("169.254.0.1")}
				if !slices.Contains(g.NextHops, hop) {
					g.NextHops = append(g.NextHops, hop)
				}
			}
			if len(g.NextHops) == 0 {
				continue
			}
			learned = append(learned, g)
			g.NextHops = slices.Clone(g.NextHops)
			programmed = append(programmed, g)
		}
		s := switchstate.Routing{Learned: learned, Programmed: programmed}
		for _, session := range r.facts.SessionsOf(at.Name) {
			s.BGP = append(s.BGP, switchstate.BGPSession{Peer: session.Local.Interface, Interface: session.Local.Interface, State: switchstate.Established})
		}
		r.reports[at.Name] = s
	}
}

// paths are the graph's shortest paths that BGP takes: with no AS twice.
func (r *rig) paths(from, to string) (out []topology.Path) {
	for p := range r.graph.Paths(from, to, topology.PathOptions{}).All(0) {
		start, _ := r.facts.Node(from)
		ases := []uint32{start.ASN}
		for _, l := range p {
			on, _ := r.facts.Node(l.B.Node)
			if slices.Contains(ases, on.ASN) {
				ases = nil
				break
			}
			ases = append(ases, on.ASN)
		}
		if ases != nil {
			out = append(out, p)
		}
	}
	return out
}

func (r *rig) network() *paths.Network {
	seen := map[string]*paths.Seen{}
	for name, s := range r.reports {
		seen[name] = paths.NewSeen(s, r.down[name])
	}
	return paths.NewNetwork(r.nodes, r.graph.Links, seen)
}

func (r *rig) compare(from, to string) paths.Result {
	r.t.Helper()
	n := r.network()
	a, err := n.Resolve(from)
	require.NoError(r.t, err)
	b, err := n.Resolve(to)
	require.NoError(r.t, err)
	return n.Compare(a, b)
}

// group is the group of an address in a table.
func group(t testing.TB, table []switchstate.Group, a netip.Addr) *switchstate.Group {
	t.Helper()
	for i := range table {
		if slices.Contains(table[i].Prefixes, netip.PrefixFrom(a, a.BitLen())) {
			return &table[i]
		}
	}
	require.Fail(t, "no route", "%s", a)
	return nil
}

// drop takes the next hop by an interface out of a group.
func drop(g *switchstate.Group, iface string) {
	g.NextHops = slices.DeleteFunc(slices.Clone(g.NextHops), func(h switchstate.NextHop) bool { return h.Interface == iface })
}

var shapes = map[string]topology.GenerateParams{
	"2 tiers":        {Spines: 3, Leaves: 4},
	"parallel links": {Spines: 2, Leaves: 3, ParallelLinks: 2},
	"pods":           {Superspines: 2, Spines: 4, Leaves: 4, Pods: 2},
	"planes":         {Superspines: 2, Spines: 4, Leaves: 4, Pods: 2, Planes: 2},
	"collapsed":      {Spines: 3, Leaves: 0, ParallelLinks: 2},
}

// What is intended is what the graph's path sets are, between all switches of each
// shape; and of a fabric that is as intended nothing is told.
func TestIntendedPathsAreThoseOfTheGraph(t *testing.T) {
	for name, p := range shapes {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, p)
			n := r.network()
			require.Empty(t, n.Audit())
			compared := 0
			for _, from := range r.graph.Switches() {
				for _, to := range r.graph.Switches() {
					if from.Name == to.Name {
						continue
					}
					want := r.graph.Paths(from.Name, to.Name, topology.PathOptions{})
					got := r.compare(from.Name, to.Name)
					set := paths.Set{Width: want.Width(), Paths: want.Count(), Hops: want.Hops()}
					if len(r.paths(from.Name, to.Name)) == 0 {
						set = paths.Set{} // the spines of a pod share an AS and have no way to each other
					}
					require.Equal(t, set, got.Intended, "%s to %s", from.Name, to.Name)
					require.Equal(t, set, got.Up)
					require.Equal(t, set, got.Learned)
					require.Equal(t, set, got.Programmed)
					require.Empty(t, got.Differences)
					compared++
				}
			}
			require.Greater(t, compared, 4)
		})
	}
}

// A next hop that any table of any switch lacks is named once, by switch and link; and
// nothing else is.
func TestAuditNamesWhatIsTakenOut(t *testing.T) {
	for name, p := range shapes {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(len(name))))
			for range 30 {
				r := newRig(t, p)
				want := map[string]bool{}
				for range 1 + rng.IntN(4) {
					switches := r.graph.Switches()
					at := switches[rng.IntN(len(switches))].Name
					report := r.reports[at]
					table, kind := report.Programmed, paths.NotProgrammed
					i := rng.IntN(len(table))
					g := &table[i]
					if len(g.NextHops) == 0 {
						continue
					}
					iface := g.NextHops[rng.IntN(len(g.NextHops))].Interface
					drop(g, iface)
					if rng.IntN(2) == 0 { // neither has it
						kind = paths.NotLearned
						drop(group(t, report.Learned, g.Prefixes[0].Addr()), iface)
					}
					want[fmt.Sprint(kind, " ", at, " ", iface)] = true
				}
				got := map[string]bool{}
				for _, f := range r.network().Audit() {
					_, iface, _ := strings.Cut(strings.SplitN(f.Link, " ", 2)[0], ":")
					key := fmt.Sprint(f.Kind, " ", f.Switch, " ", iface)
					require.False(t, got[key], "told twice: %s", key)
					got[key] = true
					require.Contains(t, f.Message, f.Switch)
				}
				require.Equal(t, want, got)
			}
		})
	}
}

// more is what an audit adds, since the routes of one switch share next hops.
var more = regexp.MustCompile(` and \d of \d other addresses`)

// Each kind of difference has its sentence.
func TestDifferences(t *testing.T) {
	leaf3 := netip.MustParseAddr("10.255.0.3")
	for name, c := range map[string]struct {
		change func(*rig)
		want   []string // messages
		sets   [4]int   // widths: intended, up, learned, programmed
	}{
		"as intended": {func(*rig) {}, nil, [4]int{2, 2, 2, 2}},
		"a thin group in the kernel": {func(r *rig) {
			drop(group(r.t, r.reports["leaf1"].Programmed, leaf3), "eth2")
		}, []string{"the kernel of leaf1 lacks the next hop spine2 by eth2 to leaf3 (10.255.0.3): it has 1 next hop and BGP has 2 next hops"}, [4]int{2, 2, 2, 1}},
		"a session that is down": {func(r *rig) {
			s := r.reports["leaf1"]
			drop(group(r.t, s.Learned, leaf3), "eth2")
			drop(group(r.t, s.Programmed, leaf3), "eth2")
			s.BGP[1].State = "Active"
			s.BFD = []switchstate.BFDSession{{Interface: "eth2", State: "down", Diagnostic: "control detection time expired"}}
			r.reports["leaf1"] = s
		}, []string{"leaf1 has not learned the next hop spine2 by eth2 to leaf3 (10.255.0.3): its BGP session with spine2 is Active, BFD is down (control detection time expired)"}, [4]int{2, 2, 1, 1}},
		"a route of someone else's": {func(r *rig) {
			g := group(r.t, r.reports["leaf1"].Programmed, leaf3)
			g.Protocol = "boot"
			drop(g, "eth1")
		}, []string{`the kernel of leaf1 lacks the next hop spine1 by eth1 to leaf3 (10.255.0.3): a route to 10.255.0.3/32 of protocol boot is preferred: remove it with "ip route del 10.255.0.3/32 proto boot"`}, [4]int{2, 2, 2, 1}},
		"what the protocol has lost": {func(r *rig) {
			drop(group(r.t, r.reports["spine1"].Learned, leaf3), "eth3")
		}, []string{"the kernel of spine1 still has the next hop leaf3 by eth3 to leaf3 (10.255.0.3): its routing protocol has no next hop"}, [4]int{2, 2, 2, 2}},
		"a link that is down": {func(r *rig) {
			r.down["leaf1"] = map[string]bool{"eth2": true}
			drop(group(r.t, r.reports["leaf1"].Programmed, leaf3), "eth2")
			drop(group(r.t, r.reports["leaf1"].Learned, leaf3), "eth2")
		}, []string{"leaf1 can't use the next hop spine2 by eth2 to leaf3 (10.255.0.3): the link leaf1:eth2 - spine2:eth1 is down"}, [4]int{2, 1, 1, 1}},
		"a link that is down on the way": {func(r *rig) {
			r.down["spine2"] = map[string]bool{"eth3": true}
			for _, at := range []string{"leaf1", "spine2"} {
				for _, table := range [][]switchstate.Group{r.reports[at].Programmed, r.reports[at].Learned} {
					g := group(r.t, table, leaf3)
					drop(g, map[string]string{"leaf1": "eth2", "spine2": "eth3"}[at])
				}
			}
		}, []string{"leaf1 can't use the next hop spine2 by eth2 to leaf3 (10.255.0.3): on the way from there the link spine2:eth3 - leaf3:eth2 is down",
			"spine2 can't use the next hop leaf3 by eth3 to leaf3 (10.255.0.3): the link spine2:eth3 - leaf3:eth2 is down"}, [4]int{2, 1, 1, 1}},
		"steered": {func(r *rig) {
			s := r.reports["leaf1"]
			for _, table := range [][]switchstate.Group{s.Learned, s.Programmed} {
				drop(group(r.t, table, leaf3), "eth2")
			}
			group(r.t, s.Learned, leaf3).Internal = true
		}, nil, [4]int{2, 2, 1, 1}},
		"silent": {func(r *rig) { delete(r.reports, "leaf1") }, nil, [4]int{2, 2, 2, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, topology.GenerateParams{Spines: 2, Leaves: 3})
			c.change(r)
			got := r.compare("leaf1", "leaf3")
			var have []string
			for _, d := range got.Differences {
				have = append(have, d.Message)
			}
			require.Equal(t, c.want, have)
			require.Equal(t, c.sets, [4]int{got.Intended.Width, got.Up.Width, got.Learned.Width, got.Programmed.Width})
			var told []string
			for _, f := range r.network().Audit() {
				if f.Switch != "leaf2" && strings.Contains(f.Message, "to leaf3 (") {
					told = append(told, more.ReplaceAllString(f.Message, ""))
				}
			}
			want := slices.DeleteFunc(c.want, func(m string) bool { return strings.Contains(m, "can't use") }) // told by the cabling
			require.ElementsMatch(t, want, told)
		})
	}
}

// A packet that goes round in the tables is on no path, and is found out.
func TestLoop(t *testing.T) {
	r := newRig(t, topology.GenerateParams{Spines: 2, Leaves: 3})
	to := netip.MustParseAddr("10.255.0.3")
	back := group(t, r.reports["spine1"].Programmed, to)
	back.NextHops = []switchstate.NextHop{{Interface: "eth1"}} // to leaf1
	got := r.compare("leaf1", "leaf3")
	require.Equal(t, paths.Set{Width: 2, Paths: 2, Hops: 2}, got.Learned)
	require.Equal(t, paths.Set{Width: 2, Paths: 1, Hops: 2}, got.Programmed)
	require.Len(t, got.Differences, 2)
	require.Equal(t, paths.NotProgrammed, got.Differences[1].Kind)
	require.Equal(t, paths.Stale, got.Differences[0].Kind)
}

// Places are found by name and by address, of hosts too.
func TestResolve(t *testing.T) {
	r := newRig(t, topology.GenerateParams{Spines: 2, Leaves: 3, HypervisorsPerLeaf: 1})
	s := r.reports["leaf2"]
	link := netip.MustParsePrefix("10.64.1.0/31")
	connected := switchstate.Group{Prefixes: []netip.Prefix{link}, Protocol: "connected", NextHops: []switchstate.NextHop{{Interface: "eth3"}}}
	s.Learned, s.Programmed = append(s.Learned, connected), append(s.Programmed, connected)
	r.reports["leaf2"] = s
	hv := slices.IndexFunc(r.nodes, func(n paths.Node) bool { return n.Role == intent.RoleHypervisor && link.Contains(n.VTEP) })
	require.GreaterOrEqual(t, hv, 0)
	n := r.network()
	for name, want := range map[string]paths.Place{
		"leaf1":                   {Name: "leaf1", Node: "leaf1", Switch: "leaf1", Address: netip.MustParseAddr("10.255.0.1")},
		"10.254.0.3":              {Name: "10.254.0.3", Node: "leaf3", Switch: "leaf3", Address: netip.MustParseAddr("10.254.0.3")},
		"10.64.1.0":               {Name: "10.64.1.0", Switch: "leaf2", Address: netip.MustParseAddr("10.64.1.0")},
		r.nodes[hv].Name:          {Name: r.nodes[hv].Name, Node: r.nodes[hv].Name, Switch: "leaf2", Address: r.nodes[hv].VTEP},
		r.nodes[hv].VTEP.String(): {Name: r.nodes[hv].VTEP.String(), Node: r.nodes[hv].Name, Switch: "leaf2", Address: r.nodes[hv].VTEP},
	} {
		got, err := n.Resolve(name)
		require.NoError(t, err, name)
		require.Equal(t, want, got)
	}
	for name, want := range map[string]string{"leaf9": "there is no node leaf9", "192.0.2.1": "192.0.2.1 is behind no switch"} {
		_, err := n.Resolve(name)
		require.ErrorContains(t, err, want)
	}
	got := r.compare("leaf1", r.nodes[hv].Name)
	last := got.Hops[len(got.Hops)-1]
	require.Equal(t, "leaf2", last.Switch)
	require.Len(t, last.Legs, 1)
	require.Equal(t, r.nodes[hv].Name, last.Legs[0].Neighbour.Node)
	require.True(t, last.Legs[0].Intended && last.Legs[0].Programmed, "%+v", last)
}

// With IS-IS a leaf is a way between spines when it is the shortest that is left; with
// BGP it never is.
func TestALeafInBetween(t *testing.T) {
	for name, c := range map[string]struct {
		isis bool
		up   int
	}{"BGP": {false, 0}, "IS-IS": {true, 2}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, topology.GenerateParams{Spines: 2, Leaves: 3})
			r.down["spine2"] = map[string]bool{"eth3": true} // to leaf3
			if c.isis {
				s := r.reports["leaf1"]
				s.ISIS = []switchstate.Adjacency{{Interface: "eth1", State: "Up"}}
				r.reports["leaf1"] = s
			}
			require.Equal(t, c.up, r.compare("spine2", "leaf3").Up.Width)
		})
	}
}

// As many switches and destinations as a large fabric has are compared in a time that
// allows it after each change.
func BenchmarkAudit(b *testing.B) {
	r := newRig(b, topology.GenerateParams{Spines: 8, Leaves: 64})
	n := r.network()
	for b.Loop() {
		if f := n.Audit(); len(f) > 0 {
			b.Fatal(f[0])
		}
	}
}

// A colour of a VTEP is a place as the VTEP is, and none that the audit looks at.
func TestColoursAreKnown(t *testing.T) {
	r := newRig(t, topology.GenerateParams{Spines: 2, Leaves: 2, HypervisorsPerLeaf: 1})
	n := r.network()
	leaf, ok := r.facts.Node("leaf2")
	require.True(t, ok)
	require.Len(t, leaf.Colours, fabric.DefaultColours)
	at, err := n.Resolve(leaf.Colours[1].String())
	require.NoError(t, err)
	require.Equal(t, [2]string{"leaf2", "leaf2"}, [2]string{at.Node, at.Switch})
	require.Empty(t, n.Audit())
}
