package overlay

import (
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// ACL is a NetworkACL as edges have it. It is immutable, and one for all networks
// that name it. One that is not known yet has no rules: it allows nothing.
type ACL struct {
	Tenant, Name string
	Rules        []intent.ACLRule
}

// Key identifies an ACL among those of all tenants, whatever its rules.
func (a *ACL) Key() string { return a.Tenant + "/" + a.Name }

// Equal reports whether two ACLs, or two nils, say the same.
func (a *ACL) Equal(b *ACL) bool {
	if a == b {
		return true
	}
	return a != nil && b != nil && a.Tenant == b.Tenant && a.Name == b.Name && slices.EqualFunc(a.Rules, b.Rules, intent.ACLRule.Equal)
}

// NetworkACLs say what judges the packets that cross the borders of a network's
// subnets: those with one end in a subnet and the other not. It is immutable, and
// one for all ports of the network.
type NetworkACLs struct {
	Subnets []ACLSubnet // all of the network, by prefix
	// Rest judges packets that a station forwards, with neither end in a subnet;
	// nil when nothing does.
	Rest *ACL
}

// ACLSubnet is a subnet and what judges at its border; nil when nothing does.
type ACLSubnet struct {
	Prefix netip.Prefix
	ACL    *ACL
}

// Equal reports whether two are the same, or both nil.
func (b *NetworkACLs) Equal(o *NetworkACLs) bool {
	if b == o {
		return true
	}
	return b != nil && o != nil && b.Rest.Equal(o.Rest) &&
		slices.EqualFunc(b.Subnets, o.Subnets, func(x, y ACLSubnet) bool { return x.Prefix == y.Prefix && x.ACL.Equal(y.ACL) })
}

// All lists them, each once.
func (b *NetworkACLs) All() []*ACL {
	if b == nil {
		return nil
	}
	var out []*ACL
	note := func(a *ACL) {
		if a != nil && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	note(b.Rest)
	for _, s := range b.Subnets {
		note(s.ACL)
	}
	return out
}

// acls are what the model knows of network ACLs.
type acls struct {
	known  map[intent.Ref]*ACL
	judges map[intent.Ref]map[intent.Ref]struct{} // ACL -> networks that name it
	of     map[intent.Ref]*NetworkACLs            // by network; only those with ACLs
}

func newACLs() acls {
	return acls{known: map[intent.Ref]*ACL{}, judges: map[intent.Ref]map[intent.Ref]struct{}{}, of: map[intent.Ref]*NetworkACLs{}}
}

// setNetwork takes a network's ACLs in place of those that it had; either may be
// nil. The caller settles its ports.
func (b *acls) setNetwork(old, now *intent.Network) {
	if old != nil {
		for _, a := range old.ACLRefs() {
			remove(b.judges, a, old.Ref())
		}
	}
	if now == nil {
		if old != nil {
			delete(b.of, old.Ref())
		}
		return
	}
	for _, a := range now.ACLRefs() {
		add(b.judges, a, now.Ref())
	}
	b.compile(now)
}

// compile makes those of a network.
func (b *acls) compile(n *intent.Network) {
	if len(n.Spec.ACLs) == 0 {
		delete(b.of, n.Ref())
		return
	}
	acl := func(subnet netip.Prefix) *ACL {
		i := slices.IndexFunc(n.Spec.ACLs, func(s intent.SubnetACL) bool { return s.Subnet == subnet })
		if i < 0 {
			return nil
		}
		ref := n.ACLRef(n.Spec.ACLs[i])
		if a := b.known[ref]; a != nil {
			return a
		}
		return &ACL{Tenant: ref.Tenant, Name: ref.Name}
	}
	out := &NetworkACLs{Rest: acl(netip.Prefix{})}
	for _, p := range n.Spec.Subnets {
		a := acl(p)
		if a == nil {
			a = out.Rest
		}
		out.Subnets = append(out.Subnets, ACLSubnet{p, a})
	}
	slices.SortFunc(out.Subnets, func(x, y ACLSubnet) int { return comparePrefixes(x.Prefix, y.Prefix) })
	if !out.Equal(b.of[n.Ref()]) {
		b.of[n.Ref()] = out
	}
}

// setACL takes an ACL, new or changed; nil when it is gone. The ports of the
// networks that name it are settled.
func (m *Model) setACL(ref intent.Ref, now *intent.NetworkACL) {
	b := &m.acls
	if now == nil {
		delete(b.known, ref)
	} else {
		next := &ACL{Tenant: ref.Tenant, Name: ref.Name, Rules: now.Spec.Rules}
		if next.Equal(b.known[ref]) {
			return
		}
		b.known[ref] = next
	}
	for n := range b.judges[ref] {
		if o := m.networks[n]; o != nil {
			b.compile(o)
			m.settleAll(m.portsOf[n])
		}
	}
}

// JudgedBy lists the networks that name an ACL, by name.
func (m *Model) JudgedBy(acl intent.Ref) []intent.Ref {
	var out []intent.Ref
	for n := range m.acls.judges[acl] {
		out = append(out, n)
	}
	slices.SortFunc(out, compareRefs)
	return out
}

// ACL is what edges have of an ACL; nil when the model does not know it.
func (m *Model) ACL(ref intent.Ref) *ACL { return m.acls.known[ref] }
