package fabric

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/ipam"
)

// blockBits is the length of the prefix out of which a switch numbers the links
// that it owns: 64 of them, as many as there are paths.
const blockBits = 25

const blockSize = 1 << (31 - blockBits)

// numberLinks gives links their addresses. Each link is owned by its lower end,
// between equals by the one that comes last, which counts it among its own.
func (p *planner) numberLinks() error {
	var errs []error
	count := map[intent.Role]uint64{}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		rank := count[n.Role]
		count[n.Role]++
		switch {
		case n.Role.Tunnels():
			p.chooseUplink(n)
			continue
		case !p.Params.Unnumbered:
			errs = append(errs, p.numberOwned(n, rank))
		}
		if tier(n.Role) == 1 {
			errs = append(errs, p.numberRack(n))
		}
	}
	return errors.Join(errs...)
}

// portOf is a link with the end whose ports are counted.
type portOf struct {
	link     *Link
	own, far *End
}

// ports are a node's links that match, in the natural order of its own
// interfaces.
func (p *planner) ports(node string, match func(far intent.Role, farName string) bool) []portOf {
	var ps []portOf
	for _, i := range p.links[node] {
		l := &p.Links[i]
		o := portOf{l, &l.A, &l.B}
		if l.A.Node != node {
			o.own, o.far = &l.B, &l.A
		}
		if match(p.role(o.far.Node), o.far.Node) {
			ps = append(ps, o)
		}
	}
	slices.SortFunc(ps, func(a, b portOf) int { return Natural(a.own.Interface, b.own.Interface) })
	return ps
}

// before reports whether a switch comes before another of its tier.
func (p *planner) before(a, b string) bool { return p.nodes[a] < p.nodes[b] }

// numberOwned numbers the links of a switch to those above it, from the front
// of its block, and to those beside and before it, from the back.
func (p *planner) numberOwned(n *Node, rank uint64) error {
	up := p.ports(n.Name, func(far intent.Role, _ string) bool { return tier(far) > tier(n.Role) })
	beside := p.ports(n.Name, func(far intent.Role, name string) bool {
		return tier(far) == tier(n.Role) && p.before(name, n.Name)
	})
	if len(up)+len(beside) == 0 {
		return nil
	}
	quarter, err := ipam.SubPrefix(p.Params.P2P, p.Params.P2P.Bits()+2, part(n.Role))
	if err != nil {
		return err
	}
	block, err := p.block(append(slices.Clone(up), beside...), quarter, rank)
	if err != nil {
		return fmt.Errorf("%s: pool P2P (%s) has no /%d left for its links: give a larger pool: %w", n.Name, p.Params.P2P, blockBits, err)
	}
	var errs []error
	for i, o := range append(up, beside...) {
		if i >= blockSize {
			errs = append(errs, fmt.Errorf("link %s: %s has more than %d links to number: %w", o.link, n.Name, blockSize, ipam.ErrExhausted))
			break
		}
		step := 1
		if i >= len(up) {
			i, step = blockSize-1-(i-len(up)), -1
		}
		errs = append(errs, p.number(o, numbering{from: block, index: i, step: step, size: blockSize}))
		if p6 := p.Params.P2P6; p6.IsValid() && o.own.Address.IsValid() {
			o.own.Address6, o.far.Address6 = embed(p6, o.own.Address.Addr()), embed(p6, o.far.Address.Addr())
		}
	}
	return errors.Join(errs...)
}

// embed puts an IPv4 address into the last 32 bits of a /96: the two ends of a
// /31 are those of a /127.
func embed(pool netip.Prefix, a netip.Addr) netip.Prefix {
	b, low := pool.Addr().As16(), a.As4()
	copy(b[12:], low[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), 127)
}

