//go:build lab

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/probe"
)

// TestTenantsRouting: a distributed anycast gateway on real vSwitches, with
// packets of both families: who is reached, with which TTL, who answers, and what
// never arrives.
func TestTenantsRouting(t *testing.T) {
	w := newRoutedSite(t)
	step := func(name string, do func()) {
		if !t.Failed() {
			began := time.Now()
			do()
			t.Logf("%s: done after %s", name, time.Since(began).Round(time.Millisecond))
		}
	}
	stop := w.capture("spine1", "eth1")
	step("all pairs", w.allPairs)
	step("the L3VNI on the wire", func() { w.requireL3VNI(stop()) })
	step("gateways answer", w.gatewaysAnswer)
	step("traceroute", w.traceroute)
	step("unreachable", w.unreachable)
	step("next hops", w.nextHops)
	step("black hole", w.blackHole)
	step("a network leaves and comes back", w.leaves)
	step("the controller is killed", w.routedKill)
	step("the router is made again", w.madeAgain)
	step("a VM moves", w.vmMoves)
}

// allPairs: each VM reaches each other one of its tenant, and nobody else.
func (w *routedSite) allPairs() {
	for _, from := range routedVMs {
		for _, to := range routedVMs {
			if from.name != to.name && from.tenant == to.tenant {
				for _, v6 := range []bool{false, true} {
					w.once(from.name, to.name, v6, from.network != to.network)
				}
			}
		}
	}
	// y2's addresses are nobody's in the other tenant.
	for _, v6 := range []bool{false, true} {
		c := w.socket("w1", v6)
		payload := fmt.Sprintf("leak %v", v6)
		_, err := c.WriteToUDPAddrPort([]byte(payload), netip.AddrPortFrom(w.vms["y2"].address(v6), routedPort))
		require.NoError(w, err)
		c.Close()
		time.Sleep(200 * time.Millisecond)
		require.Empty(w, w.sightings(payload), "between tenants")
	}
	c := w.check()
	require.Equal(w, len(routedVMs), c.Unicast.Hosts)
}

// l3vni is that of a tenant's router.
func (w *routedSite) l3vni(tenant string) intent.VNI {
	w.Helper()
	o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindRouter, Tenant: tenant, Name: "r"})
	require.NoError(w, err)
	return o.(*intent.Router).Spec.VNI
}

// requireL3VNI has tshark read what crossed the spine: routed packets have the
// tenant's L3VNI and the router MACs, and never the L2VNI.
func (w *routedSite) requireL3VNI(path string) {
	w.Helper()
	out, err := exec.Command("tshark", "-r", path, "-Y", fmt.Sprintf("vxlan && udp.dstport==%d", routedPort), "-T", "fields", "-E", "separator=,", "-E", "occurrence=l",
		"-e", "vxlan.vni", "-e", "eth.src", "-e", "eth.dst", "-e", "ip.ttl", "-e", "ipv6.hlim").Output()
	require.NoError(w, err)
	router := regexp.MustCompile(`^06:77:`)
	routers := map[string]bool{fmt.Sprint(w.l3vni("red")): true, fmt.Sprint(w.l3vni("ink")): true}
	counts := map[string]int{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), ",")
		counts[f[0]]++
		require.Equal(w, routers[f[0]], router.MatchString(f[1]), "%s", line)
		require.Equal(w, routers[f[0]], router.MatchString(f[2]), "%s", line)
		require.NotEqual(w, intent.GatewayMAC.String(), f[1], "bridged after it was routed: %s", line)
	}
	w.Logf("routed probes on the spine, by VNI: %v; L3VNIs %v", counts, routers)
	for v := range routers {
		require.NotZero(w, counts[v])
	}
	w.requireWellFormed(path)
}

// gatewaysAnswer: every gateway of the router answers echo requests, also by its
// link-local address.
func (w *routedSite) gatewaysAnswer() {
	for _, from := range []string{"w1", "d2"} {
		for _, to := range []string{"w1", "d1"} {
			w.ping(from, w.vms[to].gateway(false).String())
			w.ping(from, w.vms[to].gateway(true).String())
		}
		w.ping(from, intent.GatewayMAC.LinkLocal().String()+"%eth1")
	}
	for _, port := range []uint16{53, 33434} {
		for _, v6 := range []bool{false, true} {
			r := w.refusal("w1", netip.AddrPortFrom(w.vms["w1"].gateway(v6), port), 0)
			require.Equal(w, map[bool]refusal{false: {w.vms["w1"].gateway(false), 3, 3}, true: {w.vms["w1"].gateway(true), 1, 4}}[v6], r)
		}
	}
}

