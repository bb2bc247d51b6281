package linux

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

func port(iface string, i byte, addresses ...string) leafstate.Port {
	p := leafstate.Port{Interface: iface, MAC: intent.MAC{2, 0, 0, 0, 0, i}}
	for _, a := range addresses {
		p.Addresses = append(p.Addresses, netip.MustParseAddr(a))
	}
	return p
}

func TestFilters(t *testing.T) {
	require.Equal(t, "table bridge weft\ndelete table bridge weft\n", bridgeText(nil, nil))
	text := bridgeText([]leafstate.Port{port("eth4", 4), port("eth3", 3, "192.0.2.3", "2001:db8::3")}, nil)
	require.Less(t, strings.Index(text, `iifname "eth3" jump port0`), strings.Index(text, `iifname "eth4" jump port1`))
	for _, want := range []string{
		"ether saddr != 02:00:00:00:00:03 drop", "ip saddr != { 192.0.2.3, 0.0.0.0 } drop", "arp saddr ip != { 192.0.2.3, 0.0.0.0 } drop",
		"ip6 saddr != { 2001:db8::3, fe80::ff:fe00:3, :: } drop", "icmpv6 type { nd-router-advert, nd-redirect } drop", "ether type != { 0x8035, ip, arp, ip6 } drop",
	} {
		require.Contains(t, text, want)
	}
	behind := port("eth5", 5, "192.0.2.5", "198.51.100.7")
	behind.Sources = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/25"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	require.Contains(t, bridgeText([]leafstate.Port{behind}, nil), "ip saddr != { 192.0.2.5, 0.0.0.0, 198.51.100.0/24 } drop", "what overlaps nft refuses")
	l2 := text[strings.Index(text, "chain port1"):strings.Index(text, "chain admission")]
	require.Equal(t, 1, strings.Count(l2, "drop"), "a port without addresses is checked for its MAC alone")
}

func TestPortsThatLeaveAreFilteredToTheEnd(t *testing.T) {
	old := leafstate.State{Segments: []leafstate.Segment{{Ports: []leafstate.Port{port("eth1", 1), port("eth2", 2)}}}}
	now := leafstate.State{Segments: []leafstate.Segment{{Ports: []leafstate.Port{port("eth2", 9)}}}}
	all := allPorts(old, now)
	require.Len(t, all, 2)
	text := bridgeText(all, nil)
	require.Contains(t, text, "02:00:00:00:00:01")
	require.Contains(t, text, "02:00:00:00:00:09")
	require.NotContains(t, text, "02:00:00:00:00:02", "where both have an interface, the new one counts")
}

func TestBGPCommandsTouchWhatChanged(t *testing.T) {
	a, b := leafstate.Peer{Address: netip.MustParseAddr("192.0.2.1")}, leafstate.Peer{Address: netip.MustParseAddr("192.0.2.2"), Password: "secret"}
	state := func(peers []leafstate.Peer, segments ...leafstate.Segment) evpnConfig {
		return evpnOf(leafstate.State{ASN: 65001, Peers: peers, Segments: segments}, netip.Addr{})
	}
	first := commands(evpnConfig{}, state([]leafstate.Peer{a}))
	require.Contains(t, first, "neighbor 192.0.2.1 remote-as 65001")
	require.Contains(t, first, "neighbor 192.0.2.1 passive")
	require.Contains(t, first, "advertise-all-vni")
	require.Contains(t, first, "bgp graceful-restart")

	more := strings.Join(commands(state([]leafstate.Peer{a}), state([]leafstate.Peer{a, b})), "\n")
	require.NotContains(t, more, "192.0.2.1", "a session that stays is not touched")
	require.NotContains(t, more, "advertise-all-vni")
	require.Contains(t, more, "neighbor 192.0.2.2 password secret")
	require.Contains(t, strings.Join(commands(state([]leafstate.Peer{a, b}), state([]leafstate.Peer{a})), "\n"), "no neighbor 192.0.2.2")

	seg := leafstate.Segment{VNI: 100, Import: []string{"1:1", "1:2"}, Export: []string{"1:1"}}
	targets := targetCommands(state(nil), state(nil, seg))
	require.Equal(t, []string{"vni 100", "route-target import 1:1", "route-target import 1:2", "route-target export 1:1", "exit-vni"}, targets)
	less := seg
	less.Import = []string{"1:2"}
	require.Equal(t, []string{"vni 100", "no route-target import 1:1", "exit-vni"}, targetCommands(state(nil, seg), state(nil, less)))
	require.Empty(t, commands(state([]leafstate.Peer{a}, seg), state([]leafstate.Peer{a}, seg)))
	require.NotEmpty(t, commands(state([]leafstate.Peer{a}, seg), state([]leafstate.Peer{a}, less)))

	keeper := evpnOf(leafstate.State{ASN: 65001, Peers: []leafstate.Peer{a, b}}, netip.MustParseAddr("127.0.0.2"))
	require.Equal(t, []leafstate.Peer{{Address: netip.MustParseAddr("127.0.0.2")}}, keeper.peers)
}

