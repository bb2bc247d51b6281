//go:build lab

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// outsideSite is a lab with two borders and a router outside.
type outsideSite struct{ *site }

// The outside: its router's AS, and the address of the host behind it.
const ispASN = 64999

var (
	www4, www6   = netip.MustParseAddr("198.51.100.80"), netip.MustParseAddr("2001:db8:100::80")
	vms4, vms6   = netip.MustParsePrefix("198.18.1.0/24"), netip.MustParsePrefix("2001:db8:18:1::/64")
	outsidePools = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:f::/64")}
)

// uplink is the link of border i to the router outside: its end, or the border's.
func uplink(i int, v6, border bool) netip.Prefix {
	last := 1
	if border {
		last = 0
	}
	if v6 {
		return netip.MustParsePrefix(fmt.Sprintf("2001:db8:ffff:%d::%d/127", i, last))
	}
	return netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/31", 2*i+last))
}

func newOutsideSite(t testing.TB) *outsideSite {
	t.Helper()
	labDir(t)
	weft, err := weftBinary()
	require.NoError(t, err)
	file, err := LoadFile("testdata/outside.clab.yml")
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	s.UseController()
	began := time.Now()
	require.NoError(t, Up(t.Context(), s, Options{Weft: weft}))
	w := &outsideSite{&site{State: s, TB: t, weft: weft}}
	w.client, err = client.New(s.Controller)
	require.NoError(t, err)
	t.Cleanup(w.tellOfFailure)
	w.objects, err = Intent(file)
	require.NoError(t, err)
	w.isp()
	w.put(w.objects...)
	external := &intent.ExternalNetwork{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindExternalNetwork}, Metadata: intent.Metadata{Name: "internet"},
		Spec: intent.ExternalNetworkSpec{Pools: outsidePools}}
	for i := 1; i <= 2; i++ {
		b := intent.Border{Node: fmt.Sprintf("border%d", i), VRF: intent.VRFDefault}
		for _, v6 := range []bool{false, true} {
			b.Peers = append(b.Peers, intent.BorderPeer{Address: uplink(i, v6, false).Addr(), ASN: ispASN, Interface: "eth3", Local: uplink(i, v6, true), Password: "s3cret", BFD: true})
		}
		external.Spec.Borders = append(external.Spec.Borders, b)
	}
	w.put(external, &intent.Router{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindRouter}, Metadata: intent.Metadata{Tenant: "shop", Name: "main"},
		Spec: intent.RouterSpec{Networks: []intent.RouterNetwork{{Network: "web"}}, External: &intent.RouterExternal{Network: "internet", Advertise: []netip.Prefix{vms4, vms6}}}})
	w.ready(patience)
	t.Logf("%d nodes up and all ports Ready after %s", len(s.Nodes), time.Since(began).Round(time.Millisecond))
	return w
}

// isp makes the host isp a BGP router: FRR, and addresses on its links.
func (w *outsideSite) isp() {
	w.Helper()
	dir := w.NodeDir("isp")
	require.NoError(w, makeFRRDir(dir))
	var conf strings.Builder
	fmt.Fprintf(&conf, "frr defaults datacenter\nbgp route-map delay-timer 0\nrouter bgp %d\n  bgp router-id 198.51.100.1\n bgp bestpath as-path multipath-relax\n no bgp default ipv4-unicast\n no bgp ebgp-requires-policy\n no bgp network import-check\n", ispASN)
	do := func(args ...string) {
		out, err := exec.Command("ip", append([]string{"netns", "exec", w.Namespace("isp")}, args...)...).CombinedOutput()
		require.NoError(w, err, "%v: %s", args, out)
	}
	for _, s := range []string{"net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0", "net.ipv4.fib_multipath_hash_policy=1", "net.ipv6.fib_multipath_hash_policy=1",
		"net.ipv4.conf.all.ignore_routes_with_linkdown=1", "net.ipv6.conf.all.ignore_routes_with_linkdown=1"} {
		do("sysctl", "-qw", s)
	}
	for i := 1; i <= 2; i++ {
		for _, v6 := range []bool{false, true} {
			do("ip", "addr", "add", uplink(i, v6, false).String(), "dev", fmt.Sprintf("eth%d", i))
			n := uplink(i, v6, true).Addr()
			fmt.Fprintf(&conf, " neighbor %[1]s remote-as %[2]d\n neighbor %[1]s bfd\n neighbor %[1]s bfd profile fast\n neighbor %[1]s password s3cret\n neighbor %[1]s timers connect 1\n neighbor %[1]s timers 3 9\n", n, w.asn(i))
		}
		do("ip", "link", "set", fmt.Sprintf("eth%d", i), "up")
	}
	for _, a := range []string{"198.51.100.1/24", "2001:db8:100::1/64"} {
		do("ip", "addr", "add", a, "dev", "eth3")
	}
	do("ip", "link", "set", "eth3", "up")
	for _, v6 := range []bool{false, true} {
		ip, own := "ipv4", "198.51.100.0/24"
		if v6 {
			ip, own = "ipv6", "2001:db8:100::/64"
		}
		fmt.Fprintf(&conf, " address-family %s unicast\n  network %s\n  maximum-paths 8\n", ip, own)
		for i := 1; i <= 2; i++ {
			n := uplink(i, v6, true).Addr()
			fmt.Fprintf(&conf, "  neighbor %[1]s activate\n  neighbor %[1]s default-originate\n", n)
		}
		conf.WriteString(" exit-address-family\n")
	}
	files := map[string]string{"zebra": "no zebra nexthop kernel enable\n", "bgpd": conf.String(), "bfdd": "bfd\n profile fast\n  detect-multiplier 3\n  transmit-interval 300\n  receive-interval 300\n exit\nexit\n"}
	r := &run{state: w.State, progress: silent{}}
	for _, d := range []string{"zebra", "bfdd", "bgpd"} {
		require.NoError(w, os.WriteFile(filepath.Join(dir, d+".conf"), []byte(files[d]), 0o644))
		require.NoError(w, r.startFRR(w.Context(), Node{Name: "isp", Router: &Router{Managed: true}}, d))
	}
}

