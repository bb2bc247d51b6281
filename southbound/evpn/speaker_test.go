package evpn

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// The first table that leaves get after a start is whole: our routes and those
// of the leaves that are up, before any End-of-RIB.
func TestFirstTableIsWhole(t *testing.T) {
	w := start(t)
	l1, l2 := newLeaf(t, 65001, "10.255.0.1"), newLeaf(t, 65002, "10.255.0.2")
	require.NoError(t, w.SetPeers([]Peer{l1.peer("leaf1"), l2.peer("leaf2")}))
	own := []table.Route{imet(100, netip.MustParseAddr("10.255.0.9")), macIP(100, vm1, "", netip.MustParseAddr("10.255.0.9"))}
	require.NoError(t, w.Announce(own, nil))
	w.until("leaf1 is there", func() bool { st, ok := w.Peer("leaf1"); return ok && st.State == stateIdle })
	w.Open()

	l1.up(false)
	require.True(t, l1.opened.restarting, "the controller has started")
	require.True(t, l1.preserved())
	require.Equal(t, uint32(65001), l1.opened.asn, "the controller claims the leaf's AS")
	r1 := ours(l1, imet(100, vtep1))
	l1.announce(r1)
	l1.send(endOfRIB)
	w.has("leaf1", r1)
	// leaf1 must get nothing yet, or leaf2's routes would be withdrawn there.
	l2.up(false)
	require.True(t, l2.opened.restarting && l2.preserved())
	r2 := ours(l2, macIP(100, intent.MAC{2, 0, 0, 0, 0, 2}, "192.0.2.2", vtep2))
	l2.announce(r2)
	l2.send(endOfRIB)

	require.Equal(t, announced(append(own, r2)...), keys(l1.untilEndOfRIB()))
	require.Equal(t, announced(append(own, r1)...), keys(l2.untilEndOfRIB()))
	w.has("leaf2", r2)

	st, _ := w.Peer("leaf1")
	require.Equal(t, stateEstablished, st.State)
	require.Equal(t, uint64(1), st.Received)
	require.Equal(t, uint64(3), st.Advertised)
	require.Equal(t, uint64(2), st.Updates.In)
	require.Equal(t, []table.Route{r2}, w.Routes("leaf2"))
}

// A leaf that can't be reached, and one that never ends its table, hold the
// others up only so long.
func TestNobodyIsWaitedForForEver(t *testing.T) {
	w := start(t, func(c *Config) { c.DeferralTime = 4 * time.Second })
	up, silent, gone := newLeaf(t, 65001, "10.255.0.1"), newLeaf(t, 65002, "10.255.0.2"), newLeaf(t, 65003, "10.255.0.3")
	gone.l.Close()
	require.NoError(t, w.SetPeers([]Peer{up.peer("up"), {Name: "gone", Address: netip.MustParseAddrPort("127.0.0.1:1"), ASN: 65003}}))
	require.NoError(t, w.Announce([]table.Route{imet(100, vtep2)}, nil))
	w.Open()
	up.up(false)
	up.send(endOfRIB)
	require.Len(t, up.untilEndOfRIB(), 1)
	w.until("alarm", func() bool { return w.alarm("gone", southbound.AlarmSession) != "" })
	require.Contains(t, w.alarm("gone", southbound.AlarmSession), "refused")

	w2 := start(t, func(c *Config) { c.DeferralTime = time.Second })
	require.NoError(t, w2.SetPeers([]Peer{silent.peer("silent")}))
	require.NoError(t, w2.Announce([]table.Route{imet(100, vtep2)}, nil))
	w2.Open()
	silent.up(false) // and no End-of-RIB
	w2.until("deferral ends", func() bool { return w2.finished.Load() })
}

