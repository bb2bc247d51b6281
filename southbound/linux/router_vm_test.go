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

// mustRoute applies a state whose routers must all come into place.
func (l *leaf) mustRoute(s leafstate.State) {
	l.r.t.Helper()
	in, err := l.applied(s)
	require.NoError(l.r.t, err)
	require.Len(l.r.t, in.Routers, len(s.Routers))
	for _, r := range in.Routers {
		require.Empty(l.r.t, r.Error)
	}
	require.NoError(l.r.t, l.read())
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

func TestServersTalkAcrossSubnets(t *testing.T) {
	r, a, b := newRoutedRig(t, 2)
	defer func() {
		if t.Failed() {
			for _, l := range r.leaves {
				for _, c := range []string{"ip -d link", "ip addr", "ip route show vrf vrf5000", "ip neigh", "ip rule", "bridge fdb"} {
					t.Log(c, l.run(strings.Fields(c)...))
				}
				for _, c := range []string{"show bgp l2vpn evpn", "show running-config", "show bgp vrf vrf5000"} {
					t.Log(c, l.vty("bgpd", c))
				}
				t.Log(l.vty("zebra", "show running-config"), l.vty("zebra", "show evpn vni 5000"))
			}
		}
	}()
	stop := r.capture("l1")
	for _, to := range b.port(2).Addresses {
		r.wait(fmt.Sprintf("server 1 of leaf 1 reaches %s", to), func() error { return a.ping(1, to) })
	}
	for _, to := range a.port(1).Addresses {
		r.wait(fmt.Sprintf("server 2 of leaf 2 reaches %s", to), func() error { return b.ping(2, to) })
	}
	// Once hosts are known, both directions are routed by the L3VNI.
	r.wait("hosts are routes", func() error {
		for l, to := range map[*leaf]*leaf{a: b, b: a} {
			for _, ip := range to.port(map[*leaf]int{a: 1, b: 2}[to]).Addresses {
				if got := l.run("ip", "route", "get", "vrf", vrfName(redVNI), ip.String()); !strings.Contains(got, "dev br5000") {
					return fmt.Errorf("%s", got)
				}
			}
		}
		return nil
	})
	require.NoError(t, a.ping(1, b.port(2).Addresses[0]))
	for _, p := range stop() {
		t.Log(p)
	}
}

// packet is what a capture says of a tunnelled packet.
type packet struct{ vni, outer, mac, inner string }

// capture records what is on a link of the router until the function that it
// returns is called, which gives the tunnelled ICMP packets.
func (r *rig) capture(iface string) func() []packet {
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
	return func() []packet {
		r.t.Helper()
		d.stop()
		out := r.sh("tshark", "-r", path, "-Y", "vxlan && (icmp.type == 8 || icmp.type == 0 || icmpv6.type == 128 || icmpv6.type == 129)", "-T", "json",
			"-e", "vxlan.vni", "-e", "ip.src", "-e", "eth.dst", "-e", "ipv6.src")
		out = out[strings.Index(out, "["):]
		var list []struct {
			Source struct {
				Layers map[string][]string `json:"layers"`
			} `json:"_source"`
		}
		require.NoError(r.t, json.Unmarshal([]byte(out), &list))
		var ps []packet
		for _, p := range list {
			l := p.Source.Layers
			src := append(l["ip.src"], l["ipv6.src"]...)
			ps = append(ps, packet{l["vxlan.vni"][0], src[0], l["eth.dst"][1], src[1]})
		}
		return ps
	}
}
