package leaf

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

var (
	here  = netip.MustParseAddr("10.0.0.1")
	there = netip.MustParseAddr("10.0.0.2")
	ref   = intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: "p"}
)

// feed is the engine: one port on eth3 once the leaf reports it.
type feed struct {
	mu       sync.Mutex
	wake     chan struct{}
	seg      evpn.Segment
	routed   evpn.Segment // of the L3VNI
	colours  *overlay.Colouring
	alarms   map[southbound.AlarmKey]string
	port     overlay.LocalPort
	observed []overlay.Interface
	events   []southbound.Event
}

func newFeed() *feed {
	return &feed{alarms: map[southbound.AlarmKey]string{}, wake: make(chan struct{}, 1), port: overlay.LocalPort{Port: ref, VNI: 100, Interface: "eth3", OFPort: 1, MAC: intent.MAC{2, 1}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
}

func (f *feed) Wake() <-chan struct{} { return f.wake }
func (f *feed) Local() map[intent.Ref]overlay.LocalPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.observed {
		if i.Name == f.port.Interface && i.OFPort != 0 {
			return map[intent.Ref]overlay.LocalPort{ref: f.port}
		}
	}
	return map[intent.Ref]overlay.LocalPort{}
}

func (f *feed) Rows(v intent.VNI, since evpn.Revision) ([]evpn.Row, evpn.Revision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seg := &f.seg
	if v == l3 {
		seg = &f.routed
	}
	var out []evpn.Row
	for r := range seg.Changes(since) {
		out = append(out, r)
	}
	return out, seg.Rev()
}

// Behind is not asked by this driver.
func (f *feed) Behind(map[intent.VNI]evpn.Revision) (uint64, []intent.VNI) { return 0, nil }

func (f *feed) Colouring() *overlay.Colouring { return f.colours }
func (f *feed) Unreported(bool) overlay.Away  { return overlay.Away{} }
func (f *feed) Observe(all []overlay.Interface) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observed = all
}
func (f *feed) Learned([]overlay.Learned) {}
func (f *feed) Announced(string)          {}
func (f *feed) Alarm(k southbound.AlarmKey, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.alarms[k] = message; message == "" {
		delete(f.alarms, k)
	}
}
func (f *feed) Confirmed()               {}
func (f *feed) Event(e southbound.Event) { f.mu.Lock(); f.events = append(f.events, e); f.mu.Unlock() }

func (f *feed) change(do func(*evpn.Segment)) {
	f.mu.Lock()
	do(&f.seg)
	f.mu.Unlock()
	f.wake <- struct{}{}
}

// start runs a driver whose session has the state that *session says.
func start(t *testing.T, f *feed, session *intent.BGPSession, unmanaged bool) *Driver {
	n := &intent.Node{Metadata: intent.Metadata{Name: "leaf1"}, Spec: intent.NodeSpec{VTEP: here, Loopback: here, ASN: 65001, EVPN: &intent.EVPN{Unmanaged: unmanaged}}}
	d := New(n, f, Config{Logger: slog.New(slog.DiscardHandler), Source: there, Network: func(intent.VNI) *intent.Network { return nil }, Router: func(intent.VNI) *intent.Router { return nil }, Leaf: func(a netip.Addr) bool { return a == silent },
		Session: func() (intent.BGPSession, bool) { return *session, true }})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return d
}

func up() *intent.BGPSession { return &intent.BGPSession{State: established} }

func full(applied uint64, ports ...leafstate.PortReport) leafstate.Report {
	return leafstate.Report{Full: true, Applied: applied, Software: "FRR 8.4.4", Ports: ports, Interfaces: []leafstate.Interface{{Name: "eth3", Up: true}}}
}

func TestStateFollowsTheFirstReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		d := start(t, f, up(), false)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := d.Want(short, 0)
		require.Error(t, err, "a leaf that has not reported is told nothing")
		synctest.Wait()
		require.ErrorContains(t, d.Status().Err, "has not reported yet")
		require.False(t, d.Take(leafstate.Report{}), "what changed means nothing without a beginning")
		require.True(t, d.Take(full(0)))
		s, err := d.Want(t.Context(), 0)
		require.NoError(t, err)
		require.Len(t, s.Segments, 1)
		require.Equal(t, "eth3", s.Segments[0].Ports[0].Interface)
		require.Equal(t, []leafstate.Peer{{Address: there}}, s.Peers)
		synctest.Wait()
		_, ok := d.Programmed(ref)
		require.False(t, ok)

		require.True(t, d.Take(full(s.Revision, leafstate.PortReport{Interface: "eth3", VNI: 100})))
		synctest.Wait()
		p, ok := d.Programmed(ref)
		require.True(t, ok)
		require.True(t, p.Equal(f.port))
		require.True(t, d.Status().Synced)
		require.Equal(t, "FRR 8.4.4", d.Status().Software)
	})
}

func TestCursorFollowsTheKernel(t *testing.T) { inColours(t, followsTheKernel) }

