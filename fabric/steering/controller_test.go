package steering

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/topology"
)

// drive runs a controller every interval of virtual time.
type drive struct {
	t          require.TestingT
	c          *Controller
	now        time.Time
	changes    map[demand.Key][]time.Time
	history    map[demand.Key][]string
	lastAction time.Time
}

func newDrive(t require.TestingT, g *topology.Graph, capacities Capacities, d Damping) *drive {
	n, err := NewNetwork(g, capacities)
	require.NoError(t, err)
	c, err := NewController(n, Settings{Gap: 0.01}, d)
	require.NoError(t, err)
	return &drive{t: t, c: c, now: now, changes: map[demand.Key][]time.Time{}, history: map[demand.Key][]string{}}
}

// step takes a step, and holds the controller to its word.
func (d *drive) step(after time.Duration, m demand.Matrix, f Failure) Outcome {
	d.now = d.now.Add(after)
	o, err := d.c.Step(d.now, m, f)
	require.NoError(d.t, err)
	if o.Moved > d.c.damping.Share+1e-9 {
		require.Len(d.t, slices.DeleteFunc(slices.Clone(o.Changes), func(c Change) bool { return c.Why == stayed }), 1, "more than the share is moved only of what can't be divided, and alone")
	}
	require.LessOrEqual(d.t, o.After, o.Before*(1+1e-9), "a step made it worse")
	for _, c := range o.Changes {
		if c.Why == stayed || strings.Contains(c.Why, "colour") {
			continue
		}
		if before := d.changes[c.Key]; len(before) > 0 && len(f.Links)+len(f.Nodes) == 0 && c.Why != "there is no traffic, or no way for it" {
			require.GreaterOrEqual(d.t, d.now.Sub(before[len(before)-1]), d.c.damping.Hold, "%s was changed again too soon", c.Key)
		}
		sum := 0
		for _, h := range c.After {
			require.Positive(d.t, h.Weight)
			sum += h.Weight
		}
		require.LessOrEqual(d.t, sum, 64)
		d.changes[c.Key] = append(d.changes[c.Key], d.now)
		d.history[c.Key] = append(d.history[c.Key], fmt.Sprint(c.After))
		d.lastAction = d.now
	}
	return o
}

// reversals counts the cells that went back to weights that they had left.
func (d *drive) reversals() int {
	n := 0
	for _, h := range d.history {
		for i := 2; i < len(h); i++ {
			if h[i] == h[i-2] && h[i] != h[i-1] {
				n++
			}
		}
	}
	return n
}

func (d *drive) total() int {
	n := 0
	for _, at := range d.changes {
		n += len(at)
	}
	return n
}

func leafNames(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("leaf%d", i+1))
	}
	return out
}

// Five minutes under changing demand: each second the rates wander by up to a tenth,
// each 60 s the elephants are others. It follows, and does not oscillate.
func TestFiveMinutesWithoutOscillation(t *testing.T) {
	const leaves, spines = 16, 4
	g := twoTier(leaves, spines)
	d := newDrive(t, g, Capacities{Default: 100e9, Of: map[string]float64{"spine4": 40e9}}, DefaultDamping())
	random := rand.New(rand.NewPCG(5, 5))
	var ecmp, auto, bound float64
	var m demand.Matrix
	steps, quiet, late := 0, 0, 0
	for second := range 300 {
		if second%60 == 0 {
			var err error
			m, err = demand.Gravity{Nodes: leafNames(leaves), Total: 1.4e12, Spread: 0.3, Heavy: 0.1, Times: 8, Seed: uint64(second)}.Matrix()
			require.NoError(t, err)
		}
		noisy := demand.Matrix{Demands: slices.Clone(m.Demands)}
		for i := range noisy.Demands {
			noisy.Demands[i].Rate *= 0.9 + 0.2*random.Float64()
		}
		if second%5 != 0 {
			continue
		}
		o := d.step(5*time.Second, noisy, Failure{})
		traffic, err := NewTraffic(d.c.network, noisy)
		require.NoError(t, err)
		r, err := Simulate(traffic, nil, AllUp, Settings{})
		require.NoError(t, err)
		worst, _ := d.c.network.Worst(r.ECMP)
		if second%60 >= 40 {
			quiet++
			if len(o.Changes) > 0 {
				late++
			}
		}
		if second >= 30 {
			steps++
			ecmp, auto, bound = ecmp+worst, auto+o.After, bound+r.Bound
		}
	}
	n := float64(steps)
	busiest := 0
	for _, at := range d.changes {
		busiest = max(busiest, len(at))
	}
	t.Logf("highest utilisation on average: ECMP %.1f %%, steered %.1f %%, bound %.1f %%; %d changes of %d cells in 300 s, at most %d of one, %d back to what was before; something changed in %d of the %d steps in the last third of a minute",
		100*ecmp/n, 100*auto/n, 100*bound/n, d.total(), len(d.changes), busiest, d.reversals(), late, quiet)
	require.Less(t, auto, 0.75*ecmp)
	require.Less(t, auto, 1.25*bound)
	require.LessOrEqual(t, busiest, 5, "on average a cell is changed once at most for each change of the elephants")
	require.LessOrEqual(t, late, quiet/10, "it comes to rest after each change of the elephants")
	require.LessOrEqual(t, d.reversals(), d.total()/20)
}

