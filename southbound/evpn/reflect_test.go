package evpn

import (
	"bufio"
	"bytes"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// raw reads the next UPDATE's attributes as they are on the wire.
func (l *leaf) raw() []attribute {
	l.t.Helper()
	for {
		if m := l.next(); m.kind() == bgp.BGP_MSG_UPDATE {
			list, err := split(nil, m.body())
			require.NoError(l.t, err)
			return list
		}
	}
}

// others are the attributes but for MP_REACH_NLRI, which must come first.
func (l *leaf) others(list []attribute) (out [][]byte) {
	l.t.Helper()
	require.Equal(l.t, bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, list[0].kind, "RFC 7606 section 5.1")
	for _, a := range list[1:] {
		out = append(out, a.wire)
	}
	return out
}

// Attributes go on as they came, but for what a reflector has to add and to leave
// out.
func TestAttributesAsTheyCame(t *testing.T) {
	originator, cluster := []byte{0x80, 9, 4, 10, 255, 0, 1}, []byte{0x80, 10, 4, 192, 0, 2, 250}
	aggregator := []byte{0xc0, 7, 8, 0, 1, 0, 1, 10, 0, 0, 1}
	communities := []byte{0xc0, 8, 4, 0xfd, 0xe8, 0, 1}
	med := []byte{0x80, 4, 4, 0, 0, 0, 9}
	path := []byte{0x40, 2, 6, 2, 1, 0, 1, 0, 2}
	for _, c := range []struct {
		name    string
		in, out [][]byte
	}{
		{"plain", [][]byte{goodOrigin, goodPath, goodPref}, [][]byte{goodOrigin, goodPath, goodPref, originator, cluster}},
		{"all that is known", [][]byte{goodOrigin, path, med, goodPref, aggregator, communities}, [][]byte{goodOrigin, path, med, goodPref, aggregator, communities, originator, cluster}},
		{"reflected before", [][]byte{goodOrigin, goodPath, {0x80, 9, 4, 10, 0, 0, 7}, {0x80, 10, 4, 10, 0, 0, 8}},
			[][]byte{goodOrigin, goodPath, {0x80, 9, 4, 10, 0, 0, 7}, {0x90, 10, 0, 8, 192, 0, 2, 250, 10, 0, 0, 8}}},
		{"unknown and transitive", [][]byte{goodOrigin, goodPath, {0xc0, 99, 2, 1, 2}}, [][]byte{goodOrigin, goodPath, {0xe0, 99, 2, 1, 2}, originator, cluster}},
		{"unknown and not transitive", [][]byte{goodOrigin, goodPath, {0x80, 99, 2, 1, 2}}, [][]byte{goodOrigin, goodPath, originator, cluster}},
		{"NEXT_HOP", [][]byte{goodOrigin, goodPath, {0x40, 3, 4, 10, 0, 0, 1}}, [][]byte{goodOrigin, goodPath, originator, cluster}},
		{"twice", [][]byte{goodOrigin, goodPath, goodPref, {0x40, 5, 4, 0, 0, 0, 7}}, [][]byte{goodOrigin, goodPath, goodPref, originator, cluster}},
		{"malformed, to be discarded", [][]byte{goodOrigin, goodPath, {0xc0, 7, 3, 1, 2, 3}}, [][]byte{goodOrigin, goodPath, originator, cluster}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, l1, l2 := pair(t)
			routes := list(ours(l1, macIP(100, vm1, "", vtep1)))
			l1.send(updateWith(append(slices.Clone(c.in), reach(routes))...))
			got := l2.raw()
			require.Equal(t, c.out, l2.others(got))
			require.Equal(t, append([]byte{0, 25, 70, 4, 10, 255, 0, 1, 0}, routes...), got[0].value)
			require.Empty(t, w.alarm("leaf1", southbound.AlarmMalformed))
		})
	}
}

