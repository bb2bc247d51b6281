package leaf

import (
	"context"
	"log/slog"
	"net/netip"
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

// A border is given its peers and what is inside; it is judged by what the leaf
// reports, and a session that is down is an alarm.
func TestBorders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer := intent.BorderPeer{Address: netip.MustParseAddr("192.0.2.1"), ASN: 64999, Interface: "eth7", Local: netip.MustParsePrefix("192.0.2.0/31"), Password: "x", BFD: true}
		n := &intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: l3, Import: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}}
		b := overlay.Border{Network: n, Border: intent.Border{Node: "leaf1", VRF: intent.VRFDefault, Peers: []intent.BorderPeer{peer}},
			Announce: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Others: []netip.Addr{there}}
		f := newFeed()
		spec := &intent.Node{Metadata: intent.Metadata{Name: "leaf1"}, Spec: intent.NodeSpec{VTEP: here, Loopback: here, ASN: 65001, EVPN: &intent.EVPN{}}}
		d := New(spec, f, Config{Logger: slog.New(slog.DiscardHandler), Source: there, Network: func(intent.VNI) *intent.Network { return nil }, Router: func(intent.VNI) *intent.Router { return nil },
			Leaf: func(netip.Addr) bool { return false }, Session: func() (intent.BGPSession, bool) { return *up(), true }, Borders: func() []overlay.Border { return []overlay.Border{b} }})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = d.Run(ctx) }()
		defer func() { stop(); <-done }()
		d.Take(full(0))
		s, err := d.Want(t.Context(), 0)
		require.NoError(t, err)
		require.Equal(t, []leafstate.Router{{Router: n.Ref(), VNI: l3, MTU: intent.DefaultMTU, Outside: &leafstate.Outside{Default: true,
			Peers:    []leafstate.OutsidePeer{{Address: peer.Address, ASN: 64999, Interface: "eth7", Local: peer.Local, Password: "x", BFD: true}},
			Announce: b.Announce, Accept: n.Spec.Import, Others: b.Others}}}, s.Routers)

		require.Equal(t, southbound.CodeNotReady, d.OutsideError(n).Code)
		_, ok := d.Cursor(l3)
		require.False(t, ok)
		report := full(s.Revision)
		say := func(r leafstate.RouterReport) {
			report.Routers = []leafstate.RouterReport{r}
			d.Take(report)
			synctest.Wait()
		}
		say(leafstate.RouterReport{VNI: l3, Error: "no VRF", Capability: true})
		require.Equal(t, southbound.AlarmCapability, d.OutsideError(n).Code)
		require.Contains(t, d.OutsideError(n).Action, "vrf: default")
		require.Contains(t, f.alarms, southbound.AlarmKey{Reason: southbound.AlarmCapability, Object: "ExternalNetwork internet L3VNI 5000"})

		down, well := leafstate.OutsideSession{Peer: peer.Address, State: "Active"}, leafstate.OutsideSession{Peer: peer.Address, State: established, Taken: 3, Announced: 1}
		key := southbound.AlarmKey{Reason: southbound.AlarmPeerDown, Object: "ExternalNetwork internet peer 192.0.2.1"}
		with := func(s leafstate.OutsideSession) {
			say(leafstate.RouterReport{VNI: l3, Sessions: []leafstate.OutsideSession{s}})
		}
		with(down)
		require.Empty(t, f.alarms, "it may be coming up")
		require.Nil(t, d.OutsideError(n))
		with(well)
		require.Empty(t, f.alarms)
		got, ok := d.Outside(l3)
		require.True(t, ok)
		require.Equal(t, []leafstate.OutsideSession{well}, got.Sessions)
		with(down)
		require.Contains(t, f.alarms[key], "AS 64999 is Active", "one that was up is told of at once")
		with(well)
		require.Empty(t, f.alarms)

		// Its cursor follows what the kernel has of the network's table.
		host := evpn.HostKey(intent.MAC{2, 9}, netip.MustParseAddr("203.0.113.7"))
		f.mu.Lock()
		f.routed.Set(host, evpn.Path{VTEP: there, RouterMAC: intent.MAC{6}})
		rev := f.routed.Rev()
		f.mu.Unlock()
		with(well)
		at, _ := d.Cursor(l3)
		require.Less(t, at, rev)
		report.Add = []leafstate.Entry{{Kind: leafstate.Route, VNI: l3, IP: host.IP, Bits: 32, VTEP: there}}
		with(well)
		at, _ = d.Cursor(l3)
		require.Equal(t, rev, at)

		time.Sleep(silence + 2*time.Second)
		_, ok = d.Outside(l3)
		require.False(t, ok, "a border that is silent says nothing")
	})
}

// A session that never comes up is an alarm in the end.
func TestPeersThatNeverComeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: l3}}
		peer := netip.MustParseAddr("192.0.2.1")
		d := &Driver{report: leafstate.Report{Routers: []leafstate.RouterReport{{VNI: l3, Sessions: []leafstate.OutsideSession{{Peer: peer, State: "Connect"}}}}}}
		borders := []overlay.Border{{Network: n, Border: intent.Border{Peers: []intent.BorderPeer{{Address: peer, ASN: 64999}}}}}
		alarms := func() map[southbound.AlarmKey]string {
			now := map[southbound.AlarmKey]string{}
			d.downPeers(borders, now)
			return now
		}
		require.Empty(t, alarms())
		time.Sleep(peerPatience - time.Second)
		require.Empty(t, alarms())
		time.Sleep(time.Second)
		require.Len(t, alarms(), 1)
		borders = nil
		require.Empty(t, alarms())
	})
}
