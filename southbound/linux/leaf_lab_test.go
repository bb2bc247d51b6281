//go:build lab

package linux

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/southbound/leafstate"
)

// reach waits until servers of both segments reach each other, by IPv4 and
// IPv6.
func (r *rig) reach(a, b *leaf) {
	r.t.Helper()
	for j := 1; j <= 2; j++ {
		for _, to := range b.port(j).Addresses {
			r.wait(fmt.Sprintf("server %d of leaf %d reaches %s", j, a.i, to), func() error { return a.ping(j, to) })
		}
	}
}

// sessions says how often the leaf's session with the reflector came up and was
// lost.
func (l *leaf) sessions() (counts []string) {
	for _, line := range strings.Split(l.vty("bgpd", "show bgp neighbors "+reflector.String()+" json"), "\n") {
		if strings.Contains(line, `"connectionsEstablished"`) || strings.Contains(line, `"connectionsDropped"`) {
			counts = append(counts, strings.TrimSpace(line))
		}
	}
	return counts
}

func TestServersTalkAndApplyingAgainChangesNothing(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	r.reach(a, b)
	require.Contains(t, a.vty("bgpd", "show running-config"), "no dup-addr-detection")
	since, config := a.sessions(), a.vty("bgpd", "show running-config")
	require.Len(t, since, 2)
	require.Empty(t, a.changes(func() { a.mustApply(a.state()) }))

	// An agent that starts anew takes over what it finds.
	a.sw = New(a.sw.config)
	require.Equal(t, []string{"filters: 1 transactions"}, a.changes(func() { a.mustApply(a.state()) }))
	require.Equal(t, since, a.sessions(), "the session stayed")
	require.Equal(t, config, a.vty("bgpd", "show running-config"))
	r.reach(a, b)

	// The monitors would have told.
	require.NotEmpty(t, a.changes(func() { a.run("bridge", "link", "set", "dev", "vx100", "flood", "on") }))
	require.NotEmpty(t, a.changes(func() { a.mustApply(a.state()) }))
}

