//go:build lab

package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/southbound/leafstate"
)

const outsideVNI = 5000

// A border without VRF devices has the outside in its default VRF, beside the
// underlay: two routers outside, and another leaf that has an address of the pools.
func TestOutsideInTheDefaultVRF(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	for _, l := range r.leaves {
		l.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
	}
	r.daemon(a.ns, a.dir, "bfdd", "--bfdctl", filepath.Join(a.dir, "bfdd.sock"))
	one, two := r.newOutsider(1, a), r.newOutsider(2, a)
	before := a.vty("bgpd", "show running-config")
	s := a.state()
	s.Routers = []leafstate.Router{external(outsideVNI, true, one, two)}
	s.Routers[0].Outside.Others = []netip.Addr{netip.MustParseAddr("10.9.0.3")}
	in, err := a.applied(s)
	require.NoError(t, err)
	if in.Routers[0].Error != "" {
		require.Contains(t, in.Routers[0].Error, errNotReflected.Error())
		require.NotContains(t, a.vty("bgpd", "show running-config"), "192.0.2.3", "the fabric's routes come first")
	}
	r.wait("the leaf has the fabric's routes", func() error {
		in, err := a.applied(s)
		if err == nil && in.Routers[0].Error != "" {
			err = errors.New(in.Routers[0].Error)
		}
		return err
	})
	a.mustRoute(s)
	inside := b.state()
	inside.Routers = []leafstate.Router{external(outsideVNI, true)}
	b.mustRoute(inside)
	b.hostInPool()
	defer func() {
		if t.Failed() {
			a.logRoutes()
			b.logRoutes()
		}
	}()
	for _, o := range []*outsider{one, two} {
		for _, v6 := range []bool{false, true} {
			r.wait("the session is up, with what is taken and told", func() error {
				got := a.outsideSessions(outsideVNI)[o.address(v6, false).Addr().String()]
				if got.State != established || got.Taken != 2 || got.Announced != 1 {
					return fmt.Errorf("%+v", got)
				}
				return nil
			})
		}
	}
	r.wait("packets pass both ways", func() error {
		for _, o := range []*outsider{one, two} {
			for _, v6 := range []bool{false, true} {
				if err := b.pingFrom(map[bool]netip.Addr{false: host4, true: host6}[v6], o.behind(v6)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	r.nothingLeaks(a, b, one, two)

	config := a.vty("bgpd", "show running-config")
	a.sw = New(a.sw.config)
	require.Equal(t, []string{"filters: 1 transactions"}, a.changes(func() { a.mustRoute(s) }), "an agent that starts takes over what it finds")
	require.Equal(t, config, a.vty("bgpd", "show running-config"))
	r.outsideIsMended(a, s, one, config)

	a.mustRoute(a.state())
	require.Equal(t, before, a.vty("bgpd", "show running-config"))
	require.NotContains(t, a.vty("zebra", "show running-config"), "vni 5000")
	require.NotContains(t, a.run("ip", "addr"), "192.0.2.")
	require.NotContains(t, a.run("ip", "route"), "203.0.113")
	require.NotContains(t, a.run("ip", "link"), outsideAlias)
	require.NotContains(t, a.run("nft", "list", "tables"), "inet")
	r.reach(a, b)
}

// hostInPool gives the leaf addresses of the pools, which it announces.
func (l *leaf) hostInPool() {
	l.r.t.Helper()
	l.r.addr(l.ns, "lo", host4.String()+"/32")
	l.r.addr(l.ns, "lo", host6.String()+"/128")
	_, err := VTY(l.r.t.Context(), l.dir, "bgpd", "configure terminal", "route-map host permit 10", fmt.Sprintf("set large-community %d:%d:1", labASN, outsideVNI), "exit",
		fmt.Sprintf("router bgp %d", labASN), "address-family ipv4 unicast", "network "+host4.String()+"/32 route-map host", "exit-address-family",
		"address-family ipv6 unicast", "network "+host6.String()+"/128 route-map host", "exit-address-family")
	require.NoError(l.r.t, err)
}

func (l *leaf) pingFrom(from, to netip.Addr) error {
	out, err := exec.Command("ip", "netns", "exec", l.ns, "ping", "-c1", "-W1", "-I", from.String(), to.String()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s to %s: %w: %s", from, to, err, out)
	}
	return nil
}

func (l *leaf) logRoutes() {
	for _, c := range []string{"ip route", "ip -6 route", "ip neigh", "nft list ruleset"} {
		l.r.t.Log(c, l.run(strings.Fields(c)...))
	}
	for _, c := range []string{"show bgp l2vpn evpn", "show bgp summary", "show running-config"} {
		l.r.t.Log(c, l.vty("bgpd", c))
	}
}

// nothingLeaks wants that peers outside know the pools and nothing else; that of
// what they announce nothing of ours is taken, and nothing else is told to the
// fabric; and that packets pass for the pools alone.
func (r *rig) nothingLeaks(a, b *leaf, one, two *outsider) {
	t := r.t
	t.Helper()
	for _, o := range []*outsider{one, two} {
		require.Equal(t, []string{"2001:db8:f::/64 65000", "203.0.113.0/24 65000"}, o.knows())
	}
	require.Equal(t, []string{"[5]:[0]:[0]:[0.0.0.0]", "[5]:[0]:[0]:[::]", "[5]:[0]:[128]:[2001:db8:1::1]", "[5]:[0]:[128]:[2001:db8:2::1]",
		"[5]:[0]:[32]:[198.51.100.1]", "[5]:[0]:[32]:[198.51.100.2]"}, b.prefixRoutes(a))
	require.Contains(t, a.run("ip", "route", "get", "10.9.0.2"), "10.8.1.9", "the underlay's own route stays")

	for _, o := range []*outsider{one, two} {
		r.in(o.ns, "ip", "route", "add", "10.0.0.0/8", "via", o.address(false, true).Addr().String())
		r.in(o.ns, "ip", "route", "add", "198.51.100.0/24", "via", o.address(false, true).Addr().String())
	}
	for _, to := range []netip.Addr{a.vtep(), b.vtep(), reflector, netip.MustParseAddr("10.8.1.1"), two.behind(false), two.address(false, true).Addr()} {
		require.Error(t, one.ping(one.behind(false), to), "%s is not reached from outside", to)
	}
	require.NoError(t, one.ping(one.address(false, false).Addr(), one.address(false, true).Addr()), "its own link's")
	require.NoError(t, one.ping(one.behind(false), host4))
	// Who is outside has no address of ours, and who is inside no other.
	r.addr(one.ns, "lo", "203.0.113.99/32")
	require.Error(t, one.ping(netip.MustParseAddr("203.0.113.99"), host4))
	r.addr(b.ns, "lo", "10.77.0.1/32")
	r.in(one.ns, "ip", "route", "add", "10.77.0.1", "via", one.address(false, true).Addr().String())
	require.Error(t, b.pingFrom(netip.MustParseAddr("10.77.0.1"), one.behind(false)))
	require.Regexp(t, `(?s)chain to5000 .*counter packets [1-9]`, a.run("nft", "list", "table", "inet", "weft"))
	require.Error(t, b.pingFrom(host4, netip.MustParseAddr("10.8.1.1")), "a tenant reaches nothing of the border's underlay")
	require.Error(t, b.pingFrom(host4, netip.MustParseAddr("203.0.113.200")), "an address of the pool that nobody has")
}

// outsideIsMended tampers with the border.
func (r *rig) outsideIsMended(a *leaf, s leafstate.State, one *outsider, config string) {
	t := r.t
	t.Helper()
	for what, tamper := range map[string][]string{
		"a session is removed":             {"router bgp 65000", "no neighbor 192.0.2.3"},
		"another network is announced":     {"router bgp 65000", "address-family ipv4 unicast", "network 10.9.0.0/24 route-map weft-5000-own"},
		"a filter is gone":                 {"no route-map weft-5000-out"},
		"a filter lets more pass":          {"ip prefix-list weft-5000-out permit 10.0.0.0/8 le 32"},
		"a peer has no filter":             {"router bgp 65000", "address-family ipv4 unicast", "no neighbor 192.0.2.3 route-map weft-5000-out out"},
		"all becomes prefix routes":        {"router bgp 65000", "address-family l2vpn evpn", "advertise ipv4 unicast"},
		"the other's place is not taken":   {"router bgp 65000", "address-family ipv4 unicast", "no network 10.9.0.3/32 route-map weft-standin"},
		"the other's place is taken early": {"route-map weft-standin permit 10", "no set weight"},
	} {
		_, err := VTY(t.Context(), a.dir, "bgpd", append([]string{"configure terminal"}, tamper...)...)
		require.NoError(t, err, what)
		a.mustRoute(s)
		require.Equal(t, sorted(config), sorted(a.vty("bgpd", "show running-config")), what)
	}
	for range 4 { // a reference to what was freed would be found here
		for _, tamper := range [][]string{{"no route-map weft-5000-out", "no route-map weft-standin"}, {"router bgp 65000", "no neighbor 192.0.2.3", "address-family ipv4 unicast", "no network 10.9.0.3/32 route-map weft-standin"}} {
			_, err := VTY(t.Context(), a.dir, "bgpd", append([]string{"configure terminal"}, tamper...)...)
			require.NoError(t, err, tamper)
			a.mustRoute(s)
			require.Equal(t, sorted(config), sorted(a.vty("bgpd", "show running-config")), tamper)
		}
	}
	a.run("ip", "addr", "del", "192.0.2.2/31", "dev", "out1")
	a.run("ip", "addr", "add", "192.0.2.99/32", "dev", "out1")
	a.run("ip", "route", "del", "unreachable", "203.0.113.0/24", "metric", fmt.Sprint(announcedMetric))
	a.run("nft", "flush", "table", "inet", "weft")
	a.mustRoute(s)
	require.Contains(t, a.run("ip", "addr"), "192.0.2.2/31")
	require.NotContains(t, a.run("ip", "addr"), "192.0.2.99")
	require.Contains(t, a.run("ip", "route"), "unreachable 203.0.113.0/24")
	require.Contains(t, a.run("nft", "list", "table", "inet", "weft"), "jump from5000")
	r.wait("packets pass again", func() error { return one.ping(one.behind(false), host4) })
}

// sorted are the lines of a text in an order of their own.
func sorted(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		f := strings.Fields(lines[i])
		for j := range f {
			if f[j] == "seq" && j+1 < len(f) {
				f[j+1] = "_"
			}
		}
		lines[i] = strings.Join(f, " ")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
