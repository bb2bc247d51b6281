package engine

import (
	"context"
	"iter"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/overlay/evpn"
)

func brokenVM(i int, rev int64) *store.Broken {
	return &store.Broken{Object: vm(i).Ref(), Key: "/weft/v1/ports/t/" + vm(i).Metadata.Name, Revision: rev, Err: context.Canceled}
}

// TestBrokenObjectKeepsItsDevices: what was known of an object stays on the
// devices when the object breaks, over a new snapshot too, and an alarm names it
// until it is mended.
func TestBrokenObjectKeepsItsDevices(t *testing.T) {
	p1, p2 := vm(1), vm(2)
	b := newBed(t, hv(1), hv(2), web(), p1, p2)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	b.untilPhase(p2, intent.PhaseReady)
	b.rev++
	b.src.batches <- []store.Event{{Ref: p2.Ref(), Broken: brokenVM(2, b.rev), Revision: b.rev}}
	b.rev++
	b.src.batches <- []store.Event{{Broken: &store.Broken{Key: "/weft/v1/gadgets/g", Revision: b.rev}, Revision: b.rev}}
	b.until("alarms", func() bool { return len(b.Alarms()) == 2 })
	require.Equal(t, AlarmBroken, b.Alarms()[0].Reason)
	require.Equal(t, "Port t/vm2", b.Alarms()[0].Object)
	require.Contains(t, b.Alarms()[0].Message, "write it again, or delete it")
	require.Equal(t, "key /weft/v1/gadgets/g", b.Alarms()[1].Object)

	// The watch breaks, and the new snapshot lacks what is broken.
	b.src.mu.Lock()
	b.src.objects, b.src.rev = []intent.Object{hv(1), hv(2), web(), p1, vm(3)}, 9
	b.src.broken = &store.BrokenError{Objects: []*store.Broken{brokenVM(2, 2)}}
	for _, o := range b.src.objects {
		o.Meta().Revision = 1
	}
	b.src.mu.Unlock()
	b.src.batches <- nil
	b.until("the new snapshot", func() bool { return b.Status(vm(3)).Reasons[0].Code == "NotPlugged" })
	require.NoError(t, b.Ready())
	require.Len(t, b.Alarms(), 1, "the gadget is gone")
	d := b.edge("hv1")
	d.mu.Lock()
	require.Equal(t, netip.MustParseAddr("10.0.0.2"), d.rows[100][evpn.MACKey(p2.Spec.MAC)])
	d.mu.Unlock()
	require.Contains(t, b.edge("hv2").feed.Local(), p2.Ref())

	b.rev = 10
	b.put(p2)
	b.until("the alarm ended", func() bool { return len(b.Alarms()) == 0 })
	b.untilPhase(p2, intent.PhaseReady)
	b.src.batches <- []store.Event{{Ref: p2.Ref(), Broken: brokenVM(2, 12), Revision: 12}}
	b.until("broken again", func() bool { return len(b.Alarms()) == 1 })
	b.rev = 12
	b.del(p2.Ref())
	b.until("deleted", func() bool { return len(b.Alarms()) == 0 && len(b.edge("hv2").feed.Local()) == 0 })
}

// gated is a store whose next watch waits until the test lets it.
type gated struct {
	*store.Store
	watching chan int64
	gate     chan struct{}
}

func (g *gated) Watch(ctx context.Context, from int64) iter.Seq2[[]store.Event, error] {
	return func(yield func([]store.Event, error) bool) {
		select {
		case g.watching <- from:
		case <-ctx.Done():
			return
		}
		select {
		case <-g.gate:
		case <-ctx.Done():
			return
		}
		for batch, err := range g.Store.Watch(ctx, from) {
			if !yield(batch, err) {
				return
			}
		}
	}
}

// TestCompactedUnderAWatch: with the real store. What the watch was to bring is
// compacted away; the engine takes a new snapshot, misses nothing, and touches
// nothing else on the devices.
func TestCompactedUnderAWatch(t *testing.T) {
	s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer s.Close()
	write := func(objects ...intent.Object) {
		for _, o := range objects {
			o.Meta().Revision = 0
			_, err := s.Put(t.Context(), o, store.PutOptions{})
			require.NoError(t, err)
		}
	}
	p1, p2, p3 := vm(1), vm(2), vm(3)
	write(&intent.Tenant{Metadata: intent.Metadata{Name: "t"}}, hv(1), hv(2), web(), p1, p2)
	g := &gated{Store: s, watching: make(chan int64), gate: make(chan struct{})}
	b := newBedWith(t, func(c *Config) { c.Source = g })
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = append(tap(2), tap(3)...) })
	b.until("vm2 is served", func() bool { return len(b.edge("hv2").feed.Local()) == 1 })
	d1, d2 := b.edge("hv1"), b.edge("hv2")

	from := <-g.watching
	write(p3)
	_, err = s.Delete(t.Context(), p1.Ref(), store.DeleteOptions{})
	require.NoError(t, err)
	require.NoError(t, s.Compact(t.Context()))
	g.gate <- struct{}{} // this watch is too late
	again := <-g.watching
	require.Greater(t, again, from)
	g.gate <- struct{}{}
	b.until("vm3 is there and vm1 is not", func() bool {
		l := d2.feed.Local()
		return len(l) == 2 && len(d1.feed.Local()) == 0
	})
	require.Same(t, d1, b.edge("hv1"))
	require.Same(t, d2, b.edge("hv2"))
	d2.mu.Lock()
	require.False(t, d2.withdrew)
	d2.mu.Unlock()
	write(vm(4)) // and the watch goes on
	b.until("vm4", func() bool { return b.Status(vm(4)).Reasons[0].Code == "NotPlugged" })
	require.NoError(t, b.Ready())
}

// TestHealthDoesNotWaitForTheEngine: while much is loaded or changed, the checks
// answer all the same.
func TestHealthDoesNotWaitForTheEngine(t *testing.T) {
	e := New(Config{})
	e.mu.Lock() // as load does
	defer e.mu.Unlock()
	require.EqualError(t, e.Ready(), "intent is not loaded yet")
	e.setReady(nil)
	require.NoError(t, e.Ready())
	require.Empty(t, e.Alarms())
	require.Empty(t, e.Events())
}
