//go:build lab

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

var countedVMs = []routedVM{
	{"w1", "red", "hv1", 1, 11}, {"d1", "red", "hv1", 2, 11}, {"w2", "red", "hv2", 1, 12}, {"d2", "red", "hv2", 2, 12},
	{"x1", "ink", "hv1", 1, 11}, {"x2", "ink", "hv2", 1, 12},
}

// TestTenantsLimitsAndCounters: what routers and ports count is exact, and outlives a
// killed controller and changes of the router; two VMs of a tenant on one hypervisor
// share its limit, and nobody else is concerned.
func TestTenantsLimitsAndCounters(t *testing.T) {
	w := newVMSite(t, "limits", countedVMs)
	for _, tenant := range []string{"red", "ink"} {
		r := routedRouter(tenant)
		if tenant == "ink" {
			r.Spec.Networks = r.Spec.Networks[:1]
		}
		w.put(r)
	}
	w.ready(patience)
	w.countedExactly()
	w.sharedLimit()
}

// sink counts the datagrams that come to a VM, so that no ICMP error goes back.
func (w *routedSite) sink(vm string, v6 bool) *atomic.Int64 {
	w.Helper()
	var c *net.UDPConn
	require.NoError(w, netns.Do(w.Namespace(vm), func() (err error) {
		c, err = net.ListenUDP(map[bool]string{true: "udp6", false: "udp4"}[v6], &net.UDPAddr{Port: routedPort})
		return err
	}))
	require.NoError(w, c.SetReadBuffer(4<<20))
	n, done := &atomic.Int64{}, make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 2000); ; {
			if _, err := c.Read(b); err != nil {
				return
			}
			n.Add(1)
		}
	}()
	w.Cleanup(func() { c.Close(); <-done })
	return n
}

// spray sends datagrams of a size, one each millisecond.
func (w *routedSite) spray(from, to string, v6 bool, n, size int) {
	w.Helper()
	c := w.socket(from, v6)
	defer c.Close()
	pace := time.NewTicker(time.Millisecond) // slow enough for the switch's socket
	defer pace.Stop()
	for range n {
		<-pace.C
		_, err := c.WriteToUDPAddrPort(make([]byte, size), netip.AddrPortFrom(w.vms[to].address(v6), routedPort))
		require.NoError(w, err)
	}
}

// countsOf are the counters of red's router, in all and of each edge.
func (w *routedSite) countsOf() (client.RouterTotal, map[string]client.RouterCount) {
	w.Helper()
	c, err := w.client.RouterCounters(w.Context(), routedRouter("red").Ref())
	require.NoError(w, err)
	require.Empty(w, c.Missing)
	edges := map[string]client.RouterCount{}
	for _, e := range c.Edges {
		edges[e.Node] = e
	}
	return *c.Total, edges
}

// countedExactly: each packet is counted where it is routed and where it arrives, once.
func (w *routedSite) countedExactly() {
	for _, v6 := range []bool{false, true} {
		w.once("w1", "d2", v6, true) // neighbours are known from here on
		w.once("d1", "w1", v6, true)
	}
	got4, got6 := w.sink("d2", false), w.sink("d2", true)
	port, err := w.client.PortCounters(w.Context(), w.vms["d2"].port().Ref())
	require.NoError(w, err)
	var before client.RouterTotal
	w.settled(&before)
	_, edges := w.countsOf()
	const payload, v4size, v6size = 100, 14 + 20 + 8 + 100, 14 + 40 + 8 + 100
	sent4, sent6 := 0, 0
	send := func(n4, n6 int) {
		w.spray("w1", "d2", false, n4, payload)
		w.spray("w1", "d2", true, n6, payload)
		sent4, sent6 = sent4+n4, sent6+n6
	}
	exact := func(what string) {
		w.Helper()
		want := client.Count{Packets: uint64(sent4 + sent6), Bytes: uint64(sent4*v4size + sent6*v6size)}
		w.eventually(patience, func() error {
			total, now := w.countsOf()
			hv1, hv2 := now["hv1"], now["hv2"]
			if routed := hv1.Routed; routed != edges["hv1"].Routed.Plus(want) {
				return fmt.Errorf("%s: hv1 routed %v more than %v, want %v", what, routed, edges["hv1"].Routed, want)
			}
			if received := hv2.Received; received != edges["hv2"].Received.Plus(want) {
				return fmt.Errorf("%s: hv2 received %v, had %v, want %v more", what, received, edges["hv2"].Received, want)
			}
			if hv1.Received != edges["hv1"].Received || hv2.Routed != edges["hv2"].Routed {
				return fmt.Errorf("%s: the way back has counted: %v, had %v", what, now, edges)
			}
			if total.Routed != before.Routed.Plus(want) || total.Received != before.Received.Plus(want) {
				return fmt.Errorf("%s: all together %v, had %v", what, total, before)
			}
			return nil
		})
		require.EqualValues(w, sent4, got4.Load())
		require.EqualValues(w, sent6, got6.Load())
		w.Logf("%s: %d packets of IPv4 and %d of IPv6 routed, %d counted, %d bytes", what, sent4, sent6, want.Packets, want.Bytes)
	}
	send(300, 100)
	exact("sent")

	require.NoError(w, Kill(w.State, controllerNode, true))
	send(70, 30) // nobody has to look
	w.startController()
	w.ready(patience)
	exact("over a killed controller")

	n := routedVM{"n1", "red", "hv1", 3, 11}
	w.put(n.net())
	w.plug(n.hypervisor, n.name, n.mac(), netip.PrefixFrom(n.v4(), 24))
	p := n.port()
	p.Spec.Addresses = p.Spec.Addresses[:1]
	w.put(p)
	more := routedRouter("red")
	more.Spec.Networks = append(more.Spec.Networks, intent.RouterNetwork{Network: "net3"})
	w.put(more)
	w.ready(patience)
	exact("with a network and a port more")
	send(20, 10)
	exact("with more packets then")
	w.put(routedRouter("red", intent.StaticRoute{Prefix: behind, Blackhole: true}))
	w.ready(patience)
	exact("with a network less and a route more")

	after, err := w.client.PortCounters(w.Context(), w.vms["d2"].port().Ref())
	require.NoError(w, err)
	require.GreaterOrEqual(w, after.Received.Packets-port.Received.Packets, uint64(sent4+sent6), "a port's are the switch's, too")
	text := w.cli("describe", "router", "r", "-t", "red")
	require.Regexp(w, `(?s)Counters:   routed for stations of the edge, and received from others by the L3VNI\nEDGE +ROUTED +BYTES +RECEIVED +BYTES +SINCE\nhv1 +\d+ +\d+ +\d+ +\d+ +\S+\nhv2 +\d+ +\d+ +\d+ +\d+ +\S+\nall +\d+ +\d+ +\d+ +\d+`, text)
}

