package steering

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/congestion"
	"github.com/weft-sdn/weft/fabric/demand"
)

// Times and bounds of giving tenants colours.
const (
	// giveBackAfter is for how long, as a multiple of Hold, a colour must not have been worth
	// it to be given back; giveAgainAfter how long after that the tenant gets none.
	giveBackAfter, giveAgainAfter = 2, 4
	// giveBackPart is the part of Gain below which a colour is not worth it any more, and
	// giveBackFloor that of Floor.
	giveBackPart, giveBackFloor = 0.5, 0.9
	// giveLooked is how many tenants a step looks at, those with the largest elephants first.
	giveLooked = 3
)

// apart merges what is seen of tenants that are not told apart.
func (o Observed) apart(tenants []string) Observed {
	out := make(Observed, len(o))
	for k, by := range o {
		if !slices.Contains(tenants, k.Tenant) {
			k.Tenant = ""
		}
		if out[k] == nil {
			out[k] = make(map[string]float64, len(by))
		}
		for link, rate := range by {
			out[k][link] += rate
		}
	}
	return out
}

// common is the cell that a tenant's is a part of while it has no colour.
func common(k demand.Key) demand.Key {
	k.Tenant = ""
	return k
}

// view is the step with the cells of more tenants apart, which go as the cells that they
// are a part of.
func (s *stepping) view(full Traffic, more func(tenant string) bool, elephants map[demand.Key]elephant) *stepping {
	var tenants []string
	for _, c := range full.cells {
		if c.Tenant != "" && (slices.Contains(s.coloured, c.Tenant) || more(c.Tenant)) && !slices.Contains(tenants, c.Tenant) {
			tenants = append(tenants, c.Tenant)
		}
	}
	c := *s.Controller
	c.cells, c.elephants, c.observed = maps.Clone(s.Controller.cells), elephants, s.told
	for _, cell := range full.cells {
		if st, ok := s.Controller.cells[common(cell.Key)]; ok && cell.Tenant != "" && more(cell.Tenant) {
			c.cells[cell.Key] = st
		}
	}
	return c.stepping(full.apart(tenants), s.Routes, s.now)
}

// shade finds the elephants in the cells of tenants that have no colour. What would not be
// sent to one is none.
func (s *stepping) shade(full Traffic) {
	without := func(tenant string) bool { return !slices.Contains(s.coloured, tenant) }
	v := s.view(full, without, s.shades)
	v.mark()
	found := v.elephants
	for _, c := range v.placed.cells {
		if c.Tenant == "" || !without(c.Tenant) || s.barred != nil && s.barred(c.Tenant) || slices.ContainsFunc(c.parts(), func(d demand.Demand) bool { return s.Controller.network.isVTEP(d.From) }) {
			delete(found, c.Key)
		}
	}
	maps.DeleteFunc(found, func(k demand.Key, _ elephant) bool { return k.Tenant == "" || !without(k.Tenant) })
	s.shades = found
	s.doubted = map[demand.Key]bool{}
	for k, e := range found {
		if _, back := s.back[k.Tenant]; !back && !e.found() {
			s.doubted[common(k)] = true
		}
	}
}

// isVTEP reports whether a node is a hardware VTEP, which sends to VTEPs' own addresses
// only.
func (n *Network) isVTEP(node string) bool {
	v, ok := n.graph.Node(node)
	return ok && v.Role == intent.RoleVTEP
}

// give gives a tenant a colour, when one is free, and parting its elephants from what they
// share their ways with makes the most utilised link that much less utilised than it could
// be without. Its elephants get ways of their own at once, the others of its cells go as
// they went.
func (s *stepping) give(full Traffic) (bool, error) {
	if !s.paints() {
		return false, nil
	}
	has, count := s.colours(), colourCount(s.facts)
	if len(has) >= count || !s.mayGiveMore() {
		s.shades = nil
		return false, nil
	}
	s.shade(full)
	if s.frozen || len(s.shades) == 0 {
		return false, nil
	}
	merged, err := s.choose(s.present, s.largest(s.free(), s.settings.Most), s.settings)
	if err != nil {
		return false, err
	}
	for _, t := range s.heaviest() {
		o, err := s.offer(full, t, has.spare(t, count), merged)
		if err != nil {
			return false, err
		}
		if o != nil {
			s.accept(o)
			return true, nil
		}
	}
	return false, nil
}

// heaviest are the tenants with the largest elephants, that may be given a colour.
func (s *stepping) heaviest() []string {
	sums := map[string]float64{}
	for k, e := range s.shades {
		if _, back := s.back[k.Tenant]; e.found() && !back && !slices.Contains(s.rules.Tenants(), k.Tenant) {
			sums[k.Tenant] += e.rate
		}
	}
	out := slices.SortedFunc(maps.Keys(sums), func(a, b string) int {
		return cmp.Or(cmp.Compare(sums[b], sums[a]), fabric.Natural(a, b))
	})
	return out[:min(len(out), giveLooked)]
}

