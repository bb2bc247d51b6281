//go:build lab

package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// The outside of the lab of translation: a border that somebody else configures, an
// EVPN leaf of FRR's whose default VRF is the external network's, and behind it one
// host that could be anywhere.
const (
	externalVNI  = 5000
	borderNode   = "border"
	internetNode = "internet"
)

var (
	borderVTEP  = netip.MustParseAddr("10.254.250.1")
	borderLinks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/31"), netip.MustParsePrefix("2001:db8:2::/127")}
	server4     = netip.MustParseAddr("198.18.0.9")
	server6     = netip.MustParseAddr("2001:db8:1::9")
	pools       = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:f::/64")}
)

const borderConf = `hostname border
vni %[1]d
ip route 0.0.0.0/0 192.0.2.1
ipv6 route ::/0 2001:db8:2::1
ip route 10.0.0.0/8 %[2]s
ip route 203.0.113.0/24 blackhole
ipv6 route 2001:db8:f::/64 blackhole
router bgp %[3]d
 bgp router-id %[4]s
 no bgp default ipv4-unicast
 no bgp ebgp-requires-policy
 neighbor %[5]s remote-as %[3]d
 neighbor %[5]s passive
 address-family l2vpn evpn
  neighbor %[5]s activate
  advertise-all-vni
  default-originate ipv4
  default-originate ipv6
 exit-address-family
`

// natSite is the routed lab with an outside.
type natSite struct{ *routedSite }

func server(v6 bool) netip.Addr {
	if v6 {
		return server6
	}
	return server4
}

func newNATSite(t testing.TB) *natSite {
	w := &natSite{newRoutedSite(t)}
	w.put(&intent.ExternalNetwork{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindExternalNetwork}, Metadata: intent.Metadata{Name: internetNode},
		Spec: intent.ExternalNetworkSpec{VNI: externalVNI, Pools: pools}})
	w.internet()
	return w
}

// in runs a command in a node.
func (w *site) command(node string, args ...string) {
	w.Helper()
	out, err := exec.Command("ip", append([]string{"netns", "exec", w.Namespace(node)}, args...)...).CombinedOutput()
	require.NoError(w, err, "%s: %v: %s", node, args, out)
}

// node adds a machine to the running lab.
func (w *site) addNode(n Node) {
	w.Helper()
	w.Nodes = append(w.Nodes, n)
	require.NoError(w, w.save())
	require.NoError(w, makeNamespace(w.Namespace(n.Name), hostSysctls))
}

func (w *site) addLink(a, b End) {
	w.Helper()
	w.Links = append(w.Links, Link{A: a, B: b, MTU: 1600})
	require.NoError(w, w.save())
	require.NoError(w, makeLink(w.State.Name, w.Links[len(w.Links)-1]))
}

// internet adds the border and the host behind it, and gives the hypervisors source
// addresses: which, is left to the controller.
func (w *site) internet() {
	w.Helper()
	for _, h := range w.hypervisors() {
		o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNode, Name: h.Name})
		require.NoError(w, err)
		n := o.(*intent.Node)
		n.Spec.VSwitch.SourceAddresses = []intent.SourceAddress{{External: internetNode}}
		w.put(n)
	}
	w.addOutside()
	w.border()
}

