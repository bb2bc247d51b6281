package steering

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/demand"
)

// colourful are the facts of a network whose VTEPs have colours.
func colourful(t require.TestingT, n *Network, colours int) *fabric.Facts {
	f, err := fabric.Plan(n.graph, fabric.Params{Colours: colours})
	require.NoError(t, err)
	return f
}

// pin is a policy for a scope, made at a second.
func pin(name, scope, via string, second int) Policy {
	p, err := ParsePolicies([]byte(fmt.Sprintf("kind: SteeringPolicy\nmetadata: {name: %s}\nspec: {scope: {%s}, pin: {via: [%s]}}", name, scope, via)), "p.yaml")
	if err != nil {
		panic(err)
	}
	p[0].Created = time.Unix(int64(second), 0)
	return p[0]
}

func compiled(t require.TestingT, n *Network, ps ...Policy) *Rules {
	r, err := Compile(n, ps, now)
	require.NoError(t, err)
	return r
}

// A tenant's policies share its colour, a network has one of its own, and whoever comes
// when none is left is refused, whatever the order in which the policies are given.
func TestColoursOfScopes(t *testing.T) {
	n := square(t)
	f := colourful(t, n, 3)
	ps := []Policy{
		pin("a", "tenant: blue, from: leaf1", "spine1", 1), pin("b", "tenant: blue, from: leaf2", "spine2", 2),
		pin("c", "tenant: red", "spine2", 3), pin("d", "tenant: red, network: web", "spine1", 4),
		pin("late", "tenant: green", "spine1", 6),
	}
	got, errs := compiled(t, n, ps...).Colours(f)
	require.Len(t, got, 3)
	for _, s := range []ColourScope{{"blue", ""}, {"red", ""}, {"red", "web"}} {
		require.Contains(t, got, s)
	}
	require.Len(t, errs, 1)
	require.EqualError(t, errs["late"], "no colour is left: 3 of 3 are used by tenant blue, tenant red, network red/web")
	again, _ := compiled(t, n, ps[3], ps[0], ps[4], ps[2], ps[1]).Colours(f)
	require.Equal(t, got, again)
	_, errs = compiled(t, n, ps[0]).Colours(colourful(t, n, 0))
	require.ErrorContains(t, errs["a"], "no node states further addresses of its VTEP")
}

// Colours are all different and of those that there are; a scope that comes last changes
// nobody's, and who has the colour that its name hashes to keeps it whoever goes.
func TestColoursStayProperty(t *testing.T) {
	n := square(t)
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 8).Draw(t, "colours")
		f := colourful(t, n, count)
		tenants := rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]{1,4}"), 1, count, rapid.ID[string]).Draw(t, "tenants")
		var ps []Policy
		for i, name := range tenants {
			ps = append(ps, pin(name, "tenant: "+fmt.Sprintf("%q", name), "spine1", i))
		}
		all, errs := compiled(t, n, ps...).Colours(f)
		if len(errs) > 0 || len(all) != len(tenants) {
			t.Fatal(all, errs)
		}
		used := map[int]bool{}
		for _, k := range all {
			if k < 1 || k > count || used[k] {
				t.Fatal(all)
			}
			used[k] = true
		}
		without, _ := compiled(t, n, ps[:len(ps)-1]...).Colours(f)
		for s, k := range without {
			if all[s] != k {
				t.Fatalf("%v: the last one changes %s: %v", all, s, without)
			}
		}
		gone := rapid.IntRange(0, len(ps)-1).Draw(t, "gone")
		rest := append(append([]Policy{}, ps[:gone]...), ps[gone+1:]...)
		then, _ := compiled(t, n, rest...).Colours(f)
		for s, k := range then {
			alone, _ := compiled(t, n, pin("x", "tenant: "+fmt.Sprintf("%q", s.Tenant), "spine1", 0)).Colours(f)
			if all[s] == alone[s] && k != all[s] {
				t.Fatalf("%s had the colour of its name, %d, and has %d", s, all[s], k)
			}
		}
	})
}

