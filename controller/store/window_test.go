package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// Between what a write reads and its commit another writer comes in: each of
// these commits must notice, and the whole Put or Delete run again must end
// as if it had come second.
func TestWriteNoticesWhatCameBetween(t *testing.T) {
	for name, c := range map[string]between{
		"port, network gone":      {port("blue", "db", "z"), gone(intent.KindNetwork, "blue", "db"), `Port blue/z: spec.network: names an unknown network "db" of tenant blue`},
		"port, network shrinks":   {port("blue", "db", "z", "10.1.0.200"), puts(network("blue", "db", "10.1.0.0/25")), `Port blue/z: spec.addresses[0]: 10.1.0.200 is outside the subnets [10.1.0.0/25] of Network blue/db`},
		"port, node gone":         {bound(port("blue", "db", "z"), "leaf2", "eth5"), gone(intent.KindNode, "", "leaf2"), `Port blue/z: spec.binding.node: names an unknown node "leaf2"`},
		"port, address taken":     {port("blue", "db", "z", "10.1.0.200"), puts(port("blue", "db", "y", "10.1.0.200")), `Port blue/z: spec.addresses[0]: 10.1.0.200 is in use by Port blue/y`},
		"network, tenant gone":    {network("red", "x"), gone(intent.KindTenant, "", "red"), `Network red/x: metadata.tenant: names an unknown tenant "red"`},
		"network, port outside":   {network("blue", "db", "10.1.0.0/25"), puts(port("blue", "db", "y", "10.1.0.200")), `Network blue/db: spec.subnets: leave out addresses in use: 10.1.0.200 of Port blue/y; change these ports first`},
		"link, node gone":         {cable("l9", "leaf1", "eth4", "leaf2", "eth4"), gone(intent.KindNode, "", "leaf2"), `Link l9: spec.endpoints[1].node: names an unknown node "leaf2"`},
		"node, VTEP taken":        {leaf("leaf3", "10.255.0.3"), puts(leaf("leaf4", "10.255.0.3")), `Node leaf3: spec.vtep: 10.255.0.3 is in use by Node leaf4`},
		"the same object written": {network("blue", "db", "10.1.0.0/23"), puts(network("blue", "db", "10.1.0.0/22")), ""},
		"the same object deleted": {network("blue", "db", "10.1.0.0/23"), gone(intent.KindNetwork, "blue", "db"), ""},
	} {
		t.Run(name, func(t *testing.T) { c.noticed(t, bed(t)) })
	}
}

// between is a write into the window of another one.
type between struct {
	object intent.Object
	comes  func(*testing.T, *Store)
	want   string // of the Put that follows
}

func gone(k intent.Kind, tenant, name string) func(*testing.T, *Store) {
	return func(t *testing.T, s *Store) {
		_, err := s.Delete(t.Context(), ref(k, tenant, name), DeleteOptions{Cascade: true})
		require.NoError(t, err)
	}
}

func puts(o intent.Object) func(*testing.T, *Store) {
	return func(t *testing.T, s *Store) { put(t, s, o) }
}

func (c between) noticed(t *testing.T, s *Store) {
	want, err := clone(c.object)
	require.NoError(t, err)
	w := &write{s: s, want: want, taken: map[string]bool{}}
	require.NoError(t, w.prepare(t.Context()))
	p, err := w.plan()
	require.NoError(t, err)
	c.comes(t, s)
	before := dump(t, s)
	_, err = w.commit(t.Context(), p)
	require.Error(t, err)
	require.Equal(t, before, dump(t, s))
	_, err = s.Put(t.Context(), c.object, PutOptions{})
	if c.want == "" {
		require.NoError(t, err)
	} else {
		require.EqualError(t, err, c.want)
	}
	sound(t, s)
}

// wide is tiers with things to spare.
func wide(t *testing.T) *Store {
	s := tiers(t)
	put(t, s, network("blue", "spare", "10.6.0.0/24"))
	put(t, s, network("blue", "bare"))
	put(t, s, group("blue", "lone"))
	put(t, s, networkACL("blue", "acl", 80))
	return s
}

