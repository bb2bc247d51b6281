package fabric

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/ipam"
)

// DefaultColours is how many colours new fabrics are given.
const DefaultColours = 4

// colourBits is the length of the prefix that has all colours of one rack: with four
// colours and racks of /24, a /22.
func (p Params) colourBits() int { return p.RackLength - bits.Len(uint(max(p.Colours, 1)-1)) }

// numberColours gives each leaf a prefix of its own in pool Colours, and to its VTEP
// and to those behind it an address of each colour. Colour k of a rack is the k-th
// prefix of the rack's length in that of the leaf; a VTEP behind the leaf has the host
// number in it that it has in the rack, the leaf's the first one that none of those
// has. A leaf that somebody else configures has none, and nothing behind it; nor has a
// hardware VTEP.
func (p *planner) numberColours() error {
	if p.Params.Colours == 0 {
		return nil
	}
	taken, count := map[netip.Prefix]bool{}, map[intent.Role]uint64{}
	for _, s := range p.stated.nodes {
		if s.Role.Switch() && len(s.Colours) > 0 {
			taken[netip.PrefixFrom(s.Colours[0], p.Params.colourBits()).Masked()] = true
		}
	}
	var errs []error
	for i := range p.Nodes {
		n := &p.Nodes[i]
		rank := count[n.Role]
		count[n.Role]++
		s := p.stated.nodes[n.Name]
		switch {
		case tier(n.Role) != 1 || s.Foreign():
			continue
		case len(s.Colours) > 0:
			n.ColourRacks = netip.PrefixFrom(s.Colours[0], p.Params.colourBits()).Masked()
		default:
			var err error
			if n.ColourRacks, err = p.colourRacks(*n, rank, taken); err != nil {
				errs = append(errs, err)
				continue
			}
			taken[n.ColourRacks] = true
		}
		errs = append(errs, p.colour(n, s.Colours))
	}
	return errors.Join(errs...)
}

// colourRacks is the prefix of a leaf's rank, or the next one that is free. Leaves
// have one half of the pool, borders the other.
func (p *planner) colourRacks(n Node, rank uint64, taken map[netip.Prefix]bool) (netip.Prefix, error) {
	half, err := ipam.SubPrefix(p.Params.ColourPool, p.Params.ColourPool.Bits()+1, part(n.Role))
	if err != nil {
		return netip.Prefix{}, err
	}
	most := uint64(1) << (p.Params.colourBits() - half.Bits())
	for try := range most {
		racks, err := ipam.SubPrefix(half, p.Params.colourBits(), (rank+try)%most)
		if err == nil && !taken[racks] {
			return racks, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("%s: %w: no /%d is left in pool Colours (%s): give a larger pool, or fewer colours", n.Name, ipam.ErrExhausted, p.Params.colourBits(), p.Params.ColourPool)
}

// colour gives a leaf's VTEP and those behind it their addresses: what they state, or
// else those that follow from the leaf's prefix.
func (p *planner) colour(leaf *Node, stated []netip.Addr) error {
	var behind []*Node
	hosts := map[uint64]bool{}
	for _, o := range p.ports(leaf.Name, func(far intent.Role, _ string) bool { return far.Tunnels() }) {
		n := &p.Nodes[p.nodes[o.far.Node]]
		if n.Uplink == o.far.Interface && n.VTEP == o.far.Address.Addr() && leaf.Rack.Contains(n.VTEP) {
			if p.takesColours(*n) {
				behind = append(behind, n)
			}
			hosts[hostNumber(n.VTEP, leaf.Rack.Bits())] = true
		}
	}
	own := uint64(0)
	for hosts[own] {
		own++
	}
	errs := []error{p.colourNode(leaf, *leaf, own, stated)}
	for _, n := range behind {
		errs = append(errs, p.colourNode(n, *leaf, hostNumber(n.VTEP, leaf.Rack.Bits()), p.stated.nodes[n.Name].Colours))
	}
	return errors.Join(errs...)
}

// takesColours reports whether a node takes in what is sent to colours of it.
func (p *planner) takesColours(n Node) bool {
	s := p.stated.nodes[n.Name]
	s.Role = n.Role
	return s.TakesColours()
}

func (p *planner) colourNode(n *Node, leaf Node, host uint64, stated []netip.Addr) error {
	n.Colours = make([]netip.Addr, 0, p.Params.Colours)
	for k := range p.Params.Colours {
		rack, err := ipam.SubPrefix(leaf.ColourRacks, p.Params.RackLength, uint64(k))
		if err != nil {
			return err
		}
		a, err := ipam.Addr(rack, host)
		if err != nil {
			return fmt.Errorf("%s: no address is left for it in %s: %w", n.Name, rack, err)
		}
		if len(stated) > 0 {
			if len(stated) != p.Params.Colours || !rack.Contains(stated[k]) {
				return fmt.Errorf("%s: spec.colours: of %d colours the k-th address is in the k-th /%d of %s, that of its leaf: leave spec.colours out, here and at the leaf, to have them planned", n.Name, p.Params.Colours, p.Params.RackLength, leaf.ColourRacks)
			}
			a = stated[k]
		}
		n.Colours = append(n.Colours, a)
	}
	return nil
}

// hostNumber is what an address has behind a prefix of some length.
func hostNumber(a netip.Addr, length int) uint64 {
	b := a.As4()
	n := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	return n & (1<<(32-length) - 1)
}

// coloured are the nodes behind a leaf that have colours of its prefix.
func (f *Facts) coloured(leaf Node) []Node {
	var out []Node
	for _, l := range f.LinksOf(leaf.Name) {
		n, ok := f.Node(l.B.Node)
		if ok && n.Role.Tunnels() && n.Uplink == l.B.Interface && len(n.Colours) > 0 && leaf.ColourRacks.IsValid() && leaf.ColourRacks.Contains(n.Colours[0]) {
			out = append(out, n)
		}
	}
	return out
}
