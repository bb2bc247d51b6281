//go:build lab

package vswitch

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
	"github.com/weft-sdn/weft/southbound/ovstest"
)

// feed is a model with one driver on node hv1.
type feed struct {
	wake chan struct{}

	mu      sync.Mutex
	model   *overlay.Model
	colours *overlay.Colouring
	events  []southbound.Event
	alarms  []alarmed
}

// alarmed is a raised alarm; with an empty message an ended one.
type alarmed struct {
	southbound.AlarmKey
	message string
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

func (f *feed) Colouring() *overlay.Colouring {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.colours
}

func (f *feed) Unreported(bool) overlay.Away {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.model.Unreported()
}

func (f *feed) Observe(i []overlay.Interface) {
	f.change(func(m *overlay.Model) { m.Observe("hv1", i) })
}
func (f *feed) Learned([]overlay.Learned) {}
func (f *feed) Announced(string)          {}
func (f *feed) Alarm(k southbound.AlarmKey, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.alarms = append(f.alarms, alarmed{k, message})
}
func (f *feed) Confirmed() {}

func (f *feed) Event(e southbound.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
}

// alarm is what the alarm of a reason about an object says.
func (f *feed) alarm(reason, object string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	said := ""
	for _, a := range f.alarms {
		if a.AlarmKey == (southbound.AlarmKey{Reason: reason, Object: object}) {
			said = a.message
		}
	}
	return said
}

// raised counts how often alarms of a reason were raised.
func (f *feed) raised(reason string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, a := range f.alarms {
		if a.Reason == reason && a.message != "" {
			n++
		}
	}
	return n
}

func (f *feed) said(reason string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var s []string
	for _, e := range f.events {
		if e.Reason == reason {
			s = append(s, e.Message)
		}
	}
	return strings.Join(s, "\n")
}

func (f *feed) change(c func(*overlay.Model)) {
	f.mu.Lock()
	c(f.model)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

type bed struct {
	*ovstest.OVS
	*feed
	*Driver
	*counter              // between driver and switch, if there is one
	own      []netip.Addr // colours of hv1
	waits    time.Duration
	t        *testing.T
	stop     func()
}

func node(i int, db string) *intent.Node {
	return &intent.Node{Metadata: intent.Metadata{Name: fmt.Sprintf("hv%d", i)}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor,
		VTEP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), VSwitch: &intent.VSwitch{OVSDB: db, DatapathType: "dummy"}}}
}

func port(name, net string, i byte) *intent.Port {
	return &intent.Port{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.PortSpec{Network: net, Binding: intent.Binding{IfaceID: name},
		MAC: intent.MAC{2, 0, 0, 0, 0, i}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, 0, i}), netip.AddrFrom16([16]byte{0: 0xfd, 15: i})}}}
}

// newBed has two networks, ports a and b of web at hv1, c of web at hv2, d of
// db at hv2.
func newBed(t *testing.T) *bed {
	b := &bed{OVS: ovstest.Start(t), t: t}
	m := overlay.NewModel()
	m.Put(node(1, b.DB()))
	m.Put(node(2, "tcp:127.0.0.1:1"))
	m.Put(network("web", 100))
	m.Put(network("db", 200))
	for i, n := range []string{"a", "b", "c"} {
		m.Put(port(n, "web", byte(i+1)))
	}
	m.Put(port("d", "db", 9))
	b.feed = &feed{wake: make(chan struct{}, 1), model: m}
	b.start()
	return b
}

// startUnheard starts a controller that has heard of no edge yet, but has the intent:
// two hypervisors, the network web, and what is put.
func (b *bed) startUnheard(put func(*overlay.Model)) {
	b.feed.model = overlay.NewModel()
	b.change(func(m *overlay.Model) {
		m.Put(node(1, b.DB()))
		m.Put(node(2, "tcp:127.0.0.1:1"))
		m.Put(network("web", 100))
		put(m)
	})
	b.start()
}

// webPorts puts three ports of web.
func webPorts(m *overlay.Model) {
	for i, n := range []string{"a", "b", "c"} {
		m.Put(port(n, "web", byte(i+1)))
	}
}

func (b *bed) start() {
	n := node(1, b.DB())
	n.Spec.Colours = b.own
	if b.counter != nil {
		n.Spec.VSwitch.OpenFlow = b.at
	}
	b.Driver = New(n, b.feed, NewGates(), slog.New(slog.DiscardHandler))
	b.Driver.patience = cmp.Or(b.waits, b.Driver.patience)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.Driver.Run(ctx) }()
	var once sync.Once
	b.stop = func() { once.Do(func() { stop(); <-done }) }
	b.t.Cleanup(b.stop)
}

func (b *bed) hv2(ifaces ...string) {
	var is []overlay.Interface
	for i, n := range ifaces {
		is = append(is, overlay.Interface{Name: "tap" + n, IfaceID: n, OFPort: uint32(i + 1)})
	}
	b.change(func(m *overlay.Model) { m.Observe("hv2", is) })
}

var volatile = regexp.MustCompile(`(duration|idle_age|n_packets|n_bytes)=[^,]*, `)

