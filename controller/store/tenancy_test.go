package store

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// vrf is a router; a network is NAME or NAME@GATEWAY.
func vrf(tenant, name string, networks ...string) *intent.Router {
	r := &intent.Router{Metadata: intent.Metadata{Name: name, Tenant: tenant}}
	for _, n := range networks {
		rn := intent.RouterNetwork{Network: n}
		for i, c := range n {
			if c == '@' {
				rn.Network, rn.Gateways = n[:i], []netip.Addr{netip.MustParseAddr(n[i+1:])}
			}
		}
		r.Spec.Networks = append(r.Spec.Networks, rn)
	}
	return r
}

// via adds a route to a router: hops are addresses or names of ports, none for
// a black hole.
func via(r *intent.Router, prefix string, hops ...string) *intent.Router {
	rt := intent.StaticRoute{Prefix: netip.MustParsePrefix(prefix), Blackhole: len(hops) == 0}
	for _, h := range hops {
		if a, err := netip.ParseAddr(h); err == nil {
			rt.NextHops = append(rt.NextHops, intent.NextHop{Address: a})
		} else {
			rt.NextHops = append(rt.NextHops, intent.NextHop{Port: h})
		}
	}
	r.Spec.Routes = append(r.Spec.Routes, rt)
	return r
}

// group is a security group with a rule for each group that it names.
func group(tenant, name string, from ...string) *intent.SecurityGroup {
	g := &intent.SecurityGroup{Metadata: intent.Metadata{Name: name, Tenant: tenant}}
	for _, f := range from {
		g.Spec.Rules = append(g.Spec.Rules, intent.SecurityRule{Direction: intent.Ingress, Group: f})
	}
	return g
}

func in(p *intent.Port, groups ...string) *intent.Port {
	p.Spec.SecurityGroups = groups
	return p
}

// tiers is bed with a router, groups and edges that are no vSwitches.
func tiers(t *testing.T) *Store {
	s := bed(t)
	tor, evpn := leaf("tor", "10.255.0.7"), leaf("evpn", "10.255.0.8")
	tor.Spec.HardwareVTEP = &intent.HardwareVTEP{OVSDB: "tcp:192.0.2.1:6640"}
	evpn.Spec.EVPN, evpn.Spec.ASN, evpn.Spec.Loopback = &intent.EVPN{}, 65001, netip.MustParseAddr("10.255.0.8")
	put(t, s, tor)
	put(t, s, evpn)
	put(t, s, group("blue", "front"))
	put(t, s, group("blue", "back", "front", "back"))
	put(t, s, in(port("blue", "db", "d", "10.1.0.10"), "back"))
	put(t, s, via(via(vrf("blue", "r", "web", "db"), "192.0.2.0/24", "d", "10.0.0.10"), "198.51.100.0/24"))
	return s
}

