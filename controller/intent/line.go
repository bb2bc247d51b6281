package intent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Line is a link, or a tunnel of somebody else's, from a border leaf of this fabric
// to one of another: eBGP on it tells each of them where the other's VTEPs are.
type Line struct {
	Name      string       `json:"name" yaml:"name" doc:"Name of the line; no other of the interconnect has it"`
	Node      string       `json:"node" yaml:"node" doc:"Border leaf here"`
	Interface string       `json:"interface" yaml:"interface" doc:"Its interface, which no Link has"`
	Address   netip.Prefix `json:"address" yaml:"address" doc:"IPv4 address of this end, with its length"`
	Peer      netip.Addr   `json:"peer" yaml:"peer" doc:"IPv4 address of the other end, in the same prefix"`
	ASN       uint32       `json:"asn" yaml:"asn" doc:"AS of the border leaf there" minimum:"1"`
	// Preference decides both ways when both ends say the same: each end decides
	// what it sends.
	Preference int `json:"preference,omitempty" yaml:"preference,omitempty" doc:"Of the lines that are up those with the highest preference carry all; 100 when left out" minimum:"0" maximum:"65535"`
	Weight     int `json:"weight,omitempty" yaml:"weight,omitempty" doc:"Share of the flows beside lines of the same preference; 1 when left out" minimum:"0" maximum:"100"`
}

// Bounds of lines.
const (
	maxLines          = 64
	maxPreferences    = 4 // different ones: each makes AS paths longer
	maxLinePrefixes   = 64
	maxWeight         = 100
	maxHoldDown       = 240 // of the DelayOpenTimer in FRR
	defaultHoldDown   = 30
	defaultPreference = 100
)

// NodeRef is the border leaf.
func (l Line) NodeRef() Ref { return Ref{Kind: KindNode, Name: l.Node} }

// Prefers is the preference.
func (l Line) Prefers() int { return cmp.Or(l.Preference, defaultPreference) }

// Share is the weight.
func (l Line) Share() int { return cmp.Or(l.Weight, 1) }

// HeldDown is how long a line must have been up before it carries traffic that
// another can.
func (s *InterconnectSpec) HeldDown() time.Duration {
	return time.Duration(cmp.Or(s.HoldDown, defaultHoldDown)) * time.Second
}

// Preferences are those of the lines, the highest first.
func (s *InterconnectSpec) Preferences() []int {
	var all []int
	for _, l := range s.Lines {
		all = append(all, l.Prefers())
	}
	slices.SortFunc(all, func(a, b int) int { return b - a })
	return slices.Compact(all)
}

// Weighted reports whether lines of one preference are to have different shares.
func (s *InterconnectSpec) Weighted() bool {
	share := map[int]int{}
	for _, l := range s.Lines {
		if w, ok := share[l.Prefers()]; ok && w != l.Share() {
			return true
		}
		share[l.Prefers()] = l.Share()
	}
	return false
}

func (f *Faults) lines(s *InterconnectSpec) {
	switch n := len(s.Lines); {
	case n > maxLines:
		f.Add("spec.lines", "has %d: an interconnect may have %d", n, maxLines)
		return
	case n > 0 && len(s.Prefixes) == 0:
		f.Add("spec.prefixes", "is missing: say in which prefixes the other fabric's VTEPs are, for border leaves take no others from lines")
	case n == 0 && len(s.Prefixes) > 0:
		f.Add("spec.prefixes", "goes with lines: there is none")
	case n == 0 && s.HoldDown != 0:
		f.Add("spec.holdDown", "goes with lines: there is none")
	}
	if s.HoldDown > maxHoldDown {
		f.Add("spec.holdDown", "%d is outside 1..%d", s.HoldDown, maxHoldDown)
	}
	if n := len(s.Preferences()); n > maxPreferences {
		f.Add("spec.lines", "have %d different preferences: %d are possible", n, maxPreferences)
	}
	if n := len(s.Prefixes); n > maxLinePrefixes {
		f.Add("spec.prefixes", "has %d: an interconnect may have %d", n, maxLinePrefixes)
	}
	for i, p := range s.Prefixes {
		field := fmt.Sprintf("spec.prefixes[%d]", i)
		switch {
		case !p.IsValid() || !p.Addr().Is4():
			f.Add(field, "is not an IPv4 prefix: VTEP addresses are IPv4")
			continue
		case p != p.Masked():
			f.Add(field, "%s has host bits set: use %s", p, p.Masked())
		case p.Bits() < 8:
			f.Add(field, "%s is too much to take from another fabric: give its VTEP and rack pools, /8 or longer", p)
		}
		for j, o := range s.Prefixes[:i] {
			if o.IsValid() && o.Overlaps(p) {
				f.Add(field, "%s overlaps spec.prefixes[%d] (%s)", p, j, o)
			}
		}
	}
	for i, l := range s.Lines {
		f.line(fmt.Sprintf("spec.lines[%d]", i), s.Lines[:i], l)
	}
}

