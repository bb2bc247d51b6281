package fabric

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/ipam"
	"github.com/weft-sdn/weft/topology"
)

// Plan makes the facts of a fabric. Its result depends on names only, and on
// the order of g.Links only in the order of Facts.Links.
func Plan(g *topology.Graph, params Params) (*Facts, error) {
	return planStated(g, params, stated{})
}

// planStated is Plan where some of the result is given.
func planStated(g *topology.Graph, params Params, given stated) (*Facts, error) {
	p := &planner{Facts: &Facts{Params: params.Defaults(), nodes: map[string]int{}}, stated: given}
	p.taken = given.taken(p.Params.RackLength)
	if err := p.Params.check(); err != nil {
		return nil, fmt.Errorf("plan fabric: %w", err)
	}
	for _, step := range []func(*topology.Graph) error{p.addNodes, p.addLinks} {
		if err := step(g); err != nil {
			return nil, fmt.Errorf("plan fabric: %w", err)
		}
	}
	p.index()
	p.countPods()
	for _, step := range []func() error{p.numberNodes, p.numberLinks, p.numberColours} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("plan fabric: %w", err)
		}
	}
	p.addSessions()
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("plan fabric: %w", err)
	}
	return p.Facts, nil
}

type planner struct {
	*Facts
	stated stated
	taken  taken // what is stated, and what was given since
}

// tier orders roles from the edge up. Of two ends the lower one owns the link's
// addresses.
func tier(r intent.Role) int {
	switch r {
	case intent.RoleHypervisor, intent.RoleVTEP:
		return 0
	case intent.RoleLeaf, intent.RoleBorder:
		return 1
	case intent.RoleSpine:
		return 2
	}
	return 3
}

// part is a role's part of a pool.
func part(r intent.Role) uint64 {
	switch r {
	case intent.RoleLeaf:
		return 0
	case intent.RoleBorder:
		return 1
	case intent.RoleSpine:
		return 2
	}
	return 3
}

func (p *planner) addNodes(g *topology.Graph) error {
	for _, n := range g.Nodes {
		if n.Role.Switch() || n.Role.Tunnels() {
			p.Nodes = append(p.Nodes, Node{Name: n.Name, Role: n.Role})
		}
	}
	slices.SortFunc(p.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(tier(b.Role), tier(a.Role)), cmp.Compare(a.Role, b.Role), Natural(a.Name, b.Name))
	})
	var errs []error
	for i, n := range p.Nodes {
		if _, twice := p.nodes[n.Name]; twice {
			errs = append(errs, fmt.Errorf("node %s is there twice", n.Name))
		}
		p.nodes[n.Name] = i
	}
	return errors.Join(errs...)
}

// role is a node's role; of nodes without a plan, empty.
func (p *planner) role(node string) intent.Role {
	n, _ := p.Node(node)
	return n.Role
}

// tunnelEnds are the words for devices behind a leaf at which tunnels end.
var tunnelEnds = map[intent.Role]string{intent.RoleHypervisor: "hypervisor", intent.RoleVTEP: "hardware VTEP"}

// addLinks keeps the links between switches, and from leaves to hypervisors and
// hardware VTEPs.
func (p *planner) addLinks(g *topology.Graph) error {
	var errs []error
	used := map[string]string{}
	known := map[string]bool{}
	for _, n := range g.Nodes {
		known[n.Name] = true
	}
	for _, gl := range g.Links {
		l := Link{A: End{Node: gl.A.Node, Interface: gl.A.Interface}, B: End{Node: gl.B.Node, Interface: gl.B.Interface}, MTU: or(gl.MTU, p.Params.MTU)}
		for _, e := range []End{l.A, l.B} {
			if !known[e.Node] {
				errs = append(errs, fmt.Errorf("link %s: there is no node %s", l, e.Node))
			}
		}
		a, b := p.role(l.A.Node), p.role(l.B.Node)
		if a == "" || b == "" || a.Tunnels() && b.Tunnels() {
			continue // a server's or a VM's, or one that the underlay doesn't use
		}
		if low, high := min(tier(a), tier(b)), max(tier(a), tier(b)); low == 0 && high > 1 {
			errs = append(errs, fmt.Errorf("link %s: a %s can't be on a spine or superspine: plug it into a leaf", l, cmp.Or(tunnelEnds[a], tunnelEnds[b])))
			continue
		}
		for _, e := range []End{l.A, l.B} {
			if other, twice := used[e.String()]; twice {
				errs = append(errs, fmt.Errorf("link %s: %s is already an end of link %s", l, e, other))
			}
			used[e.String()] = l.String()
		}
		p.Links = append(p.Links, l)
	}
	return errors.Join(errs...)
}

