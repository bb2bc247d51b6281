package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Seen is what a switch reports of one of its ports.
type Seen struct {
	Interface string
	Up        bool // has a carrier
	MTU       int  // bytes; zero when unknown
	Speed     int  // Mbit/s; zero when unknown
	// Heard are the neighbours that speak LLDP there (IEEE 802.1AB): one, unless
	// there is a hub or a liar.
	Heard []End
}

// CablingFaultKind says what is wrong with a cable.
type CablingFaultKind string

// Kinds of faults, in the order in which they are told.
const (
	Miswired CablingFaultKind = "Miswired" // an end is in the wrong port
	Missing  CablingFaultKind = "Missing"  // an intended link that nobody hears
	OneWay   CablingFaultKind = "OneWay"   // heard by one end only
	Extra    CablingFaultKind = "Extra"    // a cable where no link is intended
	Claimed  CablingFaultKind = "Claimed"  // two ports hear the same neighbour, or one that there is not
	WrongMTU CablingFaultKind = "WrongMTU"
	Unequal  CablingFaultKind = "Unequal" // the ends differ in speed
)

// CablingFault is one thing that a person has to put right.
type CablingFault struct {
	Kind    CablingFaultKind `json:"kind"`
	Link    string           `json:"link"` // the link or cable, as "leaf1:eth1 - spine1:eth1"
	Message string           `json:"message"`
}

// Cabling compares the intended links with what switches hear by LLDP. seen has the
// ports of each switch that reports; of others nothing is said, so a link with
// neither end on a switch that reports is not judged, and who else speaks LLDP where
// no link is intended is none of the fabric's business. The result follows from what
// is compared alone: the same order each time.
func Cabling(links []Link, seen map[string][]Seen) []CablingFault {
	c := &cabling{links: links, seen: seen, intended: map[End]End{}, ports: map[End]Seen{}}
	for _, l := range links {
		a, b := bare(l.A), bare(l.B)
		c.intended[a], c.intended[b] = b, a
	}
	for node, ports := range seen {
		for _, p := range ports {
			c.ports[End{Node: node, Interface: p.Interface}] = p
		}
	}
	c.wires()
	for _, l := range links {
		c.link(l)
	}
	c.claims()
	slices.SortFunc(c.faults, func(a, b CablingFault) int { return cmp.Or(rank(a.Kind)-rank(b.Kind), strings.Compare(a.Link, b.Link)) })
	return c.faults
}

func rank(k CablingFaultKind) int {
	return slices.Index([]CablingFaultKind{Miswired, Missing, OneWay, Extra, Claimed, WrongMTU, Unequal}, k)
}

// bare is an end by its names alone.
func bare(e End) End { return End{Node: e.Node, Interface: e.Interface} }

type cabling struct {
	links    []Link
	seen     map[string][]Seen
	intended map[End]End // both ways
	ports    map[End]Seen
	faults   []CablingFault
	// wrong are the ends of cables that go elsewhere than intended.
	wrong map[End]bool
}

func (c *cabling) fault(k CablingFaultKind, a, b End, format string, args ...any) {
	c.faults = append(c.faults, CablingFault{k, Link{A: a, B: b}.String(), fmt.Sprintf(format, args...)})
}

// reports tells whether a switch says what it hears.
func (c *cabling) reports(node string) bool { _, ok := c.seen[node]; return ok }

// hears tells whether one end hears the other.
func (c *cabling) hears(a, b End) bool { return slices.Contains(c.ports[a].Heard, b) }

// wires finds the cables that are no intended link. A cable that both ends hear is
// told once, from the end that sorts first.
func (c *cabling) wires() {
	c.wrong = map[End]bool{}
	for _, at := range sortedEnds(c.ports) {
		for _, other := range c.ports[at].Heard {
			if c.intended[at] == other {
				continue
			}
			if _, planned := c.intended[at]; !planned && !c.fabric(other) {
				continue
			}
			c.wrong[at] = true
			if _, there := c.ports[other]; c.reports(other.Node) && !there {
				c.fault(Claimed, at, other, "%s hears %s, and %s has no such port: the device there says it is %s and is not", at, other, other.Node, other.Node)
				continue
			}
			if c.hears(other, at) && compareEnds(other, at) < 0 {
				continue
			}
			c.stray(at, other)
		}
	}
}

// fabric reports whether an end is of the fabric: of a switch that reports, or of an
// intended link.
func (c *cabling) fabric(e End) bool {
	_, planned := c.intended[e]
	return planned || c.reports(e.Node)
}

