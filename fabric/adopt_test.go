package fabric

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// runningAs are the switches of planned facts as their agents would describe them.
func runningAs(f *Facts) map[string]Running {
	out := map[string]Running{}
	for _, n := range f.Nodes {
		if !n.Role.Switch() {
			continue
		}
		r := Running{Serial: "SN-" + n.Name, Management: "eth0", ASN: n.ASN, RouterID: n.Loopback, Addresses: []RunningAddress{{"eth0", netip.MustParsePrefix("172.20.20.9/24")}}}
		r.Addresses = append(r.Addresses, RunningAddress{"lo", netip.PrefixFrom(n.Loopback, 32)})
		if n.VTEP.IsValid() && n.VTEP != n.Loopback {
			r.Addresses = append(r.Addresses, RunningAddress{"lo", netip.PrefixFrom(n.VTEP, 32)})
		}
		for _, c := range n.Colours {
			r.Addresses = append(r.Addresses, RunningAddress{"lo", netip.PrefixFrom(c, 32)})
		}
		if n.Loopback6.IsValid() {
			r.Addresses = append(r.Addresses, RunningAddress{"lo", netip.PrefixFrom(n.Loopback6, 128)})
		}
		if n.Rack.IsValid() {
			r.Addresses = append(r.Addresses, RunningAddress{"eth8", netip.PrefixFrom(n.Rack.Addr(), 31)}, RunningAddress{"eth9", netip.PrefixFrom(n.Rack.Addr().Next().Next(), 31)})
		}
		for _, l := range f.LinksOf(n.Name) {
			if l.A.Address.IsValid() {
				r.Addresses = append(r.Addresses, RunningAddress{l.A.Interface, l.A.Address})
			}
		}
		out[n.Name] = r
	}
	return out
}

// A fabric that runs as it was planned is written down as it was planned: nothing is
// renumbered by adopting it.
func TestAdoptKeepsNumbers(t *testing.T) {
	file, err := topology.Generate(topology.GenerateParams{Name: "x", Spines: 2, Leaves: 3, Superspines: 1})
	require.NoError(t, err)
	params, err := ParamsOf(file.Graph)
	require.NoError(t, err)
	params.Loopbacks6, params.P2P6 = netip.MustParsePrefix("fd00:255::/64"), netip.MustParsePrefix("fd00:1::/96")
	facts, err := Plan(file.Graph, params)
	require.NoError(t, err)
	var found []topology.Found
	for _, n := range file.Graph.Nodes {
		f := topology.Found{Name: n.Name}
		for _, l := range facts.LinksOf(n.Name) {
			f.Ports = append(f.Ports, topology.Seen{Interface: l.A.Interface, Up: true, MTU: l.MTU, Heard: []topology.End{{Node: l.B.Node, Interface: l.B.Interface}}})
		}
		found = append(found, f)
	}
	running := runningAs(facts)
	got := Adopt(topology.Discover(found), running)
	// How the fabric is to be planned only its operator knows.
	want := slices.DeleteFunc(Intent(facts), func(o intent.Object) bool { return o.Ref().Kind == intent.KindFabric })
	for _, o := range want {
		if n, ok := o.(*intent.Node); ok {
			n.Spec.Serial = "SN-" + n.Metadata.Name
		}
	}
	require.ElementsMatch(t, turned(want), turned(got))
	for _, o := range got {
		require.NoError(t, o.Validate())
	}

	// Boxes with one serial number, and one whose addresses tell nothing.
	twin := running["leaf1"]
	twin.Serial = "SN-leaf2"
	twin.Addresses = append(twin.Addresses, RunningAddress{"lo", netip.MustParsePrefix("192.0.2.1/32")}, RunningAddress{"lo", netip.MustParsePrefix("192.0.2.2/32")}, RunningAddress{"eth1", netip.MustParsePrefix("192.0.2.8/31")}, RunningAddress{"eth7", netip.MustParsePrefix("192.0.3.8/31")})
	running["leaf1"] = twin
	for _, o := range Adopt(topology.Discover(found), running) {
		switch o := o.(type) {
		case *intent.Node:
			if o.Metadata.Name == "leaf1" || o.Metadata.Name == "leaf2" {
				require.Empty(t, o.Spec.Serial, o.Metadata.Name)
			}
			if o.Metadata.Name == "leaf1" {
				require.Equal(t, twin.RouterID, o.Spec.Loopback)
				require.False(t, o.Spec.VTEP.IsValid(), "which of several it is nobody knows")
				require.False(t, o.Spec.Rack.IsValid(), "ports of two prefixes")
			}
		case *intent.Link:
			for _, e := range o.Spec.Endpoints {
				require.Equal(t, e.Node == "leaf1" && e.Interface == "eth1", !e.Address.IsValid(), e)
			}
		}
	}
}

