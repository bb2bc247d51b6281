//go:build lab

package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// routedVM is a VM of the routing lab: one address of each family on the network
// with a number, which is also in its subnets.
type routedVM struct {
	name, tenant, hypervisor string
	network, host            byte
}

func (v routedVM) mac() intent.MAC {
	return intent.MAC{2, v.tenant[0], 0, 0, v.network, v.host}
}
func (v routedVM) v4() netip.Addr { return netip.AddrFrom4([4]byte{10, v.network, 0, v.host}) }
func (v routedVM) v6() netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 7: v.network, 15: v.host})
}
func (v routedVM) address(v6 bool) netip.Addr {
	if v6 {
		return v.v6()
	}
	return v.v4()
}

// gateway is that of the VM's network.
func (v routedVM) gateway(v6 bool) netip.Addr {
	v.host = 1
	return v.address(v6)
}

func (v routedVM) port() *intent.Port {
	return &intent.Port{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindPort}, Metadata: intent.Metadata{Tenant: v.tenant, Name: v.name},
		Spec: intent.PortSpec{Network: fmt.Sprintf("net%d", v.network), Binding: intent.Binding{IfaceID: v.name}, MAC: v.mac(), Addresses: []netip.Addr{v.v4(), v.v6()}}}
}

// routedSite is a lab of two tenants with equal addresses, each with two networks
// and a router, on two hypervisors behind different leaves.
type routedSite struct {
	*site
	vms map[string]routedVM

	mu   sync.Mutex
	seen []sighting
}

// sighting is a frame that came to a VM.
type sighting struct {
	at       string
	payload  string
	ttl      uint8
	src, dst intent.MAC
}

var routedVMs = []routedVM{
	{"w1", "red", "hv1", 1, 11}, {"w2", "red", "hv2", 1, 12}, {"d1", "red", "hv1", 2, 11}, {"d2", "red", "hv2", 2, 12},
	{"n1", "red", "hv1", 2, 21}, {"n2", "red", "hv2", 2, 22},
	{"x1", "ink", "hv1", 1, 11}, {"x2", "ink", "hv2", 2, 12}, {"y2", "ink", "hv2", 2, 99},
}

// behind is what n1 and n2 are next hops to.
var behind = netip.MustParsePrefix("198.51.100.0/24")

func routedRouter(tenant string, routes ...intent.StaticRoute) *intent.Router {
	return &intent.Router{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindRouter}, Metadata: intent.Metadata{Tenant: tenant, Name: "r"},
		Spec: intent.RouterSpec{Networks: []intent.RouterNetwork{{Network: "net1"}, {Network: "net2"}}, Routes: routes}}
}

func newRoutedSite(t testing.TB) *routedSite {
	w := newVMSite(t, "routed", routedVMs)
	for _, n := range []string{"n1", "n2"} {
		require.NoError(t, netns.Do(w.Namespace(n), func() error { return addAddress(Address{"lo", netip.PrefixFrom(behind.Addr().Next(), 32)}) }))
	}
	for _, tenant := range []string{"red", "ink"} {
		w.put(routedRouter(tenant))
	}
	w.ready(patience)
	return w
}

// newVMSite is a lab of two hypervisors behind different leaves with VMs, their
// networks and tenants, and no router yet.
func newVMSite(t testing.TB, name string, vms []routedVM) *routedSite {
	return newVMSiteOf(t, topology.GenerateParams{Name: name, Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1}, vms)
}

// newVMSiteOf is newVMSite in another lab.
func newVMSiteOf(t testing.TB, p topology.GenerateParams, vms []routedVM) *routedSite {
	w := &routedSite{site: newSite(t, p), vms: map[string]routedVM{}}
	tenants, networks := map[string]bool{}, map[intent.Ref]bool{}
	for _, v := range vms {
		w.vms[v.name] = v
		if !tenants[v.tenant] {
			tenants[v.tenant] = true
			w.put(&intent.Tenant{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindTenant}, Metadata: intent.Metadata{Name: v.tenant}})
		}
		if n := v.net(); !networks[n.Ref()] {
			networks[n.Ref()] = true
			w.put(n)
		}
		w.plug(v.hypervisor, v.name, v.mac(), netip.PrefixFrom(v.v4(), 24), netip.PrefixFrom(v.v6(), 64))
		require.NoError(t, netns.Do(w.Namespace(v.name), func() error {
			if err := addGateway(Gateway{Interface: "eth1", Via: v.gateway(false)}); err != nil {
				return err
			}
			return addGateway(Gateway{Interface: "eth1", Via: v.gateway(true)})
		}))
		w.put(v.port())
		w.watch(v.name)
	}
	return w
}

