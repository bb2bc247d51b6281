package overlay

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// router is a router, or an external network, and what was made of it.
type router struct {
	ref intent.Ref
	// spec of an external network is what a router with its L3VNI and route
	// targets would say.
	spec    *intent.Router
	outside *intent.ExternalNetwork // nil for a router
	alone   *VRF                    // without what it has of others
	vrf     *VRF
	// gateways are its addresses in each of its networks; empty while it has no
	// L3VNI. routing is what their ports get.
	gateways map[intent.Ref][]netip.Addr
	routing  map[intent.Ref]*Routing
	// sources are the ports that are next hops, and for which prefixes; settled
	// are those that ports have.
	sources, settled map[intent.Ref][]netip.Prefix
	// The next hops that its routes name, to notice them.
	hopPorts map[intent.Ref]struct{}
	hopAddrs map[address]struct{}
}

// putRouter takes a router, new or changed, or with nil its deletion.
func (m *Model) putRouter(ref intent.Ref, now *intent.Router) {
	networks := map[intent.Ref]struct{}{}
	if old := m.routers[ref]; old != nil {
		m.share(old.spec, false)
		for _, rn := range old.spec.Spec.Networks {
			n := old.spec.NetworkRef(rn)
			networks[n] = struct{}{}
			if left := m.routersOf[n].without(ref); left.empty() {
				delete(m.routersOf, n)
			} else {
				m.routersOf[n] = left
			}
		}
	}
	m.stale[ref] = struct{}{}
	if now != nil {
		m.keepRouter(ref).spec = now
		m.share(now, true)
		for _, rn := range now.Spec.Networks {
			n := now.NetworkRef(rn)
			networks[n] = struct{}{}
			m.routersOf[n] = m.routersOf[n].with(ref)
		}
	} else if old := m.routers[ref]; old != nil {
		gone := *old
		gone.spec = &intent.Router{Metadata: old.spec.Metadata}
		m.routers[ref] = &gone
	}
	// A network is on one router; who else names it may have it now.
	for n := range networks {
		for r := range m.routersOf[n].all() {
			m.stale[r] = struct{}{}
		}
	}
	m.settleRouters()
	if now == nil {
		delete(m.routers, ref)
	}
}

// keepRouter is what is known of a router, or of an external network.
func (m *Model) keepRouter(ref intent.Ref) *router {
	if m.routers[ref] == nil {
		m.routers[ref] = &router{ref: ref}
	}
	return m.routers[ref]
}

// routerOf is the router that has a network: the first by name of those that
// name it and have an L3VNI.
func (m *Model) routerOf(network intent.Ref) *router {
	var first *router
	for r := range m.routersOf[network].all() {
		if o := m.routers[r]; o.spec.Spec.VNI != 0 && (first == nil || compareRefs(r, first.ref) < 0) {
			first = o
		}
	}
	return first
}

// routingOf is the gateway that a port has.
func (m *Model) routingOf(p *intent.Port) *Routing {
	r := m.routerOf(p.NetworkRef())
	if r == nil {
		return nil
	}
	g := r.routing[p.NetworkRef()]
	if s := r.sources[p.Ref()]; g != nil && len(s) > 0 {
		return &Routing{VRF: g.VRF, Gateways: g.Gateways, Sources: s}
	}
	return g
}

// settleRouters compiles the routers again that are stale, has them take of
// others what is another, and settles the ports whose gateway is another then.
func (m *Model) settleRouters() {
	if m.compiling || len(m.stale)+len(m.unlinked) == 0 {
		return
	}
	m.compiling = true
	defer func() { m.compiling = false }()
	for len(m.stale)+len(m.unlinked) > 0 {
		for len(m.stale) > 0 { // external networks follow from routers
			for _, ref := range slices.SortedFunc(maps.Keys(m.stale), compareRefs) {
				delete(m.stale, ref)
				if r := m.routers[ref]; r != nil {
					m.compile(r)
				}
			}
		}
		networks := map[intent.Ref]struct{}{}
		for _, ref := range slices.SortedFunc(maps.Keys(m.unlinked), compareRefs) {
			delete(m.unlinked, ref)
			if r := m.routers[ref]; r != nil {
				m.link(r, networks)
			}
		}
		for _, n := range slices.SortedFunc(maps.Keys(networks), compareRefs) {
			m.settleAll(m.portsOf[n])
			if o := m.networks[n]; o != nil {
				m.settleMirror(o.Spec.VNI)
			}
		}
		for v := range m.staleVRFs {
			delete(m.staleVRFs, v)
			m.retake(m.routesOver(v))
		}
	}
}

