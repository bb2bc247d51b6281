package intent

import (
	"fmt"
	"net/netip"
	"slices"
)

// RouterExternal joins a router to an external network.
type RouterExternal struct {
	Network string `json:"network" yaml:"network" doc:"External network to which the default route and what the borders learned lead"`
	// SNAT is stateful and done on the hypervisor of the sender.
	SNAT      bool           `json:"snat,omitempty" yaml:"snat,omitempty" doc:"Translate what leaves to an address of the hypervisor; without, only floating IPs and advertised prefixes are answered"`
	Advertise []netip.Prefix `json:"advertise,omitempty" yaml:"advertise,omitempty,flow" doc:"Prefixes inside the router's subnets that are announced outside, and not translated"`
}

// Ref is the external network; the zero Ref when there is none.
func (x *RouterExternal) Ref() Ref {
	if x == nil {
		return Ref{}
	}
	return ExternalRef(x.Network)
}

// RouterImport takes routes of other routers that export a route target (RFC
// 4364 section 4.3.1): to what is inside the prefixes.
type RouterImport struct {
	RouteTarget string         `json:"routeTarget" yaml:"routeTarget" doc:"Route target that the other router exports; a router of another tenant must give it in routeTargets.export"`
	Prefixes    []netip.Prefix `json:"prefixes,omitempty" yaml:"prefixes,omitempty,flow" doc:"What is taken of its subnets and static routes; all its subnets when left out"`
}

// Target is the route target; of a valid import it is never zero.
func (i RouterImport) Target() RouteTarget {
	t, _ := ParseRouteTarget(i.RouteTarget)
	return t
}

// Exports reports whether routers of a tenant may import the router's routes by
// a route target: it is in routeTargets.export; or, for its own tenant and when
// that is left out, it is the one made from the router's L3VNI.
func (r *Router) Exports(t RouteTarget, to string) bool {
	if len(r.Spec.RouteTargets.Export) == 0 {
		v, ok := t.VNI()
		return ok && v == r.Spec.VNI && to == r.Metadata.Tenant
	}
	return slices.ContainsFunc(r.Spec.RouteTargets.Export, func(s string) bool {
		x, err := ParseRouteTarget(s)
		return err == nil && x == t
	})
}

// Takes lists the prefixes that an import takes from a router with these
// subnets and static routes, sorted and none inside another: without a filter
// the subnets; else what of subnets and routes is inside a prefix of the filter,
// and a prefix of the filter that is inside a subnet.
func (i RouterImport) Takes(subnets, routes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	if len(i.Prefixes) == 0 {
		out = slices.Clone(subnets)
	}
	for _, p := range i.Prefixes {
		for _, s := range subnets {
			switch {
			case Within(s, p):
				out = append(out, s)
			case Within(p, s):
				out = append(out, p)
			}
		}
		for _, r := range routes {
			if Within(r, p) {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	kept := out[:0]
	for _, p := range out {
		if !slices.ContainsFunc(kept, func(q netip.Prefix) bool { return Within(p, q) }) {
			kept = append(kept, p)
		}
	}
	return kept
}

// Leak is a prefix of one router that another one has too: what goes there is
// looked up in the VRF of the former.
type Leak struct {
	Prefix netip.Prefix
	From   Ref // the router that exports it
	Import int // index of the import in the router that has it
}

// Exporter is a router with the subnets of its networks.
type Exporter struct {
	Router  *Router
	Subnets []netip.Prefix
}

// Leaks lists what a router imports from others, in the order of the imports,
// then of the routers, then of the prefixes. Others that it does not import may
// be among them, and so may itself: it takes nothing from itself.
func Leaks(r *Router, others []Exporter) []Leak {
	var out []Leak
	for i, imp := range r.Spec.Imports {
		for _, o := range others {
			if o.Router.Ref() == r.Ref() || !o.Router.Exports(imp.Target(), r.Metadata.Tenant) {
				continue
			}
			for _, p := range imp.Takes(o.Subnets, o.Router.prefixes()) {
				l := Leak{p, o.Router.Ref(), i}
				if !slices.ContainsFunc(out, func(k Leak) bool { return k.From == l.From && Within(p, k.Prefix) }) {
					out = append(out, l)
				}
			}
		}
	}
	return out
}

// prefixes are those of the static routes.
func (r *Router) prefixes() []netip.Prefix {
	out := make([]netip.Prefix, len(r.Spec.Routes))
	for i, rt := range r.Spec.Routes {
		out[i] = rt.Prefix
	}
	return out
}

// CheckLeaks checks that what a router with these subnets imports meets neither
// its own subnets nor its static routes, and that two routers don't give it the
// same. A default route may cover others.
func CheckLeaks(r *Router, subnets []netip.Prefix, leaks []Leak) error {
	f := NewFaults(r.Ref())
	for i, l := range leaks {
		field := fmt.Sprintf("spec.imports[%d]", l.Import)
		for _, s := range subnets {
			if meets(l.Prefix, s) {
				f.Add(field, "%s of %s overlaps %s, a subnet of this router: a router can't tell them apart; take less by prefixes", l.Prefix, l.From, s)
			}
		}
		for j, rt := range r.Spec.Routes {
			if rt.Prefix == l.Prefix {
				f.Add(field, "%s of %s is spec.routes[%d] of this router too: take less by prefixes, or take the route away", l.Prefix, l.From, j)
			}
		}
		for _, o := range leaks[:i] {
			if o.From != l.From && meets(l.Prefix, o.Prefix) {
				f.Add(field, "%s of %s overlaps %s of %s, which spec.imports[%d] takes: a router can't tell them apart; take less by prefixes", l.Prefix, l.From, o.Prefix, o.From, o.Import)
			}
		}
	}
	return f.Err()
}

// meets reports whether two prefixes overlap and neither is a default route that
// covers the other.
func meets(p, q netip.Prefix) bool {
	return p == q || p.Bits() > 0 && q.Bits() > 0 && p.Overlaps(q)
}

// external checks the router's external network and what it imports.
func (f *Faults) external(s *RouterSpec) {
	if x := s.External; x != nil {
		f.name("spec.external.network", x.Network)
		f.prefixes("spec.external.advertise", x.Advertise)
		if n := len(x.Advertise); n > maxAdvertised {
			f.Add("spec.external.advertise", "has %d: a router may announce %d", n, maxAdvertised)
		}
	}
	if n := len(s.Imports); n > maxImports {
		f.Add("spec.imports", "has %d: a router may have %d", n, maxImports)
	}
	for i, imp := range s.Imports {
		field := fmt.Sprintf("spec.imports[%d]", i)
		t, err := ParseRouteTarget(imp.RouteTarget)
		if err != nil {
			f.Add(field+".routeTarget", "%v", err)
		}
		for j, o := range s.Imports[:i] {
			if err == nil && o.Target() == t {
				f.Add(field+".routeTarget", "%s is given twice: spec.imports[%d] has it too", imp.RouteTarget, j)
			}
		}
		f.prefixes(field+".prefixes", imp.Prefixes)
	}
}

// maxAdvertised and maxImports of a router, so that writing it fits into etcd's
// 128 operations.
const (
	maxAdvertised = 16
	maxImports    = 16
)

// advertised checks that what a router announces outside is inside its subnets.
func (f *Faults) advertised(r *Router, subnets []netip.Prefix) {
	if r.Spec.External == nil {
		return
	}
	for i, p := range r.Spec.External.Advertise {
		if !slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return Within(p, s) }) {
			f.Add(fmt.Sprintf("spec.external.advertise[%d]", i), "%s is in no subnet of the router's networks", p)
		}
	}
}
