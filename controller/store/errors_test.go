package store

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func ref(k intent.Kind, tenant, name string) intent.Ref {
	return intent.Ref{Kind: k, Tenant: tenant, Name: name}
}

// bed is a store with two tenants, two leaves, a link and three ports.
func bed(t *testing.T) *Store {
	s := open(t, 1)[0]
	put(t, s, tenant("blue"))
	put(t, s, tenant("red"))
	put(t, s, leaf("leaf1", "10.255.0.1"))
	put(t, s, leaf("leaf2", "10.255.0.2"))
	put(t, s, cable("l1", "leaf1", "eth1", "leaf2", "eth1"))
	put(t, s, network("blue", "web", "10.0.0.0/24"))
	put(t, s, network("blue", "db", "10.1.0.0/24"))
	a := bound(port("blue", "web", "a", "10.0.0.200"), "leaf1", "eth9")
	a.Spec.MAC = intent.MAC{2, 0, 0, 0, 0, 1}
	put(t, s, a)
	b := port("blue", "web", "b", "10.0.0.10")
	b.Spec.Binding.IfaceID = "vm-b"
	put(t, s, b)
	put(t, s, port("blue", "web", "c", "10.0.0.201"))
	return s
}

func TestPutErrors(t *testing.T) {
	s := bed(t)
	withVNI := network("red", "x")
	withVNI.Spec.VNI = 10000
	badVNI := network("red", "x")
	badVNI.Spec.VNI = 1 << 24
	sameMAC := port("blue", "web", "z")
	sameMAC.Spec.MAC = intent.MAC{2, 0, 0, 0, 0, 1}
	sameIface := port("blue", "web", "z")
	sameIface.Spec.Binding.IfaceID = "vm-b"
	many := port("blue", "web", "z")
	for a := netip.MustParseAddr("10.0.0.20"); len(many.Spec.Addresses) <= maxAddresses; a = a.Next() {
		many.Spec.Addresses = append(many.Spec.Addresses, a)
	}
	before := dump(t, s)
	for want, o := range map[string]intent.Object{
		`Network green/x: metadata.tenant: names an unknown tenant "green"`:                                                                                                    network("green", "x"),
		`Network red/x: spec.vni: 10000 is in use by Network blue/web`:                                                                                                         withVNI,
		`Network red/x: spec.vni: 16777216 is outside 1..16777215`:                                                                                                             badVNI,
		`Network blue/web: spec.subnets: leave out addresses in use: 10.0.0.200 of Port blue/a, 10.0.0.201 of Port blue/c; change these ports first`:                           network("blue", "web", "10.0.0.0/25"),
		`Network blue/web: spec.subnets: leave out addresses in use: 10.0.0.10 of Port blue/b, 10.0.0.200 of Port blue/a, 10.0.0.201 of Port blue/c; change these ports first`: network("blue", "web"),
		`Port red/z: spec.network: names an unknown network "web" of tenant red`:                                                                                               port("red", "web", "z"),
		`Port blue/z: spec.binding.node: names an unknown node "leaf7"`:                                                                                                        bound(port("blue", "web", "z"), "leaf7", "eth1"),
		`Port blue/z: spec.addresses[0]: 10.9.0.1 is outside the subnets [10.0.0.0/24] of Network blue/web`:                                                                    port("blue", "web", "z", "10.9.0.1"),
		`Port blue/z: spec.addresses: has 49 addresses: a port may have 48`:                                                                                                    many,
		`Port blue/z: spec.addresses[0]: 10.0.0.10 is in use by Port blue/b`:                                                                                                   port("blue", "web", "z", "10.0.0.10"),
		`Port blue/z: spec.mac: 02:00:00:00:00:01 is in use by Port blue/a`:                                                                                                    sameMAC,
		`Port blue/z: spec.binding.interface: leaf1:eth9 is in use by Port blue/a`:                                                                                             bound(port("blue", "web", "z"), "leaf1", "eth9"),
		`Port blue/z: spec.binding.ifaceID: vm-b is in use by Port blue/b`:                                                                                                     sameIface,
		`Node leaf3: spec.colours[1]: 10.255.0.2 is in use by Node leaf2`:                                                                                                      coloured(leaf("leaf3", "10.255.0.3"), "10.128.0.1", "10.255.0.2"),
		`Node leaf3: spec.vtep: 10.255.0.2 is in use by Node leaf2`:                                                                                                            leaf("leaf3", "10.255.0.2"),
		`Link l2: spec.endpoints[1].node: names an unknown node "leaf8"`:                                                                                                       cable("l2", "leaf1", "eth2", "leaf8", "eth1"),
		`Link l2: spec.endpoints[0].interface: leaf1:eth1 is in use by Link l1`:                                                                                                cable("l2", "leaf1", "eth1", "leaf2", "eth2"),
	} {
		for _, dry := range []bool{true, false} {
			_, err := s.Put(t.Context(), o, PutOptions{DryRun: dry})
			require.EqualError(t, err, want)
			var fe intent.FieldErrors
			require.True(t, errors.As(err, &fe) || errors.Is(err, ErrConflict), "%T", err)
		}
	}
	require.Equal(t, before, dump(t, s), "a refused Put writes nothing")
}

