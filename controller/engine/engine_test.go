package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// source is a store of test objects: one snapshot and a channel of batches. A
// nil batch breaks the watch as compaction does.
type source struct {
	mu      sync.Mutex
	objects []intent.Object
	broken  *store.BrokenError
	rev     int64
	batches chan []store.Event
}

func (s *source) Snapshot(context.Context) ([]intent.Object, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return append([]intent.Object(nil), s.objects...), s.rev, s.broken
	}
	return append([]intent.Object(nil), s.objects...), s.rev, nil
}

func (s *source) Watch(ctx context.Context, _ int64) iter.Seq2[[]store.Event, error] {
	return func(yield func([]store.Event, error) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case b := <-s.batches:
				if b == nil {
					yield(nil, store.ErrCompacted)
					return
				}
				if !yield(b, nil) {
					return
				}
			}
		}
	}
}

// edge is a driver whose device confirms all it is told while it is up.
type edge struct {
	node string
	feed southbound.Feed
	poke chan struct{}

	mu       sync.Mutex
	ifaces   []overlay.Interface
	down     error
	ports    map[intent.Ref]overlay.LocalPort
	cursors  map[intent.VNI]evpn.Revision
	rows     map[intent.VNI]map[evpn.Key]netip.Addr
	withdrew bool
	spoke    []intent.Ref
	awaits   bool // it keeps things for single edges, and looks at who has not reported
	away     overlay.Away
	wakes    int
	colour   int  // of VNI 100
	bridges  bool // it does not route: it reads the tables of its ports' networks only
}

// Announce speaks for a port.
func (d *edge) Announce(p overlay.LocalPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spoke = append(d.spoke, p.Port)
}

func (d *edge) Run(ctx context.Context) error {
	for {
		d.step()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.poke:
		case <-d.feed.Wake():
			d.mu.Lock()
			d.wakes, d.colour = d.wakes+1, d.feed.Colouring().Colour(100)
			d.mu.Unlock()
		}
	}
}

func (d *edge) step() {
	d.mu.Lock()
	down, ifaces, bridges := d.down, d.ifaces, d.bridges
	d.mu.Unlock()
	if down != nil {
		d.mu.Lock()
		clear(d.cursors)
		d.ports = map[intent.Ref]overlay.LocalPort{}
		clear(d.rows)
		d.mu.Unlock()
		d.feed.Confirmed()
		return
	}
	d.feed.Observe(ifaces)
	d.mu.Lock()
	if d.awaits {
		d.away = d.feed.Unreported(true)
	}
	d.mu.Unlock()
	local := d.feed.Local()
	vnis := map[intent.VNI]bool{}
	for _, p := range local {
		vnis[p.VNI] = true
		for _, v := range p.Reads() {
			vnis[v] = vnis[v] || overlay.IsVNI(v) && !bridges
		}
	}
	maps.DeleteFunc(vnis, func(_ intent.VNI, yes bool) bool { return !yes })
	for v := range vnis {
		d.mu.Lock()
		at := d.cursors[v]
		d.mu.Unlock()
		rows, rev := d.feed.Rows(v, at)
		d.mu.Lock()
		if d.rows[v] == nil {
			d.rows[v] = map[evpn.Key]netip.Addr{}
		}
		for _, r := range rows {
			if r.Deleted {
				delete(d.rows[v], r.Key)
			} else {
				d.rows[v][r.Key] = r.VTEP
			}
		}
		d.cursors[v] = rev
		d.mu.Unlock()
	}
	d.mu.Lock()
	d.ports = local
	for v := range d.cursors {
		if !vnis[v] {
			delete(d.cursors, v)
			delete(d.rows, v)
		}
	}
	d.mu.Unlock()
	d.feed.Confirmed()
}

func (d *edge) set(f func()) {
	d.mu.Lock()
	f()
	d.mu.Unlock()
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

func (d *edge) Status() southbound.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down != nil {
		return southbound.Status{Err: &southbound.OpError{Device: d.node, Op: "connect", Code: southbound.CodeUnreachable, Err: d.down}}
	}
	return southbound.Status{Synced: true}
}

func (d *edge) Programmed(r intent.Ref) (overlay.LocalPort, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.ports[r]
	return p, ok
}

func (d *edge) Cursor(v intent.VNI) (evpn.Revision, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.cursors[v]
	return c, ok
}

