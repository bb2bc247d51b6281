package overlay

import (
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// routedBy is the L3VNI by which a route is routed: the second label of a MAC/IP
// route (RFC 9135 section 5.1), the label of a prefix route (RFC 9136 section
// 3.1); zero when it is bridged only.
func routedBy(r *evpn.Route) intent.VNI {
	switch {
	case r.Type == evpn.PREFIX:
		return r.VNI
	case r.Type == evpn.MACIP && r.IP.IsValid():
		return r.L3VNI
	}
	return 0
}

// vrfImporters lists the L3VNIs whose routers import one of the targets.
func (m *Model) vrfImporters(targets []intent.RouteTarget) []intent.VNI {
	var out []intent.VNI
	for _, t := range targets {
		for v := range m.vrfImports[t] {
			out = append(out, v)
		}
		if v, ok := t.VNI(); ok {
			if r := m.byL3VNI[v]; r != nil && len(r.spec.Spec.RouteTargets.Import) == 0 {
				out = append(out, v)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// vrfOf is the L3VNI of the router that takes a route, zero when none does: it
// imports one of its targets, and the label is its own.
func (m *Model) vrfOf(r *evpn.Route) intent.VNI {
	if v := routedBy(r); v != 0 && slices.Contains(m.vrfImporters(r.Targets), v) {
		return v
	}
	return 0
}

// isRouted reports whether a route becomes a row of its router's table. One
// without a router's MAC can't be routed to. Hosts of the router's own subnets
// come from their networks' tables (see mirror), which know whose an address is.
func (m *Model) isRouted(e *edge, v intent.VNI, r *evpn.Route) bool {
	if v == 0 || r.RouterMAC.IsZero() || e.away && m.ledElsewhere(e, v, r.Key) {
		return false
	}
	bits := int(r.Bits)
	if r.Type == evpn.MACIP {
		bits = r.IP.BitLen()
	}
	p := netip.PrefixFrom(r.IP, bits)
	o := m.byL3VNI[v]
	return o.takesPrefix(p) && !slices.ContainsFunc(o.alone.Subnets, func(s Subnet) bool { return intent.Within(p, s.Prefix) })
}

// routedKey is the key of a leaf's route in the table of a router. Several leaves
// may lead to one prefix: each has a row, by its router MAC.
func routedKey(r *evpn.Route) evpn.Key {
	k := r.Key
	if k.Type == evpn.PREFIX {
		k.MAC = r.RouterMAC
	}
	return k
}

// routedSource is who states a route in the table of a router. It is another than
// who states it in the table of a network, for mirror brings that there, too, and
// takes back what it does not find.
func routedSource(node string, rd evpn.RD) evpn.Source { return routeSource(node, rd) + "/routed" }

// routeOver states a leaf's route in the table of a router.
func (m *Model) routeOver(node string, v intent.VNI, r *evpn.Route) {
	p := evpn.Path{VTEP: r.VTEP, Seq: r.Seq, Sticky: r.Sticky, RouterMAC: r.RouterMAC, Origin: evpn.OriginBGP, Source: routedSource(node, r.RD)}
	if r.Type == evpn.MACIP {
		p.VNI = r.VNI
	}
	if m.segment(v).Set(routedKey(r), p) {
		m.touchedVNIs[v] = struct{}{}
	}
}

func (m *Model) unrouteOver(node string, v intent.VNI, r *evpn.Route) {
	if m.segment(v).Withdraw(routedKey(r), routedSource(node, r.RD)) {
		m.touchedVNIs[v] = struct{}{}
	}
}

// routerMACKey is a router and a MAC by which a leaf says that it routes for it.
type routerMACKey struct {
	vni intent.VNI
	mac intent.MAC
}

// countRouterMAC counts the routes by which a leaf says that it routes.
func (m *Model) countRouterMAC(node string, e *edge, k routerMACKey, by int) {
	if k == (routerMACKey{}) {
		return
	}
	was := e.routerMACs[k] > 0
	if e.routerMACs[k] += by; e.routerMACs[k] <= 0 {
		delete(e.routerMACs, k)
	}
	if was != (e.routerMACs[k] > 0) {
		m.staleNodes[node] = struct{}{}
	}
}

// routerMACOf is the MAC by which an edge takes part in a router's symmetric
// routing, zero when it does not. A vSwitch always does; of a leaf its routes say
// so, for not each can.
func (e *edge) routerMACOf(v intent.VNI) (mac intent.MAC) {
	if e.spec == nil {
		return mac
	}
	if e.spec.Spec.VSwitch != nil {
		return intent.RouterMAC(e.vtep())
	}
	for k := range e.routerMACs {
		if k.vni == v && (mac.IsZero() || slices.Compare(k.mac[:], mac[:]) < 0) {
			mac = k.mac
		}
	}
	return mac
}

// settleStaleNodes settles the ports of leaves that began to route or ended.
func (m *Model) settleStaleNodes() {
	for len(m.staleNodes) > 0 {
		for node := range m.staleNodes {
			delete(m.staleNodes, node)
			if e := m.nodes[node]; e != nil {
				m.settleNode(e)
			}
		}
	}
}

// settleVRF keeps which router has an L3VNI and what it imports, and takes those
// routes again that this concerns. Either may be nil.
func (m *Model) settleVRF(ref intent.Ref, old, now *intent.Router) {
	if !announcedAlike(old, now) {
		m.touchRouted(old)
		m.touchRouted(now)
	}
	if old != nil && now != nil && old.Spec.VNI == now.Spec.VNI && slices.Equal(old.Spec.RouteTargets.Import, now.Spec.RouteTargets.Import) {
		return
	}
	if old != nil && m.byL3VNI[old.Spec.VNI] != nil && m.byL3VNI[old.Spec.VNI].ref == ref {
		m.setVRFImports(old, false)
		routes := m.routesOver(old.Spec.VNI)
		delete(m.byL3VNI, old.Spec.VNI)
		m.retake(routes)
	}
	if now == nil || now.Spec.VNI == 0 {
		return
	}
	m.byL3VNI[now.Spec.VNI] = m.routers[ref]
	m.setVRFImports(now, true)
	if len(now.Spec.RouteTargets.Import) > 0 {
		m.retake(m.allRoutes()) // rare: any route may have one of the targets
	} else {
		m.retake(m.routesOver(now.Spec.VNI))
	}
}

// announcedAlike reports whether two states of a router announce the same of what
// is in the tables. Either may be nil.
func announcedAlike(a, b *intent.Router) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Spec.VNI == b.Spec.VNI && slices.Equal(a.Spec.RouteTargets.Export, b.Spec.RouteTargets.Export) &&
		slices.EqualFunc(a.Spec.Networks, b.Spec.Networks, func(x, y intent.RouterNetwork) bool { return x.Network == y.Network })
}

// touchRouted has what is announced of a router and its networks looked at: with
// which route targets, and whether as routed.
func (m *Model) touchRouted(r *intent.Router) {
	if r == nil || r.Spec.VNI == 0 {
		return
	}
	m.touchedVNIs[r.Spec.VNI] = struct{}{}
	for _, rn := range r.Spec.Networks {
		if n := m.networks[r.NetworkRef(rn)]; n != nil && n.Spec.VNI != 0 {
			m.touchedVNIs[n.Spec.VNI] = struct{}{}
		}
	}
}

func (m *Model) setVRFImports(r *intent.Router, yes bool) {
	for _, s := range r.Spec.RouteTargets.Import {
		t, err := intent.ParseRouteTarget(s)
		if err != nil {
			continue // validated before it was stored
		}
		if m.vrfImports[t] == nil {
			m.vrfImports[t] = map[intent.VNI]struct{}{}
		}
		if yes {
			m.vrfImports[t][r.Spec.VNI] = struct{}{}
		} else if delete(m.vrfImports[t], r.Spec.VNI); len(m.vrfImports[t]) == 0 {
			delete(m.vrfImports, t)
		}
	}
}

// routesOver are the leaves' routes with an L3VNI.
func (m *Model) routesOver(v intent.VNI) map[taken]struct{} {
	out := map[taken]struct{}{}
	for node, e := range m.nodes {
		for id, a := range e.routes {
			if routedBy(&a.route) == v {
				out[taken{node, id}] = struct{}{}
			}
		}
	}
	return out
}

// RouterOf is the router that joins a network, and RouterWith the one that has an
// L3VNI, as the model knows them; nil when there is none. For an external network
// it is a router with its L3VNI and route targets.
func (m *Model) RouterOf(network intent.Ref) *intent.Router {
	if r := m.routerOf(network); r != nil {
		return r.spec
	}
	return nil
}

// RouterWith is described with RouterOf.
func (m *Model) RouterWith(v intent.VNI) *intent.Router {
	if r := m.byL3VNI[v]; r != nil {
		return r.spec
	}
	return nil
}

// ExternalWith is the external network that has an L3VNI, nil when there is none.
func (m *Model) ExternalWith(v intent.VNI) *intent.ExternalNetwork {
	if r := m.byL3VNI[v]; r != nil {
		return r.outside
	}
	return nil
}

func (m *Model) routerSpec(ref intent.Ref) *intent.Router {
	if r := m.routers[ref]; r != nil {
		return r.spec
	}
	return nil
}
