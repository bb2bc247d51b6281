package engine

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/steering"
)

// Times of looking for overloads, and of the matrix by which.
const (
	overloadEvery  = 5 * time.Second
	overloadWindow = 10 * time.Second
)

// overloads are the links on which policies that pin or weigh put more than they have, of
// the traffic that is measured. Those of which no capacity is known are left out.
func (e *Engine) overloads(policies map[string]*intent.SteeringPolicy, nodes []*intent.Node, links []*intent.Link, colours steering.Colours, chosen map[demand.Key][]steering.Hop, down steering.Failure) ([]steering.Overload, error) {
	now := time.Now()
	if !slices.ContainsFunc(slices.Collect(maps.Values(policies)), func(p *intent.SteeringPolicy) bool {
		return p.Spec.Active(now) && p.Spec.Auto == nil && !p.Spec.Freeze
	}) {
		return nil, nil
	}
	known := e.capacities()
	graph, _ := fabric.Stated(nodes, links)
	n, err := steering.NewNetwork(graph, steering.Capacities{Default: defaultCapacity, Of: known})
	if err != nil {
		return nil, err
	}
	list := make([]steering.Policy, 0, len(policies))
	for _, o := range policies {
		list = append(list, steering.PolicyOf(o))
	}
	rules, _, err := steering.Fit(n, list, now)
	if err != nil {
		return nil, err
	}
	m, err := e.Matrix(overloadWindow).Demand(func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	m.Demands = slices.DeleteFunc(m.Demands, func(d demand.Demand) bool { return n.End(d.From) != nil || n.End(d.To) != nil })
	traffic, err := steering.NewTraffic(n, m)
	if err != nil {
		return nil, err
	}
	all, err := rules.Overloads(traffic, colours, chosen, (&steerPlan{network: n, down: down}).downIn())
	return slices.DeleteFunc(all, func(o steering.Overload) bool { return known[o.From.String()] == 0 }), err
}

// watchOverloads looks which policies overload which links now, for their status.
func (s *steerer) watchOverloads() {
	s.mu.Lock()
	policies, chosen, down, colours := maps.Clone(s.policies), maps.Clone(s.chosen), s.plan.down, s.plan.planned.Colours
	nodes, links := slices.Collect(maps.Values(s.nodes)), slices.Collect(maps.Values(s.links))
	s.mu.Unlock()
	all, err := s.engine.overloads(policies, nodes, links, colours, chosen, down)
	if err != nil {
		all = nil // what can't be planned says so by itself
	}
	by := map[string][]string{}
	for _, o := range all {
		for _, p := range o.Policies {
			by[p] = append(by[p], o.String())
		}
	}
	s.mu.Lock()
	changed := !maps.EqualFunc(s.overloaded, by, func(a, b []string) bool { return len(a) == len(b) })
	s.overloaded = by
	s.mu.Unlock()
	if changed {
		s.engine.broadcast()
	}
}

// overload is the reason in the status of a policy that overloads links now.
func overload(links []string) intent.Reason {
	return intent.Reason{Device: "controller", Code: codeOverload, Message: "of the traffic of the last 10 s, " + strings.Join(links[:min(len(links), 4)], "; "),
		Action: "pin by more switches, or have weft steer auto divide it"}
}
