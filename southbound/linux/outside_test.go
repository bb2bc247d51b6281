package linux

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

func outsideRouter(inDefault bool) leafstate.Router {
	return leafstate.Router{VNI: 5000, Import: []string{"1:1"}, Outside: &leafstate.Outside{
		Default: inDefault, Announce: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:f::/64")},
		Accept: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("198.51.100.1/32")},
		Others: []netip.Addr{netip.MustParseAddr("10.0.0.2")},
		Peers: []leafstate.OutsidePeer{
			{Address: netip.MustParseAddr("192.0.2.1"), ASN: 64999, Interface: "eth3", Local: netip.MustParsePrefix("192.0.2.0/31"), BFD: true, Password: "s3cret"},
			{Address: netip.MustParseAddr("2001:db8:1::1"), ASN: 64999, Interface: "eth3", Local: netip.MustParsePrefix("2001:db8:1::/127")}}}}
}

// printed is a configuration as bgpd would print the policies, with the numbers of
// lists' entries.
func printed(ps policies) string {
	var b strings.Builder
	for i, head := range slices.Sorted(func(yield func(string) bool) {
		for h := range ps {
			if !yield(h) {
				return
			}
		}
	}) {
		if !strings.HasPrefix(head, "route-map") {
			at := strings.LastIndex(head, " permit ")
			head = fmt.Sprintf("%s seq %d%s", head[:at], 5*i, head[at:])
			fmt.Fprintln(&b, head)
			continue
		}
		fmt.Fprintln(&b, head)
		for _, l := range ps[head] {
			fmt.Fprintln(&b, " "+l)
		}
		b.WriteString("exit\n!\n")
	}
	return b.String()
}