func TestTenancyNoticesWhatCameBetween(t *testing.T) {
	tor := leaf("leaf2", "10.255.0.2")
	tor.Spec.HardwareVTEP = &intent.HardwareVTEP{OVSDB: "tcp:192.0.2.1:6640"}
	one := func(name string) *intent.SecurityGroup {
		g := group("blue", name)
		g.Spec.ID = 77
		return g
	}
	for name, c := range map[string]between{
		"router, tenant gone":          {vrf("red", "x"), gone(intent.KindTenant, "", "red"), `Router red/x: metadata.tenant: names an unknown tenant "red"`},
		"router, network gone":         {vrf("blue", "r", "web", "spare"), gone(intent.KindNetwork, "blue", "spare"), `Router blue/r: spec.networks[1].network: names an unknown network "spare" of tenant blue`},
		"router, network grows":        {vrf("blue", "r", "web", "spare"), puts(network("blue", "spare", "10.6.0.0/24", "fd00::/64")), ""},
		"router, network it has grows": {vrf("blue", "r", "web@10.0.0.9", "db"), puts(network("blue", "db", "10.1.0.0/24", "fd00::/64")), ""},
		"router leaves, network grows": {vrf("blue", "r", "web"), puts(network("blue", "db", "10.1.0.0/24", "fd00::/64")), ""},
		"router, networks overlap":     {vrf("blue", "r", "web", "spare"), puts(network("blue", "spare", "10.0.0.0/16")), `Router blue/r: spec.networks[1].network: subnet 10.0.0.0/16 of spare overlaps 10.0.0.0/24 of web: a router can't tell them apart`},
		"router, network taken":        {vrf("blue", "q", "spare"), puts(vrf("blue", "p", "spare")), `Router blue/q: spec.networks[0].network: Network blue/spare is in use by Router blue/p`},
		"router, next hop moves":       {via(vrf("blue", "r", "web"), "192.0.2.0/24", "c"), puts(port("blue", "spare", "c")), `Router blue/r: spec.routes[0].nextHops[0].port: Port blue/c is on Network blue/spare, which is not on the router`},
		"router, next hop gone":        {via(vrf("blue", "r", "web"), "192.0.2.0/24", "c"), gone(intent.KindPort, "blue", "c"), `Router blue/r: spec.routes[0].nextHops[0].port: names an unknown port "c" of tenant blue`},
		"router, gateway taken":        {vrf("blue", "r", "web", "spare"), puts(port("blue", "spare", "z", "10.6.0.1")), `Router blue/r: spec.networks[1].gateways: 10.6.0.1 is in use by Port blue/z`},
		"network, comes on a router":   {network("blue", "spare", "10.1.0.0/16"), puts(vrf("blue", "r", "web", "spare@10.6.0.9")), `Network blue/spare: spec.subnets: don't fit Router blue/r, which the network is on: spec.networks[1].gateways[0]: 10.6.0.9 is outside the subnets [10.1.0.0/16] of Network blue/spare`},
		"bare network, on a router":    {network("blue", "bare", "10.0.0.0/16"), puts(vrf("blue", "r", "web", "bare")), `Network blue/bare: spec.subnets: don't fit Router blue/r, which the network is on: spec.networks[1].network: subnet 10.0.0.0/16 of bare overlaps 10.0.0.0/24 of web: a router can't tell them apart`},
		"network, its router changes":  {network("blue", "web", "10.0.0.0/24", "fd00::/64"), puts(vrf("blue", "r", "web@10.0.0.9", "db")), ""},
		"network, its router goes":     {network("blue", "web", "10.0.0.0/24", "fd00::/64"), gone(intent.KindRouter, "blue", "r"), ""},
		"network, another overlaps":    {network("blue", "web", "10.0.0.0/24", "10.8.0.0/16"), puts(network("blue", "db", "10.1.0.0/24", "10.8.1.0/24")), `Network blue/web: spec.subnets: don't fit Router blue/r, which the network is on: spec.networks[1].network: subnet 10.8.1.0/24 of db overlaps 10.8.0.0/16 of web: a router can't tell them apart`},
		"port moves, becomes next hop": {port("blue", "spare", "c"), puts(via(vrf("blue", "r", "web"), "192.0.2.0/24", "c")), `Port blue/c: spec.network: Network blue/spare is not on Router blue/r, whose routes send to the port: put it on the router, or take the port out of its routes`},
		"port moves, router lets go":   {port("blue", "web", "d"), puts(via(vrf("blue", "r", "db"), "192.0.2.0/24", "d")), `Port blue/d: spec.network: Network blue/web is not on Router blue/r, whose routes send to the port: put it on the router, or take the port out of its routes`},
		"port, gateway taken":          {port("blue", "spare", "z", "10.6.0.1"), puts(vrf("blue", "r", "spare")), `Port blue/z: spec.addresses[0]: 10.6.0.1 is in use by Router blue/r`},
		"port, group gone":             {in(port("blue", "web", "z"), "lone"), gone(intent.KindSecurityGroup, "blue", "lone"), `Port blue/z: spec.securityGroups[0]: names an unknown security group "lone" of tenant blue`},
		"port, node can't filter now":  {in(bound(port("blue", "web", "z"), "leaf2", "eth5"), "lone"), puts(tor), `Port blue/z: spec.binding.node: leaf2 is a hardware VTEP, which can't filter statefully: only vSwitches can; use a hypervisor, or leave spec.securityGroups out`},
		"node, port wants filters":     {tor, puts(in(bound(port("blue", "web", "z"), "leaf2", "eth5"), "lone")), `Node leaf2: spec: Port blue/z is bound here: leaf2 is a hardware VTEP, which can't filter statefully: only vSwitches can; use a hypervisor, or leave spec.securityGroups out`},
		"network, ACL gone":            {judgedBy(network("blue", "spare", "10.6.0.0/24"), "acl"), gone(intent.KindNetworkACL, "blue", "acl"), `Network blue/spare: spec.acls[0].acl: names an unknown network ACL "acl" of tenant blue`},
		"ACL, tenant gone":             {networkACL("red", "x"), gone(intent.KindTenant, "", "red"), `NetworkACL red/x: metadata.tenant: names an unknown tenant "red"`},
		"port, network gets ACLs":      {bound(port("blue", "spare", "z"), "evpn", "eth5"), puts(judgedBy(network("blue", "spare", "10.6.0.0/24"), "acl")), `Port blue/z: spec.binding.node: evpn is a BGP EVPN leaf, which can't judge by network ACLs, and Network blue/spare has some: only vSwitches and hardware VTEPs can; use one of these, or leave spec.acls of the network out`},
		"network, port comes to leaf":  {judgedBy(network("blue", "spare", "10.6.0.0/24"), "acl"), puts(bound(port("blue", "spare", "z"), "evpn", "eth5")), `Network blue/spare: spec.acls: Port blue/z is bound there: evpn is a BGP EVPN leaf, which can't judge by network ACLs, and Network blue/spare has some: only vSwitches and hardware VTEPs can; use one of these, or leave spec.acls of the network out`},
		"group, tenant gone":           {group("red", "x"), gone(intent.KindTenant, "", "red"), `SecurityGroup red/x: metadata.tenant: names an unknown tenant "red"`},
		"group, named group gone":      {group("blue", "x", "lone"), gone(intent.KindSecurityGroup, "blue", "lone"), `SecurityGroup blue/x: spec.rules[0].group: names an unknown security group "lone" of tenant blue`},
		"group, number taken":          {one("x"), puts(one("y")), `SecurityGroup blue/x: spec.id: 77 is in use by SecurityGroup blue/y`},
	} {
		t.Run(name, func(t *testing.T) { c.noticed(t, wide(t)) })
	}
}

