package steering

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/topology"
)

// mesh is the same rate between all leaves.
func mesh(t *testing.T, leaves int, rate float64) demand.Matrix {
	t.Helper()
	var ds []demand.Demand
	for _, from := range leafNames(leaves) {
		for _, to := range leafNames(leaves) {
			if from != to {
				ds = append(ds, demand.Demand{Key: demand.Key{From: from, To: to}, Rate: rate})
			}
		}
	}
	m, err := demand.New(ds)
	require.NoError(t, err)
	return m
}

// What was begun for a gain that is worth it is finished, although the last parts of it
// alone would not be: with many cells, and with one that goes a part at a time.
func TestWhatWasBegunIsFinished(t *testing.T) {
	one, err := demand.New([]demand.Demand{{Key: demand.Key{From: "leaf1", To: "leaf2"}, Rate: 6e9}})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		matrix demand.Matrix
		within time.Duration
	}{"many": {mesh(t, 4, 2e9), 20 * time.Second}, "one": {one, 100 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			d := newDrive(t, twoTier(4, 2), Capacities{Default: 9e9, Of: map[string]float64{"spine2": 3e9}}, DefaultDamping())
			d.c.settings.Gap = 0.005
			var levels []string
			for began := d.now; ; {
				o := d.step(5*time.Second, c.matrix, Failure{})
				levels = append(levels, fmt.Sprintf("%.1f", 100*o.After))
				if o.After <= 1.02*0.5 {
					break
				}
				require.Less(t, d.now.Sub(began), c.within, "%v", levels)
			}
			t.Logf("the most utilised link, step by step, in %%: %v", levels)
			for range 20 {
				require.Empty(t, d.step(5*time.Second, c.matrix, Failure{}).Changes)
			}
		})
	}
}

// What policies decide is theirs: it counts as they divide it and is let go of, and the
// rest is chosen around it, by no way that is to be avoided.
func TestPoliciesAreHeardFirst(t *testing.T) {
	d := newDrive(t, twoTier(4, 2), Capacities{Default: 10e9}, Damping{Gain: 0.05, Share: 1})
	m := mesh(t, 4, 1e9)
	rules := func(text string) *Rules {
		r, err := Compile(d.c.network, policies(t, text), now)
		require.NoError(t, err)
		return r
	}
	require.Empty(t, d.step(time.Second, m, Failure{}).Changes, "ECMP is the optimum")
	pinned := rules("kind: SteeringPolicy\nmetadata: {name: p}\nspec: {scope: {from: leaf1, to: leaf2}, pin: {via: [spine1]}, priority: 5}\n---\n" +
		"kind: SteeringPolicy\nmetadata: {name: a}\nspec: {auto: {}}\n")
	d.c.Follow(d.c.network, pinned)
	o := d.step(time.Second, m, Failure{})
	require.NotEmpty(t, o.Changes)
	require.InDelta(t, 0.2, o.Before, 1e-9)
	require.InDelta(t, 0.15, o.After, 0.004)
	require.NotContains(t, d.c.Chosen(), demand.Key{From: "leaf1", To: "leaf2"})
	some := o.Changes[0].Key
	require.Equal(t, o.Changes[0].After, d.c.Chosen()[some])

	d.c.Freeze(true)
	d.c.Follow(d.c.network, rules(fmt.Sprintf("kind: SteeringPolicy\nmetadata: {name: p}\nspec: {scope: {from: %s, to: %s}, pin: {via: [spine1]}, priority: 5}\n---\n"+
		"kind: SteeringPolicy\nmetadata: {name: a}\nspec: {auto: {}}\n", some.From, some.To)))
	d.step(time.Second, m, Failure{})
	require.NotContains(t, d.c.Chosen(), some, "another policy decides about it now")
	d.c.Freeze(false)

	d.c.Follow(d.c.network, rules("kind: SteeringPolicy\nmetadata: {name: v}\nspec: {avoid: {nodes: [spine2]}, priority: 5}\n---\nkind: SteeringPolicy\nmetadata: {name: a}\nspec: {auto: {}}\n"))
	d.step(time.Second, m, Failure{})
	for key, hops := range d.c.Chosen() {
		require.False(t, slices.ContainsFunc(hops, func(h Hop) bool { return h.Link.To.Node == "spine2" }), "%s", key)
	}
}

