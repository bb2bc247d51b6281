package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/device"
)

// Names in a device's state.
const (
	groupName  = "fabric" // peer group, BFD profile and IS-IS instance
	group6Name = "fabric6"
	filterName = "underlay"
)

// Device is the state of one switch.
func Device(f *Facts, node string) (device.State, error) {
	n, ok := f.Node(node)
	if !ok || !n.Role.Switch() {
		return device.State{}, fmt.Errorf("device %s: the fabric has no switch of this name", node)
	}
	s := device.State{Hostname: n.Name, Role: n.Role, Drained: n.Drained, Loopbacks: hostPrefixes(append([]netip.Addr{n.Loopback, n.VTEP, n.Loopback6}, n.Colours...)...)}
	for _, l := range f.LinksOf(node) {
		i := device.Interface{Name: l.A.Interface, Description: "to " + l.B.String(), MTU: l.MTU}
		for _, a := range []netip.Prefix{l.A.Address, l.A.Address6} {
			if a.IsValid() {
				i.Addresses = append(i.Addresses, a)
			}
		}
		s.Interfaces = append(s.Interfaces, i)
	}
	slices.SortFunc(s.Interfaces, func(a, b device.Interface) int { return Natural(a.Name, b.Name) })
	if n.Rack.IsValid() {
		// The rack is announced as a whole, whatever is plugged in: what is
		// not ends here instead of going back up.
		s.Statics = []device.Static{{Prefix: n.Rack}}
	}
	if n.ColourRacks.IsValid() {
		// As a whole too, so that all spines always lead there; what is behind the
		// leaf has its addresses on its own interface.
		s.Statics = append(s.Statics, device.Static{Prefix: n.ColourRacks})
		for _, behind := range f.coloured(n) {
			for _, a := range behind.Colours {
				s.Statics = append(s.Statics, device.Static{Prefix: netip.PrefixFrom(a, a.BitLen()), Via: behind.VTEP})
			}
		}
	}
	if f.Params.Protocol == ISIS {
		f.isis(n, &s)
		return s, nil
	}
	s.BGP = f.bgp(n)
	return s, nil
}

func hostPrefixes(as ...netip.Addr) []netip.Prefix {
	var ps []netip.Prefix
	for _, a := range as {
		if a.IsValid() {
			ps = append(ps, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return ps
}

func (f *Facts) bgp(n Node) *device.BGP {
	t := f.Params.Timers
	b := &device.BGP{
		ASN: n.ASN, RouterID: n.RouterID, MaximumPaths: maximumPaths,
		Groups: []device.PeerGroup{{
			Name: groupName, Keepalive: t.Keepalive, Hold: t.Hold, BFD: f.Params.bfd(),
			In: filterName, Out: filterName,
		}},
		Networks: hostPrefixes(n.Loopback, n.VTEP, n.Loopback6),
		Filters:  f.filters(),
		Sources:  sources(n),
	}
	if tier(n.Role) == 1 {
		b.Injectors = f.Params.Controllers
	}
	if f.Params.P2P6.IsValid() {
		// Each session has the routes of its own IP version.
		b.Groups[0].Family = device.IPv4
		six := b.Groups[0]
		six.Name, six.Family = group6Name, device.IPv6
		b.Groups = append(b.Groups, six)
	}
	if n.Rack.IsValid() {
		b.Networks = append(b.Networks, n.Rack)
	}
	if n.ColourRacks.IsValid() {
		b.Networks = append(b.Networks, n.ColourRacks)
	}
	ss := f.SessionsOf(n.Name)
	slices.SortStableFunc(ss, func(a, b Session) int { return Natural(a.Local.Interface, b.Local.Interface) })
	for _, s := range ss {
		nb := device.Neighbor{RemoteASN: s.RemoteASN, Group: groupName, Description: s.Remote.String()}
		if nb.Address = s.Address(); !nb.Address.IsValid() {
			nb.Interface = s.Local.Interface
		}
		if s.IPv6 {
			nb.Group = group6Name
		}
		nb.Passive = f.waits(s)
		b.Neighbors = append(b.Neighbors, nb)
	}
	return b
}

// waits reports whether the local end of a session lets the other connect: the upper
// one of two tiers, else the one with the later name. FRR 8.4's bgpd can lose the
// count of its sockets when both connect at once, and then answers nobody any more.
func (f *Facts) waits(s Session) bool {
	local, _ := f.Node(s.Local.Node)
	remote, _ := f.Node(s.Remote.Node)
	if a, b := tier(local.Role), tier(remote.Role); a != b {
		return a > b
	}
	return Natural(local.Name, remote.Name) > 0
}

// filters permit what the fabric announces.
func (f *Facts) filters() []device.Filter {
	p := f.Params
	hosts := func(p netip.Prefix) device.Match {
		return device.Match{Prefix: p, MinLength: p.Addr().BitLen(), MaxLength: p.Addr().BitLen()}
	}
	permit := []device.Match{
		hosts(p.Loopbacks), hosts(p.VTEPs), {Prefix: p.Racks, MinLength: p.RackLength, MaxLength: p.RackLength},
	}
	if p.Colours > 0 {
		permit = append(permit, device.Match{Prefix: p.ColourPool, MinLength: p.colourBits(), MaxLength: p.colourBits()})
	}
	if p.Loopbacks6.IsValid() {
		permit = append(permit, hosts(p.Loopbacks6))
	}
	permit = append(permit, p.Accept...)
	return []device.Filter{{Name: filterName, Permit: permit}}
}

// Intent returns the objects to register for a planned fabric: Node, Link and, last,
// Fabric.
// How to reach a hypervisor's Open vSwitch, a hardware VTEP's database or an
// EVPN leaf is left out: only who runs it knows.
func Intent(f *Facts) []intent.Object {
	var os []intent.Object
	for _, n := range f.Nodes {
		os = append(os, &intent.Node{
			Header:   intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindNode},
			Metadata: intent.Metadata{Name: n.Name},
			Spec:     intent.NodeSpec{Role: n.Role, ASN: n.ASN, Loopback: n.Loopback, VTEP: n.VTEP, Colours: n.Colours, Loopback6: n.Loopback6, Rack: n.Rack},
		})
	}
	for _, l := range f.Links {
		os = append(os, &intent.Link{
			Header:   intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindLink},
			Metadata: intent.Metadata{Name: LinkName(l)},
			Spec: intent.LinkSpec{MTU: l.MTU, Endpoints: []intent.LinkEnd{
				{Node: l.A.Node, Interface: l.A.Interface, Address: l.A.Address},
				{Node: l.B.Node, Interface: l.B.Interface, Address: l.B.Address},
			}},
		})
	}
	return append(os, &intent.Fabric{
		Header:   intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindFabric},
		Metadata: intent.Metadata{Name: intent.FabricName},
		Spec:     SpecOf(f.Params),
	})
}

// LinkName names a link's object: "leaf1:eth1-spine1:eth1", the ends in natural
// order whatever the file's. Characters that no name may have become '-'.
func LinkName(l Link) string { return linkName(l.A.String(), l.B.String()) }

func linkName(a, b string) string {
	if Natural(a, b) > 0 {
		a, b = b, a
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._:", r) {
			return r
		}
		return '-'
	}, a+"-"+b)
}
