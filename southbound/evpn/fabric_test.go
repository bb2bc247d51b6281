package evpn

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	table "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// toFabric makes a speaker of AS 65000 one towards the fabric of another AS.
func toFabric(c *Config) { c.Fabric, c.Prepend = true, c.ASN }

// outside is the peer of an interconnect.
func (l *leaf) outside(name string) Peer {
	p := l.peer(name)
	p.LocalASN = 65000
	return p
}

// attributesOf are the path attributes of an UPDATE by type.
func attributesOf(u *bgp.BGPUpdate) map[bgp.BGPAttrType]bgp.PathAttributeInterface {
	out := map[bgp.BGPAttrType]bgp.PathAttributeInterface{}
	for _, a := range u.PathAttributes {
		out[a.GetType()] = a
	}
	return out
}

func TestAnotherFabricIsToldWhatIsOursOnly(t *testing.T) {
	w := start(t, toFabric)
	l1, l2 := newLeaf(t, 65001, "10.255.0.1"), newLeaf(t, 65001, "10.255.0.2")
	require.NoError(t, w.SetPeers([]Peer{l1.outside("p1"), l2.outside("p2")}))
	own := macIP(100, vm1, "192.0.2.1", netip.MustParseAddr("10.255.0.9"))
	require.NoError(t, w.Announce([]table.Route{own}, nil))
	w.Open()
	for _, l := range []*leaf{l1, l2} {
		l.up(false)
		require.Equal(t, uint32(65000), l.opened.asn, "an external peer")
		require.True(t, l.opened.lasts && l.preserved())
		l.send(endOfRIB)
	}
	got := attributesOf(l1.update())
	require.Equal(t, "{AsPath: 65000}", got[bgp.BGP_ATTR_TYPE_AS_PATH].String())
	require.NotContains(t, got, bgp.BGP_ATTR_TYPE_LOCAL_PREF)
	reach := got[bgp.BGP_ATTR_TYPE_MP_REACH_NLRI].(*bgp.PathAttributeMpReachNLRI)
	require.Equal(t, "10.255.0.9", reach.Nexthop.String(), "the VTEP's, and not the controller's")
	require.Empty(t, l1.untilEndOfRIB())
	require.Len(t, l2.untilEndOfRIB(), 1)

	// What one peer announces is told to us, and to nobody else: what the other is
	// sent next is ours.
	r := ours(l1, macIP(100, vm1, "192.0.2.2", vtep1))
	l1.announce(r)
	w.has("p1", r)
	second := macIP(100, vm1, "192.0.2.3", netip.MustParseAddr("10.255.0.9"))
	require.NoError(t, w.Announce([]table.Route{second}, nil))
	require.Equal(t, announced(second), keys(changes(l2.update())))
	// The same with a route that has our very distinguisher.
	same := own
	same.VTEP = l1.ID
	l1.announce(same)
	w.has("p1", r, same)
	third := macIP(100, vm1, "192.0.2.4", netip.MustParseAddr("10.255.0.9"))
	require.NoError(t, w.Announce([]table.Route{third}, []table.RouteID{own.ID()}))
	got2 := append(keys(changes(l2.update())), keys(changes(l2.update()))...)
	require.ElementsMatch(t, append(announced(third), "withdrawn "+announced(own)[0]), got2)
	st, _ := w.Peer("p2")
	require.Equal(t, uint64(2), st.Advertised)
}

// A route that has been in our AS is not taken.
func TestRoutesThatWereHereAreNotTakenBack(t *testing.T) {
	w := start(t, toFabric)
	l := newLeaf(t, 65001, "10.255.0.1")
	require.NoError(t, w.SetPeers([]Peer{l.outside("p")}))
	w.Open()
	l.up(false)
	good, back := ours(l, macIP(100, vm1, "192.0.2.1", vtep1)), ours(l, macIP(100, vm1, "192.0.2.2", vtep1))
	announce := func(r table.Route, path []uint32) {
		as := []bgp.AsPathParamInterface{bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, path)}
		b, err := bgp.NewPathAttributeAsPath(as).Serialize()
		require.NoError(t, err)
		id := r.ID()
		l.send(appendUpdate(nil, func(u []byte) []byte {
			u = append(u, flagsWellKnown, byte(bgp.BGP_ATTR_TYPE_ORIGIN), 1, 0)
			u = append(u, b...)
			u = append(u, flagsTransitive, byte(bgp.BGP_ATTR_TYPE_EXTENDED_COMMUNITIES), 16)
			u = append(u, r.Targets[0][:]...)
			u = append(u, communityEncap>>8, communityEncap&0xff, 0, 0, 0, 0, 0, encapVXLAN)
			v := appendAddr([]byte{0, bgp.AFI_L2VPN, bgp.SAFI_EVPN, 4}, r.VTEP)
			return appendAttribute(u, flagsOptional, bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, appendNLRI(append(v, 0), &id, r.VNI, r.Gateway))
		}))
	}
	announce(good, []uint32{65001})
	w.has("p", good)
	announce(back, []uint32{65001, 65000, 65007})
	announce(good, []uint32{65001, 65000}) // it replaces the one that was good
	w.has("p")
	l.send(endOfRIB)
	l.untilEndOfRIB()
}