func TestLeafAnswersForRemoteServers(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	to := a.port(1)
	// The server itself answers no ARP and no neighbour solicitation.
	r.in(a.server(1), "ip", "link", "set", "eth0", "arp", "off")
	for _, p := range b.port(1).Addresses {
		r.in(a.server(1), "ip", "neigh", "replace", p.String(), "lladdr", b.port(1).MAC.String(), "dev", "eth0", "nud", "permanent")
	}
	r.in(a.server(1), "nft", "add table ip6 deaf; add chain ip6 deaf in { type filter hook input priority 0; }; add rule ip6 deaf in icmpv6 type nd-neighbor-solicit drop")
	// FRR announces the address with the MAC when the leaf has both: the MAC in the
	// forwarding table, since the server spoke, and a neighbour on the bridge.
	speak(a.server(1), to.Addresses[0])
	r.wait("the server's MAC is learned", func() error {
		if out := a.run("bridge", "fdb", "show", "br", "br100"); !strings.Contains(out, to.MAC.String()+" dev eth1 master") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	for _, ip := range to.Addresses {
		require.Error(t, b.ping(1, ip), "nobody answers for %s yet", ip)
		a.run("ip", "neigh", "replace", ip.String(), "lladdr", to.MAC.String(), "dev", "br100", "nud", "reachable")
	}
	for _, ip := range to.Addresses {
		r.wait("the leaf answers for "+ip.String(), func() error { return b.ping(1, ip) })
	}

	s := b.state()
	s.Segments[0].Suppress = false
	b.mustApply(s)
	for _, ip := range to.Addresses {
		r.in(b.server(1), "ip", "neigh", "flush", "dev", "eth0")
		require.Error(t, b.ping(1, ip), "without suppression the question goes to the server")
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	r.reach(a, b)
	s := a.state()
	s.Segments = s.Segments[1:]
	a.mustApply(s)
	require.NotContains(t, a.run("ip", "-o", "link"), "br100")
	require.NotContains(t, a.run("ip", "-o", "link", "show", "eth1"), "master")
	require.NotContains(t, a.run("nft", "list", "ruleset"), "eth1")
	a.answered(2, b.port(2).Addresses[0]) // the other segment stays

	// The same VNI at once again, with the ports of the two changed over.
	s = a.state()
	s.Segments[0].Ports, s.Segments[1].Ports = s.Segments[1].Ports, s.Segments[0].Ports
	a.mustApply(s)
	require.Contains(t, a.run("ip", "-o", "link", "show", "eth1"), "master br101")
	require.Contains(t, a.run("ip", "-o", "link", "show", "eth2"), "master br100")
	a.mustApply(a.state())
	r.reach(a, b)

	a.mustApply(leafstate.State{Revision: 3, VTEP: a.vtep(), ASN: labASN})
	links := a.run("ip", "-o", "link")
	for _, gone := range []string{"br10", "vx10", "alias weft", "master"} {
		require.NotContains(t, links, gone)
	}
	require.Empty(t, a.run("nft", "list", "ruleset"))
	require.NotContains(t, a.vty("bgpd", "show running-config"), reflector.String())
	require.Empty(t, a.tables.All())
	r.wait("the other leaf forgets it", func() error { return b.flooding(0) })
	a.mustApply(a.state())
	r.reach(a, b)
}

func TestTamperingIsRepaired(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	r.reach(a, b)
	for what, c := range map[string]struct {
		tamper []string
		check  []string // what is printed
		want   string   // in it, after the repair
	}{
		"bridge removed":     {[]string{"ip", "link", "del", "br100"}, []string{"ip", "-o", "link", "show", "eth1"}, "master br100"},
		"device removed":     {[]string{"ip", "link", "del", "vx100"}, []string{"ip", "-o", "link", "show", "vx100"}, "master br100"},
		"device moved":       {[]string{"ip", "link", "set", "vx100", "master", "br101"}, []string{"ip", "-o", "link", "show", "vx100"}, "master br100"},
		"port released":      {[]string{"ip", "link", "set", "eth1", "nomaster"}, []string{"ip", "-o", "link", "show", "eth1"}, "master br100"},
		"port elsewhere":     {[]string{"ip", "link", "set", "eth1", "master", "br101"}, []string{"ip", "-o", "link", "show", "eth1"}, "master br100"},
		"port down":          {[]string{"ip", "link", "set", "eth1", "down"}, []string{"ip", "-o", "link", "show", "eth1"}, "UP"},
		"bridge down":        {[]string{"ip", "link", "set", "br100", "down"}, []string{"ip", "-o", "link", "show", "br100"}, "UP"},
		"MTU lowered":        {[]string{"ip", "link", "set", "vx100", "mtu", "1300"}, []string{"ip", "-o", "link", "show", "br100"}, "mtu 1500"},
		"suppression off":    {[]string{"bridge", "link", "set", "dev", "vx100", "neigh_suppress", "off"}, []string{"bridge", "-d", "link", "show", "dev", "vx100"}, "neigh_suppress on"},
		"learning on":        {[]string{"bridge", "link", "set", "dev", "vx100", "learning", "on"}, []string{"bridge", "-d", "link", "show", "dev", "vx100"}, "learning off"},
		"TOS changed":        {[]string{"ip", "link", "set", "vx100", "type", "vxlan", "id", "100", "tos", "0"}, []string{"ip", "-d", "link", "show", "vx100"}, "tos 0x8"},
		"snooping on":        {[]string{"ip", "link", "set", "br100", "type", "bridge", "mcast_snooping", "1"}, []string{"ip", "-d", "link", "show", "br100"}, "mcast_snooping 0"},
		"filters flushed":    {[]string{"nft", "flush", "ruleset"}, []string{"nft", "list", "ruleset"}, `iifname "eth1"`},
		"a rule removed":     {[]string{"nft", "flush", "chain", "bridge", "weft", "port0"}, []string{"nft", "list", "ruleset"}, "192.168.1.1"},
		"VNIs not announced": {vtysh(a, "router bgp 65000", "address-family l2vpn evpn", "no advertise-all-vni"), vtysh(a), "advertise-all-vni"},
		"neighbour removed":  {vtysh(a, "router bgp 65000", "no neighbor 10.9.0.9"), vtysh(a), "neighbor 10.9.0.9 activate"},
		"detection on":       {vtysh(a, "router bgp 65000", "address-family l2vpn evpn", "dup-addr-detection"), vtysh(a), "no dup-addr-detection"},
	} {
		t.Run(what, func(t *testing.T) {
			a.run(c.tamper...)
			a.mustApply(a.state())
			require.Contains(t, a.run(c.check...), c.want)
			r.reach(a, b)
			require.Empty(t, a.changes(func() { a.mustApply(a.state()) }), "once is enough")
		})
	}
}

// vtysh configures a leaf's bgpd, and prints its configuration.
func vtysh(l *leaf, lines ...string) []string {
	words := []string{"vtysh", "--vty_socket", l.dir, "-d", "bgpd"}
	if len(lines) > 0 {
		words = append(words, "-c", "configure terminal")
	}
	for _, s := range lines {
		words = append(words, "-c", s)
	}
	if len(lines) > 0 {
		words = append(words, "-c", "end")
	}
	return append(words, "-c", "show running-config")
}

func TestForeignInterfacesAreLeftAlone(t *testing.T) {
	r := newRig(t)
	a, b := r.leaves[0], r.leaves[1]
	b.mustApply(b.state())
	a.run("ip", "link", "add", "br100", "type", "bridge")
	ports, err := a.apply(a.state())
	require.ErrorContains(t, err, "interface br100 is not Weft's: rename or remove it")
	require.Equal(t, []leafstate.PortReport{{Interface: "eth2", VNI: 101}}, ports, "the other segment is in place")
	require.NotContains(t, a.run("ip", "-o", "link", "show", "eth1"), "master")

	// A port whose new segment can't be made leaves its old one all the same.
	s := a.state()
	s.Segments[0].Ports = append(s.Segments[0].Ports, a.port(2))
	s.Segments[1].Ports = nil
	_, err = a.apply(s)
	require.Error(t, err)
	require.NotContains(t, a.run("ip", "-o", "link", "show", "eth2"), "master")

	_, err = a.apply(leafstate.State{Revision: 2, VTEP: a.vtep(), ASN: labASN})
	require.NoError(t, err)
	require.Contains(t, a.run("ip", "-o", "link"), "br100")
	a.run("ip", "link", "del", "br100")

	// A port that is in somebody else's bridge stays there.
	a.run("ip", "link", "add", "mine", "type", "bridge")
	a.run("ip", "link", "set", "eth1", "master", "mine")
	_, err = a.apply(a.state())
	require.ErrorContains(t, err, "eth1 is a port of bridge mine, which is not Weft's")
	a.run("ip", "link", "del", "mine")
	a.mustApply(a.state())
	r.reach(a, b)
}

func TestRestartOfBGP(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	r.reach(a, b)
	a.bgpd.stop()
	s := a.state()
	s.Segments = s.Segments[:1]
	_, err := a.apply(s)
	require.ErrorContains(t, err, "configure bgpd")
	require.NotContains(t, a.run("ip", "-o", "link", "show", "eth2"), "master", "a port that left leaves, though bgpd is away")
	require.Contains(t, a.run("ip", "-o", "link", "show", "eth1"), "master br100", "one that stays is not touched")

	// bgpd comes back with nothing while the VXLAN devices are there.
	a.bgpd = r.startBGP(a.ns, a.dir)
	a.mustApply(a.state())
	r.wait("flood lists are in the kernel", func() error { return a.flooding(1) })
	r.reach(a, b)
}

func TestRouteTargets(t *testing.T) {
	r := newRig(t)
	a, _ := r.up()
	require.Contains(t, a.vty("bgpd", "show bgp l2vpn evpn vni 100"), "65000:100")
	s := a.state()
	s.Segments[0].Import, s.Segments[0].Export = []string{"64999:1", "64999:2"}, []string{"64999:3"}
	a.mustApply(s)
	vni := a.vty("bgpd", "show bgp l2vpn evpn vni 100")
	for _, want := range []string{"64999:1", "64999:2", "64999:3"} {
		require.Contains(t, vni, want)
	}
	require.NotContains(t, vni, "65000:100")
	a.sw = New(Config{FRRDir: a.dir, Logger: slog.New(slog.DiscardHandler)})
	s.Segments[0].Import = []string{"64999:2"}
	a.mustApply(s)
	require.NotContains(t, a.vty("bgpd", "show bgp l2vpn evpn vni 100"), "64999:1")
	a.mustApply(a.state())
	vni = a.vty("bgpd", "show bgp l2vpn evpn vni 100")
	require.Contains(t, vni, "65000:100")
	require.NotContains(t, vni, "64999:")
}

func TestPortsSendAsThemselvesOnly(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	r.reach(a, b)
	to, other := b.port(1).Addresses[0], netip.MustParseAddr("192.168.1.50")
	r.in(a.server(1), "ip", "addr", "add", other.String()+"/24", "dev", "eth0")
	as := func(src netip.Addr) error {
		out, err := exec.Command("ip", "netns", "exec", a.server(1), "ping", "-c1", "-W1", "-I", src.String(), to.String()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	require.Error(t, as(other))
	s := a.state()
	s.Segments[0].Ports[0].Addresses = append(s.Segments[0].Ports[0].Addresses, other)
	a.mustApply(s)
	r.wait("an address that was added may send", func() error { return as(other) })
	a.mustApply(a.state())
	require.Error(t, as(other))
	r.wait("its own may as before", func() error { return as(a.port(1).Addresses[0]) })

	r.in(a.server(1), "ip", "link", "set", "eth0", "address", "02:00:00:00:00:77")
	require.Error(t, as(a.port(1).Addresses[0]), "another MAC")
	require.NotContains(t, a.run("bridge", "fdb", "show", "br", "br100"), "02:00:00:00:00:77", "not even learned")
	r.in(a.server(1), "ip", "link", "set", "eth0", "address", a.port(1).MAC.String())
	r.wait("its own MAC again", func() error { return as(a.port(1).Addresses[0]) })
}