// Of routes with one distinguisher from two leaves the best goes to all but its
// leaf, which gets none: also not one that it was sent before.
func TestTheBestOfTwoPaths(t *testing.T) {
	w, l1, l2 := pair(t)
	l3 := newLeaf(t, 65003, "10.255.0.3")
	require.NoError(t, w.SetPeers([]Peer{l1.peer("leaf1"), l2.peer("leaf2"), l3.peer("leaf3")}))
	l3.up(false)
	l3.send(endOfRIB)
	require.Empty(t, l3.untilEndOfRIB())
	a := macIP(100, vm1, "", vtep1)
	b := a
	b.VTEP, b.Seq = vtep2, 1
	key := announced(a)
	l1.announce(a)
	require.Equal(t, key, keys(changes(l2.update())))
	require.Equal(t, key, keys(changes(l3.update())))
	l2.announce(b)
	require.Equal(t, uint32(1), changes(l3.update())[0].Seq)
	require.Equal(t, vtep2, changes(l1.update())[0].VTEP)
	require.Equal(t, []string{"withdrawn " + key[0]}, keys(changes(l2.update())), "it has leaf1's no longer")
	l1.announce(a) // nothing new
	a.RouterMAC = intent.MAC{2, 9, 9, 9, 9, 9}
	l1.announce(a) // and what is not the best concerns nobody
	w.has("leaf1", a)
	l2.send(appendWithdrawals(nil, []table.RouteID{b.ID()}))
	got := changes(l3.update())
	require.Equal(t, vtep1, got[0].VTEP)
	require.Equal(t, a.RouterMAC, got[0].RouterMAC)
	require.Equal(t, key, keys(changes(l2.update())))
	require.Equal(t, []string{"withdrawn " + key[0]}, keys(changes(l1.update())))
	w.has("leaf1", a)
	w.has("leaf2")
}

// A leaf that is in the midst of sending hears why the session ends.
func TestTheReasonIsHeard(t *testing.T) {
	w := start(t)
	l := newLeaf(t, 65001, "10.255.0.1")
	p := l.peer("leaf")
	p.MaxRoutes = 1000
	require.NoError(t, w.SetPeers([]Peer{p}))
	w.Open()
	l.up(false)
	var routes []table.Route
	for i := range 50_000 {
		routes = append(routes, ours(l, macIP(100, intent.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, "", vtep1)))
	}
	l.send(appendRoutes(nil, routes))
	code, _ := l.notified()
	require.Equal(t, byte(bgp.BGP_ERROR_CEASE), code)
	w.has("leaf")
}

// What the controller originates can't be replaced by a leaf.
func TestOurOwnRouteWins(t *testing.T) {
	w, l1, l2 := pair(t)
	own := macIP(100, vm1, "", vtep2)
	require.NoError(t, w.Announce([]table.Route{own}, nil))
	require.Equal(t, announced(own), keys(changes(l1.update())))
	require.Equal(t, announced(own), keys(changes(l2.update())))
	fake := own
	fake.VTEP, fake.Seq, fake.Sticky = vtep1, 99, true
	l1.announce(fake)
	w.has("leaf1", fake)
	good := ours(l1, imet(100, vtep1))
	l1.announce(good)
	require.Equal(t, announced(good), keys(changes(l2.update())), "nothing came before")
	require.NoError(t, w.Announce(nil, []table.RouteID{own.ID()}))
	require.Equal(t, vtep1, changes(l2.update())[0].VTEP, "the leaf's is left")
}

// A leaf that stays away keeps its routes as a last resort (RFC 9494): others are
// told so, and those that would not understand it are sent them no longer.
func TestLastResort(t *testing.T) {
	w := start(t)
	l1, l2, old := newLeaf(t, 65001, "10.255.0.1"), newLeaf(t, 65002, "10.255.0.2"), newLeaf(t, 65003, "10.255.0.3")
	old.Graceful = false
	require.NoError(t, w.SetPeers([]Peer{l1.peer("leaf1"), l2.peer("leaf2"), old.peer("old")}))
	w.Open()
	for _, l := range []*leaf{l1, l2, old} {
		l.up(false)
		l.send(endOfRIB)
	}
	for _, l := range []*leaf{l1, l2, old} {
		l.untilEndOfRIB()
	}
	a, b := ours(l1, macIP(100, vm1, "", vtep1)), ours(l1, macIP(100, intent.MAC{2, 0, 0, 0, 0, 2}, "", vtep1))
	l1.announce(a)
	noStale := []byte{0xc0, 8, 4, 0xff, 0xff, 0, 7}
	l1.send(updateWith(goodOrigin, goodPath, noStale, reach(list(b))))
	w.has("leaf1", a, withoutTargets(b))
	for _, l := range []*leaf{l2, old} {
		l.raw()
		l.raw()
	}
	p := w.session("leaf1")
	p.mu.Lock()
	p.caps.restartTime = 1
	p.mu.Unlock()
	l1.l.Close()
	l1.conn.Close()

	w.has("leaf1", a)
	first, second := l2.raw(), l2.raw()
	if first[0].kind == bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI {
		first, second = second, first
	}
	require.Contains(t, l2.others(first), []byte{0xd0, 8, 0, 4, 0xff, 0xff, 0, 6}, "LLGR_STALE")
	require.Equal(t, bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI, second[0].kind, "NO_LLGR: it is gone")
	require.Equal(t, list(b)[:len(list(b))-3], second[0].value[3:][:len(list(b))-3])
	var gone []string
	for len(gone) < 2 {
		gone = append(gone, keys(changes(old.update()))...)
	}
	slices.Sort(gone)
	require.Equal(t, []string{"withdrawn " + announced(a)[0], "withdrawn " + announced(b)[0]}, gone)
}

