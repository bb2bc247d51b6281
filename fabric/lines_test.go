package fabric_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/device"
)

// line is a line of leaf1 or another.
func line(name, node string, octet, preference, weight int) intent.Line {
	return intent.Line{Name: name, Node: node, Interface: "dci-" + name, ASN: 4220100000 + uint32(octet), Preference: preference, Weight: weight,
		Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(2 * octet)}), 31), Peer: netip.AddrFrom4([4]byte{192, 0, 2, byte(2*octet + 1)})}
}

func joinedBy(name string, lines ...intent.Line) *intent.Interconnect {
	return &intent.Interconnect{Metadata: intent.Metadata{Name: name}, Spec: intent.InterconnectSpec{
		Lines: lines, HoldDown: 7, Prefixes: []netip.Prefix{prefix("172.16.0.0/16")}}}
}

func withLines(t *testing.T, node string, all ...*intent.Interconnect) device.State {
	t.Helper()
	f, err := fabric.Plan(graph("leaf1:eth1 spine1:eth1", "leaf2:eth1 spine1:eth2", "leaf3:eth1 spine1:eth3"), fabric.Params{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := fabric.Device(f, node)
	if err != nil {
		t.Fatal(err)
	}
	before := s.Hash()
	out, err := fabric.AddLines(f, s, all...)
	if err != nil {
		t.Fatal(err)
	}
	if s.Hash() != before {
		t.Error("the state that was given is changed")
	}
	return out
}

func group(t *testing.T, s device.State, peer string) (device.PeerGroup, device.ImportPolicy) {
	t.Helper()
	for _, n := range s.BGP.Neighbors {
		if n.Interface != peer && n.Address.String() != peer {
			continue
		}
		for _, g := range s.BGP.Groups {
			if g.Name == n.Group {
				i := slices.IndexFunc(s.BGP.Policies, func(p device.ImportPolicy) bool { return p.Name == g.Policy })
				if i < 0 {
					return g, device.ImportPolicy{}
				}
				return g, s.BGP.Policies[i]
			}
		}
	}
	t.Fatalf("no neighbour %s with a group", peer)
	return device.PeerGroup{}, device.ImportPolicy{}
}

// Of each line there is a session at once that is the last resort, and one after the
// hold-down with its preference.
func TestLines(t *testing.T) {
	c := joinedBy("dc", line("private", "leaf1", 0, 200, 0), line("vpn1", "leaf2", 1, 0, 0), line("vpn2", "leaf2", 2, 0, 0))
	for node, peers := range map[string]map[string][2]int{ // prepended, delay
		"leaf1": {"dci-private": {10, 0}, "192.0.2.1": {0, 7}},
		"leaf2": {"dci-vpn1": {10, 0}, "192.0.2.3": {5, 7}, "dci-vpn2": {10, 0}, "192.0.2.5": {5, 7}},
	} {
		s := withLines(t, node, c)
		if n := len(s.BGP.Neighbors) - 1; n != len(peers) {
			t.Errorf("%s has %d sessions over lines, want %d", node, n, len(peers))
		}
		for peer, want := range peers {
			g, p := group(t, s, peer)
			if p.Prepend != want[0] || g.DelayOpen != want[1] || p.Bandwidth != 0 || g.BFD == nil || g.In != "lines-dc" || g.Out != "lines" {
				t.Errorf("%s %s: %+v %+v", node, peer, g, p)
			}
		}
	}
	// Of each line's ends one connects.
	for _, swapped := range []bool{false, true} {
		one := joinedBy("dc", line("private", "leaf1", 0, 0, 0))
		if l := &one.Spec.Lines[0]; swapped {
			l.Address, l.Peer = netip.PrefixFrom(l.Peer, 31), l.Address.Addr()
		}
		for _, n := range withLines(t, "leaf1", one).BGP.Neighbors[1:] {
			if n.Passive != swapped {
				t.Errorf("%+v, its address swapped with the peer's: %v", n, swapped)
			}
		}
	}
	s := withLines(t, "leaf2", c)
	if i := slices.IndexFunc(s.Interfaces, func(i device.Interface) bool { return i.Name == "dci-vpn2" }); i < 0 || s.Interfaces[i].Addresses[0] != prefix("192.0.2.4/31") {
		t.Errorf("interfaces %+v", s.Interfaces)
	}
	// Switches without a line pass the prefixes on, and have nothing else.
	s = withLines(t, "spine1", c)
	if len(s.BGP.Groups) != 1 || len(s.BGP.Filters) != 1 || !slices.Contains(s.BGP.Filters[0].Permit, device.Match{Prefix: prefix("172.16.0.0/16"), MinLength: 16, MaxLength: 32}) {
		t.Errorf("%+v", s.BGP)
	}
}

// What another fabric is told are VTEPs and racks, what is taken from it is in its
// prefixes: no loopback, and nothing of ours.
func TestLinesFilter(t *testing.T) {
	s := withLines(t, "leaf1", joinedBy("dc", line("private", "leaf1", 0, 0, 0)))
	for _, want := range []device.Filter{
		{Name: "lines", Permit: []device.Match{{Prefix: prefix("10.254.0.0/16"), MinLength: 32, MaxLength: 32}, {Prefix: prefix("10.64.0.0/10"), MinLength: 24, MaxLength: 24}}},
		{Name: "lines-dc", Permit: []device.Match{{Prefix: prefix("172.16.0.0/16"), MinLength: 16, MaxLength: 32}}},
	} {
		i := slices.IndexFunc(s.BGP.Filters, func(f device.Filter) bool { return f.Name == want.Name })
		if i < 0 || !slices.Equal(s.BGP.Filters[i].Permit, want.Permit) {
			t.Errorf("filter %s of %+v", want.Name, s.BGP.Filters)
		}
	}
}

// Lines of equal preference share by weight; of one weight they have no community.
func TestLinesWeights(t *testing.T) {
	s := withLines(t, "leaf1", joinedBy("dc", line("a", "leaf1", 0, 0, 3), line("b", "leaf1", 1, 0, 0), line("c", "leaf1", 2, 9, 7)))
	for peer, want := range map[string][2]int{"192.0.2.1": {0, 3}, "192.0.2.3": {0, 1}, "192.0.2.5": {5, 7}, "dci-a": {10, 3}, "dci-b": {10, 1}, "dci-c": {10, 7}} {
		if _, p := group(t, s, peer); p.Prepend != want[0] || p.Bandwidth != want[1] {
			t.Errorf("%s: %+v, want %v", peer, p, want)
		}
	}
	s = withLines(t, "leaf1", joinedBy("dc", line("a", "leaf1", 0, 0, 3), line("b", "leaf1", 1, 0, 3)))
	for _, p := range s.BGP.Policies {
		if p.Bandwidth != 0 {
			t.Errorf("%+v", p)
		}
	}
}

// The better line is preferred also by the longest way to it through the fabric: each
// step of preference is longer than a way through pods.
func TestLinesPreferenceBeatsDetours(t *testing.T) {
	var lines []intent.Line
	for i := range 4 {
		lines = append(lines, line(fmt.Sprint("l", i), "leaf1", i, 100-i, 0))
	}
	s := withLines(t, "leaf1", joinedBy("dc", lines...))
	longest := -1
	for i := range 4 {
		_, p := group(t, s, fmt.Sprintf("192.0.2.%d", 2*i+1))
		if i > 0 && p.Prepend <= longest+4 {
			t.Errorf("line %d: %d, the one before %d", i, p.Prepend, longest)
		}
		longest = p.Prepend
		if _, held := group(t, s, fmt.Sprint("dci-l", i)); held.Prepend != 20 {
			t.Errorf("held down: %+v", held)
		}
	}
}

func TestLinesRefused(t *testing.T) {
	g := graph("leaf1:eth1 spine1:eth1")
	for _, c := range []struct {
		params fabric.Params
		change func(*intent.Interconnect)
		want   string
	}{
		{fabric.Params{Protocol: fabric.ISIS}, func(*intent.Interconnect) {}, "Interconnect dc: spec.lines: lines to other fabrics need BGP in the underlay: take them out, or give the fabric BGP"},
		{fabric.Params{}, func(c *intent.Interconnect) { c.Spec.Lines[0].Interface = "eth1" }, "device leaf1: line a of Interconnect dc: eth1 is an interface of the fabric: give the line another"},
		{fabric.Params{}, func(c *intent.Interconnect) { c.Spec.Prefixes[0] = prefix("10.254.64.0/18") }, "Interconnect dc: spec.prefixes[0]: 10.254.64.0/18 overlaps pool 10.254.0.0/16 of this fabric: both need addresses of their own"},
	} {
		f, err := fabric.Plan(g, c.params)
		if err != nil {
			t.Fatal(err)
		}
		s, err := fabric.Device(f, "leaf1")
		if err != nil {
			t.Fatal(err)
		}
		i := joinedBy("dc", line("a", "leaf1", 0, 0, 0))
		c.change(i)
		if _, err := fabric.AddLines(f, s, i); err == nil || strings.TrimSpace(err.Error()) != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
		if again, err := fabric.AddLines(f, s, joinedBy("dc")); err != nil || !again.Equal(s) {
			t.Errorf("an interconnect without lines changes something: %v", err)
		}
	}
}
