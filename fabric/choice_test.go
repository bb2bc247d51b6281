package fabric_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/topology"
)

func TestParseUnderlay(t *testing.T) {
	for words, want := range map[string]string{
		"": "bgp numbered bfd", "isis": "isis numbered bfd", "unnumbered BGP bfd": "bgp unnumbered bfd", "ipv6 no-bfd": "bgp numbered ipv6 no-bfd",
		" isis  ipv6 unnumbered ": "isis unnumbered ipv6 bfd", "bgp bgp ipv4": "bgp numbered bfd", "NO-BFD isis": "isis numbered no-bfd",
	} {
		p, err := fabric.ParseUnderlay(words)
		if err != nil || p.String() != want {
			t.Errorf("%q: %q, %v, want %q", words, p, err, want)
		}
		if _, err := fabric.Plan(clos{pods: 1, spines: 2, leaves: 2}.graph(), p); err != nil {
			t.Errorf("%q: %v", words, err)
		}
		again, err := fabric.ParseUnderlay(p.String())
		if err != nil || again.String() != want {
			t.Errorf("%q: its own words give %q, %v", words, again, err)
		}
	}
	for words, want := range map[string]string{
		"ospf": "\"ospf\" is not known", "bgp isis": "bgp and isis exclude each other", "numbered unnumbered": "numbered and unnumbered exclude each other",
		"bfd no-bfd": "bfd and no-bfd exclude each other",
	} {
		if _, err := fabric.ParseUnderlay(words); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", words, err)
		}
	}
}

func TestParamsOf(t *testing.T) {
	label := func(g *topology.Graph, node, words string) {
		for i := range g.Nodes {
			if g.Nodes[i].Name == node {
				g.Nodes[i].Labels = map[string]string{topology.LabelUnderlay: words}
			}
		}
	}
	g := clos{pods: 1, spines: 2, leaves: 2}.graph()
	if p, err := fabric.ParamsOf(g); err != nil || !reflect.DeepEqual(p, fabric.Params{BFD: true, Colours: fabric.DefaultColours}) {
		t.Errorf("without a label: %+v, %v", p, err)
	}
	label(g, "leaf2", "isis  bfd")
	label(g, "spine1", "isis bfd")
	if p, err := fabric.ParamsOf(g); err != nil || p.Protocol != fabric.ISIS || !p.BFD {
		t.Errorf("%+v, %v", p, err)
	}
	label(g, "spine2", "bgp")
	if _, err := fabric.ParamsOf(g); err == nil || !strings.Contains(err.Error(), `says "isis bfd"`) || !strings.Contains(err.Error(), `spine2 says "bgp"`) {
		t.Errorf("two choices: %v", err)
	}
	g = clos{pods: 1, spines: 2, leaves: 2}.graph()
	label(g, "leaf1", "rip")
	if _, err := fabric.ParamsOf(g); err == nil || !strings.Contains(err.Error(), "node leaf1: label weft-underlay: \"rip\" is not known") {
		t.Errorf("%v", err)
	}
}

