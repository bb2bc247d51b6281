package steering

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/fabric"
)

// text is a plan in lines.
func text(routes []Route) []string {
	var out []string
	for _, r := range routes {
		hops := func(hs []NextHop) string {
			var s []string
			for _, h := range hs {
				s = append(s, fmt.Sprintf("%s*%d", h.Switch, h.Weight))
			}
			return strings.Join(s, ",")
		}
		out = append(out, fmt.Sprintf("%s %s(%s) %s: %s -> %s", r.Device, r.Prefix, r.To, r.Policy, hops(r.Before), hops(r.After)))
	}
	return out
}

func planned(t *testing.T, n *Network, policies string, traffic *Traffic, down Failure) ([]Route, error) {
	t.Helper()
	ps, err := ParsePolicies([]byte(policies), "p.yaml")
	require.NoError(t, err)
	rules, err := Compile(n, ps, now)
	require.NoError(t, err)
	facts, err := fabric.Plan(n.graph, fabric.Params{})
	require.NoError(t, err)
	return rules.Plan(facts, traffic, down, Settings{})
}

const head = "kind: SteeringPolicy\nmetadata: {name: a}\nspec: "

func TestPlans(t *testing.T) {
	n := square(t)
	facts, err := fabric.Plan(n.graph, fabric.Params{})
	require.NoError(t, err)
	node := func(name string) fabric.Node {
		v, ok := facts.Node(name)
		require.True(t, ok)
		return v
	}
	leaf3, rack3 := node("leaf3").VTEP.String()+"/32", node("leaf3").Rack.String()
	for _, c := range []struct {
		name, policies string
		down           Failure
		want           []string
	}{
		{"a pin", head + "{scope: {from: leaf1, to: leaf3}, pin: {via: [spine2]}}", Failure{}, []string{
			"leaf1 " + leaf3 + "(leaf3) a: spine1*1,spine2*1 -> spine2*1",
			"leaf1 " + rack3 + "(leaf3) a: spine1*1,spine2*1 -> spine2*1",
		}},
		{"weights", head + "{scope: {from: leaf1, to: leaf3}, weight: {spine1: 3, spine2: 1}}", Failure{}, []string{
			"leaf1 " + leaf3 + "(leaf3) a: spine1*1,spine2*1 -> spine1*3,spine2*1",
			"leaf1 " + rack3 + "(leaf3) a: spine1*1,spine2*1 -> spine1*3,spine2*1",
		}},
		{"a pin whose spine is down", head + "{scope: {from: leaf1, to: leaf3}, pin: {via: [spine2]}}", Failure{Nodes: []string{"spine2"}}, nil},
		{"a pin whose spine has lost the leaf", head + "{scope: {from: leaf1, to: leaf3}, pin: {via: [spine2]}}", Failure{Links: []string{"leaf3:eth2"}}, nil},
		{"what must not be touched", head + "{scope: {to: leaf3}, avoid: {links: ['leaf1:eth1']}}", Failure{}, []string{
			"leaf1 " + leaf3 + "(leaf3) a: spine1*1,spine2*1 -> spine2*1",
			"leaf1 " + rack3 + "(leaf3) a: spine1*1,spine2*1 -> spine2*1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			routes, err := planned(t, n, c.policies, nil, c.down)
			require.NoError(t, err)
			require.Equal(t, c.want, text(routes))
			for _, r := range routes {
				for _, h := range r.Before {
					l, ok := facts.Link(r.Device, h.Interface)
					require.True(t, ok)
					require.Equal(t, l.B.Node, h.Switch)
					spine, _ := facts.Node(h.Switch)
					require.Contains(t, []netip.Addr{spine.Loopback, l.B.Address.Addr()}, h.Address)
					require.Equal(t, strings.Contains(c.policies, "weight"), h.Address == l.B.Address.Addr(), "only weights need the link's address")
				}
			}
		})
	}
}

