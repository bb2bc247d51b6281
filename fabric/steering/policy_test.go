package steering

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/fabric/demand"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// square is two spines and four leaves; a hypervisor with a VM, a hardware VTEP with a
// server, behind leaves 1 and 3.
func square(t *testing.T) *Network {
	t.Helper()
	var cables []string
	for l := '1'; l <= '4'; l++ {
		for s := '1'; s <= '2'; s++ {
			cables = append(cables, "leaf"+string(l)+":eth"+string(s)+" spine"+string(s)+":eth"+string(l))
		}
	}
	cables = append(cables, "hypervisor1:eth2 leaf2:eth9", "hypervisor1:eth1 leaf1:eth9", "vm1:eth1 hypervisor1:tap1",
		"vtep1:eth1 leaf3:eth9", "server1:eth1 vtep1:eth2", "server2:eth1 leaf4:eth9")
	n, err := NewNetwork(cabled(cables...), Capacities{Default: 10e9})
	require.NoError(t, err)
	return n
}

func matrix(t *testing.T, n *Network, lines ...string) Traffic {
	t.Helper()
	m, err := demand.Parse([]byte("from,to,rate,tenant,flows\n"+strings.Join(lines, "\n")), "m.csv", n.End)
	require.NoError(t, err)
	traffic, err := NewTraffic(n, m)
	require.NoError(t, err)
	return traffic
}

// shares are the parts of the load that leave a leaf by spine1 and spine2.
func shares(n *Network, load []float64, leaf string) [2]float64 {
	var out [2]float64
	for l, k := range n.Links {
		if k.From.Node == leaf {
			out[strings.TrimPrefix(k.To.Node, "spine")[0]-'1'] += load[l]
		}
	}
	return out
}

func policies(t *testing.T, text string) []Policy {
	t.Helper()
	ps, err := ParsePolicies([]byte(text), "p.yaml")
	require.NoError(t, err)
	return ps
}

func under(t *testing.T, n *Network, traffic Traffic, text string, f Failure) Report {
	t.Helper()
	rules, err := Compile(n, policies(t, text), now)
	require.NoError(t, err)
	r, err := Simulate(traffic, rules, Case{Failure: f}, Settings{})
	require.NoError(t, err)
	return r
}