// numberRack numbers the links of a leaf to its hypervisors and hardware VTEPs.
func (p *planner) numberRack(n *Node) error {
	var errs []error
	for i, o := range p.ports(n.Name, func(far intent.Role, _ string) bool { return far.Tunnels() }) {
		if err := p.number(o, numbering{from: n.Rack, index: i, step: 1, size: 1 << max(31-n.Rack.Bits(), 0), ownIsUpper: true}); err != nil {
			errs = append(errs, fmt.Errorf("link %s: rack %s of %s is full: %w", o.link, n.Rack, n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// block is the prefix out of which a switch numbers its links: that in which some
// are stated, or the first free one from its rank on.
func (p *planner) block(own []portOf, quarter netip.Prefix, rank uint64) (netip.Prefix, error) {
	for _, o := range own {
		if a := p.stated.ends[o.own.String()]; a.IsValid() && quarter.Contains(a.Addr()) {
			return a.Addr().Prefix(blockBits)
		}
	}
	for {
		block, err := ipam.SubPrefix(quarter, blockBits, rank)
		if err != nil {
			return block, err
		}
		if !p.taken.blocks[block] {
			p.taken.blocks[block] = true
			return block, nil
		}
		rank++
	}
}

// numbering says which /31 of a prefix a link is to have: the one of an index, or
// where it is taken the next in steps.
type numbering struct {
	from              netip.Prefix
	index, step, size int
	ownIsUpper        bool // the even address is the own one, else the far one
}

// number gives a link the addresses that are stated, or a /31 that is free.
func (p *planner) number(o portOf, n numbering) error {
	own, far := p.stated.ends[o.own.String()], p.stated.ends[o.far.String()]
	switch {
	case own.IsValid() && far.IsValid():
		o.own.Address, o.far.Address = own, far
		return nil
	case own.IsValid() || far.IsValid():
		one := own
		if !one.IsValid() {
			one = far
		}
		if one.Bits() != 31 {
			return fmt.Errorf("link %s: only one end has an address, %s: give the other one too", o.link, one)
		}
		other := one.Masked().Addr()
		if other == one.Addr() {
			other = other.Next()
		}
		o.own.Address, o.far.Address = one, netip.PrefixFrom(other, 31)
		if !own.IsValid() {
			o.own.Address, o.far.Address = o.far.Address, o.own.Address
		}
		return nil
	}
	for range n.size {
		if n.index < 0 || n.index >= n.size {
			n.index = (n.index + n.size) % n.size
		}
		even, err := ipam.SubPrefix(n.from, 31, uint64(n.index))
		if err != nil {
			return err
		}
		odd := netip.PrefixFrom(even.Addr().Next(), 31)
		n.index += n.step
		if p.taken.addrs[even.Addr()] || p.taken.addrs[odd.Addr()] {
			continue
		}
		p.taken.addrs[even.Addr()], p.taken.addrs[odd.Addr()] = true, true
		o.own.Address, o.far.Address = odd, even
		if n.ownIsUpper {
			o.own.Address, o.far.Address = even, odd
		}
		return nil
	}
	return ipam.ErrExhausted
}

// chooseUplink makes the address of the first uplink of a hypervisor or hardware
// VTEP the one at which its tunnels end. Its leaf was numbered before: they come
// last.
func (p *planner) chooseUplink(n *Node) {
	ups := p.ports(n.Name, func(intent.Role, string) bool { return true })
	if len(ups) == 0 {
		return
	}
	n.VTEP, n.Uplink, n.Gateway = ups[0].own.Address.Addr(), ups[0].own.Interface, ups[0].far.Address.Addr()
	leaf, _ := p.Node(ups[0].far.Node)
	n.Pod = leaf.Pod
}

// addSessions puts an eBGP session on every link between switches, and one more
// where the link has IPv6 addresses.
func (p *planner) addSessions() {
	defer p.index()
	if p.Params.Protocol != BGP {
		return
	}
	for _, l := range p.Links {
		a, _ := p.Node(l.A.Node)
		b, _ := p.Node(l.B.Node)
		if !a.Role.Switch() || !b.Role.Switch() {
			continue
		}
		there, back := Session{l.A, l.B, a.ASN, b.ASN, false}, Session{l.B, l.A, b.ASN, a.ASN, false}
		p.Sessions = append(p.Sessions, there, back)
		if l.A.Address6.IsValid() {
			there.IPv6, back.IPv6 = true, true
			p.Sessions = append(p.Sessions, there, back)
		}
	}
}
