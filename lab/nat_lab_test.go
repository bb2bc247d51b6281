//go:build lab

package lab

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// Floating IPs of the test: of two VMs with equal addresses on hv1, and one on hv2.
var floating = map[string][2]string{
	"w1": {"203.0.113.110", "2001:db8:f::110"}, "x1": {"203.0.113.111", "2001:db8:f::111"}, "d2": {"203.0.113.112", "2001:db8:f::112"},
}

func floatingOf(vm string, v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr(floating[vm][1])
	}
	return netip.MustParseAddr(floating[vm][0])
}

// Ports: where hosts say as whom they are asked, where the host outside says what it
// is told, and where a VM does.
const (
	whoPort  = 8080
	echoPort = 7
	inPort   = 443
)

// TestTenantsOutsideTranslation: source NAT and floating IPs on real vSwitches, with
// a border of FRR's and a host behind it, in both families. Two tenants have equal
// addresses.
func TestTenantsOutsideTranslation(t *testing.T) {
	w := newNATSite(t)
	step := func(name string, do func()) {
		if !t.Failed() {
			began := time.Now()
			do()
			t.Logf("%s: done after %s", name, time.Since(began).Round(time.Millisecond))
		}
	}
	for _, s := range []netip.Addr{server4, server6} {
		w.who(internetNode, netip.AddrPortFrom(s, whoPort))
	}
	w.echoAt(internetNode, echoPort)
	for _, vm := range []string{"w1", "d2"} {
		w.echoAt(vm, inPort)
	}
	for _, vm := range []string{"w1", "x1", "d2"} {
		for _, v6 := range []bool{false, true} {
			w.who(vm, netip.AddrPortFrom(w.vms[vm].address(v6), whoPort))
		}
	}
	step("source NAT", w.sourceNAT)
	step("floating IPs", w.floatingIPs)
	step("traceroute", w.traceOutside)
	step("between floating IPs", w.hairpins)
	step("what must not come through", w.noLeaks)
	step("groups judge the VM's own addresses", w.groupsInside)
	step("the controller is killed", w.natKill)
	step("a VM moves", w.floatingMoves)
	step("it goes to another port", w.floatingGoesOn)
	step("it is taken away", w.floatingGoes)
	step("path MTU", w.pathMTU)
	step("ovs-vswitchd is started anew", w.natVSwitchd)
	step("no border", w.noBorder)
}

// sourceNAT: VMs of two tenants, with equal addresses, are known by their
// hypervisor's addresses, and answers find them.
func (w *natSite) sourceNAT() {
	w.leadsOutside("red", true)
	w.leadsOutside("ink", true)
	for _, v6 := range []bool{false, true} {
		to := netip.AddrPortFrom(server(v6), whoPort)
		for _, vm := range []string{"w1", "x1", "d1", "d2", "y2"} {
			w.seenAs(vm, to, w.sources(w.vms[vm].hypervisor, v6))
		}
		// From one port of one address to the same place: they are two sessions.
		as := func(vm string) (as netip.AddrPort) {
			w.eventually(patience, func() (err error) {
				as, err = w.knownAs(vm, "udp", to, 4444, time.Second)
				return err
			})
			return as
		}
		one, two := as("w1"), as("x1")
		require.Equal(w, one.Addr(), two.Addr())
		require.NotEqual(w, one.Port(), two.Port())
	}
}

// floatingIPs: a VM is known by its floating IP, and is reached by it.
func (w *natSite) floatingIPs() {
	for vm, as := range floating {
		w.floats(vm, as[0])
		w.floats(vm, as[1])
	}
	for vm := range floating {
		for _, v6 := range []bool{false, true} {
			w.seenAs(vm, netip.AddrPortFrom(server(v6), whoPort), floatingOf(vm, v6))
			w.seenAs(internetNode, netip.AddrPortFrom(floatingOf(vm, v6), whoPort), w.internetAddress(v6))
		}
	}
	w.seenAs("d1", netip.AddrPortFrom(server4, whoPort), w.sources("hv1", false)) // others are as before
	for _, vm := range []string{"w1", "d2"} {
		s := w.cliGet(intent.Ref{Kind: intent.KindFloatingIP, Tenant: "red", Name: vm + "-v4"})
		require.Equal(w, intent.PhaseReady, s.Phase, "%+v", s)
	}
}