// countPods puts spines that have a leaf in common into one pod and counts the
// pods by their first spines; a leaf is in the pod of its spines. Border leaves
// don't join pods: they may be on several.
func (p *planner) countPods() {
	above := map[string][]string{}
	spine := map[string]string{} // union-find, towards the first name
	for _, n := range p.Nodes {
		if n.Role == intent.RoleSpine {
			spine[n.Name] = n.Name
		}
	}
	for _, l := range p.Links {
		for _, e := range [][2]End{{l.A, l.B}, {l.B, l.A}} {
			if tier(p.role(e[0].Node)) == 1 && p.role(e[1].Node) == intent.RoleSpine {
				above[e[0].Node] = append(above[e[0].Node], e[1].Node)
			}
		}
	}
	var find func(s string) string
	find = func(s string) string {
		if spine[s] != s {
			spine[s] = find(spine[s])
		}
		return spine[s]
	}
	for leaf, spines := range above {
		if p.role(leaf) != intent.RoleLeaf {
			continue
		}
		for _, s := range spines[1:] {
			a, b := find(spines[0]), find(s)
			if Natural(a, b) > 0 {
				a, b = b, a
			}
			spine[b] = a
		}
	}
	pods := map[string]int{}
	for i := range p.Nodes { // spines come before leaves, in natural order
		n := &p.Nodes[i]
		switch {
		case n.Role == intent.RoleSpine:
			first := find(n.Name)
			if pods[first] == 0 {
				pods[first] = len(pods) + 1
			}
			n.Pod = pods[first]
		case above[n.Name] != nil:
			n.Pod = pods[find(slices.MinFunc(above[n.Name], Natural))]
		}
	}
}

// numberNodes gives switches their ASN and addresses.
func (p *planner) numberNodes() error {
	var errs []error
	count := map[intent.Role]uint64{}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if !n.Role.Switch() {
			continue
		}
		rank := count[n.Role]
		count[n.Role]++
		s := p.stated.nodes[n.Name]
		n.ASN, n.Loopback, n.Loopback6, n.VTEP, n.Rack = s.ASN, s.Loopback, s.Loopback6, s.VTEP, s.Rack
		if !p.Params.Loopbacks6.IsValid() {
			n.Loopback6 = netip.Addr{}
		}
		if tier(n.Role) == 1 && !n.Rack.IsValid() {
			n.Rack = p.rackOf(n.Name)
		}
		errs = append(errs, p.numberNode(n, rank))
		n.RouterID = n.Loopback
	}
	return errors.Join(errs...)
}

// rackOf is the rack in which the links to what is behind a leaf are stated to be, if
// some are.
func (p *planner) rackOf(leaf string) netip.Prefix {
	for _, o := range p.ports(leaf, func(far intent.Role, _ string) bool { return far.Tunnels() }) {
		if a := p.stated.ends[o.own.String()]; a.IsValid() && p.Params.Racks.Contains(a.Addr()) {
			return netip.PrefixFrom(a.Addr(), p.Params.RackLength).Masked()
		}
	}
	return netip.Prefix{}
}

