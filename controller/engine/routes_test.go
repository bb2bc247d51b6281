package engine

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// speaker keeps what it was told.
type speaker struct {
	mu     sync.Mutex
	peers  []BGPPeer
	routes map[evpn.RouteID]evpn.Route
	before int // routes when it was opened
	opened bool
	free   bool // released

	colours  *overlay.Colouring
	coloured int // times that it coloured anything otherwise

	refreshed []string
	all       map[string]bool // peers that have announced all
}

func (s *speaker) SetColouring(c *overlay.Colouring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(c.Changed(s.colours)) > 0 {
		s.coloured++
	}
	s.colours = c
}

func (s *speaker) SetPeers(p []BGPPeer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = p
	return nil
}

func (s *speaker) Announce(add []evpn.Route, withdraw []evpn.RouteID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range withdraw {
		delete(s.routes, id)
	}
	for _, r := range add {
		s.routes[r.ID()] = r
	}
	return nil
}

func (s *speaker) Open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened, s.before = true, len(s.routes)
}

func (s *speaker) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = true
}

func (s *speaker) open() bool     { s.mu.Lock(); defer s.mu.Unlock(); return s.opened }
func (s *speaker) released() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.free }

func (s *speaker) Refresh(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refreshed = append(s.refreshed, name)
	return nil
}

func (s *speaker) Peer(name string) (intent.BGPSession, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return intent.BGPSession{Synced: s.all[name]}, s.all[name]
}

// synced makes a peer one that has announced all it has.
func (s *speaker) synced(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = map[string]bool{name: true}
}

func (s *speaker) has(k evpn.Key) (evpn.Route, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.routes[(&evpn.Route{Key: k, RD: evpn.NewRD(64512, 100)}).ID()]
	return r, ok
}

func evpnLeaf() *intent.Node {
	return &intent.Node{Metadata: intent.Metadata{Name: "leaf1"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, ASN: 65001,
		Loopback: netip.MustParseAddr("10.1.0.1"), VTEP: netip.MustParseAddr("10.0.0.9"), EVPN: &intent.EVPN{}}}
}

func newSpeakerBed(t *testing.T, objects ...intent.Object) (*bed, *speaker) {
	s := &speaker{routes: map[evpn.RouteID]evpn.Route{}}
	return newBedWith(t, func(c *Config) { c.Speaker, c.ASN = s, 64512 }, objects...), s
}

func TestSegmentTablesAreAnnounced(t *testing.T) {
	p1, p2 := vm(1), vm(2)
	p1.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	b, s := newSpeakerBed(t, hv(1), hv(2), evpnLeaf(), web(), p1, p2)
	b.edge("hv2").set(func() { b.edge("hv2").down = errors.New("away") })
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.until("the peer is known", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.peers) == 1 })
	require.Equal(t, BGPPeer{Name: "leaf1", Address: netip.MustParseAddrPort("10.1.0.1:179"), ASN: 65001, MaxRoutes: defaultMaxRoutes, VTEP: netip.MustParseAddr("10.0.0.9")}, s.peers[0])
	b.until("routes are announced", func() bool { _, ok := s.has(evpn.HostKey(p1.Spec.MAC, p1.Spec.Addresses[0])); return ok })
	r, _ := s.has(evpn.MACKey(p1.Spec.MAC))
	require.Equal(t, netip.MustParseAddr("10.0.0.1"), r.VTEP)
	require.Equal(t, []intent.RouteTarget{intent.VNIRouteTarget(64512, 100)}, r.Targets)
	_, ok := s.has(evpn.FloodKey(netip.MustParseAddr("10.0.0.1")))
	require.True(t, ok)

	b.edge("hv2").set(func() { b.edge("hv2").down = nil; b.edge("hv2").ifaces = tap(2) })
	b.until("sessions start once all others have reported", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.opened })

	// What the leaf announces is in the table and is not announced again.
	mac := intent.MAC{2, 9}
	rt := evpn.Route{Key: evpn.MACKey(mac), RD: evpn.NewRD(65001, 7), VNI: 100, Targets: []intent.RouteTarget{intent.VNIRouteTarget(65001, 100)}, VTEP: netip.MustParseAddr("10.0.0.9")}
	imet := rt
	imet.Key = evpn.FloodKey(rt.VTEP)
	b.TakeRoutes("leaf1", []overlay.RouteChange{{Route: rt}, {Route: imet}})
	b.until("hv1 has the row", func() bool {
		d := b.edge("hv1")
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.rows[100][evpn.MACKey(mac)] == rt.VTEP && d.rows[100][imet.Key] == rt.VTEP
	})
	found := 0
	for _, row := range b.Routes(web().Spec.VNI) {
		if row.Node == "leaf1" && row.Origin == evpn.OriginBGP && row.Best {
			found++
		}
	}
	require.Equal(t, 2, found)
	b.del(p1.Ref())
	b.until("withdrawn", func() bool { _, ok := s.has(evpn.MACKey(p1.Spec.MAC)); return !ok })
	_, ok = s.has(evpn.MACKey(mac))
	require.False(t, ok)

	// The network's targets change; then it is one that BGP can't carry.
	b.until("vm2 is announced", func() bool { _, ok := s.has(evpn.MACKey(p2.Spec.MAC)); return ok })
	n := web()
	n.Spec.RouteTargets.Export = []string{"1:2"}
	b.put(n)
	b.until("another target", func() bool {
		r, _ := s.has(evpn.MACKey(p2.Spec.MAC))
		return len(r.Targets) == 1 && r.Targets[0].String() == "1:2"
	})
	g := web()
	g.Spec.Encapsulation.Type = intent.Geneve
	b.put(g)
	b.until("withdrawn", func() bool { _, ok := s.has(evpn.MACKey(p2.Spec.MAC)); return !ok })
	b.del(intent.Ref{Kind: intent.KindNode, Name: "leaf1"})
	b.until("no peer", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.peers) == 0 })
}

