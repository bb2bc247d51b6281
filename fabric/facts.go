package fabric

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Facts are what is planned for a whole fabric. They are not changed after Plan
// made them.
type Facts struct {
	Params   Params
	Nodes    []Node    // switches, hypervisors and hardware VTEPs: by role, then in natural order
	Links    []Link    // between two of Nodes, in the graph's order
	Sessions []Session // of BGP, two a link and IP version: each as one of its ends sees it

	nodes           map[string]int
	links, sessions map[string][]int // of a node
}

// Node is a switch, a hypervisor or a hardware VTEP.
type Node struct {
	Name string
	Role intent.Role
	// Pod counts the pods from 1; zero for superspines, and where there is
	// no spine.
	Pod int

	// Of switches:
	ASN       uint32
	RouterID  netip.Addr // is the loopback
	Loopback  netip.Addr
	Loopback6 netip.Addr   // with Params.Loopbacks6
	Rack      netip.Prefix // leaves and borders: where the tunnel ends behind them are
	// ColourRacks has the addresses of all colours at the leaf or border and behind it.
	ColourRacks netip.Prefix
	Drained     bool // traffic is led around it

	// VTEP is where tunnels end; of leaves, borders, and of hypervisors and
	// hardware VTEPs with an uplink.
	VTEP netip.Addr
	// Colours are further addresses of the VTEP, colour 1 first.
	Colours []netip.Addr

	// Of hypervisors and hardware VTEPs: the first uplink, that with the VTEP
	// address.
	Uplink  string     // interface
	Gateway netip.Addr // the leaf's end
}

// Link is a planned link.
type Link struct {
	A, B End
	MTU  int
}

// End is one end of a link.
type End struct {
	Node      string
	Interface string
	Address   netip.Prefix // a /31; not set when unnumbered
	Address6  netip.Prefix // a /127 (RFC 6164), with Params.P2P6
}

// String is "leaf1:eth1".
func (e End) String() string { return e.Node + ":" + e.Interface }

// String is "leaf1:eth1 to spine1:eth1".
func (l Link) String() string { return l.A.String() + " to " + l.B.String() }

// Session is a BGP session as one end sees it.
type Session struct {
	Local, Remote       End
	LocalASN, RemoteASN uint32
	// IPv6 says that the session is by the link's IPv6 addresses, for IPv6
	// routes.
	IPv6 bool
}

// Address is the neighbour's; not set when unnumbered.
func (s Session) Address() netip.Addr {
	if s.IPv6 {
		return s.Remote.Address6.Addr()
	}
	return s.Remote.Address.Addr()
}

// Peer is what FRR calls the session: the neighbour's address, or the own
// interface when unnumbered.
func (s Session) Peer() string {
	if a := s.Address(); a.IsValid() {
		return a.String()
	}
	return s.Local.Interface
}

// AdjacenciesOf returns the links over which a switch has an IS-IS adjacency,
// its end as A; none where BGP routes.
func (f *Facts) AdjacenciesOf(node string) []Link {
	n, _ := f.Node(node)
	if f.Params.Protocol != ISIS || !n.Role.Switch() {
		return nil
	}
	return slices.DeleteFunc(f.LinksOf(node), func(l Link) bool {
		far, _ := f.Node(l.B.Node)
		return !far.Role.Switch()
	})
}

// index notes which links and sessions a node has.
func (f *Facts) index() {
	f.links, f.sessions = map[string][]int{}, map[string][]int{}
	for i, l := range f.Links {
		f.links[l.A.Node] = append(f.links[l.A.Node], i)
		if l.B.Node != l.A.Node {
			f.links[l.B.Node] = append(f.links[l.B.Node], i)
		}
	}
	for i, s := range f.Sessions {
		f.sessions[s.Local.Node] = append(f.sessions[s.Local.Node], i)
	}
}

// Node finds a node by its name.
func (f *Facts) Node(name string) (Node, bool) {
	i, ok := f.nodes[name]
	if !ok {
		return Node{}, false
	}
	return f.Nodes[i], true
}

// LinksOf returns a node's links, the node's end as A.
func (f *Facts) LinksOf(node string) []Link {
	ls := make([]Link, 0, len(f.links[node]))
	for _, i := range f.links[node] {
		l := f.Links[i]
		if l.A.Node != node {
			l.A, l.B = l.B, l.A
		}
		ls = append(ls, l)
	}
	return ls
}

// SessionsOf returns a node's sessions.
func (f *Facts) SessionsOf(node string) []Session {
	ss := make([]Session, 0, len(f.sessions[node]))
	for _, i := range f.sessions[node] {
		ss = append(ss, f.Sessions[i])
	}
	return ss
}

// Link finds the planned link of an interface, the interface's end as A.
func (f *Facts) Link(node, iface string) (Link, bool) {
	for _, l := range f.LinksOf(node) {
		if l.A.Interface == iface {
			return l, true
		}
	}
	return Link{}, false
}