// stray tells of a cable between two ports that are no link.
func (c *cabling) stray(at, other End) {
	want, planned := c.intended[at]
	back, plannedBack := c.intended[other]
	switch {
	case planned && plannedBack:
		c.fault(Miswired, at, other, "%s is wired to %s, where %s belongs: move that end to %s", at, other, back, want)
	case planned:
		c.fault(Miswired, at, other, "%s is wired to %s: move that end to %s", at, other, want)
	case plannedBack:
		c.fault(Miswired, at, other, "%s is wired to %s: move that end to %s", other, at, back)
	default:
		c.fault(Extra, at, other, "%s is wired to %s, where no link is intended: unplug the cable, or add the link", at, other)
	}
}

// link judges an intended link.
func (c *cabling) link(l Link) {
	a, b := bare(l.A), bare(l.B)
	if !c.reports(a.Node) && !c.reports(b.Node) {
		return
	}
	ab, ba := c.hears(a, b), c.hears(b, a)
	switch both := c.reports(a.Node) && c.reports(b.Node); {
	case both && ab && !ba && !c.wrong[b]:
		c.deaf(b, a)
	case both && ba && !ab && !c.wrong[a]:
		c.deaf(a, b)
	case !ab && !ba && !c.wrong[a] && !c.wrong[b] && (both || c.down(a) != "" || c.down(b) != ""):
		c.missing(a, b)
	case ab && ba:
		c.alike(l, a, b)
	}
}

// deaf tells of an end that does not hear the one that hears it.
func (c *cabling) deaf(deaf, other End) {
	c.fault(OneWay, deaf, other, "%s hears %s but is not heard there: what %s receives is lost; replace the cable or the transceiver at either end", other, deaf, deaf)
}

// down says why an end of a switch that reports can hear nothing, if it is so.
func (c *cabling) down(e End) string {
	switch p, ok := c.ports[e]; {
	case !c.reports(e.Node):
	case !ok:
		return fmt.Sprintf("%s has no interface %s", e.Node, e.Interface)
	case !p.Up:
		return e.String() + " is down"
	}
	return ""
}

// missing tells of a link that nobody hears. Where only one end reports that must be
// down: not every device speaks LLDP.
func (c *cabling) missing(a, b End) {
	var down []string
	for _, e := range []End{a, b} {
		if s := c.down(e); s != "" {
			down = append(down, s)
		}
	}
	why := "both ends are up and hear nothing"
	if len(down) > 0 {
		why = strings.Join(down, ", ")
	}
	c.fault(Missing, a, b, "%s: plug a cable from %s into %s, or replace the one that is there", why, a, b)
}

// alike compares the ends of a link that is wired as intended.
func (c *cabling) alike(l Link, a, b End) {
	p, q := c.ports[a], c.ports[b]
	for _, e := range []End{a, b} {
		if mtu := c.ports[e].MTU; l.MTU != 0 && mtu != 0 && mtu != l.MTU {
			c.fault(WrongMTU, a, b, "%s has an MTU of %d instead of %d: large packets are lost", e, mtu, l.MTU)
		}
	}
	if l.MTU == 0 && p.MTU != q.MTU && p.MTU != 0 && q.MTU != 0 {
		c.fault(WrongMTU, a, b, "%s has an MTU of %d and %s one of %d: large packets are lost", a, p.MTU, b, q.MTU)
	}
	if p.Speed != q.Speed && p.Speed > 0 && q.Speed > 0 {
		c.fault(Unequal, a, b, "%s runs at %d Mbit/s and %s at %d: check the transceivers", a, p.Speed, b, q.Speed)
	}
}

// claims finds neighbours that several ports hear: a hub, or a device that lies.
func (c *cabling) claims() {
	at := map[End][]End{}
	for _, e := range sortedEnds(c.ports) {
		for _, h := range c.ports[e].Heard {
			at[h] = append(at[h], e)
		}
	}
	for _, h := range sortedEnds(at) {
		if es := at[h]; len(es) > 1 {
			c.fault(Claimed, es[0], es[1], "both hear %s: one of the devices there says it is %s and is not", h, h.Node)
		}
	}
}

func sortedEnds[V any](m map[End]V) []End {
	var out []End
	for e := range m {
		out = append(out, e)
	}
	slices.SortFunc(out, compareEnds)
	return out
}

func compareEnds(a, b End) int {
	return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Interface, b.Interface))
}