// followsTheKernel moves a station while the kernel sends to colours of VTEPs, or to
// their own addresses.
func followsTheKernel(t *testing.T, c *overlay.Colouring) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		f.colours = c
		d := start(t, f, up(), false)
		d.Take(full(0))
		s, err := d.Want(t.Context(), 0)
		require.NoError(t, err)
		d.Take(full(s.Revision, leafstate.PortReport{Interface: "eth3", VNI: 100}))
		mac, ip := intent.MAC{2, 9}, netip.MustParseAddr("192.0.2.9")
		f.change(func(s *evpn.Segment) {
			s.Set(evpn.FloodKey(there), evpn.Path{VTEP: there, Source: "hv"})
			s.Set(evpn.MACKey(mac), evpn.Path{VTEP: there, Source: "hv"})
			s.Set(evpn.HostKey(mac, ip), evpn.Path{VTEP: there, Source: "hv"})
			s.Set(evpn.MACKey(f.port.MAC), evpn.Path{VTEP: here, Source: "leaf1"})
		})
		at := func() evpn.Revision {
			synctest.Wait()
			c, _ := d.Cursor(100)
			return c
		}
		delta := func(add, remove []leafstate.Entry) {
			r := full(s.Revision, leafstate.PortReport{Interface: "eth3", VNI: 100})
			r.Full, r.Add, r.Remove = false, add, remove
			require.True(t, d.Take(r))
		}
		entries := []leafstate.Entry{{Kind: leafstate.Flood, VNI: 100, VTEP: there}, {Kind: leafstate.Remote, VNI: 100, MAC: mac, VTEP: c.At(100, there)}, {Kind: leafstate.Neighbour, VNI: 100, IP: ip, MAC: mac}}
		for i := range entries {
			require.Zero(t, at())
			require.False(t, d.Status().Synced)
			delta(entries[i:i+1], nil)
		}
		require.Equal(t, evpn.Revision(4), at())
		require.True(t, d.Status().Synced)

		// It moves elsewhere; the kernel has the old place for a while.
		third := netip.MustParseAddr("10.0.0.3")
		f.change(func(s *evpn.Segment) { s.Move(evpn.MACKey(mac), evpn.Path{VTEP: third, Source: "hv3"}) })
		require.Equal(t, evpn.Revision(4), at())
		delta([]leafstate.Entry{{Kind: leafstate.Remote, VNI: 100, MAC: mac, VTEP: c.At(100, third)}}, []leafstate.Entry{{Kind: leafstate.Remote, VNI: 100, MAC: mac, VTEP: c.At(100, there)}})
		require.Equal(t, evpn.Revision(5), at())
		f.change(func(s *evpn.Segment) { s.Withdraw(evpn.MACKey(mac), "hv3"); s.Withdraw(evpn.MACKey(mac), "hv") })
		require.Equal(t, evpn.Revision(5), at())
		delta(nil, []leafstate.Entry{{Kind: leafstate.Remote, VNI: 100, MAC: mac, VTEP: c.At(100, third)}})
		require.Greater(t, at(), evpn.Revision(5))

		time.Sleep(silence + 2*time.Second)
		synctest.Wait()
		require.ErrorContains(t, d.Status().Err, "it is silent since")
		_, ok := d.Cursor(100)
		require.False(t, ok, "what is not heard is not confirmed")
	})
}

// inColours runs a test without and with colours.
func inColours(t *testing.T, test func(*testing.T, *overlay.Colouring)) {
	t.Run("own addresses", func(t *testing.T) { test(t, nil) })
	palette := overlay.NewPalette(map[netip.Addr][]netip.Addr{there: {netip.MustParseAddr("10.129.0.2")}, netip.MustParseAddr("10.0.0.3"): {netip.MustParseAddr("10.129.0.3")}})
	t.Run("colours", func(t *testing.T) { test(t, overlay.NewColouring(palette, map[intent.VNI]int{100: 1, l3: 1})) })
}

func TestSessionAndAgentMustBothBeThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, session := newFeed(), &intent.BGPSession{State: "Idle", LastError: "bad peer AS 65009"}
		d := start(t, f, session, false)
		d.Take(full(0))
		synctest.Wait()
		require.ErrorContains(t, d.Status().Err, "bad peer AS 65009")
		require.Contains(t, d.Status().Err.Action, "65001")
		r := full(0)
		r.Errors = []string{"eth3: no such device"}
		d.Take(r)
		synctest.Wait()
		require.ErrorContains(t, d.Status().Err, "eth3: no such device")
		require.Equal(t, southbound.CodeRefused, d.Status().Err.Code)
		require.GreaterOrEqual(t, len(f.events), 2)
	})
}

func TestUnmanagedLeafIsJudgedByItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		f.port.Interface = "Ethernet1"
		d := start(t, f, up(), true)
		synctest.Wait()
		f.Observe([]overlay.Interface{{Name: "Ethernet1", OFPort: 1}}) // the model knows what is bound there
		f.change(func(s *evpn.Segment) { s.Set(evpn.FloodKey(there), evpn.Path{VTEP: there, Source: "hv"}) })
		synctest.Wait()
		c, ok := d.Cursor(100)
		require.True(t, ok)
		require.Equal(t, evpn.Revision(1), c)
		_, ok = d.Programmed(ref)
		require.True(t, ok)
		require.NoError(t, d.Withdraw(t.Context()))
	})
}

func TestWithdrawEmptiesTheLeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		n := &intent.Node{Metadata: intent.Metadata{Name: "leaf1"}, Spec: intent.NodeSpec{VTEP: here, Loopback: here, ASN: 65001, EVPN: &intent.EVPN{}}}
		d := New(n, f, Config{Logger: slog.New(slog.DiscardHandler), Source: there, Session: func() (intent.BGPSession, bool) { return *up(), true }})
		d.Take(full(0))
		<-d.wake
		done := make(chan error, 1)
		go func() { done <- d.Withdraw(t.Context()) }()
		synctest.Wait()
		s, err := d.Want(t.Context(), 0)
		require.NoError(t, err)
		require.Empty(t, s.Segments)
		require.True(t, d.Take(full(s.Revision)))
		require.NoError(t, <-done)
	})
}