func TestPutTenancyErrors(t *testing.T) {
	s := tiers(t)
	put(t, s, network("blue", "wide", "10.1.0.0/16"))
	put(t, s, network("blue", "other", "10.5.0.0/24"))
	put(t, s, port("blue", "other", "o", "10.5.0.9"))
	hasVNI, hasID := vrf("blue", "x"), group("blue", "x")
	hasVNI.Spec.VNI, hasID.Spec.ID = 10000, 1
	limited := bound(port("blue", "web", "z"), "tor", "eth1")
	limited.Spec.QoS = &intent.QoS{Out: intent.RateLimit{Rate: "10M"}}
	both := in(bound(port("blue", "web", "z"), "tor", "eth1"), "front")
	both.Spec.QoS = limited.Spec.QoS
	going := in(bound(port("blue", "web", "z"), "leaf1", "eth1"), "front")
	going.Spec.Requested = intent.Place{Node: "evpn", Interface: "eth1"}
	overlapping := network("blue", "web", "10.0.0.0/24", "10.1.0.0/16")
	before := dump(t, s)
	for want, o := range map[string]intent.Object{
		`Router green/r: metadata.tenant: names an unknown tenant "green"`:                                                                                                                                 vrf("green", "r"),
		`Router red/r: spec.networks[0].network: names an unknown network "web" of tenant red`:                                                                                                             vrf("red", "r", "web"),
		`Router blue/x: spec.networks[0].network: Network blue/web is in use by Router blue/r`:                                                                                                             vrf("blue", "x", "web@10.0.0.5"),
		`Router blue/x: spec.vni: 10000 is in use by Network blue/web`:                                                                                                                                     hasVNI,
		`Router blue/r: spec.networks[0].gateways[0]: 10.0.0.10 is in use by Port blue/b`:                                                                                                                  vrf("blue", "r", "web@10.0.0.10"),
		`Router blue/r: spec.networks[0].gateways[0]: 10.9.0.1 is outside the subnets [10.0.0.0/24] of Network blue/web`:                                                                                   vrf("blue", "r", "web@10.9.0.1"),
		`Router blue/r: spec.networks[2].network: subnet 10.1.0.0/16 of wide overlaps 10.1.0.0/24 of db: a router can't tell them apart`:                                                                   vrf("blue", "r", "web", "db", "wide"),
		`Router blue/r: spec.routes[0].nextHops[0].port: names an unknown port "nope" of tenant blue`:                                                                                                      via(vrf("blue", "r", "web"), "0.0.0.0/0", "nope"),
		`Router blue/r: spec.routes[0].nextHops[0].port: Port blue/d is on Network blue/db, which is not on the router`:                                                                                    via(vrf("blue", "r", "web"), "0.0.0.0/0", "d"),
		`Router blue/r: spec.routes[0].nextHops[0].address: 10.0.0.1 is the router's own address on web`:                                                                                                   via(vrf("blue", "r", "web"), "0.0.0.0/0", "10.0.0.1"),
		`Port blue/z: spec.addresses[0]: 10.0.0.1 is in use by Router blue/r`:                                                                                                                              port("blue", "web", "z", "10.0.0.1"),
		`Port blue/d: spec.network: Network blue/other is not on Router blue/r, whose routes send to the port: put it on the router, or take the port out of its routes`:                                   port("blue", "other", "d"),
		`Network blue/web: spec.subnets: don't fit Router blue/r, which the network is on: spec.networks[1].network: subnet 10.1.0.0/24 of db overlaps 10.1.0.0/16 of web: a router can't tell them apart`: overlapping,
		`SecurityGroup green/g: metadata.tenant: names an unknown tenant "green"`:                                                                                                                          group("green", "g"),
		`SecurityGroup blue/x: spec.rules[1].group: names an unknown security group "nope" of tenant blue`:                                                                                                 group("blue", "x", "front", "nope"),
		`SecurityGroup red/x: spec.rules[0].group: names an unknown security group "front" of tenant red`:                                                                                                  group("red", "x", "front"),
		`SecurityGroup blue/x: spec.id: 1 is in use by SecurityGroup blue/front`:                                                                                                                           hasID,
		`Port blue/z: spec.securityGroups[1]: names an unknown security group "nope" of tenant blue`:                                                                                                       in(port("blue", "web", "z"), "front", "nope"),
		`Port blue/z: spec.binding.node: tor is a hardware VTEP, which can't filter statefully: only vSwitches can; use a hypervisor, or leave spec.securityGroups out`:                                    in(bound(port("blue", "web", "z"), "tor", "eth1"), "front"),
		`Port blue/z: spec.binding.node: evpn is a BGP EVPN leaf, which can't filter statefully: only vSwitches can; use a hypervisor, or leave spec.securityGroups out`:                                   in(bound(port("blue", "web", "z"), "evpn", "eth1"), "front"),
		`Port blue/z: spec.requested.node: evpn is a BGP EVPN leaf, which can't filter statefully: only vSwitches can; use a hypervisor, or leave spec.securityGroups out`:                                 going,
		`Port blue/z: spec.binding.node: tor is a hardware VTEP, which can't limit or mark what a port sends: only vSwitches can; use a hypervisor, or leave spec.qos out`:                                 limited,
		`Port blue/z: spec.binding.node: tor is a hardware VTEP, which can't filter statefully: only vSwitches can; use a hypervisor, or leave spec.securityGroups out; tor is a hardware VTEP, which can't limit or mark what a port sends: only vSwitches can; use a hypervisor, or leave spec.qos out`: both,
	} {
		for _, dry := range []bool{true, false} {
			_, err := s.Put(t.Context(), o, PutOptions{DryRun: dry})
			require.EqualError(t, err, want)
			var fe intent.FieldErrors
			require.True(t, errors.As(err, &fe) || errors.Is(err, ErrConflict), "%T", err)
		}
		out := s.PutAll(t.Context(), []intent.Object{o}, false)
		require.EqualError(t, out[0].Err, want)
	}
	require.Equal(t, before, dump(t, s), "a refused Put writes nothing")
	sound(t, s)
}

