package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
)

// Errors of PortCounters.
var (
	ErrNowhere   = errors.New("the port is nowhere: no edge has its interface")
	ErrUncounted = errors.New("its edge does not count by port")
)

// counter is a driver that can read what its device counted of a port.
type counter interface {
	Counters(ctx context.Context, port intent.Ref) (southbound.PortCounters, error)
}

// PortCounters asks a port's edge what it has counted, and says which one it is.
// The error is ErrNowhere, ErrUncounted or a *southbound.OpError.
func (e *Engine) PortCounters(ctx context.Context, port intent.Ref) (node string, c southbound.PortCounters, err error) {
	e.mu.RLock()
	a, ok := e.model.Attachment(port)
	s := e.sessions[a.Node]
	e.mu.RUnlock()
	if !ok || s == nil {
		return "", c, fmt.Errorf("%s: %w", port, ErrNowhere)
	}
	d, ok := s.driver.(counter)
	if !ok {
		return a.Node, c, fmt.Errorf("%s is on %s: %w", port, a.Node, ErrUncounted)
	}
	c, err = d.Counters(ctx, port) // without the lock: a device may be slow
	return a.Node, c, err
}

// askedMost bounds the devices that are asked at the same time.
const askedMost = 16

// answer is what one device says.
type answer[T any] struct {
	value T
	err   error
}

// askEach asks all nodes, askedMost at a time, and answers in their order.
func askEach[T any](nodes []string, ask func(node string) (T, error)) []answer[T] {
	out := make([]answer[T], len(nodes))
	room := make(chan struct{}, askedMost)
	var wg sync.WaitGroup
	for i, n := range nodes {
		room <- struct{}{}
		wg.Go(func() {
			out[i].value, out[i].err = ask(n)
			<-room
		})
	}
	wg.Wait()
	return out
}

// EdgeCounts are what the edges that have something have counted of it.
type EdgeCounts[T any] struct {
	Edges     []EdgeCount[T] // by name
	Uncounted []string       // edges that have it and never count it, by name
}

// EdgeCount is what one edge has counted, or why it does not say.
type EdgeCount[T any] struct {
	Node  string
	Count T
	Err   error // a *southbound.OpError
}

type routerCounter interface {
	CountRouter(ctx context.Context, vni intent.VNI) (southbound.RouterCount, error)
}

type tenantCounter interface {
	CountTenant(ctx context.Context, tenant string) (southbound.TenantCount, error)
}

// RouterCounters asks the edges that have ports of a router's networks what they have
// counted of it. ok is false while the controller has not taken the router.
func (e *Engine) RouterCounters(ctx context.Context, router intent.Ref) (out EdgeCounts[southbound.RouterCount], ok bool) {
	e.mu.RLock()
	r := e.model.Router(router)
	if r == nil {
		e.mu.RUnlock()
		return out, false
	}
	counters, uncounted := countersOf[routerCounter](e, e.portsOfRouter(r))
	v := r.Spec.VNI
	e.mu.RUnlock()
	return count(counters, uncounted, func(c routerCounter) (southbound.RouterCount, error) { return c.CountRouter(ctx, v) }), true
}

// TenantCounters asks the edges that have ports of a tenant what its limits have done
// there. ok is false when the tenant has none, as far as the controller knows.
func (e *Engine) TenantCounters(ctx context.Context, tenant string) (out EdgeCounts[southbound.TenantCount], ok bool) {
	e.mu.RLock()
	if !e.model.LimitsTenant(tenant) {
		e.mu.RUnlock()
		return out, false
	}
	counters, uncounted := countersOf[tenantCounter](e, e.model.PortsOfTenant(tenant))
	e.mu.RUnlock()
	return count(counters, uncounted, func(c tenantCounter) (southbound.TenantCount, error) { return c.CountTenant(ctx, tenant) }), true
}

// countersOf are the drivers of the edges on which some ports are, as far as they
// count, and the names of the others. The caller holds the lock.
func countersOf[C any](e *Engine, ports iter.Seq[intent.Ref]) (counters map[string]C, uncounted []string) {
	counters = map[string]C{}
	seen := map[string]bool{}
	for p := range ports {
		a, ok := e.model.Attachment(p)
		if !ok || seen[a.Node] {
			continue
		}
		seen[a.Node] = true
		s := e.sessions[a.Node]
		if s == nil {
			continue // it is about to go, or to come
		}
		if c, ok := s.driver.(C); ok {
			counters[a.Node] = c
		} else {
			uncounted = append(uncounted, a.Node)
		}
	}
	slices.Sort(uncounted)
	return counters, uncounted
}

// count asks counters, without the lock: a device may be slow.
func count[C, T any](counters map[string]C, uncounted []string, ask func(C) (T, error)) EdgeCounts[T] {
	nodes := slices.Sorted(maps.Keys(counters))
	out := EdgeCounts[T]{Uncounted: uncounted}
	for i, a := range askEach(nodes, func(n string) (T, error) { return ask(counters[n]) }) {
		out.Edges = append(out.Edges, EdgeCount[T]{nodes[i], a.value, a.err})
	}
	return out
}
