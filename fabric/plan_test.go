package fabric_test

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/topology"
	"pgregory.net/rapid"
)

func TestPlanOfASmallClos(t *testing.T) {
	g := graph("leaf1:eth1 spine1:eth1", "leaf1:eth2 spine2:eth1", "leaf2:eth1 spine1:eth2", "leaf2:eth2 spine2:eth2",
		"hypervisor1:eth1 leaf1:eth3", "leaf1:eth4 hypervisor2:eth1", "hypervisor2:eth2 leaf2:eth3", "server1:eth1 leaf2:eth9", "hypervisor1:eth5 vm1:eth0")
	f, err := fabric.Plan(g, fabric.Params{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range f.Nodes {
		names = append(names, n.Name)
	}
	if got := strings.Join(names, " "); got != "spine1 spine2 leaf1 leaf2 hypervisor1 hypervisor2" {
		t.Errorf("nodes %s", got)
	}
	for _, want := range []fabric.Node{
		{Name: "spine2", Role: intent.RoleSpine, Pod: 1, ASN: 4200001001, RouterID: addr("10.255.128.2"), Loopback: addr("10.255.128.2")},
		{Name: "leaf2", Role: intent.RoleLeaf, Pod: 1, ASN: 4200100002, RouterID: addr("10.255.0.2"), Loopback: addr("10.255.0.2"), VTEP: addr("10.254.0.2"), Rack: prefix("10.64.1.0/24")},
		{Name: "hypervisor2", Role: intent.RoleHypervisor, Pod: 1, VTEP: addr("10.64.0.3"), Uplink: "eth1", Gateway: addr("10.64.0.2")},
	} {
		if got, ok := f.Node(want.Name); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", want.Name, got, want)
		}
	}
	for _, c := range []struct{ node, iface, own, far string }{
		{"leaf1", "eth2", "10.192.0.3/31", "10.192.0.2/31"},
		{"leaf2", "eth1", "10.192.0.129/31", "10.192.0.128/31"},
		{"hypervisor2", "eth2", "10.64.1.1/31", "10.64.1.0/31"},
	} {
		l, ok := f.Link(c.node, c.iface)
		if !ok || l.A.Node != c.node || l.A.Address != prefix(c.own) || l.B.Address != prefix(c.far) || l.MTU != fabric.DefaultMTU {
			t.Errorf("%s:%s: %+v", c.node, c.iface, l)
		}
	}
	if n := len(f.SessionsOf("leaf1")); n != 2 {
		t.Errorf("leaf1 has %d sessions", n)
	}
	if _, ok := f.Node("server1"); ok || len(f.Links) != 7 {
		t.Errorf("servers and VMs have no plan; %d links", len(f.Links))
	}
}

// A hardware VTEP is planned as a hypervisor is: an address from its leaf's
// rack prefix, and no session. What is between two of them is not planned.
func TestPlanOfHardwareVTEPs(t *testing.T) {
	f, err := fabric.Plan(graph("leaf1:eth1 spine1:eth1", "leaf1:eth2 hypervisor1:eth1", "vtep1:eth48 leaf1:eth3", "vtep1:eth1 server1:eth1",
		"vtep1:eth2 hypervisor1:eth9", "vtep1:eth3 vtep2:eth3"), fabric.Params{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []fabric.Node{
		{Name: "vtep1", Role: intent.RoleVTEP, Pod: 1, VTEP: addr("10.64.0.3"), Uplink: "eth48", Gateway: addr("10.64.0.2")},
		{Name: "vtep2", Role: intent.RoleVTEP},
	} {
		if got, ok := f.Node(want.Name); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", want.Name, got, want)
		}
	}
	if len(f.Links) != 3 || len(f.Sessions) != 2 || len(f.SessionsOf("vtep1")) != 0 {
		t.Errorf("links %v, sessions %v", f.Links, f.Sessions)
	}
	if _, err := fabric.Device(f, "vtep1"); err == nil {
		t.Error("a hardware VTEP is no switch of the underlay")
	}
	leaf, err := fabric.Device(f, "leaf1")
	if err != nil || !slices.ContainsFunc(leaf.Interfaces, func(i device.Interface) bool {
		return i.Name == "eth3" && i.Description == "to vtep1:eth48" && slices.Contains(i.Addresses, prefix("10.64.0.2/31"))
	}) {
		t.Errorf("leaf1 has %+v, %v", leaf.Interfaces, err)
	}
	for _, o := range fabric.Intent(f) {
		if n, ok := o.(*intent.Node); ok && n.Metadata.Name == "vtep1" && (n.Spec.Role != intent.RoleVTEP || n.Spec.VTEP != addr("10.64.0.3")) {
			t.Errorf("registered as %+v", n.Spec)
		}
	}
}

func TestPlanOfARing(t *testing.T) {
	f, err := fabric.Plan(graph("leaf1:eth1 leaf2:eth1", "leaf1:eth2 leaf3:eth1", "leaf2:eth2 leaf3:eth2"), fabric.Params{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"leaf1", "leaf2", "leaf3"} {
		for _, s := range f.SessionsOf(n) {
			if s.LocalASN == s.RemoteASN || s.Peer() != s.Remote.Address.Addr().String() {
				t.Errorf("session %+v", s)
			}
		}
		if len(f.SessionsOf(n)) != 2 {
			t.Errorf("%s: %d sessions", n, len(f.SessionsOf(n)))
		}
	}
	if l, _ := f.Link("leaf3", "eth2"); l.A.Address != prefix("10.192.1.125/31") {
		t.Errorf("links beside are counted from the back of the block: %+v", l)
	}
}

// A fault is told in a sentence with the names of what is wrong.
func TestPlanRefuses(t *testing.T) {
	small := func() *topology.Graph { return clos{pods: 1, spines: 2, leaves: 2, hypervisors: 1}.graph() }
	mtu := small()
	mtu.Links[0].MTU = 1549
	for what, c := range map[string]struct {
		g    *topology.Graph
		p    fabric.Params
		says []string
	}{
		"pools that overlap":  {small(), fabric.Params{VTEPs: prefix("10.255.4.0/24")}, []string{"VTEPs (10.255.4.0/24)", "Loopbacks (10.255.0.0/16)"}},
		"host bits":           {small(), fabric.Params{Racks: netip.MustParsePrefix("10.64.0.1/10")}, []string{"Racks", "10.64.0.0/10"}},
		"a small MTU":         {mtu, fabric.Params{}, []string{"leaf1:up1 to spine1:eth1", "1549", "1550"}},
		"a small default MTU": {small(), fabric.Params{MTU: 1500}, []string{"leaf2:up2 to spine2:eth2"}},
		"too few loopbacks":   {clos{pods: 1, spines: 1, leaves: 5}.graph(), fabric.Params{Loopbacks: prefix("10.255.0.0/28")}, []string{"leaf4", "leaf5", "Loopbacks", "exhausted"}},
		"too few racks":       {clos{pods: 1, spines: 1, leaves: 3}.graph(), fabric.Params{Racks: prefix("10.64.0.0/22")}, []string{"leaf3", "Racks"}},
		"a full rack":         {clos{pods: 1, spines: 1, leaves: 1, hypervisors: 3}.graph(), fabric.Params{RackLength: 29}, []string{"link hypervisor", "leaf1", "rack 10.64.0.0/29", "full"}},
		"too few /31":         {small(), fabric.Params{P2P: prefix("10.192.0.0/23")}, []string{"leaf2", "P2P (10.192.0.0/23)"}},
		"spine to spine":      {graph("leaf1:eth1 spine1:eth1", "leaf1:eth2 spine2:eth1", "spine1:eth2 spine2:eth2"), fabric.Params{}, []string{"spine1:eth2", "spine2:eth2", "4200001001", "weft-role"}},
		"hypervisor on spine": {graph("hypervisor1:eth1 spine1:eth1"), fabric.Params{}, []string{"hypervisor1:eth1 to spine1:eth1: a hypervisor can't", "leaf"}},
		"VTEP on superspine":  {graph("superspine1:eth1 vtep1:eth1"), fabric.Params{}, []string{"superspine1:eth1 to vtep1:eth1: a hardware VTEP can't", "leaf"}},
		"interface twice":     {graph("leaf1:eth1 spine1:eth1", "leaf2:eth1 spine1:eth1"), fabric.Params{}, []string{"spine1:eth1", "leaf2:eth1"}},
		"an unknown node":     {&topology.Graph{Nodes: small().Nodes, Links: graph("leaf1:eth1 leaf9:eth1").Links}, fabric.Params{}, []string{"no node leaf9"}},
		"IPv6 on numbered":    {small(), fabric.Params{Loopbacks6: prefix("fd00::/64")}, []string{"Loopbacks6", "Unnumbered"}},
		"IPv4 as IPv6":        {small(), fabric.Params{Unnumbered: true, Loopbacks6: prefix("10.0.0.0/16")}, []string{"Loopbacks6"}},
		"a public ASN":        {small(), fabric.Params{ASNs: fabric.ASNs{Leaf: 3320}}, []string{"leaf1", "3320", "RFC 6996"}},
		"ASNs that meet":      {small(), fabric.Params{ASNs: fabric.ASNs{Leaf: 4200001001}}, []string{"leaf1", "4200001001", "spine"}},
		"a short hold time":   {small(), fabric.Params{Timers: fabric.Timers{Keepalive: 3, Hold: 6}}, []string{"timers 3 6"}},
		"a long rack":         {small(), fabric.Params{RackLength: 32}, []string{"/32", "Racks"}},
	} {
		_, err := fabric.Plan(c.g, c.p)
		if err == nil {
			t.Errorf("%s: planned", what)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %q does not say %q", what, err, s)
			}
		}
	}
}

// Check finds what Plan would never make.
func TestCheckFindsFaults(t *testing.T) {
	for what, c := range map[string]struct {
		spoil func(f *fabric.Facts)
		says  string
	}{
		"an address twice":   {func(f *fabric.Facts) { f.Nodes[3].Loopback = f.Nodes[2].Loopback }, "leaf1's loopback and to leaf2's loopback"},
		"a link's address":   {func(f *fabric.Facts) { f.Links[1].A.Address = f.Links[0].A.Address }, "leaf1:up1 and to leaf1:up2"},
		"ends apart":         {func(f *fabric.Facts) { f.Links[0].A.Address = prefix("10.192.9.9/31") }, "different prefixes"},
		"a rack twice":       {func(f *fabric.Facts) { f.Nodes[3].Rack = f.Nodes[2].Rack }, "given to leaf1 and to leaf2"},
		"an ASN twice":       {func(f *fabric.Facts) { f.Nodes[3].ASN = f.Nodes[2].ASN }, "leaf2: ASN"},
		"a session in an AS": {func(f *fabric.Facts) { f.Sessions[0].RemoteASN = f.Sessions[0].LocalASN }, "share ASN"},
		"a small MTU":        {func(f *fabric.Facts) { f.Links[0].MTU = 1500 }, "MTU 1500"},
	} {
		f, err := fabric.Plan(clos{pods: 1, spines: 2, leaves: 2}.graph(), fabric.Params{})
		if err != nil || f.Check() != nil {
			t.Fatal(err, f.Check())
		}
		c.spoil(f)
		if err := f.Check(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v does not say %q", what, err, c.says)
		}
	}
}

// numbers are all that a plan gives out, by what it is given to.
func numbers(f *fabric.Facts) map[string]any {
	m := map[string]any{}
	for _, n := range f.Nodes {
		m[n.Name] = fmt.Sprintf("%+v", n)
	}
	for _, l := range f.Links {
		m[l.A.String()], m[l.B.String()] = l.A.Address, l.B.Address
	}
	return m
}

func drawClos(t *rapid.T) clos {
	return clos{
		pods: rapid.IntRange(1, 3).Draw(t, "pods"), superspines: rapid.IntRange(0, 3).Draw(t, "superspines"),
		spines: rapid.IntRange(1, 11).Draw(t, "spines"), leaves: rapid.IntRange(1, 12).Draw(t, "leaves"),
		vteps:   rapid.IntRange(0, 2).Draw(t, "vteps"),
		borders: rapid.IntRange(0, 2).Draw(t, "borders"), hypervisors: rapid.IntRange(0, 3).Draw(t, "hypervisors"),
	}
}

// Property: a plan keeps the rules, whatever the size; the file's order and
// which end of a link comes first change nothing.
func TestPlanProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, p := drawClos(t), drawUnderlay(t)
		f, err := fabric.Plan(c.graph(), p)
		if err != nil {
			t.Fatal(err)
		}
		checkRules(t, f)
		other, err := fabric.Plan(shuffled(c.graph(), rapid.Uint64().Draw(t, "seed")), p)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(numbers(f), numbers(other)) {
			t.Fatal("the file's order changes the plan")
		}
	})
}

