package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/load"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/southbound"
)

// Times of the optimiser.
const (
	chooseEvery  = 5 * time.Second
	chooseWindow = 5 * time.Second // of the matrix that it looks at, which it averages further
)

// chooseGap is how far from the optimum the optimiser may stay.
const chooseGap = 0.005

// chooser runs the optimiser on the measured matrix for as long as a policy hands over
// to it, and hands what it chooses to the steerer. Who runs it is one goroutine.
type chooser struct {
	engine     *Engine
	controller *steering.Controller // nil while no policy hands over
	settings   steering.Settings
	damping    steering.Damping

	// What its network and rules were made of.
	nodes      map[string]*intent.Node
	links      map[string]*intent.Link
	policies   map[string]*intent.SteeringPolicy
	capacities map[string]float64
	next       time.Time // when a policy ends
	network    *steering.Network
	facts      *fabric.Facts

	mu   sync.Mutex
	last Choice
}

// Choice is what the optimiser did in its last step.
type Choice struct {
	Active bool // a policy hands over to it
	At     time.Time
	// Before and After are the highest utilisation of a link that the averaged demand
	// makes; Target is what could be reached if all were changed at once.
	Before, After, Target float64
	Moved                 float64 // part of all traffic that it moved
	Steered               int     // cells of the matrix that are off ECMP
	Changes               []steering.Change
	Why                   string // why nothing, or not more, was changed
}

func newChooser(e *Engine) *chooser {
	return &chooser{engine: e, settings: steering.Settings{Gap: chooseGap}, damping: steering.DefaultDamping()}
}

// Choice is what the optimiser did last.
func (e *Engine) Choice() Choice {
	e.chooser.mu.Lock()
	defer e.chooser.mu.Unlock()
	return e.chooser.last
}

