package steering

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/congestion"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/topology"
)

// NextHop is one of a route's, with its weight.
type NextHop struct {
	Switch    string
	Interface string // of the leaf
	// Address is the switch's loopback, which is lost together with the session
	// with it; or its end of the link, when links have different weights: zebra
	// forgets the weight of a next hop that it has to look up.
	Address netip.Addr
	Weight  int
}

// Route is what a leaf is to get in place of the ECMP route that it has: to be
// announced to it alone, with a local preference above that of eBGP's routes and
// with no-export (RFC 1997), one path for each next hop (RFC 7911), the weights as
// link bandwidths (draft-ietf-idr-link-bandwidth).
type Route struct {
	Device string
	Prefix netip.Prefix
	To     string // node that has the prefix
	Policy string // that decides, or took ways away
	// Colour and Scope say whose traffic it is: the prefix is of this colour. Without
	// they are zero.
	Colour        int
	Scope         ColourScope
	Before, After []NextHop
}

// PolicyError says why a policy can't be planned.
type PolicyError struct {
	Policy string
	Err    error
}

// Error names the policy.
func (e *PolicyError) Error() string { return fmt.Sprintf("policy %s: %v", e.Policy, e.Err) }

// Unwrap is the reason.
func (e *PolicyError) Unwrap() error { return e.Err }

// Plan says which routes the rules make on which leaf, with something down; traffic
// is what the optimiser is to look at, and is only needed when a policy hands over to
// it. Tenants that have policies of their own have a colour (see Rules.Colours), and all
// that policies say about them is said of the VTEPs' addresses of that colour. Of the
// VTEPs behind a leaf, the leaf's own and its rack's prefix are steered as one; what the
// optimiser steers, by the VTEP. Errors are joined PolicyErrors as a rule: the routes of other policies
// are planned beside them.
func (r *Rules) Plan(f *fabric.Facts, traffic *Traffic, down Failure, s Settings) ([]Route, error) {
	p, err := r.plan(f, down, s)
	if err != nil {
		return nil, err
	}
	if traffic != nil {
		p.add("", p.auto(r, *traffic, s))
	} else {
		p.unchosen(r, "the optimiser needs a traffic matrix")
	}
	return p.result()
}

// Planned is what rules make of a fabric as it is.
type Planned struct {
	Routes []Route
	// Fallen is traffic that a policy decides about and ECMP serves: all ways that
	// the policy leaves are down.
	Fallen []Fallen
	// Colours are those of tenants and networks that have policies of their own.
	Colours Colours
}

// Fallen is the traffic from a leaf to another.
type Fallen struct{ Policy, From, To string }

// PlanChosen is Plan with what the optimiser chose: the next hops of cells that a
// policy hands over to it. Those of cells that it may not choose for are left out.
func (r *Rules) PlanChosen(f *fabric.Facts, chosen map[demand.Key][]Hop, down Failure, s Settings) (Planned, error) {
	p, err := r.plan(f, down, s)
	if err != nil {
		return Planned{}, err
	}
	for _, key := range slices.SortedFunc(maps.Keys(chosen), compareKeys) {
		p.add("", p.cell(r, key, chosen[key]))
	}
	routes, err := p.result()
	return Planned{routes, p.fallen, p.colours}, err
}