func TestRoutesOfLeavesAreReflectedUnchanged(t *testing.T) {
	w, l1, l2 := pair(t)
	r := ours(l1, macIP(100, vm1, "2001:db8::1", vtep1))
	r.Seq, r.Sticky = 3, true
	l1.announce(r)
	u := l2.update()
	got := changes(u)
	require.Len(t, got, 1)
	require.True(t, same(&r, &got[0].Route), "%+v", got[0])
	require.Equal(t, vtep1, got[0].VTEP, "the next hop stays, although the leaves are in different ASes")
	var path string
	for _, a := range u.PathAttributes {
		if a.GetType() == bgp.BGP_ATTR_TYPE_AS_PATH {
			path = a.String()
		}
	}
	require.Equal(t, "{AsPath: }", path)
	w.has("leaf1", r)
	l1.send(appendWithdrawals(nil, []table.RouteID{r.ID()}))
	require.Equal(t, []string{"withdrawn " + announced(r)[0]}, keys(changes(l2.update())))
	w.has("leaf1")
}

// pair is a speaker that runs, with two leaves that have its table.
func pair(t *testing.T, edit ...func(*Config)) (*world, *leaf, *leaf) {
	w := start(t, edit...)
	l1, l2 := newLeaf(t, 65001, "10.255.0.1"), newLeaf(t, 65002, "10.255.0.2")
	require.NoError(t, w.SetPeers([]Peer{l1.peer("leaf1"), l2.peer("leaf2")}))
	w.Open()
	for _, l := range []*leaf{l1, l2} {
		l.up(false)
		l.send(endOfRIB)
	}
	require.Empty(t, l1.untilEndOfRIB())
	require.Empty(t, l2.untilEndOfRIB())
	return w, l1, l2
}

func TestAMoveIsOneUpdate(t *testing.T) {
	w, l1, _ := pair(t)
	r := macIP(100, vm1, "192.0.2.1", vtep1)
	require.NoError(t, w.Announce([]table.Route{r}, nil))
	require.Equal(t, announced(r), keys(changes(l1.update())))
	r.VTEP, r.Seq = vtep2, 1
	require.NoError(t, w.Announce([]table.Route{r}, nil))
	got := changes(l1.update())
	require.Len(t, got, 1)
	require.True(t, same(&r, &got[0].Route))
	require.NoError(t, w.Announce(nil, []table.RouteID{r.ID()}))
	require.True(t, changes(l1.update())[0].Withdrawn)
}

// What is not admitted is not handed on, and what becomes so is withdrawn; the
// leaf that announces it is asked for nothing, and it is told all the same.
func TestOnlyWhatIsAdmittedIsHandedOn(t *testing.T) {
	var mu sync.Mutex
	refused := map[intent.MAC]bool{vm1: true}
	refuse := func(m intent.MAC, is bool) {
		mu.Lock()
		defer mu.Unlock()
		refused[m] = is
	}
	w, l1, l2 := pair(t, func(c *Config) {
		c.Admit = func(peer string, r *table.Route) bool {
			mu.Lock()
			defer mu.Unlock()
			return peer != "leaf1" || !refused[r.MAC]
		}
	})
	vm2, vm3 := intent.MAC{2, 0, 0, 0, 0, 2}, intent.MAC{2, 0, 0, 0, 0, 3}
	a, b, c := ours(l1, macIP(100, vm1, "", vtep1)), ours(l1, macIP(100, vm2, "", vtep1)), ours(l1, macIP(100, vm3, "", vtep1))
	l1.announce(a, b, c)
	require.Equal(t, announced(b, c), keys(changes(l2.update())))
	w.has("leaf1", a, b, c)
	st, _ := w.Peer("leaf2")
	require.Equal(t, uint64(2), st.Advertised)

	refuse(vm1, false)
	refuse(vm2, true)
	require.NoError(t, w.Refresh("leaf1"))
	got := append(changes(l2.update()), changes(l2.update())...)
	require.Equal(t, append(announced(a), "withdrawn "+announced(b)[0]), keys(got))
	require.NoError(t, w.Refresh("leaf1"))

	l1.announce(b) // again, and it is still refused
	refuse(vm2, false)
	l1.announce(b)
	require.Equal(t, announced(b), keys(changes(l2.update())), "nothing came between")
	refuse(vm2, true)
	l1.announce(b)
	require.Equal(t, []string{"withdrawn " + announced(b)[0]}, keys(changes(l2.update())))
	l1.send(appendWithdrawals(nil, []table.RouteID{b.ID(), c.ID()}))
	require.Equal(t, []string{"withdrawn " + announced(c)[0]}, keys(changes(l2.update())))
	w.has("leaf1", a)
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Len(t, w.told, 5, "who is told is told of each once: %v", keys(w.told))
}

