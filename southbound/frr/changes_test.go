package frr

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/fabric/device"
)

// told are changes as one can read them.
func told(r Reload) []string {
	var out []string
	for _, c := range Changes(r) {
		out = append(out, c.String())
	}
	return out
}

const wantBGP = `hostname leaf1
ip prefix-list underlay seq 5 permit 10.255.0.0/16 ge 32
bgp route-map delay-timer 0
router bgp 65001
 bgp router-id 10.255.0.1
 no bgp ebgp-requires-policy
 neighbor fabric peer-group
 neighbor fabric timers 3 9
 neighbor 10.0.0.0 remote-as 65100
 neighbor 10.0.0.0 peer-group fabric
 neighbor 10.0.0.0 description spine1:eth1
 !
 address-family ipv4 unicast
  network 10.255.0.1/32
  neighbor fabric activate
  neighbor fabric prefix-list underlay in
  maximum-paths 64
 exit-address-family
exit
`

// shownBGP is what FRR shows of it, with what others have there.
const shownBGP = `Building configuration...

Current configuration:
!
frr version 8.4.4
frr defaults datacenter
!
hostname leaf1
bgp route-map delay-timer 0
!
router bgp 65001
 bgp router-id 10.255.0.1
 bgp graceful-restart
 neighbor fabric peer-group
 neighbor fabric timers 3 9
 neighbor 10.0.0.0 remote-as 65100
 neighbor 10.0.0.0 peer-group fabric
 neighbor 10.0.0.0 description spine1:eth1
 neighbor 127.0.0.2 remote-as 65001
 neighbor 127.0.0.2 description weft
 !
 address-family ipv4 unicast
  network 192.0.2.0/24
  network 10.255.0.1/32
  neighbor fabric activate
  neighbor fabric prefix-list underlay in
  neighbor 192.0.2.1 prefix-list dci out
  maximum-paths 64
 exit-address-family
 !
 address-family l2vpn evpn
  neighbor 127.0.0.2 activate
  advertise-all-vni
  vni 100
   route-target import 1:1
  exit-vni
 exit-address-family
exit
!
router bgp 65001 vrf vrf100
 neighbor 10.9.9.9 remote-as 65009
exit
!
ip prefix-list dci seq 5 permit 10.64.0.0/10 ge 24 le 24
ip prefix-list underlay seq 5 permit 10.255.0.0/16 ge 32
!
end
`

