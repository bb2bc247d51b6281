//go:build lab

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// A server behind a hardware VTEP, in a network that no vSwitch has a port of, and
// VMs in another network of the router on both hypervisors. Ink has the same
// addresses.
var (
	gatewayVMs = []routedVM{{"d1", "red", "hv1", 2, 11}, {"d2", "red", "hv2", 2, 12}, {"x1", "ink", "hv1", 1, 31}, {"y2", "ink", "hv2", 2, 99}}
	racked     = routedVM{"red-server1", "red", "vtep1", 1, 31}
)

// rack gives the server its addresses and gateways, and the controller its port.
func (w *routedSite) rack(v routedVM) {
	w.Helper()
	ns := w.Namespace(v.name)
	for _, args := range []string{"addr flush dev eth1 scope global", "link set eth1 address " + v.mac().String()} {
		out, err := exec.Command("ip", append([]string{"-n", ns}, strings.Fields(args)...)...).CombinedOutput()
		require.NoError(w, err, "ip %s: %s", args, out)
	}
	require.NoError(w, netns.Do(ns, func() error {
		for _, a := range []netip.Prefix{netip.PrefixFrom(v.v4(), 24), netip.PrefixFrom(v.v6(), 64)} {
			if err := addAddress(Address{"eth1", a}); err != nil {
				return err
			}
		}
		for _, v6 := range []bool{false, true} {
			if err := addGateway(Gateway{Interface: "eth1", Via: v.gateway(v6)}); err != nil {
				return err
			}
		}
		return nil
	}))
	p := v.port()
	p.Spec.Binding = intent.Binding{Node: v.hypervisor, Interface: "eth2"}
	w.vms[v.name] = v
	w.put(v.net(), p)
	w.watch(v.name)
}

// asked counts what a station asked for an address and what it was answered.
type asked struct{ requests, answers atomic.Int32 }

func (w *routedSite) asks(vm string, v6 bool) *asked {
	w.Helper()
	var a asked
	gateway := w.vms[vm].gateway(v6)
	tap, err := probe.OpenTap(w.Namespace(vm), "eth1", func(frame []byte, out bool) {
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
		if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok && !v6 {
			switch {
			case out && arp.Operation == layers.ARPRequest && net.IP(arp.DstProtAddress).Equal(gateway.AsSlice()):
				a.requests.Add(1)
			case !out && arp.Operation == layers.ARPReply && net.IP(arp.SourceProtAddress).Equal(gateway.AsSlice()):
				a.answers.Add(1)
			}
		}
		if ns, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); ok && v6 && out && ns.TargetAddress.Equal(gateway.AsSlice()) {
			a.requests.Add(1)
		}
		if na, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement); ok && v6 && !out && na.TargetAddress.Equal(gateway.AsSlice()) {
			a.answers.Add(1)
		}
	})
	require.NoError(w, err)
	w.Cleanup(tap.Close)
	return &a
}

// answeredOnce has a station forget its neighbours and ask for its gateway: each
// request has one answer.
func (w *routedSite) answeredOnce(vm string) {
	w.Helper()
	for _, v6 := range []bool{false, true} {
		a := w.asks(vm, v6)
		out, err := exec.Command("ip", "-n", w.Namespace(vm), "neigh", "flush", "dev", "eth1").CombinedOutput()
		require.NoError(w, err, "%s", out)
		w.ping(vm, w.vms[vm].gateway(v6).String())
		w.eventually(patience, func() error {
			if a.requests.Load() == 0 || a.answers.Load() < a.requests.Load() {
				return fmt.Errorf("%d requests, %d answers", a.requests.Load(), a.answers.Load())
			}
			return nil
		})
		time.Sleep(300 * time.Millisecond) // what must not come has no end to wait for
		require.Equal(w, a.requests.Load(), a.answers.Load(), "answers for %s", w.vms[vm].gateway(v6))
	}
}

