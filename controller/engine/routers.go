package engine

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// routedAs is how the addresses of a network are announced as routed: with the
// L3VNI as second label, the router's route targets beside those of the network,
// and the VTEP's router MAC (RFC 9135 section 5.1). The zero value is not at all.
type routedAs struct {
	vni     intent.VNI
	targets []intent.RouteTarget
}

// routedAs is how a network's addresses are; it may be nil. The caller holds the
// engine's lock.
func (r *reflector) routedAs(n *intent.Network) routedAs {
	if n == nil {
		return routedAs{}
	}
	rt := r.engine.model.RouterOf(n.Ref())
	if rt == nil {
		return routedAs{}
	}
	return routedAs{rt.Spec.VNI, routerTargets(rt, r.engine.config.ASN)}
}

// Router returns the router that has an L3VNI, or nil.
func (e *Engine) Router(v intent.VNI) *intent.Router {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.model.RouterWith(v)
}

// IsEVPN reports whether a VTEP is that of an EVPN leaf.
func (e *Engine) IsEVPN(vtep netip.Addr) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.model.IsEVPN(vtep)
}

// routerTargets are the route targets of what the controller announces of a
// router.
func routerTargets(rt *intent.Router, asn uint32) []intent.RouteTarget {
	return targetsOr(rt.Spec.RouteTargets.Export, asn, rt.Spec.VNI)
}

func (a routedAs) words() string {
	if a.vni == 0 {
		return ""
	}
	return fmt.Sprint(a.vni, a.targets)
}

// apply makes the route of an address one that is routed, too, if its VTEP takes
// part: the router's table says so. Leaves announce their own hosts so: of two
// routes with one next hop, zebra 8.4 drops the router's MAC when the better one
// changes, for it withdraws the old one after it took the new one.
func (a routedAs) apply(m *overlay.Model, v intent.VNI, route *evpn.Route) {
	if a.vni == 0 || route.Type != evpn.MACIP || !route.IP.IsValid() || m.IsEVPN(route.VTEP) {
		return
	}
	seg := m.Segment(a.vni)
	if seg == nil {
		return
	}
	row, ok := seg.Get(route.Key)
	if !ok || row.VTEP != route.VTEP || row.VNI != v || row.RouterMAC.IsZero() {
		return
	}
	route.L3VNI, route.RouterMAC = a.vni, row.RouterMAC
	route.Targets = slices.Concat(route.Targets, a.targets)
	slices.SortFunc(route.Targets, func(a, b intent.RouteTarget) int { return slices.Compare(a[:], b[:]) })
	route.Targets = slices.Compact(route.Targets)
}

// routerChanges lists what is to be announced of the changes of a router's table:
// prefixes, and hosts as the routes of their networks. Those of an external
// network, and those of other routers, are routes of its own. The caller holds the engine's lock.
func (r *reflector) routerChanges(v intent.VNI) (add []evpn.Route, withdraw []evpn.RouteID) {
	e := r.engine
	rt, seg := e.model.RouterWith(v), e.model.Segment(v)
	var targets []intent.RouteTarget
	if rt != nil {
		targets = routerTargets(rt, e.config.ASN)
	}
	since, exports := r.cursors[v], fmt.Sprint(targets)
	if exports != r.targets[v] {
		since = 0
	}
	if seg == nil {
		delete(r.cursors, v)
		delete(r.targets, v)
		delete(r.routers, v)
		delete(r.external, v)
		delete(r.guests, v)
		return nil, nil
	}
	r.cursors[v], r.targets[v], r.routers[v] = seg.Rev(), exports, true
	e.trims[v] = struct{}{}
	was := r.external[v]
	outside := e.model.ExternalWith(v) != nil || was && rt == nil
	r.external[v] = outside
	for row := range seg.Changes(since) {
		if row.Origin == evpn.OriginBGP && row.Type == evpn.PREFIX {
			continue // never announced: each leaf's is a row of its own
		}
		guest := row.Type == evpn.MACIP && (outside || r.isGuest(v, row))
		if row.Type == evpn.MACIP && !guest {
			a, w := r.hostRoute(row)
			add, withdraw = append(add, a...), append(withdraw, w...)
			if was || r.guests[v] { // it may have been one
				withdraw = append(withdraw, evpn.RouteID{Key: row.Key, RD: evpn.NewRD(e.config.ASN, v)})
			}
			continue
		}
		route := evpn.Route{Key: row.Key, RD: evpn.NewRD(e.config.ASN, v), VNI: v, Targets: targets, VTEP: row.VTEP, Seq: row.Seq, RouterMAC: row.RouterMAC}
		if guest { // a host of another VRF is in no L2VNI here
			route.L3VNI, r.guests[v] = v, true
		}
		if row.Deleted || rt == nil || row.Origin == evpn.OriginBGP || row.RouterMAC.IsZero() || e.model.IsEVPN(row.VTEP) {
			withdraw = append(withdraw, route.ID())
		} else {
			add = append(add, route)
		}
	}
	return add, withdraw
}

// isGuest reports whether a row in a router's table is a host of another router, that
// leaves with the former must know.
func (r *reflector) isGuest(v intent.VNI, row evpn.Row) bool {
	n := r.engine.model.NetworkOf(row.VNI)
	if n == nil {
		return false
	}
	of := r.engine.model.RouterOf(n.Ref())
	return of != nil && of.Spec.VNI != v
}

// hostRoute announces the route of a host again after its row in the router's
// table changed: it is that of its network, with or without the L3VNI.
func (r *reflector) hostRoute(host evpn.Row) (add []evpn.Route, withdraw []evpn.RouteID) {
	m := r.engine.model
	n, seg := m.NetworkOf(host.VNI), m.Segment(host.VNI)
	if n == nil || seg == nil {
		return nil, nil
	}
	row, ok := seg.Get(host.Key)
	if !ok {
		return nil, nil // withdrawn with its network's row
	}
	if route, ok := r.routeOf(n, host.VNI, row, exportTargets(n, r.engine.config.ASN), r.routedAs(n)); ok {
		return []evpn.Route{route}, nil
	}
	return nil, nil
}
