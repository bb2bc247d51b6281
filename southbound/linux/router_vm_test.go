//go:build vm

package linux

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// The L3VNIs of the two tenants: the first has the segments 100 and 101, the
// second 102 and 103 with the same subnets.
const (
	redVNI  = intent.VNI(5000)
	blueVNI = intent.VNI(5001)
)

// The machine is an interpreted one.
func init() { patience = 60 * time.Second }

// gateway is the router's address in the subnet of servers J.
func gateway(j int, v6 bool) netip.Prefix {
	net := (j-1)%2 + 1
	if v6 {
		return netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%d::fe/64", net))
	}
	return netip.MustParsePrefix(fmt.Sprintf("192.168.%d.254/24", net))
}

// router joins the segments of servers J.
func router(v intent.VNI, js ...int) leafstate.Router {
	r := leafstate.Router{Router: intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: fmt.Sprint(v)}, VNI: v, MTU: 1500}
	for _, j := range js {
		for _, v6 := range []bool{false, true} {
			r.Gateways = append(r.Gateways, leafstate.Gateway{Segment: labVNI + intent.VNI(j-1), Address: gateway(j, v6)})
		}
	}
	return r
}

// routed is the state of a leaf with a router for each pair of servers.
func (l *leaf) routed() leafstate.State {
	s := l.state()
	s.Routers = []leafstate.Router{router(redVNI, 1, 2)}
	if l.r.servers > 2 {
		s.Routers = append(s.Routers, router(blueVNI, 3, 4))
	}
	return s
}

// newRoutedRig is a rig with routers whose servers have default routes.
func newRoutedRig(t *testing.T, servers int) (r *rig, a, b *leaf) {
	r = newRigOf(t, servers)
	for _, l := range r.leaves {
		for _, s := range []string{"net.ipv6.conf.all.forwarding=1", "net.ipv4.fib_multipath_hash_policy=1"} {
			l.run("sysctl", "-qw", s)
		}
		for j := 1; j <= servers; j++ {
			r.in(l.server(j), "ip", "route", "add", "default", "via", gateway(j, false).Addr().String())
			r.in(l.server(j), "ip", "route", "add", "default", "via", gateway(j, true).Addr().String())
		}
	}
	for _, l := range r.leaves {
		l.mustRoute(l.routed())
	}
	return r, r.leaves[0], r.leaves[1]
}

// route is how a leaf routes to an address in a router's VRF.
func (l *leaf) route(v intent.VNI, to netip.Addr) string {
	return l.run("ip", "route", "get", "vrf", vrfName(v), to.String())
}

// audit applies again what both leaves were told last, as agents do every few
// seconds.
func audit(leaves ...*leaf) {
	for _, l := range leaves {
		l.r.t.Helper()
		_, err := l.applied(l.sw.last)
		require.NoError(l.r.t, err)
	}
}

// routed waits until hosts of servers 1 and 2 of the two leaves, or 3 and 4, are
// routed to by the L3VNI, both ways.
func (r *rig) routed(v intent.VNI, a, b *leaf, from, to int) {
	r.t.Helper()
	for i, ip := range b.port(to).Addresses {
		back := a.port(from).Addresses[i]
		r.wait(fmt.Sprintf("%s and %s are routed to by L3VNI %d", ip, back, v), func() error {
			audit(a, b)
			if err := a.ping(from, ip); err != nil {
				return err
			}
			for l, ip := range map[*leaf]netip.Addr{a: ip, b: back} {
				if got := l.route(v, ip); !strings.Contains(got, "dev "+bridgeName(v)) {
					return fmt.Errorf("%s", got)
				}
			}
			return nil
		})
	}
}

func (l *leaf) logRouting() {
	for _, c := range []string{"ip -d link", "ip addr", "ip route show table all", "ip neigh", "ip rule", "bridge fdb"} {
		l.r.t.Log(c, l.run(strings.Fields(c)...))
	}
	for _, c := range []string{"show bgp l2vpn evpn", "show running-config"} {
		l.r.t.Log(c, l.vty("bgpd", c))
	}
	l.r.t.Log(l.vty("zebra", "show running-config"))
}

