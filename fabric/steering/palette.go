package steering

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/demand"
)

// Given is a colour that a controller gave a tenant by itself.
type Given struct {
	Colour int
	Policy string // of action auto, for whose traffic it was given
	Since  time.Time
	Rate   float64 // bit/s of the tenant's elephants
	// Without is the highest utilisation that the links could have without the colour: when
	// it was given the least that could be reached, later what an unlucky hash would make.
	// With is what there is.
	Without, With float64
	idle          time.Time // since when it has not been worth it; zero while it is
}

// palette is what a controller knows of colours.
type palette struct {
	facts    *fabric.Facts // nil when tenants are not to be told apart by it
	barred   func(tenant string) bool
	given    map[string]Given
	back     map[string]time.Time    // when a tenant's colour was given back
	coloured []string                // tenants with a colour, also by policies
	shades   map[demand.Key]elephant // in cells of tenants without a colour
}

func newPalette() palette {
	return palette{given: map[string]Given{}, back: map[string]time.Time{}}
}

// Paint lets a controller give colours to tenants by itself, of those that the nodes state
// and no policy needs: to tenants with an elephant that shares its way with others' mice,
// when parting them is worth as much as any change must be. From then on the demand that
// it is told has all tenants apart. Without rules none is given. barred tells tenants whose
// traffic is not sent to colours; nil is nobody.
func (c *Controller) Paint(f *fabric.Facts, barred func(tenant string) bool) {
	c.facts, c.barred = f, barred
}

// Restore takes colours that were given before the controller began. They count as
// worth it now.
func (c *Controller) Restore(given map[string]Given) {
	for tenant, g := range given {
		g.idle = time.Time{}
		c.given[tenant] = g
	}
}

// Given are the colours that it gave, by tenant.
func (c *Controller) Given() map[string]Given { return maps.Clone(c.given) }

// Numbers are the colours of what was given, for Rules.Give.
func Numbers(given map[string]Given) map[string]int {
	out := make(map[string]int, len(given))
	for tenant, g := range given {
		out[tenant] = g.Colour
	}
	return out
}

// paints reports whether it tells tenants apart.
func (c *Controller) paints() bool { return c.facts != nil && c.rules != nil }

// colours are those of policies, and those that were given.
func (c *Controller) colours() Colours {
	out, _ := c.rules.Give(Numbers(c.given)).Colours(c.facts)
	return out
}

// review forgets what was given and policies need, or do not want given any longer, and
// finds who has a colour.
func (c *Controller) review(now time.Time) {
	has, of := c.colours(), map[string]int{}
	tenants := slices.SortedFunc(maps.Keys(c.given), func(a, b string) int {
		return cmp.Or(c.given[a].Since.Compare(c.given[b].Since), fabric.Natural(a, b))
	})
	for _, t := range tenants {
		g := c.given[t]
		named := slices.Contains(c.rules.Tenants(), t)
		if of[g.Policy]++; named || has[ColourScope{Tenant: t}] != g.Colour || of[g.Policy] > c.rules.mayGive(g.Policy) {
			delete(c.given, t)
			c.back[t] = now
		}
	}
	c.coloured = c.colours().tenants()
	maps.DeleteFunc(c.back, func(_ string, at time.Time) bool { return now.Sub(at) >= giveAgainAfter*c.damping.Hold })
}

// mayGive is how many colours may be given for the traffic of a policy.
func (r *Rules) mayGive(policy string) int {
	for _, u := range r.list {
		if u.Name != policy || u.Spec.Auto == nil {
			continue
		}
		if most := u.Spec.Auto.Colours; most != nil {
			return *most
		}
		return intent.MaxColours
	}
	return 0
}
