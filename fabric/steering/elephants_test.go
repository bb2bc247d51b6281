package steering

import (
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/topology"
)

// hashing is a network whose leaves hash flows: it says what a controller would measure.
type hashing struct {
	*drive
	flows map[demand.Key]int
	place func(key demand.Key, flow int) float64 // where a hash puts a flow, from 0 to 1
}

func newHashing(t require.TestingT, g *topology.Graph, c Capacities, d Damping) *hashing {
	return &hashing{drive: newDrive(t, g, c, d), flows: map[demand.Key]int{}, place: func(k demand.Key, flow int) float64 {
		h := fnv.New64a()
		fmt.Fprint(h, k, flow)
		return float64(h.Sum64()*0x9e3779b97f4a7c15>>11) / (1 << 53)
	}}
}

// measured is by which links the cells leave, and what all links carry.
func (h *hashing) measured(m demand.Matrix) (Observed, []float64) {
	routes, err := h.c.network.Routes(Failure{})
	require.NoError(h.t, err)
	traffic, err := NewTraffic(h.c.network, m)
	require.NoError(h.t, err)
	p, chosen, out := traffic.place(routes, 0), h.c.Chosen(), Observed{}
	split := make([][]float64, len(p.cells))
	for i, c := range p.cells {
		ways := p.problem.Commodities[i].Ways
		var parts []float64
		if hops, ok := chosen[c.Key]; ok {
			parts = make([]float64, len(ways))
			for w, way := range ways {
				for _, hop := range hops {
					if hop.Link == h.c.network.Links[way.First] {
						parts[w] = float64(hop.Weight)
					}
				}
			}
			normalise(parts)
		}
		split[i], out[c.Key] = make([]float64, len(ways)), map[string]float64{}
		for flow := range h.flows[c.Key] {
			split[i][bucket(h.place(c.Key, flow), parts, len(ways))] += 1 / float64(h.flows[c.Key])
		}
		for w, way := range ways {
			out[c.Key][h.c.network.Links[way.First].From.String()] += split[i][w] * c.Rate
		}
	}
	return out, p.problem.Load(split)
}

// worst is the highest utilisation of what links carry, and see what a step is told.
func (h *hashing) see(m demand.Matrix) (worst float64) {
	seen, carried := h.measured(m)
	h.c.Observe(seen)
	worst, _ = h.c.network.Worst(carried)
	return worst
}

func (h *hashing) worst(m demand.Matrix) float64 {
	_, carried := h.measured(m)
	worst, _ := h.c.network.Worst(carried)
	return worst
}

// Four elephants of one flow each, which the hash has put on one spine, on links of one
// capacity: nothing says of how many flows they are, but it is seen by which links they
// leave. They are moved until no link has two, within 30 s, and stay for five minutes.
func TestElephantsThatShareALinkArePartedByWhatIsSeen(t *testing.T) {
	h := newHashing(t, twoTier(4, 2), Capacities{Default: 10e9}, DefaultDamping())
	h.place = func(_ demand.Key, flow int) float64 { return 0.1 + float64(flow%90)/100 }
	var ds []demand.Demand
	for _, from := range []string{"leaf1", "leaf2"} {
		for _, to := range []string{"leaf3", "leaf4"} {
			d := demand.Demand{Key: demand.Key{From: from, To: to}, Rate: 4e9}
			h.flows[d.Key] = 1
			ds = append(ds, d)
		}
	}
	mice := demand.Demand{Key: demand.Key{From: "leaf3", To: "leaf1"}, Rate: 1e9}
	h.flows[mice.Key] = 100
	m, err := demand.New(append(ds, mice))
	require.NoError(t, err)
	require.InDelta(t, 0.8, h.worst(m), 1e-9, "by ECMP")
	require.Empty(t, h.step(5*time.Second, m, Failure{}).Changes, "unseen each is divided evenly")
	began := h.now
	for h.worst(m) > 1.02*0.4 {
		h.see(m)
		h.step(5*time.Second, m, Failure{})
		require.LessOrEqual(t, h.now.Sub(began), 30*time.Second)
	}
	t.Logf("parted after %s with %d changes", h.now.Sub(began), h.total())
	require.Equal(t, 2, h.total(), "one of each leaf is moved")
	for range 60 {
		h.see(m)
		o := h.step(5*time.Second, m, Failure{})
		require.Empty(t, o.Changes)
		require.Equal(t, 4, o.Elephants, "the mice are none")
	}
}

// An elephant that was given a way, and becomes a herd of mice of another rate, is
// divided again.
func TestWhatIsNoElephantAnyMoreIsDivided(t *testing.T) {
	h := newHashing(t, twoTier(2, 2), Capacities{Default: 10e9}, Damping{Gain: 0.1, Floor: 0.3, Share: 1})
	h.place = func(_ demand.Key, flow int) float64 { return float64(flow%100)/100 + 0.001 }
	a, b := demand.Key{From: "leaf1", To: "leaf2"}, demand.Key{From: "leaf1", To: "leaf2", Tenant: "b"}
	h.flows[a], h.flows[b] = 1, 1
	m, err := demand.New([]demand.Demand{{Key: a, Rate: 4e9}, {Key: b, Rate: 4e9}})
	require.NoError(t, err)
	for range 3 {
		h.see(m)
		h.step(5*time.Second, m, Failure{})
	}
	require.InDelta(t, 0.4, h.worst(m), 1e-9)
	require.Equal(t, 1, h.total())
	h.flows[a], h.flows[b] = 100, 100
	m, err = demand.New([]demand.Demand{{Key: a, Rate: 9e9}, {Key: b, Rate: 1e9}})
	require.NoError(t, err)
	require.InDelta(t, 0.95, h.worst(m), 1e-9, "the other half by the way that the elephant was given")
	for range 4 {
		h.see(m)
		h.step(5*time.Second, m, Failure{})
	}
	require.InDelta(t, 0.5, h.worst(m), 0.02)
}

// Whatever is hashed how, it comes to rest with what it sees.
func TestItComesToRestWithWhatItSees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHashing(t, fabrics(t), Capacities{Default: 1e9}, Damping{Gain: 0.05, Hold: 20 * time.Second, Share: rapid.SampledFrom([]float64{0.05, 0.3, 1}).Draw(t, "share")})
		m := matrices(t, h.c.network)
		for i, d := range m.Demands {
			m.Demands[i].Flows = 0 // it is not told
			h.flows[d.Key] = rapid.SampledFrom([]int{1, 1, 2, 5, 100}).Draw(t, "flows")
		}
		for range 60 {
			h.see(m)
			h.step(5*time.Second, m, Failure{})
		}
		if rest := h.now.Sub(h.lastAction); h.total() > 0 && rest < 60*time.Second {
			t.Fatalf("it is still at it after five minutes: %d changes", h.total())
		}
	})
}
