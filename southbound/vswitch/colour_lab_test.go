//go:build lab

package vswitch

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// colour has the feed say how VNIs are coloured now.
func (f *feed) colour(c *overlay.Colouring) {
	f.mu.Lock()
	f.colours = c
	f.mu.Unlock()
	f.change(func(*overlay.Model) {})
}

// colourful colours networks and routers in several ways, alone and while stations come
// and go, and ends where it began.
func (b *bed) colourful() {
	b.t.Helper()
	with := func(of map[intent.VNI]int, what func(*overlay.Model)) {
		b.t.Helper()
		b.feed.mu.Lock()
		b.feed.colours = testColours(of)
		b.feed.mu.Unlock()
		b.change(what)
		b.oracle()
	}
	f := port("f", "web", 12)
	with(map[intent.VNI]int{100: 1, 200: 2, 5000: 1, 5001: 1}, func(*overlay.Model) {})
	with(map[intent.VNI]int{100: 2, 5000: 2, 5001: 2}, func(m *overlay.Model) {
		m.Put(node(4, "tcp:127.0.0.1:4"))
		m.Put(f)
		m.Observe("hv4", []overlay.Interface{{Name: "tapf", IfaceID: "f", OFPort: 1}})
	})
	with(map[intent.VNI]int{200: 1}, func(m *overlay.Model) { m.Delete(f.Ref()) })
	with(nil, func(m *overlay.Model) { m.Delete(node(4, "").Ref()) })
}

// A network's colour comes and goes: the flows by which its own frames are sent change
// in place, a flow-mod each, and nothing else is written, at a restart neither.
func TestColourWritesTheRowsOfItsVNIOnly(t *testing.T) {
	const stations = 2000
	b := newBed(t)
	b.stop()
	b.own = []netip.Addr{netip.MustParseAddr("10.129.0.1"), netip.MustParseAddr("10.130.0.1")}
	b.counter = b.countBefore(b.Bridge("br-int"))
	b.start()
	b.stations(stations) // of web, at hv2
	b.change(func(m *overlay.Model) {
		m.Put(node(3, "tcp:127.0.0.1:2"))
		m.Put(port("e", "db", 10))
		m.Observe("hv3", []overlay.Interface{{Name: "tapd", IfaceID: "d", OFPort: 1}})
	})
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.plug("e")
	b.Eventually("all flows", func() bool {
		_, web := b.Cursors()[100]
		_, db := b.Cursors()[200]
		return web && db && b.synced()
	})
	b.Eventually("colours are taken in", func() bool { return strings.Contains(strings.Join(b.flows(), "\n"), "tun_dst=10.130.0.1") })
	b.oracle()
	plain := b.flows()

	sent := func(c *overlay.Colouring) int {
		before := int(b.mods.Load())
		b.colour(c)
		b.oracle()
		require.Empty(t, b.said("FlowsRepaired"))
		return int(b.mods.Load()) - before
	}
	require.Equal(t, stations, sent(testColours(map[intent.VNI]int{100: 1})))
	now := b.flows()
	require.Len(t, now, len(plain))
	require.Contains(t, strings.Join(now, "\n"), "set_field:0x64->tun_id,set_field:10.129.0.2->tun_dst,output:65000")
	require.Equal(t, 1, sent(testColours(map[intent.VNI]int{100: 1, 200: 2})), "the station of the other network")
	require.Contains(t, strings.Join(b.flows(), "\n"), "set_field:0xc8->tun_id,set_field:10.130.0.3->tun_dst,output:65000")
	require.Zero(t, sent(testColours(map[intent.VNI]int{100: 1, 200: 2, 300: 1})), "a network that is not here")
	require.Zero(t, sent(coloursFor(7, map[intent.VNI]int{100: 1, 200: 2})), "another VTEP has colours")

	b.stop()
	before, dump, rows := int(b.mods.Load()), b.Ofctl("dump-flows", b.Bridge("br-int")), b.Versions()
	b.start()
	b.Eventually("synced", b.synced)
	b.oracle()
	require.Equal(t, before, int(b.mods.Load()), "nothing is sent at a restart")
	require.Equal(t, rows, b.Versions(), "no row was written")
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), dump), "no flow was made again")

	require.Equal(t, stations+1, sent(nil))
	require.Equal(t, plain, b.flows())
	require.Equal(t, "65000", b.Vsctl("get", "interface", TunnelName, "ofport"), "the tunnel port is as it was")
}