func (f *Faults) line(field string, before []Line, l Line) {
	f.name(field+".name", l.Name)
	f.name(field+".node", l.Node)
	if l.Interface == "" {
		f.Add(field+".interface", "is missing: give the border leaf's interface that leads to the other fabric")
	}
	switch a := l.Address; {
	case !a.IsValid() || !a.Addr().Is4():
		f.Add(field+".address", "is not an IPv4 address with its length, like 192.0.2.0/31")
	case a.Bits() > 31:
		f.Add(field+".address", "%s leaves no address for the other end: use /31 or shorter", a)
	case !l.Peer.Is4() || l.Peer == a.Addr() || !a.Contains(l.Peer):
		f.Add(field+".peer", "%s is not the address of another end in %s", l.Peer, a.Masked())
	}
	if l.ASN == 0 {
		f.Add(field+".asn", "is missing: give the AS of the border leaf there")
	}
	if l.Preference < 0 || l.Preference > 65535 {
		f.Add(field+".preference", "%d is outside 0..65535", l.Preference)
	}
	if l.Weight < 0 || l.Weight > maxWeight {
		f.Add(field+".weight", "%d is outside 0..%d", l.Weight, maxWeight)
	}
	for j, o := range before {
		switch {
		case l.Name != "" && o.Name == l.Name:
			f.Add(field+".name", "%s is given twice: spec.lines[%d] has it too", l.Name, j)
		case o.Node == l.Node && o.Interface == l.Interface && l.Interface != "":
			f.Add(field+".interface", "%s of %s is given twice: spec.lines[%d] has it too", l.Interface, l.Node, j)
		case o.Node == l.Node && o.Peer == l.Peer && l.Peer.IsValid():
			f.Add(field+".peer", "%s is given twice: spec.lines[%d] has it too", l.Peer, j)
		}
	}
}

// LineState says how far a line is.
type LineState string

// The states of a line.
const (
	LineUnknown  LineState = "Unknown"  // its border leaf says nothing of it
	LineDown     LineState = "Down"     // no session is established
	LineHeldDown LineState = "HeldDown" // only the session of last resort is
	LineUp       LineState = "Up"       // its session with the line's preference is
)

// LineView is a line as the BGP sessions of its border leaf have it.
type LineView struct {
	Name       string    `json:"name" yaml:"name" doc:"Name of the line"`
	Node       string    `json:"node" yaml:"node" doc:"Border leaf here"`
	Preference int       `json:"preference" yaml:"preference" doc:"Its preference"`
	State      LineState `json:"state" yaml:"state" doc:"Up; HeldDown until it was up for the hold-down; Down; Unknown while the border leaf says nothing" enum:"Up,HeldDown,Down,Unknown"`
	Since      time.Time `json:"since,omitzero" yaml:"since,omitempty" doc:"Since when it is Up or HeldDown"`
	InUse      bool      `json:"inUse" yaml:"inUse" doc:"It is one of the best that are there, so border leaves send over it"`
}

// LineSession is an established BGP session of a border leaf, by its neighbour's
// address or by the own interface.
type LineSession struct {
	Peer  string
	Since time.Time
}

// LineViews says how the lines are, from the established sessions that their border
// leaves report; of one that says nothing, ok is false.
func LineViews(s *InterconnectSpec, sessions func(node string) (list []LineSession, ok bool)) []LineView {
	var out []LineView
	best := -1 // preference of those that are up
	for _, l := range s.Lines {
		v := LineView{Name: l.Name, Node: l.Node, Preference: l.Prefers(), State: LineUnknown}
		list, ok := sessions(l.Node)
		if ok {
			v.State = LineDown
		}
		for _, b := range list {
			switch {
			case b.Peer == l.Peer.String():
				v.State, v.Since, best = LineUp, b.Since, max(best, v.Preference)
			case b.Peer == l.Interface && v.State != LineUp:
				v.State, v.Since = LineHeldDown, b.Since
			}
		}
		out = append(out, v)
	}
	for i, v := range out {
		out[i].InUse = v.State == LineUp && v.Preference == best || v.State == LineHeldDown && best < 0
	}
	return out
}
