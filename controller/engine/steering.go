package engine

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/steering"
)

// Injector announces routes to one leaf that are for it alone; package
// southbound/evpn has one.
type Injector interface {
	// Set says which routes the leaf is to have. It does not block; the last one
	// counts. New ways are announced before old ones are withdrawn.
	Set(routes []steering.Route) error
	Established() bool
	// Run works until ctx ends; with it the leaf's routes go.
	Run(ctx context.Context) error
}

// Times of steering.
const (
	steerEvery = time.Second
	// steerGather is how long what comes at once is gathered: reports of many
	// switches.
	steerGather = 10 * time.Millisecond
	// reportWait is how long nothing is steered after the start while switches have
	// not reported which links are up.
	reportWait = 10 * time.Second
	// injectorIdle is how long the session with a leaf stays that is steered no
	// more.
	injectorIdle = 30 * time.Second
)

// steerer makes routes of the steering policies, and has the leaves told of them.
type steerer struct {
	engine *Engine
	wake   chan struct{} // has one when something may have changed

	mu       sync.Mutex
	policies map[string]*intent.SteeringPolicy
	nodes    map[string]*intent.Node
	links    map[string]*intent.Link
	chosen   map[demand.Key][]steering.Hop // by the optimiser
	given    map[string]steering.Given     // colours by the optimiser, by tenant
	stored   []intent.GivenColour          // what was given, as it was stored last
	restored bool                          // it is known what was given before the start
	dirty    bool
	loaded   time.Time
	plan     steerPlan
	colours  steering.Colours // as handed to those who send
	coloured bool             // they were handed over, after the start
	// overloaded says, by policy, on which links it puts more than they have now.
	overloaded map[string][]string
	leaves     map[string]*steeredLeaf
}

// steerPlan is what was planned last.
type steerPlan struct {
	network *steering.Network
	facts   *fabric.Facts
	down    steering.Failure
	planned steering.Planned
	unfit   map[string]error // by policy
	taken   map[string]int64 // revision of each policy that was planned
	err     error            // why nothing can be planned
	frozen  string           // policy that freezes
	next    time.Time        // when a policy ends
}

// steeredLeaf is a leaf with an injector.
type steeredLeaf struct {
	injector Injector
	spec     intent.Injection
	asn      uint32
	stop     context.CancelFunc
	done     chan struct{}
	idle     time.Time // since when it has no route; zero while it has
	routes   []steering.Route
	err      error
}

func newSteerer(e *Engine) *steerer {
	return &steerer{engine: e, wake: make(chan struct{}, 1), policies: map[string]*intent.SteeringPolicy{}, nodes: map[string]*intent.Node{},
		links: map[string]*intent.Link{}, leaves: map[string]*steeredLeaf{}}
}

func (s *steerer) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// put takes an object of the intent, or with nil its deletion.
func (s *steerer) put(r intent.Ref, o intent.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Kind {
	case intent.KindSteeringPolicy:
		keep(s.policies, r.Name, o)
	case intent.KindNode:
		keep(s.nodes, r.Name, o)
	case intent.KindLink:
		keep(s.links, r.Name, o)
	default:
		return
	}
	s.dirty = true
	s.notify()
}

// keep keeps an object of a type, or forgets it when it is nil.
func keep[T any](all map[string]T, name string, o intent.Object) {
	if t, ok := o.(T); ok {
		all[name] = t
	} else {
		delete(all, name)
	}
}

// SetChosen takes the next hops that the optimiser chose, for cells that a policy
// hands over to it, and the colours that it gave tenants.
func (e *Engine) SetChosen(chosen map[demand.Key][]steering.Hop, given map[string]steering.Given) {
	s := e.steerer
	s.mu.Lock()
	defer s.mu.Unlock()
	same := maps.Equal(steering.Numbers(s.given), steering.Numbers(given)) && reflect.DeepEqual(s.chosen, chosen)
	s.given = given
	if !same {
		s.chosen, s.dirty = chosen, true
		s.notify()
	}
}

