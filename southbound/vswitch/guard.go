package vswitch

import (
	"hash/fnv"
	"maps"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// guard is what an edge needs for the policies of its ports: their numbers, and
// the bits by which addresses are known as members of the groups that their rules
// name. It follows from the ports alone, not from what was before: a controller
// that starts finds its flows right. It is immutable.
type guard struct {
	policies map[string]*overlay.Policy // by key
	numbers  map[string]uint32          // of the policies, from one on
	slots    map[uint32]uint8           // bit of each group that rules name
	in, out  groupBits                  // the bits that ingress and egress rules name
	reads    map[intent.VNI]uint32      // group of each table that is read
	crossed  bool                       // ACLs judge what some of the ports send
}

// groupBits are bits of the wide register in which a packet's other side is told
// by its groups.
type groupBits [2]uint64

// maxNamed is how many groups the rules of one edge may name.
const maxNamed = 128

func (b groupBits) with(slot uint8) groupBits {
	b[slot/64] |= 1 << (slot % 64)
	return b
}

func (b groupBits) without(slot uint8) groupBits {
	b[slot/64] &^= 1 << (slot % 64)
	return b
}

func (b groupBits) and(o groupBits) groupBits { return groupBits{b[0] & o[0], b[1] & o[1]} }
func (b groupBits) or(o groupBits) groupBits  { return groupBits{b[0] | o[0], b[1] | o[1]} }
func (b groupBits) not(o groupBits) groupBits { return groupBits{b[0] &^ o[0], b[1] &^ o[1]} }
func (b groupBits) empty() bool               { return b == groupBits{} }

// guardOf makes the guard of an edge's ports.
func guardOf(local map[intent.Ref]overlay.LocalPort) *guard {
	g := &guard{policies: map[string]*overlay.Policy{}, numbers: map[string]uint32{}, slots: map[uint32]uint8{}, reads: map[intent.VNI]uint32{}}
	for _, l := range local {
		if l.Policy != nil {
			g.policies[l.Policy.Key()] = l.Policy
			g.crossed = g.crossed || l.ACLs != nil
		}
	}
	if len(g.policies) == 0 {
		return g
	}
	g.numbers = numberKeys(slices.Sorted(maps.Keys(g.policies)))
	g.place()
	return g
}

// numberKeys gives each key the number that it hashes to, or the next that no key
// before it has. Keys are sorted.
func numberKeys(keys []string) map[string]uint32 {
	out, taken := make(map[string]uint32, len(keys)), map[uint32]bool{0: true}
	for _, key := range keys {
		h := fnv.New32a()
		_, _ = h.Write([]byte(key))
		n := h.Sum32()
		for taken[n] {
			n++
		}
		taken[n], out[key] = true, n
	}
	return out
}

// place gives each group that a rule names a bit: that of its number modulo 128, or
// the next that no group with a lower number has. Beyond 128 groups have none.
func (g *guard) place() {
	named := map[intent.Direction]map[uint32]bool{intent.Ingress: {}, intent.Egress: {}}
	all := map[uint32]bool{}
	for _, p := range g.policies {
		for d, ids := range named {
			for _, id := range p.Peers(d) {
				ids[id], all[id] = true, true
			}
		}
	}
	var taken groupBits
	for i, id := range slices.Sorted(maps.Keys(all)) {
		if i == maxNamed {
			break
		}
		slot := uint8(id % maxNamed)
		for !taken.and(groupBits{}.with(slot)).empty() {
			slot = (slot + 1) % maxNamed
		}
		taken = taken.with(slot)
		g.slots[id], g.reads[overlay.GroupTable(id)] = slot, id
		if named[intent.Ingress][id] {
			g.in = g.in.with(slot)
		}
		if named[intent.Egress][id] {
			g.out = g.out.with(slot)
		}
	}
}

// lacks lists the groups that a policy names and that have no bit here.
func (g *guard) lacks(p *overlay.Policy) (ids []uint32) {
	if p == nil {
		return nil
	}
	for _, r := range p.Rules {
		if _, ok := g.slots[r.Peer]; !ok && r.Peer != 0 {
			ids = append(ids, r.Peer)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// numberOf is the number of a port's policy.
func (g *guard) numberOf(l overlay.LocalPort) uint32 {
	if g == nil || l.Policy == nil {
		return 0
	}
	return g.numbers[l.Policy.Key()]
}

// flows are the flows of the guard but for those of ports and members: the states
// of connections, and the rules of each policy. An edge whose ports are in no
// group has none.
func (g *guard) flows() []openflow.Flow {
	if g == nil || len(g.policies) == 0 {
		return nil
	}
	fs := guardBase(g.crossed)
	for _, key := range slices.Sorted(maps.Keys(g.policies)) {
		fs = append(fs, g.policyFlows(key)...)
	}
	return fs
}

// policyFlows are the flows of a policy, each once.
func (g *guard) policyFlows(key string) []openflow.Flow {
	p := g.policies[key]
	fs := g.denials(g.numbers[key], p)
	seen := flowSet{}
	for _, r := range p.Rules {
		for _, f := range g.rule(g.numbers[key], r) {
			if _, ok := seen[keyOf(f)]; !ok {
				seen.add(f)
				fs = append(fs, f)
			}
		}
	}
	return fs
}

// sameRules reports whether a policy's flows are the same under two guards.
func sameRules(a, b *guard, key string) bool {
	p, q := a.policies[key], b.policies[key]
	if !p.Equal(q) || a.numbers[key] != b.numbers[key] {
		return false
	}
	for _, r := range q.Rules {
		x, xok := a.slots[r.Peer]
		y, yok := b.slots[r.Peer]
		if x != y || xok != yok {
			return false
		}
	}
	return true
}

// change has the device go from one guard's flows to another's: it costs the
// policies that changed.
func (g *guard) change(c *changes, next *guard) {
	var old, now []openflow.Flow
	had, has := g != nil && len(g.policies) > 0, len(next.policies) > 0
	if crossed := had && g.crossed; had != has || crossed != next.crossed {
		if had {
			old = guardBase(crossed)
		}
		if has {
			now = guardBase(next.crossed)
		}
	}
	if g != nil {
		for key := range g.policies {
			if next.policies[key] == nil || !sameRules(g, next, key) {
				old = append(old, g.policyFlows(key)...)
			}
		}
	}
	for key := range next.policies {
		if g == nil || g.policies[key] == nil || !sameRules(g, next, key) {
			now = append(now, next.policyFlows(key)...)
		}
	}
	c.replace(old, now)
}