// run steps until ctx ends: at once when a policy hands over, and then regularly.
func (c *chooser) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last, looked time.Time
	for {
		now := time.Now()
		if now.Sub(looked) >= overloadEvery {
			c.engine.steerer.watchOverloads()
			looked = now
		}
		if began := c.controller == nil; began || now.Sub(last) >= chooseEvery {
			c.step(now)
			c.keep(ctx)
			last = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// step measures, chooses, and hands over what is chosen.
func (c *chooser) step(now time.Time) {
	if c.paints() {
		if _, known := c.engine.steerer.wasGiven(); !known {
			return
		}
	}
	frozen, auto, err := c.follow(now)
	if err == nil && !auto {
		c.stop()
		return
	}
	choice := Choice{Active: true, At: now}
	if err == nil {
		err = c.choose(now, frozen, &choice)
	}
	if err != nil {
		choice.Why = err.Error()
	}
	c.mu.Lock()
	failed := err != nil && c.last.Why != choice.Why
	c.last = choice
	c.mu.Unlock()
	if failed {
		c.engine.log.Warn("nothing can be chosen", "err", err)
	}
	if len(choice.Changes) > 0 {
		c.engine.events.add(southbound.Event{Severity: southbound.Normal, Device: "controller", Reason: "Steered",
			Message: fmt.Sprintf("the optimiser steered %d cells otherwise: the most utilised link goes from %.1f %% to %.1f %%, %.1f %% can be reached", len(choice.Changes), 100*choice.Before, 100*choice.After, 100*choice.Target)})
	}
}

// paints reports whether tenants can be told apart: leaves take injected routes.
func (c *chooser) paints() bool { return c.engine.config.NewInjector != nil }

// stop leaves all to ECMP.
func (c *chooser) stop() {
	if given, _ := c.engine.steerer.wasGiven(); c.controller == nil && len(given) == 0 {
		return
	}
	c.controller, c.network = nil, nil
	c.engine.SetChosen(nil, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = Choice{}
}

// follow makes network and rules anew when what they are made of changed.
func (c *chooser) follow(now time.Time) (frozen, auto bool, err error) {
	s := c.engine.steerer
	s.mu.Lock()
	nodes, links, policies := maps.Clone(s.nodes), maps.Clone(s.links), maps.Clone(s.policies)
	s.mu.Unlock()
	var list []steering.Policy
	var next time.Time
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		spec := policies[name].Spec
		list = append(list, steering.PolicyOf(policies[name]))
		if u := spec.Until; u.After(now) && (next.IsZero() || u.Before(next)) {
			next = u
		}
		if spec.Active(now) {
			frozen, auto = frozen || spec.Freeze, auto || spec.Auto != nil
		}
	}
	if !auto {
		return frozen, false, nil
	}
	capacities := c.engine.capacities()
	ended := !c.next.IsZero() && !now.Before(c.next)
	if c.network != nil && !ended && maps.Equal(c.nodes, nodes) && maps.Equal(c.links, links) && maps.Equal(c.policies, policies) && maps.Equal(c.capacities, capacities) {
		return frozen, true, nil
	}
	graph, facts := fabric.Stated(slices.Collect(maps.Values(nodes)), slices.Collect(maps.Values(links)))
	n, err := steering.NewNetwork(graph, steering.Capacities{Default: defaultCapacity, Of: capacities})
	if err != nil {
		return frozen, true, err
	}
	rules, _, err := steering.Fit(n, list, now)
	if err != nil {
		return frozen, true, err
	}
	if c.controller == nil {
		if c.controller, err = steering.NewController(n, c.settings, c.damping); err != nil {
			return frozen, true, err
		}
		given, _ := c.engine.steerer.wasGiven()
		c.controller.Restore(given)
	}
	c.controller.Follow(n, rules)
	c.nodes, c.links, c.policies, c.capacities, c.next, c.network, c.facts = nodes, links, policies, capacities, next, n, facts
	return frozen, true, nil
}

// capacities are those of links that state one or whose ports report a speed, in bit/s
// by the interface at their lower end.
func (e *Engine) capacities() map[string]float64 {
	out := map[string]float64{}
	for _, l := range e.Load(time.Second).Links {
		if l.Capacity > 0 {
			out[l.From.String()] = l.Capacity
		}
	}
	return out
}

// choose takes one step.
func (c *chooser) choose(now time.Time, frozen bool, out *Choice) error {
	measured := c.engine.Matrix(chooseWindow)
	apart := func(string) bool { return c.paints() }
	m, err := c.demands(measured, apart)
	if err != nil {
		return err
	}
	blind := blindness(measured)
	c.controller.Freeze(frozen || blind != "")
	var switches []string
	for name, n := range c.nodes {
		if n.Spec.Role.Switch() {
			switches = append(switches, name)
		}
	}
	down, heard := c.engine.unusable(switches)
	if !heard {
		return fmt.Errorf("it waits for all switches to report which links are up")
	}
	if c.paints() {
		c.controller.Paint(c.facts, c.engine.barred())
	}
	c.controller.Observe(observed(measured, apart))
	o, err := c.controller.Step(now, m, (&steerPlan{network: c.network, down: down}).downIn())
	if err != nil {
		return err
	}
	chosen := c.controller.Chosen()
	c.engine.SetChosen(chosen, c.controller.Given())
	out.Before, out.After, out.Target, out.Moved = o.Before, o.After, o.Target, o.Moved
	out.Steered, out.Changes, out.Why = len(chosen), o.Changes, o.Why
	if blind != "" && !frozen {
		out.Why = blind
	}
	return nil
}

// demands is the measured matrix as routes can steer it, without what the network does
// not have.
func (c *chooser) demands(measured load.Matrix, apart func(tenant string) bool) (demand.Matrix, error) {
	m, err := measured.Demand(apart)
	if err != nil {
		return m, err
	}
	return demand.New(slices.DeleteFunc(m.Demands, func(d demand.Demand) bool { return c.network.End(d.From) != nil || c.network.End(d.To) != nil }))
}

// observed is by which ports each cell of a measured matrix leaves its leaf.
func observed(m load.Matrix, apart func(tenant string) bool) steering.Observed {
	out := steering.Observed{}
	for _, c := range m.Cells {
		for leaf, ports := range c.Leaves {
			key := demand.Key{From: leaf, To: c.To}
			if apart(c.Tenant) {
				key.Tenant = c.Tenant
			}
			if out[key] == nil {
				out[key] = map[string]float64{}
			}
			for port, rate := range ports {
				out[key][leaf+":"+port] += rate
			}
		}
	}
	return out
}

// blindness says why nothing is to be chosen by a matrix: links carry what is not in it.
func blindness(m load.Matrix) string {
	var words []string
	for _, leaf := range slices.Sorted(maps.Keys(m.Missing)) {
		words = append(words, leaf+": "+m.Missing[leaf])
	}
	if len(words) == 0 {
		return ""
	}
	return "nothing is changed while traffic is not measured: " + strings.Join(words, "; ")
}
