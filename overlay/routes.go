package overlay

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// RouteChange is a route that an EVPN leaf announces or withdraws.
type RouteChange struct {
	evpn.Route
	Withdrawn bool
}

// taken names a route of a leaf.
type taken struct {
	node string
	id   evpn.RouteID
}

// announced is a route of a leaf and what was made of it.
type announced struct {
	route evpn.Route
	vnis  []intent.VNI // in whose tables it is
	owned []intent.VNI // where a port owns its address, so that it is refused
	stray string       // alarm's object, when no network and no router takes it
	loose bool         // no network takes it: one that comes may
	over  intent.VNI   // the router in whose table it is as a route
	says  routerMACKey // the router for which it says that the leaf routes
}

type address struct {
	vni intent.VNI
	ip  netip.Addr
}

// TakeRoutes takes what an EVPN leaf announces and withdraws, in order. A route
// is in the tables of the networks that import one of its route targets.
func (m *Model) TakeRoutes(node string, changes []RouteChange) {
	e := m.edge(node)
	for i := range changes {
		c := &changes[i]
		id := c.Route.ID()
		old, had := e.routes[id]
		if c.Withdrawn {
			if had {
				m.dropRoute(node, e, id, old, announced{})
				delete(e.routes, id)
				m.settleAway(e, old.over, id.Key)
			}
			continue
		}
		m.setRoute(node, e, id, c.Route, old)
	}
	m.settleRouters()
	m.settleStaleNodes()
}

// TakePeerLost takes that an EVPN leaf's routes are gone, all of them.
func (m *Model) TakePeerLost(node string) {
	if e := m.nodes[node]; e != nil {
		m.forgetRoutes(node, e)
		m.settleRouters()
		m.settleStaleNodes()
	}
}

func (m *Model) forgetRoutes(node string, e *edge) {
	for id, a := range e.routes {
		m.dropRoute(node, e, id, a, announced{})
		delete(e.routes, id)
		m.settleAway(e, a.over, id.Key)
	}
}

// setRoute states a route, new or changed, in place of what it was.
func (m *Model) setRoute(node string, e *edge, id evpn.RouteID, r evpn.Route, old announced) {
	var now announced
	if e.peerOf != "" {
		now = m.crossing(e, &r)
	} else {
		now = m.placed(node, e, &r)
	}
	m.countRouterMAC(node, e, now.says, 1)
	e.countLead(now.over, id.Key, 1)
	m.dropRoute(node, e, id, old, now)
	e.routes[id] = now
	e.wait(id)
	m.settleAway(e, old.over, id.Key)
	m.settleAway(e, now.over, id.Key)
	for _, v := range now.vnis {
		if id.Type == evpn.MACIP && id.IP.IsValid() {
			at := address{v, id.IP}
			m.hosts[at] = append(m.hosts[at], taken{node, id})
			m.hopAddress(at)
		}
		m.stateRoute(node, e, v, id, r)
	}
	for _, v := range now.owned {
		at := address{v, r.IP}
		if m.refused[at] == nil {
			m.refused[at] = map[taken]struct{}{}
		}
		m.refused[at][taken{node, id}] = struct{}{}
		m.say(node, e, m.spoofed(v, r.Key), 1, fmt.Sprintf("%s announces %s, an address of the port with MAC %s; the route is not used", node, keyWords(r.Key), m.owners[at]))
	}
	if now.loose {
		if m.strays[r.VNI] == nil {
			m.strays[r.VNI] = map[taken]struct{}{}
		}
		m.strays[r.VNI][taken{node, id}] = struct{}{}
	}
	if now.stray != "" {
		m.say(node, e, alarmKey{AlarmUnknownVNI, now.stray}, 1, strayWords(node, e, &now))
	}
}

// placed says what becomes of a route of a leaf, and states it in its router's
// table.
func (m *Model) placed(node string, e *edge, r *evpn.Route) announced {
	now := announced{route: *r}
	for _, v := range m.importers(r.Targets) {
		switch {
		case r.VNI != v: // a label of the leaf's own choice is another segment on the wire
		case m.isOwned(v, r.Key):
			now.owned = append(now.owned, v)
		default:
			now.vnis = append(now.vnis, v)
		}
	}
	over := m.vrfOf(r)
	now.loose = len(now.vnis)+len(now.owned) == 0
	if now.loose && over == 0 {
		now.stray = fmt.Sprintf("VNI %d", r.VNI)
	}
	if over != 0 && r.VTEP == e.vtep() && !r.RouterMAC.IsZero() {
		now.says = routerMACKey{over, r.RouterMAC}
	}
	if m.isRouted(e, over, r) {
		now.over = over
		m.routeOver(node, over, r)
	}
	return now
}

