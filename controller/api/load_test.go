package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/load"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

func (d *devices) TakeLoad(node string, r switchstate.Load) (a switchstate.LoadAnswer, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loads = append(d.loads, r)
	return switchstate.LoadAnswer{Tunnels: true, Every: time.Second}, node == "leaf1"
}

func (d *devices) Load(time.Duration) engine.FabricLoad { return d.load }

func (d *devices) LoadHistory(_, port string, _ time.Duration) ([]load.Sample, bool) {
	return []load.Sample{{Time: time.Unix(60, 0).UTC(), Rate: 8}}, port == "eth1"
}

func (d *devices) Choice() engine.Choice {
	hop := steering.Hop{Link: steering.Link{From: topology.End{Node: "leaf1", Interface: "eth1"}, To: topology.End{Node: "spine1", Interface: "eth3"}}, Weight: 3}
	return engine.Choice{Active: true, At: time.Unix(60, 0), Before: 0.6, After: 0.3, Target: 0.3, Moved: 0.25, Steered: 1,
		Changes: []steering.Change{{Key: demand.Key{From: "leaf1", To: "leaf2"}, After: []steering.Hop{hop}, Why: "w"}}}
}

func (d *devices) Matrix(time.Duration) load.Matrix { return d.matrix }

// What switches count reaches who measures, and what is measured is told.
func TestLoad(t *testing.T) {
	b := newBench(t)
	c := b.client()
	r := switchstate.Load{Clock: time.Hour, Full: true, Ports: []switchstate.PortLoad{{Name: "eth1", RxBytes: 1 << 60}}}
	a, err := c.ReportLoad(t.Context(), "leaf1", r)
	require.NoError(t, err)
	require.Equal(t, switchstate.LoadAnswer{Tunnels: true, Every: time.Second}, a)
	require.Equal(t, []switchstate.Load{r}, b.devices.loads)
	_, err = c.ReportLoad(t.Context(), "nobody", r)
	require.ErrorContains(t, err, "there is no node nobody")

	from, to := topology.End{Node: "leaf1", Interface: "eth1"}, topology.End{Node: "spine1", Interface: "eth2"}
	b.devices.load = engine.FabricLoad{Links: []load.LinkLoad{{From: from, To: to, Rate: 5e9, Capacity: 1e10, Utilisation: 0.5, Dropped: 3, Seen: true}},
		Shares: []load.Share{{Node: "spine1", Up: 5e9, Part: 1}}, Imbalances: []load.Imbalance{{Node: "leaf1", Max: 0.5, Mean: 0.5}}}
	got, err := c.FabricLoad(t.Context(), 10*time.Second)
	require.NoError(t, err)
	require.Equal(t, client.FabricLoad{Window: "10s", Links: []client.LinkLoad{{From: "leaf1:eth1", To: "spine1:eth2", Rate: 5e9, Capacity: 1e10, Utilisation: 0.5, Dropped: 3, Seen: true}},
		Shares: []client.Share{{Node: "spine1", Up: 5e9, Part: 1}}, Imbalances: []client.Imbalance{{Node: "leaf1", Max: 0.5, Mean: 0.5}}}, got)
	history, err := c.LoadHistory(t.Context(), "leaf1", "eth1", time.Minute)
	require.NoError(t, err)
	require.Equal(t, []client.LoadPoint{{Time: time.Unix(60, 0).UTC(), Rate: 8}}, history.Points)
	_, err = c.LoadHistory(t.Context(), "leaf1", "eth9", time.Minute)
	require.ErrorContains(t, err, "no agent has reported port eth9 of leaf1")
	_, err = c.LoadHistory(t.Context(), "leaf1", "eth1", 3*time.Second)
	require.ErrorContains(t, err, `resolution "3s" is not one of 1s, 10s, 1m, 5m`)
	_, err = c.FabricLoad(t.Context(), 0)
	require.ErrorContains(t, err, `window "0s" is not a time between 1s and 5h0m0s`)
}

// What the optimiser did last is told.
func TestChoice(t *testing.T) {
	got, err := newBench(t).client().Choice(t.Context())
	require.NoError(t, err)
	require.NotNil(t, got.At)
	require.Equal(t, []client.ChoiceChange{{From: "leaf1", To: "leaf2", Before: map[string]int{}, After: map[string]int{"eth1/spine1": 3}, Why: "w"}}, got.Changes)
	require.True(t, got.Active)
	require.InDelta(t, 0.3, got.After, 1e-9)
}

// The measured matrix comes as JSON and as the CSV that the simulator reads.
func TestMeasuredMatrix(t *testing.T) {
	b := newBench(t)
	c := b.client()
	b.devices.matrix = load.Matrix{Cells: []load.Cell{
		{Key: demand.Key{From: "leaf1", To: "leaf2", Tenant: "blue"}, Rate: 2e6 + 0.3, Leaves: map[string]map[string]float64{"leaf1": {"eth1": 1.5e6, "eth2": 0.5e6}}},
	}, Missing: map[string]string{"leaf2": "its agent does not report"}}
	got, err := c.Matrix(t.Context(), time.Minute)
	require.NoError(t, err)
	require.Equal(t, []client.Cell{{From: "leaf1", To: "leaf2", Tenant: "blue", Rate: 2e6 + 0.3, By: map[string]float64{"leaf1:eth1": 1.5e6, "leaf1:eth2": 0.5e6}}}, got.Cells)
	require.Equal(t, []client.Volume{{Tenant: "blue", Rate: 2e6 + 0.3}}, got.Tenants)
	require.Equal(t, map[string]string{"leaf2": "its agent does not report"}, got.Missing)
	csv, err := c.MatrixCSV(t.Context(), time.Minute)
	require.NoError(t, err)
	require.Equal(t, "from,to,tenant,flows,rate\nleaf1,leaf2,blue,,2M\n", string(csv))
	_, err = demand.Parse(csv, "measured", func(string) error { return nil })
	require.NoError(t, err)
	_, err = c.Matrix(t.Context(), time.Hour)
	require.ErrorContains(t, err, "is not a time between 1s and 5m0s")
}