// internetAddress is that by which the host outside asks.
func (w *natSite) internetAddress(v6 bool) netip.Addr {
	l := borderLinks[0]
	if v6 {
		l = borderLinks[1]
	}
	return l.Addr().Next()
}

// traceOutside reads well, by source NAT and by floating IP: the gateway, the
// border, the host. The kernel delivers an ICMP error only if what it quotes is what
// the socket sent.
func (w *natSite) traceOutside() {
	for _, vm := range []string{"w1", "d1"} {
		for _, v6 := range []bool{false, true} {
			to := netip.AddrPortFrom(server(v6), 33434)
			exceeded, reached := [2]uint8{11, 0}, [2]uint8{3, 3}
			if v6 {
				exceeded, reached = [2]uint8{3, 0}, [2]uint8{1, 4}
			}
			for ttl, want := range [][2]uint8{exceeded, exceeded, reached} {
				got := w.refusal(vm, to, ttl+1)
				require.Equal(w, want, [2]uint8{got.kind, got.code}, "%s to %s, TTL %d: %v", vm, to, ttl+1, got)
				switch ttl {
				case 0:
					require.Equal(w, w.vms[vm].gateway(v6), got.from)
				case 2:
					require.Equal(w, server(v6), got.from)
				}
			}
		}
	}
	for _, v6 := range []bool{false, true} { // and to a VM
		to := netip.AddrPortFrom(floatingOf("w1", v6), 33434)
		got := w.refusal(internetNode, to, 2)
		require.Equal(w, floatingOf("w1", v6), got.from, "%v", got)
	}
}

// hairpins: VMs reach each other by their floating IPs, of another tenant and of
// their own, on the same hypervisor and on another, and themselves.
func (w *natSite) hairpins() {
	for _, from := range []string{"w1", "x1", "d2"} {
		for _, to := range []string{"w1", "x1", "d2"} {
			for _, v6 := range []bool{false, true} {
				w.seenAs(from, netip.AddrPortFrom(floatingOf(to, v6), whoPort), floatingOf(from, v6))
			}
		}
	}
	for _, v6 := range []bool{false, true} { // by source NAT
		w.seenAs("d1", netip.AddrPortFrom(floatingOf("w1", v6), whoPort), w.sources("hv1", v6))
		w.seenAs("y2", netip.AddrPortFrom(floatingOf("w1", v6), whoPort), w.sources("hv2", v6))
	}
}

// noLeaks: what nobody asked for, and what is nobody's.
func (w *natSite) noLeaks() {
	for _, v6 := range []bool{false, true} {
		for _, hv := range []string{"hv1", "hv2"} {
			w.unseen(internetNode, netip.AddrPortFrom(w.sources(hv, v6), whoPort))
		}
		nobody := netip.AddrPortFrom(netip.MustParseAddr(map[bool]string{false: "203.0.113.222", true: "2001:db8:f::dead"}[v6]), 9)
		want := map[bool]refusal{false: {kind: 3, code: 1}, true: {kind: 1, code: 3}}[v6]
		for _, vm := range []string{"w1", "d1"} { // by floating IP and by source NAT
			want.from = w.vms[vm].gateway(v6)
			got := w.refusal(vm, nobody, 0)
			require.Equal(w, want, got, "%s to %s", vm, nobody)
		}
	}
	// Without source NAT only floating IPs lead outside.
	w.leadsOutside("red", false)
	to := netip.AddrPortFrom(server4, whoPort)
	w.eventually(patience, func() error {
		if _, err := w.knownAs("d1", "udp", to, 0, refusedAfter); err == nil {
			return fmt.Errorf("d1 is still translated")
		}
		return nil
	})
	w.unseen("d1", to)
	require.Equal(w, refusal{w.vms["d1"].gateway(false), 3, 13}, w.refusal("d1", to, 0))
	w.seenAs("w1", to, floatingOf("w1", false))
	w.seenAs("x1", to, floatingOf("x1", false))
	w.leadsOutside("red", true)
	w.seenAs("d1", to, w.sources("hv1", false))
}