// What leaves announce for a MAC changes nothing in our own routes for it.
func TestOurSequenceNumbersAreOurs(t *testing.T) {
	w, l1, l2 := pair(t)
	theirs := ours(l1, macIP(100, vm1, "", vtep1))
	theirs.Seq = 9
	l1.announce(theirs)
	require.Equal(t, uint32(9), changes(l2.update())[0].Seq)
	own := macIP(100, vm1, "", netip.MustParseAddr("10.255.0.9"))
	require.NoError(t, w.Announce([]table.Route{own}, nil))
	got := changes(l2.update())
	require.Len(t, got, 1)
	require.True(t, same(&own, &got[0].Route), "%+v", got[0])
}

func TestControllerLeavesWithoutNotification(t *testing.T) {
	w, l1, l2 := pair(t)
	w.stop()
	l1.closed()
	l2.closed()
}

func TestLeafRestartKeepsItsRoutes(t *testing.T) {
	w, l1, l2 := pair(t)
	a, b := ours(l1, macIP(100, vm1, "", vtep1)), ours(l1, imet(100, vtep1))
	l1.announce(a, b)
	l2.update()
	l2.update()
	w.has("leaf1", a, b)
	l1.conn.Close()
	w.until("lost", func() bool { st, _ := w.Peer("leaf1"); return st.Flaps == 1 && st.Restarting })
	l1.up(true)
	require.False(t, l1.opened.restarting, "the controller has not restarted")
	require.True(t, l1.preserved(), "and forwards all the time")
	w.established("leaf1")
	w.has("leaf1", a, b)
	l1.announce(b)
	l1.send(endOfRIB)
	w.has("leaf1", b)
	st, _ := w.Peer("leaf1")
	require.False(t, st.Restarting)
	w.mu.Lock()
	require.Equal(t, []string{announced(a)[0], announced(b)[0], "withdrawn " + announced(a)[0]}, func() (out []string) {
		for _, c := range w.told {
			out = append(out, keys([]Change{c})...)
		}
		return out
	}(), "only what did not come again is withdrawn, and nothing is told twice")
	w.mu.Unlock()
	// leaf2 saw b again at most, and a go.
	for {
		if got := changes(l2.update()); got[0].Withdrawn {
			require.Equal(t, []string{"withdrawn " + announced(a)[0]}, keys(got))
			break
		}
	}
}

func TestStaleRoutesGoAfterTheirTime(t *testing.T) {
	w, l1, _ := pair(t, func(c *Config) { c.StaleTime = 0 })
	a := ours(l1, imet(100, vtep1))
	l1.announce(a)
	w.has("leaf1", a)
	l1.l.Close()
	p := w.session("leaf1")
	p.mu.Lock()
	p.caps.restartTime = 1
	p.mu.Unlock()
	l1.conn.Close()
	w.has("leaf1")
}