func TestDuplicateMACIsAnAlarmUntilCleared(t *testing.T) {
	l2 := evpnLeaf()
	l2.Metadata.Name, l2.Spec.VTEP, l2.Spec.Loopback = "leaf2", netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("10.1.0.2")
	b, _ := newSpeakerBed(t, evpnLeaf(), l2, web())
	for i := range uint32(12) {
		node, vtep := "leaf1", "10.0.0.9"
		if i%2 == 1 {
			node, vtep = "leaf2", "10.0.0.8"
		}
		b.TakeRoutes(node, []overlay.RouteChange{{Route: evpn.Route{Key: evpn.MACKey(intent.MAC{2}), VNI: 100, Seq: i, VTEP: netip.MustParseAddr(vtep),
			Targets: []intent.RouteTarget{intent.VNIRouteTarget(1, 100)}}}})
	}
	alarms := b.Alarms()
	require.Len(t, alarms, 1)
	require.Equal(t, overlay.AlarmDuplicateMAC, alarms[0].Reason)
	require.ErrorIs(t, b.ClearAlarm("none"), ErrNoAlarm)
	require.NoError(t, b.ClearAlarm(alarms[0].ID))
	require.Empty(t, b.Alarms())

	b.TakeRoutes("leaf1", []overlay.RouteChange{{Route: evpn.Route{Key: evpn.MACKey(intent.MAC{4}), VNI: 7, Targets: []intent.RouteTarget{intent.VNIRouteTarget(1, 7)}}}})
	alarms = b.Alarms()
	require.Len(t, alarms, 1)
	require.Equal(t, "leaf1", alarms[0].Device)
	require.ErrorIs(t, b.ClearAlarm(alarms[0].ID), ErrNotClear)
	b.PeerAlarm("leaf1", southbound.AlarmKey{Reason: southbound.AlarmSession, Object: "session"}, "refused")
	b.PeerAlarm("leaf1", southbound.AlarmKey{Reason: southbound.AlarmSession, Object: "session"}, "refused")
	require.Len(t, b.Alarms(), 2)
	require.Equal(t, 2, b.Alarms()[1].Count)
	b.del(intent.Ref{Kind: intent.KindNode, Name: "leaf1"})
	b.until("alarms go with their device", func() bool { return len(b.Alarms()) == 0 })
}

// A device that is not as it should be is an alarm until it is, or is another.
func TestTroubleOfADeviceIsAnAlarm(t *testing.T) {
	b := newBed(t, hv(1), hv(2))
	feed := b.edge("hv1").feed
	say := func(f southbound.Feed, reason, message string) {
		f.Event(southbound.Event{Severity: southbound.Warning, Reason: reason, Message: message})
	}
	say(feed, southbound.CodeUnreachable, "connection refused")
	say(feed, southbound.CodeUnreachable, "timed out")
	alarms := b.Alarms()
	require.Len(t, alarms, 1)
	require.Equal(t, []any{"hv1", southbound.CodeUnreachable, "timed out", 2}, []any{alarms[0].Device, alarms[0].Reason, alarms[0].Message, alarms[0].Count})
	require.Len(t, b.Events(), 1, "told once, whatever the attempts say")
	require.ErrorIs(t, b.ClearAlarm(alarms[0].ID), ErrNotClear)
	say(feed, southbound.CodeNotReady, "no such bridge")
	alarms = b.Alarms()
	require.Len(t, alarms, 1, "it is reached, but not ready")
	require.Equal(t, southbound.CodeNotReady, alarms[0].Reason)
	say(feed, "Repaired", "one flow")
	say(feed, "Recovered", "it is well")
	require.Empty(t, b.Alarms())

	say(feed, southbound.CodeUnreachable, "connection refused")
	n := hv(1)
	n.Spec.VSwitch.OVSDB = "tcp:127.0.0.1:6699"
	b.put(n)
	b.until("another session", func() bool { return b.edge("hv1").feed != feed })
	require.Empty(t, b.Alarms(), "the node is elsewhere")
	say(feed, southbound.CodeUnreachable, "connection refused")
	require.Empty(t, b.Alarms(), "what the old session says is of no interest")

	leaf := evpnLeaf()
	leaf.Spec.EVPN.Unmanaged = true
	b.put(leaf)
	b.until("a session", func() bool { return b.edge("leaf1") != nil })
	say(b.edge("leaf1").feed, southbound.CodeUnreachable, "no BGP")
	require.Empty(t, b.Alarms(), "that is the speaker's to tell")
}

