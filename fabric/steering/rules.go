package steering

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/congestion"
)

// Rules are policies that fit a fabric and each other. They are not changed after
// Compile made them.
type Rules struct {
	network *Network
	list    []rule         // by rank
	given   map[string]int // colours that the controller gave tenants, see Give
}

// rule is a policy with its names looked up.
type rule struct {
	Policy
	avoid []bool      // links, of an avoiding policy
	via   map[int]int // next switch to its weight, of a pin or weights
}

// Compile checks policies against a fabric and each other. Those that have ended
// or are suspended are left out. Refused are names that the fabric does not have, ways that do not
// exist, and policies of equal priority that say different things about the same
// traffic; all that is wrong is in the error, joined.
func Compile(n *Network, policies []Policy, now time.Time) (*Rules, error) {
	r := &Rules{network: n}
	var errs []error
	healthy, err := n.Routes(Failure{})
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		if !p.Spec.Active(now) || p.Spec.Freeze {
			continue
		}
		us, err := r.rulesOf(healthy, p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.list = append(r.list, us...)
	}
	slices.SortStableFunc(r.list, func(a, b rule) int { return rank(a.Policy, b.Policy) })
	errs = append(errs, r.conflicts()...)
	if len(errs) == 0 {
		errs = append(errs, r.stranded(healthy))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// Fit compiles those policies that fit a fabric and each other, and says what is
// wrong with each of the others: intent that was right may not fit any longer when
// switches or links have left the fabric. Of two that conflict the first by name stays.
func Fit(n *Network, policies []Policy, now time.Time) (*Rules, map[string]error, error) {
	unfit := map[string]error{}
	if r, err := Compile(n, policies, now); err == nil {
		return r, unfit, nil
	}
	fit := make([]Policy, 0, len(policies))
	for _, p := range slices.SortedFunc(slices.Values(policies), func(a, b Policy) int { return fabric.Natural(a.Name, b.Name) }) {
		if _, err := Compile(n, append(slices.Clone(fit), p), now); err != nil {
			unfit[p.Name] = err
			continue
		}
		fit = append(fit, p)
	}
	r, err := Compile(n, fit, now)
	return r, unfit, err
}

// rulesOf are a policy's: two when it is about both directions.
func (r *Rules) rulesOf(healthy *Routes, p Policy) ([]rule, error) {
	u, err := r.network.lookUp(p)
	if err == nil {
		err = r.reachable(healthy, u)
	}
	if err != nil || p.Spec.Scope.Direction != intent.SteerBoth || p.Spec.Scope.From == p.Spec.Scope.To {
		return []rule{u}, err
	}
	back := u
	back.Spec.Scope.From, back.Spec.Scope.To = u.Spec.Scope.To, u.Spec.Scope.From
	return []rule{u, back}, r.reachable(healthy, back)
}

// Policies are those that were compiled, by rank; none of no rules.
func (r *Rules) Policies() []Policy {
	var out []Policy
	if r == nil {
		return nil
	}
	for _, u := range r.list {
		if !slices.ContainsFunc(out, func(o Policy) bool { return o.Name == u.Name }) {
			out = append(out, u.Policy)
		}
	}
	return out
}

// Tenants are those that policies name, in natural order; none of no rules.
func (r *Rules) Tenants() []string {
	var out []string
	if r == nil {
		return nil
	}
	for _, u := range r.list {
		if t := u.Spec.Scope.Tenant; t != "" {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, fabric.Natural)
	return slices.Compact(out)
}

// lookUp finds what a policy names.
func (n *Network) lookUp(p Policy) (rule, error) {
	u := rule{Policy: p}
	var errs []error
	add := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("policy "+p.Name+": "+format, args...))
	}
	for _, e := range []struct{ field, name string }{{"from", p.Spec.Scope.From}, {"to", p.Spec.Scope.To}} {
		if e.name == "" {
			continue
		}
		if s, ok := n.index[e.name]; !ok {
			add("spec.scope.%s: the fabric has no leaf %q", e.field, e.name)
		} else if !slices.Contains(n.ends, s) {
			add("spec.scope.%s: %s is not a leaf", e.field, e.name)
		}
	}
	names := slices.SortedFunc(maps.Keys(p.Spec.Weight), fabric.Natural)
	if p.Spec.Pin != nil {
		names = p.Spec.Pin.Via
	}
	u.via = map[int]int{}
	for _, name := range names {
		s, ok := n.index[name]
		if !ok {
			add("via: the fabric has no switch %q", name)
			continue
		}
		u.via[s] = max(1, p.Spec.Weight[name])
	}
	if a := p.Spec.Avoid; a != nil {
		u.avoid = make([]bool, len(n.Links))
		for _, name := range slices.Concat(a.Links, a.Nodes) {
			links := n.LinksAt(name)
			if len(links) == 0 {
				add("spec.avoid: the fabric has no link between switches at %s", name)
			}
			for _, l := range links {
				u.avoid[l] = true
			}
		}
	}
	return u, errors.Join(errs...)
}

// reachable refuses a pin or weights with a switch that no traffic of the scope
// can go by.
func (r *Rules) reachable(healthy *Routes, u rule) error {
	for _, s := range slices.Sorted(maps.Keys(u.via)) {
		found := false
		for _, from := range r.network.ends {
			for _, to := range r.network.ends {
				if from == to || !u.covers(r.network, from, to, ColourScope{u.Spec.Scope.Tenant, u.Spec.Scope.Network}) {
					continue
				}
				ways, _ := healthy.between(from, to)
				found = found || slices.ContainsFunc(ways, func(w congestion.Way) bool { return r.network.to[w.First] == s })
			}
		}
		if !found {
			return fmt.Errorf("policy %s: there is no way by %s for %s", u.Name, r.network.names[s], describe(u.Spec.Scope))
		}
	}
	return nil
}

func (u rule) covers(n *Network, from, to int, of ColourScope) bool {
	return within(Scope{From: n.names[from], To: n.names[to], Tenant: of.Tenant, Network: of.Network}, u.Spec.Scope)
}

// conflicts are pairs of policies of equal priority that decide about the same
// traffic, neither of them for a part of the other's.
func (r *Rules) conflicts() []error {
	var errs []error
	for i, a := range r.list {
		for _, b := range r.list[i+1:] {
			if !a.decides() || !b.decides() || a.Spec.Priority != b.Spec.Priority || !overlap(a.Spec.Scope, b.Spec.Scope) || a.Name == b.Name {
				continue
			}
			ab, ba := within(a.Spec.Scope, b.Spec.Scope), within(b.Spec.Scope, a.Spec.Scope)
			if ab == ba {
				errs = append(errs, fmt.Errorf("policies %s and %s conflict: both have priority %d and decide about the same traffic (%s; %s): give one a higher priority, or a scope within the other's",
					a.Name, b.Name, a.Spec.Priority, describe(a.Spec.Scope), describe(b.Spec.Scope)))
			}
		}
	}
	return errs
}

// stranded refuses policies that together leave no way while all links are up.
func (r *Rules) stranded(healthy *Routes) error {
	scopes := map[ColourScope]bool{{}: true}
	for _, u := range r.list {
		of, _ := colourOf(u.Spec.Scope)
		scopes[of] = true
	}
	for _, of := range slices.SortedFunc(maps.Keys(scopes), compareScopes) {
		for _, from := range r.network.ends {
			for _, to := range r.network.ends {
				d := r.decide(healthy, from, to, of)
				if d.stranded && d.avoided != "" {
					return fmt.Errorf("policy %s: it leaves no way from %s to %s: leaves choose their first link only, what follows is ECMP",
						d.avoided, r.network.names[from], r.network.names[to])
				}
			}
		}
	}
	return nil
}

// decision is what the rules say about traffic from a leaf to another.
type decision struct {
	policy  string    // that decides; empty for plain ECMP
	avoided string    // the last policy that took ways away
	auto    bool      // the optimiser decides, among the ways with a part
	most    int       // and for how many cells of the policy, the largest; zero is all
	parts   []float64 // by way, with sum 1; nil is even over all
	// stranded: all ways that the rules leave are down, so ECMP serves.
	stranded bool
}

// decide applies the rules to the ways that there are, for the traffic of a tenant or
// network, or that of nobody who has a colour.
func (r *Rules) decide(routes *Routes, from, to int, of ColourScope) decision {
	var d decision
	ways, offset := routes.between(from, to)
	if r == nil || len(ways) == 0 {
		return d
	}
	parts := make([]float64, len(ways))
	for w := range parts {
		parts[w] = 1
	}
	changed, floor := false, 0
	for _, u := range r.list {
		if !u.covers(r.network, from, to, of) {
			continue
		}
		switch {
		case u.avoid != nil && (d.policy == "" || u.Spec.Priority >= floor):
			for w, way := range ways {
				if parts[w] > 0 && routes.touches(way, offset, u.avoid) {
					parts[w], changed, d.avoided = 0, true, u.Name
				}
			}
		case u.decides() && d.policy == "":
			d.policy, d.auto, floor = u.Name, u.Spec.Auto != nil, u.Spec.Priority
			if d.auto {
				d.most = u.Spec.Auto.Most
			} else {
				changed = true
				r.network.weigh(ways, u.via, parts)
			}
		}
	}
	if !changed {
		return d
	}
	d.parts = parts
	if d.stranded = !normalise(parts); d.stranded {
		d.parts, d.auto = nil, false
	}
	return d
}

// weigh multiplies the parts by the weights of the next switches, divided over
// parallel links.
func (n *Network) weigh(ways []congestion.Way, via map[int]int, parts []float64) {
	parallel := map[int]int{}
	for _, w := range ways {
		parallel[n.to[w.First]]++
	}
	for w, way := range ways {
		s := n.to[way.First]
		parts[w] *= float64(via[s]) / float64(parallel[s])
	}
}

// touches reports whether a way has one of the links.
func (r *Routes) touches(w congestion.Way, offset int, links []bool) bool {
	if links[w.First] {
		return true
	}
	return slices.ContainsFunc(r.tails[offset+int(w.Tail)], func(s congestion.Share) bool { return links[s.Link] })
}

// normalise makes the sum one; false when there is nothing.
func normalise(parts []float64) bool {
	sum := 0.0
	for _, v := range parts {
		sum += v
	}
	if sum <= 0 {
		return false
	}
	for w := range parts {
		parts[w] /= sum
	}
	return true
}