// With a demand that does not change, it comes to rest, and stays.
func TestItComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := fabrics(t)
		d := newDrive(t, g, Capacities{Default: 1e9}, Damping{Gain: 0.05, Hold: 20 * time.Second, Share: rapid.SampledFrom([]float64{0.05, 0.3, 1}).Draw(t, "share")})
		m := matrices(t, d.c.network)
		var o Outcome
		for range 60 {
			o = d.step(5*time.Second, m, Failure{})
		}
		if rest := d.now.Sub(d.lastAction); d.total() > 0 && rest < 60*time.Second {
			t.Fatalf("it is still at it after five minutes: %d changes, %d reversals, now %v, target %v", d.total(), d.reversals(), o.After, o.Target)
		}
		if d.reversals() > 0 {
			t.Fatalf("it went back %d times", d.reversals())
		}
	})
}

// Noise alone, once it is at rest, makes it do nothing.
func TestNoiseIsNotFollowed(t *testing.T) {
	d := newDrive(t, twoTier(8, 4), Capacities{Default: 100e9, Of: map[string]float64{"spine4": 40e9}}, DefaultDamping())
	m, err := demand.Gravity{Nodes: leafNames(8), Total: 1.2e12, Spread: 0.3, Seed: 2}.Matrix()
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		d.step(5*time.Second, m, Failure{})
	}
	settled := d.total()
	require.Positive(t, settled)
	for range 60 {
		noisy := demand.Matrix{Demands: slices.Clone(m.Demands)}
		for i := range noisy.Demands {
			noisy.Demands[i].Rate *= 0.85 + 0.3*random.Float64()
		}
		d.step(5*time.Second, noisy, Failure{})
	}
	require.Equal(t, settled, d.total())
}

// A demand that swings faster than Hold is not followed at each swing.
func TestASwingIsFollowedAtMostOncePerHold(t *testing.T) {
	damping := DefaultDamping()
	damping.Smooth, damping.Share = 0, 1
	d := newDrive(t, cabled("leaf1:eth1 spine1:eth1", "leaf1:eth2 spine2:eth1", "leaf2:eth1 spine1:eth2", "leaf2:eth2 spine2:eth2"), Capacities{Default: 10e9}, damping)
	cell := func(tenant string, rate float64) demand.Demand {
		return demand.Demand{Key: demand.Key{From: "leaf1", To: "leaf2", Tenant: tenant}, Rate: rate, Flows: 1}
	}
	for i := range 150 {
		rates := []float64{6e9, 6e9, 2e9, 2e9}
		if i/4%2 == 1 {
			rates = []float64{6e9, 2e9, 6e9, 2e9}
		}
		m, err := demand.New([]demand.Demand{cell("a", rates[0]), cell("b", rates[1]), cell("c", rates[2]), cell("d", rates[3])})
		require.NoError(t, err)
		d.step(2*time.Second, m, Failure{})
	}
	for _, at := range d.changes {
		require.LessOrEqual(t, len(at), 11)
	}
}

func TestFrozenItDoesNothing(t *testing.T) {
	damping := DefaultDamping()
	damping.Share = 1
	d := newDrive(t, twoTier(4, 2), Capacities{Default: 10e9, Of: map[string]float64{"spine2": 2e9}}, damping)
	m, err := demand.New([]demand.Demand{{Key: demand.Key{From: "leaf1", To: "leaf2"}, Rate: 6e9}, {Key: demand.Key{From: "leaf3", To: "leaf4"}, Rate: 1e9}})
	require.NoError(t, err)
	d.c.Freeze(true)
	o := d.step(time.Second, m, Failure{})
	require.Empty(t, o.Changes)
	require.Equal(t, "frozen", o.Why)
	d.c.Freeze(false)
	o = d.step(time.Second, m, Failure{})
	require.Len(t, o.Changes, 1)
	require.InDelta(t, 1.5, o.Before, 1e-9)
	require.InDelta(t, 0.5, o.After, 0.02)
	require.Equal(t, "leaf1 → leaf2", o.Changes[0].Key.String())
	require.Nil(t, o.Changes[0].Before)
	weights := map[string]int{}
	for _, h := range o.Changes[0].After {
		weights[h.Link.To.Node] = h.Weight
	}
	require.Equal(t, map[string]int{"spine1": 5, "spine2": 1}, weights)

	// What leads nowhere is withdrawn all the same.
	d.c.Freeze(true)
	o = d.step(time.Second, m, Failure{Links: []string{"leaf2:eth1"}})
	require.Len(t, o.Changes, 1)
	require.Len(t, o.Changes[0].After, 1)
	require.Equal(t, "spine2", o.Changes[0].After[0].Link.To.Node)
	o = d.step(time.Second, m, Failure{Nodes: []string{"leaf2"}})
	require.Nil(t, o.Changes[0].After)
}