// of are the policy and the next hops to a colour of a rack, or of a VTEP, at a leaf.
func (p Planned) of(device string, prefix fmt.Stringer) string {
	for _, r := range p.Routes {
		if r.Device == device && r.Prefix.String() == prefix.String() {
			var hops []string
			for _, h := range r.After {
				hops = append(hops, h.Switch)
			}
			return r.Policy + " " + strings.Join(hops, ",")
		}
	}
	return ""
}

// Two tenants between the same leaves are led over different spines by the prefixes of
// their colours, others stay as they were; what is said of all holds for a tenant with a
// colour too, but where its own policies say otherwise.
func TestPlansOfColours(t *testing.T) {
	n := square(t)
	f := colourful(t, n, 4)
	leaf3, _ := f.Node("leaf3")
	leaf4, _ := f.Node("leaf4")
	rules := compiled(t, n, pin("blue", "tenant: blue, from: leaf1, to: leaf3", "spine1", 1), pin("red", "tenant: red, from: leaf1, to: leaf3", "spine2", 2),
		pin("web", "tenant: red, network: web, from: leaf1, to: leaf3", "spine1", 3), pin("all", "from: leaf1, to: leaf4", "spine2", 4))
	p, err := rules.PlanChosen(f, nil, Failure{}, Settings{})
	require.NoError(t, err)
	require.Len(t, p.Colours, 3)
	rack := func(leaf fabric.Node, s ColourScope) fmt.Stringer {
		prefix, err := leaf.Colours[p.Colours[s]-1].Prefix(leaf.Rack.Bits())
		require.NoError(t, err)
		require.True(t, leaf.ColourRacks.Contains(prefix.Addr()))
		return prefix
	}
	blue, red, web := ColourScope{Tenant: "blue"}, ColourScope{Tenant: "red"}, ColourScope{"red", "web"}
	require.Equal(t, "blue spine1", p.of("leaf1", rack(leaf3, blue)))
	require.Equal(t, "red spine2", p.of("leaf1", rack(leaf3, red)))
	require.Equal(t, "web spine1", p.of("leaf1", rack(leaf3, web)))
	require.Empty(t, p.of("leaf1", leaf3.Rack), "others")
	require.Equal(t, "all spine2", p.of("leaf1", leaf4.Rack))
	for _, s := range []ColourScope{blue, red, web} {
		require.Equal(t, "all spine2", p.of("leaf1", rack(leaf4, s)), "a general policy")
		require.Empty(t, p.of("leaf2", rack(leaf3, s)))
	}
	for _, r := range p.Routes {
		require.Equal(t, p.Colours[r.Scope], r.Colour)
	}
	require.Len(t, p.Routes, 3+2+3, "one route steers a rack, and all share what is said of all")

	down, err := rules.PlanChosen(f, nil, Failure{Nodes: []string{"spine1"}}, Settings{})
	require.NoError(t, err)
	require.Equal(t, p.Colours, down.Colours, "what is down changes no colour")
	require.Empty(t, down.of("leaf1", rack(leaf3, blue)))
	require.Contains(t, down.Fallen, Fallen{"blue", "leaf1", "leaf3"})
}

// A leaf without an address of the colour can't be steered for a tenant, and is told;
// what is behind it may have one all the same.
func TestPlansWithoutSomeColours(t *testing.T) {
	n := square(t)
	f := colourful(t, n, 2)
	for i := range f.Nodes {
		if f.Nodes[i].Name == "leaf3" || f.Nodes[i].Name == "vtep1" {
			f.Nodes[i].Colours = nil
		}
	}
	rules := compiled(t, n, pin("blue", "tenant: blue, from: leaf1, to: leaf3", "spine1", 1), pin("all", "from: leaf1, to: leaf3", "spine2", 4), pin("back", "from: leaf3, to: leaf1", "spine2", 5))
	p, err := rules.PlanChosen(f, nil, Failure{}, Settings{})
	require.ErrorContains(t, err, "policy blue: leaf3 and the VTEPs behind it have no address of colour")
	require.NotContains(t, err.Error(), "policy all")
	hypervisor, _ := f.Node("hypervisor1")
	leaf1, _ := f.Node("leaf1")
	for i := range f.Nodes {
		if f.Nodes[i].Name == "leaf1" {
			f.Nodes[i].Colours = nil
		}
	}
	require.True(t, leaf1.ColourRacks.Contains(hypervisor.Colours[0]), "it is behind leaf1")
	p, err = rules.PlanChosen(f, nil, Failure{}, Settings{})
	require.Error(t, err)
	host, err := hypervisor.Colours[p.Colours[ColourScope{Tenant: "blue"}]-1].Prefix(32)
	require.NoError(t, err)
	require.Equal(t, "back spine2", p.of("leaf3", host))
}