func TestNodeBecomesAnEdgeThatCannot(t *testing.T) {
	s := tiers(t)
	put(t, s, in(bound(port("blue", "web", "z"), "leaf2", "eth1"), "front"))
	limited := bound(port("blue", "web", "y"), "leaf1", "eth1")
	limited.Spec.QoS = &intent.QoS{In: intent.RateLimit{Rate: "10M"}}
	put(t, s, limited)
	for node, want := range map[string]string{
		"leaf2": "Node leaf2: spec: Port blue/z is bound here: leaf2 is a hardware VTEP, which can't filter statefully: only vSwitches can; use a hypervisor, or leave spec.securityGroups out",
		"leaf1": "Node leaf1: spec: Port blue/y is bound here: leaf1 is a hardware VTEP, which can't limit or mark what a port sends: only vSwitches can; use a hypervisor, or leave spec.qos out",
	} {
		n := leaf(node, "10.255.0."+node[4:])
		n.Spec.HardwareVTEP = &intent.HardwareVTEP{OVSDB: "tcp:192.0.2.1:6640"}
		_, err := s.Put(t.Context(), n, PutOptions{})
		require.EqualError(t, err, want)
	}
}

// TestGatewaysFollowSubnets: a router's addresses are claimed on its networks
// as these are now, whoever changed.
func TestGatewaysFollowSubnets(t *testing.T) {
	s := tiers(t)
	owner := func(addr string) string {
		return dump(t, s)[s.keys.addr(ref(intent.KindNetwork, "blue", "web"), netip.MustParseAddr(addr))]
	}
	require.Equal(t, "Router blue/r", owner("10.0.0.1"))
	put(t, s, network("blue", "web", "10.0.0.0/23", "fd00::/64"))
	require.Equal(t, "Router blue/r", owner("fd00::1"), "a new subnet has a gateway")
	sound(t, s)
	_, err := s.Put(t.Context(), port("blue", "web", "z", "10.0.0.20", "fd00::1"), PutOptions{})
	require.EqualError(t, err, "Port blue/z: spec.addresses[1]: fd00::1 is in use by Router blue/r")
	require.Equal(t, "10.0.0.2", put(t, s, port("blue", "web", "new")).Spec.Addresses[0].String(), "what is allocated is no gateway")

	_, err = s.Delete(t.Context(), ref(intent.KindPort, "blue", "new"), DeleteOptions{})
	require.NoError(t, err)
	put(t, s, network("blue", "web", "10.0.0.0/23"))
	require.Empty(t, owner("fd00::1"), "given back with its subnet")
	sound(t, s)
	put(t, s, network("blue", "web", "10.0.0.0/23", "fd00::/64"))
	put(t, s, vrf("blue", "r", "web@fd00::fe", "db"))
	require.Equal(t, []string{"Router blue/r", "", "Router blue/r"}, []string{owner("fd00::fe"), owner("fd00::1"), owner("10.0.0.1")})
	sound(t, s)
	put(t, s, port("blue", "web", "one", "10.0.0.30", "fd00::1"))
	_, err = s.Put(t.Context(), vrf("blue", "r", "web", "db"), PutOptions{})
	require.EqualError(t, err, "Router blue/r: spec.networks[0].gateways: fd00::1 is in use by Port blue/one")

	// A subnet comes back whose first address a port has meanwhile.
	put(t, s, network("blue", "far", "10.7.0.0/24"))
	put(t, s, port("blue", "far", "f", "10.7.0.1"))
	_, err = s.Put(t.Context(), vrf("blue", "r", "web@fd00::fe", "db", "far"), PutOptions{})
	require.EqualError(t, err, "Router blue/r: spec.networks[2].gateways: 10.7.0.1 is in use by Port blue/f")
	put(t, s, vrf("blue", "r", "web@fd00::fe", "far@10.7.0.254"))
	sound(t, s)
	_, err = s.Put(t.Context(), network("blue", "far", "10.7.0.0/25"), PutOptions{})
	require.EqualError(t, err, "Network blue/far: spec.subnets: don't fit Router blue/r, which the network is on: spec.networks[1].gateways[0]: 10.7.0.254 is outside the subnets [10.7.0.0/25] of Network blue/far")
	put(t, s, network("blue", "far", "10.7.0.0/24", "10.8.0.0/24"))
	put(t, s, port("blue", "far", "g", "10.7.0.9", "10.8.0.9"))
	put(t, s, vrf("blue", "r", "web@fd00::fe"))
	put(t, s, port("blue", "far", "h", "10.7.0.254", "10.8.0.1"))
	sound(t, s)
	_, err = s.Delete(t.Context(), ref(intent.KindRouter, "blue", "r"), DeleteOptions{})
	require.NoError(t, err)
	require.Empty(t, owner("fd00::fe"))
	sound(t, s)
}

