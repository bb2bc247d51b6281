package linux

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/southbound/frr"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

var (
	vtep2  = netip.MustParsePrefix("10.254.0.2/32")
	spine1 = netip.MustParseAddr("10.192.0.0")
	spine2 = netip.MustParseAddr("10.192.0.2")
	ll1    = netip.MustParseAddr("fe80::1")
)

func leg(name string, via netip.Addr) fibLeg { return fibLeg{name: name, via: via, weight: 1} }

// What the kernel has otherwise than zebra is found; what is not FRR's to say is not.
func TestDifferencesOfRoutes(t *testing.T) {
	bgp := frr.Route{Prefix: vtep2, Protocol: "bgp", Distance: 20, Selected: true, Installed: true,
		NextHops: []frr.NextHop{{Via: spine1, Interface: "eth1", Weight: 1}, {Via: spine2, Interface: "eth2", Weight: 1}}}
	both := []fibLeg{leg("eth1", spine1), leg("eth2", spine2)}
	change := func(f func(*frr.Route)) frr.Route {
		r := bgp
		r.NextHops = append([]frr.NextHop(nil), bgp.NextHops...)
		f(&r)
		return r
	}
	for name, c := range map[string]struct {
		rib      frr.Route
		protocol int
		legs     []fibLeg // nil: no route
		down     string
		want     string // what differs; empty: nothing
	}{
		"alike":                          {bgp, unix.RTPROT_BGP, both, "", ""},
		"a single leg":                   {bgp, unix.RTPROT_BGP, both[:1], "", "bgp -eth2 +"},
		"no route":                       {bgp, unix.RTPROT_BGP, nil, "", "bgp -eth1,eth2 +"},
		"a leg too many":                 {bgp, unix.RTPROT_BGP, append([]fibLeg{leg("eth3", ll1)}, both...), "", "bgp - +eth3"},
		"another neighbour":              {bgp, unix.RTPROT_BGP, []fibLeg{leg("eth1", spine2), both[1]}, "", "bgp -eth1 +eth1"},
		"someone else's":                 {bgp, unix.RTPROT_STATIC, both[:1], "", ""},
		"a port that is down":            {bgp, unix.RTPROT_BGP, both[:1], "eth2", ""},
		"not selected":                   {change(func(r *frr.Route) { r.Selected = false }), unix.RTPROT_BGP, both[:1], "", ""},
		"not yet installed":              {change(func(r *frr.Route) { r.Installed = false }), unix.RTPROT_BGP, both[:1], "", ""},
		"static":                         {change(func(r *frr.Route) { r.Protocol = "static" }), unix.RTPROT_STATIC, both[:1], "", ""},
		"IS-IS":                          {change(func(r *frr.Route) { r.Protocol = "isis" }), unix.RTPROT_ISIS, both[1:], "", "isis -eth1 +"},
		"a blackhole":                    {change(func(r *frr.Route) { r.NextHops = nil }), unix.RTPROT_BGP, both, "", ""},
		"unnumbered":                     {change(func(r *frr.Route) { r.NextHops[0].Via = ll1 }), unix.RTPROT_BGP, []fibLeg{leg("eth1", mapped), both[1]}, "", ""},
		"unnumbered, as objects have it": {change(func(r *frr.Route) { r.NextHops[0].Via = ll1 }), unix.RTPROT_BGP, []fibLeg{leg("eth1", ll1), both[1]}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := kernelRouting{up: map[string]bool{"eth1": true, "eth2": true, "eth3": true}, fib: map[netip.Prefix]fibRoute{}}
			delete(k.up, c.down)
			if c.legs != nil {
				k.fib[vtep2] = fibRoute{prefix: vtep2, protocol: c.protocol, metric: zebraMetric, legs: c.legs}
			}
			got := differences([]frr.Route{c.rib}, k)
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Equal(t, c.want, got[0].about())
		})
	}
}

// A route that is written anew has the source of its like.
func TestSourceOfALostRoute(t *testing.T) {
	other := netip.MustParsePrefix("10.254.0.3/32")
	src := netip.MustParseAddr("10.255.0.1")
	k := kernelRouting{up: map[string]bool{"eth1": true}, fib: map[netip.Prefix]fibRoute{other: {prefix: other, protocol: unix.RTPROT_BGP, src: src}}}
	got := differences([]frr.Route{{Prefix: vtep2, Protocol: "bgp", Selected: true, Installed: true, NextHops: []frr.NextHop{{Via: spine1, Interface: "eth1"}}}}, k)
	require.Len(t, got, 1)
	require.Equal(t, src, got[0].have.src)
}