// compile makes what a router is alone. Who has something of it has it anew.
func (m *Model) compile(r *router) {
	was := *r
	r.alone = &VRF{Router: r.ref, VNI: r.spec.Spec.VNI, External: r.outside != nil}
	if r.outside != nil {
		r.alone.Subnets = m.outsideSubnets(r)
		if was.alone == nil || !slices.Equal(was.alone.Subnets, r.alone.Subnets) {
			m.touchBorders(r.outside)
		}
	} else {
		m.compileRouter(r, &was)
	}
	m.unlinked[r.ref] = struct{}{}
	if was.alone.Equal(r.alone) {
		r.alone = was.alone
		return
	}
	if r.alone.VNI != 0 && (was.alone == nil || !slices.Equal(was.alone.Subnets, r.alone.Subnets)) {
		m.staleVRFs[r.alone.VNI] = struct{}{}
	}
	m.unlink(r)
}

// compileRouter makes the subnets and routes of a router, and its networks'
// gateways.
func (m *Model) compileRouter(r, was *router) {
	o, vrf := r.spec, r.alone
	r.gateways, r.sources = map[intent.Ref][]netip.Addr{}, map[intent.Ref][]netip.Prefix{}
	r.hopPorts, r.hopAddrs = map[intent.Ref]struct{}{}, map[address]struct{}{}
	for _, rn := range o.Spec.Networks {
		ref := o.NetworkRef(rn)
		n := m.networks[ref]
		if n == nil || n.Spec.VNI == 0 || m.routerOf(ref) != r {
			continue
		}
		r.gateways[ref] = nil
		for _, s := range n.Spec.Subnets {
			gateway := rn.Gateway(s)
			r.gateways[ref] = append(r.gateways[ref], gateway)
			vrf.Subnets = append(vrf.Subnets, Subnet{s, n.Spec.VNI, gateway, n.Spec.Encapsulation.Full()})
		}
	}
	slices.SortFunc(vrf.Subnets, compareSubnets)
	for _, s := range o.Spec.Routes {
		if len(r.gateways) > 0 {
			vrf.Routes = append(vrf.Routes, m.compileRoute(r, vrf, s))
		}
	}
	slices.SortFunc(vrf.Routes, func(a, b Route) int { return comparePrefixes(a.Prefix, b.Prefix) })
	for _, s := range r.sources {
		slices.SortFunc(s, comparePrefixes)
	}
	reindex(m.hopPorts, r.ref, was.hopPorts, r.hopPorts)
	reindex(m.hopAddrs, r.ref, was.hopAddrs, r.hopAddrs)
}

// link makes a router's VRF of what it is alone and what it has of others, and
// notes the networks whose ports have another gateway by that.
func (m *Model) link(r *router, changed map[intent.Ref]struct{}) {
	vrf := r.alone
	leaks := m.leaks(r)
	bridges, senders := m.bridges(r)
	if len(leaks)+len(bridges)+len(senders) > 0 {
		with := *r.alone
		with.Leaks, with.Bridges, with.Senders = leaks, bridges, senders
		vrf = &with
	}
	if r.vrf == nil || !r.vrf.Equal(vrf) {
		r.vrf = vrf
	}
	was := r.routing
	r.routing = make(map[intent.Ref]*Routing, len(r.gateways))
	for n, gateways := range r.gateways {
		r.routing[n] = &Routing{VRF: r.vrf, Gateways: gateways}
	}
	alike := maps.EqualFunc(r.settled, r.sources, slices.Equal)
	r.settled = r.sources
	for n := range was {
		changed[n] = struct{}{}
	}
	for n, g := range r.routing {
		changed[n] = struct{}{}
		if was[n].Equal(g) {
			r.routing[n] = was[n]
			if alike {
				delete(changed, n)
			}
		}
	}
}

// joins reports whether a network is on the router.
func (r *router) joins(network intent.Ref) bool {
	_, ok := r.gateways[network]
	return ok
}

func compareSubnets(a, b Subnet) int {
	return cmp.Or(comparePrefixes(a.Prefix, b.Prefix), cmp.Compare(a.VNI, b.VNI))
}