// A gateway that is left out is the first address of the subnet; when the subnet
// changes that may be a port's.
func TestGatewayMovesOntoAPort(t *testing.T) {
	s := tiers(t)
	put(t, s, network("blue", "far", "10.7.0.0/23"))
	put(t, s, vrf("blue", "q", "far"))
	put(t, s, port("blue", "far", "f", "10.7.1.1"))
	before := dump(t, s)
	for _, dry := range []bool{true, false} {
		_, err := s.Put(t.Context(), network("blue", "far", "10.7.1.0/24"), PutOptions{DryRun: dry})
		require.ErrorIs(t, err, ErrConflict)
		require.EqualError(t, err, "Network blue/far: spec.subnets: 10.7.1.1, gateway of Router blue/q, is in use by Port blue/f")
	}
	require.Error(t, s.PutAll(t.Context(), []intent.Object{network("blue", "far", "10.7.1.0/24")}, false)[0].Err)
	require.Equal(t, before, dump(t, s))
	put(t, s, vrf("blue", "q"))
	put(t, s, network("blue", "far", "10.7.1.0/24"))
	sound(t, s)
}

func TestNextHopsStayInSubnets(t *testing.T) {
	s := tiers(t)
	put(t, s, via(vrf("blue", "r", "web", "db"), "192.0.2.0/24", "10.0.0.250"))
	_, err := s.Put(t.Context(), network("blue", "web", "10.0.0.0/25", "10.0.0.192/28"), PutOptions{})
	require.EqualError(t, err, "Network blue/web: spec.subnets: don't fit Router blue/r, which the network is on: spec.routes[0].nextHops[0].address: 10.0.0.250 is in no subnet of the router's networks")
	sound(t, s)
}

func TestRouterKeepsWhatWasAllocated(t *testing.T) {
	s := tiers(t)
	o, err := s.Get(t.Context(), ref(intent.KindRouter, "blue", "r"))
	require.NoError(t, err)
	require.Equal(t, intent.VNI(10002), o.(*intent.Router).Spec.VNI, "from the same range as L2VNIs")
	again, err := s.Put(t.Context(), via(via(vrf("blue", "r", "web", "db"), "192.0.2.0/24", "d", "10.0.0.10"), "198.51.100.0/24"), PutOptions{})
	require.NoError(t, err)
	require.False(t, again.Changed)
	g := put(t, s, group("blue", "back", "front"))
	require.Equal(t, uint32(2), g.Spec.ID)
	require.Equal(t, intent.VNI(10003), put(t, s, network("blue", "next")).Spec.VNI)
	sound(t, s)
}

