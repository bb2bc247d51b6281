//go:build lab

package lab

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
)

// TestTenantsOutside: VMs and a host behind a router that is not ours, by two
// borders: who reaches whom, what the outside learns, the hops, how flows are shared,
// and what the loss of a border costs.
func TestTenantsOutside(t *testing.T) {
	w := newOutsideSite(t)
	step := func(name string, do func()) {
		if !t.Failed() {
			began := time.Now()
			do()
			t.Logf("%s: done after %s", name, time.Since(began).Round(time.Millisecond))
		}
	}
	step("sessions", w.sessions)
	step("reached both ways", w.reachedOutside)
	step("nothing else is known outside", w.nothingElseIsKnown)
	step("traceroute", w.tracerouteOutside)
	step("flows are shared", w.flowsAreShared)
	step("a border dies", func() { w.borderDies("border1") })
	step("it comes back", func() { w.borderReturns("border1") })
	step("the other dies while there is no controller", func() {
		require.NoError(w, Kill(w.State, controllerNode, true))
		w.borderDies("border2")
	})
}

// sessions wants each border's sessions up, with what is taken and told.
func (w *outsideSite) sessions() {
	w.eventually(patience, func() error {
		n := w.external()
		if n.Status == nil || n.Status.Phase != intent.PhaseReady || len(n.Status.Outside) != 4 {
			return fmt.Errorf("%+v", n.Status)
		}
		for _, s := range n.Status.Outside {
			if s.State != "Established" || s.Taken != 2 || s.Announced != 2 {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
	text := w.cli("describe", "externalnetwork", "internet")
	require.Regexp(w, `border1 +192\.0\.2\.3 +64999 +Established +\S+ \S+ +2 +2`, text)
	w.Log(text)
}

func (w *outsideSite) reachedOutside() {
	for _, vm := range []string{"vm1", "vm2"} {
		for _, to := range []netip.Addr{www4, www6} {
			w.eventually(patience, func() error { return w.echo(vm, to) })
		}
	}
	for _, to := range []string{"198.18.1.11", "198.18.1.12", "2001:db8:18:1::11", "2001:db8:18:1::12"} {
		w.eventually(patience, func() error { return w.echo("www", netip.MustParseAddr(to)) })
	}
}

// nothingElseIsKnown wants that the outside learned the pools and the advertised
// prefixes, by both borders, and reaches nothing else; and that the spines have
// nothing of the outside or of tenants.
func (w *outsideSite) nothingElseIsKnown() {
	want := map[string][]string{}
	for _, p := range append(slices.Clone(outsidePools), vms4, vms6) {
		want[p.String()] = []string{fmt.Sprint(w.asn(1)), fmt.Sprint(w.asn(2))}
	}
	w.eventually(patience, func() error { // it learns of each border's for itself
		if got := w.knows(); !maps.EqualFunc(want, got, slices.Equal) {
			return fmt.Errorf("the outside knows %v, not %v", got, want)
		}
		return nil
	})
	for _, node := range []string{"spine1", "spine2", "leaf1"} {
		out, err := w.run(node, "ip", "route")
		require.NoError(w, err)
		for _, p := range []string{"198.51.100", "198.18.1", "203.0.113", "192.0.2."} {
			require.NotContains(w, out, p, "%s", node)
		}
	}
	_, err := w.run("isp", "ip", "route", "add", "10.0.0.0/8", "via", uplink(1, false, true).Addr().String())
	require.NoError(w, err)
	for _, n := range []string{"border1", "border2", "spine1", "hv1"} {
		o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNode, Name: n})
		require.NoError(w, err)
		for _, a := range []netip.Addr{o.(*intent.Node).Spec.VTEP, o.(*intent.Node).Spec.Loopback} {
			if a.IsValid() {
				require.Error(w, w.echo("isp", a), "the underlay is not reached from outside")
				require.Error(w, w.echo("vm1", a), "nor by a tenant")
			}
		}
	}
}

var exceeded = regexp.MustCompile(`(?m)^From (\S+) icmp_seq=1 (Time to live exceeded|Time exceeded: Hop limit)`)

// hop is who answers a packet that may pass so many routers.
func (w *outsideSite) hop(from string, to netip.Addr, ttl int) (netip.Addr, error) {
	out, err := w.run(from, "ping", "-n", "-c1", "-W2", "-t", strconv.Itoa(ttl), to.String())
	if err == nil {
		return to, nil
	}
	m := exceeded.FindStringSubmatch(out)
	if m == nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(m[1])
}

// tracerouteOutside wants the hops gateway, border, router outside, host, and back.
func (w *outsideSite) tracerouteOutside() {
	for _, v6 := range []bool{false, true} {
		to, gateway, vm := www4, netip.MustParseAddr("198.18.1.1"), netip.MustParseAddr("198.18.1.11")
		if v6 {
			to, gateway, vm = www6, netip.MustParseAddr("2001:db8:18:1::1"), netip.MustParseAddr("2001:db8:18:1::11")
		}
		borders := []netip.Addr{uplink(1, v6, true).Addr(), uplink(2, v6, true).Addr()}
		isps := []netip.Addr{uplink(1, v6, false).Addr(), uplink(2, v6, false).Addr()}
		for _, way := range []struct {
			from string
			to   netip.Addr
			hops [][]netip.Addr
		}{
			{"vm1", to, [][]netip.Addr{{gateway}, borders, isps, {to}}},
			{"www", vm, [][]netip.Addr{{netip.MustParseAddr(map[bool]string{false: "198.51.100.1", true: "2001:db8:100::1"}[v6])}, borders, {vm}}},
		} {
			var seen []netip.Addr
			for i, want := range way.hops {
				var got netip.Addr
				w.eventually(patience, func() (err error) { // errors are limited in number
					got, err = w.hop(way.from, way.to, i+1)
					return err
				})
				seen = append(seen, got)
				require.Contains(w, want, got, "hop %d from %s to %s, after %v", i+1, way.from, way.to, seen)
			}
			w.Logf("from %s to %s: %v", way.from, way.to, seen)
		}
	}
}

// flowsAreShared sends a packet of each of many flows, and sees by which border each
// leaves.
func (w *outsideSite) flowsAreShared() {
	const flows, first, port = 600, 20000, 9
	var mu sync.Mutex
	by := map[string]map[int]bool{"border1": {}, "border2": {}}
	for border, left := range by {
		tap, err := probe.OpenTap(w.Namespace(border), "eth3", func(frame []byte, out bool) {
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
			udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
			if !ok || !out || udp.DstPort != port {
				return
			}
			mu.Lock()
			left[int(udp.SrcPort)] = true
			mu.Unlock()
		})
		require.NoError(w, err)
		defer tap.Close()
	}
	const some = 20 // at once: each is a flow that the vSwitch has to look up
	for from := first; from < first+flows; from += some {
		conns := map[int]*net.UDPConn{}
		require.NoError(w, netns.Do(w.Namespace("vm1"), func() error {
			for i := from; i < from+some; i++ {
				c, err := net.DialUDP("udp4", &net.UDPAddr{Port: i}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(www4, port)))
				if err != nil {
					return err
				}
				conns[i] = c
			}
			return nil
		}))
		try := 0
		w.eventually(patience, func() error {
			mu.Lock()
			maps.DeleteFunc(conns, func(i int, c *net.UDPConn) bool {
				gone := by["border1"][i] || by["border2"][i]
				if gone {
					c.Close()
				}
				return gone
			})
			mu.Unlock()
			if len(conns) == 0 {
				return nil
			}
			for _, c := range conns {
				if try%10 == 0 { // UDP may be lost
					_, _ = c.Write([]byte("x")) // may return the ICMP error of the one before
				}
			}
			try++
			return fmt.Errorf("%d of %d flows have not left", len(conns), some)
		})
	}
	mu.Lock()
	defer mu.Unlock()
	w.Logf("of %d flows border1 sent %d and border2 %d", flows, len(by["border1"]), len(by["border2"]))
	for _, left := range by {
		require.Greater(w, len(left), flows/3, "each has about half")
	}
}

// pulse is a stream of UDP packets of several flows, each every 10 ms, that the host
// outside answers.
type pulse struct {
	mu      sync.Mutex
	answers []time.Time     // of the last answer, by flow
	gap     []time.Duration // the longest without an answer, by flow
	stop    func()
}

const (
	pulseFlows = 16
	pulseEvery = 10 * time.Millisecond
)

func (w *outsideSite) pulse() *pulse {
	w.Helper()
	p := &pulse{answers: make([]time.Time, pulseFlows), gap: make([]time.Duration, pulseFlows)}
	var server *net.UDPConn
	require.NoError(w, netns.Do(w.Namespace("www"), func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 7})
		return err
	}))
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 64)
		for {
			n, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDPAddrPort(b[:n], from)
		}
	})
	end := make(chan struct{})
	var flows []*net.UDPConn
	for i := range pulseFlows {
		var c *net.UDPConn
		require.NoError(w, netns.Do(w.Namespace("vm1"), func() (err error) {
			c, err = net.DialUDP("udp4", &net.UDPAddr{Port: 30000 + i}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(www4, 7)))
			return err
		}))
		flows = append(flows, c)
		wg.Go(func() {
			for tick := time.NewTicker(pulseEvery); ; {
				select {
				case <-end:
					tick.Stop()
					return
				case <-tick.C:
					_, _ = c.Write([]byte{byte(i)})
				}
			}
		})
		wg.Go(func() {
			b := make([]byte, 64)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
				p.answered(i)
			}
		})
	}
	p.stop = sync.OnceFunc(func() {
		close(end)
		server.Close()
		for _, c := range flows {
			c.Close()
		}
		wg.Wait()
	})
	w.Cleanup(p.stop)
	return p
}

