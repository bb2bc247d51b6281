package sim_test

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/sim"
	"github.com/weft-sdn/weft/overlay"
)

// golden reads sections of the pipeline's golden file.
func golden(t *testing.T, sections ...string) []string {
	b, err := os.ReadFile("../../southbound/vswitch/testdata/flows.golden")
	require.NoError(t, err)
	var out []string
	found, in := 0, false
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if title, ok := strings.CutPrefix(l, "# "); ok {
			title, _, _ = strings.Cut(title, ": ")
			if in = slices.Contains(sections, title); in {
				found++
			}
		} else if in {
			out = append(out, l)
		}
	}
	require.Equal(t, len(sections), found, "sections %q", sections)
	return out
}

// wanted are the flows that follow from newFeed.
func wanted(t *testing.T) []string {
	w := golden(t, "every bridge", "a network with a local port", "a local port with IPv4 and IPv6", "a local port without addresses (L2)",
		"a MAC elsewhere", "an IPv4 address anywhere", "an IPv6 address anywhere", "replication to two ports and two VTEPs")
	w = append(w,
		"cookie=0x7ef700000a000064,table=40,priority=100,metadata=0x64,eth_dst=02:00:00:00:00:0a actions=set_field:0x64->tun_id,set_field:fd00::2->tun_ipv6_dst,output:65000",
		// A local port's addresses are answered for, too.
		"cookie=0x7ef7000001000064,table=20,priority=100,metadata=0x64,eth_type=0x806,arp_op=1,arp_tpa=192.168.0.1 actions="+strings.ReplaceAll(strings.ReplaceAll(answer(t, "an IPv4 address anywhere"), "00:09", "00:01"), "0.9", "0.1"),
		"cookie=0x7ef7000001000064,table=21,priority=100,metadata=0x64,eth_type=0x86dd,ip_proto=58,icmpv6_type=135,nd_target=fd00::1 actions="+strings.ReplaceAll(strings.ReplaceAll(answer(t, "an IPv6 address anywhere"), "00:09", "00:01"), "fd00::9", "fd00::1"))
	slices.Sort(w)
	return w
}

func answer(t *testing.T, section string) string {
	_, actions, ok := strings.Cut(golden(t, section)[0], " actions=")
	require.True(t, ok)
	return actions
}

func start(t *testing.T, n int) *sim.Farm {
	f, err := sim.Start(n)
	require.NoError(t, err)
	t.Cleanup(f.Close)
	return f
}

// The real driver programs a simulated edge, and the result is the pipeline's.
func TestDriverProgramsAnEdge(t *testing.T) {
	farm := start(t, 3)
	e := farm.Edge(2)
	e.Plug("a", "b")
	at := farm.VSwitch(2)
	f := newFeed(at)
	d, stop := drive(t, f, at)
	want := wanted(t)
	settled(t, d, func() int { return e.Stats().Flows }, len(want))
	require.Equal(t, want, flows(t, at.OpenFlow))
	s := e.Stats()
	require.Equal(t, "Open vSwitch 3.1.0", d.Status().Software)
	require.Equal(t, []int{1, 1, 0}, []int{s.OVSDBConnects, s.Transactions, s.Refused}, "one transaction makes tunnel and listener")
	require.GreaterOrEqual(t, s.FlowMods, len(want))
	require.EqualValues(t, 2, s.Tables[40])
	require.EqualValues(t, 2, farm.Flows(40))
	require.Zero(t, farm.Edge(0).Stats().OVSDBConnects, "nobody asked for another edge")
	stop()

	t.Run("a controller that comes back writes nothing", func(t *testing.T) {
		before := e.Stats()
		d, stop := drive(t, newFeed(at), at)
		defer stop()
		settled(t, d, func() int { return e.Stats().Flows }, len(want))
		eventually(t, "two connections", func() bool { return e.Stats().OpenFlowConnects > before.OpenFlowConnects })
		after := e.Stats()
		require.Equal(t, before.FlowMods, after.FlowMods)
		require.Equal(t, before.Transactions, after.Transactions)
		require.Equal(t, before.Sum, after.Sum)
	})
}