// asn is that of border i.
func (w *outsideSite) asn(i int) uint32 {
	w.Helper()
	o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNode, Name: fmt.Sprintf("border%d", i)})
	require.NoError(w, err)
	return o.(*intent.Node).Spec.ASN
}

// external is the external network as the controller tells it.
func (w *outsideSite) external() *intent.ExternalNetwork {
	w.Helper()
	o, err := w.client.Get(w.Context(), intent.ExternalRef("internet"))
	require.NoError(w, err)
	return o.(*intent.ExternalNetwork)
}

// run runs a program in a node.
func (w *outsideSite) run(node string, words ...string) (string, error) {
	out, err := exec.Command("ip", append([]string{"netns", "exec", w.Namespace(node)}, words...)...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %v: %w: %s", node, words, err, out)
	}
	return string(out), nil
}

func (w *outsideSite) tellOfFailure() {
	if !w.Failed() {
		return
	}
	for _, n := range []string{"border1", "border2"} {
		for _, c := range []string{"ip route", "ip -6 route", "ip neigh", "nft list ruleset"} {
			out, _ := w.run(n, strings.Fields(c)...)
			w.Logf("%s: %s\n%s", n, c, out)
		}
		for _, c := range []string{"show bgp summary", "show bgp l2vpn evpn", "show ip bgp", "show running-config"} {
			out, _ := w.run(n, "vtysh", "--vty_socket", w.NodeDir(n), "-c", c)
			w.Logf("%s: %s\n%s", n, c, out)
		}
		log, _ := os.ReadFile(filepath.Join(w.NodeDir(n), "agent.log"))
		w.Logf("%s: agent\n%s", n, log)
	}
	for _, c := range []string{"show bgp summary", "show ip bgp", "show bgp neighbors"} {
		out, _ := w.run("isp", "vtysh", "--vty_socket", w.NodeDir("isp"), "-c", c)
		w.Logf("isp: %s\n%s", c, out)
	}
	for _, n := range w.hypervisors() {
		w.Logf("%s:\n%s", n.Name, w.ofctl(n.Name, "dump-flows"))
	}
	if o, err := w.client.Get(context.Background(), intent.ExternalRef("internet")); err == nil {
		w.Logf("%+v", o.(*intent.ExternalNetwork).Status)
	}
	events, _ := w.client.Events(context.Background())
	for _, e := range events[max(0, len(events)-15):] {
		w.Logf("%s %s %s %s: %s", e.Time.Format("15:04:05.000"), e.Device, e.Object, e.Reason, e.Message)
	}
}

// knows are the prefixes that the router outside learned, each with the ASes of its
// paths.
func (w *outsideSite) knows() map[string][]string {
	w.Helper()
	out := map[string][]string{}
	for _, ip := range []string{"ipv4", "ipv6"} {
		text, err := vty(w.Context(), w.NodeDir("isp"), "bgpd", "show bgp "+ip+" unicast json")
		require.NoError(w, err)
		var all struct {
			Routes map[string][]struct {
				Path string `json:"path"`
			} `json:"routes"`
		}
		require.NoError(w, json.Unmarshal(text, &all))
		for p, paths := range all.Routes {
			for _, path := range paths {
				if path.Path != "" {
					out[p] = append(out[p], path.Path)
				}
			}
			slices.Sort(out[p])
		}
	}
	return out
}

// ping sends an echo request.
func (w *outsideSite) echo(from string, to netip.Addr) error {
	_, err := w.run(from, "ping", "-c1", "-W1", to.String())
	return err
}

// down kills a border: all its daemons, then all its links at once.
func (w *outsideSite) down(node string) {
	w.Helper()
	require.NoError(w, Kill(w.State, node, true))
	_, err := w.run(node, "sh", "-c", "for i in $(ls /sys/class/net); do [ $i = lo ] || ip link set $i down; done")
	require.NoError(w, err)
}

// up starts a border again that was killed.
func (w *outsideSite) up(node string) {
	w.Helper()
	_, err := w.run(node, "sh", "-c", "for i in $(ls /sys/class/net); do ip link set $i up; done")
	require.NoError(w, err)
	n, err := w.Node(node)
	require.NoError(w, err)
	r := &run{state: w.State, opts: Options{Weft: w.weft}, progress: silent{}}
	require.NoError(w, r.startRouter(w.Context(), n))
	require.NoError(w, r.startAgent(w.Context(), n))
}
