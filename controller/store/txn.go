package store

import (
	"cmp"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// unit is what must be written by one transaction: one object, or new groups
// that name each other.
type unit []item

// units cuts items into units, what is named before what names it: the strongly
// connected components of new groups (R. Tarjan, 1972), which come out in that
// order.
func units(items []item) []unit {
	c := components{items: items, of: make(map[intent.Ref]int, len(items)), low: make([]int, len(items))}
	for i, it := range items {
		c.of[it.write.want.Ref()] = i
	}
	for i := range items {
		if c.low[i] == 0 {
			c.visit(i)
		}
	}
	return c.out
}

type components struct {
	items []item
	of    map[intent.Ref]int
	low   []int // 0 before a visit, afterwards as in Tarjan's, counted from 1
	count int
	stack []int
	out   []unit
}

// done is above every low.
const done = int(^uint(0) >> 1)

func (c *components) visit(i int) {
	c.count++
	at := c.count
	c.low[i] = at
	c.stack = append(c.stack, i)
	for _, r := range c.items[i].write.needs {
		j, ok := c.of[r]
		if !ok {
			continue // it was refused: the transaction finds that it is not there
		}
		if c.low[j] == 0 {
			c.visit(j)
		}
		c.low[i] = min(c.low[i], c.low[j])
	}
	if c.low[i] != at {
		return
	}
	var u unit
	for {
		j := c.stack[len(c.stack)-1]
		c.stack = c.stack[:len(c.stack)-1]
		c.low[j] = done
		u = append(u, c.items[j])
		if j == i {
			slices.SortFunc(u, func(a, b item) int { return cmp.Compare(a.at, b.at) })
			c.out = append(c.out, u)
			return
		}
	}
}

// txn joins plans.
type txn struct {
	cmps  []clientv3.Cmp
	puts  []clientv3.Op
	bytes int
	keys  map[string]bool // that are written
	deps  map[string]bool // that are compared for several
	wide  []*clientv3.Cmp // of these, those of all keys under a prefix
}

// depKey tells comparisons apart that are of one key.
func depKey(c *clientv3.Cmp) string { return string(rune(c.Target)) + string(c.Key) }

// depends reports whether a comparison needs a key as it was before the
// transaction; one that only needs it to exist is content with its being written.
func depends(c *clientv3.Cmp) bool { return c.Target != etcdserverpb.Compare_CREATE }

// covers reports whether a comparison is of a range in which a key is.
func covers(c *clientv3.Cmp, key string) bool {
	return len(c.RangeEnd) > 0 && string(c.Key) <= key && key < string(c.RangeEnd)
}

// writes reports whether any key is written that a comparison covers.
func (t *txn) writes(c *clientv3.Cmp) bool {
	if len(c.RangeEnd) == 0 {
		return false
	}
	for key := range t.keys {
		if covers(c, key) {
			return true
		}
	}
	return false
}

// fits reports whether a unit can be added.
func (t *txn) fits(u unit, most int) bool {
	size, cmps, puts := t.bytes, len(t.cmps), len(t.puts)
	for _, it := range u {
		cmps, puts = cmps+len(it.plan.own), puts+len(it.plan.puts)
		for _, o := range it.plan.puts {
			key := string(o.KeyBytes())
			if t.keys[key] {
				return false // both claim it: the second one is refused when the first is there
			}
			if t.deps[string(rune(etcdserverpb.Compare_MOD))+key] || slices.ContainsFunc(t.wide, func(c *clientv3.Cmp) bool { return covers(c, key) }) {
				return false // it changes what another one was checked against
			}
			size += len(key) + len(o.ValueBytes())
		}
		for i := range it.plan.deps {
			dep := &it.plan.deps[i]
			if depends(dep) && (t.keys[string(dep.Key)] || t.writes(dep)) {
				return false
			}
			if !t.deps[depKey(dep)] {
				cmps++
			}
		}
	}
	return cmps <= most && puts <= most && size <= maxBytes
}

func (t *txn) add(u unit) {
	if t.keys == nil {
		t.keys, t.deps = map[string]bool{}, map[string]bool{}
	}
	for _, it := range u {
		t.cmps, t.puts = append(t.cmps, it.plan.own...), append(t.puts, it.plan.puts...)
		for _, o := range it.plan.puts {
			t.keys[string(o.KeyBytes())] = true
			t.bytes += len(o.KeyBytes()) + len(o.ValueBytes())
		}
	}
	for _, it := range u {
		for i := range it.plan.deps {
			dep := &it.plan.deps[i]
			if k := depKey(dep); !t.deps[k] && (depends(dep) || !t.keys[string(dep.Key)]) {
				t.deps[k] = true
				if len(dep.RangeEnd) > 0 {
					t.wide = append(t.wide, dep)
				}
				t.cmps = append(t.cmps, *dep)
			}
		}
	}
}
