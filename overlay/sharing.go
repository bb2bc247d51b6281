package overlay

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Leak says what a VRF has of another one: destinations that are looked up there
// instead. A packet is so handed on once, never from there to a third VRF.
type Leak struct {
	// VRF is the other one, without what it has of others itself.
	VRF *VRF
	// Prefixes are the destinations. Its own routes to the same go first.
	Prefixes []netip.Prefix
	// Sources are whose packets may go there: what the other one has of this
	// VRF, so that there is a way back; of an external network what is
	// advertised there. No other source is believed.
	Sources []netip.Prefix
	// Trusted says that both are of one tenant: members of groups are known as
	// such by the addresses that they have there.
	Trusted bool
	// Leaf says that the other one has stations on EVPN leaves. These send what
	// is for this VRF with the L3VNI of theirs.
	Leaf bool
}

func (l Leak) equal(o Leak) bool {
	return l.Trusted == o.Trusted && l.Leaf == o.Leaf && slices.Equal(l.Prefixes, o.Prefixes) && slices.Equal(l.Sources, o.Sources) && l.VRF.Equal(o.VRF)
}

// tells reports whether VTEPs of the other VRF must know the sources: their hosts
// have rows in its table, too.
func (l Leak) tells() bool { return l.VRF.External || l.Leaf }

// from reports whether an address is among the sources.
func (l Leak) from(a netip.Addr) bool {
	return slices.ContainsFunc(l.Sources, func(p netip.Prefix) bool { return p.Contains(a) })
}

// everywhere are the default routes: what leads outside.
var everywhere = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// shared is who shares what with whom, as routers say it.
type shared struct {
	wants, offers map[intent.RouteTarget]map[intent.Ref]struct{} // imports, and configured exports -> routers
	// The same by the L3VNI of which an automatic route target is made: imports
	// that may be such, and routers without configured exports.
	wantsVNI, automatic map[intent.VNI]map[intent.Ref]struct{}
	outside             map[intent.Ref]map[intent.Ref]struct{} // external network -> routers that lead there
}

func newShared() shared {
	return shared{wants: map[intent.RouteTarget]map[intent.Ref]struct{}{}, offers: map[intent.RouteTarget]map[intent.Ref]struct{}{},
		wantsVNI: map[intent.VNI]map[intent.Ref]struct{}{}, automatic: map[intent.VNI]map[intent.Ref]struct{}{},
		outside: map[intent.Ref]map[intent.Ref]struct{}{}}
}

// note has a set of refs under a key have one, or with yes false have it no more.
func note[K comparable](index map[K]map[intent.Ref]struct{}, k K, ref intent.Ref, yes bool) {
	if yes {
		add(index, k, ref)
	} else {
		remove(index, k, ref)
	}
}

// exportsOf are the configured export targets of a router.
func exportsOf(r *intent.Router) (out []intent.RouteTarget) {
	for _, s := range r.Spec.RouteTargets.Export {
		if t, err := intent.ParseRouteTarget(s); err == nil { // validated before it was stored
			out = append(out, t)
		}
	}
	return out
}

// share notes what a router shares, or with yes false that it does no more. Who
// has something of it looks again what that is.
func (m *Model) share(r *intent.Router, yes bool) {
	ref := r.Ref()
	if x := r.Spec.External; x != nil {
		note(m.shared.outside, x.Ref(), ref, yes)
		m.stale[x.Ref()] = struct{}{}
	}
	for _, i := range r.Spec.Imports {
		note(m.shared.wants, i.Target(), ref, yes)
		if v, ok := i.Target().VNI(); ok {
			note(m.shared.wantsVNI, v, ref, yes)
		}
	}
	for _, t := range exportsOf(r) {
		note(m.shared.offers, t, ref, yes)
	}
	if v := r.Spec.VNI; len(r.Spec.RouteTargets.Export) == 0 && v != 0 {
		note(m.shared.automatic, v, ref, yes)
	}
	m.unlinkImporters(r)
}

