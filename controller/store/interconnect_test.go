package store

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func TestInterconnectLines(t *testing.T) {
	s := bed(t)
	node := func(name string, r intent.Role) *intent.Node {
		return &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: r}}
	}
	put(t, s, node("leaf7", intent.RoleLeaf))
	put(t, s, node("spine7", intent.RoleSpine))
	put(t, s, &intent.Link{Metadata: intent.Metadata{Name: "l7"}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{{Node: "leaf7", Interface: "eth1"}, {Node: "spine7", Interface: "eth1"}}}})
	lined := func(name, node, iface string) *intent.Interconnect {
		c := interconnect(name, "192.0.2.1")
		c.Spec.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.254.64.0/18")}
		c.Spec.Lines = []intent.Line{{Name: "private", Node: node, Interface: iface, Address: netip.MustParsePrefix("198.51.100.0/31"), Peer: netip.MustParseAddr("198.51.100.1"), ASN: 4220100001}}
		return c
	}
	for want, o := range map[string]intent.Object{
		`Interconnect x: spec.lines[0].node: names an unknown node "leaf9"`:                              lined("x", "leaf9", "eth9"),
		`Interconnect x: spec.lines[0].node: spine7 is a spine: lines begin at leaves and border leaves`: lined("x", "spine7", "eth9"),
		`Interconnect x: spec.lines[0].interface: leaf7:eth1 is in use by Link l7`:                       lined("x", "leaf7", "eth1"),
	} {
		_, err := s.Put(t.Context(), o, PutOptions{})
		require.EqualError(t, err, want)
	}
	east := lined("east", "leaf7", "eth9")
	east.Spec.Lines = append(east.Spec.Lines, intent.Line{Name: "vpn", Node: "leaf7", Interface: "eth8", Address: netip.MustParsePrefix("198.51.100.2/31"), Peer: netip.MustParseAddr("198.51.100.3"), ASN: 4220100002})
	put(t, s, east)
	leaf := intent.Ref{Kind: intent.KindNode, Name: "leaf7"}
	for _, cascade := range []bool{false, true} {
		_, err := s.Delete(t.Context(), leaf, DeleteOptions{Cascade: cascade})
		require.ErrorIs(t, err, ErrInUse)
		require.ErrorContains(t, err, "Interconnect east")
	}
	put(t, s, interconnect("east", "192.0.2.1"))
	_, err := s.Delete(t.Context(), leaf, DeleteOptions{Cascade: true})
	require.NoError(t, err, "with its link")
	sound(t, s)
}

// interconnect is one with a peer, and the networks of blue with a target each.
func interconnect(name, peer string, networks ...string) *intent.Interconnect {
	c := &intent.Interconnect{Metadata: intent.Metadata{Name: name}, Spec: intent.InterconnectSpec{ASN: 64513, Peers: []intent.FabricPeer{{Address: netip.MustParseAddr(peer)}}}}
	for i, n := range networks {
		c.Spec.Networks = append(c.Spec.Networks, intent.StretchedNetwork{Tenant: "blue", Network: n, RouteTarget: "65500:" + string(rune('1'+i))})
	}
	return c
}

func TestInterconnects(t *testing.T) {
	s := bed(t)
	put(t, s, network("blue", "far", "10.7.0.0/24"))
	geneve := network("blue", "g", "10.6.0.0/24")
	geneve.Spec.Encapsulation.Type = intent.Geneve
	put(t, s, geneve)
	put(t, s, interconnect("east", "192.0.2.1", "web", "far"))
	put(t, s, interconnect("north", "192.0.2.2", "web"))
	before := dump(t, s)
	turned := network("blue", "far", "10.7.0.0/24")
	turned.Spec.Encapsulation.Type = intent.NVGRE
	for want, o := range map[string]intent.Object{
		`Interconnect x: spec.networks[1].network: names an unknown network "nope" of tenant blue`:                                                                            interconnect("x", "192.0.2.3", "web", "nope"),
		`Interconnect x: spec.networks[0].network: Network blue/g is carried by geneve: only VXLAN on port 4789 is understood by another fabric`:                              interconnect("x", "192.0.2.3", "g"),
		`Interconnect x: spec.peers[0].address: 192.0.2.1 is in use by Interconnect east`:                                                                                     interconnect("x", "192.0.2.1"),
		`Network blue/far: spec.encapsulation: Interconnect east stretches the network to another fabric, which understands only VXLAN on port 4789: take it out there first`: turned,
	} {
		_, err := s.Put(t.Context(), o, PutOptions{})
		require.EqualError(t, err, want)
	}
	require.Equal(t, before, dump(t, s), "a refused Put writes nothing")

	far := intent.Ref{Kind: intent.KindNetwork, Tenant: "blue", Name: "far"}
	for _, cascade := range []bool{false, true} {
		_, err := s.Delete(t.Context(), far, DeleteOptions{Cascade: cascade})
		require.EqualError(t, err, "Network blue/far is in use by Interconnect east: take it out of these first")
	}
	_, err := s.Delete(t.Context(), intent.Ref{Kind: intent.KindTenant, Name: "blue"}, DeleteOptions{Cascade: true})
	require.ErrorIs(t, err, ErrInUse)
	put(t, s, interconnect("east", "192.0.2.3", "web"))
	_, err = s.Delete(t.Context(), far, DeleteOptions{})
	require.NoError(t, err)
	put(t, s, interconnect("x", "192.0.2.1"))
	for _, n := range []string{"east", "north", "x"} {
		_, err := s.Delete(t.Context(), intent.Ref{Kind: intent.KindInterconnect, Name: n}, DeleteOptions{})
		require.NoError(t, err)
	}
	_, err = s.Delete(t.Context(), intent.Ref{Kind: intent.KindTenant, Name: "blue"}, DeleteOptions{Cascade: true})
	require.NoError(t, err)
	sound(t, s)
}