// dropRoute takes back what was made of a route, but for the rows that it will
// have again as what it is now.
func (m *Model) dropRoute(node string, e *edge, id evpn.RouteID, a, now announced) {
	if a.over != 0 && (a.over != now.over || routedKey(&a.route) != routedKey(&now.route)) {
		m.unrouteOver(node, a.over, &a.route)
	}
	m.countRouterMAC(node, e, a.says, -1)
	e.countLead(a.over, id.Key, -1)
	for _, v := range a.vnis {
		if id.Type == evpn.MACIP && id.IP.IsValid() {
			at := address{v, id.IP}
			i := slices.Index(m.hosts[at], taken{node, id})
			if m.hosts[at] = slices.Delete(m.hosts[at], i, i+1); len(m.hosts[at]) == 0 {
				delete(m.hosts, at)
				m.hopAddress(at)
			}
		}
		if slices.Contains(now.vnis, v) {
			continue
		}
		for _, s := range pathsOf(node, id) {
			m.unstate(node, e, v, s.key, s.source)
		}
	}
	for _, v := range a.owned {
		at := address{v, id.IP}
		if delete(m.refused[at], taken{node, id}); len(m.refused[at]) == 0 {
			delete(m.refused, at)
		}
		m.say(node, e, m.spoofed(v, id.Key), -1, "")
	}
	if v := a.route.VNI; a.loose {
		if delete(m.strays[v], taken{node, id}); len(m.strays[v]) == 0 {
			delete(m.strays, v)
		}
	}
	if a.stray != "" {
		m.say(node, e, alarmKey{AlarmUnknownVNI, a.stray}, -1, "")
	}
}

func routeSource(node string, rd evpn.RD) evpn.Source {
	return evpn.Source(node + "/bgp/" + rd.String())
}

// pathOf is a row's key and who states a path for it.
type pathOf struct {
	key    evpn.Key
	source evpn.Source
}

// pathsOf lists the rows that a route becomes: its own, and for a MAC/IP route
// the MAC-only row that edges forward by, which a leaf need not announce (RFC
// 7432 section 10.1).
func pathsOf(node string, id evpn.RouteID) []pathOf {
	src := routeSource(node, id.RD)
	ps := []pathOf{{id.Key, src}}
	if id.Type == evpn.MACIP && id.IP.IsValid() {
		ps = append(ps, pathOf{evpn.MACKey(id.MAC), src + evpn.Source("/"+id.IP.String())})
	}
	return ps
}

func (m *Model) stateRoute(node string, e *edge, v intent.VNI, id evpn.RouteID, r evpn.Route) {
	origin := evpn.OriginBGP
	if e.peerOf != "" {
		origin = evpn.OriginFabric
	}
	if e.peerOf != "" || m.vrfOf(&r) == 0 {
		r.RouterMAC = intent.MAC{} // of another VRF than the network's
	}
	for _, s := range pathsOf(node, id) {
		m.state(node, e, v, s.key, evpn.Path{VTEP: r.VTEP, Seq: r.Seq, Sticky: r.Sticky, RouterMAC: r.RouterMAC, Origin: origin, Source: s.source})
	}
}

// isOwned reports whether a route is for an address of a port with another MAC,
// in a network that refuses that.
func (m *Model) isOwned(v intent.VNI, k evpn.Key) bool {
	if k.Type != evpn.MACIP || !k.IP.IsValid() || m.byVNI[v].Spec.Spoofing == intent.SpoofingReport {
		return false
	}
	mac, ok := m.owners[address{v, k.IP}]
	return ok && mac != k.MAC
}

// own notes whose an attached port's addresses are. Routes for them that were
// taken, or refused, when they were nobody's or another MAC's are taken again.
func (m *Model) own(a Attachment) {
	for _, ip := range a.Addresses {
		at := address{a.VNI, ip}
		if mac, ok := m.owners[at]; ok && mac == a.MAC {
			continue
		}
		m.owners[at] = a.MAC
		m.retake(m.refused[at])
		m.retake(setOf(m.hosts[at]))
	}
}

