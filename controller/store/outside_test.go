package store

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
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

// What is left out is chosen once and kept; what no longer fits is chosen anew.
func TestFloatingIPsKeepTheirAddresses(t *testing.T) {
	s := abroad(t)
	put(t, s, port("blue", "db", "two", "10.1.0.20", "10.1.0.21"))
	f := put(t, s, floating("blue", "x", "internet", "two", "", ""))
	require.Equal(t, "203.0.113.1", f.Spec.Address.String(), "the first that is free")
	require.Equal(t, "10.1.0.20", f.Spec.Fixed.String())
	again, err := s.Put(t.Context(), floating("blue", "x", "internet", "two", "", ""), PutOptions{})
	require.NoError(t, err)
	require.False(t, again.Changed)

	put(t, s, floating("blue", "x", "internet", "two", "203.0.113.77", "10.1.0.21"))
	f = put(t, s, floating("blue", "x", "internet", "two", "", ""))
	require.Equal(t, "203.0.113.77 10.1.0.21", f.Spec.Address.String()+" "+f.Spec.Fixed.String())
	put(t, s, port("blue", "db", "other", "10.1.0.30"))
	f = put(t, s, floating("blue", "x", "internet", "other", "", ""))
	require.Equal(t, "203.0.113.77 10.1.0.30", f.Spec.Address.String()+" "+f.Spec.Fixed.String(), "another port keeps the address")

	// The port's other addresses come and go.
	put(t, s, floating("blue", "x", "internet", "two", "", "10.1.0.21"))
	put(t, s, port("blue", "db", "two", "10.1.0.21", "10.1.0.22"))
}

func TestFloatingIPsAreAllocatedUntilPoolsAreEmpty(t *testing.T) {
	s := abroad(t)
	put(t, s, outside("small", []string{"198.51.100.8/31", "198.51.100.16/30"}))
	put(t, s, network("red", "n", "10.1.0.0/24", "fd00::/64"))
	put(t, s, leading(vrf("red", "r", "n"), "small"))
	var all []intent.Object
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		put(t, s, port("red", "n", name))
		all = append(all, floating("red", name, "small", name, "", ""))
	}
	out := s.PutAll(t.Context(), all, false)
	var got []string
	for _, w := range out[:4] {
		require.NoError(t, w.Err)
		got = append(got, w.Object.(*intent.FloatingIP).Spec.Address.String())
	}
	require.ElementsMatch(t, []string{"198.51.100.8", "198.51.100.9", "198.51.100.17", "198.51.100.18"}, got)
	require.ErrorIs(t, out[4].Err, ErrExhausted)
	require.EqualError(t, out[4].Err, "FloatingIP red/e: spec.address: no IPv4 address is free in the pools [198.51.100.8/31 198.51.100.16/30] of ExternalNetwork small: add one, or delete a floating IP")
	_, err := s.Put(t.Context(), floating("red", "six", "small", "a", "", "fd00::2"), PutOptions{})
	require.EqualError(t, err, "FloatingIP red/six: spec.address: no IPv6 address is free in the pools [198.51.100.8/31 198.51.100.16/30] of ExternalNetwork small: add one, or delete a floating IP")
	_, err = s.Delete(t.Context(), ref(intent.KindFloatingIP, "red", "b"), DeleteOptions{})
	require.NoError(t, err)
	put(t, s, floating("red", "e", "small", "e", "", ""))
}