// Alive are routes without the next hops that lead nowhere now; those that have no
// other are gone.
func (n *Network) Alive(routes []Route, down Failure) ([]Route, error) {
	ways, err := n.Routes(down)
	if err != nil {
		return nil, err
	}
	var out []Route
	for _, r := range routes {
		from, ok := n.index[r.Device]
		to, err := n.end(r.To)
		if !ok || err != nil {
			continue // left the fabric
		}
		list, _ := ways.between(from, to)
		lives := func(h NextHop) bool {
			return slices.ContainsFunc(list, func(w congestion.Way) bool {
				return n.Links[w.First].From == topology.End{Node: r.Device, Interface: h.Interface}
			})
		}
		r.After = slices.DeleteFunc(slices.Clone(r.After), func(h NextHop) bool { return !lives(h) })
		if len(r.After) > 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

func compareKeys(a, b demand.Key) int {
	return cmp.Or(fabric.Natural(a.From, b.From), fabric.Natural(a.To, b.To), fabric.Natural(a.Tenant, b.Tenant))
}

// plan plans what needs no optimiser.
func (r *Rules) plan(f *fabric.Facts, down Failure, s Settings) (*planner, error) {
	routes, err := r.network.Routes(down)
	if err != nil {
		return nil, err
	}
	p := &planner{Routes: routes, facts: f, table: s.Table, at: map[spot]int{}, fell: map[Fallen]bool{}, hops: map[int32]farEnd{}, leads: map[coloursOf][]netip.Prefix{}}
	var uncoloured map[string]error
	p.colours, uncoloured = r.Colours(f)
	for _, name := range slices.SortedFunc(maps.Keys(uncoloured), fabric.Natural) {
		p.add(name, uncoloured[name])
	}
	for _, of := range append([]ColourScope{{}}, p.colours.scopes()...) {
		for _, from := range r.network.ends {
			for _, to := range r.network.ends {
				p.pair(r, from, to, of, s)
			}
		}
	}
	return p, nil
}

// pair plans the traffic of a scope from a leaf to another; also below what the
// optimiser says, which tells only of VTEPs with traffic.
func (p *planner) pair(r *Rules, from, to int, of ColourScope, s Settings) {
	d := r.decide(p.Routes, from, to, of)
	policy := cmp.Or(d.policy, d.avoided)
	if fallen := (Fallen{policy, p.names[from], p.names[to]}); d.stranded && !p.fell[fallen] {
		p.fell[fallen], p.fallen = true, append(p.fallen, fallen)
	}
	if d.parts == nil {
		return
	}
	weights, _, err := congestion.Reduce(d.parts, s.Table)
	if err == nil {
		err = p.steer(Route{Device: p.names[from], To: p.names[to], Policy: policy, Scope: of, Colour: p.colours[of]}, from, to, weights)
	}
	var none *uncolouredError
	if errors.As(err, &none) && !r.about(policy, of) {
		return // what goes there is sent to the VTEPs' own addresses
	}
	p.add(policy, err)
}

// about reports whether a policy is about the traffic of a scope with a colour only.
func (r *Rules) about(policy string, of ColourScope) bool {
	return slices.ContainsFunc(r.list, func(u rule) bool { return u.Name == policy && u.Spec.Scope.Tenant == of.Tenant && of.Tenant != "" })
}

// uncolouredError says that a leaf has no address of a colour.
type uncolouredError struct {
	leaf   string
	colour int
}

func (e *uncolouredError) Error() string {
	return fmt.Sprintf("%s and the VTEPs behind it have no address of colour %d: state them (spec.colours of the nodes)", e.leaf, e.colour)
}

// add notes that a policy can't be planned, once for the same reason.
func (p *planner) add(policy string, err error) {
	if err != nil && policy != "" {
		err = &PolicyError{policy, err}
	}
	if err != nil && !slices.ContainsFunc(p.errs, func(o error) bool { return o.Error() == err.Error() }) {
		p.errs = append(p.errs, err)
	}
}

// unchosen notes that policies which hand over to the optimiser do nothing.
func (p *planner) unchosen(r *Rules, why string) {
	for _, u := range r.list {
		if u.Spec.Auto != nil {
			p.add(u.Name, errors.New(why))
		}
	}
}

func (p *planner) result() ([]Route, error) {
	slices.SortStableFunc(p.out, func(a, b Route) int {
		return cmp.Or(fabric.Natural(a.Device, b.Device), fabric.Natural(a.To, b.To), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()), a.Prefix.Compare(b.Prefix))
	})
	return p.out, errors.Join(p.errs...)
}

// cell steers a VTEP as the optimiser chose, if it may choose.
func (p *planner) cell(r *Rules, key demand.Key, hops []Hop) error {
	from, err := p.end(key.From)
	if err != nil {
		return err
	}
	to, err := p.end(key.To)
	if err != nil {
		return err
	}
	for _, of := range p.within(key.Tenant) {
		if err := p.chosen(r, key, of, from, to, hops); err != nil {
			return err
		}
	}
	return nil
}

// within are the scopes whose traffic is in the optimiser's cells of a tenant: it tells
// tenants with a colour apart, and no networks.
func (p *planner) within(tenant string) []ColourScope {
	var out []ColourScope
	if tenant == "" || p.colours[ColourScope{Tenant: tenant}] > 0 {
		out = append(out, ColourScope{Tenant: tenant})
	}
	for _, s := range p.colours.scopes() {
		of := s.Tenant
		if p.colours[ColourScope{Tenant: of}] == 0 {
			of = ""
		}
		if s.Network != "" && of == tenant {
			out = append(out, s)
		}
	}
	return out
}

// chosen steers the traffic of a scope to a VTEP as the optimiser chose, if it may.
func (p *planner) chosen(r *Rules, key demand.Key, of ColourScope, from, to int, hops []Hop) error {
	d := r.decide(p.Routes, from, to, of)
	n, ok := p.facts.Node(key.To)
	at := coloured(n, p.colours[of])
	if !d.auto || !ok || !at.IsValid() {
		return nil
	}
	ways, _ := p.between(from, to)
	weights, used := make([]int, len(ways)), false
	for w, way := range ways {
		for _, h := range hops {
			if h.Link.From == p.Links[way.First].From && (d.parts == nil || d.parts[w] > 0) {
				weights[w], used = h.Weight, used || h.Weight > 0
			}
		}
	}
	if !used {
		return nil
	}
	return p.route(Route{Device: p.names[from], Prefix: netip.PrefixFrom(at, at.BitLen()), To: key.To, Policy: d.policy, Scope: of, Colour: p.colours[of]}, from, to, weights)
}

// planner collects routes.
type planner struct {
	*Routes
	facts *fabric.Facts
	table congestion.Table
	out   []Route
	at    map[spot]int // where in out
	errs  []error

	colours Colours
	fallen  []Fallen
	fell    map[Fallen]bool // what is in fallen
	hops    map[int32]farEnd
	leads   map[coloursOf][]netip.Prefix
}

// spot is what one route is for.
type spot struct {
	device string
	prefix netip.Prefix
}

// coloursOf is a leaf in a colour.
type coloursOf struct{ leaf, colour int }

// steer steers what is at a leaf and behind it.
func (p *planner) steer(r Route, from, to int, weights []int) error {
	if n, ok := p.facts.Node(r.To); r.Colour == 0 && (!ok || !n.VTEP.IsValid()) {
		return fmt.Errorf("leaf %s has no VTEP address", r.To)
	}
	prefixes := p.prefixes(to, r.Colour)
	if len(prefixes) == 0 {
		return &uncolouredError{r.To, r.Colour}
	}
	for _, r.Prefix = range prefixes {
		if err := p.route(r, from, to, weights); err != nil {
			return err
		}
	}
	return nil
}

// route adds a route with its next hops, in place of one for the same prefix.
func (p *planner) route(r Route, from, to int, weights []int) error {
	ways, _ := p.between(from, to)
	recursive := p.even(ways, weights)
	for w, way := range ways {
		hop, err := p.hop(way.First)
		if err != nil {
			return err
		}
		h := NextHop{Switch: hop.node, Interface: p.Links[way.First].From.Interface, Address: hop.link, Weight: 1}
		if recursive && hop.loopback.IsValid() {
			h.Address = hop.loopback
		}
		if !h.Address.IsValid() {
			return fmt.Errorf("link at %s has no addresses: next hops of routes with weights need them", p.Links[way.First].From)
		}
		r.Before = append(r.Before, h)
		if h.Weight = weights[w]; h.Weight > 0 {
			r.After = append(r.After, h)
		}
	}
	here := spot{r.Device, r.Prefix}
	if i, ok := p.at[here]; ok {
		p.out[i] = r
		return nil
	}
	p.at[here], p.out = len(p.out), append(p.out, r)
	return nil
}

// farEnd is the switch at the end of a link, with its addresses.
type farEnd struct {
	node           string
	link, loopback netip.Addr
}

// hop is where a link leads.
func (p *planner) hop(link int32) (farEnd, error) {
	if h, ok := p.hops[link]; ok {
		return h, nil
	}
	end := p.Links[link].From
	l, ok := p.facts.Link(end.Node, end.Interface)
	if !ok {
		return farEnd{}, fmt.Errorf("link at %s is not planned", end)
	}
	h := farEnd{node: l.B.Node, link: l.B.Address.Addr()}
	if far, ok := p.facts.Node(l.B.Node); ok {
		h.loopback = far.Loopback
	}
	p.hops[link] = h
	return h, nil
}

// even reports whether all ways that are used have one weight, and of parallel links
// all are used or none.
func (p *planner) even(ways []congestion.Way, weights []int) bool {
	common, used := 0, map[int]bool{}
	for w, way := range ways {
		if next := p.to[way.First]; weights[w] > 0 {
			used[next] = true
			common = cmp.Or(common, weights[w])
		}
	}
	for w, way := range ways {
		if weights[w] != common && (weights[w] > 0 || used[p.to[way.First]]) {
			return false
		}
	}
	return true
}

// auto adds what the optimiser steers, by VTEP.
func (p *planner) auto(r *Rules, traffic Traffic, s Settings) error {
	named := p.colours.tenants()
	merged, _, err := traffic.Coloured(len(named), named)
	if err != nil {
		return err
	}
	placed := merged.place(p.Routes, s.Seed)
	narrowed, free, parts := placed.narrow(r, nil)
	c, err := narrowed.choose(narrowed.hashed(parts), narrowed.largest(free, s.Most), s)
	if err != nil {
		return err
	}
	for i, cell := range placed.cells {
		if !free[i] || c.weights[i] == nil {
			continue
		}
		if n, ok := p.facts.Node(cell.To); !ok || !n.VTEP.IsValid() {
			return fmt.Errorf("%s has no VTEP address", cell.To)
		}
		all := spread(c.weights[i], narrowed.problem.Commodities[i].Ways, placed.problem.Commodities[i].Ways)
		var hops []Hop
		for w, way := range placed.problem.Commodities[i].Ways {
			hops = append(hops, Hop{p.Links[way.First], all[w]})
		}
		if err := p.cell(r, cell.Key, hops); err != nil {
			return err
		}
	}
	return nil
}

// spread gives the weights of some ways to all.
func spread(weights []int, some, all []congestion.Way) []int {
	out := make([]int, len(all))
	for w, way := range all {
		if i := slices.Index(some, way); i >= 0 {
			out[w] = weights[i]
		}
	}
	return out
}