// unlink has those look again at a router, or an external network, that have
// something of it.
func (m *Model) unlink(r *router) {
	if r.outside == nil {
		m.unlinkImporters(r.spec)
		if x := r.spec.Spec.External; x != nil {
			m.stale[x.Ref()] = struct{}{}
		}
		return
	}
	for ref := range m.shared.outside[r.ref] {
		m.unlinked[ref] = struct{}{}
	}
}

func (m *Model) unlinkImporters(r *intent.Router) {
	for _, t := range exportsOf(r) {
		maps.Copy(m.unlinked, m.shared.wants[t])
	}
	if len(r.Spec.RouteTargets.Export) == 0 {
		maps.Copy(m.unlinked, m.shared.wantsVNI[r.Spec.VNI])
	}
}

// exporters are the routers of which a router imports something, by name.
func (m *Model) exporters(r *router) (out []*router) {
	refs := map[intent.Ref]struct{}{}
	for _, i := range r.spec.Spec.Imports {
		maps.Copy(refs, m.shared.offers[i.Target()])
		if v, ok := i.Target().VNI(); ok {
			maps.Copy(refs, m.shared.automatic[v])
		}
	}
	for _, ref := range slices.SortedFunc(maps.Keys(refs), compareRefs) {
		if o := m.routers[ref]; o != nil && o != r && o.alone != nil && o.alone.VNI != 0 {
			out = append(out, o)
		}
	}
	return out
}

// prefixes are the subnets of a VRF.
func (v *VRF) prefixes() []netip.Prefix {
	out := make([]netip.Prefix, len(v.Subnets))
	for i, s := range v.Subnets {
		out[i] = s.Prefix
	}
	return out
}

// exporter is the router as others see it that import from it.
func (r *router) exporter() intent.Exporter {
	return intent.Exporter{Router: r.spec, Subnets: r.alone.prefixes()}
}

// takes are the prefixes that a router imports from others, by these.
func (r *router) takes(from ...*router) map[intent.Ref][]netip.Prefix {
	all := make([]intent.Exporter, len(from))
	for i, o := range from {
		all[i] = o.exporter()
	}
	out := map[intent.Ref][]netip.Prefix{}
	for _, l := range intent.Leaks(r.spec, all) {
		out[l.From] = append(out[l.From], l.Prefix)
	}
	for _, ps := range out {
		slices.SortFunc(ps, comparePrefixes)
	}
	return out
}

// leaks are what a router has of others: what it imports, and the way outside.
// What two give it that must not meet is the first one's by name.
func (m *Model) leaks(r *router) (out []Leak) {
	if len(r.gateways) == 0 {
		return nil
	}
	others := m.exporters(r)
	taken := r.takes(others...)
	has := map[netip.Prefix]struct{}{}
	for _, o := range others {
		l := Leak{VRF: o.alone, Trusted: o.spec.Metadata.Tenant == r.spec.Metadata.Tenant, Leaf: m.onLeaves[o.ref] > 0, Sources: o.takes(r)[r.ref]}
		for _, p := range taken[o.ref] {
			if _, ok := has[p]; !ok {
				has[p] = struct{}{}
				l.Prefixes = append(l.Prefixes, p)
			}
		}
		if len(l.Prefixes) > 0 {
			out = append(out, l)
		}
	}
	if x := r.spec.Spec.External; x != nil {
		if o := m.routers[x.Ref()]; o != nil && o.alone != nil && o.alone.VNI != 0 {
			out = append(out, Leak{VRF: o.alone, Prefixes: everywhere, Sources: slices.SortedFunc(slices.Values(x.Advertise), comparePrefixes)})
		}
	}
	slices.SortFunc(out, func(a, b Leak) int { return cmp.Compare(a.VRF.VNI, b.VRF.VNI) })
	return out
}