func TestPoliciesDecide(t *testing.T) {
	n := square(t)
	traffic := matrix(t, n, "leaf1,leaf3,4G,,", "leaf1,leaf3,2G,blue,", "leaf2,leaf3,1G,,")
	for _, c := range []struct {
		name, text string
		want       [2]float64 // of leaf1
	}{
		{"nothing", "", [2]float64{3e9, 3e9}},
		{"pin", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {scope: {from: leaf1, to: leaf3}, pin: {via: [spine2]}}", [2]float64{0, 6e9}},
		{"pin of a tenant", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {scope: {tenant: blue}, pin: {via: [spine2]}}", [2]float64{2e9, 4e9}},
		{"weights", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {scope: {to: leaf3}, weight: {spine1: 3, spine2: 1}}", [2]float64{4.5e9, 1.5e9}},
		{"avoid its own link", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {avoid: {links: ['leaf1:eth2']}}", [2]float64{6e9, 0}},
		{"avoid a link farther on", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {avoid: {links: ['leaf3:eth1']}}", [2]float64{0, 6e9}},
		{"avoid a switch, of a tenant", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {scope: {tenant: blue}, avoid: {nodes: [spine1]}}", [2]float64{2e9, 4e9}},
		{"another leaf's", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {scope: {from: leaf2}, pin: {via: [spine2]}}", [2]float64{3e9, 3e9}},
		{"one that has ended", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {until: 2026-11-26T11:00:00Z, pin: {via: [spine2]}}", [2]float64{3e9, 3e9}},
		{"the narrower scope", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {pin: {via: [spine2]}}\n---\nkind: SteeringPolicy\nmetadata: {name: b}\nspec: {scope: {tenant: blue}, pin: {via: [spine1]}}", [2]float64{2e9, 4e9}},
		{"the higher priority", "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {priority: 1, pin: {via: [spine2]}}\n---\nkind: SteeringPolicy\nmetadata: {name: b}\nspec: {scope: {tenant: blue}, pin: {via: [spine1]}}", [2]float64{0, 6e9}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := shares(n, under(t, n, traffic, c.text, Failure{}).Policy, "leaf1")
			require.InDelta(t, c.want[0], got[0], 1)
			require.InDelta(t, c.want[1], got[1], 1)
		})
	}
}

// A pinned spine that dies: the traffic goes on over the other. When it is the spine's
// far link, the leaf can't know: that is said.
func TestAPinFallsBack(t *testing.T) {
	n := square(t)
	traffic := matrix(t, n, "leaf1,leaf3,4G,,")
	pin := "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {scope: {from: leaf1, to: leaf3}, pin: {via: [spine2]}}"
	for _, c := range []struct {
		name string
		down Failure
		dark float64
	}{
		{"the spine", Failure{Nodes: []string{"spine2"}}, 0},
		{"the leaf's link", Failure{Links: []string{"leaf1:eth2"}}, 0},
		{"the far link", Failure{Links: []string{"spine2:eth3"}}, 4e9},
		{"another link", Failure{Links: []string{"spine1:eth4"}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := under(t, n, traffic, pin, c.down)
			require.InDelta(t, 4e9, shares(n, r.Policy, "leaf1")[0]+shares(n, r.Policy, "leaf1")[1], 1)
			if c.name != "another link" {
				require.InDelta(t, 4e9, shares(n, r.Policy, "leaf1")[0], 1)
			}
			require.Equal(t, c.dark, r.Dark)
		})
	}
}

// A policy that leaves some traffic to the optimiser leaves the rest alone.
func TestAutoOfATenant(t *testing.T) {
	n := square(t)
	traffic := matrix(t, n, "leaf1,leaf3,6G,red,", "leaf1,leaf3,2G,blue,")
	text := `
kind: SteeringPolicy
metadata: {name: red-left}
spec: {scope: {tenant: red}, pin: {via: [spine1]}}
---
kind: SteeringPolicy
metadata: {name: blue-auto}
spec: {scope: {tenant: blue}, auto: {objective: min-max-utilisation}}
`
	got := shares(n, under(t, n, traffic, text, Failure{}).Policy, "leaf1")
	require.InDelta(t, 6e9, got[0], 1)
	require.InDelta(t, 2e9, got[1], 1)
}

func TestAutoKeepsToWhatIsAllowed(t *testing.T) {
	n := square(t)
	traffic := matrix(t, n, "leaf1,leaf3,6G,red,", "leaf1,leaf3,6G,blue,")
	text := `
kind: SteeringPolicy
metadata: {name: auto}
spec: {auto: {}}
---
kind: SteeringPolicy
metadata: {name: not-two}
spec: {avoid: {nodes: [spine2]}}
`
	r := under(t, n, traffic, text, Failure{})
	require.Zero(t, shares(n, r.Policy, "leaf1")[1])
}

func TestElephantsGetOutOfEachOthersWay(t *testing.T) {
	n := square(t)
	apart := 0
	for seed := range uint64(20) {
		traffic := matrix(t, n, "leaf1,leaf3,6G,red,1", "leaf1,leaf3,6G,blue,1", "leaf1,leaf3,1G,,")
		r, err := Simulate(traffic, nil, AllUp, Settings{Seed: seed})
		require.NoError(t, err)
		auto, _ := n.Worst(r.Auto)
		require.InDelta(t, 0.65, auto, 1e-9)
		require.InDelta(t, 0.65, r.Bound, 0.01)
		if ecmp, _ := n.Worst(r.ECMP); ecmp > 1 {
			require.Equal(t, 1, r.Steered, "one elephant is moved")
		} else {
			require.Zero(t, r.Steered)
			apart++
		}
	}
	require.Greater(t, apart, 4)
	require.Less(t, apart, 16)
}

// Tenants that are named have a colour, then the largest; the others share an address.
func TestColoursTellTenantsApart(t *testing.T) {
	n := square(t)
	traffic := matrix(t, n, "leaf1,leaf3,6G,red,1", "leaf1,leaf3,5G,blue,1", "leaf1,leaf3,1G,green,1", "leaf1,leaf3,1G,,", "leaf2,leaf3,1G,grey,1")
	cells := func(colours int, named ...string) (out []string, have []string) {
		c, have, err := traffic.Coloured(colours, named)
		require.NoError(t, err)
		for _, d := range c.Cells().Demands {
			out = append(out, d.Key.String())
		}
		require.Equal(t, traffic.Cells().Total(), c.Cells().Total())
		return out, have
	}
	got, have := cells(0)
	require.Empty(t, have)
	require.Equal(t, []string{"leaf1 → leaf3", "leaf2 → leaf3"}, got)
	got, have = cells(2)
	require.Equal(t, []string{"red", "blue"}, have)
	require.Equal(t, []string{"leaf1 → leaf3", "leaf1 → leaf3 of blue", "leaf1 → leaf3 of red", "leaf2 → leaf3"}, got)
	got, have = cells(2, "grey")
	require.Equal(t, []string{"grey", "red"}, have)
	require.Equal(t, []string{"leaf1 → leaf3", "leaf1 → leaf3 of red", "leaf2 → leaf3 of grey"}, got)
	_, _, err := traffic.Coloured(1, []string{"blue", "red"})
	require.EqualError(t, err, "policies name 2 tenants (blue, red), there are colours for 1")

	// Without colours the elephants of a pair can't be told apart; with them they are.
	together := 0
	for seed := range uint64(16) {
		worst := func(colours int) float64 {
			c, _, err := traffic.Coloured(colours, nil)
			require.NoError(t, err)
			r, err := Simulate(c, nil, AllUp, Settings{Seed: seed})
			require.NoError(t, err)
			ecmp, _ := n.Worst(r.ECMP)
			plain, err := Simulate(traffic, nil, AllUp, Settings{Seed: seed})
			require.NoError(t, err)
			same, _ := n.Worst(plain.ECMP)
			require.InDelta(t, same, ecmp, 1e-9, "the hash is that of the flows, however they are steered")
			auto, _ := n.Worst(r.Auto)
			return auto
		}
		if worst(0) > 1 {
			together++
		}
		require.Less(t, worst(2), 0.86)
	}
	require.Positive(t, together)
}

func TestMiceStayOnECMP(t *testing.T) {
	n := square(t)
	traffic := matrix(t, n, "leaf1,leaf3,3G,red,1", "leaf1,leaf3,3G,blue,1", "leaf1,leaf3,3G,green,1", "leaf1,leaf3,3G,grey,1", "leaf2,leaf3,10M,,")
	for most := range 3 {
		r, err := Simulate(traffic, nil, AllUp, Settings{Seed: 1, Most: most + 1})
		require.NoError(t, err)
		require.LessOrEqual(t, r.Steered, most+1)
	}
}

func TestTrafficOfARackIsItsLeafs(t *testing.T) {
	n := square(t)
	traffic := matrix(t, n, "vm1,server1,1G,,", "hypervisor1,vtep1,1G,,", "leaf1,vtep1,1G,,", "server2,leaf4,1G,,", "leaf2,server2,0,,",
		"server1,vm1,500M,,", "vtep1,server2,1G,,1", "leaf3,leaf4,1G,,2")
	require.Equal(t, []demand.Demand{
		{Key: demand.Key{From: "leaf1", To: "vtep1"}, Rate: 3e9},
		{Key: demand.Key{From: "leaf3", To: "hypervisor1"}, Rate: 5e8},
		{Key: demand.Key{From: "leaf3", To: "leaf4"}, Rate: 2e9, Flows: 3},
	}, traffic.Cells().Demands)
	_, err := demand.Parse([]byte("from,to,rate\nspine1,leaf1,1G\nleaf1,leaf9,1G\n"), "m.csv", n.End)
	require.EqualError(t, err, "m.csv:2: from: spine1 is a spine: traffic begins and ends at leaves and behind them\nm.csv:3: to: the fabric has no node \"leaf9\"")
}

func TestWrongPoliciesAreRefused(t *testing.T) {
	n := square(t)
	head := "kind: SteeringPolicy\nmetadata: {name: a}\nspec: "
	for _, c := range []struct{ text, want string }{
		{head + "{}", "SteeringPolicy a: spec: exactly one of pin, avoid, weight, auto and freeze is expected, there are 0"},
		{head + "{auto: {}, pin: {via: [spine1]}}", "exactly one of pin, avoid, weight, auto and freeze is expected, there are 2"},
		{head + "{pin: {}}", "SteeringPolicy a: spec.pin.via: is empty"},
		{head + "{avoid: {}}", "SteeringPolicy a: spec.avoid: is empty"},
		{head + "{weight: {}}", "SteeringPolicy a: spec.weight: is empty"},
		{head + "{weight: {spine1: 0}}", "SteeringPolicy a: spec.weight.spine1: 0 is outside 1..64"},
		{head + "{weight: {spine1: many}}", `p.yaml:3: SteeringPolicy a: spec.weight.spine1: "many" is not a whole number`},
		{head + "{auto: {objective: fastest}}", `"fastest" is not known: use min-max-utilisation`},
		{head + "{scope: {from: leaf1, to: leaf1}, auto: {}}", "from leaf1 to itself"},
		{head + "{pin: {via: [spine9]}}", `policy a: via: the fabric has no switch "spine9"`},
		{head + "{pin: {via: [leaf2]}}", "policy a: there is no way by leaf2 for all traffic"},
		{head + "{scope: {from: leaf9}, auto: {}}", `policy a: spec.scope.from: the fabric has no leaf "leaf9"`},
		{head + "{scope: {to: spine1}, auto: {}}", "policy a: spec.scope.to: spine1 is not a leaf"},
		{head + "{avoid: {links: ['leaf1:eth7']}}", "policy a: spec.avoid: the fabric has no link between switches at leaf1:eth7"},
		{head + "{avoid: {nodes: [spine1, spine2]}}", "policy a: it leaves no way from leaf1 to leaf2"},
		{head + "{pin: {via: [spine1]}, colour: red}", "spec.colour: is not a field"},
		{"kind: Policy\nmetadata: {name: a}", `kind: "Policy" is not known`},
		{"kind: SteeringPolicy\nspec: {auto: {}}", `metadata.name: "" is not a name`},
		{"apiVersion: weft/v9\n" + head + "{auto: {}}", `apiVersion: "weft/v9" is not known`},
		{head + "{auto: {}}\n---\n" + head + "{auto: {}}", "policy a is given twice"},
		{head + "[", "p.yaml:4: broken YAML: "},
		{head + "{scope: {from: leaf1}, pin: {via: [spine1]}}\n---\nkind: SteeringPolicy\nmetadata: {name: b}\nspec: {scope: {to: leaf3}, weight: {spine2: 1}}",
			"policies a and b conflict: both have priority 0"},
		{head + "{scope: {from: leaf1}, pin: {via: [spine1]}}\n---\nkind: SteeringPolicy\nmetadata: {name: b}\nspec: {avoid: {nodes: [spine1]}}",
			"policy b: it leaves no way from leaf1 to leaf2"},
	} {
		ps, err := ParsePolicies([]byte(c.text), "p.yaml")
		if err == nil {
			_, err = Compile(n, ps, now)
		}
		require.ErrorContains(t, err, c.want, c.text)
	}
}

func TestWrongNetworksAreRefused(t *testing.T) {
	g := cabled("leaf1:eth1 spine1:eth1", "leaf2:eth1 spine1:eth2")
	for _, c := range []struct {
		capacities Capacities
		want       string
	}{
		{Capacities{}, "capacity: 0 is not above zero"},
		{Capacities{Default: 1, Of: map[string]float64{"leaf1:eth9": 1}}, "capacity: there is no link between switches at leaf1:eth9"},
		{Capacities{Default: 1, Of: map[string]float64{"spine1": 0}}, "capacity of link leaf1:eth1 - spine1:eth1: 0 is not above zero"},
	} {
		_, err := NewNetwork(g, c.capacities)
		require.EqualError(t, err, c.want)
	}
	n, err := NewNetwork(g, Capacities{Default: 1, Of: map[string]float64{"spine1": 5, "leaf2:eth1": 7}})
	require.NoError(t, err)
	require.Equal(t, []float64{5, 5, 7, 7}, []float64{n.Links[0].Capacity, n.Links[1].Capacity, n.Links[2].Capacity, n.Links[3].Capacity})
	_, err = n.Routes(Failure{Nodes: []string{"spine7"}})
	require.EqualError(t, err, "failure: the fabric has no switch and no link between switches at spine7")
}

func FuzzParsePolicies(f *testing.F) {
	f.Add("kind: SteeringPolicy\nmetadata: {name: a}\nspec: {scope: {from: leaf1}, weight: {spine1: 3, spine2: 1}, until: 2036-01-01T00:00:00Z}")
	f.Add("kind: SteeringPolicy\nmetadata: {name: a}\nspec: {avoid: {links: ['leaf1:eth2'], nodes: [spine1]}}\n---\nkind: SteeringPolicy\nmetadata: {name: b}\nspec: {auto: {}}")
	n, err := NewNetwork(cabled("leaf1:eth1 spine1:eth1", "leaf1:eth2 spine2:eth1", "leaf2:eth1 spine1:eth2", "leaf2:eth2 spine2:eth2"), Capacities{Default: 1e9})
	require.NoError(f, err)
	m, err := demand.New([]demand.Demand{{Key: demand.Key{From: "leaf1", To: "leaf2"}, Rate: 1e9}})
	require.NoError(f, err)
	traffic, err := NewTraffic(n, m)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		ps, err := ParsePolicies([]byte(text), "p.yaml")
		if err != nil {
			return
		}
		rules, err := Compile(n, ps, now)
		if err != nil {
			return
		}
		r, err := Simulate(traffic, rules, AllUp, Settings{})
		require.NoError(t, err)
		got := shares(n, r.Policy, "leaf1")
		require.InDelta(t, 1e9, got[0]+got[1], 1)
	})
}