// watch notes what comes to a VM.
func (w *routedSite) watch(vm string) {
	tap, err := probe.OpenTap(w.Namespace(vm), "eth1", func(frame []byte, out bool) { w.see(vm, frame, out) })
	require.NoError(w, err)
	w.Cleanup(tap.Close)
}

// net is the VM's network.
func (v routedVM) net() *intent.Network {
	return &intent.Network{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindNetwork}, Metadata: intent.Metadata{Tenant: v.tenant, Name: fmt.Sprintf("net%d", v.network)},
		Spec: intent.NetworkSpec{Subnets: []netip.Prefix{netip.PrefixFrom(v.v4(), 24).Masked(), netip.PrefixFrom(v.v6(), 64).Masked()}}}
}

// routedPort is the UDP port of routed probes.
const routedPort = 4243

func (w *routedSite) see(at string, frame []byte, out bool) {
	if out || len(frame) < 14 {
		return
	}
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true})
	udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if udp == nil || udp.DstPort != routedPort || p.Layer(layers.LayerTypeICMPv4) != nil || p.Layer(layers.LayerTypeICMPv6) != nil {
		return
	}
	s := sighting{at: at, payload: string(udp.Payload), dst: intent.MAC(frame[:6]), src: intent.MAC(frame[6:12])}
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		s.ttl = ip.TTL
	case *layers.IPv6:
		s.ttl = ip.HopLimit
	}
	w.mu.Lock()
	w.seen = append(w.seen, s)
	w.mu.Unlock()
}

// sightings are those of a payload.
func (w *routedSite) sightings(payload string) (out []sighting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		if s.payload == payload {
			out = append(out, s)
		}
	}
	return out
}

// socket is a UDP socket of a VM.
func (w *routedSite) socket(vm string, v6 bool) *net.UDPConn {
	w.Helper()
	var c *net.UDPConn
	require.NoError(w, netns.Do(w.Namespace(vm), func() (err error) {
		c, err = net.ListenUDP(map[bool]string{true: "udp6", false: "udp4"}[v6], nil)
		return err
	}))
	return c
}

// errorSocket is a socket that sends with a TTL, unless that is zero, and queues
// ICMP errors.
func (w *routedSite) errorSocket(vm string, v6 bool, ttl int) *net.UDPConn {
	w.Helper()
	c := w.socket(vm, v6)
	raw, err := c.SyscallConn()
	require.NoError(w, err)
	level, errors, hops := unix.IPPROTO_IP, unix.IP_RECVERR, unix.IP_TTL
	if v6 {
		level, errors, hops = unix.IPPROTO_IPV6, unix.IPV6_RECVERR, unix.IPV6_UNICAST_HOPS
	}
	require.NoError(w, raw.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), level, errors, 1); err == nil && ttl > 0 {
			err = unix.SetsockoptInt(int(fd), level, hops, ttl)
		}
	}))
	require.NoError(w, err)
	return c
}