func TestDeleteTenancy(t *testing.T) {
	s := tiers(t)
	put(t, s, in(port("blue", "web", "e"), "front", "back"))
	del := func(k intent.Kind, name string, cascade bool) error {
		r := ref(k, "blue", name)
		if k == intent.KindTenant {
			r = ref(k, "", name)
		}
		_, err := s.Delete(t.Context(), r, DeleteOptions{Cascade: cascade})
		return err
	}
	before := dump(t, s)
	for _, cascade := range []bool{false, true} {
		require.EqualError(t, del(intent.KindPort, "d", cascade), "Port blue/d is in use by Router blue/r: take it out of these first")
		require.EqualError(t, del(intent.KindSecurityGroup, "back", cascade), "SecurityGroup blue/back is in use by Port blue/d, Port blue/e: take it out of these first")
	}
	require.EqualError(t, del(intent.KindNetwork, "db", false), "Network blue/db is in use by Router blue/r, Port blue/d: take it out of Router blue/r first, then delete the others, or delete with cascade")
	require.EqualError(t, del(intent.KindNetwork, "db", true), "Network blue/db is in use by Router blue/r: take it out of these first")
	require.EqualError(t, del(intent.KindSecurityGroup, "front", false), "SecurityGroup blue/front is in use by Port blue/e, SecurityGroup blue/back: take it out of Port blue/e first, then delete the others, or delete with cascade")
	require.EqualError(t, del(intent.KindTenant, "blue", false), "Tenant blue is in use by Router blue/r, Network blue/db, Network blue/web and 2 more: delete these first, or delete with cascade")
	require.Equal(t, before, dump(t, s))

	put(t, s, vrf("blue", "r", "web"))
	require.NoError(t, del(intent.KindPort, "d", false), "no route names it now")
	require.NoError(t, del(intent.KindNetwork, "db", false), "nor the router")
	require.EqualError(t, del(intent.KindNetwork, "web", true), "Network blue/web is in use by Router blue/r: take it out of these first")
	put(t, s, in(port("blue", "web", "e")))
	require.EqualError(t, del(intent.KindSecurityGroup, "front", false), "SecurityGroup blue/front is in use by SecurityGroup blue/back: take it out of their rules first, or delete these groups too with cascade")
	put(t, s, group("blue", "front", "back"))
	res, err := s.Delete(t.Context(), ref(intent.KindSecurityGroup, "blue", "front"), DeleteOptions{Cascade: true})
	require.NoError(t, err)
	require.Equal(t, []intent.Ref{ref(intent.KindSecurityGroup, "blue", "back"), ref(intent.KindSecurityGroup, "blue", "front")}, res.Deleted, "they name each other")
	sound(t, s)

	s = tiers(t)
	put(t, s, group("blue", "front", "back"))
	rev, err := s.Revision(t.Context())
	require.NoError(t, err)
	res, err = s.Delete(t.Context(), ref(intent.KindTenant, "", "blue"), DeleteOptions{Cascade: true})
	require.NoError(t, err)
	require.Len(t, res.Deleted, 10)
	require.Equal(t, ref(intent.KindRouter, "blue", "r"), res.Deleted[0])
	require.Equal(t, rev+1, res.Revision, "one transaction")
	sound(t, s)
}

