package engine

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/steering"
)

// Codes of the reasons of a steering policy.
const (
	codeSuspended    = "Suspended"
	codeEnded        = "Ended"
	codeUnfit        = "Unfit"        // it does not fit the fabric or the other policies
	codeNotSteerable = "NotSteerable" // the leaf does not accept injected routes
	codeFallenBack   = "FallenBack"   // all ways that it leaves are down
	codeFrozen       = "Frozen"
	codeUnverified   = "Unverified"
	codeOverload     = "Overload" // a warning: it puts more on a link than it has
)

// status is what the leaves say about a policy. The engine's lock is held.
func (s *steerer) status(p *intent.SteeringPolicy) *intent.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, rev, now := p.Metadata.Name, p.Metadata.Revision, time.Now()
	if known := s.policies[name]; known == nil || known.Metadata.Revision < rev {
		return pending("Loading", "controller", "wait a moment", "the controller has not taken revision %d yet", rev)
	}
	if s.plan.taken[name] < rev {
		if f := s.plan.frozen; f != "" {
			return pending(codeFrozen, "controller", "weft steer off "+f, "policy %s freezes all steering: this one is heard when that is gone", f)
		}
		return pending("Planning", "controller", "wait a moment", "it waits for the switches to report which links are up")
	}
	st := &intent.Status{Phase: intent.PhaseReady, Applied: rev}
	worsen := func(to intent.Phase, r intent.Reason) {
		st.Reasons = append(st.Reasons, r)
		if severity(to) > severity(st.Phase) {
			st.Phase, st.Applied = to, 0
		}
	}
	switch {
	case p.Spec.Suspended:
		st.Reasons = []intent.Reason{{Code: codeSuspended, Message: "the policy is suspended: it does nothing", Action: "weft steer resume " + name}}
		return st
	case !p.Spec.Active(now):
		st.Reasons = []intent.Reason{{Code: codeEnded, Message: "the policy has ended at " + p.Spec.Until.Format(time.RFC3339), Action: "weft steer off " + name}}
		return st
	}
	if err := cmp.Or(s.plan.unfit[name], s.plan.err); err != nil {
		worsen(intent.PhaseFailed, intent.Reason{Device: "controller", Code: codeUnfit, Message: err.Error(), Action: "change the policy, or what it conflicts with; weft steer plan tells what it would do"})
	}
	for _, f := range s.plan.planned.Fallen {
		if f.Policy == name {
			worsen(intent.PhaseDegraded, intent.Reason{Device: f.From, Code: codeFallenBack,
				Message: fmt.Sprintf("all ways to %s that the policy leaves are down: plain ECMP serves", f.To), Action: "mend the links, or change the policy"})
		}
	}
	if links := s.overloaded[name]; len(links) > 0 {
		worsen(intent.PhaseReady, overload(links))
	}
	if p.Spec.Auto != nil {
		st.Given = givenColours(s.given, name)
	}
	told := map[string]bool{}
	for _, r := range s.plan.planned.Routes {
		if r.Policy != name {
			continue
		}
		phase, why := s.routeStatus(r)
		st.Steered = append(st.Steered, steeredRoute(r, phase))
		if why != nil && !told[why.Device+why.Code] {
			told[why.Device+why.Code] = true
			worsen(phase, *why)
		}
	}
	return st
}

func severity(p intent.Phase) int {
	return slices.Index([]intent.Phase{intent.PhaseReady, intent.PhaseDegraded, intent.PhasePending, intent.PhaseFailed}, p)
}