func (p *pulse) answered(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.answers[i].IsZero() {
		p.gap[i] = max(p.gap[i], now.Sub(p.answers[i]))
	}
	p.answers[i] = now
}

// all reports whether all flows had an answer after a time.
func (p *pulse) all(since time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, at := range p.answers {
		if !at.After(since) {
			return fmt.Errorf("flow %d has had no answer since %s", i, at.Format("15:04:05.000"))
		}
	}
	return nil
}

// gaps are those of the flows, the longest last, since they were asked for last.
func (p *pulse) gaps() (out []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, g := range p.gap {
		out = append(out, g.Round(time.Millisecond))
		p.gap[i] = 0
	}
	slices.Sort(out)
	return out
}

// borderDies kills a border under packets of many flows: all go on by the other one.
func (w *outsideSite) borderDies(node string) {
	p := w.pulse()
	began := time.Now()
	w.eventually(patience, func() error { return p.all(began) })
	time.Sleep(500 * time.Millisecond)
	quiet := p.gaps()
	killed := time.Now()
	w.down(node)
	all := w.eventually(patience, func() error { return p.all(killed.Add(300 * time.Millisecond)) })
	time.Sleep(2 * time.Second)
	after := time.Now()
	w.eventually(patience, func() error { return p.all(after) }) // and go on
	gaps := p.gaps()
	hit := 0
	for _, g := range gaps {
		if g > quiet[len(quiet)-1]+20*time.Millisecond {
			hit++
		}
	}
	w.Logf("%s killed under %d flows with a packet each every %s: %d flows had a gap, the longest %s (before: %s); all are answered %s after the kill began",
		node, pulseFlows, pulseEvery, hit, gaps[len(gaps)-1], quiet[len(quiet)-1], all.Round(time.Millisecond))
	p.stop()
}

// borderReturns starts the border again; nothing is lost that needs it.
func (w *outsideSite) borderReturns(node string) {
	w.eventually(patience, func() error {
		n := w.external()
		if n.Status == nil || n.Status.Phase != intent.PhaseDegraded {
			return fmt.Errorf("%+v", n.Status)
		}
		return nil
	})
	p := w.pulse()
	began := time.Now()
	w.eventually(patience, func() error { return p.all(began) })
	p.gaps()
	w.up(node)
	w.sessions()
	time.Sleep(2 * time.Second)
	gaps := p.gaps()
	w.Logf("%s is back: the longest gap was %s", node, gaps[len(gaps)-1])
	p.stop()
}
