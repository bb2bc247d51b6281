package steering

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/fabric"
)

// ColourScope is whose traffic has a colour: a tenant's, or with Network set that of
// one of its networks.
//
// A colour is an address of each VTEP besides its own (intent.NodeSpec.Colours, colour
// 1 first). Traffic that is sent to it has a destination of its own in the underlay,
// and so routes of its own: that is how policies tell tenants apart.
type ColourScope struct{ Tenant, Network string }

// String is "tenant blue" or "network blue/web".
func (s ColourScope) String() string {
	if s.Network != "" {
		return "network " + s.Tenant + "/" + s.Network
	}
	return "tenant " + s.Tenant
}

func compareScopes(a, b ColourScope) int {
	return cmp.Or(fabric.Natural(a.Tenant, b.Tenant), fabric.Natural(a.Network, b.Network))
}

// Colours says which scope has which colour, from 1.
type Colours map[ColourScope]int

// scopes are those with a colour, in natural order.
func (c Colours) scopes() []ColourScope {
	var out []ColourScope
	for s := range c {
		out = append(out, s)
	}
	slices.SortFunc(out, compareScopes)
	return out
}

// tenants are those with a colour for all of their networks, in natural order.
func (c Colours) tenants() []string {
	var out []string
	for _, s := range c.scopes() {
		if s.Network == "" {
			out = append(out, s.Tenant)
		}
	}
	return out
}

// colourOf is the scope of a policy that takes a colour; ok is false when the policy is
// about everybody's traffic.
func colourOf(s Scope) (c ColourScope, ok bool) {
	return ColourScope{s.Tenant, s.Network}, s.Tenant != ""
}

// Colours gives the scopes of policies their colours, of those that a fabric's nodes
// state: in the order in which the policies were made each takes the one that its name
// hashes to, or the next that is free. So most keep theirs when others come and go, and
// the policies alone decide. Policies for which none is left are errors, by name.
func (r *Rules) Colours(f *fabric.Facts) (Colours, map[string]error) {
	count := colourCount(f)
	policies := r.Policies()
	slices.SortStableFunc(policies, func(a, b Policy) int {
		return cmp.Or(a.Created.Compare(b.Created), fabric.Natural(a.Name, b.Name))
	})
	out, errs := Colours{}, map[string]error{}
	taken := make([]bool, count)
	for _, p := range policies {
		s, ok := colourOf(p.Spec.Scope)
		if !ok || out[s] > 0 {
			continue
		}
		if len(out) == count {
			errs[p.Name] = noColour(out, count)
			continue
		}
		k := s.wishedFor(count)
		for taken[k] {
			k = (k + 1) % count
		}
		taken[k], out[s] = true, k+1
	}
	named := r.Tenants()
	for _, tenant := range slices.SortedFunc(maps.Keys(r.given), fabric.Natural) {
		if k := r.given[tenant]; k > 0 && k <= count && !taken[k-1] && !slices.Contains(named, tenant) {
			taken[k-1], out[ColourScope{Tenant: tenant}] = true, k
		}
	}
	return out, errs
}

// Give is the rules with colours that the controller gave tenants by itself, from 1. What
// policies name comes first: a given colour that a policy needs, and that of a tenant for
// which there is a policy now, is given no more.
func (r *Rules) Give(given map[string]int) *Rules {
	out := *r
	out.given = given
	return &out
}

// colourCount is how many colours a fabric's nodes state.
func colourCount(f *fabric.Facts) int {
	count := 0
	for _, n := range f.Nodes {
		count = max(count, len(n.Colours))
	}
	return count
}

// wishedFor is the colour from 0 that a scope's name hashes to.
func (s ColourScope) wishedFor(count int) int {
	h := fnv.New32a()
	h.Write([]byte(s.Tenant + "/" + s.Network))
	return int(h.Sum32() % uint32(count))
}

// spare is the colour that a tenant without one would be given, of count: the one that its
// name hashes to, or the next that is free; zero when all are used.
func (c Colours) spare(tenant string, count int) int {
	if len(c) >= count {
		return 0
	}
	taken := make([]bool, count)
	for _, k := range c {
		taken[k-1] = true
	}
	k := ColourScope{Tenant: tenant}.wishedFor(count)
	for taken[k] {
		k = (k + 1) % count
	}
	return k + 1
}

func noColour(used Colours, count int) error {
	if count == 0 {
		return fmt.Errorf("a route does not tell tenants apart, and no node states further addresses of its VTEP: give the fabric colours (spec.colours of Fabric and of the nodes)")
	}
	var words []string
	for _, s := range used.scopes() {
		words = append(words, s.String())
	}
	return fmt.Errorf("no colour is left: %d of %d are used by %s", len(used), count, strings.Join(words, ", "))
}

// coloured is the address of a node in a colour; not valid when it states none.
func coloured(n fabric.Node, colour int) netip.Addr {
	if colour == 0 {
		return n.VTEP
	}
	if len(n.Colours) < colour {
		return netip.Addr{}
	}
	return n.Colours[colour-1]
}

// prefixes are those that lead to a leaf and what is behind it, in a colour or with 0 to
// the VTEPs' own addresses: the leaf's VTEP and the rack's prefix, of which each colour has
// one of the same length; and the hosts that are in neither.
func (p *planner) prefixes(leaf int, colour int) []netip.Prefix {
	of := coloursOf{leaf, colour}
	if out, ok := p.leads[of]; ok {
		return out
	}
	var out []netip.Prefix
	n, ok := p.facts.Node(p.names[leaf])
	if own := coloured(n, colour); ok && own.IsValid() {
		rack := n.Rack
		if colour == 0 {
			out = append(out, netip.PrefixFrom(own, own.BitLen()))
		} else if rack.IsValid() {
			rack = netip.PrefixFrom(own, rack.Bits()).Masked()
		}
		if rack.IsValid() {
			out = append(out, rack)
		} else if colour > 0 {
			out = append(out, netip.PrefixFrom(own, own.BitLen()))
		}
	}
	var hosts []netip.Prefix
	for name, at := range p.leaf {
		n, ok := p.facts.Node(name)
		a := coloured(n, colour)
		if ok && at == leaf && a.IsValid() && !slices.ContainsFunc(out, func(p netip.Prefix) bool { return p.Contains(a) }) {
			hosts = append(hosts, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	slices.SortFunc(hosts, netip.Prefix.Compare)
	p.leads[of] = append(out, slices.Compact(hosts)...)
	return p.leads[of]
}