func TestRoutesGoWithTheSession(t *testing.T) {
	t.Run("NOTIFICATION", func(t *testing.T) {
		w, l1, l2 := pair(t)
		a := ours(l1, imet(100, vtep1))
		l1.announce(a)
		w.has("leaf1", a)
		l2.update()
		l1.send(notificationOf(bgp.BGP_ERROR_CEASE, bgp.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN))
		w.has("leaf1")
		require.True(t, changes(l2.update())[0].Withdrawn)
		st, _ := w.Peer("leaf1")
		require.Contains(t, st.LastError, "the peer ended it")
		require.Contains(t, st.LastError, "administrative shutdown")
	})
	t.Run("no graceful restart", func(t *testing.T) {
		w := start(t)
		l := newLeaf(t, 65001, "10.255.0.1")
		l.Graceful = false
		require.NoError(t, w.SetPeers([]Peer{l.peer("leaf")}))
		w.Open()
		l.up(false)
		a := ours(l, imet(100, vtep1))
		l.announce(a)
		w.has("leaf", a)
		l.conn.Close()
		w.has("leaf")
	})
}

func TestSetPeers(t *testing.T) {
	w, l1, l2 := pair(t)
	a := ours(l1, imet(100, vtep1))
	l1.announce(a)
	w.has("leaf1", a)
	l2.update()
	l3 := newLeaf(t, 65003, "10.255.0.3")
	require.NoError(t, w.SetPeers([]Peer{l1.peer("leaf1"), l3.peer("leaf3")}))
	code, sub := l2.notified()
	require.Equal(t, []byte{bgp.BGP_ERROR_CEASE, bgp.BGP_ERROR_SUB_PEER_DECONFIGURED}, []byte{code, sub})
	_, ok := w.Peer("leaf2")
	require.False(t, ok)
	l3.up(false)
	l3.send(endOfRIB)
	require.Equal(t, announced(a), keys(l3.untilEndOfRIB()), "a leaf that comes later has the table at once")
	st, _ := w.Peer("leaf1")
	require.Zero(t, st.Flaps, "an unchanged peer is not touched")

	changed := l1.peer("leaf1")
	changed.MaxRoutes = 5
	require.NoError(t, w.SetPeers([]Peer{changed, l3.peer("leaf3")}))
	w.has("leaf1")
	l1.notified()
	l1.up(false)
	w.established("leaf1")

	require.ErrorContains(t, w.SetPeers([]Peer{changed, changed}), "leaf1")
	require.Error(t, w.SetPeers([]Peer{{Name: "x"}}))
	w.established("leaf1")
	require.NoError(t, w.SetPeers(nil))
	l1.notified()
}

func TestRefresh(t *testing.T) {
	w, l1, _ := pair(t)
	own := imet(100, vtep2)
	require.NoError(t, w.Announce([]table.Route{own}, nil))
	l1.update()
	l1.send(refresh())
	require.Equal(t, announced(own), keys(l1.untilEndOfRIB()), "the leaf asks")
	w.established("leaf1")
	require.NoError(t, w.Refresh("leaf1"))
	require.Error(t, w.Refresh("nobody"))
}

