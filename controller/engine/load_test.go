package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Leaves are asked for tunnels, spines not; capacities are the links' own or their
// ports'; what left by an uplink is in the matrix by node and tenant; a switch that
// leaves the intent leaves the load.
func TestLoadOfTheFabric(t *testing.T) {
	e, pass := wiredEngine(t)
	e.loads.now = func() time.Time { return e.wiring.now() }
	for i, leaf := range []string{"leaf1", "leaf2"} {
		e.put(&intent.Node{Metadata: intent.Metadata{Name: leaf}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, VTEP: netip.AddrFrom4([4]byte{10, 254, 0, byte(i + 1)}), Colours: []netip.Addr{netip.AddrFrom4([4]byte{10, 128, byte(i), 0})}}})
	}
	e.put(&intent.Tenant{Metadata: intent.Metadata{Name: "blue"}})
	e.put(&intent.Network{Metadata: intent.Metadata{Tenant: "blue", Name: "web"}, Spec: intent.NetworkSpec{VNI: 100}})
	stated := cable("leaf2", "eth1", "spine1", "eth2")
	stated.Spec.Capacity = "20M"
	e.put(stated)

	_, ok := e.TakeLoad("nobody", switchstate.Load{})
	require.False(t, ok)
	a, ok := e.TakeLoad("leaf1", switchstate.Load{})
	require.True(t, ok)
	require.True(t, a.Full && a.Tunnels)
	require.Equal(t, time.Second, a.Every)
	report := func(bytes uint64) {
		ports := []switchstate.PortLoad{{Name: "eth1", TxBytes: bytes, RxBytes: bytes, Speed: 10}}
		tunnel := switchstate.Tunnelled{Port: "eth1", From: netip.MustParseAddr("10.254.0.1"), To: netip.MustParseAddr("10.254.0.2"), VNI: 100, Bytes: bytes}
		coloured := tunnel
		coloured.To, coloured.Bytes = netip.MustParseAddr("10.128.1.0"), bytes/2
		for _, leaf := range []string{"leaf1", "leaf2"} {
			e.TakeLoad(leaf, switchstate.Load{Full: true, Counts: true, Ports: ports, Tunnels: []switchstate.Tunnelled{tunnel, coloured}[:map[string]int{"leaf1": 2}[leaf]]})
		}
		a, _ := e.TakeLoad("spine1", switchstate.Load{Full: true})
		require.False(t, a.Tunnels || a.Full)
	}
	for s := range uint64(6) {
		report(5e9 + s*1e6)
		pass(time.Second)
	}
	l := e.Load(4 * time.Second)
	require.Len(t, l.Links, 4)
	require.InEpsilon(t, 0.8, l.Links[0].Utilisation, 0.01, "of what its port reports")
	require.InEpsilon(t, 0.4, l.Links[2].Utilisation, 0.01, "of what the link states")
	require.Equal(t, "leaf2", l.Links[2].From.Node)
	require.InDelta(t, 1, l.Shares[0].Part, 1e-6)
	require.Len(t, l.Imbalances, 2)
	m := e.Matrix(4 * time.Second)
	require.Len(t, m.Cells, 1)
	require.Equal(t, demand.Key{From: "leaf1", To: "leaf2", Tenant: "blue"}, m.Cells[0].Key)
	require.InEpsilon(t, 12e6, m.Cells[0].Rate, 0.01, "to both addresses of the VTEP")
	require.Zero(t, m.Unknown)
	require.Empty(t, m.Missing)
	_, ok = e.LoadHistory("leaf1", "eth1", time.Second)
	require.True(t, ok)

	e.delete(intent.Ref{Kind: intent.KindNode, Name: "leaf1"})
	_, ok = e.LoadHistory("leaf1", "eth1", time.Second)
	require.False(t, ok)
	pass(time.Minute)
	require.Contains(t, e.Matrix(time.Second).Missing, "leaf2")
}

func TestCapacityOfALink(t *testing.T) {
	for c, want := range map[intent.BitRate]string{"": "", "20M": "", "fast": `spec.capacity: "fast" is not a rate`, "0": "spec.capacity: is zero"} {
		l := cable("leaf1", "eth1", "spine1", "eth1")
		l.Metadata.Name = "l"
		if l.Spec.Capacity = c; want == "" {
			require.NoError(t, l.Validate())
		} else {
			require.ErrorContains(t, l.Validate(), want)
		}
	}
}
