package steering

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/topology"
)

// painting is a hashing network whose controller may give tenants colours.
type painting struct {
	*hashing
	facts *fabric.Facts
	rules *Rules
}

const autoPolicy = "kind: SteeringPolicy\nmetadata: {name: auto}\nspec: {auto: {}}\n"

func parse(t require.TestingT, text string) []Policy {
	ps, err := ParsePolicies([]byte(text), "p.yaml")
	require.NoError(t, err)
	return ps
}

func newPainting(t require.TestingT, g *topology.Graph, c Capacities, d Damping, colours int, text string) *painting {
	p := &painting{hashing: newHashing(t, g, c, d)}
	p.facts = colourful(t, p.c.network, colours)
	p.follow(text)
	p.c.Paint(p.facts, nil)
	return p
}

func (p *painting) follow(text string) {
	p.rules = compiled(p.t, p.c.network, parse(p.t, text)...)
	p.c.Follow(p.c.network, p.rules)
}

// measured is by which links each tenant's cells leave, those of tenants without a colour
// as the cell goes that they are a part of, and what all links carry.
func (p *painting) measured(m demand.Matrix) (Observed, []float64) {
	routes, err := p.c.network.Routes(Failure{})
	require.NoError(p.t, err)
	traffic, err := NewTraffic(p.c.network, m)
	require.NoError(p.t, err)
	all, chosen, out := traffic.place(routes, 0), p.c.Chosen(), Observed{}
	has, _ := p.rules.Give(Numbers(p.c.Given())).Colours(p.facts)
	split := make([][]float64, len(all.cells))
	for i, c := range all.cells {
		key, ways := c.Key, all.problem.Commodities[i].Ways
		if has[ColourScope{Tenant: key.Tenant}] == 0 {
			key.Tenant = ""
		}
		d := p.rules.decide(routes, c.from, c.to, ColourScope{Tenant: key.Tenant})
		parts := d.parts
		if hops, ok := chosen[key]; ok {
			parts = all.byHops(i, hops)
		}
		split[i], out[c.Key] = make([]float64, len(ways)), map[string]float64{}
		for flow := range p.flows[c.Key] {
			split[i][bucket(p.place(c.Key, flow), parts, len(ways))] += 1 / float64(p.flows[c.Key])
		}
		for w, way := range ways {
			out[c.Key][p.c.network.Links[way.First].From.String()] += split[i][w] * c.Rate
		}
	}
	return out, all.problem.Load(split)
}

func (p *painting) worst(m demand.Matrix) float64 {
	_, carried := p.measured(m)
	worst, _ := p.c.network.Worst(carried)
	return worst
}

// pass takes a step each five seconds for a while, and holds the controller to its colours.
func (p *painting) pass(m demand.Matrix, d time.Duration) (last Outcome) {
	for end := p.now.Add(d); p.now.Before(end); {
		seen, _ := p.measured(m)
		p.c.Observe(seen)
		last = p.step(5*time.Second, m, Failure{})
		has, _ := p.rules.Give(Numbers(p.c.Given())).Colours(p.facts)
		used := map[int]ColourScope{}
		for of, k := range has {
			require.Empty(p.t, used[k], "%s has the same colour as another", of)
			require.LessOrEqual(p.t, k, colourCount(p.facts))
			used[k] = of
		}
		for t, g := range p.c.Given() {
			require.Equal(p.t, g.Colour, has[ColourScope{Tenant: t}])
		}
	}
	return last
}

func (p *painting) given() []string { return slices.Sorted(maps.Keys(p.c.Given())) }

// demands makes a matrix of "leaf1 leaf2 blue" to bit/s and flows.
func (p *painting) demands(cells map[string][2]int) demand.Matrix {
	var ds []demand.Demand
	for words, v := range cells {
		var k demand.Key
		_, err := fmt.Sscan(words, &k.From, &k.To, &k.Tenant)
		require.NoError(p.t, err)
		p.flows[k] = v[1]
		ds = append(ds, demand.Demand{Key: k, Rate: float64(v[0]) * 1e9})
	}
	m, err := demand.New(ds)
	require.NoError(p.t, err)
	return m
}

// shared is a fabric on whose first spine there are what is pinned there, an elephant of
// blue, and a half of red's mice between the same leaves as the elephant.
func shared(t require.TestingT, colours int, more string) (*painting, demand.Matrix) {
	pinned := "kind: SteeringPolicy\nmetadata: {name: pinned}\nspec: {scope: {from: leaf1, to: leaf4}, pin: {via: [spine1]}, priority: 5}\n---\n"
	p := newPainting(t, twoTier(4, 2), Capacities{Default: 40e9}, DefaultDamping(), colours, pinned+autoPolicy+more)
	// All flows but mice are hashed to the first spine when there is a choice.
	p.place = func(_ demand.Key, flow int) float64 { return 0.001 + float64(flow%100)/100 }
	return p, p.demands(map[string][2]int{"leaf1 leaf4 green": {12, 100}, "leaf1 leaf3 blue": {10, 1}, "leaf1 leaf3 red": {4, 100}})
}

