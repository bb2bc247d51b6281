package fabric

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/device"
)

// Params say from which pools a plan is made. The zero value is a useful plan;
// so is the zero value of each field.
type Params struct {
	// Protocol routes between the switches: BGP when empty.
	Protocol Protocol `json:"protocol,omitempty"`

	ASNs ASNs `json:"asns,omitzero"`

	Loopbacks  netip.Prefix `json:"loopbacks,omitzero"`  // 10.255.0.0/16: router IDs
	Loopbacks6 netip.Prefix `json:"loopbacks6,omitzero"` // none; needs Unnumbered or P2P6
	VTEPs      netip.Prefix `json:"vteps,omitzero"`      // 10.254.0.0/16: of leaves
	P2P        netip.Prefix `json:"p2p,omitzero"`        // 10.192.0.0/11: links between switches
	P2P6       netip.Prefix `json:"p2p6,omitzero"`       // none; a /96, in which links have the bits of their IPv4 addresses
	Racks      netip.Prefix `json:"racks,omitzero"`      // 10.64.0.0/10: hypervisors and hardware VTEPs

	RackLength int `json:"rackLength,omitempty"` // 24: length of a leaf's rack prefix
	MTU        int `json:"mtu,omitempty"`        // 9216: of links that give none

	// Colours is how many addresses each VTEP has besides its own, so that traffic to
	// one of them is steered apart from other traffic (package steering); none when
	// zero. They are taken from ColourPool. Only where BGP routes.
	Colours    int          `json:"colours,omitempty"`
	ColourPool netip.Prefix `json:"colourPool,omitzero"` // 10.128.0.0/10

	Unnumbered bool   `json:"unnumbered,omitempty"` // no addresses between switches
	Timers     Timers `json:"timers,omitzero"`
	BFD        bool   `json:"bfd,omitempty"` // on every session or adjacency: bfdInterval, bfdMultiplier

	// Controllers are the addresses from which controllers may announce routes to
	// single leaves (package steering): where BGP routes.
	Controllers []netip.Addr `json:"controllers,omitempty"`
	// Accept are prefixes of others, besides those of the pools.
	Accept []device.Match `json:"accept,omitempty"`
}

// Protocol is the routing protocol of an underlay.
type Protocol string

// The protocols: eBGP (RFC 7938), or IS-IS with all switches in level 2 of one
// area (ISO 10589, RFC 1195).
const (
	BGP  Protocol = "bgp"
	ISIS Protocol = "isis"
)

// ASNs are the first AS numbers of each role, private ones (RFC 6996).
type ASNs struct {
	Superspine uint32 `json:"superspine,omitempty"` // 4200000000, for all
	Spine      uint32 `json:"spine,omitempty"`      // 4200001001, one a pod
	Border     uint32 `json:"border,omitempty"`     // 4200010001, one each
	Leaf       uint32 `json:"leaf,omitempty"`       // 4200100001, one each
}

// Timers are BGP's, in seconds.
type Timers struct {
	Keepalive int `json:"keepalive,omitempty"` // 3
	Hold      int `json:"hold,omitempty"`      // 9
}

// maximumPaths is how many equal-cost paths switches use at once.
const maximumPaths = 64

// DefaultMTU is the MTU of an underlay link when none is given.
const DefaultMTU = 9216

// vxlanOverhead is what VXLAN adds to an IP packet: inner Ethernet, VXLAN, UDP
// and IPv4 headers (RFC 7348 section 5).
const vxlanOverhead = 14 + 8 + 8 + 20

// minMTU carries a tenant's 1500 bytes.
const minMTU = 1500 + vxlanOverhead

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Defaults fills in what is left out.
func (p Params) Defaults() Params {
	p.Protocol = or(p.Protocol, BGP)
	p.ASNs.Superspine = or(p.ASNs.Superspine, 4200000000)
	p.ASNs.Spine = or(p.ASNs.Spine, 4200001001)
	p.ASNs.Border = or(p.ASNs.Border, 4200010001)
	p.ASNs.Leaf = or(p.ASNs.Leaf, 4200100001)
	p.Loopbacks = or(p.Loopbacks, netip.MustParsePrefix("10.255.0.0/16"))
	p.VTEPs = or(p.VTEPs, netip.MustParsePrefix("10.254.0.0/16"))
	p.P2P = or(p.P2P, netip.MustParsePrefix("10.192.0.0/11"))
	p.Racks = or(p.Racks, netip.MustParsePrefix("10.64.0.0/10"))
	p.RackLength = or(p.RackLength, 24)
	p.ColourPool = or(p.ColourPool, netip.MustParsePrefix("10.128.0.0/10"))
	p.MTU = or(p.MTU, DefaultMTU)
	p.Timers.Keepalive = or(p.Timers.Keepalive, 3)
	p.Timers.Hold = or(p.Timers.Hold, 9)
	return p
}