// Check checks the facts against the rules of this package. Plan runs it on
// whatever it returns.
func (f *Facts) Check() error {
	errs := []error{f.Params.check(), f.checkAddresses(), f.checkASNs()}
	for _, l := range f.Links {
		if l.MTU < minMTU {
			errs = append(errs, fmt.Errorf("link %s: MTU %d is too small: VXLAN adds %d bytes to the tenants' 1500 (RFC 7348), so at least %d are needed", l, l.MTU, vxlanOverhead, minMTU))
		}
	}
	return errors.Join(errs...)
}

func (f *Facts) checkAddresses() error {
	var errs []error
	owners := map[netip.Addr]string{}
	claim := func(a netip.Addr, owner string) {
		if other, taken := owners[a]; taken && a.IsValid() {
			errs = append(errs, fmt.Errorf("address %s is given to %s and to %s", a, other, owner))
		}
		owners[a] = owner
	}
	racks, colours := map[netip.Prefix]string{}, map[netip.Prefix]string{}
	for _, n := range f.Nodes {
		if n.Role.Switch() {
			errs = append(errs, f.checkPools(n))
		}
		claim(n.Loopback, n.Name+"'s loopback")
		claim(n.Loopback6, n.Name+"'s IPv6 loopback")
		if n.Role.Switch() {
			claim(n.VTEP, n.Name+"'s VTEP")
		}
		for _, a := range n.Colours {
			claim(a, n.Name+"'s colours")
		}
		if other, taken := colours[n.ColourRacks]; taken && n.ColourRacks.IsValid() {
			errs = append(errs, fmt.Errorf("colours %s are given to %s and to %s", n.ColourRacks, other, n.Name))
		}
		colours[n.ColourRacks] = n.Name
		if other, taken := racks[n.Rack]; taken && n.Rack.IsValid() {
			errs = append(errs, fmt.Errorf("rack %s is given to %s and to %s", n.Rack, other, n.Name))
		}
		racks[n.Rack] = n.Name
	}
	for _, l := range f.Links {
		claim(l.A.Address.Addr(), l.A.String())
		claim(l.B.Address.Addr(), l.B.String())
		claim(l.A.Address6.Addr(), l.A.String())
		claim(l.B.Address6.Addr(), l.B.String())
		if l.A.Address.Masked() != l.B.Address.Masked() {
			errs = append(errs, fmt.Errorf("link %s: its ends are in different prefixes %s and %s", l, l.A.Address, l.B.Address))
		}
	}
	return errors.Join(errs...)
}

// checkPools finds what a switch states outside of the pools: no other switch would
// take it.
func (f *Facts) checkPools(n Node) error {
	var errs []error
	outside := func(what string, is bool, name string, pool netip.Prefix) {
		if is {
			errs = append(errs, fmt.Errorf("%s: %s is outside pool %s (%s), so that no other switch would take it: change it, or the pool", n.Name, what, name, pool))
		}
	}
	p := f.Params
	outside("loopback "+n.Loopback.String(), n.Loopback.IsValid() && !p.Loopbacks.Contains(n.Loopback), "Loopbacks", p.Loopbacks)
	outside("IPv6 loopback "+n.Loopback6.String(), n.Loopback6.IsValid() && !p.Loopbacks6.Contains(n.Loopback6), "Loopbacks6", p.Loopbacks6)
	outside("VTEP "+n.VTEP.String(), n.VTEP.IsValid() && !p.VTEPs.Contains(n.VTEP), "VTEPs", p.VTEPs)
	outside("rack "+n.Rack.String(), n.Rack.IsValid() && !(p.Racks.Contains(n.Rack.Addr()) && n.Rack.Bits() == p.RackLength), "Racks", p.Racks)
	outside("prefix of colours "+n.ColourRacks.String(), n.ColourRacks.IsValid() && !p.ColourPool.Contains(n.ColourRacks.Addr()), "Colours", p.ColourPool)
	return errors.Join(errs...)
}

func (f *Facts) checkASNs() error {
	var errs []error
	type group struct {
		role intent.Role
		pod  int
		leaf string
	}
	owners := map[uint32]group{}
	for _, n := range f.Nodes {
		if !n.Role.Switch() {
			continue
		}
		if !intent.PrivateASN(n.ASN) {
			errs = append(errs, fmt.Errorf("%s: ASN %d is not private (RFC 6996): change the ASN base of role %s", n.Name, n.ASN, n.Role))
		}
		g := group{role: n.Role}
		switch n.Role {
		case intent.RoleSpine:
			g.pod = n.Pod
		case intent.RoleLeaf, intent.RoleBorder:
			g.leaf = n.Name
		}
		if o, taken := owners[n.ASN]; taken && o != g {
			errs = append(errs, fmt.Errorf("%s: ASN %d is already that of a %s: move the ASN bases apart", n.Name, n.ASN, o.role))
		}
		owners[n.ASN] = g
	}
	told := map[string]bool{}
	for _, s := range f.Sessions {
		l := Link{A: s.Local, B: s.Remote}
		if s.LocalASN == s.RemoteASN && !told[LinkName(l)] {
			told[LinkName(l)] = true
			errs = append(errs, fmt.Errorf("link %s joins two switches that share ASN %d, as the spines of a pod and all superspines do: take the link out, or give one of them another role (label weft-role)", l, s.LocalASN))
		}
	}
	return errors.Join(errs...)
}
