package sim_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/sim"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/vswitch"
)

// manyEdges is a farm of edges that have one network, a port on each, and one
// model that all their drivers follow.
type manyEdges struct {
	*feed
	farm  *sim.Farm
	gates *vswitch.Gates
	feeds []*edgeFeed
	all   []*vswitch.Driver
}

// edgeFeed is what one edge's driver reads of the model.
type edgeFeed struct {
	*feed
	node string
	wake chan struct{}
}

func (f *edgeFeed) Wake() <-chan struct{} { return f.wake }

func (f *edgeFeed) Local() map[intent.Ref]overlay.LocalPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.model.Local(f.node)
}

func (f *edgeFeed) Behind(cursors map[intent.VNI]evpn.Revision) (uint64, []intent.VNI) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.model.Behind(f.node, cursors)
}

func (f *edgeFeed) Observe(i []overlay.Interface) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.model.Observe(f.node, i)
}

// change changes the model and wakes all drivers.
func (m *manyEdges) change(c func(*overlay.Model)) {
	m.feed.change(c)
	for _, f := range m.feeds {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// newManyEdges has all edges report before their drivers begin.
func newManyEdges(t *testing.T, n int) *manyEdges {
	m := &manyEdges{feed: &feed{wake: make(chan struct{}, 1), model: overlay.NewModel()}, farm: start(t, n), gates: vswitch.NewGates()}
	m.model.Put(&intent.Network{Metadata: intent.Metadata{Name: "web", Tenant: "t"}, Spec: intent.NetworkSpec{VNI: 100}})
	var nodes []*intent.Node
	for i := range n + 1 { // the last one is no edge of the farm
		p := port(fmt.Sprint("p", i), 0, fmt.Sprintf("192.168.%d.%d", i>>8, i&255))
		p.Spec.MAC = intent.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
		at := &intent.VSwitch{OVSDB: "unix:/nowhere"}
		if i < n {
			at = m.farm.VSwitch(i)
			m.farm.Edge(i).Plug(p.Metadata.Name)
		}
		nodes = append(nodes, node(fmt.Sprint("edge", i), netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String(), at))
		m.model.Put(nodes[i])
		m.model.Put(p)
		plug(m.model, nodes[i].Metadata.Name, p.Metadata.Name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, node := range nodes[:n] {
		f := &edgeFeed{feed: m.feed, node: node.Metadata.Name, wake: make(chan struct{}, 1)}
		d := vswitch.New(node, f, m.gates, slog.New(slog.DiscardHandler))
		m.feeds, m.all = append(m.feeds, f), append(m.all, d)
		wg.Go(func() { _ = d.Run(ctx) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return m
}

// await waits for what many drivers do together, on a machine that may have other
// work.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 3*time.Minute, 20*time.Millisecond, what)
}

// settled waits until all edges have confirmed the segment's present revision.
func (m *manyEdges) settled(t *testing.T) {
	t.Helper()
	await(t, "all edges have all rows", func() bool {
		m.mu.Lock()
		rev := m.model.Segment(100).Rev()
		m.mu.Unlock()
		for _, d := range m.all {
			if at, ok := d.Cursor(100); !ok || at != rev || !inSync(d) {
				return false
			}
		}
		return true
	})
}

// sums are the checksums of the edges' flows.
func (m *manyEdges) sums() (out []uint64) {
	for i := range m.farm.Len() {
		out = append(out, m.farm.Edge(i).Stats().Sum)
	}
	return out
}

// Whatever edges come back at once, with their flows or without: the flows of a
// segment's rows are made once for all of them, and one that has what it should
// is sent nothing.
func TestManyEdgesComeBackAtOnce(t *testing.T) {
	n := manyTogether
	m := newManyEdges(t, n)
	m.settled(t)
	require.EqualValues(t, 1, m.gates.Compiled(), "the segment's rows, for all edges that start")
	first := m.farm.Totals()
	require.EqualValues(t, n*n, m.farm.Flows(40), "each has a flow to each other, and to the one that is none of the farm")
	require.EqualValues(t, n*(n+1)+n, m.farm.Flows(20)-int64(n), "an answer for each address, the way past it for its own, and the last flow")

	dumps := m.farm.Totals().Dumps
	for i := range n {
		m.farm.Edge(i).Drop()
	}
	await(t, "all are read again", func() bool { return m.farm.Totals().Dumps >= dumps+int64(n) })
	m.settled(t)
	require.EqualValues(t, 1, m.gates.Compiled(), "nothing changed since")
	require.Equal(t, first.FlowMods, m.farm.Totals().FlowMods, "edges that have what they should get nothing")

	// One station goes meanwhile: its rows are made again once.
	sums := m.sums()
	for i := range n {
		m.farm.Edge(i).SetDown(true)
		m.farm.Edge(i).Empty()
	}
	await(t, "all drivers know", func() bool {
		for _, d := range m.all {
			if d.Status().Err == nil {
				return false
			}
		}
		return true
	})
	far := fmt.Sprint("edge", n)
	m.change(func(o *overlay.Model) { o.Observe(far, nil) })
	for i := range n {
		m.farm.Edge(i).SetDown(false)
	}
	m.settled(t)
	require.EqualValues(t, 2, m.gates.Compiled())
	require.EqualValues(t, n*(n-1), m.farm.Flows(40))
	dumps = m.farm.Totals().Dumps
	m.change(func(o *overlay.Model) { plug(o, far, fmt.Sprint("p", n)) })
	m.settled(t)
	require.Equal(t, sums, m.sums(), "and back: the same flows as at first")
	made := 2
	if m.farm.Totals().Dumps > dumps {
		made++ // edges that are read meanwhile, as on a loaded machine, share one more
	}
	require.LessOrEqual(t, m.gates.Compiled(), int64(made), "a change is read by cursor")
}

// Rows that change all the time while edges come back do not have them all make
// their own.
func TestManyEdgesComeBackWhileRowsChange(t *testing.T) {
	n := manyTogether / 5
	m := newManyEdges(t, n)
	m.settled(t)
	far, id := fmt.Sprint("edge", n), fmt.Sprint("p", n)
	sums, before, dumps := m.sums(), m.gates.Compiled(), m.farm.Totals().Dumps
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				m.change(func(o *overlay.Model) { o.Observe(far, nil) })
				m.change(func(o *overlay.Model) { plug(o, far, id) })
			}
		}
	}()
	for i := range n {
		m.farm.Edge(i).SetDown(true)
		m.farm.Edge(i).Empty()
		m.farm.Edge(i).SetDown(false)
	}
	await(t, "all are read again", func() bool { return m.farm.Totals().Dumps >= dumps+int64(n) })
	close(stop)
	<-done
	m.settled(t)
	t.Logf("%d edges came back, the segment's rows were made %d times", n, m.gates.Compiled()-before)
	if together {
		require.Less(t, m.gates.Compiled()-before, int64(n)/2)
	}
	require.Equal(t, sums, m.sums())
}

// An edge that answers nothing, and one that reads a message a second, delay no
// other: whatever changes, all others confirm it while these two have not, also
// edges that come back meanwhile.
func TestSlowEdgesDelayNoOther(t *testing.T) {
	const n = 40
	m := newManyEdges(t, n)
	m.settled(t)
	stuck, slow := m.farm.Edge(0), m.farm.Edge(1)
	stuck.Stick(true)
	slow.Slow(time.Second)
	before := []sim.Stats{stuck.Stats(), slow.Stats()}
	m.mu.Lock()
	was := m.model.Segment(100).Rev()
	m.mu.Unlock()
	for i := range 20 {
		far, id := fmt.Sprint("edge", n), fmt.Sprint("p", n)
		if i%2 == 0 {
			m.change(func(o *overlay.Model) { o.Observe(far, nil) })
		} else {
			m.change(func(o *overlay.Model) { plug(o, far, id) })
		}
		if i == 10 {
			for e := 2; e < n/2; e++ {
				m.farm.Edge(e).Drop()
			}
		}
		began := time.Now()
		others := manyEdges{feed: m.feed, all: m.all[2:]}
		others.settled(t)
		require.Less(t, time.Since(began), time.Minute)
	}
	for i, e := range []*sim.Edge{stuck, slow} {
		at, ok := m.all[i].Cursor(100)
		require.True(t, !ok || at < was+20, "it has not confirmed the last change")
		require.Less(t, e.Stats().FlowMods, before[i].FlowMods+20)
	}
	stuck.Stick(false)
	slow.Slow(0)
	m.settled(t)
	require.Equal(t, m.farm.Edge(2).Stats().Flows, stuck.Stats().Flows)
}
