package fabric_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/topology"
)

// colourful is a fabric with hypervisors and hardware VTEPs behind leaves, and a
// border leaf.
func colourful() *topology.Graph {
	return graph("leaf1:eth1 spine1:eth1", "leaf1:eth2 spine2:eth1", "leaf2:eth1 spine1:eth2", "leaf2:eth2 spine2:eth2",
		"border1:eth1 spine1:eth3", "border1:eth2 spine2:eth3",
		"hypervisor1:eth1 leaf1:eth3", "hypervisor2:eth1 leaf1:eth4", "hypervisor2:eth2 leaf2:eth3", "hypervisor3:eth1 leaf2:eth4")
}

func coloursOf(t *testing.T, f *fabric.Facts, node string) string {
	n, ok := f.Node(node)
	require.True(t, ok)
	var words []string
	for _, a := range n.Colours {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

// Each leaf has one prefix of all colours; what is behind it has its own host number in
// each colour, the leaf the first one that is free.
func TestColours(t *testing.T) {
	f, err := fabric.Plan(colourful(), fabric.Params{Colours: 3})
	require.NoError(t, err)
	for node, want := range map[string]string{
		"leaf1": "10.128.0.0 10.128.1.0 10.128.2.0", "hypervisor1": "10.128.0.1 10.128.1.1 10.128.2.1", "hypervisor2": "10.128.0.3 10.128.1.3 10.128.2.3",
		"leaf2": "10.128.4.0 10.128.5.0 10.128.6.0", "hypervisor3": "10.128.4.3 10.128.5.3 10.128.6.3",
		"border1": "10.160.0.0 10.160.1.0 10.160.2.0", "spine1": "",
	} {
		require.Equal(t, want, coloursOf(t, f, node), node)
	}
	s, err := fabric.Device(f, "leaf1")
	require.NoError(t, err)
	require.Equal(t, "10.255.0.1/32 10.254.0.1/32 10.128.0.0/32 10.128.1.0/32 10.128.2.0/32", strings.Trim(fmt.Sprint(s.Loopbacks), "[]"))
	require.Equal(t, "[{10.64.0.0/24 invalid IP} {10.128.0.0/22 invalid IP} {10.128.0.1/32 10.64.0.1} {10.128.1.1/32 10.64.0.1} {10.128.2.1/32 10.64.0.1} {10.128.0.3/32 10.64.0.3} {10.128.1.3/32 10.64.0.3} {10.128.2.3/32 10.64.0.3}]", fmt.Sprint(s.Statics))
	require.Equal(t, "[10.255.0.1/32 10.254.0.1/32 10.64.0.0/24 10.128.0.0/22]", fmt.Sprint(s.BGP.Networks))
	spine, err := fabric.Device(f, "spine1")
	require.NoError(t, err)
	require.Contains(t, spine.BGP.Filters[0].Permit, device.Match{Prefix: prefix("10.128.0.0/10"), MinLength: 22, MaxLength: 22})
	require.Empty(t, spine.Statics)
}

// A hardware VTEP is given none, and nothing leads to those that it states: it takes in
// what is sent to its tunnel_ips alone. All others have what they would have beside a
// hypervisor.
func TestNoColoursAtHardwareVTEPs(t *testing.T) {
	g := colourful()
	i := slices.IndexFunc(g.Nodes, func(n topology.Node) bool { return n.Name == "hypervisor1" })
	g.Nodes[i].Role = intent.RoleVTEP
	f, err := fabric.Plan(g, fabric.Params{Colours: 3})
	require.NoError(t, err)
	for node, want := range map[string]string{
		"leaf1": "10.128.0.0 10.128.1.0 10.128.2.0", "hypervisor1": "", "hypervisor2": "10.128.0.3 10.128.1.3 10.128.2.3", "hypervisor3": "10.128.4.3 10.128.5.3 10.128.6.3",
	} {
		require.Equal(t, want, coloursOf(t, f, node), node)
	}
	leads := func(f *fabric.Facts) []device.Static {
		s, err := fabric.Device(f, "leaf1")
		require.NoError(t, err)
		return slices.DeleteFunc(s.Statics, func(s device.Static) bool { return !s.Via.IsValid() })
	}
	require.Len(t, leads(f), 3, "to the other's")

	f, err = fabric.Plan(colourful(), fabric.Params{Colours: 3})
	require.NoError(t, err)
	require.Len(t, leads(f), 6)
	spec, nodes, links := objects(f)
	i = slices.IndexFunc(nodes, func(n *intent.Node) bool { return n.Metadata.Name == "hypervisor1" })
	require.NotEmpty(t, nodes[i].Spec.Colours)
	nodes[i].Spec.HardwareVTEP = &intent.HardwareVTEP{OVSDB: "tcp:192.0.2.1:6640", Switch: "tor"}
	f, err = fabric.PlanIntent(spec, nodes, links)
	require.NoError(t, err)
	require.Empty(t, coloursOf(t, f, "hypervisor1"))
	require.NotEmpty(t, coloursOf(t, f, "hypervisor2"))
	require.Len(t, leads(f), 3)
	_, f = fabric.Stated(nodes, links)
	require.Empty(t, coloursOf(t, f, "hypervisor1"))
	require.NotEmpty(t, coloursOf(t, f, "hypervisor2"))
}

// A fabric that asks for no colours has none: also one of before there were any.
func TestNoColours(t *testing.T) {
	for _, p := range []fabric.Params{{}, fabric.ParamsFor(intent.FabricSpec{})} {
		f, err := fabric.Plan(colourful(), p)
		require.NoError(t, err)
		for _, n := range f.Nodes {
			require.Empty(t, n.Colours)
			require.False(t, n.ColourRacks.IsValid())
		}
		s, err := fabric.Device(f, "leaf1")
		require.NoError(t, err)
		require.Len(t, s.Statics, 1)
		require.Len(t, s.BGP.Filters[0].Permit, 3)
	}
	isis, err := fabric.ParseUnderlay("isis")
	require.NoError(t, err)
	require.Zero(t, isis.Colours)
	bgp, err := fabric.ParseUnderlay("")
	require.NoError(t, err)
	require.Equal(t, fabric.DefaultColours, bgp.Colours)
}

func TestColoursRefused(t *testing.T) {
	for want, p := range map[string]fabric.Params{
		"9 colours are outside 0..8": {Colours: 9},
		"colours need BGP":           {Colours: 1, Protocol: fabric.ISIS},
		"has no room":                {Colours: 4, ColourPool: prefix("10.128.0.0/22")},
		"pool Colours (10.64.0.0/12) overlaps pool Racks (10.64.0.0/10)": {Colours: 4, ColourPool: prefix("10.64.0.0/12")},
		"leaf2: exhausted: no /22 is left in pool Colours":               {Colours: 4, ColourPool: prefix("10.128.0.0/21")},
	} {
		_, err := fabric.Plan(colourful(), p)
		require.ErrorContains(t, err, want)
	}
}

// What was registered stays when the fabric grows in front; who states nothing is given
// what is free, and those that somebody else configures nothing.
func TestColoursStay(t *testing.T) {
	f, err := fabric.Plan(colourful(), fabric.Params{Colours: 4})
	require.NoError(t, err)
	spec, nodes, links := objects(f)
	require.Equal(t, 4, spec.Colours)
	nodes = append(nodes, &intent.Node{Metadata: intent.Metadata{Name: "leaf0"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf}})
	for i, spine := range []string{"spine1", "spine2"} {
		links = append(links, &intent.Link{Metadata: intent.Metadata{Name: "new" + spine}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{
			{Node: "leaf0", Interface: fmt.Sprintf("eth%d", i+1)}, {Node: spine, Interface: "eth9"}}}})
	}
	grown, err := fabric.PlanIntent(spec, nodes, links)
	require.NoError(t, err)
	for _, n := range f.Nodes {
		require.Equal(t, coloursOf(t, f, n.Name), coloursOf(t, grown, n.Name), n.Name)
	}
	require.Equal(t, "10.128.8.0 10.128.9.0 10.128.10.0 10.128.11.0", coloursOf(t, grown, "leaf0"))

	for _, n := range nodes {
		n.Spec.Unmanaged = n.Metadata.Name == "leaf1"
	}
	foreign, err := fabric.PlanIntent(spec, nodes, links)
	require.NoError(t, err)
	require.Empty(t, coloursOf(t, foreign, "leaf1"))
	require.Empty(t, coloursOf(t, foreign, "hypervisor1"))
	require.NotEmpty(t, coloursOf(t, foreign, "hypervisor3"))

	i := slices.IndexFunc(nodes, func(n *intent.Node) bool { return n.Metadata.Name == "hypervisor3" })
	nodes[i].Spec.Colours = []netip.Addr{addr("10.128.4.9"), addr("10.128.5.9"), addr("10.128.6.9"), addr("10.128.4.10")}
	_, err = fabric.PlanIntent(spec, nodes, links)
	require.ErrorContains(t, err, "hypervisor3: spec.colours: of 4 colours the k-th address is in the k-th /24 of 10.128.4.0/22")
	nodes[i].Spec.Colours[3] = addr("10.128.7.9")
	own, err := fabric.PlanIntent(spec, nodes, links)
	require.NoError(t, err)
	require.Equal(t, "10.128.4.9 10.128.5.9 10.128.6.9 10.128.7.9", coloursOf(t, own, "hypervisor3"))
	spec.Colours = 8
	_, err = fabric.PlanIntent(spec, nodes, links)
	require.ErrorContains(t, err, "leave spec.colours out, here and at the leaf, to have them planned")
}

// Where the links of a rack are numbered the other way round, the leaf takes a number
// that none of those behind it has.
func TestColourOfALeafIsFree(t *testing.T) {
	f, err := fabric.Plan(colourful(), fabric.Params{Colours: 1})
	require.NoError(t, err)
	spec, nodes, links := objects(f)
	for _, n := range nodes {
		n.Spec.Colours = nil
	}
	for _, l := range links {
		e := l.Spec.Endpoints
		if strings.Contains(l.Metadata.Name, "hypervisor1") {
			e[0].Address, e[1].Address = e[1].Address, e[0].Address
		}
	}
	again, err := fabric.PlanIntent(spec, nodes, links)
	require.NoError(t, err)
	require.Equal(t, "10.128.0.0", coloursOf(t, again, "hypervisor1"))
	require.Equal(t, "10.128.0.1", coloursOf(t, again, "leaf1"))
}