func TestChanges(t *testing.T) {
	unshown := Unshown(shownBGP, wantBGP)
	require.Equal(t, map[string]bool{"router bgp 65001\nno bgp ebgp-requires-policy": true}, unshown)
	replace := func(s string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(s) }
	for _, c := range []struct {
		name             string
		have, want, last string
		changes          []string
	}{
		{"all is there", shownBGP, wantBGP, wantBGP, nil},
		{"a neighbour was set down", replace(shownBGP, " neighbor 10.0.0.0 peer-group fabric\n", " neighbor 10.0.0.0 peer-group fabric\n neighbor 10.0.0.0 shutdown\n"), wantBGP, "",
			[]string{"router bgp 65001 / no neighbor 10.0.0.0 shutdown"}},
		{"a neighbour was taken out", replace(shownBGP, " neighbor 10.0.0.0 remote-as 65100\n", "", " neighbor 10.0.0.0 peer-group fabric\n", "", " neighbor 10.0.0.0 description spine1:eth1\n", ""), wantBGP, "",
			[]string{"router bgp 65001 / neighbor 10.0.0.0 remote-as 65100", "router bgp 65001 / neighbor 10.0.0.0 peer-group fabric", "router bgp 65001 / neighbor 10.0.0.0 description spine1:eth1"}},
		{"a setting was changed", replace(shownBGP, "maximum-paths 64", "maximum-paths 1", "timers 3 9", "timers 30 90"), wantBGP, "",
			[]string{"router bgp 65001 / neighbor fabric timers 3 9", "router bgp 65001 / address-family ipv4 unicast / maximum-paths 64"}},
		{"a setting that is not shown was changed", replace(shownBGP, " bgp graceful-restart\n", " bgp graceful-restart\n bgp ebgp-requires-policy\n"), wantBGP, "",
			[]string{"router bgp 65001 / no bgp ebgp-requires-policy"}},
		{"a list was added to", replace(shownBGP, "ip prefix-list underlay seq 5", "ip prefix-list underlay seq 1 deny any\nip prefix-list underlay seq 5"), wantBGP, "",
			[]string{"no ip prefix-list underlay seq 1 deny any"}},
		{"a list's line was replaced", replace(shownBGP, "permit 10.255.0.0/16 ge 32", "deny 10.255.0.0/16 ge 32"), wantBGP, "",
			[]string{"ip prefix-list underlay seq 5 permit 10.255.0.0/16 ge 32"}},
		{"an address family lost a line and got one", replace(shownBGP, "  neighbor fabric prefix-list underlay in\n", "  neighbor fabric prefix-list underlay out\n"), wantBGP, "",
			[]string{"router bgp 65001 / address-family ipv4 unicast / no neighbor fabric prefix-list underlay out", "router bgp 65001 / address-family ipv4 unicast / neighbor fabric prefix-list underlay in"}},
		{"a neighbour goes, another comes", shownBGP, replace(wantBGP, "10.0.0.0", "10.0.0.2"), wantBGP,
			[]string{"router bgp 65001 / no neighbor 10.0.0.0", "router bgp 65001 / neighbor 10.0.0.2 remote-as 65100", "router bgp 65001 / neighbor 10.0.0.2 peer-group fabric", "router bgp 65001 / neighbor 10.0.0.2 description spine1:eth1"}},
		{"a network goes", shownBGP, replace(wantBGP, "  network 10.255.0.1/32\n", ""), wantBGP,
			[]string{"router bgp 65001 / address-family ipv4 unicast / no network 10.255.0.1/32"}},
		{"a list goes after what names it", shownBGP, replace(wantBGP, "  neighbor fabric prefix-list underlay in\n", "", "ip prefix-list underlay seq 5 permit 10.255.0.0/16 ge 32\n", ""), wantBGP,
			[]string{"router bgp 65001 / address-family ipv4 unicast / no neighbor fabric prefix-list underlay in", "no ip prefix-list underlay seq 5 permit 10.255.0.0/16 ge 32"}},
		{"the AS changes", shownBGP, replace(wantBGP, "router bgp 65001", "router bgp 65002", " neighbor 10.0.0.0 remote-as 65100\n", "", " neighbor 10.0.0.0 peer-group fabric\n", "", " neighbor 10.0.0.0 description spine1:eth1\n", "", "  network 10.255.0.1/32\n", ""), wantBGP,
			[]string{"no router bgp 65001", "router bgp 65002 / bgp router-id 10.255.0.1", "router bgp 65002 / no bgp ebgp-requires-policy", "router bgp 65002 / neighbor fabric peer-group", "router bgp 65002 / neighbor fabric timers 3 9",
				"router bgp 65002 / address-family ipv4 unicast / neighbor fabric activate", "router bgp 65002 / address-family ipv4 unicast / neighbor fabric prefix-list underlay in", "router bgp 65002 / address-family ipv4 unicast / maximum-paths 64"}},
		{"an interface is ours as a whole, others are not", "interface eth1\n ip address 10.0.0.1/31\n shutdown\n ipv6 nd ra-interval 10\nexit\ninterface eth9\n ip address 192.0.2.1/24\nexit\n", "interface eth1\n ip address 10.0.0.1/31\nexit\n", "",
			[]string{"interface eth1 / no shutdown"}},
		{"an interface that is not wanted any more", "interface eth1\n description to spine1:eth1\n ip address 10.0.0.1/31\n mpls enable\nexit\n", "", "interface eth1\n description to spine1:eth1\n ip address 10.0.0.1/31\nexit\n",
			[]string{"interface eth1 / no ip address 10.0.0.1/31", "interface eth1 / no description"}},
		{"a profile of others stays", "bfd\n profile fabric\n  transmit-interval 50\n  receive-interval 77\n  passive-mode\n exit\n profile mine\n  transmit-interval 9\n exit\nexit\n", "bfd\n profile fabric\n  transmit-interval 50\n exit\nexit\n", "",
			[]string{"bfd / profile fabric / no passive-mode", "bfd / profile fabric / no receive-interval 77"}},
		{"an empty route map is made", "", "route-map own permit 10\nexit\nip protocol bgp route-map own\n", "", []string{"route-map own permit 10 / ", "ip protocol bgp route-map own"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.changes, told(Reload{Have: c.have, Want: c.want, Last: c.last, Unshown: unshown}))
		})
	}
}