func TestIfMatch(t *testing.T) {
	s := bed(t)
	o, err := s.Get(t.Context(), ref(intent.KindTenant, "", "blue"))
	require.NoError(t, err)
	rev := o.Meta().Revision
	changed := tenant("blue")
	changed.Spec.Description = "sky"
	_, err = s.Put(t.Context(), changed, PutOptions{IfMatch: rev + 1})
	require.ErrorIs(t, err, ErrRevision)
	require.Regexp(t, `^Tenant blue is at revision \d+, not \d+: read it again$`, err.Error())
	_, err = s.Put(t.Context(), tenant("green"), PutOptions{IfMatch: 7})
	require.EqualError(t, err, "Tenant green does not exist; revision 7 was expected")
	_, err = s.Put(t.Context(), changed, PutOptions{IfAbsent: true})
	require.Regexp(t, `^Tenant blue exists already, at revision \d+$`, err.Error())
	_, err = s.Delete(t.Context(), ref(intent.KindLink, "", "l1"), DeleteOptions{IfMatch: 1})
	require.ErrorIs(t, err, ErrRevision)
	r, err := s.Put(t.Context(), changed, PutOptions{IfMatch: rev})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), tenant("blue"), PutOptions{IfMatch: rev})
	require.ErrorIs(t, err, ErrRevision)
	_, err = s.Put(t.Context(), tenant("blue"), PutOptions{IfMatch: r.Object.Meta().Revision})
	require.NoError(t, err)
}

func TestDeleteErrorsAndCascade(t *testing.T) {
	s := bed(t)
	for r, want := range map[intent.Ref]string{
		ref(intent.KindTenant, "", "green"):    "Tenant green does not exist",
		ref(intent.KindPort, "red", "a"):       "Port red/a does not exist",
		ref(intent.KindTenant, "", "blue"):     "Tenant blue is in use by Network blue/db, Network blue/web: delete these first, or delete with cascade",
		ref(intent.KindNetwork, "blue", "web"): "Network blue/web is in use by Port blue/a, Port blue/b, Port blue/c: delete these first, or delete with cascade",
		ref(intent.KindNode, "", "leaf1"):      "Node leaf1 is in use by Link l1, Port blue/a: delete these first, or delete with cascade",
	} {
		_, err := s.Delete(t.Context(), r, DeleteOptions{})
		require.EqualError(t, err, want)
	}
	put(t, s, port("blue", "web", "d"))
	_, err := s.Delete(t.Context(), ref(intent.KindNetwork, "blue", "web"), DeleteOptions{})
	require.ErrorIs(t, err, ErrInUse)
	require.EqualError(t, err, "Network blue/web is in use by Port blue/a, Port blue/b, Port blue/c and 1 more: delete these first, or delete with cascade")

	before := dump(t, s)
	dry, err := s.Delete(t.Context(), ref(intent.KindTenant, "", "blue"), DeleteOptions{Cascade: true, DryRun: true})
	require.NoError(t, err)
	require.Equal(t, before, dump(t, s), "a dry run writes nothing")
	res, err := s.Delete(t.Context(), ref(intent.KindTenant, "", "blue"), DeleteOptions{Cascade: true})
	require.NoError(t, err)
	require.Len(t, res.Deleted, 7)
	require.Equal(t, dry.Deleted, res.Deleted)
	require.Equal(t, ref(intent.KindTenant, "", "blue"), res.Deleted[6])
	for _, n := range []string{"leaf1", "leaf2"} {
		_, err = s.Delete(t.Context(), ref(intent.KindNode, "", n), DeleteOptions{Cascade: true})
		require.NoError(t, err)
	}
	require.Len(t, sound(t, s), 1)
	_, err = s.Delete(t.Context(), ref(intent.KindTenant, "", "red"), DeleteOptions{})
	require.NoError(t, err)
	require.Empty(t, dump(t, s))
}