// Prefixes with the same next hops are one group, in an order that does not depend on
// that of the tables; a routing protocol's route is told though another is preferred.
func TestGroups(t *testing.T) {
	hops := []frr.NextHop{{Via: spine2, Interface: "eth2", Weight: 1}, {Via: spine1, Interface: "eth1", Weight: 3}, {Via: ll1, Interface: "eth9", Weight: 1}}
	a, b, own := netip.MustParsePrefix("10.254.0.2/32"), netip.MustParsePrefix("10.254.0.3/32"), netip.MustParsePrefix("10.254.0.1/32")
	rib := []frr.Route{
		{Prefix: own, Protocol: "connected", NextHops: []frr.NextHop{{Interface: "lo", Weight: 1}}},
		{Prefix: a, Protocol: "kernel", Selected: true, NextHops: hops[:1]}, {Prefix: a, Protocol: "bgp", Distance: 20, NextHops: hops},
		{Prefix: b, Protocol: "bgp", Distance: 20, NextHops: hops},
		{Prefix: netip.MustParsePrefix("fe80::/64"), Protocol: "connected", NextHops: hops[:1]},
		{Prefix: netip.MustParsePrefix("10.64.0.0/24"), Protocol: "static"},
	}
	got := learned(rib, map[string]bool{"eth1": true, "eth2": true})
	require.Equal(t, []switchstate.Group{
		{Prefixes: []netip.Prefix{own}, Protocol: "connected", NextHops: []switchstate.NextHop{{Interface: "lo"}}},
		{Prefixes: []netip.Prefix{a, b}, Protocol: "bgp", NextHops: []switchstate.NextHop{{Interface: "eth1", Via: spine1, Weight: 3}, {Interface: "eth2", Via: spine2}}},
	}, got)
	require.True(t, got[0].Local())
	fib := map[netip.Prefix]fibRoute{}
	for _, p := range []netip.Prefix{b, a} {
		fibRoute{prefix: p, protocol: unix.RTPROT_BGP, metric: 20, legs: []fibLeg{leg("eth2", spine2)}}.into(fib)
		fibRoute{prefix: p, protocol: unix.RTPROT_BGP, metric: 20, legs: []fibLeg{leg("eth1", spine1)}}.into(fib)
		fibRoute{prefix: p, protocol: unix.RTPROT_STATIC, metric: 30, legs: []fibLeg{leg("eth3", ll1)}}.into(fib)
	}
	require.Equal(t, []switchstate.Group{{Prefixes: []netip.Prefix{a, b}, Protocol: "bgp", NextHops: []switchstate.NextHop{{Interface: "eth1", Via: spine1}, {Interface: "eth2", Via: spine2}}}}, programmed(fib))
}

// A report is bounded, and says what it leaves out.
func TestReportsAreBounded(t *testing.T) {
	var g switchstate.Group
	for i := range switchstate.RoutesMost + 7 {
		g.Prefixes = append(g.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
	}
	list, left := bound([]switchstate.Group{g, {Prefixes: []netip.Prefix{vtep2}}}, 1)
	require.Equal(t, 9, left)
	require.Len(t, list, 1)
	require.Len(t, list[0].Prefixes, switchstate.RoutesMost)
	sessions, left := first(make([]int, switchstate.SessionsMost+2), 3)
	require.Len(t, sessions, switchstate.SessionsMost)
	require.Equal(t, 5, left)
	u := NewRouting("", slog.New(slog.DiscardHandler))
	for range switchstate.MendsMost + 5 {
		u.note(switchstate.Mend{At: time.Unix(1, 0), Object: "eth1", Message: "m"})
	}
	require.Len(t, u.mends, switchstate.MendsMost)
}

// The same state has the same hash, and wakes nobody again.
func TestRoutingTellsChangesOnly(t *testing.T) {
	u := NewRouting("", slog.New(slog.DiscardHandler))
	_, hash := u.Routing()
	require.Empty(t, hash)
	r := switchstate.Routing{BGP: []switchstate.BGPSession{{Peer: "eth1", State: "Active"}}}
	u.tell(r)
	<-u.Changed()
	u.tell(r)
	require.Empty(t, u.Changed())
	r.BGP = []switchstate.BGPSession{{Peer: "eth1", State: "Established"}}
	u.tell(r)
	<-u.Changed()
	got, hash := u.Routing()
	require.Equal(t, r, got)
	require.Equal(t, r.Hash(), hash)
}

// The port of a session by address is that of the link with the address.
func TestSessionsHavePorts(t *testing.T) {
	link, far := netip.MustParsePrefix("10.192.0.0/31"), netip.MustParsePrefix("0.0.0.0/0")
	k := kernelRouting{fib: map[netip.Prefix]fibRoute{link: {legs: []fibLeg{leg("eth1", netip.Addr{})}}, far: {legs: []fibLeg{leg("eth0", spine1)}}}}
	require.Equal(t, "eth1", k.session(frr.Session{Peer: "10.192.0.0"}).Interface)
	require.Equal(t, "eth2", k.session(frr.Session{Peer: "eth2"}).Interface)
	require.Empty(t, k.session(frr.Session{Peer: "127.0.0.2"}).Interface)
}

// bgpd counts back from now: the second since when a session is up varies, and the
// report must not.
func TestSessionsAreSteady(t *testing.T) {
	u := NewRouting("", slog.New(slog.DiscardHandler))
	at := time.Unix(100, 0)
	told := func(since time.Time) time.Time {
		list := []switchstate.BGPSession{{Peer: "eth1", Since: since}}
		u.steady(list)
		return list[0].Since
	}
	require.Equal(t, at, told(at))
	require.Equal(t, at, told(at.Add(time.Second)))
	require.Equal(t, at, told(at.Add(-time.Second)))
	require.Equal(t, at.Add(3*time.Second), told(at.Add(3*time.Second)), "it flapped")
	require.True(t, told(time.Time{}).IsZero())
	require.Equal(t, at.Add(4*time.Second), told(at.Add(4*time.Second)))
}