// The optimiser steers a VTEP by its host route; a policy to avoid something still
// holds for what has no traffic.
func TestAPlanOfTheOptimiser(t *testing.T) {
	n := square(t)
	facts, err := fabric.Plan(n.graph, fabric.Params{})
	require.NoError(t, err)
	hypervisor, _ := facts.Node("hypervisor1")
	leaf1, _ := facts.Node("leaf1")
	traffic := matrix(t, n, "leaf3,vm1,6G,red,1", "leaf3,leaf1,6G,blue,1")
	at := map[string]bool{}
	for seed := range uint64(8) {
		ps, err := ParsePolicies([]byte(head+"{scope: {from: leaf3}, auto: {}}"), "p.yaml")
		require.NoError(t, err)
		rules, err := Compile(n, ps, now)
		require.NoError(t, err)
		routes, err := rules.Plan(facts, &traffic, Failure{}, Settings{Seed: seed})
		require.NoError(t, err)
		for _, r := range routes {
			require.Equal(t, "leaf3", r.Device)
			require.Len(t, r.After, 1)
			at[r.Prefix.String()] = true
		}
	}
	require.NotEmpty(t, at, "with some hash the elephants meet")
	for prefix := range at {
		require.Contains(t, []string{hypervisor.VTEP.String() + "/32", leaf1.VTEP.String() + "/32"}, prefix)
	}

	routes, err := planned(t, n, head+"{auto: {}}\n---\nkind: SteeringPolicy\nmetadata: {name: b}\nspec: {scope: {from: leaf2}, avoid: {nodes: [spine1]}}", &traffic, Failure{})
	require.NoError(t, err)
	for _, to := range []string{"leaf1", "leaf3", "leaf4"} {
		found := false
		for _, r := range routes {
			found = found || r.Device == "leaf2" && r.To == to && len(r.After) == 1 && r.After[0].Switch == "spine2"
		}
		require.True(t, found, to)
	}
}

func TestPlansThatCantBe(t *testing.T) {
	n := square(t)
	_, err := planned(t, n, head+"{auto: {}}", nil, Failure{})
	require.EqualError(t, err, "policy a: the optimiser needs a traffic matrix")
	_, err = planned(t, n, head+"{scope: {tenant: blue}, pin: {via: [spine1]}}", nil, Failure{})
	require.ErrorContains(t, err, "policy a: a route does not tell tenants apart, and no node states further addresses")
	ps := policies(t, head+"{scope: {to: leaf3}, weight: {spine1: 2, spine2: 1}}\n---\nkind: SteeringPolicy\nmetadata: {name: b}\nspec: {scope: {to: leaf4}, pin: {via: [spine1]}}")
	rules, err := Compile(n, ps, now)
	require.NoError(t, err)
	facts, err := fabric.Plan(n.graph, fabric.Params{Unnumbered: true})
	require.NoError(t, err)
	routes, err := rules.Plan(facts, nil, Failure{}, Settings{})
	var unplanned *PolicyError
	require.ErrorAs(t, err, &unplanned)
	require.Equal(t, "a", unplanned.Policy)
	require.ErrorContains(t, err, "has no addresses: next hops of routes with weights need them")
	require.NotEmpty(t, routes)
	for _, r := range routes {
		require.Equal(t, "b", r.Policy, "the other policy is planned all the same")
	}
}

// Whatever the policies and failures: a planned route has no next hop from which there
// is no way, one prefix is planned once for a leaf, never for the leaf's own, and the
// order is the same each time.
func TestPlansLeadSomewhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, err := NewNetwork(fabrics(t), Capacities{Default: 1e9})
		require.NoError(t, err)
		facts, err := fabric.Plan(n.graph, fabric.Params{})
		require.NoError(t, err)
		rules := someRules(t, n)
		traffic, err := NewTraffic(n, matrices(t, n))
		require.NoError(t, err)
		down := failures(t, n)
		routes, err := rules.Plan(facts, &traffic, down, Settings{})
		require.NoError(t, err)
		again, err := rules.Plan(facts, &traffic, down, Settings{})
		require.NoError(t, err)
		require.Equal(t, routes, again)
		seen := map[string]bool{}
		for _, r := range routes {
			key := r.Device + " " + r.Prefix.String()
			require.False(t, seen[key], key)
			seen[key] = true
			require.NotEqual(t, r.Device, r.To)
			require.NotEmpty(t, r.After)
			for _, h := range r.After {
				require.Positive(t, h.Weight)
				require.LessOrEqual(t, h.Weight, 64)
				o := without(n, down)
				o.WithoutNodes = append(o.WithoutNodes, r.Device)
				require.False(t, n.graph.Paths(h.Switch, r.To, o).Empty(), "%s by %s", key, h.Switch)
			}
		}
	})
}
