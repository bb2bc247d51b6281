package load_test

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/load"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	vtep1 = netip.MustParseAddr("10.254.0.1")
	vtep3 = netip.MustParseAddr("10.254.0.3")
)

// box is a switch that counts.
type box struct {
	meter *load.Meter
	node  string
	clock time.Duration
	state switchstate.Load
}

func newBox(m *load.Meter, node string, ports ...string) *box {
	b := &box{meter: m, node: node, clock: 77 * time.Hour}
	for _, p := range ports {
		b.state.Ports = append(b.state.Ports, switchstate.PortLoad{Name: p, TxBytes: 1e9, RxBytes: 1e9})
	}
	return b
}

// tell reports at a time since start, everything.
func (b *box) tell(at time.Duration) bool {
	r := b.state
	r.Full, r.Counts, r.Clock = true, true, b.clock+at
	return b.meter.Take(b.node, start.Add(at), r)
}

var wire = load.Link{A: topology.End{Node: "leaf1", Interface: "eth1"}, B: topology.End{Node: "spine1", Interface: "eth1"}, Capacity: 80e6}

// A link that carries 1 MB a second for ten seconds and 5 MB a second for ten more is
// told so by each window, and both directions from whichever end reports.
func TestRatesOfALink(t *testing.T) {
	m := load.New(load.DefaultLimits(), start)
	leaf := newBox(m, "leaf1", "eth1", "eth2")
	leaf.tell(0)
	for s := 1; s <= 20; s++ {
		leaf.state.Ports[0].TxBytes += map[bool]uint64{true: 1e6, false: 5e6}[s <= 10]
		leaf.state.Ports[0].RxBytes += 2e6
		leaf.tell(time.Duration(s) * time.Second)
	}
	now := start.Add(20 * time.Second)
	for _, c := range []struct {
		window time.Duration
		want   float64
	}{{time.Second, 40e6}, {10 * time.Second, 40e6}, {20 * time.Second, 24e6}, {time.Minute, 24e6}} {
		got := m.Links(now, []load.Link{wire}, c.window)
		require.InEpsilon(t, c.want, got[0].Rate, 1e-3, "%s", c.window)
		require.InEpsilon(t, c.want/80e6, got[0].Utilisation, 1e-3)
		require.InEpsilon(t, 16e6, got[1].Rate, 1e-3, "the spine does not report: what the leaf received")
		require.True(t, got[0].Seen && got[1].Seen)
		require.Equal(t, wire.B, got[1].From)
	}
	points, ok := m.History(wire.A, time.Second)
	require.True(t, ok)
	require.Len(t, points, 19, "whole seconds since counting began")
	require.InEpsilon(t, 8e6, points[0].Rate, 1e-3)
	require.InEpsilon(t, 40e6, points[18].Rate, 1e-3)
	_, ok = m.History(topology.End{Node: "leaf9", Interface: "eth1"}, time.Second)
	require.False(t, ok)

	later := m.Links(now.Add(time.Minute), []load.Link{wire}, time.Second)
	require.False(t, later[0].Seen, "the switch has been silent for a minute: nothing is known")
	require.Zero(t, later[0].Rate)
}

// The first report is no traffic, a counter that falls began at zero, and a switch that
// was silent for long begins anew.
func TestCountersThatBeginAnew(t *testing.T) {
	m := load.New(load.DefaultLimits(), start)
	leaf := newBox(m, "leaf1", "eth1")
	rate := func(at time.Duration) float64 {
		return m.Links(start.Add(at), []load.Link{wire}, 4*time.Second)[0].Rate
	}
	leaf.tell(0)
	require.Zero(t, rate(0))
	for s := 1; s <= 4; s++ {
		leaf.state.Ports[0].TxBytes += 1e6
		leaf.tell(time.Duration(s) * time.Second)
	}
	require.InEpsilon(t, 8e6, rate(4*time.Second), 1e-3)
	leaf.state.Ports[0].TxBytes = 1e6 // restarted, and counted a second
	leaf.tell(5 * time.Second)
	require.InEpsilon(t, 8e6, rate(5*time.Second), 1e-3)
	leaf.state.Ports[0].TxBytes += 1e12 // while nobody heard it
	leaf.tell(40 * time.Second)
	require.Zero(t, rate(40*time.Second))
	r := leaf.state
	r.Clock = time.Hour
	require.True(t, m.Take("leaf2", start, r), "nothing is known of it: all tunnels are asked for")
	r.Full = true
	require.False(t, m.Take("leaf2", start, r))
	r.Full, r.Counts = false, true
	require.True(t, m.Take("leaf2", start.Add(time.Second), r), "it counts tunnels now: all of them are asked for")
}

