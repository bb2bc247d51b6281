package steering

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/congestion"
)

// NextHop is one of a route's, with its weight.
type NextHop struct {
	Switch    string
	Interface string // of the leaf
	Address   netip.Addr
	Weight    int
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

// Plan says which routes the rules make on which leaf, with something down; traffic
// is what the optimiser is to look at, and is only needed when a policy hands over to
// it. A route knows no tenant: policies for one are errors. Of the VTEPs behind a leaf,
// the leaf's own and its rack's prefix are steered as one; what the optimiser steers,
// by the VTEP.
func (r *Rules) Plan(f *fabric.Facts, traffic *Traffic, down Failure, s Settings) ([]Route, error) {
	for _, u := range r.list {
		if u.Spec.Scope.Tenant != "" {
			return nil, fmt.Errorf("policy %s: routes do not tell the traffic of tenant %s from others': that takes VTEP addresses of its own, which there are none of", u.Name, u.Spec.Scope.Tenant)
		}
		if u.Spec.Auto != nil && traffic == nil {
			return nil, fmt.Errorf("policy %s: the optimiser needs a traffic matrix", u.Name)
		}
	}
	routes, err := r.network.Routes(down)
	if err != nil {
		return nil, err
	}
	p := &planner{Routes: routes, facts: f, table: s.Table}
	for _, from := range r.network.ends {
		for _, to := range r.network.ends {
			// Also below what the optimiser says: it tells only of VTEPs with traffic.
			if d := r.decide(routes, from, to, ""); d.parts != nil {
				weights, _, err := congestion.Reduce(d.parts, s.Table)
				if err == nil {
					err = p.leaf(from, to, cmp.Or(d.policy, d.avoided), weights)
				}
				if err != nil {
					return nil, err
				}
			}
		}
	}
	if traffic != nil {
		if err := p.auto(r, *traffic, s); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(p.out, func(a, b Route) int {
		return cmp.Or(fabric.Natural(a.Device, b.Device), fabric.Natural(a.To, b.To), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()))
	})
	return p.out, nil
}

// planner collects routes.
type planner struct {
	*Routes
	facts *fabric.Facts
	table congestion.Table
	out   []Route
}

// leaf steers what is at a leaf and behind it.
func (p *planner) leaf(from, to int, policy string, weights []int) error {
	n, ok := p.facts.Node(p.names[to])
	if !ok || !n.VTEP.IsValid() {
		return fmt.Errorf("leaf %s has no VTEP address", p.names[to])
	}
	prefixes := []netip.Prefix{netip.PrefixFrom(n.VTEP, n.VTEP.BitLen())}
	if n.Rack.IsValid() {
		prefixes = append(prefixes, n.Rack)
	}
	for _, prefix := range prefixes {
		if err := p.route(Route{Device: p.names[from], Prefix: prefix, To: n.Name, Policy: policy}, from, to, weights); err != nil {
			return err
		}
	}
	return nil
}

// route adds a route with its next hops, in place of one for the same prefix.
func (p *planner) route(r Route, from, to int, weights []int) error {
	ways, _ := p.between(from, to)
	for w, way := range ways {
		end := p.Links[way.First].From
		l, ok := p.facts.Link(end.Node, end.Interface)
		if !ok || !l.B.Address.IsValid() {
			return fmt.Errorf("link at %s has no addresses: next hops of injected routes need them", end)
		}
		h := NextHop{Switch: l.B.Node, Interface: end.Interface, Address: l.B.Address.Addr(), Weight: 1}
		r.Before = append(r.Before, h)
		if h.Weight = weights[w]; h.Weight > 0 {
			r.After = append(r.After, h)
		}
	}
	same := func(o Route) bool { return o.Device == r.Device && o.Prefix == r.Prefix }
	p.out = append(slices.DeleteFunc(p.out, same), r)
	return nil
}

// auto adds what the optimiser steers, by VTEP.
func (p *planner) auto(r *Rules, traffic Traffic, s Settings) error {
	merged, _, err := traffic.Coloured(0, nil)
	if err != nil {
		return err
	}
	placed := merged.place(p.Routes, s.Seed)
	narrowed, free, parts := placed.narrow(r)
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
