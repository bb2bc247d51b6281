package overlay

import (
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Admits reports whether a route that an EVPN leaf announces may be handed on to
// other leaves. They import it by its route target whatever else it says, so what
// is refused here is what the tables would not use: a route into a network with
// another network's VNI, and one for a MAC or an address of a port that is
// elsewhere, unless the network only reports that; and one for a MAC that is kept
// somewhere else since it moved too often.
func (m *Model) Admits(node string, r *evpn.Route) bool {
	for _, v := range m.importers(r.Targets) {
		n := m.byVNI[v]
		switch {
		case r.Type == evpn.IMET && r.VNI == 0: // FRR puts the label into the PMSI attribute only
		case r.VNI != v:
			if m.says(n, r.Targets) {
				return false
			}
		case r.Type != evpn.MACIP || n.Spec.Spoofing == intent.SpoofingReport:
		case m.isOwned(v, r.Key) || m.isElsewhere(node, v, r):
			return false
		}
	}
	return true
}

// says reports whether the targets say that a route is in a network, and not
// just that the network imports it.
func (m *Model) says(n *intent.Network, targets []intent.RouteTarget) bool {
	for _, t := range targets {
		if slices.Contains(n.Spec.RouteTargets.Export, t.String()) {
			return true
		}
		if v, ok := t.VNI(); ok && v == n.Spec.VNI && len(n.Spec.RouteTargets.Export) == 0 {
			return true
		}
	}
	return false
}

// isElsewhere reports whether the MAC of a route is a port's that is behind
// another VTEP, and is not about to come to this node.
func (m *Model) isElsewhere(node string, v intent.VNI, r *evpn.Route) bool {
	s := m.segments[v]
	if s == nil {
		return false
	}
	if row, ok := s.Get(evpn.MACKey(r.MAC)); ok && s.Frozen(r.MAC) && row.VTEP != r.VTEP {
		return true // it moved too often; it is kept where it is
	}
	if _, owned := ownerOf(s.Paths(evpn.MACKey(r.MAC)), r.VTEP); !owned {
		return false
	}
	e := m.nodes[node]
	if e == nil {
		return true
	}
	for p := range e.standby {
		if l := e.local[p]; l.VNI == v && l.MAC == r.MAC {
			return false
		}
	}
	return true
}