// run works until ctx ends.
func (s *steerer) run(ctx context.Context) {
	tick := time.NewTicker(steerEvery)
	defer tick.Stop()
	defer s.end()
	for {
		s.bring(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(steerGather):
			}
		case <-tick.C:
		}
	}
}

// end waits for all injectors, whose ctx has ended: the leaves are back on ECMP.
func (s *steerer) end() {
	s.mu.Lock()
	all := s.leaves
	s.leaves = map[string]*steeredLeaf{}
	s.mu.Unlock()
	for _, l := range all {
		l.stop()
		<-l.done
	}
}

// bring plans anew if anything changed, and tells the leaves.
func (s *steerer) bring(ctx context.Context, now time.Time) {
	if s.engine.Ready() != nil || !s.restore(ctx, now) {
		return
	}
	s.mu.Lock()
	if len(s.policies)+len(s.plan.taken)+len(s.leaves) == 0 {
		if s.loaded.IsZero() {
			s.loaded = now
		}
		s.colour(nil)
		s.mu.Unlock()
		return
	}
	s.colourAtStart(now)
	var switches []string
	for name, n := range s.nodes {
		if n.Spec.Role.Switch() {
			switches = append(switches, name)
		}
	}
	down, heard := s.engine.unusable(switches)
	for _, name := range switches {
		if s.nodes[name].Spec.Drains() {
			down.Nodes = append(down.Nodes, name)
		}
	}
	slices.Sort(down.Nodes)
	down.Nodes = slices.Compact(down.Nodes)
	if s.loaded.IsZero() {
		s.loaded = now
	}
	if !heard && now.Sub(s.loaded) < reportWait {
		s.mu.Unlock()
		return
	}
	due := !s.plan.next.IsZero() && !now.Before(s.plan.next)
	changed := s.dirty || due || !reflect.DeepEqual(down, s.plan.down) || s.plan.taken == nil
	if changed {
		s.dirty = false
		s.plan = s.planned(down, now)
		s.hand(s.kept())
	}
	leaving := s.settle(ctx, now, changed)
	s.hand(s.plan.planned.Colours)
	s.mu.Unlock()
	for _, l := range leaving {
		l.stop()
		<-l.done
	}
	if changed {
		s.engine.broadcast()
	}
}

// planned plans the policies as they are. The caller holds the lock.
func (s *steerer) planned(down steering.Failure, now time.Time) steerPlan {
	p := steerPlan{taken: map[string]int64{}}
	var next time.Time
	frozen := ""
	for _, name := range slices.Sorted(maps.Keys(s.policies)) {
		o := s.policies[name]
		p.taken[name] = o.Metadata.Revision
		if u := o.Spec.Until; u.After(now) && (next.IsZero() || u.Before(next)) {
			next = u
		}
		if o.Spec.Freeze && o.Spec.Active(now) && frozen == "" {
			frozen = name
		}
	}
	taken := p.taken
	if len(s.policies) > 0 {
		var rules *steering.Rules
		p, rules, p.err = rulesFor(s.policies, slices.Collect(maps.Values(s.nodes)), slices.Collect(maps.Values(s.links)), now)
		switch p.down = down; {
		case p.err != nil:
			p.planned.Colours = s.colours
		case frozen != "":
			at := taken[frozen]
			if taken = maps.Clone(s.plan.taken); taken == nil {
				taken = map[string]int64{}
			}
			taken[frozen] = at
			p.planned.Routes, p.err = p.network.Alive(s.plan.planned.Routes, p.downIn())
			p.planned.Colours = s.colours
		default:
			p.plan(with(rules, s.given), s.chosen)
			if p.planned.Colours == nil {
				p.planned.Colours = s.colours // the plan failed as a whole
			}
		}
	}
	p.down, p.taken, p.next, p.frozen = down, taken, next, frozen
	return p
}

// defaultCapacity is that of links of which none is known, in bit/s.
const defaultCapacity = 10e9