// leadsTo waits until the switch has the gateway's MAC behind a hypervisor.
func (w *routedSite) leadsTo(hypervisor string) {
	w.Helper()
	hv, err := w.Node(hypervisor)
	require.NoError(w, err)
	want := hv.VTEP.Address.String()
	o, err := w.client.Get(w.Context(), racked.net().Ref())
	require.NoError(w, err)
	logical := fmt.Sprintf("weft-%d", o.(*intent.Network).Spec.VNI)
	w.eventually(patience, func() error {
		for line := range strings.Lines(w.vtep("list-remote-macs", logical)) {
			if strings.Contains(line, intent.GatewayMAC.String()) && strings.HasSuffix(strings.TrimSpace(line), "/"+want) {
				return nil
			}
		}
		return fmt.Errorf("%s is not behind %s: %s", intent.GatewayMAC, want, w.vtep("list-remote-macs", logical))
	})
}

// between: the server and a VM reach each other through one router, by both families.
func (w *routedSite) between(server, vm string) {
	w.Helper()
	for _, v6 := range []bool{false, true} {
		w.once(server, vm, v6, true)
		w.once(vm, server, v6, true)
		w.ping(server, w.vms[vm].address(v6).String())
	}
}

// A server behind a hardware VTEP has a vSwitch as gateway: one, which is another when
// that one has no port of the router any more.
func TestTenantsHardwareVTEPGateway(t *testing.T) {
	w := newVMSiteOf(t, topology.GenerateParams{Name: "vtepgw", Spines: 1, Leaves: 1, HypervisorsPerLeaf: 2, VTEPsPerLeaf: 1, ServersPerVTEP: 1, Tenants: []string{"red"}}, gatewayVMs)
	w.rack(racked)
	for _, tenant := range []string{"red", "ink"} {
		w.put(routedRouter(tenant))
	}
	w.ready(patience)
	server := racked.name
	w.leadsTo("hv1")
	w.between(server, "d1") // on the gateway itself
	w.between(server, "d2") // from there with the L3VNI
	w.answeredOnce(server)

	for _, v6 := range []bool{false, true} {
		exceeded, unreachable, host := [2]uint8{11, 0}, [2]uint8{3, 3}, [2]uint8{3, 1}
		if v6 {
			exceeded, unreachable, host = [2]uint8{3, 0}, [2]uint8{1, 4}, [2]uint8{1, 3}
		}
		for ttl, want := range map[int]refusal{1: {racked.gateway(v6), exceeded[0], exceeded[1]}, 2: {w.vms["d2"].address(v6), unreachable[0], unreachable[1]}} {
			got := w.refusal(server, netip.AddrPortFrom(w.vms["d2"].address(v6), 33434), ttl)
			require.Equal(t, want, got, "TTL %d", ttl)
		}
		// Of ink there is nothing: its address in this network is nobody's.
		got := w.refusal(server, netip.AddrPortFrom(w.vms["y2"].address(v6), routedPort), 0)
		require.Equal(t, refusal{racked.gateway(v6), host[0], host[1]}, got)
		require.Empty(t, w.sightings("refuse me"))
	}
	w.spoofs(server)

	before := w.allFlows()
	require.NoError(t, Kill(w.State, controllerNode, true))
	w.between(server, "d2")
	w.startController()
	w.ready(patience)
	w.leadsTo("hv1")
	w.between(server, "d2")
	w.requireOlder(before, w.allFlows())

	w.delete(w.vms["d1"].port().Ref())
	w.leadsTo("hv2")
	w.between(server, "d2")
	w.answeredOnce(server)
	w.put(w.vms["d1"].port())
	w.ready(patience)
	w.leadsTo("hv1")
	w.between(server, "d1")
	w.between(server, "d2")
	w.answeredOnce(server)
}

// spoofs sends from an address that is not of the server's subnet.
func (w *routedSite) spoofs(server string) {
	w.Helper()
	from := netip.MustParseAddr("10.9.9.9")
	require.NoError(w, netns.Do(w.Namespace(server), func() error { return addAddress(Address{"lo", netip.PrefixFrom(from, 32)}) }))
	var c *net.UDPConn
	require.NoError(w, netns.Do(w.Namespace(server), func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
		return err
	}))
	defer c.Close()
	_, err := c.WriteToUDPAddrPort([]byte("spoofed"), netip.AddrPortFrom(w.vms["d2"].v4(), routedPort))
	require.NoError(w, err)
	w.once(server, "d2", false, true) // sent after it, by the same way
	require.Empty(w, w.sightings("spoofed"))
}
