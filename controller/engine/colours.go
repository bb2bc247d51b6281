package engine

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/overlay"
)

// colourWait bounds how long at the start edges and leaves are left as they are while
// it is not known which tenants have colours, from when the intent is known. What is not
// known then is not coloured.
const colourWait = 15 * time.Second

// colours are the addresses at which each tenant's VTEPs are reached: what the steerer
// assigned, and the nodes and VNIs that this means.
type colours struct {
	engine *Engine
	wake   chan struct{} // capacity 1: the assignment changed
	begun  chan struct{} // capacity 1: the intent is known
	now    atomic.Pointer[overlay.Colouring]

	mu       sync.Mutex // held for moments only, also by who has the engine's lock
	assigned map[steering.ColourScope]int
	known    bool

	// Guarded by the engine's lock.
	nodes map[string]*intent.Node               // that have colours
	vnis  map[string]map[intent.Ref]colouredVNI // by tenant
	scope map[intent.Ref]struct{}               // policies that give somebody a colour, or may
	dirty bool                                  // an object of these changed
	taken map[steering.ColourScope]int          // the assignment that now is made of
	plain map[intent.Ref]string                 // networks in other encapsulations, their tenants
	made  bool                                  // now is what was assigned, and no longer what is kept from before the start
}

// colouredVNI is what a tenant may have coloured.
type colouredVNI struct {
	network string // empty for a router's
	vni     intent.VNI
}

func newColours(e *Engine) *colours {
	return &colours{engine: e, wake: make(chan struct{}, 1), begun: make(chan struct{}, 1), nodes: map[string]*intent.Node{}, vnis: map[string]map[intent.Ref]colouredVNI{}, scope: map[intent.Ref]struct{}{}, plain: map[intent.Ref]string{}}
}

// setColours takes which scopes have which colour, from 1: all of them. What is sent
// within a network has the network's colour, or else its tenant's; what is routed by
// the routers of a tenant has the tenant's. It may be called with any lock held and
// does not block: what follows from it is done by the engine afterwards. It must be called once after
// the start, also with nothing, if any policy has a scope: until then edges and leaves
// keep what they have.
func (e *Engine) setColours(assigned map[steering.ColourScope]int) {
	c := e.colours
	c.mu.Lock()
	same := c.known && maps.Equal(c.assigned, assigned)
	c.assigned, c.known = maps.Clone(assigned), true
	c.mu.Unlock()
	if !same {
		c.notify()
	}
}

func (c *colours) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// put takes an object of the intent, or with nil its deletion. The caller holds the
// engine's lock.
func (c *colours) put(r intent.Ref, o intent.Object) {
	switch r.Kind {
	case intent.KindNode:
		before := c.nodes[r.Name]
		delete(c.nodes, r.Name)
		if n, ok := o.(*intent.Node); ok && len(n.Spec.Colours) > 0 && n.Spec.VTEP.IsValid() && n.Spec.TakesColours() {
			c.nodes[r.Name] = n
		}
		c.dirty = c.dirty || before != c.nodes[r.Name]
	case intent.KindNetwork, intent.KindRouter:
		var v colouredVNI
		delete(c.plain, r)
		switch o := o.(type) {
		case *intent.Network:
			if v.network = o.Metadata.Name; o.Spec.Encapsulation.Standard() {
				v.vni = o.Spec.VNI
			} else {
				c.plain[r] = r.Tenant
			}
		case *intent.Router:
			v.vni = o.Spec.VNI
		}
		of := c.vnis[r.Tenant]
		if of[r] == v {
			return
		}
		switch {
		case v.vni == 0:
			delete(of, r)
			if len(of) == 0 {
				delete(c.vnis, r.Tenant)
			}
		case of == nil:
			c.vnis[r.Tenant] = map[intent.Ref]colouredVNI{r: v}
		default:
			of[r] = v
		}
		c.dirty = true
	case intent.KindSteeringPolicy:
		delete(c.scope, r)
		if p, ok := o.(*intent.SteeringPolicy); ok && (p.Spec.Scope.Tenant != "" || p.Spec.Auto != nil && c.engine.config.NewInjector != nil) {
			c.scope[r] = struct{}{}
		}
	}
}

// colouring makes the colouring of what is assigned. Parts that stay are shared with
// the one before. The caller holds the engine's lock.
func (c *colours) colouring(assigned map[steering.ColourScope]int) *overlay.Colouring {
	was := c.now.Load()
	by := make(map[netip.Addr][]netip.Addr, len(c.nodes))
	for _, n := range c.nodes {
		by[n.Spec.VTEP] = n.Spec.Colours
	}
	var p *overlay.Palette
	if len(by) > 0 {
		p = overlay.NewPalette(by)
	}
	if p.Equal(was.Palette()) {
		p = was.Palette()
	}
	of := map[intent.VNI]int{}
	for s := range assigned {
		for _, v := range c.vnis[s.Tenant] {
			n, own := assigned[steering.ColourScope{Tenant: s.Tenant, Network: v.network}]
			if !own {
				n = assigned[steering.ColourScope{Tenant: s.Tenant}]
			}
			if n > 0 {
				of[v.vni] = n
			}
		}
	}
	now := overlay.NewColouring(p, of)
	if now.Equal(was) {
		return was
	}
	return now
}

// ready reports whether everything is coloured as was assigned, or nothing is to be.
// The caller holds the engine's lock.
func (c *colours) ready() bool { return c.made }

// settle makes the colouring of the intent as it is, and wakes whom it concerns. The
// caller holds the engine's lock.
func (c *colours) settle() {
	c.mu.Lock()
	assigned := c.assigned
	c.made = c.known
	c.mu.Unlock()
	if !c.dirty && maps.Equal(c.taken, assigned) {
		return
	}
	c.dirty, c.taken = false, assigned
	was := c.now.Load()
	now := c.colouring(assigned)
	if now == was {
		return
	}
	c.now.Store(now)
	e := c.engine
	for _, v := range now.Changed(was) {
		for _, s := range e.readers.of(v) {
			e.wakes.add(s)
		}
		n := e.model.NetworkOf(v)
		if n == nil {
			continue
		}
		if r := e.model.RouterOf(n.Ref()); r != nil { // where it is bridged to
			for _, s := range e.readers.of(r.Spec.VNI) {
				e.wakes.add(s)
			}
		}
	}
	if e.bgp != nil {
		e.bgp.notify()
	}
}

// run takes assignments until ctx ends.
func (c *colours) run(ctx context.Context) {
	late := time.NewTimer(colourWait)
	late.Stop()
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-c.begun:
			late.Reset(colourWait)
			continue
		case <-late.C:
			c.mu.Lock()
			c.known = true
			c.mu.Unlock()
		}
		e := c.engine
		e.mu.Lock()
		if e.loaded {
			e.settle(ctx)
		}
		e.mu.Unlock()
	}
}

// loaded takes that the whole intent is there: without a policy that gives somebody a
// colour it is known that nobody has one. The caller holds the engine's lock.
func (c *colours) loaded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = c.known || len(c.scope) == 0
	select {
	case c.begun <- struct{}{}:
	default:
	}
}

// Colouring implements southbound.Feed.
func (s *session) Colouring() *overlay.Colouring { return s.engine.colours.now.Load() }

// Colouring says how tenants are coloured now.
func (e *Engine) Colouring() *overlay.Colouring { return e.colours.now.Load() }