func TestDryRunWritesNothing(t *testing.T) {
	s := bed(t)
	before := dump(t, s)
	rev, err := s.Revision(t.Context())
	require.NoError(t, err)
	dry, err := s.Put(t.Context(), port("blue", "web", "z"), PutOptions{DryRun: true})
	require.NoError(t, err)
	require.True(t, dry.Created && dry.Changed)
	require.Equal(t, before, dump(t, s))
	require.Equal(t, dry.Object.(*intent.Port).Spec.Addresses, put(t, s, port("blue", "web", "z")).Spec.Addresses)
	now, err := s.Revision(t.Context())
	require.NoError(t, err)
	require.Equal(t, rev+1, now)
}

func TestMoveAndSwap(t *testing.T) {
	s := bed(t)
	moved := put(t, s, bound(port("blue", "db", "a"), "leaf2", "Ethernet1/1"))
	require.Equal(t, intent.MAC{2, 0, 0, 0, 0, 1}, moved.Spec.MAC, "a port takes its MAC along")
	require.Equal(t, "10.1.0.2", moved.Spec.Addresses[0].String())
	sound(t, s)
	// What it left is free, for another port and on another network.
	other := bound(port("blue", "web", "z", "10.0.0.200"), "leaf1", "eth9")
	other.Spec.MAC = intent.MAC{2, 0, 0, 0, 0, 1}
	put(t, s, other)
	// Back again: the MAC is taken now, so it gets another.
	back := put(t, s, port("blue", "web", "a"))
	require.NotEqual(t, intent.MAC{2, 0, 0, 0, 0, 1}, back.Spec.MAC)
	n := network("blue", "web", "10.0.0.0/24")
	n.Spec.VNI = 77
	put(t, s, n)
	x := network("red", "x")
	x.Spec.VNI = 10000
	put(t, s, x)
	require.Equal(t, intent.VNI(77), put(t, s, network("blue", "web", "10.0.0.0/23")).Spec.VNI, "kept")
	sound(t, s)
}

func TestExhausted(t *testing.T) {
	s := open(t, 1)[0]
	s.cfg.FirstVNI, s.cfg.LastVNI = 5, 6
	put(t, s, tenant("t"))
	put(t, s, network("t", "a", "10.0.0.0/29"))
	put(t, s, network("t", "b"))
	_, err := s.Put(t.Context(), network("t", "c"), PutOptions{})
	require.EqualError(t, err, "Network t/c: spec.vni: no VNI is free in 5..6, from which they are allocated: give one, or widen the range")
	for _, p := range []string{"1", "2", "3", "4", "5"} {
		put(t, s, port("t", "a", p))
	}
	_, err = s.Put(t.Context(), port("t", "a", "6"), PutOptions{})
	require.EqualError(t, err, "Port t/6: spec.addresses: no address is free in 10.0.0.0/29 of Network t/a: delete a port, or add a larger subnet")
	var ex *ExhaustedError
	var fe intent.FieldErrors
	require.True(t, errors.As(err, &ex) && errors.As(err, &fe) && errors.Is(err, ErrExhausted))
	require.Equal(t, "spec.addresses", fe[0].Field)
	_, err = s.Delete(t.Context(), ref(intent.KindPort, "t", "3"), DeleteOptions{})
	require.NoError(t, err)
	require.Equal(t, "10.0.0.4", put(t, s, port("t", "a", "6")).Spec.Addresses[0].String())
	sound(t, s)
}

// coloured gives a node further addresses of its VTEP.
func coloured(n *intent.Node, colours ...string) *intent.Node {
	for _, c := range colours {
		n.Spec.Colours = append(n.Spec.Colours, netip.MustParseAddr(c))
	}
	return n
}