// routeStatus is what a leaf says of a route. The caller holds the lock.
func (s *steerer) routeStatus(r steering.Route) (intent.Phase, *intent.Reason) {
	n, l := s.nodes[r.Device], s.leaves[r.Device]
	switch {
	case n == nil || n.Spec.Injection == nil:
		return intent.PhaseFailed, &intent.Reason{Device: r.Device, Code: codeNotSteerable, Message: r.Device + " does not accept injected routes: the node has no spec.injection",
			Action: "have its bgpd peer with the controller, and say where it is dialled: docs/steering.md"}
	case l == nil:
		return intent.PhasePending, &intent.Reason{Device: r.Device, Code: "Session", Message: "there is no BGP session for injected routes yet", Action: "wait a moment"}
	case l.err != nil:
		return intent.PhaseFailed, &intent.Reason{Device: r.Device, Code: codeUnfit, Message: l.err.Error(), Action: "change the policy"}
	case !l.injector.Established():
		return intent.PhaseFailed, &intent.Reason{Device: r.Device, Code: codeNotSteerable,
			Message: fmt.Sprintf("%s does not accept injected routes: the BGP session with %s is not established", r.Device, l.spec.At()),
			Action:  "look whether its bgpd runs, and has the controller as an internal, passive neighbour: docs/steering.md"}
	}
	has, told := s.engine.programmed(r.Device, r.Prefix)
	switch {
	case !told:
		return intent.PhasePending, &intent.Reason{Device: r.Device, Code: codeUnverified, Message: "the route is announced; the agent has not told what the kernel has", Action: "run weft agent there"}
	case !sameHops(has, r.After):
		return intent.PhasePending, &intent.Reason{Device: r.Device, Code: "Programming",
			Message: fmt.Sprintf("the kernel has %s by %s, and is to have %s", r.Prefix, legs(has), hopWords(r.After)), Action: "wait a moment; if it stays: show ip route " + r.Prefix.String() + " on the leaf"}
	}
	return intent.PhaseReady, nil
}

// programmed are the next hops that a switch's kernel has for a prefix, as weights by
// interface; told is false when its agent does not say.
func (e *Engine) programmed(node string, p netip.Prefix) (weights map[string]int, told bool) {
	r, at, ok := e.Routing(node)
	if !ok || time.Since(at) > silentAfter {
		return nil, false
	}
	weights = map[string]int{}
	for _, g := range r.Programmed {
		if !slices.Contains(g.Prefixes, p) {
			continue
		}
		for _, h := range g.NextHops {
			weights[h.Interface] += max(1, h.Weight)
		}
	}
	return weights, true
}

// sameHops reports whether the kernel's legs are those that are wanted, in the same
// proportions.
func sameHops(has map[string]int, want []steering.NextHop) bool {
	sum, wanted := 0, 0
	for _, w := range has {
		sum += w
	}
	by := map[string]int{}
	for _, h := range want {
		by[h.Interface] += h.Weight
		wanted += h.Weight
	}
	if len(has) != len(by) || sum == 0 || wanted == 0 {
		return false
	}
	for iface, w := range by {
		// bgpd gives whole parts of a hundred.
		part, is := float64(w)/float64(wanted), float64(has[iface])/float64(sum)
		if has[iface] == 0 || part-is > 0.015 || is-part > 0.015 {
			return false
		}
	}
	return true
}

func legs(has map[string]int) string {
	var words []string
	for _, iface := range slices.Sorted(maps.Keys(has)) {
		words = append(words, fmt.Sprintf("%s*%d", iface, has[iface]))
	}
	return cmp.Or(strings.Join(words, ","), "nothing")
}

func hopWords(hops []steering.NextHop) string {
	var words []string
	for _, h := range hops {
		words = append(words, fmt.Sprintf("%s*%d", h.Interface, h.Weight))
	}
	return strings.Join(words, ",")
}

// steeredRoute is a route as the API has it.
func steeredRoute(r steering.Route, state intent.Phase) intent.SteeredRoute {
	hops := func(list []steering.NextHop) []intent.SteeredHop {
		out := make([]intent.SteeredHop, len(list))
		for i, h := range list {
			out[i] = intent.SteeredHop{Switch: h.Switch, Interface: h.Interface, Address: h.Address, Weight: h.Weight}
		}
		return out
	}
	return intent.SteeredRoute{Device: r.Device, Prefix: r.Prefix, To: r.To, Policy: r.Policy, Colour: r.Colour, Tenant: r.Scope.Tenant, Network: r.Scope.Network, Before: hops(r.Before), After: hops(r.After), State: state}
}
