//go:build lab

package vswitch

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

// colour has the feed say how VNIs are coloured now.
func (f *feed) colour(c *overlay.Colouring) {
	f.mu.Lock()
	f.colours = c
	f.mu.Unlock()
	f.change(func(*overlay.Model) {})
}

// colourful colours networks and routers in several ways, alone and while stations come
// and go, and ends where it began.
func (b *bed) colourful() {
	b.t.Helper()
	with := func(of map[intent.VNI]int, what func(*overlay.Model)) {
		b.t.Helper()
		b.feed.mu.Lock()
		b.feed.colours = testColours(of)
		b.feed.mu.Unlock()
		b.change(what)
		b.oracle()
	}
	f := port("f", "web", 12)
	with(map[intent.VNI]int{100: 1, 200: 2, 5000: 1, 5001: 1}, func(*overlay.Model) {})
	with(map[intent.VNI]int{100: 2, 5000: 2, 5001: 2}, func(m *overlay.Model) {
		m.Put(node(4, "tcp:127.0.0.1:4"))
		m.Put(f)
		m.Observe("hv4", []overlay.Interface{{Name: "tapf", IfaceID: "f", OFPort: 1}})
	})
	with(map[intent.VNI]int{200: 1}, func(m *overlay.Model) { m.Delete(f.Ref()) })
	with(nil, func(m *overlay.Model) { m.Delete(node(4, "").Ref()) })
}

// A network's colour comes and goes: the flows by which its own frames are sent change
// in place, a flow-mod each, and nothing else is written, at a restart neither.
func TestColourWritesTheRowsOfItsVNIOnly(t *testing.T) {
	const stations = 2000
	b := newBed(t)
	b.stop()
	b.own = []netip.Addr{netip.MustParseAddr("10.129.0.1"), netip.MustParseAddr("10.130.0.1")}
	b.counter = b.countBefore(b.Bridge("br-int"))
	b.start()
	b.stations(stations) // of web, at hv2
	b.change(func(m *overlay.Model) {
		m.Put(node(3, "tcp:127.0.0.1:2"))
		m.Put(port("e", "db", 10))
		m.Observe("hv3", []overlay.Interface{{Name: "tapd", IfaceID: "d", OFPort: 1}})
	})
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.plug("e")
	b.Eventually("all flows", func() bool {
		_, web := b.Cursors()[100]
		_, db := b.Cursors()[200]
		return web && db && b.synced()
	})
	b.Eventually("colours are taken in", func() bool { return strings.Contains(strings.Join(b.flows(), "\n"), "tun_dst=10.130.0.1") })
	b.oracle()
	plain := b.flows()

	sent := func(c *overlay.Colouring) int {
		before := int(b.mods.Load())
		b.colour(c)
		b.oracle()
		require.Empty(t, b.said("FlowsRepaired"))
		return int(b.mods.Load()) - before
	}
	require.Equal(t, stations, sent(testColours(map[intent.VNI]int{100: 1})))
	now := b.flows()
	require.Len(t, now, len(plain))
	require.Contains(t, strings.Join(now, "\n"), "set_field:0x64->tun_id,set_field:10.129.0.2->tun_dst,output:65000")
	require.Equal(t, 1, sent(testColours(map[intent.VNI]int{100: 1, 200: 2})), "the station of the other network")
	require.Contains(t, strings.Join(b.flows(), "\n"), "set_field:0xc8->tun_id,set_field:10.130.0.3->tun_dst,output:65000")
	require.Zero(t, sent(testColours(map[intent.VNI]int{100: 1, 200: 2, 300: 1})), "a network that is not here")
	require.Zero(t, sent(coloursFor(7, map[intent.VNI]int{100: 1, 200: 2})), "another VTEP has colours")

	b.stop()
	before, dump, rows := int(b.mods.Load()), b.Ofctl("dump-flows", b.Bridge("br-int")), b.Versions()
	b.start()
	b.Eventually("synced", b.synced)
	b.oracle()
	require.Equal(t, before, int(b.mods.Load()), "nothing is sent at a restart")
	require.Equal(t, rows, b.Versions(), "no row was written")
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), dump), "no flow was made again")

	require.Equal(t, stations+1, sent(nil))
	require.Equal(t, plain, b.flows())
	require.Equal(t, "65000", b.Vsctl("get", "interface", TunnelName, "ofport"), "the tunnel port is as it was")
}

// What a switch has for an edge that has not reported is kept when it is sent to a
// colour, too.
func TestKeepsWhatIsSentToAColour(t *testing.T) {
	b := newBed(t)
	colours := testColours(map[intent.VNI]int{100: 2})
	b.colour(colours)
	b.hv2("c")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	const kept = "set_field:0x64->tun_id,set_field:10.130.0.2->tun_dst"
	require.Contains(t, strings.Join(b.flows(), "\n"), kept)
	b.stop()
	before := b.flows()
	b.feed.model = overlay.NewModel()
	b.change(func(m *overlay.Model) {
		m.Put(node(1, b.DB()))
		m.Put(node(2, "tcp:127.0.0.1:1"))
		m.Put(network("web", 100))
		for i, n := range []string{"a", "b", "c"} {
			m.Put(port(n, "web", byte(i+1)))
		}
	})
	b.start()
	b.Eventually("synced", b.synced)
	require.Equal(t, before, b.flows())
	b.hv2()
	b.oracle()
	require.NotContains(t, strings.Join(b.flows(), "\n"), kept, "it has reported that it has no such station")
}