// reindex keeps which routers name a next hop.
func reindex[K comparable](index map[K]few[intent.Ref], router intent.Ref, was, now map[K]struct{}) {
	for k := range was {
		if _, ok := now[k]; ok {
			continue
		}
		if left := index[k].without(router); left.empty() {
			delete(index, k)
		} else {
			index[k] = left
		}
	}
	for k := range now {
		index[k] = index[k].with(router)
	}
}

// compileRoute finds the next hops of a static route.
func (m *Model) compileRoute(r *router, vrf *VRF, s intent.StaticRoute) Route {
	out := Route{Prefix: s.Prefix, Blackhole: s.Blackhole}
	for _, h := range s.NextHops {
		ref := r.spec.PortRef(h)
		if h.Port == "" {
			subnet, ok := vrf.Subnet(h.Address)
			if !ok {
				continue
			}
			at := address{subnet.VNI, h.Address}
			r.hopAddrs[at] = struct{}{}
			if ref, ok = m.portWith(r, at); !ok {
				if len(m.hosts[at]) > 0 {
					out.Hops = append(out.Hops, Hop{h.Address, h.Share()})
				}
				continue
			}
		}
		r.hopPorts[ref] = struct{}{}
		p := m.ports[ref]
		if p == nil || !r.joins(p.NetworkRef()) {
			continue
		}
		if !slices.Contains(r.sources[ref], s.Prefix) {
			r.sources[ref] = append(r.sources[ref], s.Prefix)
		}
		// Where an edge has not reported, the next hop may be there.
		if _, ok := m.attached[ref]; !ok && !m.awaiting {
			continue
		}
		a := HopAddress(m.networks[p.NetworkRef()].Spec.VNI, p.Spec.MAC)
		if i := slices.IndexFunc(out.Hops, func(o Hop) bool { return o.Address == a }); i >= 0 {
			out.Hops[i].Weight += h.Share() // by its address and by its port
			continue
		}
		out.Hops = append(out.Hops, Hop{a, h.Share()})
	}
	slices.SortFunc(out.Hops, func(a, b Hop) int { return a.Address.Compare(b.Address) })
	return out
}

// portWith is the port of a router's network that has an address.
func (m *Model) portWith(r *router, at address) (ref intent.Ref, ok bool) {
	n := m.byVNI[at.vni]
	if n == nil || !r.joins(n.Ref()) {
		return intent.Ref{}, false
	}
	for p := range m.portsOf[n.Ref()] {
		if slices.Contains(m.ports[p].Spec.Addresses, at.ip) && (!ok || compareRefs(p, ref) < 0) {
			ref, ok = p, true
		}
	}
	return ref, ok
}

// hopDeclared notes that a port of the intent came, went or changed that may be a
// next hop. Nil is ignored.
func (m *Model) hopDeclared(p *intent.Port) {
	if p == nil || len(m.routers) == 0 {
		return
	}
	m.hopPort(p.Ref())
	if n := m.networks[p.NetworkRef()]; n != nil {
		for _, a := range p.Spec.Addresses {
			m.hopAddress(address{n.Spec.VNI, a})
		}
	}
}

// hopPort notes that a port is attached now, or is no longer.
func (m *Model) hopPort(port intent.Ref) {
	for r := range m.hopPorts[port].all() {
		m.stale[r] = struct{}{}
	}
}

// hopAddress notes that somebody else may have an address.
func (m *Model) hopAddress(at address) {
	for r := range m.hopAddrs[at].all() {
		m.stale[r] = struct{}{}
	}
}

// settleAwaiting judges next hops that are nowhere: whether they may be at an
// edge that has not reported.
func (m *Model) settleAwaiting() {
	if is := len(m.unreported) > 0; is != m.awaiting {
		m.awaiting = is
		for ref, r := range m.routers {
			if len(r.hopPorts) > 0 {
				m.stale[ref] = struct{}{}
			}
		}
		m.settleRouters()
	}
}

// settleGateways brings routers in line with a network that changed. Either may
// be nil.
func (m *Model) settleGateways(old, now *intent.Network) {
	o := old
	if o == nil {
		o = now
	}
	if o == nil {
		return
	}
	for r := range m.routersOf[o.Ref()].all() {
		m.stale[r] = struct{}{}
	}
	m.settleRouters()
	if old != nil {
		m.settleMirror(old.Spec.VNI)
	}
	if now != nil {
		m.settleMirror(now.Spec.VNI)
	}
}