func TestTargetsAreReadBack(t *testing.T) {
	text := "router bgp 65001\naddress-family l2vpn evpn\nneighbor 192.0.2.1 activate\nadvertise-all-vni\nvni 100\nroute-target import 1:1\nroute-target import 1:2\nroute-target export 1:3\nexit-vni\nroute-target import 9:9\nexit-address-family"
	require.Equal(t, map[intent.VNI][2][]string{100: {{"1:1", "1:2"}, {"1:3"}}}, readTargets(strings.Split(text, "\n")))
}

// bridged is a message about the forwarding table of an interface.
func bridged(link int, mac intent.MAC, vtep string, flags int) netlink.NeighUpdate {
	n := netlink.Neigh{LinkIndex: link, Family: unix.AF_BRIDGE, HardwareAddr: mac[:], Flags: flags, MasterIndex: 2}
	if vtep != "" {
		n.IP = netip.MustParseAddr(vtep).AsSlice()
	}
	return netlink.NeighUpdate{Type: unix.RTM_NEWNEIGH, Neigh: n}
}

func TestTablesTellWhatChanged(t *testing.T) {
	tb := NewTables()
	tb.links = map[int]segmentLink{3: {100, tunnelLink, "vx100"}, 2: {100, bridgeLink, "br100"}, 4: {100, portLink, "eth1"}}
	mac := intent.MAC{2, 1}
	remote := func(mac intent.MAC, vtep string) {
		tb.take(bridged(3, mac, "", 0)) // the bridge's own view of the same entry
		tb.take(bridged(3, mac, vtep, 0))
	}
	remote(mac, "10.0.0.1")
	tb.take(bridged(3, intent.MAC{}, "10.0.0.1", 0))
	tb.take(bridged(3, intent.MAC{}, "10.0.0.2", 0))
	tb.take(bridged(9, mac, "10.0.0.1", 0))
	add, remove := tb.Changes()
	require.Len(t, add, 3)
	require.Empty(t, remove)
	<-tb.Changed()

	// A MAC that moves replaces its entry, though the kernel tells only of the
	// new one; a VTEP more in the flood list replaces none.
	tb.take(bridged(3, mac, "10.0.0.2", 0))
	add, remove = tb.Changes()
	require.Equal(t, []leafstate.Entry{{Kind: leafstate.Remote, VNI: 100, MAC: mac, VTEP: netip.MustParseAddr("10.0.0.2")}}, add)
	require.Equal(t, []leafstate.Entry{{Kind: leafstate.Remote, VNI: 100, MAC: mac, VTEP: netip.MustParseAddr("10.0.0.1")}}, remove)

	gone := bridged(3, mac, "10.0.0.2", 0)
	gone.Type = unix.RTM_DELNEIGH
	tb.take(gone)
	tb.take(bridged(3, mac, "10.0.0.2", 0))
	add, remove = tb.Changes()
	require.Empty(t, add, "gone and back between two questions is no change")
	require.Empty(t, remove)
	require.Len(t, tb.All(), 3)

	// On a port here: what the VXLAN device still has is of no effect.
	local := bridged(4, mac, "", 0)
	tb.take(local)
	own := bridged(4, intent.MAC{2, 9, 9, 9, 9, 9}, "", 0)
	own.State = netlink.NUD_PERMANENT
	tb.take(own)
	here, there := leafstate.Entry{Kind: leafstate.Local, VNI: 100, MAC: mac, Port: "eth1"}, leafstate.Entry{Kind: leafstate.Remote, VNI: 100, MAC: mac, VTEP: netip.MustParseAddr("10.0.0.2")}
	add, remove = tb.Changes()
	require.Equal(t, []leafstate.Entry{here}, add, "the interface's own MAC was not learned")
	require.Equal(t, []leafstate.Entry{there}, remove)

	// It moves away: the kernel tells of the new place only.
	tb.take(bridged(3, mac, "", 0))
	add, remove = tb.Changes()
	require.Equal(t, []leafstate.Entry{there}, add)
	require.Equal(t, []leafstate.Entry{here}, remove)
	tb.take(local)
	local.Type = unix.RTM_DELNEIGH
	tb.take(local)
	_, remove = tb.Changes()
	require.Equal(t, []leafstate.Entry{there}, remove, "the bridge sends nothing into the tunnel for a MAC that aged out")
}

