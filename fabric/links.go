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
	block, err := ipam.SubPrefix(quarter, blockBits, rank)
	if err != nil {
		return fmt.Errorf("%s: pool P2P (%s) has no /%d left for its links: give a larger pool: %w", n.Name, p.Params.P2P, blockBits, err)
	}
	var errs []error
	for i, o := range append(up, beside...) {
		if i >= blockSize {
			errs = append(errs, fmt.Errorf("link %s: %s has more than %d links to number: %w", o.link, n.Name, blockSize, ipam.ErrExhausted))
			break
		}
		if i >= len(up) {
			i = blockSize - 1 - (i - len(up))
		}
		errs = append(errs, o.number(block, uint64(i), false))
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
		if err := o.number(n.Rack, uint64(i), true); err != nil {
			errs = append(errs, fmt.Errorf("link %s: rack %s of %s is full: %w", o.link, n.Rack, n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// number takes the /31 with an index from a prefix: the even address for the
// upper end.
func (o portOf) number(from netip.Prefix, index uint64, ownIsUpper bool) error {
	p, err := ipam.SubPrefix(from, 31, index)
	if err != nil {
		return err
	}
	even, odd := p, netip.PrefixFrom(p.Addr().Next(), 31)
	if ownIsUpper {
		o.own.Address, o.far.Address = even, odd
	} else {
		o.own.Address, o.far.Address = odd, even
	}
	return nil
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
