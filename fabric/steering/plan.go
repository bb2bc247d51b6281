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
	Device        string
	Prefix        netip.Prefix
	To            string // node that has the prefix
	Policy        string // that decides, or took ways away
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
// it. A route knows no tenant: policies for one are errors. Of the VTEPs behind a leaf,
// the leaf's own and its rack's prefix are steered as one; what the optimiser steers,
// by the VTEP. Errors are joined PolicyErrors as a rule: the routes of other policies
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
	return Planned{routes, p.fallen}, err
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
	p := &planner{Routes: routes, facts: f, table: s.Table}
	for _, u := range r.list {
		if t := u.Spec.Scope.Tenant; t != "" {
			p.add(u.Name, fmt.Errorf("routes do not tell the traffic of tenant %s from others': that takes VTEP addresses of its own, which there are none of", t))
		}
	}
	for _, from := range r.network.ends {
		for _, to := range r.network.ends {
			// Also below what the optimiser says: it tells only of VTEPs with traffic.
			d := r.decide(routes, from, to, "")
			if d.stranded {
				p.fallen = append(p.fallen, Fallen{cmp.Or(d.policy, d.avoided), p.names[from], p.names[to]})
			}
			if d.parts != nil {
				weights, _, err := congestion.Reduce(d.parts, s.Table)
				if err == nil {
					err = p.steer(from, to, cmp.Or(d.policy, d.avoided), weights)
				}
				p.add(cmp.Or(d.policy, d.avoided), err)
			}
		}
	}
	return p, nil
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
		return cmp.Or(fabric.Natural(a.Device, b.Device), fabric.Natural(a.To, b.To), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()))
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
	d := r.decide(p.Routes, from, to, key.Tenant)
	n, ok := p.facts.Node(key.To)
	if !d.auto || key.Tenant != "" || !ok || !n.VTEP.IsValid() {
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
	return p.route(Route{Device: p.names[from], Prefix: netip.PrefixFrom(n.VTEP, n.VTEP.BitLen()), To: key.To, Policy: d.policy}, from, to, weights)
}

// planner collects routes.
type planner struct {
	*Routes
	facts *fabric.Facts
	table congestion.Table
	out   []Route
	errs  []error

	fallen []Fallen
}

// steer steers what is at a leaf and behind it.
func (p *planner) steer(from, to int, policy string, weights []int) error {
	n, ok := p.facts.Node(p.names[to])
	if !ok || !n.VTEP.IsValid() {
		return fmt.Errorf("leaf %s has no VTEP address", p.names[to])
	}
	prefixes := []netip.Prefix{netip.PrefixFrom(n.VTEP, n.VTEP.BitLen())}
	if n.Rack.IsValid() {
		prefixes = append(prefixes, n.Rack)
	} else {
		prefixes = append(prefixes, p.hosts(to)...)
	}
	for _, prefix := range prefixes {
		if err := p.route(Route{Device: p.names[from], Prefix: prefix, To: n.Name, Policy: policy}, from, to, weights); err != nil {
			return err
		}
	}
	return nil
}

// hosts are the VTEPs behind a leaf whose rack is not known.
func (p *planner) hosts(leaf int) []netip.Prefix {
	var out []netip.Prefix
	for name, at := range p.leaf {
		if n, ok := p.facts.Node(name); ok && at == leaf && n.VTEP.IsValid() {
			out = append(out, netip.PrefixFrom(n.VTEP, n.VTEP.BitLen()))
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// route adds a route with its next hops, in place of one for the same prefix.
func (p *planner) route(r Route, from, to int, weights []int) error {
	ways, _ := p.between(from, to)
	recursive := p.even(ways, weights)
	for w, way := range ways {
		end := p.Links[way.First].From
		l, ok := p.facts.Link(end.Node, end.Interface)
		if !ok {
			return fmt.Errorf("link at %s is not planned", end)
		}
		h := NextHop{Switch: l.B.Node, Interface: end.Interface, Address: l.B.Address.Addr(), Weight: 1}
		if far, ok := p.facts.Node(l.B.Node); ok && recursive && far.Loopback.IsValid() {
			h.Address = far.Loopback
		}
		if !h.Address.IsValid() {
			return fmt.Errorf("link at %s has no addresses: next hops of routes with weights need them", end)
		}
		r.Before = append(r.Before, h)
		if h.Weight = weights[w]; h.Weight > 0 {
			r.After = append(r.After, h)
		}
	}
	same := func(o Route) bool { return o.Device == r.Device && o.Prefix == r.Prefix }
	p.out = append(slices.DeleteFunc(p.out, same), r)
	return nil
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
	merged, _, err := traffic.Coloured(0, nil)
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
		d := r.decide(p.Routes, cell.from, cell.to, "")
		n, ok := p.facts.Node(cell.To)
		if !ok || !n.VTEP.IsValid() {
			return fmt.Errorf("%s has no VTEP address", cell.To)
		}
		all := spread(c.weights[i], narrowed.problem.Commodities[i].Ways, placed.problem.Commodities[i].Ways)
		host := Route{Device: p.names[cell.from], Prefix: netip.PrefixFrom(n.VTEP, n.VTEP.BitLen()), To: cell.To, Policy: d.policy}
		if err := p.route(host, cell.from, cell.to, all); err != nil {
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