// What a switch has for an edge that has not reported is kept when it is sent to a
// colour, too.
func TestKeepsWhatIsSentToAColour(t *testing.T) {
	b := newBed(t)
	colours := testColours(map[intent.VNI]int{100: 2})
	b.colour(colours)
	b.hv2("c")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	const kept = "set_field:0x64->tun_id,set_field:10.130.0.2->tun_dst"
	require.Contains(t, strings.Join(b.flows(), "\n"), kept)
	b.stop()
	before := b.flows()
	b.startUnheard(webPorts)
	b.Eventually("synced", b.synced)
	require.Equal(t, before, b.flows())
	b.hv2()
	b.oracle()
	require.NotContains(t, strings.Join(b.flows(), "\n"), kept, "it has reported that it has no such station")
}

// Where colours can't be taken in, since somebody has a port of that name, an alarm says
// so until it is gone.
func TestColoursThatAreNotTakenIn(t *testing.T) {
	b := newBed(t)
	b.Eventually("synced", b.synced)
	b.stop()
	b.OVS.Plug("br-int", ColourTunnelName, "somebody")
	b.own = []netip.Addr{netip.MustParseAddr("10.129.0.1")}
	b.start()
	b.Eventually("alarm", func() bool {
		return strings.Contains(b.feed.alarm(southbound.AlarmCapability, "port "+ColourTunnelName), "is not Weft's")
	})
	require.NotContains(t, strings.Join(b.flows(), "\n"), "tun_dst=10.129.0.1")
	b.Vsctl("--no-wait", "del-port", "br-int", ColourTunnelName)
	b.Eventually("it ends", func() bool { return b.feed.alarm(southbound.AlarmCapability, "port "+ColourTunnelName) == "" })
	b.Eventually("they are taken in", func() bool { return strings.Contains(strings.Join(b.flows(), "\n"), "tun_dst=10.129.0.1") })
}

// between is a vSwitch with packets: its host and a Linux VTEP beside it, each in a
// namespace of its own.
type between struct {
	t         *testing.T
	dir, a, b string
}

func (x between) run(args ...string) string {
	x.t.Helper()
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), "OVS_RUNDIR="+x.dir, "OVS_LOGDIR="+x.dir, "OVS_DBDIR="+x.dir, "OVS_SYSCONFDIR="+x.dir)
	out, err := c.CombinedOutput()
	require.NoError(x.t, err, "%v: %s", args, out)
	return string(out)
}

func (x between) in(ns string, args ...string) string {
	x.t.Helper()
	return x.run(append([]string{"ip", "netns", "exec", ns}, args...)...)
}

func (x between) vsctl(args ...string) string {
	x.t.Helper()
	return x.in(x.a, append([]string{"ovs-vsctl", "--db=unix:" + x.dir + "/db.sock", "--timeout=60"}, args...)...)
}

