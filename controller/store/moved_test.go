package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func edges(t *testing.T, s *Store) {
	put(t, s, tenant("t"))
	put(t, s, network("t", "n", "10.0.0.0/24"))
	put(t, s, leaf("A", "10.9.0.1"))
	put(t, s, leaf("B", "10.9.0.2"))
	tor := leaf("tor", "10.9.0.3")
	tor.Spec.HardwareVTEP = &intent.HardwareVTEP{OVSDB: "tcp:127.0.0.1:6640"}
	put(t, s, tor)
	bgp := leaf("bgp", "10.9.0.4")
	bgp.Spec.EVPN, bgp.Spec.Loopback, bgp.Spec.ASN = &intent.EVPN{}, bgp.Spec.VTEP, 65001
	put(t, s, bgp)
}

func TestRequestedPlaceIsClaimed(t *testing.T) {
	s := open(t, 1)[0]
	edges(t, s)
	p := bound(port("t", "n", "p", "10.0.0.5"), "A", "e1")
	p.Spec.Requested = intent.Place{Node: "B", Interface: "e1"}
	p = put(t, s, p)
	_, err := s.Put(t.Context(), bound(port("t", "n", "q", "10.0.0.6"), "B", "e1"), PutOptions{})
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, "B:e1 is in use by Port t/p")
	_, err = s.Delete(t.Context(), intent.Ref{Kind: intent.KindNode, Name: "B"}, DeleteOptions{Cascade: true})
	require.ErrorContains(t, err, "is moving to")

	require.NoError(t, s.Moved(t.Context(), p.Ref(), intent.Place{Node: "A", Interface: "e9"}), "not what was requested")
	require.NoError(t, s.Moved(t.Context(), p.Ref(), intent.Place{Node: "B", Interface: "e1"}))
	require.NoError(t, s.Moved(t.Context(), p.Ref(), intent.Place{Node: "B", Interface: "e1"}), "once is enough")
	o, err := s.Get(t.Context(), p.Ref())
	require.NoError(t, err)
	now := o.(*intent.Port)
	require.Equal(t, intent.Binding{Node: "B", Interface: "e1"}, now.Spec.Binding)
	require.True(t, now.Spec.Requested.IsZero())
	put(t, s, bound(port("t", "n", "q", "10.0.0.6"), "A", "e1"))
	sound(t, s)
	require.NoError(t, s.Moved(t.Context(), intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: "none"}, intent.Place{Node: "B"}))
}

func TestMovedByIfaceID(t *testing.T) {
	s := open(t, 1)[0]
	edges(t, s)
	p := port("t", "n", "p", "10.0.0.5")
	p.Spec.Binding.IfaceID, p.Spec.Requested.Node = "vm", "B"
	p = put(t, s, p)
	require.NoError(t, s.Moved(t.Context(), p.Ref(), intent.Place{Node: "B", Interface: "tap1"}))
	o, err := s.Get(t.Context(), p.Ref())
	require.NoError(t, err)
	require.Equal(t, intent.Binding{IfaceID: "vm"}, o.(*intent.Port).Spec.Binding)
	require.True(t, o.(*intent.Port).Spec.Requested.IsZero())
}

func TestEdgesThatCannotCarryANetworkAreRefused(t *testing.T) {
	s := open(t, 1)[0]
	edges(t, s)
	g := network("t", "g", "10.1.0.0/24")
	g.Spec.Encapsulation.Type = intent.Geneve
	put(t, s, g)
	put(t, s, bound(port("t", "g", "ok", "10.1.0.2"), "A", "e1"))
	for node, words := range map[string]string{"tor": "tor is a hardware VTEP, which can't do geneve:6081", "bgp": "bgp is a BGP EVPN leaf, which can't do geneve:6081"} {
		_, err := s.Put(t.Context(), bound(port("t", "g", "no", "10.1.0.3"), node, "e1"), PutOptions{})
		var fields intent.FieldErrors
		require.ErrorAs(t, err, &fields)
		require.ErrorContains(t, err, words)
		p := bound(port("t", "g", "ok", "10.1.0.2"), "A", "e1")
		p.Spec.Requested = intent.Place{Node: node, Interface: "e1"}
		_, err = s.Put(t.Context(), p, PutOptions{})
		require.ErrorContains(t, err, "spec.requested.node: "+words)
	}
	put(t, s, bound(port("t", "n", "x", "10.0.0.9"), "tor", "e1"))
	n := network("t", "n", "10.0.0.0/24")
	n.Spec.Encapsulation = intent.Encapsulation{Type: intent.VXLAN, UDPPort: 8472}
	_, err := s.Put(t.Context(), n, PutOptions{})
	require.ErrorContains(t, err, "spec.encapsulation: Port t/x is bound there: tor is a hardware VTEP, which can't do vxlan:8472")
	a := leaf("A", "10.9.0.1")
	a.Spec.HardwareVTEP = &intent.HardwareVTEP{OVSDB: "tcp:127.0.0.1:6640"}
	_, err = s.Put(t.Context(), a, PutOptions{})
	require.ErrorContains(t, err, "Port t/ok is bound here: A is a hardware VTEP")
	sound(t, s)
}