func (b *bed) flows() []string {
	var out []string
	for _, l := range strings.Split(b.Ofctl("dump-flows", b.Bridge("br-int")), "\n") {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "cookie") {
			out = append(out, volatile.ReplaceAllString(l, ""))
		}
	}
	slices.Sort(out)
	return out
}

func (b *bed) synced() bool { return b.Status().Synced && b.Status().Err == nil }

// oracle waits until the device has exactly what a driver that starts from
// nothing would give it.
func (b *bed) oracle() {
	b.t.Helper()
	want := func() []string {
		s := &connection{Driver: b.Driver, pipe: pipeline{vtep: b.vtep}, ovs: ovsdb.NewVSwitch(ovsdb.VSwitchConfig{}), at: ovsdb.State{TunnelOFPort: 65000}}
		var out []string
		local := s.local()
		if s.pipe.taking = 0; len(b.own) > 0 {
			fmt.Sscan(b.Vsctl("--if-exists", "get", "interface", ColourTunnelName, "ofport"), &s.pipe.taking)
		}
		for _, f := range fromScratch(s.pipe, local, func(v intent.VNI) []evpn.Row { rows, _ := b.feed.Rows(v, 0); return rows }).sorted() {
			out = append(out, f.String())
		}
		slices.Sort(out)
		return out
	}
	has := func() []string {
		c, err := b.dial(context.Background())
		if err != nil {
			return []string{err.Error()}
		}
		defer c.Close()
		fs, err := c.DumpFlows(context.Background(), cookieMark, cookieMarkMask)
		if err != nil {
			return []string{err.Error()}
		}
		var out []string
		for _, f := range fs {
			out = append(out, f.Flow.String())
		}
		slices.Sort(out)
		return out
	}
	w, h := want(), has()
	for end := time.Now().Add(ovstest.Patience); !slices.Equal(w, h) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		w, h = want(), has()
	}
	require.Equal(b.t, w, h)
}

// plug adds an interface and waits until the driver has seen it.
func (b *bed) plug(id string) {
	b.t.Helper()
	b.OVS.Plug("br-int", "tap"+id, id)
	b.Eventually(id+" is seen", func() bool {
		for r := range b.feed.Local() {
			if r.Name == id {
				return true
			}
		}
		return false
	})
}

func TestDriverFollowsTheFeed(t *testing.T) {
	b := newBed(t)
	b.hv2()
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.plug("b")
	b.Eventually("a is programmed", func() bool { _, ok := b.Programmed(port("a", "web", 1).Ref()); return ok })
	b.hv2("c", "d")
	b.oracle()
	text := strings.Join(b.flows(), "\n")
	require.Contains(t, text, "dl_dst=02:00:00:00:00:03 actions=set_field:0x64->tun_id,set_field:10.0.0.2->tun_dst,output:65000")
	require.NotContains(t, text, "0xc8", "nothing of a network without local ports")

	b.hv2("d")
	b.oracle()
	require.NotContains(t, strings.Join(b.flows(), "\n"), "tun_dst=10.0.0.2")
	b.Vsctl("del-port", "br-int", "tapb")
	b.Eventually("b is gone", func() bool { return len(b.feed.Local()) == 1 })
	b.oracle()
	b.Vsctl("del-port", "br-int", "tapa")
	b.Eventually("a is gone", func() bool { return len(b.feed.Local()) == 0 })
	b.oracle()
	b.Eventually("nothing is confirmed any more", func() bool { return len(b.Cursors()) == 0 })
	require.Empty(t, b.said("FlowsRepaired"), "our own changes are no faults")
}

func TestRestartChangesNothing(t *testing.T) {
	b := newBed(t)
	b.hv2("c", "d")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	b.stop()
	before := b.Ofctl("dump-flows", b.Bridge("br-int"))
	rows := b.Versions()
	b.startUnheard(webPorts)
	b.Eventually("synced", b.synced)
	require.Contains(t, strings.Join(b.flows(), "\n"), "set_field:10.0.0.2->tun_dst", "hv2 has not reported: its flows stay")
	require.Equal(t, b.flows(), parse(before))
	require.Equal(t, rows, b.Versions(), "no row was written")
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), before), "no flow was made again")
	b.hv2("c", "d")
	b.oracle()
	require.Equal(t, b.flows(), parse(before))

	// Now hv2 reports that c is gone: what was kept for it goes.
	b.hv2()
	b.oracle()
	require.NotContains(t, strings.Join(b.flows(), "\n"), "10.0.0.2")
}

func parse(dump string) []string {
	var out []string
	for _, l := range strings.Split(dump, "\n") {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "cookie") {
			out = append(out, volatile.ReplaceAllString(l, ""))
		}
	}
	slices.Sort(out)
	return out
}

var duration = regexp.MustCompile(`duration=([0-9.]+)s`)