func TestMalformedUpdatesWithdraw(t *testing.T) {
	w, l1, l2 := pair(t)
	a, b := ours(l1, macIP(100, vm1, "", vtep1)), ours(l1, imet(100, vtep1))
	l1.announce(a, b)
	w.has("leaf1", a, b)
	l2.update()
	l2.update()
	l1.send(updateWith([]byte{0x40, 1, 1, 9}, goodPath, goodPref, reach(list(a))))
	w.has("leaf1", b)
	require.Equal(t, []string{"withdrawn " + announced(a)[0]}, keys(changes(l2.update())))
	l1.send(updateWith(goodOrigin, goodPath, goodPref, reach(short)))
	l1.announce(a)
	w.has("leaf1", a, b)
	st, _ := w.Peer("leaf1")
	require.Equal(t, stateEstablished, st.State, "the session stays")
	require.Equal(t, uint64(2), st.Malformed)
	require.Zero(t, st.Flaps)
	require.Contains(t, w.alarm("leaf1", southbound.AlarmMalformed), "origin")
	require.Equal(t, 1, w.raised, "once")
	require.Zero(t, w.loudly("level=WARN"), "who is told of the alarm logs it")

	// The alarm lasts until what could not be read is gone, or read.
	l1.send(appendWithdraw(nil, short))
	w.until("alarm ends", func() bool { return w.alarm("leaf1", southbound.AlarmMalformed) == "" })
	st, _ = w.Peer("leaf1")
	require.Equal(t, uint64(2), st.Malformed, "the withdrawal is known as that of the route that could not be read")
	l1.send(updateWith([]byte{0x40, 1, 1, 9}, goodPath, goodPref, reach(list(a, b))))
	w.until("alarm", func() bool { return w.alarm("leaf1", southbound.AlarmMalformed) != "" })
	l1.announce(a)
	w.has("leaf1", a)
	require.NotEmpty(t, w.alarm("leaf1", southbound.AlarmMalformed), "one of two is well")
	l1.send(appendWithdraw(nil, list(b)))
	w.until("alarm ends", func() bool { return w.alarm("leaf1", southbound.AlarmMalformed) == "" })
	l1.announce(b)
	w.has("leaf1", a, b)
	raised := w.raised

	l1.send(updateWith(goodOrigin, goodPath, reach([]byte{2, 99})))
	code, _ := l1.notified()
	require.Equal(t, byte(bgp.BGP_ERROR_UPDATE_MESSAGE_ERROR), code, "what can't be read at all ends the session")
	w.has("leaf1")
	l1.up(false)
	l1.send(updateWith(goodOrigin, goodPath, reach([]byte{2, 99})))
	l1.notified()
	l1.up(false)
	require.NotEmpty(t, w.alarm("leaf1", southbound.AlarmMalformed))
	require.Equal(t, raised+1, w.raised, "a leaf that does it in each session is told of once")
	l1.send(endOfRIB)
	w.until("alarm ends", func() bool { return w.alarm("leaf1", southbound.AlarmMalformed) == "" })
}

func TestWrongAS(t *testing.T) {
	w := start(t)
	l := newLeaf(t, 65009, "10.255.0.1")
	p := l.peer("leaf")
	p.ASN = 65001
	require.NoError(t, w.SetPeers([]Peer{p}))
	w.Open()
	for range 2 {
		l.accept(false)
		l.send(keepalive())
		code, sub := l.notified()
		require.Equal(t, []byte{bgp.BGP_ERROR_OPEN_MESSAGE_ERROR, bgp.BGP_ERROR_SUB_BAD_PEER_AS}, []byte{code, sub})
		w.until("alarm", func() bool { return w.alarm("leaf", southbound.AlarmSession) != "" })
	}
	require.Contains(t, w.alarm("leaf", southbound.AlarmSession), "the peer is in AS 65009, the intent says 65001")
	require.Equal(t, 1, w.raised)
	st, _ := w.Peer("leaf")
	require.Zero(t, st.Flaps)

	l.ASN = 65001
	l.up(false)
	l.send(endOfRIB)
	w.until("alarm ends", func() bool { return w.alarm("leaf", southbound.AlarmSession) == "" })
}

func TestTheLeafExpectsAnotherAS(t *testing.T) {
	w := start(t)
	l := newLeaf(t, 65001, "10.255.0.1")
	require.NoError(t, w.SetPeers([]Peer{l.peer("leaf")}))
	w.Open()
	l.accept(false)
	l.send(notificationOf(bgp.BGP_ERROR_OPEN_MESSAGE_ERROR, bgp.BGP_ERROR_SUB_BAD_PEER_AS))
	w.until("alarm", func() bool { return w.alarm("leaf", southbound.AlarmSession) != "" })
	require.Contains(t, w.alarm("leaf", southbound.AlarmSession), "does not expect AS 65001")
}

