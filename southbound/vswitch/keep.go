package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// keep takes out of what the device should not have what it has for edges that
// have not reported yet, and reports whether there was any. Their MACs are known
// by the tunnel's end in the remote table; addresses by their MACs; their place
// in flood lists, see keptVTEPs, by the end alone.
func (s *connection) keep(x *comparison, away overlay.Away) bool {
	s.keptFlows = nil
	if away.None() {
		return false
	}
	s.keptFlows = flowSet{}
	cookies := map[uint64]bool{}
	for _, u := range x.unknown {
		if u.flow.Table != tableRemote && u.flow.Table != tableHost && u.flow.Table != tableRoute {
			continue
		}
		for _, a := range u.flow.Instructions.TunnelDsts() {
			if a = s.pipe.colours.VTEP(a); away.Has(a) && a != s.vtep {
				cookies[u.flow.Cookie] = true
				s.keptFlows[u.key] = u.flow
			}
		}
	}
	left := x.unknown[:0]
	for _, u := range x.unknown {
		if cookies[u.flow.Cookie] && (u.flow.Table == tableARP || u.flow.Table == tableND) || isBridge(u.flow) {
			s.keptFlows[u.key] = u.flow
		}
		if _, ok := s.keptFlows[u.key]; !ok {
			left = append(left, u)
		}
	}
	x.unknown, x.keptFlows = left, len(s.keptFlows)
	return len(s.keptFlows) > 0
}

// keptVTEPs are, by VNI, the VTEPs of edges that have not reported yet to which
// the device floods.
func (s *connection) keptVTEPs(has *openflow.Described, away overlay.Away) map[intent.VNI][]netip.Addr {
	if away.None() {
		return nil
	}
	stay := map[intent.VNI][]netip.Addr{}
	for f := range has.All() {
		if f.Table() != tableFlood {
			continue
		}
		v := intent.VNI(f.Cookie() & cookieVNI)
		for _, a := range f.Instructions().TunnelDsts() {
			if away.Has(a) && a != s.vtep {
				stay[v] = append(stay[v], a)
			}
		}
	}
	return stay
}
