package evpn

import (
	"slices"

	table "github.com/weft-sdn/weft/overlay/evpn"
)

// adjIn is what one leaf announces (Adj-RIB-In). Its methods return what
// changed.
type adjIn struct {
	routes map[table.RouteID]*held
	stale  int
}

type held struct {
	table.Route
	stale bool // kept from before the session was lost (RFC 4724 section 4.2)
}

// apply takes changes in and returns those that say something new.
func (a *adjIn) apply(in []Change) []Change {
	if a.routes == nil {
		a.routes = map[table.RouteID]*held{}
	}
	out := in[:0]
	for _, c := range in {
		id := c.ID()
		h := a.routes[id]
		if h != nil && h.stale {
			h.stale = false
			a.stale--
		}
		switch {
		case c.Withdrawn && h == nil:
			continue
		case c.Withdrawn:
			delete(a.routes, id)
		case h == nil:
			a.routes[id] = &held{Route: c.Route}
		case same(&h.Route, &c.Route):
			continue
		default:
			h.Route = c.Route
		}
		out = append(out, c)
	}
	return out
}

// retain marks all routes as stale.
func (a *adjIn) retain() {
	for _, h := range a.routes {
		h.stale = true
	}
	a.stale = len(a.routes)
}

// sweep removes the routes that are stale.
func (a *adjIn) sweep() []Change {
	if a.stale == 0 {
		return nil
	}
	out := make([]Change, 0, a.stale)
	for id, h := range a.routes {
		if h.stale {
			delete(a.routes, id)
			out = append(out, Change{Route: table.Route{Key: id.Key, RD: id.RD, Tag: id.Tag}, Withdrawn: true})
		}
	}
	a.stale = 0
	return out
}

func same(a, b *table.Route) bool {
	return alike(a, b) && a.VNI == b.VNI && a.Gateway == b.Gateway && a.Key == b.Key && slices.Equal(a.Targets, b.Targets)
}