func TestCommands(t *testing.T) {
	require.Equal(t, []string{"a", "b", "1", "2", "exit", "3", "exit", "x", "c", "d", "exit", "exit"}, Commands([]Change{
		{[]string{"a", "b"}, "1"}, {[]string{"a", "b"}, "2"}, {[]string{"a"}, "3"}, {nil, "x"}, {[]string{"c", "d"}, ""}}))
}

// negatives are settings that begin with "no".
var negatives = []string{"no bgp default ipv4-unicast", "no bgp ebgp-requires-policy", "no zebra nexthop kernel enable", "no bgp graceful-restart notification"}

// take does to a configuration what a daemon does with a change.
func take(root *tree, c Change) {
	at := root
	for _, l := range c.Context {
		at = at.child(l)
	}
	line, isNo := strings.CutPrefix(c.Command, "no ")
	switch {
	case c.Command == "":
	case isNo && !slices.Contains(negatives, c.Command):
		o := objectOf(line)
		if n := strings.TrimSuffix(strings.TrimSuffix(line, " interface"), " peer-group"); strings.HasPrefix(o, "neighbor ") && n == o {
			drop(at, func(l string) bool { return objectOf(l) == o })
			return
		}
		at.kids = slices.DeleteFunc(at.kids, func(k *tree) bool { return k.line == line || keyOf(k.line) == line })
	default:
		if old := at.keyed(keyOf(c.Command)); old != nil {
			old.line = c.Command
			return
		}
		at.child(c.Command)
	}
}

func drop(t *tree, is func(string) bool) {
	t.kids = slices.DeleteFunc(t.kids, func(k *tree) bool { return is(k.line) })
	for _, k := range t.kids {
		drop(k, is)
	}
}

// flat are all settings with their contexts, sorted: contexts without any don't count.
func flat(t *tree) []string {
	var out []string
	var walk func(path string, t *tree)
	walk = func(path string, t *tree) {
		for _, k := range t.kids {
			if !opens(k.line) || strings.HasPrefix(k.line, "route-map ") {
				out = append(out, path+k.line)
			}
			walk(path+k.line+" / ", k)
		}
	}
	walk("", t)
	slices.Sort(out)
	return out
}

// someState draws a switch's state.
func someState(t *rapid.T) device.State {
	s := device.State{Hostname: "leaf1", Loopbacks: []netip.Prefix{netip.PrefixFrom(addr(rapid.IntRange(1, 3).Draw(t, "loopback")), 32)}}
	b := &device.BGP{ASN: 65001, RouterID: s.Loopbacks[0].Addr(), MaximumPaths: rapid.SampledFrom([]int{0, 8, 64}).Draw(t, "paths"), Networks: s.Loopbacks, Sources: []netip.Addr{s.Loopbacks[0].Addr()}}
	g := device.PeerGroup{Name: "fabric", Keepalive: 3, Hold: rapid.SampledFrom([]int{9, 30}).Draw(t, "hold")}
	if rapid.Bool().Draw(t, "bfd") {
		g.BFD = &device.BFD{Interval: 50, Multiplier: rapid.IntRange(2, 3).Draw(t, "multiplier")}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "filters") {
		f := device.Filter{Name: fmt.Sprintf("list%d", i)}
		for range rapid.IntRange(1, 3).Draw(t, "matches") {
			p := netip.PrefixFrom(addr(rapid.IntRange(0, 3).Draw(t, "match")*16), 16).Masked()
			f.Permit = append(f.Permit, device.Match{Prefix: p, MinLength: 24, MaxLength: 32})
		}
		b.Filters = append(b.Filters, f)
		g.In = f.Name
	}
	b.Groups = []device.PeerGroup{g}
	for i := range rapid.IntRange(0, 4).Draw(t, "ports") {
		p := device.Interface{Name: fmt.Sprintf("eth%d", i), Description: rapid.SampledFrom([]string{"", "to a", "to b"}).Draw(t, "description")}
		n := device.Neighbor{RemoteASN: uint32(65100 + rapid.IntRange(0, 1).Draw(t, "as")), Group: "fabric", Description: p.Description}
		if rapid.Bool().Draw(t, "unnumbered") {
			n.Interface = p.Name
		} else {
			a := addr(1000 + 2*rapid.IntRange(0, 5).Draw(t, "link")*8 + i)
			p.Addresses = []netip.Prefix{netip.PrefixFrom(a, 31)}
			n.Address = a.Next()
		}
		s.Interfaces = append(s.Interfaces, p)
		b.Neighbors = append(b.Neighbors, n)
	}
	if rapid.Bool().Draw(t, "routes") {
		s.BGP = b
	}
	return s
}

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