// turned gives links their ends in one order.
func turned(os []intent.Object) []intent.Object {
	for _, o := range os {
		if l, ok := o.(*intent.Link); ok && l.Spec.Endpoints[0].Node > l.Spec.Endpoints[1].Node {
			l.Spec.Endpoints[0], l.Spec.Endpoints[1] = l.Spec.Endpoints[1], l.Spec.Endpoints[0]
		}
	}
	return os
}

// What the intent has is not written down again.
func TestAdoptOnlyWhatIsNew(t *testing.T) {
	seen := func(iface, node, port string) topology.Seen {
		return topology.Seen{Interface: iface, Up: true, Heard: []topology.End{{Node: node, Interface: port}}}
	}
	got := Adopt(topology.Discover([]topology.Found{
		{Name: "spine1", Role: intent.RoleSpine, Ports: []topology.Seen{seen("eth1", "leaf1", "eth1"), seen("eth2", "leaf2", "eth1")}},
		{Name: "leaf1", Role: intent.RoleLeaf, Ports: []topology.Seen{seen("eth1", "spine1", "eth1")}},
		{Name: "leaf2", Ports: []topology.Seen{seen("eth1", "spine1", "eth2")}},
	}), nil)
	require.Len(t, got, 2)
	require.Equal(t, "Node leaf2", got[0].Ref().String())
	require.Equal(t, "Link leaf2:eth1-spine1:eth2", got[1].Ref().String())
}

// A switch's own addresses may be in the pool from which colours are usually taken.
func TestAdoptKeepsNumbersInThePoolOfColours(t *testing.T) {
	addr := netip.MustParseAddr
	for name, c := range map[string]struct {
		id             string
		lo             []string
		loopback, vtep string
		colours        []netip.Addr
	}{
		"the loopback is":             {"10.128.0.1", []string{"10.128.0.1", "10.254.0.1"}, "10.128.0.1", "10.254.0.1", nil},
		"the VTEP is":                 {"10.255.0.1", []string{"10.255.0.1", "10.128.1.1"}, "10.255.0.1", "10.128.1.1", nil},
		"both are":                    {"10.128.0.1", []string{"10.128.1.1", "10.128.0.1"}, "10.128.0.1", "10.128.1.1", nil},
		"the loopback and colours":    {"10.128.0.1", []string{"10.128.0.1", "10.254.0.1", "10.129.0.2", "10.129.0.1"}, "10.128.0.1", "10.254.0.1", []netip.Addr{addr("10.129.0.1"), addr("10.129.0.2")}},
		"which the VTEP is who knows": {"10.128.0.1", []string{"10.128.0.1", "10.128.1.1", "10.129.0.1"}, "10.128.0.1", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := Running{ASN: 65001, RouterID: addr(c.id)}
			for _, a := range c.lo {
				r.Addresses = append(r.Addresses, RunningAddress{"lo", netip.PrefixFrom(addr(a), 32)})
			}
			var vtep netip.Addr
			if c.vtep != "" {
				vtep = addr(c.vtep)
			}
			loopback, gotVTEP, colours := r.loopbacks(intent.RoleLeaf)
			require.Equal(t, addr(c.loopback), loopback)
			require.Equal(t, vtep, gotVTEP)
			require.Equal(t, c.colours, colours)
			loopback, gotVTEP, colours = r.loopbacks(intent.RoleSpine)
			require.Equal(t, addr(c.loopback), loopback)
			require.False(t, gotVTEP.IsValid())
			require.Empty(t, colours)
		})
	}
}