// traceroute reads well: the gateway, then the host.
func (w *routedSite) traceroute() {
	for _, to := range []string{"d1", "d2"} {
		for _, v6 := range []bool{false, true} {
			dest := netip.AddrPortFrom(w.vms[to].address(v6), 33434)
			exceeded, reached := refusal{w.vms["w1"].gateway(v6), 11, 0}, refusal{dest.Addr(), 3, 3}
			if v6 {
				exceeded.kind, reached.kind, reached.code = 3, 1, 4
			}
			for ttl, want := range []refusal{exceeded, reached} {
				got := w.refusal("w1", dest, ttl+1)
				require.Equal(w, want, got, "w1 to %s, TTL %d", dest, ttl+1)
			}
		}
	}
}

// unreachable: who is nowhere, and what there is no route to.
func (w *routedSite) unreachable() {
	nobody := routedVM{network: 2, host: 200}
	for _, c := range []struct {
		to   string
		want refusal
	}{
		{nobody.v4().String(), refusal{w.vms["w1"].gateway(false), 3, 1}},
		{nobody.v6().String(), refusal{w.vms["w1"].gateway(true), 1, 3}},
		{"203.0.113.1", refusal{w.vms["w1"].gateway(false), 3, 0}},
		{"2001:db8::1", refusal{w.vms["w1"].gateway(true), 1, 0}},
	} {
		got := w.refusal("w1", netip.AddrPortFrom(netip.MustParseAddr(c.to), 9), 0)
		require.Equal(w, c.want, got, c.to)
	}
	// A flood of what can't be routed is bounded by the port's meter.
	c := w.socket("w1", false)
	defer c.Close()
	dropped := regexp.MustCompile(`0: packet_count:(\d+)`)
	w.eventually(patience, func() error {
		for range 200 {
			_, _ = c.WriteToUDPAddrPort([]byte("flood"), netip.MustParseAddrPort("203.0.113.1:9"))
		}
		stats := w.ofctl("hv1", "meter-stats")
		for _, m := range dropped.FindAllStringSubmatch(stats, -1) {
			if len(m[1]) >= 3 {
				return nil
			}
		}
		return fmt.Errorf("no meter dropped 100 packets: %s", stats)
	})
}

// split sends flows, each from a port of its own, to what is behind the next hops,
// and counts them where they come: each flow by one next hop, and nowhere else.
func (w *routedSite) split(flows int) (n1, n2 int) {
	w.Helper()
	run := fmt.Sprint("split ", time.Now().UnixNano(), " ")
	to := netip.AddrPortFrom(behind.Addr().Next(), routedPort)
	came := func() map[int]map[string]bool {
		at := map[int]map[string]bool{}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range w.seen {
			var flow, try int
			if rest, ok := strings.CutPrefix(s.payload, run); ok {
				_, err := fmt.Sscan(rest, &flow, &try)
				require.NoError(w, err)
				if at[flow] == nil {
					at[flow] = map[string]bool{}
				}
				at[flow][s.at] = true
			}
		}
		return at
	}
	for first := 0; first < flows; first += 20 { // few at once: each is a flow that the datapath does not have yet
		sockets := map[int]*net.UDPConn{}
		for i := first; i < min(first+20, flows); i++ {
			sockets[i] = w.socket("w1", false)
		}
		try := 0
		w.eventually(patience, func() error {
			at, missing := came(), 0
			for i, c := range sockets {
				if at[i] == nil && try%10 == 0 {
					_, _ = c.WriteToUDPAddrPort(fmt.Appendf(nil, "%s%d %d", run, i, try), to)
				}
				if at[i] == nil {
					missing++
				}
			}
			if try++; missing > 0 {
				return fmt.Errorf("%d of %d flows did not come", missing, len(sockets))
			}
			return nil
		})
		for _, c := range sockets {
			require.NoError(w, c.Close())
		}
	}
	counts := map[string]int{}
	for flow, at := range came() {
		require.Len(w, at, 1, "flow %d", flow)
		for vm := range at {
			counts[vm]++
		}
	}
	require.Equal(w, flows, counts["n1"]+counts["n2"], "%v", counts)
	w.Logf("%d flows over two next hops: %v", flows, counts)
	return counts["n1"], counts["n2"]
}