// drawUnderlay is one of the underlays that there are words for.
func drawUnderlay(t *rapid.T) fabric.Params {
	var words []string
	for _, of := range [][]string{{"bgp", "isis"}, {"numbered", "unnumbered"}, {"", "ipv6"}, {"", "bfd", "no-bfd"}} {
		words = append(words, rapid.SampledFrom(of).Draw(t, "word"))
	}
	p, err := fabric.ParseUnderlay(strings.Join(words, " "))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkRules checks the rules independently of Facts.Check.
func checkRules(t *rapid.T, f *fabric.Facts) {
	owner := map[netip.Addr]string{}
	asns := map[uint32]fabric.Node{}
	claim := func(a netip.Addr, who string) {
		if o, taken := owner[a]; taken && a.IsValid() {
			t.Fatalf("%s is of %s and of %s", a, o, who)
		}
		owner[a] = who
	}
	for _, n := range f.Nodes {
		if n.Role.Tunnels() {
			if l, ok := f.Link(n.Name, n.Uplink); !ok || l.A.Address.Addr() != n.VTEP || l.B.Address.Addr() != n.Gateway {
				t.Fatalf("%+v is not at %+v", n, l)
			} else if leaf, _ := f.Node(l.B.Node); !leaf.Rack.Contains(n.VTEP) || !leaf.Rack.Contains(n.Gateway) {
				t.Fatalf("%+v is outside of the rack %s", n, leaf.Rack)
			}
			continue
		}
		claim(n.Loopback, n.Name)
		claim(n.VTEP, n.Name)
		claim(n.Loopback6, n.Name)
		if n.Loopback6.IsValid() != f.Params.Loopbacks6.IsValid() {
			t.Fatalf("%s: IPv6 loopback %s", n.Name, n.Loopback6)
		}
		if o, taken := asns[n.ASN]; taken {
			shared := n.Role == o.Role && (n.Role == intent.RoleSuperspine || n.Role == intent.RoleSpine && n.Pod == o.Pod)
			if !shared {
				t.Fatalf("%s and %s share ASN %d", o.Name, n.Name, n.ASN)
			}
		}
		asns[n.ASN] = n
	}
	for _, l := range f.Links {
		claim(l.A.Address.Addr(), l.A.String())
		claim(l.B.Address.Addr(), l.B.String())
		claim(l.A.Address6.Addr(), l.A.String())
		claim(l.B.Address6.Addr(), l.B.String())
		a, _ := f.Node(l.A.Node)
		b, _ := f.Node(l.B.Node)
		between := a.Role.Switch() && b.Role.Switch()
		if l.A.Address6.IsValid() != (between && f.Params.P2P6.IsValid()) || l.A.Address6.Masked() != l.B.Address6.Masked() {
			t.Fatalf("link %s has %s and %s", l, l.A.Address6, l.B.Address6)
		}
	}
	if f.Params.Protocol == fabric.ISIS && len(f.Sessions) > 0 {
		t.Fatalf("%d BGP sessions beside IS-IS", len(f.Sessions))
	}
	for _, s := range f.Sessions {
		local, _ := f.Node(s.Local.Node)
		remote, _ := f.Node(s.Remote.Node)
		if s.LocalASN != local.ASN || s.RemoteASN != remote.ASN || local.ASN == remote.ASN {
			t.Fatalf("session %+v", s)
		}
		if f.Params.Unnumbered == s.Remote.Address.IsValid() || f.Params.Unnumbered && s.Peer() != s.Local.Interface {
			t.Fatalf("session %+v, unnumbered %v", s, f.Params.Unnumbered)
		}
	}
	checkWaits(t, f)
}

// checkWaits wants one end of each session to wait for the other.
func checkWaits(t *rapid.T, f *fabric.Facts) {
	ends := map[string]int{} // of a link, and of an IP version
	for _, n := range f.Nodes {
		if !n.Role.Switch() || f.Params.Protocol == fabric.ISIS {
			continue
		}
		d, err := fabric.Device(f, n.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range d.BGP.Neighbors {
			if b.Passive {
				ends[fmt.Sprintf("%s for %s, IPv6 %v", n.Name, b.Description, b.Address.Is6())]++
			}
		}
	}
	for _, s := range f.Sessions {
		here := fmt.Sprintf("%s for %s, IPv6 %v", s.Local.Node, s.Remote, s.Address().Is6())
		there := fmt.Sprintf("%s for %s, IPv6 %v", s.Remote.Node, s.Local, s.Address().Is6())
		if ends[here]+ends[there] != 1 {
			t.Fatalf("of session %s to %s, %d ends wait", s.Local, s.Remote, ends[here]+ends[there])
		}
	}
}

// Property: a fabric that grows at its end keeps all numbers that it has.
func TestPlanIsStableUnderGrowth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawClos(t)
		ways := map[string]func(*clos){
			"pod": func(c *clos) { c.pods++ }, "superspine": func(c *clos) { c.superspines++ }, "border": func(c *clos) { c.borders++ },
			"leaf": func(c *clos) { c.pods, c.leaves = 1, c.leaves+1 }, "spine": func(c *clos) { c.pods, c.spines = 1, c.spines+1 },
		}
		way := rapid.SampledFrom([]string{"pod", "superspine", "border", "leaf", "spine"}).Draw(t, "way")
		if way == "leaf" || way == "spine" {
			c.pods = 1
		}
		grown := c
		ways[way](&grown)
		p := drawUnderlay(t)
		before, err := fabric.Plan(c.graph(), p)
		if err != nil {
			t.Fatal(err)
		}
		after, err := fabric.Plan(shuffled(grown.graph(), rapid.Uint64().Draw(t, "seed")), p)
		if err != nil {
			t.Fatal(err)
		}
		now := numbers(after)
		for what, was := range numbers(before) {
			if now[what] != was {
				t.Fatalf("one more %s on %+v changes %s:\n was %+v\n now %+v", way, c, what, was, now[what])
			}
		}
	})
}