func TestPoliciesAreReadBackAndMended(t *testing.T) {
	want := wantedPolicies(65001, outsideRouter(false), nil)
	text := "hostname x\nip prefix-list underlay seq 5 permit 10.0.0.0/8 le 32\n" + printed(want) + printed(standInPolicies(65001)) + "route-map other permit 10\n set weight 1\nexit\nrouter bgp 65001\n neighbor 192.0.2.1 route-map weft-5000-in in\nexit\n"
	has := readPolicies(text)
	require.Len(t, has, 2)
	require.Empty(t, policyCommands(has[5000], want))
	require.Empty(t, policyCommands(has[0], standInPolicies(65001)))

	fresh := policyCommands(nil, want)
	require.Contains(t, fresh, "ip prefix-list weft-5000-out permit 203.0.113.0/24")
	require.NotContains(t, strings.Join(fresh, "\n"), "weft-5000-out permit 203.0.113.0/24 le", "the prefix itself only is announced")
	require.Contains(t, fresh, "ip prefix-list weft-5000-own permit 203.0.113.0/24 le 32", "nothing inside it is taken")
	require.Contains(t, fresh, "ip prefix-list weft-5000-accept permit any")
	require.Contains(t, fresh, "ip prefix-list weft-5000-accept permit 198.51.100.1/32")
	require.Less(t, slices.Index(fresh, "ip prefix-list weft-5000-out permit 203.0.113.0/24"), slices.Index(fresh, "route-map weft-5000-out permit 10"))

	for name, c := range map[string]struct{ from, to, mend string }{
		"an entry more": {"ip prefix-list weft-5000-out seq", "ip prefix-list weft-5000-out seq 90 permit 10.0.0.0/8 le 32\nip prefix-list weft-5000-out seq", "no ip prefix-list weft-5000-out seq 90 permit 10.0.0.0/8 le 32"},
		"a line less":   {" match ipv6 address prefix-list weft-5000-out\n", "", "match ipv6 address prefix-list weft-5000-out"},
		"a map less":    {"route-map weft-5000-in deny 5\n", "route-map weft-5000-in deny 7\n", "no route-map weft-5000-in"},
	} {
		broken := strings.Replace(text, c.from, c.to, 1)
		require.NotEqual(t, text, broken, name)
		require.Contains(t, policyCommands(readPolicies(broken)[5000], want), c.mend, name)
	}
	for _, c := range policyCommands(has[5000], nil) {
		require.True(t, strings.HasPrefix(c, "no ") || strings.HasPrefix(c, delayTimer), "%s", c)
	}

	anew := policyCommands(readPolicies(strings.Replace(text, "set as-path prepend 65001 65001 65001", "set as-path prepend 1", 1))[0], standInPolicies(65001))
	require.Equal(t, []string{delayTimer + " 0", "no route-map " + standInMap, delayTimer + " 1"}, anew[:3], "nothing refers to a map that goes")
	require.Equal(t, delayTimer+" 0", anew[len(anew)-1], "routes are judged anew")

	shared := wantedPolicies(65001, outsideRouter(true), []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")})
	require.Contains(t, shared, "ip prefix-list weft-5000-own permit 10.0.0.0/24 le 32")
	require.Contains(t, shared["route-map weft-5000-in permit 10"], "set local-preference 50")
	require.Contains(t, shared, "route-map weft-5000-fabric permit 10")
}

func TestInstancesOfBordersAreBroughtInLine(t *testing.T) {
	s := leafstate.State{VTEP: netip.MustParseAddr("10.0.0.1"), ASN: 65001}
	want := vrfLines(s, outsideRouter(false))
	require.NotContains(t, want, vrfLine{ipv4Unicast, "redistribute connected"})
	require.Empty(t, instanceCommands("router bgp 65001 vrf vrf5000", want, want, true))
	for _, f := range []string{ipv4Unicast, ipv6Unicast} {
		for _, n := range []string{"192.0.2.1", "2001:db8:1::1"} {
			require.Contains(t, want, vrfLine{f, "neighbor " + n + " route-map weft-5000-out out"}, "whatever is activated is filtered")
		}
	}

	moved := outsideRouter(false)
	moved.Outside.Peers[0].ASN = 64998
	cs := instanceCommands("router bgp 65001 vrf vrf5000", want, vrfLines(s, moved), true)
	require.Equal(t, []string{"router bgp 65001 vrf vrf5000", "no neighbor 192.0.2.1", "neighbor 192.0.2.1 remote-as 64998"}, cs[:3])
	require.Contains(t, cs, "neighbor 192.0.2.1 password s3cret", "a neighbour that is made anew has all its lines")
	require.Contains(t, cs, "neighbor 192.0.2.1 route-map weft-5000-out out")
	require.NotContains(t, strings.Join(cs, "\n"), "2001:db8:1::1", "the other one stays as it is")

	less := outsideRouter(false)
	less.Outside.Announce = less.Outside.Announce[1:]
	require.Equal(t, []string{"router bgp 65001 vrf vrf5000", "address-family ipv4 unicast", "no network 203.0.113.0/24 route-map weft-5000-own", "exit-address-family", "exit"},
		instanceCommands("router bgp 65001 vrf vrf5000", want, vrfLines(s, less), true))
	require.Equal(t, "no advertise ipv4 unicast", undo("advertise ipv4 unicast route-map weft-5000-evpn"))
	require.Equal(t, "bgp default ipv4-unicast", undo("no bgp default ipv4-unicast"))
}

// What is others' in the default instance is neither taken for ours nor undone.
func TestOwnLinesOfTheDefaultInstance(t *testing.T) {
	s := leafstate.State{VTEP: netip.MustParseAddr("10.0.0.1"), ASN: 65001}
	want := defaultLines(s, []leafstate.Router{outsideRouter(true)}, []netip.Addr{netip.MustParseAddr("127.0.0.2")})
	require.Contains(t, want, vrfLine{l2vpnEVPN, "neighbor 127.0.0.2 route-map weft-5000-fabric in"})
	require.Contains(t, want, vrfLine{ipv4Unicast, "network 10.0.0.2/32 route-map weft-standin"})
	var text strings.Builder
	text.WriteString("router bgp 65001\n bgp router-id 10.0.0.1\n neighbor fabric peer-group\n neighbor 127.0.0.2 remote-as 65001\n neighbor 127.0.0.2 description weft\n")
	for _, f := range []string{"", ipv4Unicast, ipv6Unicast, l2vpnEVPN} {
		if f != "" {
			fmt.Fprintf(&text, " !\n address-family %s\n", f)
		}
		if f == ipv4Unicast {
			text.WriteString("  network 10.0.0.1/32\n  neighbor fabric activate\n  neighbor fabric prefix-list underlay out\n")
		}
		if f == l2vpnEVPN {
			text.WriteString("  neighbor 127.0.0.2 activate\n  advertise-all-vni\n  vni 100\n   route-target import 9:9\n  exit-vni\n")
		}
		for _, l := range want {
			if l.family == f {
				fmt.Fprintf(&text, "  %s\n", l.text)
			}
		}
		if f != "" {
			text.WriteString(" exit-address-family\n")
		}
	}
	text.WriteString("exit\n!\nrouter bgp 65001 vrf vrf5001\n bgp router-id 10.0.0.1\nexit\n")
	is := readInstances(text.String(), 65001)
	own := ownDefault(is[""])
	require.ElementsMatch(t, want, own)
	require.Empty(t, instanceCommands("router bgp 65001", own, want, true))
	for _, c := range instanceCommands("router bgp 65001", own, nil, true) {
		require.NotContains(t, c, "neighbor fabric", "others' lines")
		require.NotContains(t, c, "10.0.0.1")
		require.NotContains(t, c, "9:9")
	}
	require.Equal(t, []vrfLine{{"", "bgp router-id 10.0.0.1"}}, is.vrfs()[5001])
	require.Empty(t, ownDefault(readInstances("router bgp 65001\n address-family l2vpn evpn\n  route-target import 9:9\n exit-address-family\nexit\n", 65001)[""]), "route targets of a default VRF that is not ours")
}

func TestSessionsAreReadFromFRR(t *testing.T) {
	peers := outsideRouter(false).Outside.Peers
	got, err := readSessions([]byte(`{"ipv4Unicast":{"as":65001,"peers":{"192.0.2.1":{"state":"Established","pfxRcd":2,"pfxSnt":1,"peerUptimeEstablishedEpoch":1795702379}}},
		"ipv6Unicast":{"peers":{"2001:db8:1::1":{"state":"Active","pfxRcd":0}}},"l2VpnEvpn":{"peers":{"10.0.0.9":{"state":"Established"}}}}`), peers)
	require.NoError(t, err)
	require.Equal(t, []leafstate.OutsideSession{{Peer: peers[0].Address, State: "Established", Since: time.Unix(1795702379, 0).UTC(), Taken: 2, Announced: 1}, {Peer: peers[1].Address, State: "Active"}}, got)
	got, err = readSessions([]byte("{}\n"), peers)
	require.NoError(t, err)
	require.Equal(t, "Idle", got[0].State)
	_, err = readSessions([]byte("% no such VRF"), peers)
	require.Error(t, err)
}

func TestFiltersOfBorders(t *testing.T) {
	require.Equal(t, "table inet weft\ndelete table inet weft\n", outsideText(nil))
	text := outsideText([]leafstate.Router{outsideRouter(false)})
	for _, rule := range []string{"ip saddr { 203.0.113.0/24 } drop\n  ip daddr { 203.0.113.0/24 } accept", `iifname { "eth3" } jump from5000`, `oifname { "eth3" } jump to5000`, "ip saddr { 203.0.113.0/24 } accept\n  ip6 saddr { 2001:db8:f::/64 } accept\n  counter drop"} {
		require.Contains(t, text, rule)
	}
	require.NotContains(t, text, "br5000", "the VRF separates")
	shared := outsideText([]leafstate.Router{outsideRouter(true)})
	for _, rule := range []string{`iifname { "eth3" } oifname != "br5000" drop`, `iifname "br5000" oifname != { "eth3", "br5000" } drop`, `iifname "br5000" drop`} {
		require.Contains(t, shared, rule)
	}
	require.Contains(t, filterText(nil, leafstate.State{VTEP: netip.MustParseAddr("10.0.0.1"), Routers: []leafstate.Router{outsideRouter(false)}}),
		`iifname "vx5000" ether daddr { 06:77:0a:00:00:02 } ether daddr set 06:77:0a:00:00:01 meta pkttype set host`)
}

// Routes of the main table count for the L3VNI by whose bridge they lead.
func TestRoutesOfTheDefaultVRF(t *testing.T) {
	tb := NewTables()
	tb.links = map[int]segmentLink{2: {5000, bridgeLink, "br5000"}, 3: {5000, tunnelLink, "vx5000"}}
	vtep := netip.MustParseAddr("10.0.0.2")
	route := func(table, link, kind int) netlink.RouteUpdate {
		return netlink.RouteUpdate{Type: uint16(kind), Route: netlink.Route{Table: table, LinkIndex: link, Gw: vtep.AsSlice(), Dst: ipNet(netip.MustParsePrefix("203.0.113.7/32"))}}
	}
	tb.takeRoute(route(unix.RT_TABLE_MAIN, 9, unix.RTM_NEWROUTE))
	require.Empty(t, tb.All(), "the underlay's")
	tb.takeRoute(route(unix.RT_TABLE_MAIN, 2, unix.RTM_NEWROUTE))
	require.Equal(t, []leafstate.Entry{{Kind: leafstate.Route, VNI: 5000, IP: netip.MustParseAddr("203.0.113.7"), Bits: 32, VTEP: vtep}}, tb.All())
	tb.takeRoute(route(unix.RT_TABLE_MAIN, 2, unix.RTM_DELROUTE))
	require.Empty(t, tb.All())
	require.Equal(t, intent.VNI(7), tb.vrfOf(&netlink.Route{Table: vrfTables + 7}))
	require.Zero(t, tb.vrfOf(&netlink.Route{Table: unix.RT_TABLE_LOCAL}))
}