func withoutTargets(r table.Route) table.Route {
	r.Targets = nil
	return r
}

func TestOpenIsJudged(t *testing.T) {
	for _, c := range []struct {
		name      string
		edit      func(open []byte)
		code, sub byte
		says      string
	}{
		{"version", func(b []byte) { b[headerLen] = 3 }, 2, bgp.BGP_ERROR_SUB_UNSUPPORTED_VERSION_NUMBER, "version 3"},
		{"hold time", func(b []byte) { b[headerLen+4] = 1 }, 2, bgp.BGP_ERROR_SUB_UNACCEPTABLE_HOLD_TIME, "hold time of 1s"},
		{"no identifier", func(b []byte) { copy(b[headerLen+5:], []byte{0, 0, 0, 0}) }, 2, bgp.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER, "no BGP identifier"},
		{"our identifier", func(b []byte) { copy(b[headerLen+5:], []byte{192, 0, 2, 250}) }, 2, bgp.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER, "192.0.2.250"},
		{"two-octet AS numbers", func(b []byte) { b[bytes.Index(b, []byte{65, 4})] = 200 }, 2, bgp.BGP_ERROR_SUB_UNSUPPORTED_CAPABILITY, "four-octet"},
		{"capabilities cut off", func(b []byte) { b[headerLen+9]++ }, 2, 0, "can't be read"},
		{"no BGP", func(b []byte) { b[3] = 0 }, 1, bgp.BGP_ERROR_SUB_CONNECTION_NOT_SYNCHRONIZED, "no BGP message"},
		{"length", func(b []byte) { b[16] = 0xff }, 1, bgp.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, "no BGP message"},
		{"UPDATE first", func(b []byte) { b[18] = bgp.BGP_MSG_UPDATE }, 5, bgp.BGP_ERROR_SUB_RECEIVE_UNEXPECTED_MESSAGE_IN_OPENSENT_STATE, "type 2"},
		{"unknown type", func(b []byte) { b[18] = 77 }, 1, bgp.BGP_ERROR_SUB_BAD_MESSAGE_TYPE, "type 77"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start(t)
			l := newLeaf(t, 65001, "10.255.0.1")
			require.NoError(t, w.SetPeers([]Peer{l.peer("leaf")}))
			w.Open()
			m := openMessage{asn: 65001, id: l.ID, restart: restart{RestartTime: time.Minute}}.encode()
			c.edit(m)
			require.NoError(t, l.l.SetDeadline(time.Now().Add(patience)))
			var err error
			l.conn, err = l.l.AcceptTCP()
			require.NoError(t, err)
			defer l.conn.Close()
			l.send(m)
			l.r = bufio.NewReader(l.conn)
			code, sub := l.notified()
			require.Equal(t, []byte{c.code, c.sub}, []byte{code, sub})
			w.until("it is told", func() bool { st, _ := w.Peer("leaf"); return st.LastError != "" })
			st, _ := w.Peer("leaf")
			require.Contains(t, st.LastError, c.says)
			require.Contains(t, st.LastError, "the controller ended it")
		})
	}
}

// A leaf that is silent loses its session, one that sends KEEPALIVEs keeps it and
// gets ours.
func TestHoldTime(t *testing.T) {
	w := start(t)
	l := newLeaf(t, 65001, "10.255.0.1")
	l.Hold = 3
	require.NoError(t, w.SetPeers([]Peer{l.peer("leaf")}))
	w.Open()
	l.up(false)
	l.announce(ours(l, imet(100, vtep1)))
	l.send(endOfRIB)
	began := time.Now()
	for n := 0; n < 5; { // in the time of 5 of ours, longer than the hold time
		if m := l.next(); m.kind() == bgp.BGP_MSG_KEEPALIVE {
			n++
			l.send(keepalive())
		}
	}
	require.Greater(t, time.Since(began), 3*time.Second)
	w.established("leaf")
	code, _ := l.notified()
	require.Equal(t, byte(bgp.BGP_ERROR_HOLD_TIMER_EXPIRED), code)
	w.has("leaf")
	st, _ := w.Peer("leaf")
	require.Contains(t, st.LastError, "nothing came from the peer for 3s")
}