// The elephant is parted from the mice: its tenant is given a colour, and the mice stay on
// ECMP. Then nothing changes for five minutes.
func TestATenantIsGivenAColourForItsElephant(t *testing.T) {
	p, m := shared(t, 4, "")
	require.InDelta(t, 0.6, p.worst(m), 1e-9)
	p.pass(m, 30*time.Second)
	require.Equal(t, []string{"blue"}, p.given())
	g := p.c.Given()["blue"]
	require.Equal(t, "auto", g.Policy)
	require.InDelta(t, 10e9, g.Rate, 1e9)
	require.InDelta(t, 0.35, p.worst(m), 1e-9)
	chosen := p.c.Chosen()
	require.NotContains(t, chosen, demand.Key{From: "leaf1", To: "leaf3"}, "mice stay on ECMP")
	hops := chosen[demand.Key{From: "leaf1", To: "leaf3", Tenant: "blue"}]
	require.Len(t, hops, 1)
	require.Equal(t, "spine2", hops[0].Link.To.Node)
	planned, err := p.rules.Give(Numbers(p.c.Given())).PlanChosen(p.facts, chosen, Failure{}, Settings{})
	require.NoError(t, err)
	blue := slices.DeleteFunc(slices.Clone(planned.Routes), func(r Route) bool { return r.Scope.Tenant != "blue" || r.To != "leaf3" })
	require.Len(t, blue, 1)
	require.Equal(t, []any{g.Colour, "leaf1", "auto", "spine2"}, []any{blue[0].Colour, blue[0].Device, blue[0].Policy, blue[0].After[0].Switch})

	began := p.c.Given()["blue"].Since
	for range 60 {
		o := p.pass(m, 5*time.Second)
		require.Empty(t, o.Changes)
	}
	require.Equal(t, began, p.c.Given()["blue"].Since)
}

// Without colours, with none wanted, or none left, nobody is given one; what a policy gives
// somebody is never taken.
func TestNobodyIsGivenAColourThatIsNotThere(t *testing.T) {
	scoped := func(tenant string) string {
		return "---\nkind: SteeringPolicy\nmetadata: {name: own-" + tenant + "}\nspec: {scope: {from: leaf2, to: leaf3, tenant: " + tenant + "}, pin: {via: [spine1]}, priority: 9}\n"
	}
	for name, c := range map[string]struct {
		colours int
		more    string
		off     bool
	}{"no colours": {0, "", false}, "one, which a policy uses": {1, scoped("red"), false}, "all used": {2, scoped("red") + scoped("white"), false}, "none wanted": {4, "", true}} {
		t.Run(name, func(t *testing.T) {
			p, m := shared(t, c.colours, c.more)
			if c.off {
				none := 0
				for i := range p.rules.list {
					if p.rules.list[i].Spec.Auto != nil {
						p.rules.list[i].Spec.Auto.Colours = &none
					}
				}
			}
			p.pass(m, 2*time.Minute)
			require.Empty(t, p.given())
		})
	}
}

// A policy that needs the colour gets it, and the tenant that had been given it goes without.
func TestWhatIsGivenYieldsToPolicies(t *testing.T) {
	p, m := shared(t, 1, "")
	p.pass(m, 30*time.Second)
	require.Equal(t, []string{"blue"}, p.given())
	pinned := "kind: SteeringPolicy\nmetadata: {name: pinned}\nspec: {scope: {from: leaf1, to: leaf4}, pin: {via: [spine1]}, priority: 5}\n---\n"
	p.follow(pinned + autoPolicy + "---\nkind: SteeringPolicy\nmetadata: {name: own}\nspec: {scope: {from: leaf2, to: leaf3, tenant: white}, pin: {via: [spine1]}, priority: 9}\n")
	o := p.pass(m, 5*time.Second)
	require.Empty(t, p.given())
	require.True(t, slices.ContainsFunc(o.Changes, func(c Change) bool {
		return c.Tenant == "blue" && c.After == nil && c.Why == "the tenant has no colour of its own any more"
	}))
	has, errs := p.rules.Give(map[string]int{"blue": 1}).Colours(p.facts)
	require.Empty(t, errs)
	require.Equal(t, Colours{{Tenant: "white"}: 1}, has)
	p.pass(m, 2*time.Minute)
	require.Empty(t, p.given())
}