// addOutside makes both machines, without BGP yet.
func (w *site) addOutside() {
	w.Helper()
	mgmt := w.controllerMgmt()
	for _, n := range w.Nodes {
		if n.Mgmt.IsValid() && mgmt.Addr().Less(n.Mgmt.Addr()) {
			mgmt = n.Mgmt
		}
	}
	mgmt = netip.PrefixFrom(mgmt.Addr().Next(), mgmt.Bits())
	w.addNode(Node{Name: borderNode, Kind: "linux", Role: intent.RoleLeaf, Mgmt: mgmt, Router: &Router{Daemons: []string{"zebra", "staticd", "bgpd"},
		Config: fmt.Sprintf(borderConf, externalVNI, foreignLink[0].Addr(), foreignASN, borderVTEP, w.controllerMgmt().Addr())}})
	require.NoError(w, joinMgmt(w.State.Name, borderNode, "eth0", len(w.Nodes)+1, mgmt))
	w.addNode(Node{Name: internetNode, Kind: "linux", Role: intent.RoleVM})
	w.addLink(End{Node: "leaf1", Interface: "far"}, End{Node: borderNode, Interface: "eth1"})
	w.addLink(End{Node: borderNode, Interface: "eth2"}, End{Node: internetNode, Interface: "eth1"})
	w.command(borderNode, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0")
	w.command("leaf1", "ip", "addr", "add", foreignLink[0].String(), "dev", "far")
	w.command("leaf1", "ip", "route", "add", borderVTEP.String(), "via", foreignLink[1].Addr().String())
	w.command(borderNode, "ip", "addr", "add", foreignLink[1].String(), "dev", "eth1")
	w.command(borderNode, "ip", "addr", "add", borderVTEP.String()+"/32", "dev", "lo")
	for _, l := range borderLinks {
		w.command(borderNode, "ip", "addr", "add", l.String(), "dev", "eth2")
		w.command(internetNode, "ip", "addr", "add", netip.PrefixFrom(l.Addr().Next(), l.Bits()).String(), "dev", "eth1")
		w.command(internetNode, "ip", "route", "add", "default", "via", l.Addr().String())
	}
	for _, s := range []netip.Addr{server4, server6} {
		w.command(internetNode, "ip", "addr", "add", netip.PrefixFrom(s, s.BitLen()).String(), "dev", "lo")
	}
	for _, c := range [][]string{
		{"ip", "link", "add", "br5000", "type", "bridge"}, {"ip", "link", "set", "br5000", "address", "02:77:00:00:00:01", "addrgenmode", "none"},
		{"ip", "link", "add", "vx5000", "type", "vxlan", "id", fmt.Sprint(externalVNI), "local", borderVTEP.String(), "dstport", "4789", "nolearning", "ttl", "64"},
		{"ip", "link", "set", "vx5000", "master", "br5000", "addrgenmode", "none"}, {"ip", "link", "set", "br5000", "up"}, {"ip", "link", "set", "vx5000", "up"},
		{"ethtool", "-K", "eth1", "tx", "off"},
	} {
		w.command(borderNode, c...)
	}
	w.command(internetNode, "ethtool", "-K", "eth1", "tx", "off")
}

// border starts FRR and tells the controller of it, and leaf1 of its VTEP.
func (w *site) border() {
	w.Helper()
	n, err := w.Node(borderNode)
	require.NoError(w, err)
	r := &run{state: w.State, progress: silent{}}
	require.NoError(w, r.startRouter(w.Context(), n))
	out, err := exec.Command("vtysh", "--vty_socket", w.NodeDir("leaf1"), "-c", "configure terminal", "-c", fmt.Sprintf("router bgp %d", w.specOf("leaf1").ASN),
		"-c", "address-family ipv4 unicast", "-c", "network "+borderVTEP.String()+"/32").CombinedOutput()
	require.NoError(w, err, "%s", out)
	w.put(&intent.Node{Metadata: intent.Metadata{Name: borderNode}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, ASN: foreignASN, VTEP: borderVTEP,
		EVPN: &intent.EVPN{Address: n.Mgmt.Addr(), Unmanaged: true}}})
	w.Cleanup(func() {
		if w.Failed() {
			for _, c := range []string{"show bgp l2vpn evpn", "show bgp summary", "show ip route", "show evpn vni", "show evpn next-hops vni all"} {
				out, _ := exec.Command("vtysh", "--vty_socket", w.NodeDir(borderNode), "-c", c).CombinedOutput()
				w.Logf("%s: %s", c, out)
			}
		}
	})
}

// leadsOutside has a tenant's router lead outside, with or without source NAT.
func (w *natSite) leadsOutside(tenant string, snat bool) {
	w.Helper()
	r := routedRouter(tenant)
	r.Spec.External = &intent.RouterExternal{Network: internetNode, SNAT: snat}
	w.put(r)
}

// floats gives an address of a VM a floating IP.
func (w *natSite) floats(vm, address string) {
	w.Helper()
	w.put(w.floating(vm, address))
}

