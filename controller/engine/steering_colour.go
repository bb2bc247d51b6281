package engine

import (
	"maps"
	"time"

	"github.com/weft-sdn/weft/fabric/steering"
)

// colour hands over which scopes have which colour, when that is something else than
// before; an engine without injectors steers nobody. The caller holds the lock.
func (s *steerer) colour(now steering.Colours) {
	if s.engine.config.NewInjector == nil || s.coloured && maps.Equal(s.colours, now) {
		return
	}
	s.colours, s.coloured = maps.Clone(now), true
	s.engine.setColours(s.colours)
}

// kept are the colours that were handed over, of scopes that still have one: a scope that
// loses its own is told before the routes for it go, and one that gets one after they
// have come. Either way the covering route serves in between. The caller holds the lock.
func (s *steerer) kept() steering.Colours {
	if !s.coloured {
		return s.plan.planned.Colours
	}
	out := maps.Clone(s.colours)
	maps.DeleteFunc(out, func(of steering.ColourScope, _ int) bool { return s.plan.planned.Colours[of] == 0 })
	return out
}

// hand hands colours over, unless it is not known what they are: then what was handed
// over stays. The caller holds the lock.
func (s *steerer) hand(c steering.Colours) {
	if s.plan.err == nil || s.coloured {
		s.colour(c)
	}
}

// colourAtStart hands over the colours as soon as the intent is known: they follow from
// it alone, and until then those who send keep what they have. The caller holds the lock.
func (s *steerer) colourAtStart(now time.Time) {
	if s.coloured {
		return
	}
	p, rules, err := rulesFor(s.policies, values(s.nodes), values(s.links), now)
	if err != nil {
		return // the plan says why
	}
	colours, _ := with(rules, s.given).Colours(p.facts)
	s.colour(colours)
}

func values[T any](m map[string]T) []T {
	out := make([]T, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}
