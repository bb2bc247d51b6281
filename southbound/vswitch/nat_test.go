package vswitch

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

func addrs(as ...string) (out []netip.Addr) {
	for _, a := range as {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// natted is a port whose router leads to external network 7000, with source NAT if
// the edge has addresses there, and with floating IPs in pairs with fixed addresses.
func natted(l overlay.LocalPort, sources []netip.Addr, pairs ...string) overlay.LocalPort {
	l = routed(l, nil)
	l.NAT = &overlay.NAT{External: 7000, Sources: sources}
	for i := 0; i < len(pairs); i += 2 {
		l.NAT.Floating = append(l.NAT.Floating, overlay.Floating{Address: netip.MustParseAddr(pairs[i]), Fixed: netip.MustParseAddr(pairs[i+1])})
	}
	return l
}

func translatingPipe(ls ...overlay.LocalPort) pipeline {
	p := pipe
	p.nat = natOf(locals(ls...))
	return p
}

func TestGoldenNATFlows(t *testing.T) {
	one := natted(local(1, "192.168.0.1", "fd00::1"), addrs("203.0.113.2", "2001:db8:f::2"), "203.0.113.10", "192.168.0.1", "2001:db8:f::10", "fd00::1", "203.0.113.11", "192.168.0.1")
	none := natted(local(2, "192.168.0.2"), nil)
	p := translatingPipe(one)
	var b strings.Builder
	for _, s := range []struct {
		what  string
		flows []openflow.Flow
	}{
		{"source NAT of a router", p.nat.flows()},
		{"a port with floating IPs, two of them for one address", p.floating(one)},
		{"a router without source NAT", translatingPipe(none).nat.flows()},
		{"a port without floating IP", translatingPipe(none).floating(none)},
		{"a floating IP elsewhere", p.routed(7000, hostTo(evpn.HostKey(intent.MAC{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("203.0.113.9")), other, 0, intent.RouterMAC(other)))},
		{"a floating IP here", p.routed(7000, hostTo(evpn.HostKey(intent.MAC{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("203.0.113.9")), self, 0, intent.RouterMAC(self)))},
	} {
		fmt.Fprintf(&b, "# %s: %d flows\n", s.what, len(s.flows))
		for _, f := range s.flows {
			fmt.Fprintln(&b, f)
		}
	}
	const path = "testdata/nat.golden"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}

// Zones follow from what is there now, never meet, and stay apart from those of
// ports.
func TestZonesOfTranslation(t *testing.T) {
	router := func(i byte, v intent.VNI, ofPort uint32) overlay.LocalPort {
		l := local(i)
		l.OFPort = ofPort
		l.Routing = &overlay.Routing{VRF: &overlay.VRF{VNI: v}}
		l.NAT = &overlay.NAT{External: 7000}
		return l
	}
	n := natOf(locals(router(1, 5000, 1), router(2, 5000+natPairs, 2), router(3, 5001, 3), router(4, 5002, natZones+2*5003+1)))
	require.Equal(t, map[intent.VNI]uint16{
		5000: natZones + 2*5000, 5001: natZones + 2*5001, 5002: natZones + 2*5002,
		5000 + natPairs: natZones + 2*5004, // 5003's has a port
		7000:            natZones + 2*7000,
	}, n.zones)
	last := natOf(locals(router(1, natPairs-1, 1)))
	require.Equal(t, uint16(65534), last.zones[natPairs-1], "both of the last are zones")
	require.Empty(t, natOf(locals(standby(router(1, 5000, 1)))).zones)
}

// What conntrack remembers of a zone is forgotten when something is translated
// otherwise there, and only then: a restart and other routers change nothing.
func TestWhichZonesAreForgotten(t *testing.T) {
	source := addrs("203.0.113.2")
	one := natted(local(1, "192.168.0.1"), source, "203.0.113.10", "192.168.0.1")
	two := natted(local(2, "192.168.0.2"), source)
	three := natted(local(3, "192.168.0.3"), source)
	three.Routing = &overlay.Routing{VRF: &overlay.VRF{VNI: 5001}}
	moved := natted(local(2, "192.168.0.2"), source, "203.0.113.10", "192.168.0.2")
	floating, from, external := uint16(natZones+2*5000), uint16(natZones+2*5000+1), uint16(natZones+2*7000+1)
	otherSource := natted(local(2, "192.168.0.2"), addrs("203.0.113.3"))
	all := func(ls ...overlay.LocalPort) translations {
		return translationsOf(natOf(locals(ls...)).all(locals(ls...)))
	}
	for _, c := range []struct {
		what        string
		before, now translations
		zones       []uint16
	}{
		{"the first", nil, all(one, two), []uint16{floating, from, external}},
		{"nothing", all(one, two), all(one, two), nil},
		{"another router", all(one, two), all(one, two, three), []uint16{natZones + 2*5001 + 1}},
		{"a router goes", all(one, two, three), all(one, two), nil},
		{"a port of the router comes", all(one), all(one, two), nil},
		{"the floating IP goes to another port", all(one, two), all(local(1), moved), []uint16{floating}},
		{"it goes", all(one, two), all(two), nil},
		{"another source address", all(two), all(otherSource), []uint16{external}},
	} {
		require.Equal(t, c.zones, spoiled(c.before, c.now), c.what)
	}
	has := flowSet{}
	has.add(natOf(locals(one, two)).all(locals(one, two))...)
	require.Empty(t, spoiled(translationsOf(translated(describes(t, has))), all(one, two)), "a controller that starts forgets nothing")
}

func TestNATFlowsAreApart(t *testing.T) {
	one := natted(local(1, "192.168.0.1", "fd00::1"), addrs("203.0.113.2", "2001:db8:f::2"), "203.0.113.10", "192.168.0.1", "2001:db8:f::10", "fd00::1", "203.0.113.11", "192.168.0.1")
	two := natted(local(2, "192.168.0.2"), addrs("203.0.113.2", "2001:db8:f::2"), "203.0.113.12", "192.168.0.2")
	p := translatingPipe(one, two)
	all, n := flowSet{}, 0
	for _, fs := range [][]openflow.Flow{p.base(), p.port(one), p.port(two), p.nat.flows(), p.vrf(&vrf.VRF, true), p.vrf(&overlay.VRF{VNI: 7000, External: true}, false)} {
		all.add(fs...)
		n += len(fs)
	}
	require.Equal(t, n, len(all))
	for _, f := range p.nat.flows() {
		require.Zero(t, f.Cookie&cookieVNI, "they don't go with a network: %s", f)
	}
}

// An ICMP error about what was translated goes back as answers do.
func TestWhichErrorsAreTranslatedBack(t *testing.T) {
	l := natted(local(1, "192.168.0.1"), addrs("203.0.113.2", "2001:db8:f::2"), "203.0.113.10", "192.168.0.1")
	frame := func(to string) []byte {
		a := netip.MustParseAddr(to)
		if a.Is4() {
			f := append(make([]byte, 12), 8, 0)
			return append(append(f, make([]byte, 16)...), a.AsSlice()...)
		}
		f := append(make([]byte, 12), 0x86, 0xdd)
		return append(append(f, make([]byte, 24)...), a.AsSlice()...)
	}
	for _, a := range []string{"203.0.113.2", "203.0.113.10", "2001:db8:f::2"} {
		require.True(t, isTranslated(l, 7000, frame(a)), a)
		require.False(t, isTranslated(l, 5000, frame(a)), a)
	}
	require.False(t, isTranslated(l, 7000, frame("192.168.0.1")))
	l.NAT = nil
	require.False(t, isTranslated(l, 7000, frame("203.0.113.2")))
}

func TestFlowsOfAFloatingIPInWords(t *testing.T) {
	l := natted(local(1, "192.168.0.1"), nil, "203.0.113.10", "192.168.0.1")
	var got []string
	for _, f := range translatingPipe(l).floating(l) {
		got = append(got, TableName(f.Table)+": "+words{port: l}.say(f))
	}
	require.Equal(t, []string{
		"route: what comes from outside, IPv4 to 203.0.113.10, is translated to 192.168.0.1",
		"inside: IPv4 tcp to 203.0.113.10 has come from outside",
		"outside: IPv4 from 203.0.113.10 goes outside",
		"inside: IPv4 to 192.168.0.1 has come from outside",
		"leak: IPv4 from 192.168.0.1 that goes outside is translated to be from 203.0.113.10",
		"outside: IPv4 tcp from 192.168.0.1 goes outside",
	}, got)
}