// settled waits until the switches have told all that they counted before: until two
// readings, further apart than they update flows, are the same.
func (w *routedSite) settled(last *client.RouterTotal) {
	w.Helper()
	*last, _ = w.countsOf()
	w.eventually(patience, func() error {
		time.Sleep(1500 * time.Millisecond)
		now, _ := w.countsOf()
		if was := *last; now != was {
			*last = now
			return fmt.Errorf("still counting: %v, then %v", was, now)
		}
		return nil
	})
}

// sharedLimit: the bucket of a tenant on a hypervisor is filled once, however many
// ports it has there.
func (w *routedSite) sharedLimit() {
	red, ink := w.sink("w2", false), w.sink("x2", false)
	limited := &intent.Tenant{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindTenant}, Metadata: intent.Metadata{Name: "red"},
		Spec: intent.TenantSpec{QoS: &intent.TenantQoS{Out: intent.RateLimit{Rate: "64k", Burst: "800k"}}}}
	began := time.Now()
	w.put(limited)
	w.eventually(patience, func() error {
		o, err := w.client.Get(w.Context(), limited.Ref())
		if err != nil {
			return err
		}
		if st := o.(*intent.Tenant).Status; st.Phase != intent.PhaseReady || st.Applied == 0 {
			return fmt.Errorf("tenant is %v", st)
		}
		return nil
	})
	const size, sent, chunk = 1000, 200, 20 // octets with headers; packets of each VM, and how many before they are awaited
	var c client.TenantCounters
	for n := chunk; n <= sent; n += chunk {
		for _, from := range []string{"w1", "d1"} {
			w.spray(from, "w2", false, chunk, size-42)
			w.spray("x1", "x2", false, chunk, size-42)
		}
		w.eventually(patience, func() (err error) {
			if c, err = w.client.TenantCounters(w.Context(), "red"); err != nil {
				return err
			}
			if got := uint64(red.Load()) + c.Edges[0].Sent.Dropped.Packets; got < uint64(2*n) {
				return fmt.Errorf("%d of %d have come or are counted: %v", got, 2*n, c)
			}
			if got := ink.Load(); got != int64(2*n) {
				return fmt.Errorf("%d of the other tenant's %d came", got, 2*n)
			}
			return nil
		})
	}
	passed, took := red.Load(), time.Since(began).Seconds()
	require.LessOrEqual(w, float64(passed), (800e3+64e3*took)/(8*size)+2)
	require.GreaterOrEqual(w, float64(passed), 0.8*800e3/(8*size), "the burst, but for what else the VMs sent")
	w.Logf("%d of %d packets of red's two VMs passed in %.2f s, %d of %d of ink's", passed, 2*sent, took, ink.Load(), 2*sent)
	require.Equal(w, "hv1", c.Edges[0].Node)
	require.Len(w, c.Edges, 2)
	require.Zero(w, c.Edges[1].Sent.Dropped.Packets, "the bucket of the other hypervisor is full")

	flows := w.allFlows()
	require.NoError(w, Kill(w.State, controllerNode, true))
	w.startController()
	w.ready(patience)
	w.requireOlder(flows, w.allFlows())
	after, err := w.client.TenantCounters(w.Context(), "red")
	require.NoError(w, err)
	require.GreaterOrEqual(w, after.Edges[0].Sent.Dropped.Packets, c.Edges[0].Sent.Dropped.Packets)
	require.Regexp(w, `(?s)Counters:   packets that came to the limits, and what these dropped\nEDGE +SENT +DROPPED +RECEIVED +DROPPED\nhv1 +\d+ +\d+ +0 +0\nhv2 +\d+ +0 +0 +0`, w.cli("describe", "tenant", "red"))
}