// once sends one datagram and wants one copy of it, at the VM named, with the TTL
// one less, from the gateway's MAC when it was routed; nobody else sees it.
func (w *routedSite) once(from, to string, v6, routed bool) {
	w.Helper()
	payload := fmt.Sprintf("once %s %s %v %d", from, to, v6, time.Now().UnixNano())
	dest := w.vms[to]
	c := w.socket(from, v6)
	defer c.Close()
	w.eventually(patience, func() error {
		if len(w.sightings(payload)) > 0 {
			return nil
		}
		_, err := c.WriteToUDPAddrPort([]byte(payload), netip.AddrPortFrom(dest.address(v6), routedPort))
		if err == nil {
			time.Sleep(100 * time.Millisecond) // the first one may wait for a neighbour
		}
		return fmt.Errorf("%s did not arrive: %v", payload, err)
	})
	payload += " again"
	_, err := c.WriteToUDPAddrPort([]byte(payload), netip.AddrPortFrom(dest.address(v6), routedPort))
	require.NoError(w, err)
	w.eventually(patience, func() error {
		if len(w.sightings(payload)) == 0 {
			return fmt.Errorf("%s did not arrive", payload)
		}
		return nil
	})
	time.Sleep(50 * time.Millisecond) // what must not come has no end to wait for
	all := w.sightings(payload)
	require.Len(w, all, 1, "copies of %s: %v", payload, all)
	want := sighting{to, payload, 63, intent.GatewayMAC, dest.mac()}
	if !routed {
		want.ttl, want.src = 64, w.vms[from].mac()
	}
	require.Equal(w, want, all[0])
}

// refusal is an ICMP error that a socket got.
type refusal struct {
	from       netip.Addr
	kind, code uint8
}

// refused sends a datagram with a TTL and waits for the ICMP error, the kernel
// having checked it: checksum, and the packet that it quotes.
func (w *routedSite) refused(from string, to netip.AddrPort, ttl int) (r refusal, ok bool) {
	w.Helper()
	v6 := to.Addr().Is6()
	c := w.errorSocket(from, v6, ttl)
	defer c.Close()
	raw, err := c.SyscallConn()
	require.NoError(w, err)
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end) && !ok; {
		_, _ = c.WriteToUDPAddrPort([]byte("refuse me"), to) // may return the error of the one before
		for wait := time.Now().Add(300 * time.Millisecond); time.Now().Before(wait) && !ok; time.Sleep(5 * time.Millisecond) {
			require.NoError(w, raw.Control(func(fd uintptr) { r, ok = queued(int(fd)) }))
		}
	}
	return r, ok
}

// refusal is the ICMP error that a datagram has; errors are limited in number, and
// those of our gateways the controller's work.
func (w *routedSite) refusal(from string, to netip.AddrPort, ttl int) (r refusal) {
	w.Helper()
	w.eventually(patience, func() error {
		var ok bool
		if r, ok = w.refused(from, to, ttl); !ok {
			return fmt.Errorf("%s has no ICMP error for %s, TTL %d", from, to, ttl)
		}
		return nil
	})
	return r
}

// queued takes an ICMP error from a socket's error queue: a sock_extended_err with
// the address of who sent it.
func queued(fd int) (r refusal, ok bool) {
	oob := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1500), oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return r, false
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return r, false
	}
	for _, m := range msgs {
		if len(m.Data) < 32 || m.Data[4] != unix.SO_EE_ORIGIN_ICMP && m.Data[4] != unix.SO_EE_ORIGIN_ICMP6 {
			continue
		}
		r.kind, r.code = m.Data[5], m.Data[6]
		if from := m.Data[16:]; binary.NativeEndian.Uint16(from) == unix.AF_INET {
			r.from = netip.AddrFrom4([4]byte(from[4:8]))
		} else if len(from) >= 24 {
			r.from = netip.AddrFrom16([16]byte(from[8:24]))
		}
		return r, true
	}
	return r, false
}

// ping wants answers to all of five echo requests, each once; like a window, it
// may be tried again on a machine that has other work.
func (w *site) ping(from, to string) {
	w.Helper()
	for try := 1; ; try++ {
		out, err := exec.Command("ip", "netns", "exec", w.Namespace(from), "ping", "-n", "-c", "5", "-i", "0.1", "-W", "2", to).CombinedOutput()
		require.NotContains(w, string(out), "DUP")
		if err == nil && strings.Contains(string(out), "5 received") {
			return
		}
		w.Logf("%s pings %s: %v: %s", from, to, err, out)
		require.Less(w, try, windows, "%s pings %s: answers were lost each time", from, to)
	}
}