// offered is a colour for a tenant, and the step that it is given in.
type offered struct {
	tenant string
	given  Given
	view   *stepping
}

// offer is a tenant's colour with what comes of it; nil when it is not worth it.
func (s *stepping) offer(full Traffic, tenant string, colour int, merged chosen) (*offered, error) {
	elephants, others := maps.Clone(s.elephants), map[string]bool{}
	for k, e := range s.shades {
		n, ok := s.facts.Node(k.To)
		if !e.found() || k.Tenant == tenant && !(ok && coloured(n, colour).IsValid()) {
			continue
		}
		elephants[k], others[k.Tenant] = e, k.Tenant != tenant
		delete(elephants, common(k)) // what is left of it is another one
	}
	v := s.view(full, func(t string) bool { return t == tenant || others[t] }, elephants)
	v.whole()
	v.tie(func(t string) bool { return others[t] })
	v.present = v.split()
	v.load = v.problem.Load(v.present)
	v.Before, _ = v.problem.Utilisation(v.load)
	own, rate, policy := v.elephantsOf(tenant)
	if len(own) == 0 || v.Before < v.damping.Floor || v.rules.mayGive(policy) <= v.givenFor(policy) || !v.passBusiest(own) {
		return nil, nil
	}
	free := v.free()
	for _, i := range own {
		if v.held(common(v.placed.cells[i].Key)) {
			return nil, nil
		}
	}
	target, err := v.choose(v.present, v.largest(free, v.settings.Most), v.settings)
	if err != nil {
		return nil, err
	}
	v.Target, _ = v.problem.Utilisation(target.load)
	without, err := v.without(s, tenant, merged, free)
	if err != nil || without-v.Target < v.damping.Gain*v.Before {
		return nil, err
	}
	v.part(own, target)
	return &offered{tenant, Given{Colour: colour, Policy: policy, Since: v.now, Rate: rate, Without: without, With: v.After}, v}, nil
}

// tie keeps the cells of some tenants, and those that their elephants are a part of, as they
// are: they can't be changed one without the other.
func (s *stepping) tie(tenants func(string) bool) {
	s.tied = map[demand.Key]bool{}
	for i, c := range s.placed.cells {
		if !tenants(c.Tenant) {
			continue
		}
		s.tied[c.Key] = true
		if _, ok := s.placed.seen[i]; ok {
			s.tied[common(c.Key)] = true
		}
	}
}

// elephantsOf are the cells of a tenant that are elephants and may be steered, their rate,
// and the policy that hands over the largest.
func (s *stepping) elephantsOf(tenant string) (own []int, rate float64, policy string) {
	most := 0.0
	for i, c := range s.placed.cells {
		if _, ok := s.placed.seen[i]; !ok || c.Tenant != tenant || s.open != nil && !s.open[i] {
			continue
		}
		own, rate = append(own, i), rate+c.Rate
		if c.Rate > most {
			most, policy = c.Rate, s.rules.decide(s.Routes, c.from, c.to, ColourScope{Tenant: tenant}).policy
		}
	}
	return own, rate, policy
}

// mayGiveMore reports whether there is a policy for whose traffic another colour may be
// given.
func (s *stepping) mayGiveMore() bool {
	return slices.ContainsFunc(s.rules.list, func(u rule) bool { return s.rules.mayGive(u.Name) > s.givenFor(u.Name) })
}

func (s *stepping) givenFor(policy string) int {
	n := 0
	for _, g := range s.given {
		if g.Policy == policy {
			n++
		}
	}
	return n
}

// passBusiest reports whether one of the cells is on a link that is utilised as much as
// the most utilised one.
func (s *stepping) passBusiest(cells []int) bool {
	return slices.ContainsFunc(cells, func(i int) bool { return s.highest(i, s.present[i]) >= s.Before*(1-enough) })
}

// highest is the highest utilisation of the links that a cell passes when it is divided in
// some parts.
func (s *stepping) highest(i int, parts []float64) float64 {
	c, out := &s.problem.Commodities[i], 0.0
	for w, way := range c.Ways {
		if part(parts, w, len(c.Ways)) == 0 {
			continue
		}
		out = max(out, s.load[way.First]/s.Links[way.First].Capacity)
		for _, t := range s.tails[int(c.Offset)+int(way.Tail)] {
			if t.Part > 0 {
				out = max(out, s.load[t.Link]/s.Links[t.Link].Capacity)
			}
		}
	}
	return out
}