func (d *edge) Cursors() map[intent.VNI]evpn.Revision {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[intent.VNI]evpn.Revision{}
	for v, c := range d.cursors {
		out[v] = c
	}
	return out
}

func (d *edge) Withdraw(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.withdrew = true
	return nil
}

// bed is an engine with edges that the test moves.
type bed struct {
	*Engine
	t     *testing.T
	src   *source
	mu    sync.Mutex
	edges map[string]*edge
	rev   int64
}

func newBed(t *testing.T, objects ...intent.Object) *bed { return newBedWith(t, nil, objects...) }

// newBedWith lets the test change the engine's configuration.
func newBedWith(t *testing.T, change func(*Config), objects ...intent.Object) *bed {
	b := &bed{t: t, src: &source{objects: objects, rev: 1, batches: make(chan []store.Event, 100)}, edges: map[string]*edge{}, rev: 1}
	for _, o := range objects {
		o.Meta().Revision = 1
	}
	config := Config{Source: b.src, NewDriver: func(n *intent.Node, f southbound.Feed) southbound.Driver {
		b.mu.Lock()
		defer b.mu.Unlock()
		d := &edge{node: n.Metadata.Name, feed: f, poke: make(chan struct{}, 1), ports: map[intent.Ref]overlay.LocalPort{},
			cursors: map[intent.VNI]evpn.Revision{}, rows: map[intent.VNI]map[evpn.Key]netip.Addr{}}
		if old := b.edges[d.node]; old != nil {
			d.ifaces, d.down = old.ifaces, old.down
		}
		b.edges[d.node] = d
		return d
	}}
	if change != nil {
		change(&config)
	}
	b.Engine = New(config)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	b.until("loaded", func() bool { return b.Ready() == nil })
	return b
}

func (b *bed) edge(n string) *edge {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.edges[n]
}

func (b *bed) put(o intent.Object) {
	b.rev++
	o.Meta().Revision = b.rev
	b.src.batches <- []store.Event{{Ref: o.Ref(), Object: o, Revision: b.rev}}
}

func (b *bed) del(r intent.Ref) {
	b.rev++
	b.src.batches <- []store.Event{{Ref: r, Revision: b.rev}}
}

func (b *bed) until(what string, ok func() bool) {
	b.t.Helper()
	require.Eventually(b.t, ok, time.Minute, time.Millisecond, what)
}

func (b *bed) untilPhase(o intent.Object, p intent.Phase) *intent.Status {
	b.t.Helper()
	b.until(fmt.Sprint(o.Ref(), " is ", p), func() bool { s := b.Status(o); return s != nil && s.Phase == p })
	return b.Status(o)
}

func hv(i int) *intent.Node {
	return &intent.Node{Metadata: intent.Metadata{Name: fmt.Sprintf("hv%d", i)}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor,
		VTEP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), VSwitch: &intent.VSwitch{OVSDB: fmt.Sprintf("tcp:127.0.0.%d:6640", i)}}}
}

func web() *intent.Network {
	return &intent.Network{Metadata: intent.Metadata{Name: "web", Tenant: "t"}, Spec: intent.NetworkSpec{VNI: 100}}
}

func vm(i int) *intent.Port {
	return &intent.Port{Metadata: intent.Metadata{Name: fmt.Sprintf("vm%d", i), Tenant: "t"}, Spec: intent.PortSpec{Network: "web",
		Binding: intent.Binding{IfaceID: fmt.Sprintf("vm%d", i)}, MAC: intent.MAC{2, 0, 0, 0, 0, byte(i)}}}
}

func tap(i int) []overlay.Interface {
	return []overlay.Interface{{Name: fmt.Sprintf("tap%d", i), IfaceID: fmt.Sprintf("vm%d", i), OFPort: uint32(i)}}
}