// A hypervisor may be written before the external network that it names, and
// has its addresses as soon as that is there.
func TestSourceAddresses(t *testing.T) {
	s := tiers(t)
	sources := func(name string) []netip.Addr {
		o, err := s.Get(t.Context(), ref(intent.KindNode, "", name))
		require.NoError(t, err)
		return sourcesOf(o.(*intent.Node))[0].Addresses
	}
	put(t, s, sourced("hv1", "10.255.9.1", "internet"))
	put(t, s, sourced("hv2", "10.255.9.2", "internet", "203.0.113.1"))
	require.Empty(t, sources("hv1"))
	_, err := s.Put(t.Context(), outside("internet", []string{"198.51.100.0/24"}), PutOptions{})
	require.EqualError(t, err, "ExternalNetwork internet: spec.pools: leave out addresses in use: 203.0.113.1 of Node hv2; change these first")

	put(t, s, outside("internet", []string{"203.0.113.0/24", "2001:db8::/64"}))
	require.Equal(t, []netip.Addr{netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8::1")}, sources("hv1"))
	require.Equal(t, []netip.Addr{netip.MustParseAddr("203.0.113.1")}, sources("hv2"), "what is given stays")
	again, err := s.Put(t.Context(), sourced("hv1", "10.255.9.1", "internet"), PutOptions{})
	require.NoError(t, err)
	require.False(t, again.Changed, "what was chosen is kept")
	put(t, s, sourced("hv2", "10.255.9.2", "internet"))
	require.Equal(t, []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::2")}, sources("hv2"), "a family that was missing is added")

	// A pool that is too small for all gives to some.
	out := s.PutAll(t.Context(), []intent.Object{outside("tiny", []string{"192.0.2.1/32"}), sourced("hv3", "10.255.9.3", "tiny"), sourced("hv4", "10.255.0.4", "tiny")}, false)
	noErrors(t, out)
	require.Len(t, append(sources("hv3"), sources("hv4")...), 1)

	_, err = s.Delete(t.Context(), ref(intent.KindExternalNetwork, "", "internet"), DeleteOptions{})
	require.NoError(t, err, "source addresses don't hold it")
	_, err = s.Delete(t.Context(), ref(intent.KindNode, "", "hv2"), DeleteOptions{})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), outside("internet", []string{"203.0.113.2/32", "2001:db8::/127"}), PutOptions{})
	require.NoError(t, err, "what the deleted node had is free")
}

func TestDeleteOutside(t *testing.T) {
	s := abroad(t)
	internet, border := ref(intent.KindExternalNetwork, "", "internet"), ref(intent.KindNode, "", "evpn")
	r, d, f := ref(intent.KindRouter, "blue", "r"), ref(intent.KindPort, "blue", "d"), ref(intent.KindFloatingIP, "blue", "f")
	put(t, s, peering(outside("internet", []string{"203.0.113.0/24", "2001:db8:f::/64"}, "evpn"), "eth3", "192.0.2.0/31", "192.0.2.1"))
	before := dump(t, s)
	for _, cascade := range []bool{false, true} {
		for o, want := range map[intent.Ref]string{
			internet: "ExternalNetwork internet is in use by FloatingIP blue/f, Router blue/r: give these something else, or delete them first",
			border:   "Node evpn is in use by ExternalNetwork internet: take it out of these first",
			r:        "Router blue/r is in use by FloatingIP blue/f: delete these first",
			d:        "Port blue/d is in use by FloatingIP blue/f, Router blue/r: give these something else, or delete them first",
		} {
			_, err := s.Delete(t.Context(), o, DeleteOptions{Cascade: cascade})
			require.EqualError(t, err, want)
		}
	}
	require.Equal(t, before, dump(t, s))

	res, err := s.Delete(t.Context(), ref(intent.KindTenant, "", "blue"), DeleteOptions{Cascade: true})
	require.NoError(t, err)
	require.Contains(t, res.Deleted, f)
	require.Less(t, slices.Index(res.Deleted, f), slices.Index(res.Deleted, d), "a floating IP before its port")
	for _, o := range []intent.Ref{internet, border} {
		_, err := s.Delete(t.Context(), o, DeleteOptions{})
		require.NoError(t, err)
	}
}

// A floating IP that comes while its port, its router or its external network
// goes: one of both is refused.
func TestFloatingIPRaces(t *testing.T) {
	stores := open(t, 2)
	s := stores[0]
	put(t, s, tenant("t"))
	put(t, s, network("t", "n", "10.0.0.0/24"))
	for range 10 {
		for name, against := range map[string]func(s *Store) error{
			"port": func(s *Store) error {
				_, err := s.Delete(t.Context(), ref(intent.KindPort, "t", "p"), DeleteOptions{})
				return err
			},
			"address": func(s *Store) error {
				_, err := s.Put(t.Context(), port("t", "n", "p", "10.0.0.6"), PutOptions{})
				return err
			},
			"router": func(s *Store) error {
				_, err := s.Delete(t.Context(), ref(intent.KindRouter, "t", "r"), DeleteOptions{})
				return err
			},
			"way out":  func(s *Store) error { _, err := s.Put(t.Context(), vrf("t", "r", "n"), PutOptions{}); return err },
			"pool":     func(s *Store) error { _, err := s.Put(t.Context(), outside("x", nil), PutOptions{}); return err },
			"external": func(s *Store) error { _, err := s.Put(t.Context(), vrf("t", "r"), PutOptions{}); return err },
		} {
			put(t, s, outside("x", []string{"203.0.113.0/24"}))
			put(t, s, port("t", "n", "p", "10.0.0.5"))
			put(t, s, leading(vrf("t", "r", "n"), "x"))
			var one, other error
			var wg sync.WaitGroup
			wg.Go(func() {
				_, one = stores[0].Put(t.Context(), floating("t", "f", "x", "p", "203.0.113.5", "10.0.0.5"), PutOptions{})
			})
			wg.Go(func() { other = against(stores[1]) })
			wg.Wait()
			require.NotEqual(t, one == nil, other == nil, "%s: %v; %v", name, one, other)
			if one == nil {
				_, err := s.Delete(t.Context(), ref(intent.KindFloatingIP, "t", "f"), DeleteOptions{})
				require.NoError(t, err)
			}
		}
	}
}
