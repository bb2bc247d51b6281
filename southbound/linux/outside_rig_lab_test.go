//go:build lab || vm

package linux

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// What is inside: a pool of each family, of which the other leaf has an address.
var (
	pool4, pool6 = netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:f::/64")
	host4, host6 = netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8:f::7")
)

// outsider is a router that is not ours, with a link to a leaf.
type outsider struct {
	r       *rig
	n       int // of the outsider: its AS is 64990 and that
	ns, dir string
	leaf    *leaf
}

func (o *outsider) asn() uint32   { return 64990 + uint32(o.n) }
func (o *outsider) iface() string { return fmt.Sprintf("out%d", o.n) }

// address is the outsider's on the link, or the leaf's.
func (o *outsider) address(v6, leaf bool) netip.Prefix {
	last, bits := 1, 31
	if leaf {
		last = 0
	}
	if v6 {
		bits = 127
		return netip.MustParsePrefix(fmt.Sprintf("2001:db8:ffff:%d::%d/%d", o.n, last, bits))
	}
	return netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/%d", 2*o.n+last, bits))
}

// behind is an address that the outsider has and announces.
func (o *outsider) behind(v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::1", o.n))
	}
	return netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", o.n))
}

// peers are the outsider as the leaf knows it.
func (o *outsider) peers() (out []leafstate.OutsidePeer) {
	for _, v6 := range []bool{false, true} {
		out = append(out, leafstate.OutsidePeer{Address: o.address(v6, false).Addr(), ASN: o.asn(), Interface: o.iface(), Local: o.address(v6, true), BFD: true, Password: "s3cret"})
	}
	return out
}

// newOutsider starts a router outside. It announces what is behind it, default
// routes, and what it should not: prefixes of ours, and the underlay.
func (r *rig) newOutsider(n int, l *leaf) *outsider {
	o := &outsider{r: r, n: n, ns: fmt.Sprintf("%s-o%d", filepath.Base(r.dir), n), dir: filepath.Join(r.dir, fmt.Sprintf("o%d", n)), leaf: l}
	r.namespace(o.ns)
	r.in(o.ns, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
	r.in(l.ns, "ip", "link", "add", o.iface(), "type", "veth", "peer", "name", "eth1", "netns", o.ns)
	for _, v6 := range []bool{false, true} {
		r.addr(o.ns, "eth1", o.address(v6, false).String())
		r.addr(o.ns, "lo", netip.PrefixFrom(o.behind(v6), o.behind(v6).BitLen()).String())
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "router bgp %d\n bgp router-id %s\n no bgp default ipv4-unicast\n no bgp ebgp-requires-policy\n no bgp network import-check\n", o.asn(), o.behind(false))
	for _, v6 := range []bool{false, true} {
		fmt.Fprintf(&conf, " neighbor %[1]s remote-as %[2]d\n neighbor %[1]s bfd\n neighbor %[1]s password s3cret\n neighbor %[1]s timers connect 1\n", o.address(v6, true).Addr(), labASN)
	}
	for _, v6 := range []bool{false, true} {
		ip, bits, bad := "ipv4", 32, []string{"203.0.113.0/25", "203.0.113.7/32", "10.9.0.2/32"}
		if v6 {
			ip, bits, bad = "ipv6", 128, []string{"2001:db8:f:0:1::/80"}
		}
		fmt.Fprintf(&conf, " address-family %s unicast\n  network %s/%d\n", ip, o.behind(v6), bits)
		for _, p := range bad {
			fmt.Fprintf(&conf, "  network %s\n", p)
		}
		fmt.Fprintf(&conf, "  neighbor %[1]s activate\n  neighbor %[1]s default-originate\n exit-address-family\n", o.address(v6, true).Addr())
	}
	r.frr(o.ns, o.dir, conf.String())
	r.daemon(o.ns, o.dir, "bfdd", "--bfdctl", filepath.Join(o.dir, "bfdd.sock"))
	return o
}

// knows are the prefixes that the outsider has from the leaf.
func (o *outsider) knows() (out []string) {
	o.r.t.Helper()
	for _, ip := range []string{"ipv4", "ipv6"} {
		text, err := VTY(o.r.t.Context(), o.dir, "bgpd", "show bgp "+ip+" unicast json")
		require.NoError(o.r.t, err)
		var all struct {
			Routes map[string][]struct {
				PathFrom string `json:"pathFrom"`
				Path     string `json:"path"`
			} `json:"routes"`
		}
		require.NoError(o.r.t, json.Unmarshal(text, &all))
		for p, paths := range all.Routes {
			for _, path := range paths {
				if path.Path != "" {
					out = append(out, p+" "+path.Path)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// ping sends an echo request from the outsider.
func (o *outsider) ping(from, to netip.Addr) error {
	out, err := exec.Command("ip", "netns", "exec", o.ns, "ping", "-c1", "-W1", "-I", from.String(), to.String()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// external is the external VRF of a leaf with these peers.
func external(v intent.VNI, inDefault bool, outsiders ...*outsider) leafstate.Router {
	x := &leafstate.Outside{Default: inDefault, Announce: []netip.Prefix{pool6, pool4}}
	slices.SortFunc(x.Announce, netip.Prefix.Compare)
	for _, o := range outsiders {
		x.Peers = append(x.Peers, o.peers()...)
	}
	return leafstate.Router{Router: intent.Ref{Kind: intent.KindExternalNetwork, Name: fmt.Sprint("x", v)}, VNI: v, MTU: 1500, Outside: x}
}

// outsideSessions are those of a leaf in a VRF.
func (l *leaf) outsideSessions(v intent.VNI) map[string]leafstate.OutsideSession {
	l.r.t.Helper()
	all, err := l.sw.Sessions(l.r.t.Context())
	require.NoError(l.r.t, err)
	out := map[string]leafstate.OutsideSession{}
	for _, s := range all[v] {
		out[s.Peer.String()] = s
	}
	return out
}

// prefixRoutes are the prefix routes that a leaf has in BGP EVPN, by route distinguisher
// of a leaf.
func (l *leaf) prefixRoutes(of *leaf) (out []string) {
	l.r.t.Helper()
	var all map[string]json.RawMessage
	require.NoError(l.r.t, json.Unmarshal([]byte(l.vty("bgpd", "show bgp l2vpn evpn route type prefix json")), &all))
	for rd, raw := range all {
		var routes map[string]json.RawMessage
		if !strings.HasPrefix(rd, of.vtep().String()+":") || json.Unmarshal(raw, &routes) != nil {
			continue
		}
		for p := range routes {
			if strings.HasPrefix(p, "[5]") {
				out = append(out, p)
			}
		}
	}
	slices.Sort(out)
	return out
}
