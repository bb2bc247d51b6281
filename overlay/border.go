package overlay

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Border is an external network as one of its borders is to serve it.
type Border struct {
	Network *intent.ExternalNetwork
	Border  intent.Border
	// Announce are the prefixes that are inside: the pools, and what routers
	// advertise there; sorted.
	Announce []netip.Prefix
	// Others are the VTEPs of the other borders, sorted.
	Others []netip.Addr
}

// settleBorders keeps which nodes are borders of an external network, and has them
// look at it. Either may be nil.
func (m *Model) settleBorders(ref intent.Ref, old, now *intent.ExternalNetwork) {
	if old != nil {
		for _, b := range old.Spec.Borders {
			note(m.borders, b.Node, ref, false)
			m.touchedNodes[b.Node] = struct{}{}
		}
	}
	if now != nil {
		for _, b := range now.Spec.Borders {
			note(m.borders, b.Node, ref, true)
			m.touchedNodes[b.Node] = struct{}{}
		}
	}
}

// touchBorders has the borders of an external network look at it again.
func (m *Model) touchBorders(n *intent.ExternalNetwork) {
	for _, b := range n.Spec.Borders {
		m.touchedNodes[b.Node] = struct{}{}
	}
}

// touchBordersOf does that for all networks of which a node is a border: its VTEP
// may be another.
func (m *Model) touchBordersOf(node string) {
	for ref := range m.borders[node] {
		if r := m.routers[ref]; r != nil && r.outside != nil {
			m.touchBorders(r.outside)
		}
	}
}

// Borders lists the external networks of which a node is a border, by L3VNI.
func (m *Model) Borders(node string) (out []Border) {
	for _, ref := range slices.SortedFunc(maps.Keys(m.borders[node]), compareRefs) {
		r := m.routers[ref]
		if r == nil || r.outside == nil || r.alone == nil || r.outside.Spec.VNI == 0 {
			continue
		}
		b := Border{Network: r.outside, Announce: r.alone.prefixes()}
		for _, o := range r.outside.Spec.Borders {
			if o.Node == node {
				b.Border = o
			} else if e := m.nodes[o.Node]; e != nil && e.vtep().IsValid() {
				b.Others = append(b.Others, e.vtep())
			}
		}
		slices.SortFunc(b.Announce, comparePrefixes)
		slices.SortFunc(b.Others, netip.Addr.Compare)
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b Border) int { return cmp.Compare(a.Network.Spec.VNI, b.Network.Spec.VNI) })
	return out
}