// nextHops: flows are shared by ECMP, and by weights; a next hop that goes loses
// them to the other one.
func (w *routedSite) nextHops() {
	const flows = 600
	route := intent.StaticRoute{Prefix: behind, NextHops: []intent.NextHop{{Address: w.vms["n1"].v4()}, {Port: "n2"}}}
	w.put(routedRouter("red", route))
	w.spineReady()
	n1, n2 := w.split(flows)
	require.InDelta(w, flows/2, n1, flows/8)
	require.InDelta(w, flows/2, n2, flows/8)
	w.ping("w1", behind.Addr().Next().String()) // they may answer as who is behind them
	w.ping("w2", behind.Addr().Next().String())

	route.NextHops[0].Weight = 3
	w.put(routedRouter("red", route))
	w.spineReady()
	n1, n2 = w.split(flows)
	require.InDelta(w, 3*flows/4, n1, flows/8)
	require.InDelta(w, flows/4, n2, flows/8)

	w.vsctl("hv1", "del-port", bridgeInt, "vn1")
	w.eventually(patience, func() error {
		if strings.Contains(w.ofctl("hv1", "dump-flows"), "multipath") {
			return errStill("two next hops")
		}
		return nil
	})
	n1, n2 = w.split(flows / 10)
	require.Equal(w, []int{0, flows / 10}, []int{n1, n2})
	w.vsctl("hv1", "add-port", bridgeInt, "vn1", "--", "set", "Interface", "vn1", "external_ids:iface-id=n1")
	w.ready(patience)
	w.once("w1", "n1", false, true)
}

// spineReady waits until both hypervisors have what was put last.
func (w *routedSite) spineReady() {
	w.Helper()
	w.ready(patience)
	w.eventually(patience, func() error {
		o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindRouter, Tenant: "red", Name: "r"})
		if err != nil {
			return err
		}
		if s := o.(*intent.Router).Status; s != nil && s.Phase != intent.PhaseReady {
			return fmt.Errorf("the router is %s: %+v", s.Phase, s.Reasons)
		}
		return nil
	})
}

// blackHole drops without a word.
func (w *routedSite) blackHole() {
	hole := netip.MustParsePrefix("203.0.113.0/24")
	w.put(routedRouter("red", intent.StaticRoute{Prefix: hole, Blackhole: true}))
	w.eventually(patience, func() error {
		if !strings.Contains(w.ofctl("hv1", "dump-flows"), "nw_dst=203.0.113.0/24 actions=drop") {
			return fmt.Errorf("the black hole is not there yet")
		}
		return nil
	})
	r, ok := w.refused("w1", netip.MustParseAddrPort("203.0.113.1:9"), 0)
	require.False(w, ok, "%v", r)
	line := regexp.MustCompile(`n_packets=(\d+),[^\n]*nw_dst=203.0.113.0/24 actions=drop`).FindStringSubmatch(w.ofctl("hv1", "dump-flows"))
	require.NotNil(w, line)
	require.NotEqual(w, "0", line[1], "what is dropped is counted")
}

// leaves: while packets flow a network leaves the router and comes back.
func (w *routedSite) leaves() {
	one := routedRouter("red")
	one.Spec.Networks = one.Spec.Networks[:1]
	w.put(one)
	route := regexp.MustCompile(fmt.Sprintf(`cookie=0x7ef7000000%06x,[^\n]*nw_dst=10\.2\.0\.0/24 `, w.l3vni("red")))
	w.eventually(patience, func() error {
		for _, hv := range []string{"hv1", "hv2"} {
			if route.MatchString(w.ofctl(hv, "dump-flows")) {
				return errStill("a route to the network on " + hv)
			}
		}
		return nil
	})
	require.Equal(w, refusal{w.vms["w1"].gateway(false), 3, 0}, w.refusal("w1", netip.AddrPortFrom(w.vms["d2"].v4(), 9), 0))
	w.once("d1", "d2", false, false) // bridged as before
	w.put(routedRouter("red"))
	w.once("w1", "d2", false, true)
	w.once("d2", "w1", true, true)
}