func (w *natSite) floating(vm, address string) *intent.FloatingIP {
	v := w.vms[vm]
	name := vm + "-v4"
	if a := netip.MustParseAddr(address); a.Is6() {
		name = vm + "-v6"
	}
	return &intent.FloatingIP{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindFloatingIP}, Metadata: intent.Metadata{Tenant: v.tenant, Name: name},
		Spec: intent.FloatingIPSpec{External: internetNode, Address: netip.MustParseAddr(address), Port: vm}}
}

// sources are a hypervisor's addresses in the external network.
func (w *site) sources(hypervisor string, v6 bool) netip.Addr {
	w.Helper()
	o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNode, Name: hypervisor})
	require.NoError(w, err)
	for _, s := range o.(*intent.Node).Spec.VSwitch.SourceAddresses {
		i := slices.IndexFunc(s.Addresses, func(a netip.Addr) bool { return a.Is6() == v6 })
		require.GreaterOrEqual(w, i, 0, "%v", s)
		return s.Addresses[i]
	}
	require.Fail(w, "no source addresses", hypervisor)
	return netip.Addr{}
}

// who answers by TCP and UDP, in a node, at an address and port, with the address
// that it is asked from.
func (w *site) who(node string, at netip.AddrPort) {
	w.Helper()
	require.NoError(w, netns.Do(w.Namespace(node), func() error {
		l, err := net.Listen("tcp", at.String())
		if err != nil {
			return err
		}
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			return errors.Join(err, l.Close())
		}
		w.Cleanup(func() { l.Close(); u.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, c.RemoteAddr().String())
				c.Close()
			}
		}()
		go func() {
			buf := make([]byte, 100)
			for {
				_, from, err := u.ReadFromUDPAddrPort(buf)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					_, _ = u.WriteToUDPAddrPort([]byte(from.String()), from)
				}
			}
		}()
		return nil
	}))
}

// knownAs asks somebody, from a port of its own or a given one, as whom he is known
// there.
func (w *site) knownAs(from, network string, at netip.AddrPort, port uint16, within time.Duration) (as netip.AddrPort, err error) {
	w.Helper()
	var c net.Conn
	err = netns.Do(w.Namespace(from), func() (err error) {
		d := net.Dialer{Timeout: within}
		if port != 0 && network == "udp" {
			d.LocalAddr = &net.UDPAddr{Port: int(port)}
		}
		c, err = d.Dial(network, at.String())
		return err
	})
	if err != nil {
		return as, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(within))
	if network == "udp" {
		if _, err := c.Write([]byte("who am I")); err != nil {
			return as, err
		}
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return as, err
	}
	return netip.ParseAddrPort(string(buf[:n]))
}

// seenAs wants somebody known by an address there, by TCP, UDP and echo.
func (w *site) seenAs(from string, at netip.AddrPort, want netip.Addr) {
	w.Helper()
	for _, network := range []string{"tcp", "udp"} {
		w.eventually(patience, func() error {
			as, err := w.knownAs(from, network, at, 0, time.Second)
			if err == nil && as.Addr() != want {
				err = fmt.Errorf("%s is known as %s, not %s", from, as, want)
			}
			return err
		})
	}
	w.eventually(patience, func() error { return w.reach(from, at.Addr(), "ping", 0, time.Second) })
}

// unseen wants that nothing comes through.
func (w *site) unseen(from string, at netip.AddrPort) {
	w.Helper()
	for _, network := range []string{"tcp", "udp"} {
		as, err := w.knownAs(from, network, at, 0, refusedAfter)
		require.Error(w, err, "%s reaches %s by %s as %s", from, at, network, as)
	}
}

// echoAt has a node say by TCP what it is told.
func (w *site) echoAt(node string, port uint16) {
	w.Helper()
	require.NoError(w, netns.Do(w.Namespace(node), func() error {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: int(port)})
		if err != nil {
			return err
		}
		w.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
			}
		}()
		return nil
	}))
}

// mobileVM makes a VM mobile, with its default routes, and gives it a plug in
// another hypervisor.
func (w *natSite) mobileVM(vm, to string) *mobile {
	w.Helper()
	m := w.mobile(vm)
	for _, v6 := range []bool{false, true} {
		w.command(vm, "ip", "route", "replace", "default", "via", w.vms[vm].gateway(v6).String(), "dev", mobileBridge)
	}
	m.socket(to)
	return m
}
