package overlay

import (
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Policy is what the security groups of a port say together. It is immutable,
// and one for all ports of a tenant that are in the same groups.
type Policy struct {
	Tenant string
	Groups []PolicyGroup // by name
	Rules  []PolicyRule  // by group and index
	// Limited says that a group has an egress rule, so that what no rule
	// allows is not sent.
	Limited bool

	reads []intent.VNI // tables of the groups that rules name, sorted
}

// PolicyGroup is a group of the policy's ports. One that is not known yet has
// number zero, and no rules: it allows nothing.
type PolicyGroup struct {
	Name string
	ID   uint32
}

// PolicyRule is a rule and where it is from.
type PolicyRule struct {
	intent.SecurityRule
	From  string // the group whose rule it is
	Index int    // in that group's rules
	Peer  uint32 // number of the group that it names; 0 for none, or one that is not known
}

// Names says the policy's groups in words.
func (p *Policy) Names() string {
	names := make([]string, len(p.Groups))
	for i, g := range p.Groups {
		names[i] = g.Name
	}
	return strings.Join(names, ", ")
}

// Key identifies a policy among those of all tenants, whatever its rules.
func (p *Policy) Key() string { return p.Tenant + "/" + p.Names() }

// Equal reports whether two policies, or two nils, say the same.
func (p *Policy) Equal(q *Policy) bool {
	if p == q {
		return true
	}
	return p != nil && q != nil && p.Tenant == q.Tenant && p.Limited == q.Limited && slices.Equal(p.Groups, q.Groups) && slices.EqualFunc(p.Rules, q.Rules, PolicyRule.equal)
}

func (r PolicyRule) equal(o PolicyRule) bool {
	return r.From == o.From && r.Index == o.Index && r.Peer == o.Peer && sameRule(r.SecurityRule, o.SecurityRule)
}

func sameRule(a, b intent.SecurityRule) bool {
	same := func(a, b *uint8) bool { return a == b || a != nil && b != nil && *a == *b }
	return a.Direction == b.Direction && a.Protocol == b.Protocol && a.Ports == b.Ports && a.CIDR == b.CIDR && a.Group == b.Group &&
		same(a.ICMPType, b.ICMPType) && same(a.ICMPCode, b.ICMPCode)
}

// Peers are the numbers of the groups that rules of a direction name, sorted.
func (p *Policy) Peers(d intent.Direction) []uint32 {
	var out []uint32
	for _, r := range p.Rules {
		if r.Direction == d && r.Peer != 0 {
			out = append(out, r.Peer)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// security is what the model knows of security groups.
type security struct {
	groups   map[intent.Ref]*intent.SecurityGroup
	policies map[string]*Policy                     // by tenant and groups; those that ports have
	users    map[string]map[intent.Ref]struct{}     // the ports that have each
	within   map[intent.Ref]map[string]struct{}     // group -> policies that it is part of
	namedBy  map[intent.Ref]map[intent.Ref]struct{} // group -> groups whose rules name it
}

func newSecurity() security {
	return security{groups: map[intent.Ref]*intent.SecurityGroup{}, policies: map[string]*Policy{}, users: map[string]map[intent.Ref]struct{}{},
		within: map[intent.Ref]map[string]struct{}{}, namedBy: map[intent.Ref]map[intent.Ref]struct{}{}}
}

// groupsOf are the groups of a port, sorted, each once.
func groupsOf(p *intent.Port) []intent.Ref {
	gs := p.GroupRefs()
	slices.SortFunc(gs, compareRefs)
	return slices.Compact(gs)
}

func policyKey(tenant string, groups []intent.Ref) string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.Name
	}
	return tenant + "/" + strings.Join(names, ", ")
}

// usePolicy notes that a port has a policy, or with yes false that it has no more.
func (m *Model) usePolicy(p *intent.Port, yes bool) {
	if len(p.Spec.SecurityGroups) == 0 {
		return
	}
	groups := groupsOf(p)
	s, key := &m.security, policyKey(p.Metadata.Tenant, groups)
	if yes {
		if s.users[key] == nil {
			s.users[key] = map[intent.Ref]struct{}{}
			s.policies[key] = s.compile(p.Metadata.Tenant, groups)
		}
		s.users[key][p.Ref()] = struct{}{}
		for _, g := range groups {
			add(s.within, g, key)
		}
		return
	}
	if delete(s.users[key], p.Ref()); len(s.users[key]) == 0 {
		delete(s.users, key)
		delete(s.policies, key)
		for _, g := range groups {
			remove(s.within, g, key)
		}
	}
}

// policyOf is the policy of a port; nil when it is in no group.
func (m *Model) policyOf(p *intent.Port) *Policy {
	if len(p.Spec.SecurityGroups) == 0 {
		return nil
	}
	return m.security.policies[policyKey(p.Metadata.Tenant, groupsOf(p))]
}

// compile makes the policy of groups, which are sorted.
func (s *security) compile(tenant string, groups []intent.Ref) *Policy {
	p := &Policy{Tenant: tenant}
	for _, ref := range groups {
		g := s.groups[ref]
		if g == nil {
			p.Groups = append(p.Groups, PolicyGroup{Name: ref.Name})
			continue
		}
		p.Groups = append(p.Groups, PolicyGroup{ref.Name, g.Spec.ID})
		for i, r := range g.Spec.Rules {
			rule := PolicyRule{SecurityRule: r, From: ref.Name, Index: i}
			if peer := s.groups[g.GroupRef(r)]; r.Group != "" && peer != nil && peer.Spec.ID != 0 {
				rule.Peer = peer.Spec.ID
				p.reads = append(p.reads, GroupTable(rule.Peer))
			}
			p.Limited = p.Limited || r.Direction == intent.Egress
			p.Rules = append(p.Rules, rule)
		}
	}
	slices.Sort(p.reads)
	p.reads = slices.Compact(p.reads)
	return p
}

// setGroup takes a group, new or changed; nil when it is gone. The ports that are
// in it are settled, and those whose groups name it if its number is another.
func (m *Model) setGroup(ref intent.Ref, now *intent.SecurityGroup) {
	s := &m.security
	old := s.groups[ref]
	if old != nil {
		for _, r := range old.Spec.Rules {
			if r.Group != "" {
				remove(s.namedBy, old.GroupRef(r), ref)
			}
		}
	}
	if now == nil {
		delete(s.groups, ref)
	} else {
		s.groups[ref] = now
		for _, r := range now.Spec.Rules {
			if r.Group != "" {
				add(s.namedBy, now.GroupRef(r), ref)
			}
		}
	}
	concerned := map[string]struct{}{}
	note := func(g intent.Ref) {
		for key := range s.within[g] {
			concerned[key] = struct{}{}
		}
	}
	note(ref)
	if (old == nil) != (now == nil) || old != nil && old.Spec.ID != now.Spec.ID {
		for g := range s.namedBy[ref] {
			note(g)
		}
	}
	for key := range concerned {
		was := s.policies[key]
		groups := make([]intent.Ref, len(was.Groups))
		for i, g := range was.Groups {
			groups[i] = intent.Ref{Kind: intent.KindSecurityGroup, Tenant: was.Tenant, Name: g.Name}
		}
		if next := s.compile(was.Tenant, groups); !next.Equal(was) {
			s.policies[key] = next
			m.settleAll(s.users[key])
		}
	}
}

// domainOf is the number under which a network's addresses are known to policies:
// the L3VNI of its router, since what comes by that has addresses of several
// networks, else its VNI. Equal addresses of two networks without a common router
// are two stations.
func (m *Model) domainOf(n *intent.Network) intent.VNI {
	if r := m.routerOf(n.Ref()); r != nil {
		return r.spec.Spec.VNI
	}
	return n.Spec.VNI
}

// memberOf is a row of a group's table.
type memberOf struct {
	table intent.VNI
	key   evpn.Key
}

// memberships are the rows that an attached port originates in the tables of its
// groups: one for each group and address.
func memberships(a Attachment) []memberOf {
	if a.Policy == nil {
		return nil
	}
	out := make([]memberOf, 0, len(a.Policy.Groups)*len(a.Addresses))
	for _, g := range a.Policy.Groups {
		if g.ID == 0 {
			continue
		}
		for _, ip := range a.Addresses {
			out = append(out, memberOf{GroupTable(g.ID), evpn.MemberKey(a.Domain, ip)})
		}
	}
	return out
}

// settleMembers brings a port's rows in the tables of groups from what the old
// attachment originated to what the new one does. A port that moves keeps its
// rows: they say nothing of places.
func (m *Model) settleMembers(r intent.Ref, old Attachment, had bool, now Attachment, has bool) {
	var was, is []memberOf
	if had {
		was = memberships(old)
	}
	if has {
		is = memberships(now)
	}
	if len(was)+len(is) == 0 {
		return
	}
	src := memberSource(r)
	for _, k := range is {
		if !slices.Contains(was, k) && m.segment(k.table).Set(k.key, evpn.Path{Source: src}) {
			m.touchedVNIs[k.table] = struct{}{}
		}
	}
	for _, k := range was {
		if !slices.Contains(is, k) && m.segment(k.table).Withdraw(k.key, src) {
			m.touchedVNIs[k.table] = struct{}{}
		}
	}
}

// memberSource names a port as the source of its memberships: two ports that have
// one address are two.
func memberSource(r intent.Ref) evpn.Source { return evpn.Source(r.Tenant + "/" + r.Name) }

// Memberships lists the tables and rows by which others know an attached port as a
// member of its groups.
func Memberships(a Attachment) (tables []intent.VNI, keys []evpn.Key) {
	for _, k := range memberships(a) {
		tables, keys = append(tables, k.table), append(keys, k.key)
	}
	return tables, keys
}

func add[K, V comparable](m map[K]map[V]struct{}, k K, v V) {
	if m[k] == nil {
		m[k] = map[V]struct{}{}
	}
	m[k][v] = struct{}{}
}

func remove[K, V comparable](m map[K]map[V]struct{}, k K, v V) {
	if delete(m[k], v); len(m[k]) == 0 {
		delete(m, k)
	}
}