// others are lines of the overlay's and of people, which no change touches.
var others = []Change{
	{[]string{"router bgp 65001"}, "bgp log-neighbor-changes"}, {[]string{"router bgp 65001"}, "neighbor 127.0.0.2 remote-as 65001"},
	{[]string{"router bgp 65001", "address-family ipv4 unicast"}, "network 192.0.2.0/24"}, {[]string{"router bgp 65001", "address-family l2vpn evpn"}, "advertise-all-vni"},
	{[]string{"interface lan"}, "ip address 192.0.2.1/24"}, {nil, "ip prefix-list dci seq 5 permit any"}, {[]string{"bfd", "profile mine"}, "transmit-interval 9"},
}

// From any state, and whatever was changed by hand at things of ours, the changes lead
// to the wanted state, leave what others have, and are none afterwards.
func TestChangesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := someState(t), someState(t)
		a, err := Render(before)
		require.NoError(t, err)
		b, err := Render(after)
		require.NoError(t, err)
		foreign := before.BGP != nil && after.BGP != nil // an instance that goes takes all with it
		for _, daemon := range []string{"zebra", "staticd", "bfdd", "bgpd"} {
			have, want := parse(a.Daemon(daemon)), parse(b.Daemon(daemon))
			tamper(t, have)
			if foreign {
				for _, c := range others {
					take(have, c)
					take(want, c)
				}
			}
			for _, c := range Changes(Reload{Have: text(have), Want: b.Daemon(daemon), Last: a.Daemon(daemon)}) {
				take(have, c)
			}
			require.Equal(t, flat(want), flat(have), daemon)
			require.Empty(t, told(Reload{Have: text(have), Want: b.Daemon(daemon), Last: b.Daemon(daemon)}))
		}
	})
}

// tamper takes out some lines and puts in some about things of ours.
func tamper(t *rapid.T, root *tree) {
	var walk func(n *tree)
	walk = func(n *tree) {
		n.kids = slices.DeleteFunc(n.kids, func(k *tree) bool { return rapid.IntRange(0, 9).Draw(t, "take out") == 0 })
		for _, k := range slices.Clone(n.kids) {
			if o := objectOf(k.line); strings.HasPrefix(o, "neighbor ") && rapid.IntRange(0, 9).Draw(t, "put in") == 0 {
				n.child(o + " shutdown")
			}
			walk(k)
		}
	}
	walk(root)
}

// text writes a tree as FRR shows it.
func text(t *tree) string {
	var b strings.Builder
	var walk func(depth int, t *tree)
	walk = func(depth int, t *tree) {
		for _, k := range t.kids {
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat(" ", depth), k.line)
			walk(depth+1, k)
		}
	}
	walk(0, t)
	return b.String()
}

func FuzzParse(f *testing.F) {
	f.Add(shownBGP)
	f.Add(" \n  a\n b\nc")
	f.Fuzz(func(t *testing.T, s string) {
		once := text(parse(s))
		require.Equal(t, once, text(parse(once)))
		Changes(Reload{Have: s, Want: wantBGP, Last: s})
	})
}

func TestJudges(t *testing.T) {
	for _, c := range []struct {
		change Change
		want   bool
	}{
		{Change{Command: "ip prefix-list far seq 5 permit 10.0.0.0/8"}, true},
		{Change{Command: "no ipv6 prefix-list far seq 5 permit 2001:db8::/32"}, true},
		{Change{Command: "no route-map far"}, true},
		{Change{Context: []string{"route-map far permit 10"}, Command: "set local-preference 50"}, true},
		{Change{Command: "route-map far permit 10"}, true},
		{Change{Context: []string{"router bgp 65001"}, Command: "neighbor eth1 route-map far in"}, false},
		{Change{Command: "hostname leaf1"}, false},
	} {
		require.Equal(t, c.want, Judges([]Change{c.change}), c.change)
	}
	require.False(t, Judges(nil))
}