type pool struct {
	name   string
	prefix netip.Prefix
	ipv6   bool
}

// pools that the plan takes addresses from.
func (p Params) pools() []pool {
	ps := []pool{{"Loopbacks", p.Loopbacks, false}, {"VTEPs", p.VTEPs, false}, {"Racks", p.Racks, false}}
	if !p.Unnumbered {
		ps = append(ps, pool{"P2P", p.P2P, false})
	}
	if p.Colours > 0 {
		ps = append(ps, pool{"Colours", p.ColourPool, false})
	}
	if p.Loopbacks6.IsValid() {
		ps = append(ps, pool{"Loopbacks6", p.Loopbacks6, true})
	}
	if p.P2P6.IsValid() {
		ps = append(ps, pool{"P2P6", p.P2P6, true})
	}
	return ps
}

// check checks the parameters, with defaults filled in.
func (p Params) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	ps := p.pools()
	for i, a := range ps {
		switch {
		case !a.prefix.IsValid() || a.prefix.Addr().Is4In6() || a.prefix.Addr().Is6() != a.ipv6:
			fail("pool %s: %s is not a prefix of the right IP version", a.name, a.prefix)
			continue
		case a.prefix != a.prefix.Masked():
			fail("pool %s: %s has host bits set: use %s", a.name, a.prefix, a.prefix.Masked())
		case a.prefix.Bits() > a.prefix.Addr().BitLen()-4:
			fail("pool %s: %s is too small", a.name, a.prefix)
		}
		for _, b := range ps[:i] {
			if a.prefix.Overlaps(b.prefix) {
				fail("pool %s (%s) overlaps pool %s (%s): choose pools apart", a.name, a.prefix, b.name, b.prefix)
			}
		}
	}
	switch {
	case p.Protocol != BGP && p.Protocol != ISIS:
		fail("protocol %q is not known: use %s or %s", p.Protocol, BGP, ISIS)
	case p.Protocol == BGP && p.Loopbacks6.IsValid() && !p.Unnumbered && !p.P2P6.IsValid():
		// IS-IS has them from its hellos (RFC 5308).
		fail("pool Loopbacks6 is given but neither Unnumbered nor P2P6 is: IPv6 routes need IPv6 next hops, which links numbered by IPv4 only don't have")
	case p.P2P6.IsValid() && !p.Loopbacks6.IsValid():
		fail("pool P2P6 is given but Loopbacks6 is not: there is nothing to route by IPv6")
	case p.P2P6.IsValid() && p.Unnumbered:
		fail("pool P2P6 is given but links are unnumbered: leave one of them out")
	case p.P2P6.IsValid() && p.P2P6.Bits() != 96:
		fail("pool P2P6: %s is not a /96: the last 32 bits of a link's addresses are those of its IPv4 addresses", p.P2P6)
	}
	if p.RackLength <= p.Racks.Bits() || p.RackLength > 31 {
		fail("rack length /%d does not fit pool Racks (%s): use /%d to /31", p.RackLength, p.Racks, p.Racks.Bits()+1)
	}
	switch {
	case p.Colours < 0 || p.Colours > intent.MaxColours:
		fail("%d colours are outside 0..%d", p.Colours, intent.MaxColours)
	case p.Colours > 0 && p.Protocol != BGP:
		fail("colours need BGP in the underlay: what %s routes is not steered", p.Protocol)
	case p.Colours > 0 && p.ColourPool.Bits() >= p.colourBits():
		fail("pool Colours (%s) has no room for a /%d of a leaf and one of a border: give a larger pool", p.ColourPool, p.colourBits())
	}
	for i, a := range p.Controllers {
		if !a.Is4() || a.IsUnspecified() || a.IsMulticast() || slices.Contains(p.Controllers[:i], a) {
			fail("controller %s: it is no unicast IPv4 address, or is given twice", a)
		}
	}
	if t := p.Timers; t.Keepalive < 1 || t.Hold < 3 || t.Hold > 65535 || t.Keepalive > t.Hold/3 {
		fail("timers %d %d: hold time must be 3 seconds or more and three times the keepalive (RFC 4271 section 4.4)", t.Keepalive, t.Hold)
	}
	return errors.Join(errs...)
}

// The timers of BFD: a link that carries nothing in one direction is noticed after
// 60 to 90 ms (RFC 5880 section 6.8.7: what is sent is jittered by up to 25 %). With
// a real-time priority for bfdd, two cores at twenty times their load bore 10 ms
// without a false alarm, and without one 50 ms bore a few: shorter intervals would
// buy little, since bgpd takes another 60 ms to act.
const (
	bfdInterval   = 30 // milliseconds
	bfdMultiplier = 3
)

func (p Params) bfd() *device.BFD {
	if !p.BFD {
		return nil
	}
	return &device.BFD{Interval: bfdInterval, Multiplier: bfdMultiplier}
}
