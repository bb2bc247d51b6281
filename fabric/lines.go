package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/device"
)

// Names in a device's state of what lines need.
const (
	linesOut  = "lines" // filter of what is announced over lines
	linesName = "lines-"
)

// detour is by how many AS numbers the way to a better line may be longer than that
// to a worse one: with pods, from a border leaf over spine, superspine and spine to
// another. Each step of preference makes AS paths longer by more than that, so that
// the better line is preferred from everywhere.
const detour = 4

// lineBFD finds a line that is silent, also one over the Internet, in 0.9 s.
var lineBFD = device.BFD{Interval: 300, Multiplier: 3}

// AddLines puts the lines of interconnects into the state of a switch.
//
// Every switch takes the prefixes of the other fabrics. A border leaf has two eBGP
// sessions on each line. One is by link-local addresses, is there at once, and what
// comes over it is worse than what comes over any other. The other is by the line's
// IPv4 addresses and has the line's preference; its OPEN is delayed by the hold-down
// (the DelayOpenTimer of RFC 4271 section 8.1.1), and begins anew whenever BFD or the
// carrier is lost. So a line carries what no other can as soon as it is up, and what
// another can after it was up for that time; neither agent nor controller takes part.
//
// Preference is by the length of AS paths, for local preference ends at the border
// leaf: all that comes over worse lines has the border leaf's AS prepended.
func AddLines(f *Facts, s device.State, all ...*intent.Interconnect) (device.State, error) {
	all = slices.DeleteFunc(slices.Clone(all), func(c *intent.Interconnect) bool { return len(c.Spec.Lines) == 0 })
	if len(all) == 0 {
		return s, nil
	}
	if s.BGP == nil || f.Params.Protocol != BGP {
		return s, fmt.Errorf("%s: spec.lines: lines to other fabrics need BGP in the underlay: take them out, or give the fabric BGP", all[0].Ref())
	}
	slices.SortFunc(all, func(a, b *intent.Interconnect) int { return Natural(a.Metadata.Name, b.Metadata.Name) })
	b := *s.BGP
	b.Groups, b.Neighbors, b.Policies, b.Filters = slices.Clone(b.Groups), slices.Clone(b.Neighbors), slices.Clone(b.Policies), slices.Clone(b.Filters)
	s.BGP, s.Interfaces = &b, slices.Clone(s.Interfaces)
	for _, c := range all {
		if err := f.checkPrefixes(c); err != nil {
			return s, err
		}
		for i, filter := range b.Filters {
			if filter.Name == filterName {
				filter.Permit = append(slices.Clone(filter.Permit), within(c.Spec.Prefixes)...)
				b.Filters[i] = filter
			}
		}
	}
	first := true
	for _, c := range all {
		here := slices.DeleteFunc(slices.Clone(c.Spec.Lines), func(l intent.Line) bool { return l.Node != s.Hostname })
		if len(here) == 0 {
			continue
		}
		if first {
			b.Filters, first = append(b.Filters, device.Filter{Name: linesOut, Permit: f.vteps()}), false
		}
		b.Filters = append(b.Filters, device.Filter{Name: linesName + c.Metadata.Name, Permit: within(c.Spec.Prefixes)})
		for _, l := range here {
			if slices.ContainsFunc(s.Interfaces, func(i device.Interface) bool { return i.Name == l.Interface }) {
				return s, fmt.Errorf("device %s: line %s of %s: %s is an interface of the fabric: give the line another", s.Hostname, l.Name, c.Ref(), l.Interface)
			}
			addLine(&s, f.Params, c, l)
		}
	}
	slices.SortFunc(s.Interfaces, func(a, b device.Interface) int { return Natural(a.Name, b.Name) })
	return s, nil
}

// addLine adds a line's interface and its two sessions.
func addLine(s *device.State, p Params, c *intent.Interconnect, l intent.Line) {
	what := fmt.Sprintf("line %s of %s", l.Name, c.Metadata.Name)
	s.Interfaces = append(s.Interfaces, device.Interface{Name: l.Interface, Description: what, Addresses: []netip.Prefix{l.Address}})
	preferences := c.Spec.Preferences()
	rank := slices.Index(preferences, l.Prefers())
	passive := l.Peer.Less(l.Address.Addr()) // both ends can tell
	s.BGP.Neighbors = append(s.BGP.Neighbors,
		device.Neighbor{Interface: l.Interface, LinkLocal: true, Passive: passive, RemoteASN: l.ASN, Group: lineGroup(s.BGP, p, c, l, len(preferences)), Description: what + ", held down"},
		device.Neighbor{Address: l.Peer, Passive: passive, RemoteASN: l.ASN, Group: lineGroup(s.BGP, p, c, l, rank), Description: what},
	)
}

// lineGroup is the peer group of sessions of one rank, and one weight where there are
// several; it is added when it is not there. Of a rank after those of all preferences
// are the sessions that are not delayed.
func lineGroup(b *device.BGP, p Params, c *intent.Interconnect, l intent.Line, rank int) string {
	name := linesName + c.Metadata.Name + "-" + strconv.Itoa(rank)
	policy := device.ImportPolicy{Prepend: rank * (detour + 1)}
	if c.Spec.Weighted() {
		policy.Bandwidth = l.Share()
		name += "-" + strconv.Itoa(policy.Bandwidth)
	}
	if slices.ContainsFunc(b.Groups, func(g device.PeerGroup) bool { return g.Name == name }) {
		return name
	}
	bfd := lineBFD
	g := device.PeerGroup{Name: name, Family: device.IPv4, Keepalive: p.Timers.Keepalive, Hold: p.Timers.Hold, BFD: &bfd, In: linesName + c.Metadata.Name, Out: linesOut}
	if rank < len(c.Spec.Preferences()) {
		g.DelayOpen = int(c.Spec.HeldDown().Seconds())
	}
	if policy != (device.ImportPolicy{}) {
		policy.Name, g.Policy = name, name
		b.Policies = append(b.Policies, policy)
	}
	b.Groups = append(b.Groups, g)
	return name
}

// vteps permit what another fabric is told: VTEPs and racks.
func (f *Facts) vteps() []device.Match {
	p := f.Params
	return []device.Match{{Prefix: p.VTEPs, MinLength: 32, MaxLength: 32}, {Prefix: p.Racks, MinLength: p.RackLength, MaxLength: p.RackLength}}
}

// within permit prefixes and all inside them.
func within(ps []netip.Prefix) []device.Match {
	var ms []device.Match
	for _, p := range ps {
		ms = append(ms, device.Match{Prefix: p, MinLength: p.Bits(), MaxLength: p.Addr().BitLen()})
	}
	return ms
}

// checkPrefixes refuses prefixes of another fabric that are also here: it could draw
// traffic of this one.
func (f *Facts) checkPrefixes(c *intent.Interconnect) error {
	p := f.Params
	for i, other := range c.Spec.Prefixes {
		pools := []netip.Prefix{p.Loopbacks, p.VTEPs, p.P2P, p.Racks}
		if p.Colours > 0 {
			pools = append(pools, p.ColourPool)
		}
		for _, pool := range pools {
			if pool.Overlaps(other) {
				return fmt.Errorf("%s: spec.prefixes[%d]: %s overlaps pool %s of this fabric: both need addresses of their own", c.Ref(), i, other, pool)
			}
		}
	}
	return nil
}
