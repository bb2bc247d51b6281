package fabric

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-sdn/weft/topology"
)

// The pools of IPv6 underlays: unique local addresses (RFC 4193).
var (
	defaultLoopbacks6 = netip.MustParsePrefix("fd00:ff::/64")
	defaultP2P6       = netip.MustParsePrefix("fd00:c0::/96")
)

// ParamsOf are the parameters that a graph asks for by the label weft-underlay of
// its switches: words of ParseUnderlay. It is a fabric's choice, not a switch's:
// all that have the label must say the same, and it is best written once, at the
// defaults or the switches' group. Without a label it is BGP, numbered, IPv4, with
// BFD.
func ParamsOf(g *topology.Graph) (Params, error) {
	var said, by string
	for _, n := range g.Switches() {
		label, ok := n.Labels[topology.LabelUnderlay]
		if !ok {
			continue
		}
		words := strings.Join(strings.Fields(label), " ")
		if by != "" && words != said {
			return Params{}, fmt.Errorf("label %s: %s says %q and %s says %q: it is one for the whole fabric", topology.LabelUnderlay, by, said, n.Name, words)
		}
		said, by = words, n.Name
	}
	p, err := ParseUnderlay(said)
	if err != nil {
		return p, fmt.Errorf("node %s: label %s: %w", by, topology.LabelUnderlay, err)
	}
	return p, nil
}

// ParseUnderlay reads what an underlay is to be, in any order:
//
//	bgp | isis              the protocol; bgp when left out
//	numbered | unnumbered   whether links between switches have addresses of their own; numbered when left out
//	ipv6                    IPv6 routes beside those of IPv4
//	bfd | no-bfd            BFD on every session or adjacency (RFC 5880); bfd when left out
func ParseUnderlay(words string) (Params, error) {
	p := Params{BFD: true}
	six, seen := false, map[string]string{}
	for _, w := range strings.Fields(strings.ToLower(words)) {
		about := w
		switch w {
		case "bgp", "isis":
			p.Protocol, about = Protocol(w), "protocol"
		case "numbered", "unnumbered":
			p.Unnumbered, about = w == "unnumbered", "numbers"
		case "ipv4": // always
		case "ipv6":
			six = true
		case "bfd", "no-bfd":
			p.BFD, about = w == "bfd", "BFD"
		default:
			return Params{}, fmt.Errorf("%q is not known: use bgp or isis, numbered or unnumbered, ipv6, bfd or no-bfd", w)
		}
		if old, ok := seen[about]; ok && old != w {
			return Params{}, fmt.Errorf("%s and %s exclude each other", old, w)
		}
		seen[about] = w
	}
	if p.Protocol != ISIS {
		p.Colours = DefaultColours
	}
	if six {
		p.Loopbacks6 = defaultLoopbacks6
		if !p.Unnumbered {
			p.P2P6 = defaultP2P6
		}
	}
	return p, nil
}

// String says what the underlay is, in the words of ParseUnderlay.
func (p Params) String() string {
	p = p.Defaults()
	words := []string{string(p.Protocol), "numbered"}
	if p.Unnumbered {
		words[1] = "unnumbered"
	}
	if p.Loopbacks6.IsValid() {
		words = append(words, "ipv6")
	}
	if p.BFD {
		return strings.Join(append(words, "bfd"), " ")
	}
	return strings.Join(append(words, "no-bfd"), " ")
}
