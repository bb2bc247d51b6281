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

// Border says what judges the packets that cross the borders of a network's
// subnets: those with one end in a subnet and the other not. It is immutable, and
// one for all ports of the network.
type Border struct {
	Subnets []BorderSubnet // all of the network, by prefix
	// Rest judges packets that a station forwards, with neither end in a subnet;
	// nil when nothing does.
	Rest *ACL
}

// BorderSubnet is a subnet and what judges at its border; nil when nothing does.
type BorderSubnet struct {
	Prefix netip.Prefix
	ACL    *ACL
}

// Equal reports whether two borders, or two nils, are the same.
func (b *Border) Equal(o *Border) bool {
	if b == o {
		return true
	}
	return b != nil && o != nil && b.Rest.Equal(o.Rest) &&
		slices.EqualFunc(b.Subnets, o.Subnets, func(x, y BorderSubnet) bool { return x.Prefix == y.Prefix && x.ACL.Equal(y.ACL) })
}

// ACLs are those of the border, each once.
func (b *Border) ACLs() []*ACL {
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

// borders are what the model knows of network ACLs.
type borders struct {
	acls   map[intent.Ref]*ACL
	judges map[intent.Ref]map[intent.Ref]struct{} // ACL -> networks that name it
	of     map[intent.Ref]*Border                 // by network; only those with ACLs
}

func newBorders() borders {
	return borders{acls: map[intent.Ref]*ACL{}, judges: map[intent.Ref]map[intent.Ref]struct{}{}, of: map[intent.Ref]*Border{}}
}

// setNetwork takes a network's ACLs in place of those that it had; either may be
// nil. The caller settles its ports.
func (b *borders) setNetwork(old, now *intent.Network) {
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

// compile makes the border of a network.
func (b *borders) compile(n *intent.Network) {
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
		if a := b.acls[ref]; a != nil {
			return a
		}
		return &ACL{Tenant: ref.Tenant, Name: ref.Name}
	}
	out := &Border{Rest: acl(netip.Prefix{})}
	for _, p := range n.Spec.Subnets {
		a := acl(p)
		if a == nil {
			a = out.Rest
		}
		out.Subnets = append(out.Subnets, BorderSubnet{p, a})
	}
	slices.SortFunc(out.Subnets, func(x, y BorderSubnet) int { return comparePrefixes(x.Prefix, y.Prefix) })
	if !out.Equal(b.of[n.Ref()]) {
		b.of[n.Ref()] = out
	}
}

// setACL takes an ACL, new or changed; nil when it is gone. The ports of the
// networks that name it are settled.
func (m *Model) setACL(ref intent.Ref, now *intent.NetworkACL) {
	b := &m.borders
	if now == nil {
		delete(b.acls, ref)
	} else {
		next := &ACL{Tenant: ref.Tenant, Name: ref.Name, Rules: now.Spec.Rules}
		if next.Equal(b.acls[ref]) {
			return
		}
		b.acls[ref] = next
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
	for n := range m.borders.judges[acl] {
		out = append(out, n)
	}
	slices.SortFunc(out, compareRefs)
	return out
}

// ACL is what edges have of an ACL; nil when the model does not know it.
func (m *Model) ACL(ref intent.Ref) *ACL { return m.borders.acls[ref] }