// routedKill: routed packets go on while the controller is away, and nothing is
// made again when it comes back. ICMP errors alone are missing meanwhile.
func (w *routedSite) routedKill() {
	w.put(routedRouter("red", intent.StaticRoute{Prefix: behind, NextHops: []intent.NextHop{{Port: "n1"}, {Port: "n2"}}}))
	w.spineReady()
	w.eventually(patience, func() error {
		for _, hv := range []string{"hv1", "hv2"} {
			if !strings.Contains(w.ofctl(hv, "dump-flows"), "multipath") {
				return fmt.Errorf("%s has no next hops yet", hv)
			}
		}
		return nil
	})
	for try := 1; ; try++ {
		before := w.allFlows()
		sent, lost := w.losses(func() {
			time.Sleep(time.Second)
			require.NoError(w, Kill(w.State, controllerNode, true))
			_, ok := w.refused("w1", netip.AddrPortFrom(w.vms["d2"].v4(), 9), 1)
			require.False(w, ok, "nobody is there to answer")
			w.startController()
			w.ready(patience)
		}, "d1", "d2")
		w.Logf("controller killed and started, window %d: %d routed packets sent, %d lost", try, sent, lost)
		after := w.allFlows()
		require.NoError(w, differ(before, after))
		w.Logf("%d flows, none made again", w.requireOlder(before, after))
		if lost == 0 {
			break
		}
		require.Less(w, try, windows, "packets were lost in every window")
	}
	w.eventually(patience, func() error {
		if _, ok := w.refused("w1", netip.AddrPortFrom(w.vms["d2"].v4(), 9), 1); !ok {
			return errStill("no ICMP errors")
		}
		return nil
	})
}

// losses sends packets from w1 to VMs in turn, 500 a second, while something
// happens, and counts those that were lost.
func (w *routedSite) losses(happens func(), vms ...string) (sent, lost int) {
	w.Helper()
	run := fmt.Sprint("losses ", time.Now().UnixNano(), " ")
	ctx, cancel := context.WithCancel(w.Context())
	c := w.socket("w1", false)
	defer c.Close()
	done := make(chan int)
	go func() {
		n, tick := 0, time.NewTicker(2*time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			to := w.vms[vms[n%len(vms)]]
			if _, err := c.WriteToUDPAddrPort(fmt.Appendf(nil, "%s%d", run, n), netip.AddrPortFrom(to.v4(), routedPort)); err == nil {
				n++
			}
			<-tick.C
		}
		done <- n
	}()
	happens()
	cancel()
	sent = <-done
	time.Sleep(300 * time.Millisecond)
	got := map[string]int{}
	w.mu.Lock()
	for _, s := range w.seen {
		if strings.HasPrefix(s.payload, run) {
			got[s.payload]++
		}
	}
	w.mu.Unlock()
	for p, n := range got {
		require.Equal(w, 1, n, "copies of %s", p)
	}
	return sent, sent - len(got)
}

// madeAgain: a router that is deleted leaves nothing behind, and one that gets its
// L3VNI works.
func (w *routedSite) madeAgain() {
	v := w.l3vni("red")
	w.delete(intent.Ref{Kind: intent.KindRouter, Tenant: "red", Name: "r"})
	w.eventually(patience, func() error {
		for _, hv := range []string{"hv1", "hv2"} {
			if strings.Contains(w.ofctl(hv, "dump-flows"), fmt.Sprintf("cookie=0x7ef7000000%06x", v)) {
				return fmt.Errorf("%s still has flows of L3VNI %d", hv, v)
			}
		}
		return nil
	})
	r, ok := w.refused("w1", netip.AddrPortFrom(w.vms["d2"].v4(), 9), 1)
	require.False(w, ok, "%v", r)
	w.once("x1", "x2", false, true) // the other tenant's goes on
	again := routedRouter("red")
	again.Spec.VNI = v
	w.put(again)
	w.once("w1", "d2", false, true)
	w.once("d2", "w1", true, true)
	for _, e := range w.events(time.Time{}) {
		require.NotContains(w, e.Reason, "Repaired", "%+v", e)
	}
}

// vmMoves: a VM comes back on another hypervisor with its addresses. Its gateway is
// there already, and routes to it follow.
func (w *routedSite) vmMoves() {
	v := w.vms["d2"]
	w.vsctl("hv2", "del-port", bridgeInt, "vd2")
	v.name, v.hypervisor = "d2b", "hv1"
	w.vms[v.name] = v
	w.plug(v.hypervisor, v.name, v.mac(), netip.PrefixFrom(v.v4(), 24), netip.PrefixFrom(v.v6(), 64))
	tap, err := probe.OpenTap(w.Namespace(v.name), "eth1", func(frame []byte, out bool) { w.see(v.name, frame, out) })
	require.NoError(w, err)
	defer tap.Close()
	w.vsctl("hv1", "set", "Interface", "v"+v.name, "external_ids:iface-id=d2")
	w.ready(patience)
	for _, v6 := range []bool{false, true} {
		w.once("w1", v.name, v6, true)
		w.once("w2", v.name, v6, true)
		w.ping(v.name, v.gateway(v6).String())
	}
}
