package overlay

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
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

// SetAway notes whether an EVPN leaf is away: its routes are kept (RFC 4724), but it
// may be dead. Of an external network's borders one that is away leads nowhere
// where another one leads that is not.
func (m *Model) SetAway(node string, away bool) {
	e := m.edge(node)
	if e.away == away {
		return
	}
	e.away, e.waiting = away, nil
	routes := map[taken]struct{}{}
	for id := range e.routes {
		if id.Type != evpn.PREFIX {
			continue
		}
		routes[taken{node, id}] = struct{}{}
		e.wait(id)
	}
	m.retake(routes)
	for t := range routes { // others that are away may be the only ones now, or not any more
		r := e.routes[t.id].route
		m.retakeAway(e, m.vrfOf(&r), t.id.Key)
	}
	m.settleRouters()
	m.settleStaleNodes()
}

// wait notes a prefix route of a leaf that is away.
func (e *edge) wait(id evpn.RouteID) {
	if !e.away || id.Type != evpn.PREFIX || slices.Contains(e.waiting[id.Key], id) {
		return
	}
	if e.waiting == nil {
		e.waiting = map[evpn.Key][]evpn.RouteID{}
	}
	e.waiting[id.Key] = append(e.waiting[id.Key], id)
}

// settleAway takes the routes of borders that are away again where a border that is
// not led before, or leads now. Zero for the L3VNI is none.
func (m *Model) settleAway(e *edge, v intent.VNI, k evpn.Key) {
	if !e.away && v != 0 && k.Type == evpn.PREFIX {
		m.retakeAway(e, v, k)
	}
}

// lead is a prefix in a VRF to which a leaf leads.
type lead struct {
	vni intent.VNI
	key evpn.Key
}

// countLead counts the routes by which a leaf leads to a prefix.
func (e *edge) countLead(v intent.VNI, k evpn.Key, by int) {
	if v == 0 || k.Type != evpn.PREFIX {
		return
	}
	l := lead{v, k}
	if e.leads == nil {
		e.leads = map[lead]int{}
	}
	if e.leads[l] += by; e.leads[l] <= 0 {
		delete(e.leads, l)
	}
}

func (m *Model) retakeAway(e *edge, v intent.VNI, k evpn.Key) {
	x := m.ExternalWith(v)
	if x == nil {
		return
	}
	for _, b := range x.Spec.Borders {
		o := m.nodes[b.Node]
		if o == nil || o == e || !o.away {
			continue
		}
		for _, id := range o.waiting[k] {
			if a, ok := o.routes[id]; ok {
				m.setRoute(b.Node, o, id, a.route, a)
			}
		}
	}
}

// ledElsewhere reports whether another border of an external network than this one
// leads to a prefix, one that is not away.
func (m *Model) ledElsewhere(e *edge, v intent.VNI, k evpn.Key) bool {
	x := m.ExternalWith(v)
	if x == nil || k.Type != evpn.PREFIX {
		return false
	}
	if _, border := m.borders[e.key][x.Ref()]; !border {
		return false
	}
	return slices.ContainsFunc(x.Spec.Borders, func(b intent.Border) bool {
		o := m.nodes[b.Node]
		return o != nil && o != e && !o.away && o.leads[lead{v, k}] > 0
	})
}