// Two tenants with the same addresses route between their subnets across leaves;
// a router that is there, changed and taken away.
func TestRouters(t *testing.T) {
	r, a, b := newRoutedRig(t, 4)
	defer func() {
		if t.Failed() {
			a.logRouting()
			b.logRouting()
		}
	}()
	stop := a.follow()
	r.routed(redVNI, a, b, 1, 2)
	r.routed(blueVNI, a, b, 3, 4)
	captured := r.capture("l1")
	to, back := b.port(2).Addresses[0], a.port(1).Addresses[0]
	a.answered(1, to)
	require.Equal(t, []packet{
		{fmt.Sprint(redVNI), a.vtep().String(), intent.RouterMAC(b.vtep()).String(), back.String()},
		{fmt.Sprint(redVNI), b.vtep().String(), intent.RouterMAC(a.vtep()).String(), to.String()},
	}, captured(2))
	require.Contains(t, b.vty("bgpd", "show bgp l2vpn evpn route type 2"), "RT:65000:101 RT:65000:5000")

	// The tables tell of routes to other VTEPs.
	for _, ip := range b.port(2).Addresses {
		e := leafstate.Entry{Kind: leafstate.Route, VNI: redVNI, IP: ip, Bits: uint8(ip.BitLen()), VTEP: b.vtep()}
		r.wait("the route is told", func() error { return a.tells(e) })
	}
	stop()

	// Without the one server, the other tenant's with the same address does not
	// answer.
	r.in(b.server(2), "ip", "link", "set", "eth0", "down")
	require.Error(t, a.ping(1, to))
	a.answered(3, to)
	r.in(b.server(2), "ip", "link", "set", "eth0", "up")
	r.in(b.server(2), "ip", "addr", "replace", b.port(2).Addresses[1].String()+"/64", "dev", "eth0") // what went with the link
	for _, v6 := range []bool{false, true} {
		r.in(b.server(2), "ip", "route", "replace", "default", "via", gateway(2, v6).Addr().String())
	}
	for _, ip := range []netip.Addr{a.vtep(), b.vtep(), reflector} {
		require.Error(t, a.ping(1, ip), "the underlay is not a tenant's")
	}
	r.staticRoutes(a, b)
	r.routersGo(a, b)
}

// tells reports whether the leaf's tables have an entry.
func (l *leaf) tells(e leafstate.Entry) error {
	l.tables.mu.Lock()
	defer l.tables.mu.Unlock()
	if _, ok := l.tables.entries[e]; !ok {
		return fmt.Errorf("%+v is not there", e)
	}
	return nil
}