// downIn is what is down of the network's: ports that lead elsewhere don't matter.
func (p *steerPlan) downIn() steering.Failure {
	known := func(name string) bool { return len(p.network.LinksAt(name)) > 0 }
	return steering.Failure{Links: slices.DeleteFunc(slices.Clone(p.down.Links), func(n string) bool { return !known(n) }),
		Nodes: slices.DeleteFunc(slices.Clone(p.down.Nodes), func(n string) bool { return !known(n) })}
}

// take sorts the errors of planning by policy.
func (p *steerPlan) take(err error) {
	var all []error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	} else if err != nil {
		all = []error{err}
	}
	for _, err := range all {
		var of *steering.PolicyError
		if errors.As(err, &of) {
			p.unfit[of.Policy] = errors.Join(p.unfit[of.Policy], of.Err)
		} else {
			p.err = errors.Join(p.err, err)
		}
	}
}

// settle starts injectors for leaves with routes, tells all, and returns those that
// are needed no more. The caller holds the lock.
func (s *steerer) settle(ctx context.Context, now time.Time, changed bool) (leaving []*steeredLeaf) {
	routes := map[string][]steering.Route{}
	for _, r := range s.plan.planned.Routes {
		routes[r.Device] = append(routes[r.Device], r)
	}
	for name, l := range s.leaves {
		n := s.nodes[name]
		other := n == nil || n.Spec.Injection == nil || *n.Spec.Injection != l.spec || n.Spec.ASN != l.asn
		if l.idle.IsZero() && len(routes[name]) == 0 {
			l.idle = now
		}
		if other || !l.idle.IsZero() && now.Sub(l.idle) > injectorIdle {
			delete(s.leaves, name)
			leaving = append(leaving, l)
		}
	}
	for name, list := range routes {
		n := s.nodes[name]
		if s.leaves[name] == nil && n != nil && n.Spec.Injection != nil && s.engine.config.NewInjector != nil {
			s.leaves[name] = s.start(ctx, n)
			changed = true
		}
		if l := s.leaves[name]; l != nil && len(list) > 0 {
			l.idle = time.Time{}
		}
	}
	for name, l := range s.leaves {
		if changed && !reflect.DeepEqual(l.routes, routes[name]) {
			l.routes = routes[name]
			if l.err = l.injector.Set(l.routes); l.err != nil {
				s.engine.log.Error("a leaf's routes can't be announced", "device", name, "err", l.err)
			}
		}
	}
	return leaving
}

// start runs the injector of a leaf.
func (s *steerer) start(ctx context.Context, n *intent.Node) *steeredLeaf {
	run, stop := context.WithCancel(ctx)
	l := &steeredLeaf{injector: s.engine.config.NewInjector(n), spec: *n.Spec.Injection, asn: n.Spec.ASN, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			err := l.injector.Run(run)
			if run.Err() != nil {
				return
			}
			s.engine.log.Error("an injector ended; it is started again", "device", n.Metadata.Name, "err", err)
			select {
			case <-run.Done():
				return
			case <-time.After(steerEvery):
			}
		}
	}()
	return l
}

// down lists the links of the intent that some end says is down, by the interfaces
// that do, and the switches that have gone silent. Heard reports whether all switches
// that are given have said something.
func (w *wiring) down(switches []string) (f steering.Failure, heard bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	heard = !slices.ContainsFunc(switches, func(n string) bool { return w.switches[n] == nil })
	now := w.now()
	up := map[string]bool{}
	for node, s := range w.switches {
		if now.Sub(s.at) > silentAfter {
			f.Nodes = append(f.Nodes, node)
			continue
		}
		for _, p := range s.ports {
			up[node+":"+p.Name] = p.Up
		}
	}
	for _, l := range w.links {
		for _, e := range []string{l.A.String(), l.B.String()} {
			if is, known := up[e]; known && !is {
				f.Links = append(f.Links, e)
			}
		}
	}
	slices.Sort(f.Links)
	return f, heard
}