func TestDevice(t *testing.T) {
	f, err := fabric.Plan(clos{pods: 1, spines: 11, leaves: 2, hypervisors: 1}.graph(), fabric.Params{BFD: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := fabric.Device(f, "leaf1")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.BGP.Neighbors) != 11 || s.BGP.Neighbors[10].Description != "spine11:eth1" || s.BGP.Groups[0].BFD == nil {
		t.Errorf("BGP %+v", s.BGP)
	}
	if !reflect.DeepEqual(s.BGP.Networks, []netip.Prefix{prefix("10.255.0.1/32"), prefix("10.254.0.1/32"), prefix("10.64.0.0/24")}) {
		t.Errorf("announces %v", s.BGP.Networks)
	}
	if len(s.Statics) != 1 || s.Statics[0].Prefix != prefix("10.64.0.0/24") || s.Statics[0].Via.IsValid() {
		t.Errorf("statics %v", s.Statics)
	}
	again, _ := fabric.Device(f, "leaf1")
	other, _ := fabric.Device(f, "leaf2")
	if !s.Equal(again) || s.Hash() != again.Hash() || s.Equal(other) || s.Hash() == other.Hash() {
		t.Error("Equal and Hash don't tell states apart")
	}
	for _, n := range []string{"hypervisor1", "nobody"} {
		if _, err := fabric.Device(f, n); err == nil || !strings.Contains(err.Error(), n) {
			t.Errorf("%s: %v", n, err)
		}
	}
}

// What the plan implies is valid intent.
func TestIntent(t *testing.T) {
	f, err := fabric.Plan(clos{pods: 2, superspines: 1, spines: 2, leaves: 2, borders: 1, hypervisors: 1}.graph(), fabric.Params{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[intent.Ref]bool{}
	for _, o := range fabric.Intent(f) {
		if err := o.Validate(); err != nil {
			t.Error(err)
		}
		if seen[o.Ref()] {
			t.Errorf("%s is there twice", o.Ref())
		}
		seen[o.Ref()] = true
	}
	if len(seen) != len(f.Nodes)+len(f.Links)+1 { // and the Fabric
		t.Errorf("%d objects for %d nodes and %d links", len(seen), len(f.Nodes), len(f.Links))
	}
}

func TestNaturalProperty(t *testing.T) {
	for _, c := range [][2]string{{"leaf9", "leaf10"}, {"leaf", "leaf1"}, {"eth1/9", "eth1/10"}, {"a1b2", "a1b10"}, {"leaf1", "leaf01"}, {"leaf2a", "leaf10"}, {"border2", "leaf1"}} {
		if c[0] == "leaf1" { // equal numbers: any fixed order
			if fabric.Natural(c[0], c[1]) == 0 {
				t.Errorf("%v compare as equal", c)
			}
			continue
		}
		if fabric.Natural(c[0], c[1]) >= 0 || fabric.Natural(c[1], c[0]) <= 0 {
			t.Errorf("%s is not before %s", c[0], c[1])
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a1029-]{0,5}`)
		a, b, c := name.Draw(t, "a"), name.Draw(t, "b"), name.Draw(t, "c")
		if (fabric.Natural(a, b) == 0) != (a == b) || fabric.Natural(a, b) != -fabric.Natural(b, a) {
			t.Fatalf("%q and %q", a, b)
		}
		if fabric.Natural(a, b) < 0 && fabric.Natural(b, c) < 0 && fabric.Natural(a, c) >= 0 {
			t.Fatalf("%q < %q < %q, but not the first and the last", a, b, c)
		}
	})
}

// 64 spines and 1,000 leaves are planned while a person waits.
func TestPlanOfALargeClos(t *testing.T) {
	begin := time.Now()
	f, err := fabric.Plan(clos{pods: 1, spines: 64, leaves: 1000}.graph(), fabric.Params{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range f.Nodes {
		if _, err := fabric.Device(f, n.Name); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d links in %v", len(f.Links), time.Since(begin))
}
