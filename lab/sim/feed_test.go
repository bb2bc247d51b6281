package sim_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
	"github.com/weft-sdn/weft/southbound/vswitch"
)

// feed is a model with one driver, of node hv1.
type feed struct {
	wake chan struct{}

	mu    sync.Mutex
	model *overlay.Model
	read  func(*overlay.Model) // called once, after all rows of a segment were read
}

func (f *feed) Wake() <-chan struct{} { return f.wake }

func (f *feed) Local() map[intent.Ref]overlay.LocalPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.model.Local("hv1")
}

func (f *feed) Rows(v intent.VNI, since evpn.Revision) ([]evpn.Row, evpn.Revision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read != nil && since == 0 {
		defer func(read func(*overlay.Model)) { read(f.model) }(f.read)
		f.read = nil
	}
	s := f.model.Segment(v)
	if s == nil {
		return nil, 0
	}
	return slices.Collect(s.Changes(since)), s.Rev()
}

func (f *feed) Behind(cursors map[intent.VNI]evpn.Revision) (uint64, []intent.VNI) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.model.Behind("hv1", cursors)
}

func (f *feed) Colouring() *overlay.Colouring { return nil }
func (f *feed) Unreported(bool) overlay.Away {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.model.Unreported()
}

func (f *feed) Observe(i []overlay.Interface) {
	f.change(func(m *overlay.Model) { m.Observe("hv1", i) })
}
func (f *feed) Learned([]overlay.Learned)         {}
func (f *feed) Announced(string)                  {}
func (f *feed) Alarm(southbound.AlarmKey, string) {}
func (f *feed) Confirmed()                        {}
func (f *feed) Event(southbound.Event)            {}

func (f *feed) change(c func(*overlay.Model)) {
	f.mu.Lock()
	c(f.model)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func node(name, vtep string, v *intent.VSwitch) *intent.Node {
	return &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor, VTEP: netip.MustParseAddr(vtep), VSwitch: v}}
}

func port(name string, mac byte, addresses ...string) *intent.Port {
	p := &intent.Port{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.PortSpec{Network: "web", Binding: intent.Binding{IfaceID: name}, MAC: intent.MAC{2, 0, 0, 0, 0, mac}}}
	for _, a := range addresses {
		p.Spec.Addresses = append(p.Spec.Addresses, netip.MustParseAddr(a))
	}
	return p
}

// newFeed has what the sections of the golden file show: network 100 with a
// dual-stack port and one without addresses here, another dual-stack port at
// 10.0.0.2, and one without addresses at fd00::2.
func newFeed(at *intent.VSwitch) *feed {
	m := overlay.NewModel()
	fill(m, at)
	plug(m, "hv2", "c")
	plug(m, "hv3", "d")
	return &feed{wake: make(chan struct{}, 1), model: m}
}

// plug has an edge report one interface.
func plug(m *overlay.Model, node, id string) {
	m.Observe(node, []overlay.Interface{{Name: id, IfaceID: id, OFPort: 1}})
}

func fill(m *overlay.Model, at *intent.VSwitch) {
	m.Put(node("hv1", "10.0.0.1", at))
	m.Put(node("hv2", "10.0.0.2", &intent.VSwitch{OVSDB: "unix:/nowhere"}))
	m.Put(node("hv3", "fd00::2", &intent.VSwitch{OVSDB: "unix:/nowhere"}))
	m.Put(&intent.Network{Metadata: intent.Metadata{Name: "web", Tenant: "t"}, Spec: intent.NetworkSpec{VNI: 100}})
	m.Put(port("a", 1, "192.168.0.1", "fd00::1"))
	m.Put(port("b", 2))
	m.Put(port("c", 9, "192.168.0.9", "fd00::9"))
	m.Put(port("d", 10))
}

// drive runs the real driver against an edge until stop.
func drive(t *testing.T, f *feed, at *intent.VSwitch) (d *vswitch.Driver, stop func()) {
	d = vswitch.New(node("hv1", "10.0.0.1", at), f, vswitch.NewGates(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return d, stop
}

func inSync(d *vswitch.Driver) bool { return d.Status().Synced && d.Status().Err == nil }

// flows asks a bridge for its flows, by the real codec.
func flows(t *testing.T, endpoint string) []string {
	c, err := openflow.Dial(t.Context(), endpoint, openflow.Config{})
	require.NoError(t, err)
	defer c.Close()
	fs, err := c.DumpFlows(t.Context(), 0, 0)
	require.NoError(t, err)
	var out []string
	for _, f := range fs {
		out = append(out, f.Flow.String())
	}
	slices.Sort(out)
	return out
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 2*time.Millisecond, what)
}

// settled waits until an edge has n flows and the driver confirms them.
func settled(t *testing.T, d *vswitch.Driver, count func() int, n int) {
	t.Helper()
	have := -1
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if have = count(); have == n && inSync(d) {
			return
		}
		require.True(t, time.Now().Before(end), fmt.Sprintf("%d flows, not %d; status %+v", have, n, d.Status()))
	}
}