func TestBelowTheFloorItDoesNothing(t *testing.T) {
	d := newDrive(t, twoTier(4, 2), Capacities{Default: 100e9, Of: map[string]float64{"spine2": 20e9}}, DefaultDamping())
	m, err := demand.New([]demand.Demand{{Key: demand.Key{From: "leaf1", To: "leaf2"}, Rate: 6e9}})
	require.NoError(t, err)
	o := d.step(time.Second, m, Failure{})
	require.Empty(t, o.Changes)
	require.Contains(t, o.Why, "below the floor of 30 %")
}

// One step moves no more than its share; the following ones do the rest.
func TestAStepMovesAShare(t *testing.T) {
	damping := Damping{Gain: 0.01, Share: 0.1}
	d := newDrive(t, twoTier(2, 2), Capacities{Default: 10e9, Of: map[string]float64{"spine2": 1e9}}, damping)
	m, err := demand.New([]demand.Demand{{Key: demand.Key{From: "leaf1", To: "leaf2"}, Rate: 5e9}})
	require.NoError(t, err)
	last := math.Inf(1)
	var seen []float64
	for range 8 {
		o := d.step(time.Second, m, Failure{})
		require.LessOrEqual(t, o.After, last)
		last = o.After
		seen = append(seen, o.After)
	}
	require.InDelta(t, 2.0, seen[0], 0.1) // 2.5 at first
	require.InDelta(t, 5.0/11, last, 0.03)
}

func TestWrongDampingIsRefused(t *testing.T) {
	n, err := NewNetwork(twoTier(2, 2), Capacities{Default: 1})
	require.NoError(t, err)
	for _, d := range []Damping{{Gain: -1}, {Floor: 2}, {Share: math.NaN()}, {Hold: -1}} {
		_, err := NewController(n, Settings{}, d)
		require.ErrorContains(t, err, "damping")
	}
}

// What an elephant drove aside goes back to ECMP when the elephant has gone.
func TestItLetsGo(t *testing.T) {
	d := newDrive(t, twoTier(2, 2), Capacities{Default: 10e9}, Damping{Gain: 0.1, Floor: 0.3, Share: 1})
	mice := demand.Demand{Key: demand.Key{From: "leaf1", To: "leaf2"}, Rate: 4e9}
	elephant := demand.Demand{Key: demand.Key{From: "leaf1", To: "leaf2", Tenant: "b"}, Rate: 6e9, Flows: 1}
	both, err := demand.New([]demand.Demand{mice, elephant})
	require.NoError(t, err)
	alone, err := demand.New([]demand.Demand{mice})
	require.NoError(t, err)
	o := d.step(time.Second, both, Failure{})
	require.Len(t, o.Changes, 1)
	require.Len(t, o.Changes[0].After, 1)
	require.InDelta(t, 0.6, o.After, 1e-9)
	o = d.step(time.Second, alone, Failure{})
	require.InDelta(t, 0.4, o.Before, 1e-9)
	require.InDelta(t, 0.2, o.Target, 1e-9)
	require.InDelta(t, 0.2, o.After, 1e-9)
	require.Len(t, o.Changes, 1)
	require.Nil(t, o.Changes[0].After)
	o = d.step(time.Second, alone, Failure{})
	require.Empty(t, o.Changes)
}

// Without a gain there is nothing to do, also when none is asked for.
func TestWithoutAGainNothingMoves(t *testing.T) {
	d := newDrive(t, twoTier(2, 2), Capacities{Default: 10e9, Of: map[string]float64{"spine2": 1e9}}, Damping{Share: 1})
	m, err := demand.New([]demand.Demand{{Key: demand.Key{From: "leaf1", To: "leaf2"}, Rate: 5e9}})
	require.NoError(t, err)
	d.step(time.Second, m, Failure{})
	for range 10 {
		require.Empty(t, d.step(time.Second, m, Failure{}).Changes)
	}
}