func setOf(list []taken) map[taken]struct{} {
	if len(list) == 0 {
		return nil
	}
	out := make(map[taken]struct{}, len(list))
	for _, t := range list {
		out[t] = struct{}{}
	}
	return out
}

// disown forgets whose an address was; routes that were refused for it are
// taken again.
func (m *Model) disown(at address, mac intent.MAC) {
	if m.owners[at] != mac {
		return
	}
	delete(m.owners, at)
	m.retake(m.refused[at])
}

// retake takes routes again that may be worth something else now.
func (m *Model) retake(routes map[taken]struct{}) {
	for _, t := range slices.Collect(keys(routes)) {
		e := m.nodes[t.node]
		a, ok := e.routes[t.id]
		if !ok {
			continue
		}
		m.setRoute(t.node, e, t.id, a.route, a)
	}
}

func keys[K comparable, V any](m map[K]V) func(yield func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// importers lists the VNIs whose networks import one of the targets.
func (m *Model) importers(targets []intent.RouteTarget) []intent.VNI {
	var out []intent.VNI
	for _, t := range targets {
		for v := range m.imports[t] {
			out = append(out, v)
		}
		if v, ok := t.VNI(); ok {
			if n := m.byVNI[v]; n != nil && len(n.Spec.RouteTargets.Import) == 0 {
				out = append(out, v)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// settleNetwork keeps the VNI's network, its import targets and policy, and
// takes those routes again that this concerns. Either may be nil.
func (m *Model) settleNetwork(old, now *intent.Network) {
	same := importsAlike(old, now)
	if old != nil && m.byVNI[old.Spec.VNI] == old {
		delete(m.byVNI, old.Spec.VNI)
		m.setImports(old, false)
		if !same {
			m.retake(m.routesIn(old.Spec.VNI))
		}
	}
	if now == nil || now.Spec.VNI == 0 {
		return
	}
	m.byVNI[now.Spec.VNI] = now
	m.setImports(now, true)
	if s := m.segments[now.Spec.VNI]; s != nil {
		before := s.Rev()
		s.Follow(now.Spec.Spoofing == intent.SpoofingReport)
		if s.Rev() != before {
			m.touchedVNIs[now.Spec.VNI] = struct{}{}
		}
	}
	if same && old.Spec.Spoofing != now.Spec.Spoofing {
		m.retake(m.routesIn(now.Spec.VNI))
	}
	if !same {
		m.touchedVNIs[now.Spec.VNI] = struct{}{}
		if len(now.Spec.RouteTargets.Import) > 0 {
			m.retake(m.allRoutes()) // rare: any route may have one of the targets
		} else {
			m.retake(m.strays[now.Spec.VNI])
		}
	}
}

// importsAlike reports whether two states of a network, which may be nil, take the
// same routes, and announce theirs alike.
func importsAlike(old, now *intent.Network) bool {
	return old != nil && now != nil && old.Spec.VNI == now.Spec.VNI && slices.Equal(old.Spec.RouteTargets.Import, now.Spec.RouteTargets.Import) &&
		slices.Equal(old.Spec.RouteTargets.Export, now.Spec.RouteTargets.Export)
}

func (m *Model) setImports(n *intent.Network, yes bool) {
	for _, s := range n.Spec.RouteTargets.Import {
		t, err := intent.ParseRouteTarget(s)
		if err != nil {
			continue // validated before it was stored
		}
		if m.imports[t] == nil {
			m.imports[t] = map[intent.VNI]struct{}{}
		}
		if yes {
			m.imports[t][n.Spec.VNI] = struct{}{}
		} else if delete(m.imports[t], n.Spec.VNI); len(m.imports[t]) == 0 {
			delete(m.imports, t)
		}
	}
}

// routesIn are the routes that are in a VNI's table, or refused there.
func (m *Model) routesIn(v intent.VNI) map[taken]struct{} {
	out := map[taken]struct{}{}
	for node, e := range m.nodes {
		for id, a := range e.routes {
			if slices.Contains(a.vnis, v) || slices.Contains(a.owned, v) {
				out[taken{node, id}] = struct{}{}
			}
		}
	}
	return out
}

func (m *Model) allRoutes() map[taken]struct{} {
	out := map[taken]struct{}{}
	for node, e := range m.nodes {
		for id := range e.routes {
			out[taken{node, id}] = struct{}{}
		}
	}
	return out
}