// groupsInside: what comes by a floating IP is judged with the VM's own address, by
// the address of who is outside.
func (w *natSite) groupsInside() {
	w.put(w.group("red", "front", fmt.Sprintf("ingress tcp %d from %s/31", whoPort, borderLinks[0].Addr()), "egress tcp from front"))
	p := w.vms["w1"].port()
	p.Spec.SecurityGroups = []string{"front"}
	w.put(p)
	w.ready(patience)
	at := netip.AddrPortFrom(floatingOf("w1", false), whoPort)
	w.eventually(patience, func() error {
		_, err := w.knownAs(internetNode, "udp", at, 0, refusedAfter)
		if err == nil {
			return fmt.Errorf("UDP comes through")
		}
		return nil
	})
	w.eventually(patience, func() error {
		_, err := w.knownAs(internetNode, "tcp", at, 0, time.Second)
		return err
	})
	_, err := w.knownAs("d2", "tcp", at, 0, refusedAfter)
	require.Error(w, err, "it is from another address")
	w.unseen("w1", netip.AddrPortFrom(server4, whoPort)) // nothing may go out
	w.put(w.vms["w1"].port())
	w.ready(patience)
	w.seenAs("w1", netip.AddrPortFrom(server4, whoPort), floatingOf("w1", false))
}

// natKill: sessions through both kinds of translation live on while the controller
// is away, and no flow is made again when it comes back. They are between
// hypervisors: a border that nobody keeps the routes for loses them.
func (w *natSite) natKill() {
	chats := []*chat{w.chat("d1", floatingOf("d2", false), inPort), w.chat("x1", floatingOf("w1", false), inPort), w.chat("y2", floatingOf("w1", true), inPort)}
	before := w.allFlows()
	require.NoError(w, Kill(w.State, controllerNode, true))
	for _, c := range chats {
		c.lives(w.site, "without a controller")
	}
	w.startController()
	w.ready(patience)
	for _, c := range chats {
		c.lives(w.site, "after the controller came back")
	}
	after := w.allFlows()
	require.NoError(w, differ(before, after))
	w.Logf("%d flows, none made again", w.requireOlder(before, after))
	// A change that does not concern them.
	w.put(w.group("red", "other", "ingress tcp 1"))
	w.floats("n1", "203.0.113.130")
	w.seenAs("n1", netip.AddrPortFrom(server4, whoPort), netip.MustParseAddr("203.0.113.130"))
	for _, c := range chats {
		c.lives(w.site, "after another floating IP came")
	}
}

// floatingMoves: a floating IP follows its VM, and sessions go on in mid-stream.
func (w *natSite) floatingMoves() {
	m := w.mobileVM("w1", "hv2")
	w.prepared(w.vms["w1"].port().Ref(), "hv2:"+m.iface("hv2"))
	out := []*chat{w.chat("w1", server4, echoPort), w.chat("w1", server6, echoPort)}
	in := w.chat(internetNode, floatingOf("w1", false), inPort)
	for _, at := range []string{"hv2", "hv1", "hv2"} {
		if at != m.at {
			m.claim(at)
			w.prepared(w.vms["w1"].port().Ref(), at+":"+m.iface(at))
		}
		was, before, began := m.at, in.said.Load(), time.Now()
		m.move(at)
		for _, c := range append(out, in) {
			c.lives(w.site, "after a move to "+at)
		}
		m.left(was)
		for _, c := range append(out, in) {
			c.lives(w.site, "at "+at)
		}
		w.Logf("to %s: %d answers in the session from outside in the %s since the move", at, in.said.Load()-before, time.Since(began).Round(time.Millisecond))
		for _, v6 := range []bool{false, true} {
			w.seenAs("w1", netip.AddrPortFrom(server(v6), whoPort), floatingOf("w1", v6))
			w.seenAs(internetNode, netip.AddrPortFrom(floatingOf("w1", v6), whoPort), w.internetAddress(v6))
			w.seenAs("d1", netip.AddrPortFrom(floatingOf("w1", v6), whoPort), w.sources("hv1", v6))
		}
	}
}

// floatingGoes: an address that nobody has any more answers no more, and its port is
// known by the hypervisor's.
func (w *natSite) floatingGoes() {
	w.delete(intent.Ref{Kind: intent.KindFloatingIP, Tenant: "ink", Name: "x1-v4"})
	w.eventually(patience, func() error {
		if _, err := w.knownAs(internetNode, "udp", netip.AddrPortFrom(floatingOf("x1", false), whoPort), 0, refusedAfter); err == nil {
			return fmt.Errorf("it still answers")
		}
		return nil
	})
	w.unseen(internetNode, netip.AddrPortFrom(floatingOf("x1", false), whoPort))
	w.seenAs("x1", netip.AddrPortFrom(server4, whoPort), w.sources("hv1", false))
	w.seenAs("x1", netip.AddrPortFrom(server6, whoPort), floatingOf("x1", true))
}