// Groups that name each other are one transaction, in whatever order they come,
// and one that is refused takes only those with it that name it.
func TestPutAllOfGroupsThatNameEachOther(t *testing.T) {
	for _, ops := range []int{defaultOps, embeddedOps} {
		s := open(t, 1)[0]
		s.maxOps = ops
		put(t, s, tenant("t"))
		put(t, s, group("t", "old"))
		taken := group("t", "taken", "mate")
		taken.Spec.ID = 1
		objects := []intent.Object{
			group("t", "app", "web", "db"), group("t", "web", "app", "old"), group("t", "db", "app", "db"),
			group("t", "last", "chain1"), group("t", "chain1", "chain2"), group("t", "chain2", "old"),
			taken, group("t", "mate", "taken"), group("t", "follows", "mate"),
			group("t", "stray", "nowhere"), group("t", "old", "last"),
		}
		out := s.PutAll(t.Context(), objects, false)
		var said []string
		for i, w := range out {
			if w.Err != nil {
				said = append(said, w.Err.Error())
				continue
			}
			require.Equal(t, objects[i].Ref(), w.Object.Ref())
			require.Equal(t, i != 10, w.Created)
		}
		require.Equal(t, []string{
			"SecurityGroup t/taken: spec.id: 1 is in use by SecurityGroup t/old",
			`SecurityGroup t/mate: spec.rules[0].group: names an unknown security group "taken" of tenant t`,
			`SecurityGroup t/follows: spec.rules[0].group: names an unknown security group "mate" of tenant t`,
			`SecurityGroup t/stray: spec.rules[0].group: names an unknown security group "nowhere" of tenant t`,
		}, said)
		require.Equal(t, out[0].Object.Meta().Revision, out[1].Object.Meta().Revision)
		require.Equal(t, out[0].Object.Meta().Revision, out[2].Object.Meta().Revision)
		require.Len(t, sound(t, s), 8)
		before := dump(t, s)
		again := s.PutAll(t.Context(), objects[:6], false)
		noErrors(t, again)
		for _, w := range again {
			require.False(t, w.Changed)
		}
		dry := s.PutAll(t.Context(), []intent.Object{group("t", "x", "y"), group("t", "y", "x")}, true)
		noErrors(t, dry)
		require.Equal(t, before, dump(t, s))
	}
}

// A request of many groups: chains and pairs, read and written by more than one
// transaction.
func TestPutAllOfManyGroups(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("t"))
	objects := []intent.Object{}
	for i := range 200 {
		objects = append(objects, group("t", fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i), fmt.Sprintf("a%d", max(0, i-1))), group("t", fmt.Sprintf("b%d", i), fmt.Sprintf("a%d", i)))
	}
	before, err := s.Revision(t.Context())
	require.NoError(t, err)
	noErrors(t, s.PutAll(t.Context(), objects, false))
	after, err := s.Revision(t.Context())
	require.NoError(t, err)
	t.Logf("%d transactions for %d groups", after-before, len(objects))
	require.Less(t, after-before, int64(25))
	require.Len(t, sound(t, s), 401)

	ring := []intent.Object{}
	for i := range 60 {
		ring = append(ring, group("t", fmt.Sprintf("ring%d", i), fmt.Sprintf("ring%d", (i+1)%60)))
	}
	out := s.PutAll(t.Context(), ring, false)
	require.EqualError(t, out[0].Err, "SecurityGroup t/ring0: spec.rules: name groups that name this one: 60 new groups do, and one transaction of etcd takes 120 keys: write them without these rules first")
	sound(t, s)
}

// Two networks of one router that change at once into overlapping ones: both
// are right alone.
func TestPutAllOfNetworksOfOneRouter(t *testing.T) {
	s := tiers(t)
	out := s.PutAll(t.Context(), []intent.Object{network("blue", "web", "10.0.0.0/24", "10.8.0.0/16"), network("blue", "db", "10.1.0.0/24", "10.8.1.0/24")}, false)
	require.NoError(t, out[0].Err)
	require.EqualError(t, out[1].Err, "Network blue/db: spec.subnets: don't fit Router blue/r, which the network is on: spec.networks[1].network: subnet 10.8.1.0/24 of db overlaps 10.8.0.0/16 of web: a router can't tell them apart")
	sound(t, s)
}