// What a port sent is in the buckets, all of it and once, whenever reports come, however
// late, with some of them lost, and with counters that begin anew.
func TestNothingIsLostOrDoubled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := load.New(load.DefaultLimits(), start)
		leaf := newBox(m, "leaf1", "eth1")
		leaf.tell(0)
		leaf.tell(2 * time.Second)
		sent, at, restarted := 0.0, 2*time.Second, false
		for range rapid.IntRange(1, 25).Draw(t, "reports") {
			at += time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond
			bytes := rapid.Uint64Range(0, 1e7).Draw(t, "bytes")
			sent += float64(bytes)
			leaf.state.Ports[0].TxBytes += bytes
			if rapid.IntRange(0, 3).Draw(t, "lost") == 0 {
				continue
			}
			leaf.clock = 77*time.Hour - time.Duration(rapid.IntRange(0, 300).Draw(t, "delay"))*time.Millisecond
			leaf.tell(at)
			if !restarted && rapid.IntRange(0, 5).Draw(t, "restart") == 0 {
				restarted, leaf.state.Ports[0].TxBytes = true, 0 // from 1 GB: it can't be there again soon
			}
		}
		for range 4 {
			at += time.Second
			leaf.tell(at)
		}
		points, ok := m.History(wire.A, time.Second)
		if !ok {
			t.Fatal("the port is not known")
		}
		sum := 0.0
		for _, p := range points {
			if p.Rate < 0 {
				t.Fatalf("%v at %s", p.Rate, p.Time)
			}
			sum += p.Rate / 8
		}
		if math.Abs(sum-sent) > 1+1e-5*sent {
			t.Fatalf("sent %.0f bytes, the buckets have %.0f", sent, sum)
		}
	})
}

// The matrix has what left by uplinks, by VTEP and tenant, each leaf's own.
func TestMatrix(t *testing.T) {
	m := load.New(load.DefaultLimits(), start)
	leaf := newBox(m, "leaf1", "eth1", "eth2")
	far := newBox(m, "leaf3", "eth1")
	nobody := netip.MustParseAddr("192.0.2.1")
	leaf.state.Tunnels = []switchstate.Tunnelled{
		{Port: "eth1", From: vtep1, To: vtep3, VNI: 100, Bytes: 5e9},
		{Port: "eth2", From: vtep1, To: vtep3, VNI: 100, Bytes: 5e9},
	}
	far.state.Tunnels = []switchstate.Tunnelled{{Port: "eth9", From: vtep1, To: vtep3, VNI: 100, Bytes: 1e9}}
	leaf.tell(0)
	far.tell(0)
	for s := 1; s <= 5; s++ {
		leaf.state.Tunnels[0].Bytes += 1e6
		leaf.state.Tunnels[1].Bytes += 3e6
		leaf.state.Tunnel += 4e6
		far.state.Tunnels[0].Bytes += 4e6 // on to a host: not by an uplink
		if s == 3 {
			leaf.state.Tunnels = append(leaf.state.Tunnels, switchstate.Tunnelled{Port: "eth1", From: vtep1, To: vtep3, VNI: 200, Bytes: 3e6},
				switchstate.Tunnelled{Port: "eth1", From: vtep1, To: nobody, VNI: 200, Bytes: 6e6})
			leaf.state.Tunnel += 15e6 // 6 MB had no room
		}
		leaf.tell(time.Duration(s) * time.Second)
		far.tell(time.Duration(s) * time.Second)
	}
	f := load.Fabric{Leaves: []string{"leaf1", "leaf2", "leaf3"}}
	f.VTEP = func(a netip.Addr) (string, bool) {
		name, ok := map[netip.Addr]string{vtep1: "leaf1", vtep3: "leaf3"}[a]
		return name, ok
	}
	f.Tenant = func(v intent.VNI) string { return map[intent.VNI]string{100: "blue", 200: "red"}[v] }
	f.Uplink = func(_, port string) bool { return port == "eth1" || port == "eth2" }
	now := start.Add(5 * time.Second)
	got := m.Matrix(now, f, 3*time.Second)
	require.Len(t, got.Cells, 2)
	blue, red := got.Cells[0], got.Cells[1]
	require.Equal(t, demand.Key{From: "leaf1", To: "leaf3", Tenant: "blue"}, blue.Key)
	require.InEpsilon(t, 32e6, blue.Rate, 1e-3)
	require.InEpsilon(t, 24e6, blue.Leaves["leaf1"]["eth2"], 1e-3)
	require.Equal(t, "red", red.Tenant)
	require.InEpsilon(t, 8e6, red.Rate, 1e-3, "it came while counting went on: all of it counts")
	require.InEpsilon(t, 16e6, got.Unknown, 1e-3)
	require.Equal(t, []netip.Addr{nobody}, got.Addresses)
	require.InEpsilon(t, 16e6, got.Uncounted, 1e-3)
	require.Equal(t, map[string]string{"leaf2": "its agent does not report"}, got.Missing)
	require.InEpsilon(t, 40e6, got.Total(), 1e-3)
	require.Equal(t, "blue", got.Tenants()[0].Tenant)
	d, err := got.Demand(func(string) bool { return true })
	require.NoError(t, err)
	require.Len(t, d.Demands, 2)
	d, err = got.Demand(func(string) bool { return false })
	require.NoError(t, err)
	require.Len(t, d.Demands, 1)
	require.InEpsilon(t, 40e6, d.Demands[0].Rate, 1e-3)
}