// What is wrong with a router is mended, and only that.
func TestTamperedRoutersAreMended(t *testing.T) {
	r, a, b := newRoutedRig(t, 2)
	r.routed(redVNI, a, b, 1, 2)
	defer func() {
		if t.Failed() {
			a.logRouting()
			b.logRouting()
		}
	}()
	config := a.vty("bgpd", "show running-config")
	a.sw = New(a.sw.config)
	a.mustRoute(a.routed()) // an agent that starts takes over what it finds
	require.Equal(t, config, a.vty("bgpd", "show running-config"))
	for _, c := range []struct{ what, tamper, check, want string }{
		{"address removed", "ip addr del 192.168.1.254/24 dev br100", "ip -o addr show br100", "192.168.1.254/24"},
		{"address added", "ip addr add 192.168.77.1/24 dev br100", "ip -o addr show br100", "192.168.1.254/24"},
		{"out of the VRF", "ip link set br100 nomaster", "ip -o link show br100", "master vrf5000"},
		{"MAC changed", "ip link set br100 address 02:00:00:00:99:99", "ip -o link show br100", intent.GatewayMAC.String()},
		{"next hop's MAC gone", "ip neigh del 10.9.0.2 dev br5000", "ip neigh show dev br5000 10.9.0.2", "06:77:0a:09:00:02 extern_learn"},
		{"next hop's MAC changed", "ip neigh replace 10.9.0.2 lladdr 02:00:00:00:99:99 nud permanent dev br5000", "ip neigh show dev br5000 10.9.0.2", "06:77:0a:09:00:02 extern_learn"},
		{"way to a router's MAC gone", "bridge fdb del 06:77:0a:09:00:02 dev vx5000 self", "bridge fdb show dev vx5000", "06:77:0a:09:00:02 dst 10.9.0.2"},
		{"last route removed", "ip route del unreachable default table 16782216 metric 4278198272", "ip route show table 16782216", "unreachable default"},
		{"local rule back", "ip rule add pref 0 lookup local", "ip rule", "32765:\tfrom all lookup local"},
		{"L3VNI's device gone", "ip link del vx5000", "ip -o link show vx5000", "master br5000"},
		{"the router's MAC changed", "ip link set br5000 address 02:00:00:00:99:99", "ip -o link show br5000", intent.RouterMAC(a.vtep()).String()},
		{"L3VNI's bridge gone", "ip link del br5000", "ip -o link show br5000", "master vrf5000"},
		{"a segment's bridge gone", "ip link del br100", "ip -o link show br100", "master vrf5000"},
		{"VRF gone", "ip link del vrf5000", "ip -o link show br100", "master vrf5000"},
		{"L3VNI down", "ip link set br5000 down", "ip -o link show br5000", "UP"},
		{"VRF down", "ip link set vrf5000 down", "ip -o link show vrf5000", "UP"},
	} {
		a.run(strings.Fields(c.tamper)...)
		began := time.Now()
		r.wait(c.what, func() error {
			audit(a, b)
			if out := a.run(strings.Fields(c.check)...); !strings.Contains(out, c.want) {
				return fmt.Errorf("%q is not in %s", c.want, out)
			}
			return a.ping(1, b.port(2).Addresses[0])
		})
		mended := time.Since(began)
		r.routed(redVNI, a, b, 1, 2)
		t.Logf("%s: mended after %v, all packets pass after %v", c.what, mended.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	require.NotContains(t, a.run("ip", "-o", "addr", "show", "br100"), "192.168.77.1")
	require.NotContains(t, a.run("ip", "rule"), "0:\tfrom all lookup local\n1000")
	r.routed(redVNI, a, b, 1, 2)
}

// staticRoutes has a server be the next hop of a prefix: the other leaf gets it as
// a prefix route. Another prefix is dropped.
func (r *rig) staticRoutes(a, b *leaf) {
	t := r.t
	t.Helper()
	s := b.routed()
	behind := netip.MustParsePrefix("198.51.100.0/24")
	s.Segments[1].Ports[0].Sources = []netip.Prefix{behind}
	s.Routers[0].Routes = []leafstate.Static{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Prefix: behind, NextHops: []leafstate.NextHop{{Address: b.port(2).Addresses[0], Weight: 1}}}}
	b.mustRoute(s)
	r.in(b.server(2), "ip", "addr", "add", "198.51.100.1/32", "dev", "lo")
	r.wait("the prefix is reached", func() error {
		audit(a, b)
		return a.ping(1, netip.MustParseAddr("198.51.100.1"))
	})
	require.Contains(t, a.route(redVNI, netip.MustParseAddr("198.51.100.1")), "via "+b.vtep().String()+" dev br5000")
	require.Contains(t, b.run("ip", "route", "show", "table", "16782216"), "blackhole 10.0.0.0/8")
	require.NotContains(t, a.run("ip", "route", "show", "table", "16782216"), "10.0.0.0/8", "each edge has its own black hole")
	b.mustRoute(b.routed())
	require.NotContains(t, b.run("ip", "route", "show", "table", "16782216"), "blackhole")
	r.wait("the prefix is gone", func() error {
		if out := a.run("ip", "route", "show", "table", "16782216"); strings.Contains(out, "198.51.100.0/24") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

// routersGo takes one router away, then all.
func (r *rig) routersGo(a, b *leaf) {
	t := r.t
	t.Helper()
	s := a.routed()
	s.Routers = s.Routers[:1]
	a.mustRoute(s)
	require.NotContains(t, a.run("ip", "-o", "link"), "5001")
	require.NotContains(t, a.vty("bgpd", "show running-config"), "vrf5001")
	require.NotContains(t, a.vty("zebra", "show running-config"), "vrf5001")
	require.NotContains(t, a.run("ip", "-o", "addr", "show", "br102"), "192.168")
	r.routed(redVNI, a, b, 1, 2)

	a.mustRoute(a.state())
	require.NotContains(t, a.run("ip", "-o", "link"), "vrf")
	require.NotContains(t, a.vty("bgpd", "show running-config"), "vrf")
	require.NotContains(t, a.vty("zebra", "show running-config"), "vrf")
	require.NotContains(t, a.run("ip", "-o", "link"), "5000")
}

// packet is what a capture says of a tunnelled packet.
type packet struct{ vni, outer, mac, inner string }

// capture records what is on a link of the router until the function that it
// returns is called, which gives the tunnelled ICMP packets.
func (r *rig) capture(iface string) func(want int) []packet {
	r.t.Helper()
	path := r.dir + "/" + iface + ".pcap"
	d := &daemon{cmd: exec.Command("ip", "netns", "exec", r.router, "tcpdump", "-U", "-Z", "root", "-i", iface, "-w", path, "udp", "port", "4789"), gone: make(chan struct{})}
	require.NoError(r.t, d.cmd.Start())
	go func() { _ = d.cmd.Wait(); close(d.gone) }()
	r.t.Cleanup(d.stop)
	r.wait("tcpdump listens", func() error {
		st, err := os.Stat(path)
		if err == nil && st.Size() == 0 {
			err = fmt.Errorf("nothing is written yet")
		}
		return err
	})
	return func(want int) (ps []packet) {
		r.t.Helper()
		r.wait("the packets are written", func() error {
			if ps = r.read(path); len(ps) < want {
				return fmt.Errorf("%d of %d", len(ps), want)
			}
			return nil
		})
		d.stop()
		return ps
	}
}

// read reads the tunnelled ICMP packets of a capture that may still go on.
func (r *rig) read(path string) (ps []packet) {
	r.t.Helper()
	b, err := exec.Command("tshark", "-r", path, "-Y", "vxlan && (icmp.type == 8 || icmp.type == 0 || icmpv6.type == 128 || icmpv6.type == 129)", "-T", "json",
		"-e", "vxlan.vni", "-e", "ip.src", "-e", "eth.dst", "-e", "ipv6.src").Output()
	out := string(b)
	if at := strings.Index(out, "["); err != nil && at < 0 {
		return nil // cut in the middle of a packet
	} else {
		out = out[max(0, at):]
	}
	var list []struct {
		Source struct {
			Layers map[string][]string `json:"layers"`
		} `json:"_source"`
	}
	if json.Unmarshal([]byte(out), &list) != nil {
		return nil
	}
	for _, p := range list {
		l := p.Source.Layers
		src := append(l["ip.src"], l["ipv6.src"]...)
		ps = append(ps, packet{l["vxlan.vni"][0], src[0], l["eth.dst"][1], src[1]})
	}
	return ps
}