// What the optimiser chooses for a tenant with a colour is a route for the tenant alone;
// what it chooses for all is for everybody who has no policy of his own.
func TestChosenForColours(t *testing.T) {
	n := square(t)
	f := colourful(t, n, 2)
	leaf3, _ := f.Node("leaf3")
	web := pin("web", "tenant: red, network: web, from: leaf2", "spine1", 2)
	ps, err := ParsePolicies([]byte(head+"{scope: {tenant: blue}, auto: {}}\n---\nkind: SteeringPolicy\nmetadata: {name: b}\nspec: {auto: {}}"), "p.yaml")
	require.NoError(t, err)
	rules := compiled(t, n, append(ps, web)...)
	by := func(iface string) []Hop {
		for _, l := range n.Links {
			if l.From.Node == "leaf1" && l.From.Interface == iface {
				return []Hop{{l, 1}}
			}
		}
		return nil
	}
	p, err := rules.PlanChosen(f, map[demand.Key][]Hop{{From: "leaf1", To: "leaf3", Tenant: "blue"}: by("eth1"), {From: "leaf1", To: "leaf3"}: by("eth2"), {From: "leaf1", To: "leaf3", Tenant: "green"}: by("eth1")}, Failure{}, Settings{})
	require.NoError(t, err)
	host := func(s ColourScope) fmt.Stringer {
		a := leaf3.VTEP
		if k := p.Colours[s]; k > 0 {
			a = leaf3.Colours[k-1]
		}
		prefix, err := a.Prefix(32)
		require.NoError(t, err)
		return prefix
	}
	require.Equal(t, "a spine1", p.of("leaf1", host(ColourScope{Tenant: "blue"})))
	require.Equal(t, "b spine2", p.of("leaf1", host(ColourScope{})))
	require.Equal(t, "b spine2", p.of("leaf1", host(ColourScope{"red", "web"})), "a network of a tenant without a colour is among the others")

	traffic := matrix(t, n, "leaf3,leaf1,6G,blue,1", "leaf3,hypervisor1,6G,blue,1", "leaf3,leaf1,1G,green,1")
	apart := map[string]bool{}
	for seed := range uint64(16) {
		routes, err := rules.Plan(f, &traffic, Failure{}, Settings{Seed: seed})
		require.NoError(t, err)
		for _, r := range routes {
			apart[r.Scope.String()] = true
		}
	}
	require.True(t, apart["tenant blue"], "with some hash its elephants meet")
}

// Policies for networks fit where the network's traffic has a way.
func TestPoliciesOfNetworksFit(t *testing.T) {
	n := square(t)
	compiled(t, n, pin("web", "tenant: red, network: web", "spine1", 1))
	_, err := Compile(n, []Policy{{Name: "none", Spec: intent.SteeringPolicySpec{Scope: Scope{Tenant: "red", Network: "web"}, Pin: &intent.SteeringPin{Via: []string{"leaf2"}}}}}, now)
	require.ErrorContains(t, err, "there is no way by leaf2 for traffic of tenant red of network web")
	_, err = Compile(n, []Policy{{Name: "none", Spec: intent.SteeringPolicySpec{Scope: Scope{Tenant: "red", Network: "web"}, Avoid: &intent.SteeringAvoid{Nodes: []string{"spine1", "spine2"}}}}}, now)
	require.ErrorContains(t, err, "it leaves no way from")
}