// newBetween has VTEPs 10.0.0.1 (the vSwitch's) and 10.0.0.2 with two colours each, and
// stations 192.168.0.1 behind the first and 192.168.0.3 behind the second.
func newBetween(t *testing.T) between {
	dir, err := os.MkdirTemp("", "weft-ovs")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	x := between{t, dir, fmt.Sprintf("wca%d", os.Getpid()), fmt.Sprintf("wcb%d", os.Getpid())}
	for _, n := range []string{x.a, x.b} {
		x.run("ip", "netns", "add", n)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n).Run() })
		x.in(n, "ip", "link", "set", "lo", "up")
		// What stations' hosts say of themselves by IPv6 is flooded, to the VTEPs' own addresses.
		x.in(n, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
	}
	x.run("ip", "link", "add", "u1", "mtu", "1600", "netns", x.a, "type", "veth", "peer", "name", "u2", "mtu", "1600", "netns", x.b)
	x.in(x.a, "ethtool", "-K", "u1", "tx", "off")
	x.in(x.b, "ethtool", "-K", "u2", "tx", "off")
	daemon := func(name string, args ...string) {
		x.in(x.a, append([]string{name, "--pidfile=" + dir + "/" + name + ".pid", "--detach", "--no-chdir", "--log-file=" + dir + "/" + name + ".log"}, args...)...)
		t.Cleanup(func() {
			_ = exec.Command("ovs-appctl", "-t", dir+"/"+name+".ctl", "exit").Run()
		})
	}
	x.run("ovsdb-tool", "create", dir+"/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
	daemon("ovsdb-server", dir+"/conf.db", "--remote=punix:"+dir+"/db.sock", "--unixctl="+dir+"/ovsdb-server.ctl")
	x.vsctl("--no-wait", "init")
	daemon("ovs-vswitchd", "unix:"+dir+"/db.sock", "--disable-system", "--unixctl="+dir+"/ovs-vswitchd.ctl")
	x.vsctl("add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev", "--", "add-port", "br-phy", "u1")
	x.in(x.a, "ip", "link", "set", "u1", "arp", "off", "up")
	for _, l := range []string{
		x.a + " addr add 192.0.2.1/24 dev br-phy", x.a + " link set br-phy up",
		x.a + " addr add 10.0.0.1/32 dev br-phy", x.a + " addr add 10.129.0.1/32 dev br-phy", x.a + " addr add 10.130.0.1/32 dev br-phy",
		x.a + " route add 10.0.0.0/8 via 192.0.2.2", x.b + " addr add 192.0.2.2/24 dev u2", x.b + " link set u2 up",
		x.b + " addr add 10.0.0.2/32 dev lo", x.b + " addr add 10.129.0.2/32 dev lo", x.b + " addr add 10.130.0.2/32 dev lo",
		x.b + " route add 10.0.0.0/8 via 192.0.2.1",
		x.b + " link add vx100 address 02:00:00:00:00:03 type vxlan id 100 dstport 4789 local 10.0.0.2 nolearning ttl 64",
		x.b + " addr add 192.168.0.3/24 dev vx100", x.b + " link set vx100 up",
		x.b + " neigh add 192.168.0.1 lladdr 02:00:00:00:00:01 dev vx100",
	} {
		x.run(append([]string{"ip", "-n"}, strings.Fields(l)...)...)
	}
	rules := "table ip t {\n chain i { type filter hook input priority 0;\n"
	for _, a := range []string{"10.0.0.2", "10.129.0.2", "10.130.0.2"} {
		rules += fmt.Sprintf("ip saddr 10.0.0.1 ip daddr %s udp dport 4789 counter\n", a)
	}
	require.NoError(t, os.WriteFile(dir+"/rules", []byte(rules+"}\n}\n"), 0o600))
	x.in(x.b, "nft", "-f", dir+"/rules")
	return x
}

// answers has the Linux VTEP send to an address of the vSwitch's.
func (x between) answers(at string) {
	x.in(x.b, "bridge", "fdb", "replace", "02:00:00:00:00:01", "dev", "vx100", "dst", at, "self")
}

// counted is how many tunnel packets came to an address of the Linux VTEP, from the
// vSwitch's own.
func (x between) counted(at string) (n int) {
	m := regexp.MustCompile(`daddr ` + regexp.QuoteMeta(at) + ` .*packets ([0-9]+)`).FindStringSubmatch(x.in(x.b, "nft", "list", "ruleset"))
	require.NotNil(x.t, m)
	fmt.Sscan(m[1], &n)
	return n
}