func TestLeafWithoutEVPN(t *testing.T) {
	w := start(t)
	l := newLeaf(t, 65001, "10.255.0.1")
	l.Family, l.Graceful = bgp.RF_IPv4_UC, false
	require.NoError(t, w.SetPeers([]Peer{l.peer("leaf")}))
	w.Open()
	l.up(false)
	w.until("alarm", func() bool { return w.alarm("leaf", southbound.AlarmSession) != "" })
	require.Contains(t, w.alarm("leaf", southbound.AlarmSession), "l2vpn evpn")
	w.until("it is not waited for", w.finished.Load)
}

func TestPassword(t *testing.T) {
	w := start(t)
	l := newLeaf(t, 65001, "10.255.0.1")
	c, err := l.l.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, c.Control(func(fd uintptr) { require.NoError(t, setMD5(int(fd), netip.MustParseAddr("127.0.0.1"), "right")) }))
	p := l.peer("leaf")
	p.Password = "wrong"
	require.NoError(t, w.SetPeers([]Peer{p}))
	w.Open()
	w.until("alarm", func() bool { return w.alarm("leaf", southbound.AlarmSession) != "" })
	require.Contains(t, w.alarm("leaf", southbound.AlarmSession), "passwords differ")
	p.Password = "right"
	require.NoError(t, w.SetPeers([]Peer{p}))
	l.up(false)
	l.send(endOfRIB)
	w.established("leaf")
	w.until("alarm ends", func() bool { return w.alarm("leaf", southbound.AlarmSession) == "" })
}

func TestMaximumPrefix(t *testing.T) {
	w := start(t)
	l := newLeaf(t, 65001, "10.255.0.1")
	p := l.peer("leaf")
	p.MaxRoutes = 2
	require.NoError(t, w.SetPeers([]Peer{p}))
	w.Open()
	l.up(false)
	routes := []table.Route{ours(l, imet(1, vtep1)), ours(l, macIP(1, vm1, "", vtep1)), ours(l, macIP(1, vm1, "192.0.2.1", vtep1))}
	l.announce(routes...)
	code, sub := l.notified()
	require.Equal(t, []byte{bgp.BGP_ERROR_CEASE, bgp.BGP_ERROR_SUB_MAXIMUM_NUMBER_OF_PREFIXES_REACHED}, []byte{code, sub})
	w.has("leaf")
	w.until("alarm", func() bool { return w.alarm("leaf", southbound.AlarmSession) != "" })
	require.Contains(t, w.alarm("leaf", southbound.AlarmSession), "more than the 2 routes")
	l.up(false)
	l.announce(routes[:2]...)
	l.send(endOfRIB)
	w.has("leaf", routes[0], routes[1])
	w.until("alarm ends", func() bool { return w.alarm("leaf", southbound.AlarmSession) == "" })
}

// A route that carries the controller's cluster ID was reflected by it and has
// come back; one whose originator it is, too. Neither goes on.
func TestLoopsAreCut(t *testing.T) {
	_, l1, l2 := pair(t)
	back, fresh := ours(l1, macIP(100, vm1, "", vtep1)), ours(l1, imet(100, vtep1))
	l1.send(updateWith(goodOrigin, goodPath, goodPref, []byte{0x80, 9, 4, 192, 0, 2, 250}, reach(list(back))))
	l1.send(updateWith(goodOrigin, goodPath, goodPref, []byte{0x80, 10, 4, 192, 0, 2, 250}, reach(list(back))))
	l1.announce(fresh)
	require.Equal(t, announced(fresh), keys(changes(l2.update())))
}

func TestAnnounceSaysWhichRouteIsBad(t *testing.T) {
	w, l1, _ := pair(t)
	good := imet(100, vtep2)
	require.ErrorContains(t, w.Announce([]table.Route{good, {Key: table.MACKey(vm1)}}, nil), "has no VTEP")
	require.Equal(t, announced(good), keys(changes(l1.update())))
}