func TestTablesForgetNeighbours(t *testing.T) {
	tb := NewTables()
	tb.links = map[int]segmentLink{2: {100, bridgeLink, "br100"}}
	mac, ip := intent.MAC{2, 1}, netip.MustParseAddr("192.0.2.1")
	there := netlink.NeighUpdate{Type: unix.RTM_NEWNEIGH, Neigh: netlink.Neigh{LinkIndex: 2, Family: unix.AF_INET, HardwareAddr: mac[:], IP: ip.AsSlice(), Flags: netlink.NTF_EXT_LEARNED, State: netlink.NUD_NOARP}}
	failed := there
	failed.State, failed.HardwareAddr = netlink.NUD_FAILED, nil // as the kernel tells it
	gone := failed
	gone.Type = unix.RTM_DELNEIGH
	local := there
	local.Flags = 0 // of a server here
	for what, last := range map[string]netlink.NeighUpdate{"failed": failed, "deleted": gone, "a server here": local} {
		tb.take(there)
		add, _ := tb.Changes()
		require.Equal(t, []leafstate.Entry{{Kind: leafstate.Neighbour, VNI: 100, MAC: mac, IP: ip}}, add, what)
		tb.take(last)
		_, remove := tb.Changes()
		require.Equal(t, add, remove, what)
	}
}

func TestBGPIsComparedWithWhatItHas(t *testing.T) {
	peer := leafstate.Peer{Address: netip.MustParseAddr("192.0.2.1"), Password: "secret"}
	want := evpnOf(leafstate.State{ASN: 65001, Peers: []leafstate.Peer{peer}}, netip.Addr{})
	// As FRR 8.4 writes it.
	text := "router bgp 65001\n bgp graceful-restart\n neighbor 192.0.2.1 remote-as 65001\n neighbor 192.0.2.1 description weft\n neighbor 192.0.2.1 password secret\n" +
		" neighbor 192.0.2.1 passive\n neighbor 192.0.2.1 advertisement-interval 0\n neighbor 192.0.2.1 timers 3 9\n neighbor 192.0.2.9 remote-as 65009\n !\n" +
		" address-family l2vpn evpn\n  neighbor 192.0.2.1 activate\n  advertise-all-vni\n  no dup-addr-detection\n exit-address-family\nexit\n"
	require.Empty(t, commands(readEVPN(text, 65001), want))
	for gone, line := range map[string]string{
		" bgp graceful-restart\n": "bgp graceful-restart", "  advertise-all-vni\n": "advertise-all-vni", "  no dup-addr-detection\n": "no dup-addr-detection",
		"  neighbor 192.0.2.1 activate\n": "neighbor 192.0.2.1 activate", " neighbor 192.0.2.1 passive\n": "neighbor 192.0.2.1 passive",
		" neighbor 192.0.2.1 description weft\n": "neighbor 192.0.2.1 description weft",
	} {
		require.Contains(t, text, gone)
		cs := commands(readEVPN(strings.Replace(text, gone, "", 1), 65001), want)
		require.Contains(t, cs, line)
		require.NotContains(t, strings.Join(cs, "\n"), "no neighbor", "a line that lacks costs no session")
	}
	other := strings.Replace(text, "secret", "changed", 1)
	require.Equal(t, "no neighbor 192.0.2.1", commands(readEVPN(other, 65001), want)[0])
	none := commands(readEVPN(text, 65001), evpnOf(leafstate.State{ASN: 65001}, netip.Addr{}))
	require.Equal(t, []string{"no neighbor 192.0.2.1"}, none, "what is not ours stays")
}