// A leaf that takes nothing holds up nobody, and costs its session after a while.
func TestALeafThatTakesNothing(t *testing.T) {
	w := start(t, func(c *Config) { c.StaleTime = 0 })
	w.sendHold = 2 * time.Second
	l1, l2, stuck := newLeaf(t, 65001, "10.255.0.1"), newLeaf(t, 65002, "10.255.0.2"), newLeaf(t, 65003, "10.255.0.3")
	require.NoError(t, w.SetPeers([]Peer{l1.peer("leaf1"), l2.peer("leaf2"), stuck.peer("stuck")}))
	w.Open()
	for _, l := range []*leaf{l1, l2, stuck} {
		l.up(false)
		l.send(endOfRIB)
	}
	l1.untilEndOfRIB()
	l2.untilEndOfRIB()
	require.NoError(t, stuck.conn.SetReadBuffer(1<<12))
	done := make(chan struct{})
	go func() { // until the session of the one that takes nothing is lost
		defer close(done)
		for seq := uint32(1); ; seq++ {
			st, _ := w.Peer("stuck")
			if st.Flaps > 0 || seq == 5000 {
				return
			}
			var routes []table.Route
			for i := range 4000 {
				r := ours(l1, macIP(100, intent.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, "", vtep1))
				r.Seq = seq
				routes = append(routes, r)
			}
			l1.conn.SetWriteDeadline(time.Now().Add(patience))
			if _, err := l1.conn.Write(appendRoutes(nil, routes)); err != nil {
				return
			}
		}
	}()
	go func() { // the others take all
		for {
			if _, err := read(l1.r); err != nil {
				return
			}
		}
	}()
	var lastSeq atomic.Uint32
	go func() {
		for {
			m, err := read(l2.r)
			if err != nil {
				return
			}
			if m.kind() != bgp.BGP_MSG_UPDATE {
				continue
			}
			if u, err := parse(m); assert.NoError(t, err) {
				for _, c := range changes(u) {
					lastSeq.Store(max(lastSeq.Load(), c.Seq))
				}
			}
		}
	}()
	require.NoError(t, l2.conn.SetReadDeadline(time.Time{}))
	require.NoError(t, l1.conn.SetReadDeadline(time.Time{}))
	<-done
	w.until("leaf2 was told of round after round", func() bool { return lastSeq.Load() > 2 })
	st, _ := w.Peer("stuck")
	require.Equal(t, uint32(1), st.Flaps)
	w.until("why", func() bool { return w.loudly("has taken nothing for 2s") > 0 })
	w.rib.mu.Lock()
	require.LessOrEqual(t, w.rib.index.n, 4000)
	w.rib.mu.Unlock()
}

// Routes of types that the controller has no use for go on, too.
func TestOtherTypesGoOn(t *testing.T) {
	w, l1, l2 := pair(t)
	discovery := append([]byte{1, 25, 0, 1, 10, 255, 0, 1, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0}, 0, 0, 100)
	segment := append([]byte{4, 23, 0, 1, 10, 255, 0, 1, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 32}, 10, 255, 0, 1)
	both := append(slices.Clone(discovery), segment...)
	l1.send(updateWith(goodOrigin, goodPath, reach(both)))
	require.Equal(t, both, l2.raw()[0].value[9:])
	l1.send(appendWithdraw(nil, both))
	require.Equal(t, both, l2.raw()[0].value[3:])
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Empty(t, w.told)
}

// What identifies a route is that alone: labels and segment are not.
func TestARouteIsKnownByItsKey(t *testing.T) {
	id := table.RouteID{Key: table.HostKey(vm1, netip.MustParseAddr("192.0.2.1")), RD: table.NewRD(1, 1)}
	a, b := nlri(appendNLRI(nil, &id, 100, netip.Addr{})), nlri(appendNLRI(nil, &id, 200, netip.Addr{}))
	b[12] = 7 // ESI
	require.True(t, a.isRoute(b))
	require.Equal(t, a.hash(), b.hash())
	id.Tag = 1
	c := nlri(appendNLRI(nil, &id, 100, netip.Addr{}))
	require.False(t, a.isRoute(c))
	p := table.RouteID{Key: table.PrefixKey(netip.MustParsePrefix("192.0.2.0/25")), RD: table.NewRD(1, 1)}
	d, e := nlri(appendNLRI(nil, &p, 1, netip.Addr{})), nlri(appendNLRI(nil, &p, 2, netip.MustParseAddr("10.0.0.1")))
	d[28] |= 0x55 // beyond the length
	require.False(t, d.isRoute(e))
	d.canonical()
	require.True(t, d.isRoute(e))
}