// numberNode fills in what is not stated: the numbers of the node's rank, or where
// they are taken those of the next rank whose are free.
func (p *planner) numberNode(n *Node, rank uint64) error {
	if err := p.numberAS(n, rank); err != nil {
		return err
	}
	slots, err := ipam.SubPrefix(p.Params.Loopbacks, p.Params.Loopbacks.Bits()+2, part(n.Role))
	if err != nil {
		return err
	}
	most := uint64(1) << min(slots.Addr().BitLen()-slots.Bits(), 32)
	for try := range most {
		slot := (rank + try) % most
		at, err := p.slot(*n, slot)
		if err != nil && try == 0 {
			return err
		}
		if err != nil || p.taken.slot(*n, at) {
			continue
		}
		n.Loopback, n.Loopback6, n.VTEP, n.Rack = at.Loopback, at.Loopback6, at.VTEP, at.Rack
		for _, a := range []netip.Addr{n.Loopback, n.Loopback6, n.VTEP} {
			p.taken.addrs[a] = true
		}
		p.taken.racks[n.Rack] = true
		return nil
	}
	return fmt.Errorf("%s: %w: no address is left for it in the pools: give larger ones", n.Name, ipam.ErrExhausted)
}

// slot is a node with what it lacks taken from a place in the pools.
func (p *planner) slot(n Node, at uint64) (Node, error) {
	var errs []error
	fail := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: no %s is left for it: %w", n.Name, what, err))
		}
	}
	give := func(a *netip.Addr, name string, pool netip.Prefix) {
		if a.IsValid() || !pool.IsValid() {
			return
		}
		var err error
		// The first address of a part is left out: it would look like a network.
		*a, err = p.address(pool, n.Role, at+1)
		fail("address in pool "+name, err)
	}
	give(&n.Loopback, "Loopbacks", p.Params.Loopbacks)
	give(&n.Loopback6, "Loopbacks6", p.Params.Loopbacks6)
	if tier(n.Role) == 1 {
		give(&n.VTEP, "VTEPs", p.Params.VTEPs)
		if !n.Rack.IsValid() {
			half, err := ipam.SubPrefix(p.Params.Racks, p.Params.Racks.Bits()+1, part(n.Role))
			fail("part of pool Racks", err)
			n.Rack, err = ipam.SubPrefix(half, p.Params.RackLength, at)
			fail("prefix in pool Racks", err)
		}
	}
	return n, errors.Join(errs...)
}

// numberAS gives a switch its AS number: that of the others of its pod or tier, or
// the first one of its role that is free.
func (p *planner) numberAS(n *Node, rank uint64) error {
	if n.ASN != 0 {
		return nil
	}
	a := p.Params.ASNs
	base, step := a.Superspine, uint64(0)
	switch n.Role {
	case intent.RoleSpine:
		base, step = a.Spine, uint64(n.Pod-1)
	case intent.RoleBorder:
		base, step = a.Border, rank
	case intent.RoleLeaf:
		base, step = a.Leaf, rank
	}
	if tier(n.Role) > 1 {
		for _, o := range p.Nodes {
			if s := p.stated.nodes[o.Name].ASN; o.Role == n.Role && o.Pod == n.Pod && (o.ASN != 0 || s != 0) {
				n.ASN = max(o.ASN, s)
				return nil
			}
		}
	}
	for ; ; step++ {
		asn, err := ipam.Range[uint32]{First: base, Last: ipam.PrivateASNs().Last}.At(step)
		if err != nil {
			return fmt.Errorf("%s: no ASN is left for it: %w", n.Name, err)
		}
		if mine := (roleASN{n.Role, asn}); !p.taken.asns[asn] && !p.taken.given[mine] {
			n.ASN, p.taken.given[mine] = asn, true
			return nil
		}
	}
}

// address is the address with an index in a role's quarter of a pool.
func (p *planner) address(pool netip.Prefix, r intent.Role, index uint64) (netip.Addr, error) {
	quarter, err := ipam.SubPrefix(pool, pool.Bits()+2, part(r))
	if err != nil {
		return netip.Addr{}, err
	}
	return ipam.Addr(quarter, index)
}