// A router is as large as one transaction of etcd, and grows in steps.
func TestRouterFitsIntoATransaction(t *testing.T) {
	s := open(t, 1)[0]
	require.Equal(t, defaultOps, s.maxOps)
	put(t, s, tenant("t"))
	objects, names := []intent.Object{}, []string{}
	for i := range 40 {
		n := fmt.Sprintf("n%d", i)
		objects, names = append(objects, network("t", n, fmt.Sprintf("10.0.%d.0/24", i), fmt.Sprintf("fd00:0:0:%x::/64", i))), append(names, n)
	}
	noErrors(t, s.PutAll(t.Context(), objects, false))
	put(t, s, vrf("t", "r", names[:29]...))
	put(t, s, vrf("t", "r", names[:39]...))
	sound(t, s)
	_, err := s.Put(t.Context(), vrf("t", "r", names...), PutOptions{})
	require.EqualError(t, err, "Router t/r: spec: needs 122 keys of the store, and one transaction of etcd takes 120: use several objects")
	_, err = s.Put(t.Context(), vrf("t", "q", names[:30]...), PutOptions{})
	require.EqualError(t, err, "Router t/q: spec: changes 124 keys of the store at once, and one transaction of etcd takes 120: change it in steps")
	_, err = s.Delete(t.Context(), ref(intent.KindRouter, "t", "r"), DeleteOptions{})
	require.NoError(t, err)
	sound(t, s)
	require.Len(t, s.PutAll(t.Context(), []intent.Object{vrf("t", "r", names...)}, false), 1)
	s.maxOps = embeddedOps
	require.Error(t, func() error { _, err := s.Put(t.Context(), vrf("t", "r", "nope"), PutOptions{}); return err }())
}

func TestBrokenTenancy(t *testing.T) {
	s := tiers(t)
	web := s.keys.object(ref(intent.KindNetwork, "blue", "web"))
	router := s.keys.object(ref(intent.KindRouter, "blue", "r"))
	_, err := s.client.Put(t.Context(), router, "{")
	require.NoError(t, err)
	put(t, s, vrf("blue", "r", "web@10.0.0.254", "db"))
	sound(t, s)
	_, err = s.client.Put(t.Context(), web, "{")
	require.NoError(t, err)
	_, err = s.Put(t.Context(), vrf("blue", "r", "web", "db"), PutOptions{})
	require.ErrorIs(t, err, ErrBroken)
	n := network("blue", "web", "10.0.0.0/24", "fd00::/64")
	n.Spec.VNI = 10000
	put(t, s, n)
	sound(t, s)
	_, err = s.client.Put(t.Context(), web, "{")
	require.NoError(t, err)
	_, err = s.Delete(t.Context(), ref(intent.KindRouter, "blue", "r"), DeleteOptions{})
	require.NoError(t, err)
	put(t, s, n)
	sound(t, s)
	_, err = s.client.Put(t.Context(), s.keys.object(ref(intent.KindSecurityGroup, "blue", "front")), "{")
	require.NoError(t, err)
	_, err = s.Put(t.Context(), in(port("blue", "web", "z"), "front"), PutOptions{})
	require.ErrorIs(t, err, ErrBroken)
	_, err = s.Delete(t.Context(), ref(intent.KindSecurityGroup, "blue", "front"), DeleteOptions{})
	require.ErrorIs(t, err, ErrInUse)
}

// Groups of one transaction that want the same number: who asked for it has it,
// and the hint that two were given is no conflict.
func TestPutAllOfGroupsWithOneNumber(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("t"))
	asks, asksToo := group("t", "asks", "gets"), group("t", "asks-too", "asks")
	asks.Spec.ID, asksToo.Spec.ID = 1, 1
	out := s.PutAll(t.Context(), []intent.Object{group("t", "gets", "asks"), asks, asksToo}, false)
	noErrors(t, out[:2])
	require.Equal(t, uint32(1), out[1].Object.(*intent.SecurityGroup).Spec.ID)
	require.EqualError(t, out[2].Err, "SecurityGroup t/asks-too: spec.id: 1 is in use by SecurityGroup t/asks")
	sound(t, s)
	x, y := group("t", "x", "y"), group("t", "y", "x")
	x.Spec.ID, y.Spec.ID = 9, 9
	out = s.PutAll(t.Context(), []intent.Object{x, y}, false)
	require.EqualError(t, errors.Join(out[0].Err, out[1].Err), "SecurityGroup t/x: spec.rules[0].group: names an unknown security group \"y\" of tenant t\nSecurityGroup t/y: spec.id: 9 is in use by SecurityGroup t/x")
	s.groups.give(5)
	s.groups.give(5)
	noErrors(t, s.PutAll(t.Context(), []intent.Object{group("t", "v", "w"), group("t", "w", "v")}, false))
	sound(t, s)
}