// A fabric that grows keeps what was chosen; a link that is gone takes its part along.
func TestAFabricThatChangesKeepsWhatIsChosen(t *testing.T) {
	d := newDrive(t, twoTier(2, 3), Capacities{Default: 10e9, Of: map[string]float64{"spine3": 1e9}}, Damping{Gain: 0.05, Share: 1})
	m, err := demand.New([]demand.Demand{{Key: demand.Key{From: "leaf1", To: "leaf2"}, Rate: 6e9}})
	require.NoError(t, err)
	d.step(time.Second, m, Failure{})
	before := d.c.Chosen()
	require.Len(t, before, 1)
	grown := twoTier(3, 3)
	slices.Reverse(grown.Links)
	n, err := NewNetwork(grown, Capacities{Default: 10e9, Of: map[string]float64{"spine3": 1e9}})
	require.NoError(t, err)
	d.c.Follow(n, nil)
	for key, hops := range d.c.Chosen() {
		require.ElementsMatch(t, before[key], hops)
	}
	require.Empty(t, d.step(time.Second, m, Failure{}).Changes)

	grown.Links = slices.DeleteFunc(grown.Links, func(l topology.Link) bool { return l.A.Node == "spine1" || l.B.Node == "spine1" })
	n, err = NewNetwork(grown, Capacities{Default: 10e9, Of: map[string]float64{"spine3": 1e9}})
	require.NoError(t, err)
	d.c.Follow(n, nil)
	for _, hops := range d.c.Chosen() {
		require.NotEmpty(t, hops)
		require.False(t, slices.ContainsFunc(hops, func(h Hop) bool { return h.Link.To.Node == "spine1" }))
	}
}

// With most only the pairs with the most traffic are steered, and mice stay on ECMP; two
// of about one size do not take turns, and one that is far larger takes the place.
func TestOnlyTheLargestAreSteered(t *testing.T) {
	d := newDrive(t, twoTier(4, 2), Capacities{Default: 10e9, Of: map[string]float64{"spine2": 2e9}}, Damping{Gain: 0.05, Share: 1})
	rules, err := Compile(d.c.network, policies(t, "kind: SteeringPolicy\nmetadata: {name: a}\nspec: {auto: {most: 2}}\n"), now)
	require.NoError(t, err)
	d.c.Follow(d.c.network, rules)
	rates := map[string]float64{"leaf1 leaf2": 8e9, "leaf2 leaf3": 6e9, "leaf3 leaf4": 5.5e9, "leaf4 leaf1": 1e9}
	step := func() []string {
		var ds []demand.Demand
		for pair, rate := range rates {
			var k demand.Key
			_, err := fmt.Sscan(pair, &k.From, &k.To)
			require.NoError(t, err)
			ds = append(ds, demand.Demand{Key: k, Rate: rate})
		}
		m, err := demand.New(ds)
		require.NoError(t, err)
		d.step(5*time.Second, m, Failure{})
		var out []string
		for k := range d.c.Chosen() {
			out = append(out, k.From+" "+k.To)
		}
		slices.Sort(out)
		return out
	}
	for range 5 {
		step()
	}
	require.Equal(t, []string{"leaf1 leaf2", "leaf2 leaf3"}, step())
	settled := d.total()
	for i := range 20 { // they swing about each other
		rates["leaf2 leaf3"], rates["leaf3 leaf4"] = 6e9-float64(i%2)*0.8e9, 5.5e9+float64(i%2)*0.5e9
		require.Equal(t, []string{"leaf1 leaf2", "leaf2 leaf3"}, step())
	}
	require.Equal(t, settled, d.total(), "nothing is changed by that")
	rates["leaf3 leaf4"] = 9e9
	step()
	require.Equal(t, []string{"leaf1 leaf2", "leaf3 leaf4"}, step())
}