// Every switch has an adjacency on each link to a switch, a system ID of its own
// and no BGP session; hypervisors' links are in the rack that is announced.
func TestPlanISIS(t *testing.T) {
	g := clos{pods: 2, superspines: 2, spines: 2, leaves: 2, borders: 1, hypervisors: 1}.graph()
	for _, p := range []fabric.Params{{Protocol: fabric.ISIS}, {Protocol: fabric.ISIS, Unnumbered: true, Loopbacks6: prefix("fd00:ff::/64")}} {
		f := planned(t, g, p)
		if len(f.Sessions) != 0 {
			t.Errorf("%d BGP sessions", len(f.Sessions))
		}
		nets := map[string]string{}
		adjacencies := 0
		for _, n := range f.Nodes {
			if !n.Role.Switch() {
				if len(f.AdjacenciesOf(n.Name)) != 0 {
					t.Errorf("%s has adjacencies", n.Name)
				}
				continue
			}
			s, err := fabric.Device(f, n.Name)
			if err != nil {
				t.Fatal(err)
			}
			i := s.ISIS
			if other, twice := nets[i.NET]; twice {
				t.Errorf("%s and %s are both %s", n.Name, other, i.NET)
			}
			nets[i.NET] = n.Name
			active := len(i.Interfaces) - 1
			if i.Interfaces[0].Name != "lo" || !i.Interfaces[0].Passive || active != len(f.AdjacenciesOf(n.Name)) {
				t.Errorf("%s: interfaces %+v", n.Name, i.Interfaces)
			}
			adjacencies += active
			leaf := n.Rack.IsValid()
			if (s.BGP != nil) != leaf || leaf && len(s.BGP.Neighbors)+len(s.BGP.Networks) != 0 {
				t.Errorf("%s: BGP %+v", n.Name, s.BGP)
			}
			if (i.Statics != "") != leaf || i.Hello*i.Multiplier != 9 {
				t.Errorf("%s: %+v", n.Name, i)
			}
			for _, port := range s.Interfaces {
				l, _ := f.Link(n.Name, port.Name)
				far, _ := f.Node(l.B.Node)
				borrowed := len(port.Addresses) == 1 && port.Addresses[0].Addr() == n.Loopback
				if p.Unnumbered && far.Role.Switch() != borrowed {
					t.Errorf("%s: %s has %v", n.Name, port.Name, port.Addresses)
				}
			}
		}
		between := 0
		for _, l := range f.Links {
			a, _ := f.Node(l.A.Node)
			b, _ := f.Node(l.B.Node)
			if a.Role.Switch() && b.Role.Switch() {
				between++
			}
		}
		if adjacencies != 2*between || between == 0 {
			t.Errorf("%d ends of adjacencies on %d links", adjacencies, between)
		}
	}
}

func planned(t *testing.T, g *topology.Graph, p fabric.Params) *fabric.Facts {
	t.Helper()
	f, err := fabric.Plan(g, p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Links that are numbered by IPv6 have the bits of their IPv4 addresses, and a
// session more each, in a group that has IPv6 routes only.
func TestPlanNumberedIPv6(t *testing.T) {
	f := planned(t, clos{pods: 1, spines: 2, leaves: 2}.graph(), fabric.Params{Loopbacks6: prefix("fd00:ff::/64"), P2P6: prefix("fd00:c0::/96")})
	if len(f.Sessions) != 2*2*4 {
		t.Errorf("%d sessions", len(f.Sessions))
	}
	for _, s := range f.Sessions {
		a4, a6 := s.Remote.Address.Addr().As4(), s.Remote.Address6.Addr().As16()
		if string(a4[:]) != string(a6[12:]) || s.Remote.Address6.Bits() != 127 || s.Local.Address6.Masked() != s.Remote.Address6.Masked() {
			t.Errorf("%s: %s and %s", s.Remote, s.Remote.Address, s.Remote.Address6)
		}
		if s.Address().Is6() != s.IPv6 {
			t.Errorf("session %+v is by %s", s, s.Address())
		}
	}
	d, err := fabric.Device(f, "leaf1")
	if err != nil {
		t.Fatal(err)
	}
	family := map[string]device.Family{}
	for _, g := range d.BGP.Groups {
		family[g.Name] = g.Family
	}
	for _, n := range d.BGP.Neighbors {
		if want := map[bool]device.Family{false: device.IPv4, true: device.IPv6}[n.Address.Is6()]; family[n.Group] != want {
			t.Errorf("neighbour %s is in group %s, of %q", n.Address, n.Group, family[n.Group])
		}
	}
	for what, p := range map[string]fabric.Params{
		"is not a /96":           {Loopbacks6: prefix("fd00:ff::/64"), P2P6: prefix("fd00:c0::/64")},
		"nothing to route":       {P2P6: prefix("fd00:c0::/96")},
		"links are unnumbered":   {Loopbacks6: prefix("fd00:ff::/64"), P2P6: prefix("fd00:c0::/96"), Unnumbered: true},
		"neither Unnumbered nor": {Loopbacks6: prefix("fd00:ff::/64")},
		`protocol "rip"`:         {Protocol: "rip"},
	} {
		if _, err := fabric.Plan(clos{pods: 1, spines: 2, leaves: 2}.graph(), p); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v", what, err)
		}
	}
}