// Packets go to the colours, and are taken in at colours by Open vSwitch and by Linux,
// while the source stays the VTEP's own address; none is lost when the colour changes.
func TestPacketsGoToColours(t *testing.T) {
	x := newBetween(t)
	m := overlay.NewModel()
	n := node(1, "unix:"+x.dir+"/db.sock")
	n.Spec.VSwitch.DatapathType, n.Spec.Colours = "netdev", []netip.Addr{netip.MustParseAddr("10.129.0.1"), netip.MustParseAddr("10.130.0.1")}
	m.Put(n)
	m.Put(node(2, "tcp:127.0.0.1:1"))
	m.Put(network("web", 100))
	m.Put(port("a", "web", 1))
	m.Put(port("c", "web", 3))
	m.Observe("hv2", []overlay.Interface{{Name: "tapc", IfaceID: "c", OFPort: 1}})
	f := &feed{wake: make(chan struct{}, 1), model: m}
	d := New(n, f, NewGates(), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Run(ctx) }()
	defer func() { stop(); <-done }()
	until := func(what string, ok func() bool) {
		t.Helper()
		require.Eventually(t, ok, time.Minute, 20*time.Millisecond, what)
	}
	until("synced", func() bool { return d.Status().Synced })
	x.vsctl("add-port", "br-int", "t1", "--", "set", "interface", "t1", "type=internal", "external_ids:iface-id=a")
	x.in(x.a, "ip", "link", "set", "t1", "address", "02:00:00:00:00:01", "up")
	x.in(x.a, "ip", "addr", "add", "192.168.0.1/24", "dev", "t1")
	ping := func() bool {
		return exec.Command("ip", "netns", "exec", x.a, "ping", "-c1", "-W1", "192.168.0.3").Run() == nil
	}
	x.answers("10.0.0.1")
	until("they reach each other", ping)
	before := x.vsctl("get", "interface", TunnelName, "ofport", "options")

	pings := exec.Command("ip", "netns", "exec", x.a, "ping", "-i", "0.01", "192.168.0.3")
	var said bytes.Buffer
	pings.Stdout = &said
	require.NoError(t, pings.Start())
	for _, s := range []struct {
		colour   int
		to, from string
	}{{1, "10.129.0.2", "10.129.0.1"}, {2, "10.130.0.2", "10.130.0.1"}, {0, "10.0.0.2", "10.0.0.1"}} {
		was := x.counted(s.to)
		f.colour(testColours(map[intent.VNI]int{100: s.colour}))
		until("packets go to "+s.to, func() bool { return x.counted(s.to) >= was+20 })
		was = x.counted(s.to)
		x.answers(s.from)
		until("and come to "+s.from, func() bool { return x.counted(s.to) >= was+20 })
		for _, other := range []string{"10.0.0.2", "10.129.0.2", "10.130.0.2"} {
			n := x.counted(other)
			if other != s.to {
				was := x.counted(s.to)
				until("more packets", func() bool { return x.counted(s.to) >= was+5 })
				require.Equal(t, n, x.counted(other), "none goes to %s any more", other)
			}
		}
	}
	require.NoError(t, pings.Process.Signal(os.Interrupt))
	require.NoError(t, pings.Wait())
	// Those behind the last that was answered were on their way when ping was ended.
	answered, last := map[int]bool{}, 0
	for _, m := range regexp.MustCompile(`icmp_seq=(\d+) ttl`).FindAllStringSubmatch(said.String(), -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		answered[n], last = true, max(last, n)
	}
	require.Len(t, answered, last, "of %d packets: %s", last, said.String())
	require.Greater(t, last, 100)
	require.Equal(t, before, x.vsctl("get", "interface", TunnelName, "ofport", "options"))
}