func TestReadyOnlyWhenAllEdgesConfirmed(t *testing.T) {
	p1, p2, n := vm(1), vm(2), web()
	b := newBed(t, hv(1), hv(2), n, p1)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.untilPhase(p1, intent.PhaseReady)

	b.put(p2)
	st := b.untilPhase(p2, intent.PhasePending)
	b.until("not plugged", func() bool { return b.Status(p2).Reasons[0].Code == "NotPlugged" })
	require.Zero(t, st.Applied)
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	st = b.untilPhase(p2, intent.PhaseReady)
	require.Equal(t, p2.Metadata.Revision, st.Applied)
	require.Equal(t, "hv2", st.Node)
	b.until("the network is ready", func() bool { return b.Status(n).Phase == intent.PhaseReady && len(b.Status(n).VTEPs) == 2 })
	d1 := b.edge("hv1")
	d1.mu.Lock()
	defer d1.mu.Unlock()
	require.Equal(t, netip.MustParseAddr("10.0.0.2"), d1.rows[100][evpn.MACKey(p2.Spec.MAC)])
}

func TestUnreachableEdgeHoldsBackOnlyItsOwn(t *testing.T) {
	p1, p2 := vm(1), vm(2)
	b := newBed(t, hv(1), hv(2), web(), p1, p2)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").down = errors.New("connection refused") })
	b.untilPhase(p1, intent.PhaseReady)
	b.until("the reason names hv2", func() bool {
		st := b.Status(p2)
		return len(st.Reasons) == 2 && st.Reasons[1].Device == "hv2" && st.Reasons[1].Message == "connect: connection refused"
	})
	b.edge("hv2").set(func() { b.edge("hv2").down = nil; b.edge("hv2").ifaces = tap(2) })
	b.untilPhase(p2, intent.PhaseReady)

	// Lost later: its port's flows can't be confirmed, the others' ports are
	// degraded but in place.
	b.edge("hv2").set(func() { b.edge("hv2").down = errors.New("timed out") })
	b.untilPhase(p2, intent.PhasePending)
	st := b.untilPhase(p1, intent.PhaseDegraded)
	require.Equal(t, p1.Metadata.Revision, st.Applied)
	d1 := b.edge("hv1")
	d1.mu.Lock()
	require.Contains(t, d1.rows[100], evpn.MACKey(p2.Spec.MAC), "an edge that can't be reached keeps its rows")
	d1.mu.Unlock()
}

func TestCompactionReloadsAndForgetsWhatIsGone(t *testing.T) {
	p1, p2 := vm(1), vm(2)
	b := newBed(t, hv(1), hv(2), web(), p1, p2)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	b.untilPhase(p2, intent.PhaseReady)
	before := b.edge("hv1")
	b.src.mu.Lock()
	b.src.objects, b.src.rev = []intent.Object{hv(1), hv(2), web(), p1}, 9
	for _, o := range b.src.objects {
		o.Meta().Revision = 1
	}
	b.src.mu.Unlock()
	b.src.batches <- nil
	b.until("vm2 is gone", func() bool {
		d := b.edge("hv1")
		d.mu.Lock()
		defer d.mu.Unlock()
		_, has := d.rows[100][evpn.MACKey(p2.Spec.MAC)]
		return !has && len(d.ports) == 1
	})
	require.Same(t, before, b.edge("hv1"), "unchanged nodes keep their sessions")
}

func TestNodeThatLeavesIsCleanedAndMayComeBack(t *testing.T) {
	p1 := vm(1)
	b := newBed(t, hv(1), web(), p1)
	first := b.edge("hv1")
	first.set(func() { first.ifaces = tap(1) })
	b.untilPhase(p1, intent.PhaseReady)
	b.del(hv(1).Ref())
	b.until("withdrawn", func() bool { first.mu.Lock(); defer first.mu.Unlock(); return first.withdrew })
	b.untilPhase(p1, intent.PhasePending)
	b.put(hv(1))
	b.untilPhase(p1, intent.PhaseReady)
	require.NotSame(t, first, b.edge("hv1"))
}

func TestUnreportedEdgesAreTold(t *testing.T) {
	b := newBed(t, hv(1), hv(2), web())
	d := b.edge("hv1")
	b.until("both reported", func() bool { return d.feed.Unreported(false).None() })
	b.put(hv(3))
	b.until("hv3 reported", func() bool { return b.edge("hv3") != nil && d.feed.Unreported(false).None() })
}

func TestRingKeepsTheNewest(t *testing.T) {
	r := newRing(3)
	for i := range 5 {
		r.add(southbound.Event{Message: fmt.Sprint(i)})
	}
	var got []string
	for _, e := range r.list() {
		got = append(got, e.Message)
	}
	require.Equal(t, []string{"2", "3", "4"}, got)
}
