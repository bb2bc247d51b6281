package engine

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/steering"
)

// GivenColours keeps the colours that the optimiser gave tenants over a restart; package
// store has one.
type GivenColours interface {
	GivenColours(ctx context.Context) ([]intent.GivenColour, error)
	SetGivenColours(ctx context.Context, given []intent.GivenColour) error
}

// givenWait bounds how long the store is asked at a time: nobody is steered meanwhile.
const givenWait = 5 * time.Second

// restore takes the colours that tenants had been given before the start, and reports
// whether it is known which those are. It asks once the intent is loaded; what can't be read
// within reportWait is taken for none.
func (s *steerer) restore(ctx context.Context, now time.Time) bool {
	s.mu.Lock()
	done, loaded := s.restored, s.loaded
	s.mu.Unlock()
	if done {
		return true
	}
	var list []intent.GivenColour
	if kept := s.engine.config.GivenColours; kept != nil {
		asked, cancel := context.WithTimeout(ctx, givenWait)
		var err error
		list, err = kept.GivenColours(asked)
		if cancel(); err != nil {
			s.engine.log.Warn("it is not known which colours tenants were given", "err", err)
			if ctx.Err() != nil || loaded.IsZero() || now.Sub(loaded) < reportWait {
				s.mu.Lock()
				if s.loaded.IsZero() {
					s.loaded = now
				}
				s.mu.Unlock()
				return false
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given, s.stored, s.restored = map[string]steering.Given{}, list, true
	for _, g := range list {
		s.given[g.Tenant] = steering.Given{Colour: g.Colour, Policy: g.Policy, Since: g.Since}
	}
	s.dirty = true
	return true
}

// wasGiven are the colours that tenants were given; known is false while that is not known.
func (s *steerer) wasGiven() (given map[string]steering.Given, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.given), s.restored
}

// with has rules give the colours that tenants were given for policies that are there.
func with(r *steering.Rules, given map[string]steering.Given) *steering.Rules {
	if r == nil || len(given) == 0 {
		return r
	}
	hands := map[string]bool{}
	for _, p := range r.Policies() {
		hands[p.Name] = p.Spec.Auto != nil
	}
	given = maps.Clone(given)
	maps.DeleteFunc(given, func(_ string, g steering.Given) bool { return !hands[g.Policy] })
	return r.Give(steering.Numbers(given))
}

// keep stores which colours tenants have been given, when others were stored.
func (c *chooser) keep(ctx context.Context) {
	store := c.engine.config.GivenColours
	s := c.engine.steerer
	given, known := s.wasGiven()
	if store == nil || !known {
		return
	}
	list := givenColours(given, "")
	for i := range list {
		list[i].Rate, list[i].Without, list[i].With = 0, 0, 0 // measured anew
	}
	s.mu.Lock()
	same := slices.Equal(s.stored, list)
	s.mu.Unlock()
	if same {
		return
	}
	if err := store.SetGivenColours(ctx, list); err != nil {
		c.engine.log.Warn("a controller that starts will not know which colours tenants were given", "err", err)
		return
	}
	s.mu.Lock()
	s.stored = list
	s.mu.Unlock()
}

// givenColours are those for the traffic of a policy, or of all when it is empty, by tenant.
func givenColours(given map[string]steering.Given, policy string) []intent.GivenColour {
	out := []intent.GivenColour{}
	for tenant, g := range given {
		if policy == "" || g.Policy == policy {
			out = append(out, intent.GivenColour{Tenant: tenant, Colour: g.Colour, Policy: g.Policy, Since: g.Since.UTC().Truncate(time.Second), Rate: g.Rate, Without: g.Without, With: g.With})
		}
	}
	slices.SortFunc(out, func(a, b intent.GivenColour) int { return cmp.Or(fabric.Natural(a.Tenant, b.Tenant)) })
	return out
}

// barred tells the tenants some of whose traffic is never sent to a colour, as a network of
// theirs is in another encapsulation.
func (e *Engine) barred() func(tenant string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	of := map[string]bool{}
	for _, r := range e.colours.plain {
		of[r] = true
	}
	return func(tenant string) bool { return of[tenant] }
}