// floatingGoesOn: another port of the router, on the same hypervisor, gets the
// address: what conntrack remembers of the first holds nobody back. A session by
// source NAT ends then, for its VM is another outside.
func (w *natSite) floatingGoesOn() {
	at := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.130"), whoPort) // n1's, since the controller was killed
	const port = 5555
	w.who("d1", netip.AddrPortFrom(w.vms["d1"].v4(), whoPort))
	_, err := w.knownAs(internetNode, "udp", at, port, refusedAfter)
	require.Error(w, err, "nobody answers at n1")
	w.ping(internetNode, at.Addr().String())
	c := w.chat("d1", server4, echoPort)
	c.lives(w.site, "by source NAT")
	f := w.floating("n1", at.Addr().String())
	f.Spec.Port = "d1"
	began := time.Now()
	w.put(f)
	w.eventually(patience, func() error {
		_, err := w.knownAs(internetNode, "udp", at, port, refusedAfter)
		return err
	})
	c.ends(w.site, began)
	w.seenAs("d1", netip.AddrPortFrom(server4, whoPort), at.Addr())
	w.seenAs("n1", netip.AddrPortFrom(server4, whoPort), w.sources("hv1", false))
	c = w.chat("d1", server4, echoPort)
	c.lives(w.site, "by the floating IP")
	began = time.Now()
	w.delete(f.Ref())
	c.ends(w.site, began)
	w.seenAs("d1", netip.AddrPortFrom(server4, whoPort), w.sources("hv1", false))
}

// pathMTU: who sends packets that are too long for the way outside is told so.
func (w *natSite) pathMTU() {
	w.command(borderNode, "ip", "link", "set", "eth2", "mtu", "1300")
	defer w.command(borderNode, "ip", "link", "set", "eth2", "mtu", "1600")
	for _, vm := range []string{"x1", "d1"} { // x1 has a floating IP of IPv6 left
		for _, v6 := range []bool{false, true} {
			w.eventually(patience, func() error {
				out, err := exec.Command("ip", "netns", "exec", w.Namespace(vm), "ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1350", server(v6).String()).CombinedOutput()
				if err == nil || !regexp.MustCompile(`mtu[ =:]+1300`).Match(out) {
					return fmt.Errorf("%s: %v: %s", vm, err, out)
				}
				return nil
			})
			w.command(vm, "ip", map[bool]string{false: "-4", true: "-6"}[v6], "route", "flush", "cache")
		}
	}
}

// natVSwitchd: with ovs-vswitchd conntrack's memory is gone. Sessions through
// floating IPs are taken up again.
func (w *natSite) natVSwitchd() {
	in := w.chat(internetNode, floatingOf("d2", false), inPort)
	in.lives(w.site, "before")
	p := w.process("hv2", "ovs-vswitchd")
	require.NoError(w, p.signal(syscall.SIGKILL))
	require.True(w, ended(p, patience))
	w.startVSwitchd("hv2")
	before := in.said.Load()
	w.eventually(patience, func() error {
		if in.said.Load() < before+5 {
			return fmt.Errorf("nothing was answered for %s", in.quiet())
		}
		return nil
	})
	w.ready(patience)
	in.lives(w.site, "after")
}

// noBorder: without a way on a VM is told so, though its packet was translated.
func (w *natSite) noBorder() {
	require.NoError(w, w.process(borderNode, "bgpd").signal(syscall.SIGKILL))
	for _, vm := range []string{"x1", "d1"} {
		for _, v6 := range []bool{false, true} {
			want := refusal{w.vms[vm].gateway(v6), 3, 0}
			if v6 {
				want.kind = 1
			}
			w.eventually(patience, func() error {
				if got, ok := w.refused(vm, netip.AddrPortFrom(server(v6), 9), 0); !ok || got != want {
					return fmt.Errorf("%s: %v %v", vm, ok, got)
				}
				return nil
			})
		}
	}
	w.seenAs("d1", netip.AddrPortFrom(floatingOf("d2", false), whoPort), w.sources("hv1", false)) // inside it goes on
}