func TestMoveIsFinishedAndSpokenFor(t *testing.T) {
	p := vm(1)
	p.Spec.Requested.Node = "hv2"
	var mu sync.Mutex
	var moved []intent.Place
	fail := true
	b := newBedWith(t, func(c *Config) {
		c.Moved = func(_ context.Context, r intent.Ref, to intent.Place) error {
			mu.Lock()
			defer mu.Unlock()
			if fail {
				fail = false
				return errors.New("the store is away")
			}
			moved = append(moved, to)
			return nil
		}
	}, hv(1), hv(2), web(), p)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = nil })
	b.untilPhase(p, intent.PhaseReady)
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(1) })
	b.until("hv2 is prepared", func() bool { return b.Status(p).Requested == "hv2:tap1" })
	require.Equal(t, "hv1", b.Status(p).Node)
	b.edge("hv2").feed.Announced("tap1")
	b.until("moved", func() bool { return b.Status(p).Node == "hv2" })
	b.until("written, at the second try", func() bool { mu.Lock(); defer mu.Unlock(); return len(moved) == 1 })
	require.Equal(t, intent.Place{Node: "hv2", Interface: "tap1"}, moved[0])
	b.until("all edges follow", func() bool {
		for _, ev := range b.Events() {
			if ev.Reason == "Followed" && ev.Device == "hv2" && ev.Object == p.Ref().String() {
				return true
			}
		}
		return false
	})
	d := b.edge("hv2")
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Equal(t, []intent.Ref{p.Ref()}, d.spoke)
}

// Without an EVPN leaf nothing is held for one; the first gets all, and with
// the last all of it goes.
func TestNothingIsAnnouncedToNobody(t *testing.T) {
	p := vm(1)
	b, s := newSpeakerBed(t, hv(1), web(), p)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.untilPhase(p, intent.PhaseReady)
	b.until("sessions may start", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.opened })
	announced := func() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.routes) }
	require.Zero(t, announced())
	for range 2 {
		b.put(evpnLeaf())
		b.until("the leaf gets what was there before it", func() bool { _, ok := s.has(evpn.MACKey(p.Spec.MAC)); return ok && announced() >= 2 })
		b.del(evpnLeaf().Ref())
		b.until("nothing is left", func() bool { return announced() == 0 })
	}
}

// A leaf that announces what is a port's is asked for all its routes, which are
// judged as they come, when that begins and when it ends.
func TestLeafIsAskedAgainWhenItsRoutesAreJudgedOtherwise(t *testing.T) {
	p := vm(1)
	b, s := newSpeakerBed(t, hv(1), evpnLeaf(), web(), p)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.untilPhase(p, intent.PhaseReady)
	asked := func() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.refreshed) }
	r := evpn.Route{Key: evpn.MACKey(p.Spec.MAC), RD: evpn.NewRD(65001, 7), VNI: 100, Targets: []intent.RouteTarget{intent.VNIRouteTarget(65001, 100)}, VTEP: netip.MustParseAddr("10.0.0.9")}
	require.False(t, b.Admit("leaf1", &r))
	b.TakeRoutes("leaf1", []overlay.RouteChange{{Route: r}})
	b.until("it is asked", func() bool { return asked() == 1 })
	b.del(p.Ref())
	b.until("it is asked again", func() bool { return asked() == 2 })
	require.True(t, b.Admit("leaf1", &r))
	require.Equal(t, "leaf1", s.refreshed[0])
}

// Who keeps something for single edges is woken by the report of each, also while
// others have not reported yet.
func TestKeepersAreWokenByEachReport(t *testing.T) {
	unmanaged := func(name string, vtep string) *intent.Node {
		n := evpnLeaf()
		n.Metadata.Name, n.Spec.VTEP, n.Spec.Loopback = name, netip.MustParseAddr(vtep), netip.MustParseAddr(vtep)
		return n
	}
	l1, l2, l3 := unmanaged("leaf1", "10.0.0.7"), unmanaged("leaf2", "10.0.0.8"), unmanaged("leaf3", "10.0.0.9")
	b, s := newSpeakerBed(t, hv(1), l1, l2, l3)
	s.synced("leaf2")
	d := b.edge("hv1")
	d.set(func() { d.awaits = true })
	away := func(n int) func() bool {
		return func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.away.Len() == n }
	}
	b.until("three have not reported", away(3))
	b.PeerChanged("leaf2")
	b.until("one has", away(2))
	b.del(l3.Ref())
	b.until("one left the intent", away(1))
	require.True(t, d.away.Has(l1.Spec.VTEP))
}
