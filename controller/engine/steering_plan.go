package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/steering"
)

// SteeringQuestion asks what would be steered.
type SteeringQuestion struct {
	Policies []*intent.SteeringPolicy // instead of those of their names, or besides
	Off      []string                 // policies that are gone
	Without  []string                 // interfaces and switches that are down, besides those that are
}

// SteeringPlan is what would be steered.
type SteeringPlan struct {
	Routes []intent.SteeredRoute // of all leaves
	// Unfit says why policies do nothing, and Fallen where they fall back to ECMP.
	Unfit  map[string]error
	Fallen []steering.Fallen
	// Overloads are of the traffic of the last 10 s.
	Overloads []steering.Overload
}

// PlanSteering plans as if policies were others and more were down. Nothing is done.
func (e *Engine) PlanSteering(q SteeringQuestion) (SteeringPlan, error) {
	s := e.steerer
	s.mu.Lock()
	policies := maps.Clone(s.policies)
	nodes, links := slices.Collect(maps.Values(s.nodes)), slices.Collect(maps.Values(s.links))
	chosen, given, down := maps.Clone(s.chosen), maps.Clone(s.given), s.plan.down
	s.mu.Unlock()
	for _, name := range q.Off {
		delete(policies, name)
	}
	now := time.Now()
	for _, p := range q.Policies {
		policies[p.Metadata.Name] = draft(p, policies[p.Metadata.Name], now)
	}
	p, rules, err := rulesFor(policies, nodes, links, now)
	if err != nil {
		return SteeringPlan{}, err
	}
	for _, w := range q.Without {
		if len(p.network.LinksAt(w)) == 0 {
			return SteeringPlan{}, fmt.Errorf("without: the fabric has no switch and no link between switches at %s", w)
		}
		if strings.Contains(w, ":") {
			down.Links = append(slices.Clone(down.Links), w)
		} else {
			down.Nodes = append(slices.Clone(down.Nodes), w)
		}
	}
	p.down = down
	p.plan(with(rules, given), chosen)
	down = p.downIn()
	out := SteeringPlan{Unfit: p.unfit, Fallen: p.planned.Fallen}
	for _, r := range p.planned.Routes {
		out.Routes = append(out.Routes, steeredRoute(r, ""))
	}
	if p.err == nil {
		out.Overloads, p.err = e.overloads(policies, nodes, links, p.planned.Colours, chosen, down)
	}
	return out, p.err
}

// draft is a policy as it would be if it were written now: it stays as old as the one
// whose place it takes, and colours go by age.
func draft(p, was *intent.SteeringPolicy, now time.Time) *intent.SteeringPolicy {
	if p.Metadata.Created != nil {
		return p
	}
	out := *p
	out.Metadata.Created = &now
	if was != nil {
		out.Metadata.Created = was.Metadata.Created
	}
	return &out
}

// rulesFor compiles those policies that fit a fabric.
func rulesFor(policies map[string]*intent.SteeringPolicy, nodes []*intent.Node, links []*intent.Link, now time.Time) (p steerPlan, rules *steering.Rules, err error) {
	graph, facts := fabric.Stated(nodes, links)
	p.facts = facts
	if p.network, err = steering.NewNetwork(graph, steering.Capacities{Default: defaultCapacity}); err != nil {
		return p, nil, err
	}
	list := make([]steering.Policy, 0, len(policies))
	for _, o := range policies {
		list = append(list, steering.PolicyOf(o))
	}
	rules, p.unfit, err = steering.Fit(p.network, list, now)
	return p, rules, err
}

// plan plans what the rules make with what is down.
func (p *steerPlan) plan(rules *steering.Rules, chosen map[demand.Key][]steering.Hop) {
	var err error
	p.planned, err = rules.PlanChosen(p.facts, chosen, p.downIn(), steering.Settings{})
	p.take(err)
}