// No more tunnels are kept than there is room for, what has none is told, and idle ones
// make room.
func TestTunnelsAreBounded(t *testing.T) {
	m := load.New(load.Limits{Ports: 1, Tunnels: 2}, start)
	leaf := newBox(m, "leaf1", "eth1", "eth2")
	leaf.tell(0)
	for vni := range intent.VNI(3) {
		leaf.state.Tunnels = append(leaf.state.Tunnels, switchstate.Tunnelled{Port: "eth1", From: vtep1, To: vtep3, VNI: vni + 1, Bytes: 1e6})
	}
	leaf.state.Tunnel = 3e6
	leaf.tell(time.Second)
	f := load.Fabric{Leaves: []string{"leaf1"}, Tenant: func(v intent.VNI) string { return "t" + string(rune('0'+v)) }, Uplink: func(_, _ string) bool { return true },
		VTEP: func(a netip.Addr) (string, bool) { return a.String(), true }}
	got := m.Matrix(start.Add(time.Second), f, time.Second)
	require.Len(t, got.Cells, 2)
	require.InEpsilon(t, 8e6, got.Uncounted, 1e-3)
	require.False(t, m.Links(start.Add(time.Second), []load.Link{{A: topology.End{Node: "leaf1", Interface: "eth2"}}}, time.Second)[0].Seen)

	for s := 2; s < 3600; s++ {
		leaf.state.Tunnels[2].Bytes += 1e6
		leaf.state.Tunnel += 1e6
		leaf.tell(time.Duration(s) * time.Second)
	}
	m.Trim(start.Add(time.Hour))
	leaf.state.Tunnels = leaf.state.Tunnels[2:]
	leaf.tell(time.Hour)
	leaf.state.Tunnels[0].Bytes += 1e6
	leaf.state.Tunnel += 1e6
	leaf.tell(time.Hour + time.Second)
	got = m.Matrix(start.Add(time.Hour+time.Second), f, time.Second)
	require.Len(t, got.Cells, 1)
	require.Equal(t, "t3", got.Cells[0].Tenant)
	require.Zero(t, got.Uncounted)
}

// Shares and imbalance follow from the links.
func TestSharesAndImbalance(t *testing.T) {
	tier := func(node string) int { return map[byte]int{'l': 0, 's': 1}[node[0]] }
	end := func(node string) topology.End { return topology.End{Node: node, Interface: "eth1"} }
	up := func(leaf, spine string, rate, capacity float64) load.LinkLoad {
		return load.LinkLoad{From: end(leaf), To: end(spine), Rate: rate, Capacity: capacity, Utilisation: rate / capacity, Seen: true}
	}
	links := []load.LinkLoad{up("leaf1", "spine1", 60, 100), up("leaf1", "spine10", 20, 100), up("leaf2", "spine1", 10, 100), up("leaf2", "spine10", 10, 100), up("spine1", "leaf2", 30, 100)}
	got := load.Shares(links, tier)
	require.Equal(t, []load.Share{{"spine1", 70, 30, 0.7}, {"spine10", 30, 0, 0.3}}, got)
	uneven := load.Imbalances(links, tier)
	require.Len(t, uneven, 2)
	require.Equal(t, "leaf1", uneven[0].Node)
	require.InDelta(t, 0.6, uneven[0].Max, 1e-9)
	require.InDelta(t, 0.5, uneven[0].Excess, 1e-9)
	require.Zero(t, math.Round(1e9*uneven[1].Excess))
}