// without is the least utilisation of the most utilised link that could be reached without
// the colour: by what the tenant's elephants do not share a route with, while they stay;
// or by all, when they go by what the cells get that they are a part of.
func (s *stepping) without(plain *stepping, tenant string, merged chosen, free []bool) (float64, error) {
	wanted, changeable := plain.hashed(merged.weights.Split()), plain.free()
	by := map[demand.Key][]float64{}
	for i, c := range plain.placed.cells {
		if by[c.Key] = wanted[i]; merged.kept || merged.weights[i] == nil && c.Whole() || !changeable[i] {
			by[c.Key] = plain.present[i]
		}
	}
	others, parts := slices.Clone(free), make(congestion.Split, len(s.placed.cells))
	shared := map[demand.Key]bool{}
	for _, c := range s.placed.cells {
		if c.Tenant == tenant {
			shared[common(c.Key)] = true
		}
	}
	for i, c := range s.placed.cells {
		k := c.Key
		if !slices.Contains(s.coloured, k.Tenant) {
			k.Tenant = ""
		}
		others[i] = others[i] && !shared[k]
		parts[i] = s.fall(i, by[k])
	}
	moved, _ := s.problem.Utilisation(s.problem.Load(parts))
	stay, err := s.choose(s.present, s.largest(others, s.settings.Most), s.settings)
	if err != nil {
		return 0, err
	}
	level, _ := s.problem.Utilisation(stay.load)
	return min(moved, level), nil
}

// stayed is said of an elephant that keeps its way, by a route of its own.
const stayed = "it keeps its way in a colour of its own"

// part has the elephants of a tenant go as the target has them, as many as one step may
// move; the others keep the ways that they were seen on.
func (s *stepping) part(own []int, target chosen) {
	only := make([]bool, len(s.placed.cells))
	for _, i := range own {
		only[i] = true
	}
	s.approach(target, only)
	for _, i := range own {
		k := s.placed.cells[i].Key
		if at, ok := s.changed[k]; ok && at.Equal(s.now) {
			continue
		}
		before := s.Controller.cells[k].weights
		s.Controller.cells[k] = steered{map[int32]int{s.placed.seen[i]: 1}}
		s.Changes = append(s.Changes, Change{k, s.Controller.network.hops(before), s.Controller.network.hops(s.Controller.cells[k].weights), stayed})
	}
}

// accept gives the colour.
func (s *stepping) accept(o *offered) {
	v := o.view
	for k, st := range v.Controller.cells {
		if k.Tenant == o.tenant {
			s.Controller.cells[k] = st
		}
	}
	for i, c := range v.placed.cells {
		if _, ok := v.placed.seen[i]; ok && c.Tenant == o.tenant {
			s.elephants[c.Key] = v.elephants[c.Key]
			delete(s.elephants, common(c.Key))
		}
	}
	maps.DeleteFunc(s.shades, func(k demand.Key, _ elephant) bool { return k.Tenant == o.tenant })
	s.given[o.tenant] = o.given
	s.pursuing, s.partly = v.pursuing, v.partly
	s.Changes = append(s.Changes, v.Changes...)
	s.load, s.Before, s.After, s.Target, s.Moved = v.load, v.Before, v.After, v.Target, v.Moved
	s.Why = fmt.Sprintf("tenant %s is given colour %d: %.1f %% could not become less than %.1f %% without", o.tenant, o.given.Colour, 100*s.Before, 100*o.given.Without)
}

// giveBack takes a colour from a tenant for which it has not been worth it for a while. What
// it is worth is how much more utilised a link could be, were its elephants hashed among
// all else.
func (s *stepping) giveBack() {
	if !s.paints() || s.frozen {
		return
	}
	for _, t := range slices.SortedFunc(maps.Keys(s.given), fabric.Natural) {
		g := s.given[t]
		g.Rate, g.Without, g.With = 0, s.After, s.After
		for i, c := range s.placed.cells {
			_, moved := s.Controller.cells[c.Key]
			if _, seen := s.placed.seen[i]; c.Tenant != t || !moved && !seen {
				continue
			}
			g.Rate += c.Rate
			g.Without = max(g.Without, s.unlucky(i))
		}
		d := s.damping
		if g.Without-s.After >= giveBackPart*d.Gain*g.Without && g.Without >= giveBackFloor*d.Floor {
			g.idle = time.Time{}
		} else if g.idle.IsZero() {
			g.idle = s.now
		}
		s.given[t] = g
		if g.idle.IsZero() || s.now.Sub(g.idle) < giveBackAfter*d.Hold || len(s.Changes) > 0 {
			continue
		}
		delete(s.given, t)
		s.back[t] = s.now
		for k, st := range s.Controller.cells {
			if k.Tenant == t {
				delete(s.Controller.cells, k)
				s.Changes = append(s.Changes, Change{k, s.Controller.network.hops(st.weights), nil, "the tenant's colour was given back"})
			}
		}
		s.Why = fmt.Sprintf("tenant %s gives back colour %d: it has not been worth it for %s", t, g.Colour, s.now.Sub(g.idle).Round(time.Second))
		return
	}
}

// unlucky is the highest utilisation that a link has when a cell goes by the way where that
// is the highest.
func (s *stepping) unlucky(i int) float64 {
	n, out := len(s.problem.Commodities[i].Ways), 0.0
	for w := range n {
		parts := make([]float64, n)
		parts[w] = 1
		for l, rate := range s.change(i, parts) {
			out = max(out, (s.load[l]+rate)/s.Links[l].Capacity)
		}
	}
	return out
}