// older reports whether each flow of now is at least as old as it was before.
func older(now, before string) bool {
	age := func(dump string) map[string]float64 {
		out := map[string]float64{}
		for _, l := range strings.Split(dump, "\n") {
			if m := duration.FindStringSubmatch(l); m != nil {
				var s float64
				fmt.Sscan(m[1], &s)
				out[volatile.ReplaceAllString(strings.TrimSpace(l), "")] = s
			}
		}
		return out
	}
	was := age(before)
	for l, a := range age(now) {
		if a < was[l] {
			return false
		}
	}
	return true
}

func TestForeignHandsAreMendedAndTold(t *testing.T) {
	b := newBed(t)
	b.hv2("c")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	at := b.Bridge("br-int")
	foreign := "cookie=0x5, table=60, priority=7,in_port=3 actions=drop"
	b.Ofctl("add-flow", at, "cookie=0x5,table=60,priority=7,in_port=3,actions=drop")
	for _, c := range []struct {
		name, reason, told string
		do                 func()
	}{
		{"a flow deleted", "FlowsRepaired", "was missing; put back", func() { b.Ofctl("del-flows", at, "table=40") }},
		{"a flow changed", "FlowsRepaired", "was changed; put back", func() { b.Ofctl("mod-flows", at, "table=40,actions=drop") }},
		{"a flow replaced under another cookie", "FlowsRepaired", "was missing; put back", func() {
			b.Ofctl("add-flow", at, "cookie=1,table=40,priority=100,metadata=100,dl_dst=02:00:00:00:00:03,actions=drop")
		}},
		{"a foreign flow with our cookie", "FlowsRepaired", "was not ours though it had our cookie; deleted", func() {
			b.Ofctl("add-flow", at, "cookie=0x7ef7000000000064,table=40,priority=9,actions=drop")
		}},
		{"all flows deleted", "FlowsRepaired", "more", func() {
			b.Ofctl("--strict", "del-flows", at, "cookie=0x7ef7000000000000/0xffff000000000000,table=255,priority=0")
			b.Ofctl("del-flows", at, "cookie=0x7ef7000000000000/0xffff000000000000")
		}},
		{"the tunnel port removed", "Repaired", "port weft-vxlan: was missing; made again", func() { b.Vsctl("--no-wait", "del-port", "br-int", "weft-vxlan") }},
		{"the tunnel's options changed", "Repaired", "port weft-vxlan: had type vxlan", func() { b.Vsctl("--no-wait", "set", "interface", "weft-vxlan", "options:key=5") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.forget()
			start := time.Now()
			c.do()
			b.Eventually("told", func() bool { return strings.Contains(b.said(c.reason), c.told) })
			b.oracle()
			t.Logf("mended after %v: %s", time.Since(start).Round(time.Millisecond), b.said(c.reason))
			require.Contains(t, b.flows(), foreign)
		})
	}
	t.Run("the bridge removed", func(t *testing.T) {
		b.forget()
		b.Vsctl("--no-wait", "del-br", "br-int")
		b.Eventually("told", func() bool { return strings.Contains(b.said("Repaired"), "bridge br-int: was missing; made again") })
		b.plug("a")
		b.Eventually("synced again", b.synced)
		b.oracle()
	})
}

// forget forgets the events so far.
func (b *bed) forget() {
	b.feed.mu.Lock()
	b.feed.events = nil
	b.feed.mu.Unlock()
}

// Another program that changes its own flows in our tables without end neither
// hides damage to ours, which is mended while it goes on, nor is it harmed.
func TestBusyNeighbour(t *testing.T) {
	b := newBed(t)
	b.hv2("c")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	at := b.Bridge("br-int")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				b.Ofctl("add-flow", at, fmt.Sprintf("cookie=0x5,table=40,priority=7,in_port=%d,actions=drop", 100+i%50))
			}
		}
	}()
	b.Eventually("it is at work", func() bool { return strings.Contains(strings.Join(b.flows(), "\n"), "in_port=119 actions=drop") })
	b.Ofctl("del-flows", at, "cookie=0x7ef7000000000000/0xffff000000000000,table=40")
	b.Eventually("mended", func() bool { return strings.Contains(b.said("FlowsRepaired"), "was missing") })
	close(stop)
	<-done
	b.oracle()
	require.Contains(t, strings.Join(b.flows(), "\n"), "cookie=0x5, table=40, priority=7,in_port=100 actions=drop")
}

func TestFaultsAreTold(t *testing.T) {
	b := newBed(t)
	b.hv2("c")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	b.StopServer()
	b.Eventually("unreachable", func() bool { return b.Status().Err != nil })
	require.Equal(t, southbound.CodeUnreachable, b.Status().Err.Code)
	require.Contains(t, b.Status().Err.Error(), "hv1: connect to OVSDB unix:")
	// ovs-vswitchd does not listen to OpenFlow without its database; what
	// changes meanwhile arrives when that is back.
	b.hv2()
	b.StartServer()
	b.Eventually("back", b.synced)
	b.oracle()
	b.StopSwitch()
	b.Eventually("the switch is gone", func() bool { return b.Status().Err != nil })
	b.hv2("c")
	b.StartSwitch()
	b.Eventually("back", b.synced)
	b.oracle()
}
