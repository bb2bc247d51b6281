package store

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// networkACL allows TCP ports to be reached.
func networkACL(tenant, name string, ports ...uint16) *intent.NetworkACL {
	a := &intent.NetworkACL{Metadata: intent.Metadata{Name: name, Tenant: tenant}}
	for _, p := range ports {
		a.Spec.Rules = append(a.Spec.Rules, intent.ACLRule{Action: intent.Allow, Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: p, Last: p}})
	}
	return a
}

// judgedBy gives a network ACLs: the first is for all, the next for its subnets.
func judgedBy(n *intent.Network, acls ...string) *intent.Network {
	for i, a := range acls {
		s := intent.SubnetACL{ACL: a}
		if i > 0 {
			s.Subnet = n.Spec.Subnets[i-1]
		}
		n.Spec.ACLs = append(n.Spec.ACLs, s)
	}
	return n
}

func TestNetworkACLs(t *testing.T) {
	s := tiers(t)
	acl := ref(intent.KindNetworkACL, "blue", "edge")
	refused := func(o intent.Object, want string) {
		t.Helper()
		before := dump(t, s)
		_, err := s.Put(t.Context(), o, PutOptions{})
		require.EqualError(t, err, want)
		require.Equal(t, before, dump(t, s))
	}
	refused(networkACL("green", "edge"), `NetworkACL green/edge: metadata.tenant: names an unknown tenant "green"`)
	refused(judgedBy(network("blue", "web", "10.0.0.0/24"), "edge", "db"),
		`Network blue/web: spec.acls[0].acl: names an unknown network ACL "edge" of tenant blue; Network blue/web: spec.acls[1].acl: names an unknown network ACL "db" of tenant blue`)
	put(t, s, networkACL("blue", "edge", 80))
	put(t, s, networkACL("red", "db", 80))
	refused(judgedBy(network("blue", "web", "10.0.0.0/24"), "edge", "db"), `Network blue/web: spec.acls[1].acl: names an unknown network ACL "db" of tenant blue`)
	put(t, s, judgedBy(network("blue", "web", "10.0.0.0/24"), "edge", "edge"))
	put(t, s, judgedBy(network("blue", "more", "10.7.0.0/24"), "edge"))
	sound(t, s)
	put(t, s, networkACL("blue", "edge", 81)) // its rules may change while it is in use

	for _, cascade := range []bool{false, true} {
		_, err := s.Delete(t.Context(), acl, DeleteOptions{Cascade: cascade})
		require.ErrorIs(t, err, ErrInUse)
		require.EqualError(t, err, "NetworkACL blue/edge is in use by Network blue/more, Network blue/web: take it out of these first")
	}
	put(t, s, network("blue", "web", "10.0.0.0/24"))
	_, err := s.Delete(t.Context(), acl, DeleteOptions{})
	require.EqualError(t, err, "NetworkACL blue/edge is in use by Network blue/more: take it out of these first")
	_, err = s.Delete(t.Context(), ref(intent.KindNetwork, "blue", "more"), DeleteOptions{})
	require.NoError(t, err)
	_, err = s.Delete(t.Context(), acl, DeleteOptions{})
	require.NoError(t, err)
	sound(t, s)
}

// What one request has is written in its order of kinds: an ACL and who names it.
func TestPutAllOfNetworkACLs(t *testing.T) {
	s := open(t, 1)[0]
	noErrors(t, s.PutAll(t.Context(), []intent.Object{judgedBy(network("t", "n", "10.0.0.0/24"), "a"), networkACL("t", "a", 80), tenant("t")}, false))
	sound(t, s)
	_, err := s.Delete(t.Context(), ref(intent.KindTenant, "", "t"), DeleteOptions{})
	require.ErrorIs(t, err, ErrInUse)
	res, err := s.Delete(t.Context(), ref(intent.KindTenant, "", "t"), DeleteOptions{Cascade: true})
	require.NoError(t, err)
	require.Equal(t, []intent.Ref{ref(intent.KindNetwork, "t", "n"), ref(intent.KindNetworkACL, "t", "a"), ref(intent.KindTenant, "", "t")}, res.Deleted)
	sound(t, s)
}

// An EVPN leaf judges by no ACL: neither ports nor nodes come to where it would
// have to.
func TestLeavesJudgeByNoACL(t *testing.T) {
	s := tiers(t)
	put(t, s, networkACL("blue", "edge", 80))
	put(t, s, judgedBy(network("blue", "web", "10.0.0.0/24"), "edge"))
	const cannot = "is a BGP EVPN leaf, which can't judge by network ACLs, and Network blue/web has some: only vSwitches and hardware VTEPs can; use one of these, or leave spec.acls of the network out"
	refused := func(o intent.Object, want string) {
		t.Helper()
		before := dump(t, s)
		_, err := s.Put(t.Context(), o, PutOptions{})
		require.EqualError(t, err, want)
		require.Equal(t, before, dump(t, s))
	}
	refused(bound(port("blue", "web", "z"), "evpn", "eth1"), "Port blue/z: spec.binding.node: evpn "+cannot)
	put(t, s, bound(port("blue", "web", "z"), "tor", "eth1"))
	tor := leaf("tor", "10.255.0.7")
	tor.Spec.EVPN, tor.Spec.ASN, tor.Spec.Loopback = &intent.EVPN{}, 65001, netip.MustParseAddr("10.255.0.7")
	refused(tor, "Node tor: spec: Port blue/z is bound here: tor "+cannot)
	put(t, s, bound(port("blue", "db", "y"), "evpn", "eth1"))
	refused(judgedBy(network("blue", "db", "10.1.0.0/24"), "edge"),
		"Network blue/db: spec.acls: Port blue/y is bound there: evpn is a BGP EVPN leaf, which can't judge by network ACLs, and Network blue/db has some: only vSwitches and hardware VTEPs can; use one of these, or leave spec.acls of the network out")
	sound(t, s)
}