// When the elephant has gone the colour is given back, but not at once; a pause is survived.
func TestAColourIsGivenBack(t *testing.T) {
	p, m := shared(t, 4, "")
	p.pass(m, 30*time.Second)
	quiet := p.demands(map[string][2]int{"leaf1 leaf4 green": {12, 100}, "leaf1 leaf3 red": {4, 100}})
	p.pass(quiet, 45*time.Second)
	require.Equal(t, []string{"blue"}, p.given())
	p.pass(m, 45*time.Second)
	require.Equal(t, []string{"blue"}, p.given())
	require.InDelta(t, 0.35, p.worst(m), 1e-9)
	p.pass(quiet, 3*time.Minute)
	require.Empty(t, p.given())
	require.NotContains(t, p.c.Chosen(), demand.Key{From: "leaf1", To: "leaf3", Tenant: "blue"})
	p.pass(m, 4*time.Minute)
	require.LessOrEqual(t, p.worst(m), 0.35+1e-9, "with or without, where the mice were moved meanwhile")
}

// A controller that begins anew with what was given keeps it, and comes to the same ways.
func TestGivenColoursSurviveARestart(t *testing.T) {
	p, m := shared(t, 4, "")
	p.pass(m, 30*time.Second)
	given, chosen := p.c.Given(), p.c.Chosen()
	c, err := NewController(p.c.network, p.c.settings, p.c.damping)
	require.NoError(t, err)
	c.Follow(c.network, p.rules)
	c.Paint(p.facts, nil)
	c.Restore(given)
	p.c = c
	clear(p.changes)
	for range 12 {
		p.pass(m, 5*time.Second)
		require.Equal(t, []string{"blue"}, p.given())
	}
	blue := demand.Key{From: "leaf1", To: "leaf3", Tenant: "blue"}
	require.Equal(t, chosen[blue], p.c.Chosen()[blue])
	require.LessOrEqual(t, p.worst(m), 0.35+1e-9)
	require.Equal(t, given["blue"].Since, p.c.Given()["blue"].Since)
}

// What a colour would not lead is not given one: what hardware VTEPs send, and tenants that
// are barred.
func TestWhatAColourDoesNotLeadIsGivenNone(t *testing.T) {
	p, m := shared(t, 4, "")
	p.c.Paint(p.facts, func(tenant string) bool { return tenant == "blue" })
	p.pass(m, time.Minute)
	require.Empty(t, p.given())
}

// Tenants at random, some of them elephants: colours are never more than there are, the same
// comes twice, no step makes the most utilised link more utilised, and it comes to rest.
func TestGivingComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := fabrics(t)
		damping := Damping{Gain: 0.1, Hold: 20 * time.Second, Share: rapid.SampledFrom([]float64{0.1, 0.3, 1}).Draw(t, "share")}
		colours := rapid.IntRange(0, 3).Draw(t, "colours")
		a, b := newPainting(t, g, Capacities{Default: 1e9}, damping, colours, autoPolicy), newPainting(t, g, Capacities{Default: 1e9}, damping, colours, autoPolicy)
		var ds []demand.Demand
		leaf := rapid.SampledFrom(a.c.network.Leaves())
		for range rapid.IntRange(1, 14).Draw(t, "cells") {
			d := demand.Demand{Key: demand.Key{From: leaf.Draw(t, "from"), To: leaf.Draw(t, "to"), Tenant: rapid.SampledFrom([]string{"blue", "green", "red", "white", ""}).Draw(t, "tenant")},
				Rate: float64(rapid.IntRange(1, 900).Draw(t, "mbit")) * 1e6}
			if d.From != d.To {
				a.flows[d.Key] = rapid.SampledFrom([]int{1, 1, 3, 100}).Draw(t, "flows")
				ds = append(ds, d)
			}
		}
		b.flows = a.flows
		m, err := demand.New(ds)
		require.NoError(t, err)
		was := a.given()
		rest := a.now
		for i := range 84 {
			a.pass(m, 5*time.Second)
			if i < 30 {
				b.pass(m, 5*time.Second)
				require.Equal(t, a.c.Given(), b.c.Given())
				require.Equal(t, a.c.Chosen(), b.c.Chosen())
			}
			if now := a.given(); !slices.Equal(was, now) {
				was, rest = now, a.now
			}
		}
		if a.lastAction.After(rest) {
			rest = a.lastAction
		}
		if d := a.now.Sub(rest); d < 60*time.Second {
			t.Fatalf("it is still at it after seven minutes: %d changes, given %v", a.total(), a.given())
		}
	})
}