// two are speakers of two fabrics, AS 65000 and AS 65100: the second waits for the
// first to dial.
func two(t *testing.T, password string, edit ...func(*Config)) (a, b *world) {
	l, err := Listen(netip.MustParseAddrPort("127.0.0.2:0"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() { cancel(); assert.ErrorIs(t, <-done, context.Canceled) })
	from := netip.MustParseAddr("127.0.0.3")
	a = start(t, append([]func(*Config){toFabric}, edit...)...)
	b = start(t, append([]func(*Config){func(c *Config) { c.ASN, c.RouterID, c.Listener = 65100, netip.MustParseAddr("192.0.2.251"), l }, toFabric}, edit...)...)
	require.NoError(t, a.SetPeers([]Peer{{Name: "b", Address: l.Addr(), ASN: 65100, LocalASN: 65000, LocalAddress: from, Password: password, HoldTime: 3 * time.Second}}))
	require.NoError(t, b.SetPeers([]Peer{{Name: "a", Address: netip.AddrPortFrom(from, 179), ASN: 65000, LocalASN: 65100, Password: password, HoldTime: 3 * time.Second, Passive: true}}))
	return a, b
}

func TestTwoFabricsSpeak(t *testing.T) {
	a, b := two(t, "between us", func(c *Config) { c.Hold = true })
	ra, rb := macIP(100, vm1, "192.0.2.1", vtep1), macIP(100, vm1, "192.0.2.2", vtep2)
	require.NoError(t, a.Announce([]table.Route{ra}, nil))
	require.NoError(t, b.Announce([]table.Route{rb}, nil))
	a.Open()
	b.Open()
	a.established("b")
	b.established("a")
	require.False(t, a.Heard() || b.Heard(), "both hold back what they have")
	a.Release()
	b.Release() // both have just started, and neither waits for the other's table
	a.has("b", rb)
	b.has("a", ra)
	a.until("all is told", func() bool { return a.Heard() && b.Heard() })

	// One is killed: the other keeps what it had said, until it is back with less.
	a.stop()
	b.until("the session is lost", func() bool { st, _ := b.Peer("a"); return st.State != stateEstablished && st.Restarting })
	b.has("a", ra)
	again := start(t, toFabric, func(c *Config) { c.Hold = true })
	require.NoError(t, again.SetPeers([]Peer{a.wanted["b"]}))
	again.Open()
	again.has("b", rb)
	again.until("b has told all", again.Heard)
	b.has("a", ra)
	again.Release()
	b.has("a")

	// A peer that is taken out is told, and keeps nothing.
	require.NoError(t, again.Announce([]table.Route{ra}, nil))
	b.has("a", ra)
	require.NoError(t, again.SetPeers(nil))
	b.has("a")
	require.False(t, func() bool { st, _ := b.Peer("a"); return st.Restarting }())
}

func TestPasswordsAndASesMustAgree(t *testing.T) {
	a, b := two(t, "between us")
	other := a.wanted["b"]
	other.Password = "others"
	require.NoError(t, a.SetPeers([]Peer{other}))
	a.Open()
	b.Open()
	says := func(w *world, peer, what string) {
		w.until(what, func() bool { return strings.Contains(w.alarm(peer, southbound.AlarmSession), what) })
	}
	says(a, "b", "the TCP-MD5 passwords differ")
	says(b, "a", "no connection from 127.0.0.3: it does not dial")
	other.Password, other.ASN = "between us", 65101
	require.NoError(t, a.SetPeers([]Peer{other}))
	says(a, "b", "the peer is in AS 65100, spec.asn of the interconnect says 65101")
	other.ASN, other.LocalASN = 65100, 65009
	require.NoError(t, a.SetPeers([]Peer{other}))
	says(b, "a", "the peer is in AS 65009, spec.asn of the interconnect says 65000")
	other.LocalASN = 65000
	require.NoError(t, a.SetPeers([]Peer{other}))
	a.established("b")
	a.until("alarm ended", func() bool {
		return a.alarm("b", southbound.AlarmSession) == "" && b.alarm("a", southbound.AlarmSession) == ""
	})
}

// A peer that falls silent is lost after the hold time, and what it said is kept:
// that nothing comes does not mean that nothing is there (RFC 8538).
func TestASilentFabricKeepsItsRoutes(t *testing.T) {
	w := start(t, toFabric)
	for _, lasts := range []bool{true, false} {
		l := newLeaf(t, 65001, "10.255.0.1")
		l.Notifies = lasts
		p := l.outside("p")
		p.HoldTime = 3 * time.Second
		require.NoError(t, w.SetPeers([]Peer{p}))
		w.Open()
		l.up(false)
		r := ours(l, macIP(100, vm1, "192.0.2.1", vtep1))
		l.announce(r)
		l.send(endOfRIB)
		w.has("p", r)
		w.until("the hold timer expires", func() bool { st, _ := w.Peer("p"); return st.State != stateEstablished })
		if lasts {
			st, _ := w.Peer("p")
			require.True(t, st.Restarting)
			w.has("p", r)
		} else {
			w.has("p")
		}
	}
}

// A peer that dials while its session is up has lost it without our knowing: the
// old one ends at once, and the next attempt is taken.
func TestAPeerThatComesBackUnseen(t *testing.T) {
	a, b := two(t, "")
	ra := macIP(100, vm1, "192.0.2.1", vtep1)
	require.NoError(t, a.Announce([]table.Route{ra}, nil))
	a.Open()
	b.Open()
	b.has("a", ra)
	c, err := dial(t.Context(), netip.MustParseAddr("127.0.0.3"), a.wanted["b"].Address, "")
	require.NoError(t, err)
	defer c.Close()
	b.until("the session was up twice", func() bool { st, _ := b.Peer("a"); return st.Flaps == 1 && st.State == stateEstablished })
	b.has("a", ra)
	// A stranger gets nothing.
	s, err := dial(t.Context(), netip.MustParseAddr("127.0.0.9"), a.wanted["b"].Address, "")
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
	_, err = s.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "timeout")
}