// What an edge is told to do, the real driver meets.
func TestWhatEdgesDo(t *testing.T) {
	farm := start(t, 1)
	e, at := farm.Edge(0), farm.VSwitch(0)
	f := newFeed(at)
	d, _ := drive(t, f, at)
	eventually(t, "in sync", func() bool { return inSync(d) })
	base := e.Stats().Flows
	e.Plug("a", "b")
	want := wanted(t)
	flowCount := func() int { return e.Stats().Flows }
	settled(t, d, flowCount, len(want))
	full := e.Stats()

	t.Run("an interface goes and comes back", func(t *testing.T) {
		e.Unplug("a", "b", "nothing")
		settled(t, d, flowCount, base)
		e.Plug("a") // numbers are given again, the lowest first
		e.Unplug("a")
		e.Plug("b", "a")
		eventually(t, "all flows", func() bool { return e.Stats().Flows == full.Flows })
		require.Equal(t, 2, e.Plugged())
		e.Unplug("a", "b")
		settled(t, d, flowCount, base)
		e.Plug("a", "b")
		eventually(t, "the same flows", func() bool { return e.Stats().Sum == full.Sum })
	})
	t.Run("connections end: nothing is written", func(t *testing.T) {
		before := e.Stats()
		e.Drop()
		eventually(t, "again", func() bool {
			s := e.Stats()
			return s.OpenFlowConnects > before.OpenFlowConnects && s.Dumps > before.Dumps && inSync(d)
		})
		require.Equal(t, before.FlowMods, e.Stats().FlowMods)
	})
	t.Run("back without flows: all are written again", func(t *testing.T) {
		before := e.Stats()
		e.SetDown(true)
		e.Empty()
		require.Zero(t, e.Stats().Flows)
		require.Zero(t, farm.Flows(40))
		e.SetDown(false)
		eventually(t, "the same flows", func() bool { return e.Stats().Sum == full.Sum && inSync(d) })
		require.Equal(t, before.FlowMods+len(want), e.Stats().FlowMods)
	})
	t.Run("stuck: nothing is read until it goes on", func(t *testing.T) {
		e.Stick(true)
		before := e.Stats()
		f.change(func(m *overlay.Model) {
			m.Observe("hv2", []overlay.Interface{{Name: "c", IfaceID: "c", OFPort: 1}, {Name: "x", IfaceID: "x", OFPort: 2}})
			m.Put(port("x", 11))
		})
		require.Never(t, func() bool { return e.Stats().FlowMods != before.FlowMods }, 50*time.Millisecond, 5*time.Millisecond)
		e.Stick(false)
		eventually(t, "one more flow", func() bool { return e.Stats().Flows == full.Flows+1 })
	})
	t.Run("slow: each message waits", func(t *testing.T) {
		var seen atomic.Int64
		farm.Observe(func(c sim.Commit) {
			for _, m := range c.Mods {
				if m.Delete && m.Table == 40 && m.Cookie == 0x7ef700000b000064 {
					seen.Store(c.At.UnixNano())
				}
			}
		})
		defer farm.Observe(nil)
		e.Slow(20 * time.Millisecond)
		began := time.Now()
		f.change(func(m *overlay.Model) { m.Delete(intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: "x"}) })
		eventually(t, "observed", func() bool { return seen.Load() != 0 })
		// Open, one flow-mod, barrier, commit; the first was waited for already.
		require.GreaterOrEqual(t, time.Duration(seen.Load()-began.UnixNano()), 60*time.Millisecond)
		e.Slow(0)
		eventually(t, "the same flows", func() bool { return e.Stats().Sum == full.Sum })
	})
	require.Zero(t, e.Stats().Refused)
}

// A controller starts again, and an edge reports just after the rows of its
// segment were read for another: that one's flows for it stay as they are.
func TestReportWhileADeviceIsReadChangesNothing(t *testing.T) {
	farm := start(t, 1)
	e := farm.Edge(0)
	e.Plug("a", "b")
	at := farm.VSwitch(0)
	f := newFeed(at)
	d, stop := drive(t, f, at)
	settled(t, d, func() int { return e.Stats().Flows }, len(wanted(t)))
	stop()
	before := e.Stats()

	f = newFeed(at)
	f.model = overlay.NewModel()
	fill(f.model, at)
	f.read = func(m *overlay.Model) { plug(m, "hv2", "c") }
	plug(f.model, "hv3", "d")
	d, stop = drive(t, f, at)
	eventually(t, "the edge is in sync", func() bool { return inSync(d) })
	f.change(func(*overlay.Model) {})
	eventually(t, "all rows are confirmed", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		_, newer := f.model.Behind("hv1", d.Cursors())
		return inSync(d) && len(newer) == 0 && f.read == nil
	})
	stop()
	require.Equal(t, before.FlowMods, e.Stats().FlowMods, "flows were written")
	require.Equal(t, before.Flows, e.Stats().Flows)
}
