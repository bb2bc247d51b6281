package paths

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// Kind says how two sets of paths differ at a switch.
type Kind string

// Kinds of differences.
const (
	// LinkDown: an intended next hop that can't be used, since a link is down.
	LinkDown Kind = "LinkDown"
	// NotLearned: the routing protocol has not an intended next hop.
	NotLearned Kind = "NextHopNotLearned"
	// NotProgrammed: the kernel has not a next hop that the routing protocol has.
	NotProgrammed Kind = "NextHopNotProgrammed"
	// Stale: the kernel has a next hop that the routing protocol has not.
	Stale Kind = "NextHopStale"
	// Unintended: the routing protocol has a next hop that is on no intended path.
	Unintended Kind = "NextHopUnintended"
)

// Difference is a next hop that one set of paths has and another has not.
type Difference struct {
	Kind      Kind
	Switch    string
	Interface string
	Message   string
}

// differences compares the sets at a switch.
func (w walk) differences(h Hop) []Difference {
	if !h.Reported {
		return nil
	}
	var out []Difference
	for _, l := range h.Legs {
		kind, why := w.judge(h, l)
		if kind == "" {
			continue
		}
		out = append(out, Difference{kind, h.Switch, l.Interface, fmt.Sprintf(sentences[kind], h.Switch, named(l), w.to.Name+w.address()) + ": " + why})
	}
	return out
}

// sentences take the switch, the next hop and the destination.
var sentences = map[Kind]string{
	LinkDown:      "%s can't use %s to %s",
	NotLearned:    "%s has not learned %s to %s",
	NotProgrammed: "the kernel of %s lacks %s to %s",
	Stale:         "the kernel of %s still has %s to %s",
	Unintended:    "%s uses %s to %s",
}

// address is the destination's, where its name does not say it.
func (w walk) address() string {
	if w.to.Address.String() == w.to.Name {
		return ""
	}
	return " (" + w.to.Address.String() + ")"
}

func named(l Leg) string {
	if l.Neighbour.Node == "" {
		return "the next hop by " + l.Interface
	}
	return fmt.Sprintf("the next hop %s by %s", l.Neighbour.Node, l.Interface)
}

// judge says what is different about a leg, and why.
func (w walk) judge(h Hop, l Leg) (Kind, string) {
	switch {
	case l.Intended && !l.Up && !l.Learned && !l.Programmed:
		return LinkDown, w.whyDown(h, l)
	case l.Up && !l.Learned && !l.Programmed && !h.Steered:
		return NotLearned, w.whyNotLearned(h, l)
	case l.Learned && !l.Programmed && !h.Steered:
		return NotProgrammed, whyNotProgrammed(h)
	case l.Programmed && !l.Learned && !h.Steered:
		return Stale, "its routing protocol has " + countOf(h.learned)
	case l.Learned && !l.Up && !l.Intended && !h.Steered && !w.leaves(h.Switch, l):
		return Unintended, "no intended shortest path leads there"
	}
	return "", ""
}

func countOf(g *switchstate.Group) string {
	if len(hopsOf(g)) == 0 {
		return "no next hop"
	}
	return "others"
}

// whyDown names the link that is in the way.
func (w walk) whyDown(h Hop, l Leg) string {
	link := topology.Link{A: topology.End{Node: h.Switch, Interface: l.Interface}, B: l.Neighbour}
	if w.down(link) {
		return fmt.Sprintf("the link %s is down", link)
	}
	seen := map[string]bool{}
	for queue := []string{l.Neighbour.Node}; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		for _, on := range w.whole[queue[0]] {
			if w.down(on) {
				return fmt.Sprintf("on the way from there the link %s is down", on)
			}
			queue = append(queue, on.B.Node)
		}
	}
	return "no way leads on from there"
}

// whyNotLearned says what of the routing protocol is missing.
func (w walk) whyNotLearned(h Hop, l Leg) string {
	s := w.seen[h.Switch]
	r := s.Routing
	var bfd string
	for _, b := range r.BFD {
		if b.Interface == l.Interface && b.State != "up" {
			bfd = ", BFD is " + b.State
			if b.Diagnostic != "" {
				bfd += " (" + b.Diagnostic + ")"
			}
		}
	}
	if w.isis {
		i := slices.IndexFunc(r.ISIS, func(a switchstate.Adjacency) bool { return a.Interface == l.Interface })
		switch {
		case i < 0:
			return "there is no IS-IS adjacency by " + l.Interface + bfd
		case r.ISIS[i].State != "Up":
			return "its IS-IS adjacency by " + l.Interface + " is " + r.ISIS[i].State + bfd
		}
		return l.Neighbour.Node + " announces no such way"
	}
	sessions := 0
	for _, b := range r.BGP {
		if b.Interface != l.Interface || !w.carries(b) {
			continue
		}
		sessions++
		if b.State != switchstate.Established {
			return "its BGP session with " + l.Neighbour.Node + " is " + b.State + bfd
		}
	}
	if sessions == 0 {
		return "it has no BGP session by " + l.Interface + bfd
	}
	if o := w.seen[l.Neighbour.Node]; o != nil {
		if _, g := o.learned.find(w.to.Address); g == nil && l.Neighbour.Node != w.to.Switch {
			return l.Neighbour.Node + " has no route there itself"
		}
	}
	return "its BGP session with " + l.Neighbour.Node + " is Established, but the route does not come, or is not as good as others"
}

// carries reports whether a session, by its peer's address, may bring routes to the
// place: of one by interface both IP versions come, of one by address its own.
func (w walk) carries(b switchstate.BGPSession) bool {
	a, err := netip.ParseAddr(b.Peer)
	return err != nil || a.Is4() == w.to.Address.Is4()
}

func whyNotProgrammed(h Hop) string {
	switch {
	case h.kernel == nil:
		return "it has no route there, while " + protocolWords(h.learned) + " has " + count(h.learned.NextHops)
	case h.kernel.Protocol != h.learned.Protocol:
		return fmt.Sprintf("a route to %s of protocol %s is preferred: remove it with \"ip route del %s proto %s\"", h.prefix, h.kernel.Protocol, h.prefix, h.kernel.Protocol)
	}
	return fmt.Sprintf("it has %s and %s has %s", count(h.kernel.NextHops), protocolWords(h.learned), count(h.learned.NextHops))
}

func count(hops []switchstate.NextHop) string {
	if len(hops) == 1 {
		return "1 next hop"
	}
	return fmt.Sprintf("%d next hops", len(hops))
}

func protocolWords(g *switchstate.Group) string {
	switch g.Protocol {
	case "bgp":
		return "BGP"
	case "isis":
		return "IS-IS"
	}
	return strings.ToLower(g.Protocol)
}