func TestDeleteNoticesWhatCameBetween(t *testing.T) {
	for name, c := range map[string]struct {
		root    intent.Ref
		between intent.Object
	}{
		"tenant gets a network":      {ref(intent.KindTenant, "", "red"), network("red", "x")},
		"network gets a port":        {ref(intent.KindNetwork, "blue", "db"), port("blue", "db", "z")},
		"network of a tenant does":   {ref(intent.KindTenant, "", "blue"), port("blue", "db", "z")},
		"node gets a link":           {ref(intent.KindNode, "", "leaf2"), cable("l9", "leaf1", "eth4", "leaf2", "eth4")},
		"node gets a port":           {ref(intent.KindNode, "", "leaf2"), bound(port("blue", "db", "z"), "leaf2", "eth5")},
		"tenant gets a router":       {ref(intent.KindTenant, "", "red"), vrf("red", "x")},
		"tenant gets a group":        {ref(intent.KindTenant, "", "red"), group("red", "x")},
		"network gets a router":      {ref(intent.KindNetwork, "blue", "spare"), vrf("blue", "q", "spare")},
		"port becomes a next hop":    {ref(intent.KindPort, "blue", "c"), via(vrf("blue", "r", "web"), "192.0.2.0/24", "c")},
		"a router's network grows":   {ref(intent.KindRouter, "blue", "r"), network("blue", "web", "10.0.0.0/24", "fd00::/64")},
		"group gets a member":        {ref(intent.KindSecurityGroup, "blue", "lone"), in(port("blue", "web", "z"), "lone")},
		"group is named by a rule":   {ref(intent.KindSecurityGroup, "blue", "lone"), group("blue", "x", "lone")},
		"ACL is named":               {ref(intent.KindNetworkACL, "blue", "acl"), judgedBy(network("blue", "spare", "10.6.0.0/24"), "acl")},
		"tenant gets an ACL":         {ref(intent.KindTenant, "", "red"), networkACL("red", "x")},
		"a port moves away":          {ref(intent.KindNetwork, "blue", "web"), port("blue", "db", "b")},
		"the object itself is wrote": {ref(intent.KindNetwork, "blue", "db"), network("blue", "db", "10.1.0.0/23")},
	} {
		t.Run(name, func(t *testing.T) {
			s := wide(t)
			put(t, s, vrf("blue", "r", "web"))
			resp, err := s.client.Get(t.Context(), s.keys.object(c.root))
			require.NoError(t, err)
			d := &deletion{s: s, root: c.root, opt: DeleteOptions{Cascade: true}, rev: resp.Header.Revision, seen: map[intent.Ref]bool{}, open: map[intent.Ref]bool{}}
			root, err := d.victim(t.Context(), resp.Kvs[0])
			require.NoError(t, err)
			require.NoError(t, d.collect(t.Context(), root))
			put(t, s, c.between)
			before := dump(t, s)
			require.ErrorIs(t, d.commit(t.Context(), root), errRaced)
			require.Equal(t, before, dump(t, s))
			if _, err = s.Delete(t.Context(), c.root, DeleteOptions{Cascade: true}); err != nil {
				require.ErrorIs(t, err, ErrInUse)
			}
			sound(t, s)
		})
	}
}