// outsideSubnets are the prefixes of an external network that are inside: its
// pools, and what routers advertise there.
func (m *Model) outsideSubnets(r *router) (out []Subnet) {
	has := map[netip.Prefix]struct{}{}
	put := func(s Subnet) {
		if _, ok := has[s.Prefix]; !ok && r.spec.Spec.VNI != 0 {
			has[s.Prefix] = struct{}{}
			out = append(out, s)
		}
	}
	for _, p := range r.outside.Spec.Pools {
		put(Subnet{Prefix: p})
	}
	for _, ref := range slices.SortedFunc(maps.Keys(m.shared.outside[r.ref]), compareRefs) {
		o := m.routers[ref]
		if o == nil || o.alone == nil || o.spec.Spec.External.Ref() != r.ref {
			continue
		}
		for _, p := range o.spec.Spec.External.Advertise {
			if s, ok := o.alone.Subnet(p.Addr()); ok && intent.Within(p, s.Prefix) {
				put(Subnet{Prefix: p, VNI: s.VNI, Encap: s.Encap})
			}
		}
	}
	slices.SortFunc(out, compareSubnets)
	return out
}

// putOutside takes an external network, new or changed, or with nil its deletion.
func (m *Model) putOutside(ref intent.Ref, now *intent.ExternalNetwork) {
	was := m.routerSpec(ref)
	r := m.keepRouter(ref)
	old := r.outside
	var spec *intent.Router
	if now != nil {
		spec = &intent.Router{Metadata: intent.Metadata{Name: ref.Name}, Spec: intent.RouterSpec{VNI: now.Spec.VNI, RouteTargets: now.Spec.RouteTargets}}
		r.outside, r.spec = now, spec
	} else {
		r.outside, r.spec = &intent.ExternalNetwork{Metadata: intent.Metadata{Name: ref.Name}}, &intent.Router{Metadata: intent.Metadata{Name: ref.Name}}
	}
	m.settleBorders(ref, old, now)
	m.stale[ref] = struct{}{}
	m.settleRouters()
	if now == nil {
		delete(m.routers, ref)
	}
	m.settleVRF(ref, was, spec)
	if was == nil || spec == nil || was.Spec.VNI != spec.Spec.VNI {
		m.settleAllSources()
	}
	sameBorders := func(a, b intent.Border) bool { return a.Node == b.Node }
	if old != nil && now != nil && (!slices.Equal(old.Spec.Import, now.Spec.Import) || !slices.EqualFunc(old.Spec.Borders, now.Spec.Borders, sameBorders)) {
		m.retake(m.routesOver(now.Spec.VNI))
	}
	m.settleStaleNodes()
}

// takesPrefix reports whether a learned prefix is taken: an external network may
// limit that.
func (r *router) takesPrefix(p netip.Prefix) bool { return r.outside == nil || r.outside.Takes(p) }

// countOnLeaves counts the ports on EVPN leaves of each router, from what a port was
// to what it is; those that share with a router look again when its first comes or
// its last one goes.
func (m *Model) countOnLeaves(old Attachment, was bool, now Attachment, is bool) {
	count := func(a Attachment, by int) {
		ref := a.Routing.VRF.Router
		had := m.onLeaves[ref] > 0
		if m.onLeaves[ref] += by; m.onLeaves[ref] <= 0 {
			delete(m.onLeaves, ref)
		}
		if r := m.routers[ref]; r != nil && had != (m.onLeaves[ref] > 0) {
			m.unlinkImporters(r.spec)
		}
	}
	if is {
		count(now, 1)
	}
	if was {
		count(old, -1)
	}
}

// at is the gateway on an edge. Only vSwitches can look something up in another
// VRF than the packet's: an EVPN leaf has one L3VNI for all that it sends from one.
// Hardware VTEPs need to know who is gateway for them.
func (r *Routing) at(e *edge) *Routing {
	if r == nil || len(r.VRF.Leaks)+len(r.VRF.Bridges)+len(r.VRF.Senders) == 0 || e.spec.Spec.VSwitch != nil {
		return r
	}
	vrf := *r.VRF
	vrf.Leaks = nil
	if e.bridging() == 0 {
		vrf.Bridges, vrf.Senders = nil, nil
	}
	return &Routing{VRF: &vrf, Gateways: r.Gateways, Sources: r.Sources}
}
