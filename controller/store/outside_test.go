package store

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// outside is an external network with the borders that are named.
func outside(name string, pools []string, borders ...string) *intent.ExternalNetwork {
	n := &intent.ExternalNetwork{Metadata: intent.Metadata{Name: name}}
	n.Spec.Pools = cidrs(pools...)
	for _, b := range borders {
		n.Spec.Borders = append(n.Spec.Borders, intent.Border{Node: b})
	}
	return n
}

func cidrs(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// peering gives the first border of an external network a router outside.
func peering(n *intent.ExternalNetwork, iface, local, peer string) *intent.ExternalNetwork {
	b := &n.Spec.Borders[0]
	b.Peers = append(b.Peers, intent.BorderPeer{Address: netip.MustParseAddr(peer), ASN: 64999, Interface: iface, Local: netip.MustParsePrefix(local)})
	return n
}

// floating is a floating IP; address and fixed may be empty.
func floating(tenant, name, external, port, address, fixed string) *intent.FloatingIP {
	i := &intent.FloatingIP{Metadata: intent.Metadata{Name: name, Tenant: tenant}, Spec: intent.FloatingIPSpec{External: external, Port: port}}
	if address != "" {
		i.Spec.Address = netip.MustParseAddr(address)
	}
	if fixed != "" {
		i.Spec.Fixed = netip.MustParseAddr(fixed)
	}
	return i
}

// leading gives a router a way outside.
func leading(r *intent.Router, external string, advertise ...string) *intent.Router {
	r.Spec.External = &intent.RouterExternal{Network: external, Advertise: cidrs(advertise...)}
	return r
}

// sourced is a hypervisor with source addresses of an external network.
func sourced(name, vtep, external string, addrs ...string) *intent.Node {
	n := leaf(name, vtep)
	n.Spec.Role, n.Spec.VSwitch = intent.RoleHypervisor, &intent.VSwitch{OVSDB: "tcp:192.0.2.1:6640"}
	src := intent.SourceAddress{External: external}
	for _, a := range addrs {
		src.Addresses = append(src.Addresses, netip.MustParseAddr(a))
	}
	n.Spec.VSwitch.SourceAddresses = []intent.SourceAddress{src}
	return n
}

// abroad is tiers with an external network that its router leads to.
func abroad(t *testing.T) *Store {
	s := tiers(t)
	put(t, s, outside("internet", []string{"203.0.113.0/24", "2001:db8:f::/64"}, "evpn"))
	put(t, s, leading(via(via(vrf("blue", "r", "web", "db"), "192.0.2.0/24", "d", "10.0.0.10"), "198.51.100.0/24"), "internet", "10.1.0.0/25"))
	put(t, s, sourced("hv", "10.255.0.9", "internet", "203.0.113.2"))
	put(t, s, floating("blue", "f", "internet", "d", "203.0.113.10", ""))
	return s
}

// refusals puts each object, dry and not, alone and in bulk, and checks that
// nothing changes.
func refusals(t *testing.T, s *Store, cases map[string]intent.Object) {
	t.Helper()
	before := dump(t, s)
	for want, o := range cases {
		for _, dry := range []bool{true, false} {
			_, err := s.Put(t.Context(), o, PutOptions{DryRun: dry})
			require.EqualError(t, err, want)
			var fe intent.FieldErrors
			require.True(t, errors.As(err, &fe) || errors.Is(err, ErrConflict), "%T", err)
		}
		require.EqualError(t, s.PutAll(t.Context(), []intent.Object{o}, false)[0].Err, want)
	}
	require.Equal(t, before, dump(t, s))
}

func TestPutOutsideErrors(t *testing.T) {
	s := abroad(t)
	put(t, s, network("red", "n", "10.1.0.0/24", "fd00::/64"))
	put(t, s, port("red", "n", "p", "10.1.0.10"))
	put(t, s, outside("wan", []string{"192.0.2.0/28"}))
	put(t, s, network("blue", "alone", "10.7.0.0/24"))
	put(t, s, port("blue", "alone", "a", "10.7.0.7"))
	put(t, s, port("blue", "db", "six", "10.1.0.50"))
	put(t, s, bound(port("blue", "db", "behind", "10.1.0.51"), "evpn", "eth7"))
	wild := leaf("wild", "10.255.0.77")
	wild.Spec.EVPN, wild.Spec.ASN, wild.Spec.Loopback = &intent.EVPN{Unmanaged: true}, 65001, netip.MustParseAddr("10.255.0.77")
	put(t, s, wild)
	plain := leaf("evpn", "10.255.0.8")
	moved := bound(port("blue", "db", "d", "10.1.0.10"), "tor", "eth9")
	moved.Spec.SecurityGroups = nil
	hasVNI := outside("x", nil)
	hasVNI.Spec.VNI = 10000
	elsewhere := via(via(vrf("blue", "r", "web", "db"), "192.0.2.0/24", "d", "10.0.0.10"), "198.51.100.0/24")
	refusals(t, s, map[string]intent.Object{
		`ExternalNetwork x: spec.borders[0].node: names an unknown node "nope"`:                                                                                                      outside("x", nil, "nope"),
		`ExternalNetwork x: spec.borders[1].node: tor is no BGP EVPN leaf: only such a leaf can lead outside`:                                                                        outside("x", nil, "evpn", "tor"),
		`ExternalNetwork x: spec.borders[0].node: wild is unmanaged, so someone else configures its BGP: leave peers out`:                                                            peering(outside("x", nil, "wild"), "eth1", "192.0.2.0/31", "192.0.2.1"),
		`ExternalNetwork x: spec.borders[0].peers[0].interface: evpn:eth7 is in use by Port blue/behind`:                                                                             peering(outside("x", nil, "evpn"), "eth7", "192.0.2.0/31", "192.0.2.1"),
		`ExternalNetwork x: spec.vni: 10000 is in use by Network blue/web`:                                                                                                           hasVNI,
		`ExternalNetwork internet: spec.pools: leave out addresses in use: 203.0.113.10 of FloatingIP blue/f; change these first`:                                                    outside("internet", []string{"203.0.113.0/29"}),
		`ExternalNetwork internet: spec.pools: leave out addresses in use: 203.0.113.2 of Node hv; change these first`:                                                               outside("internet", []string{"203.0.113.8/29"}),
		`ExternalNetwork internet: spec.pools: overlap prefixes that are announced: 10.1.0.0/25 of Router blue/r; change these first`:                                                outside("internet", []string{"203.0.113.0/24", "10.1.0.64/28"}),
		`FloatingIP green/x: metadata.tenant: names an unknown tenant "green"`:                                                                                                       floating("green", "x", "internet", "d", "", ""),
		`FloatingIP blue/x: spec.external: names an unknown external network "nope"`:                                                                                                 floating("blue", "x", "nope", "d", "", ""),
		`FloatingIP red/x: spec.port: names an unknown port "d" of tenant red`:                                                                                                       floating("red", "x", "internet", "d", "", ""),
		`FloatingIP blue/x: spec.address: 203.0.113.10 is in use by FloatingIP blue/f`:                                                                                               floating("blue", "x", "internet", "six", "203.0.113.10", ""),
		`FloatingIP blue/x: spec.address: 203.0.113.2 is in use by Node hv`:                                                                                                          floating("blue", "x", "internet", "six", "203.0.113.2", ""),
		`FloatingIP blue/x: spec.fixed: 10.1.0.10 of Port blue/d is in use by FloatingIP blue/f`:                                                                                     floating("blue", "x", "internet", "d", "", "10.1.0.10"),
		`FloatingIP blue/x: spec.fixed: 10.1.0.11 is no address of Port blue/six, which has [10.1.0.50]`:                                                                             floating("blue", "x", "internet", "six", "", "10.1.0.11"),
		`FloatingIP blue/x: spec.address: 198.51.100.1 is in no pool of ExternalNetwork internet, which has [203.0.113.0/24 2001:db8:f::/64]`:                                        floating("blue", "x", "internet", "six", "198.51.100.1", ""),
		`FloatingIP blue/x: spec.port: Port blue/six has no IPv6 address, and 2001:db8:f::9 needs one`:                                                                               floating("blue", "x", "internet", "six", "2001:db8:f::9", ""),
		`FloatingIP blue/x: spec.port: Port blue/a is on Network blue/alone, which is on no router: put it on one with spec.external.network internet`:                               floating("blue", "x", "internet", "a", "", ""),
		`FloatingIP blue/x: spec.port: Port blue/six is behind Router blue/r, which does not lead to ExternalNetwork wan: give that router spec.external.network wan`:                floating("blue", "x", "wan", "six", "", ""),
		`FloatingIP blue/x: spec.port: Port blue/behind is on evpn, a BGP EVPN leaf, which can't translate addresses: only vSwitches can`:                                            floating("blue", "x", "internet", "behind", "", ""),
		`Port blue/d: spec.binding.node: Port blue/d is on tor, a hardware VTEP, which can't translate addresses: only vSwitches can`:                                                moved,
		`Port blue/d: spec.addresses: leave out 10.1.0.10, for which FloatingIP blue/f stands: change that first`:                                                                    port("blue", "db", "d", "10.1.0.11"),
		`Router blue/r: spec.external: does not lead to ExternalNetwork internet, of which FloatingIP blue/f has its address: delete that first`:                                     elsewhere,
		`Router blue/r: spec.networks: leave out db, behind which is FloatingIP blue/f: delete that first`:                                                                           leading(via(vrf("blue", "r", "web"), "198.51.100.0/24"), "internet"),
		`Router red/x: spec.external.network: names an unknown external network "nope"`:                                                                                              leading(vrf("red", "x", "n"), "nope"),
		`Router red/x: spec.external.advertise[0]: 10.1.0.64/26 overlaps 10.1.0.0/25, which Router blue/r announces to ExternalNetwork internet: nobody outside can tell them apart`: leading(vrf("red", "x", "n"), "internet", "10.1.0.64/26"),
		`Router red/x: spec.external.advertise[0]: 10.2.0.0/24 is in no subnet of the router's networks`:                                                                             leading(vrf("red", "x", "n"), "internet", "10.2.0.0/24"),
		`Network blue/db: spec.subnets: don't fit Router blue/r, which the network is on: spec.external.advertise[0]: 10.1.0.0/25 is in no subnet of the router's networks`:          network("blue", "db", "10.1.0.0/26"),
		`Node evpn: spec.evpn: does not fit ExternalNetwork internet, of which the node is a border: evpn is no BGP EVPN leaf: only such a leaf can lead outside`:                    plain,
		`Node hv: spec.vswitch.sourceAddresses[0].addresses[0]: 198.51.100.1 is in no pool of ExternalNetwork internet, which has [203.0.113.0/24 2001:db8:f::/64]`:                  sourced("hv", "10.255.0.9", "internet", "198.51.100.1"),
		`Node hv: spec.vswitch.sourceAddresses[0].addresses[0]: 203.0.113.10 is in use by FloatingIP blue/f`:                                                                         sourced("hv", "10.255.0.9", "internet", "203.0.113.10"),
	})
}
