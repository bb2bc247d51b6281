package store

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// Written is what PutAll did with one object.
type Written struct {
	PutResult
	Err error // as of Put
}

// maxBytes of one transaction, below etcd's default limit of 1.5 MiB.
const maxBytes = 1 << 20

// PutAll writes objects as Put does each, but many by one transaction; one that
// is refused does not hold back the others. What is named is written before what
// names it; of two objects of the same name the latter is written last. The
// results are in the order of the objects. The transactions are cut as etcd's
// limits ask for, so an import that is cut short is there in part: run it again.
func (s *Store) PutAll(ctx context.Context, objects []intent.Object, dryRun bool) []Written {
	b := &bulk{s: s, ctx: ctx, objects: objects, out: make([]Written, len(objects)), dry: dryRun,
		opt:   func(int) PutOptions { return PutOptions{DryRun: dryRun} },
		retry: func(i int) (PutResult, error) { return s.putAlone(ctx, objects[i], PutOptions{DryRun: dryRun}) }}
	b.run()
	return b.out
}

// bulk writes many objects.
type bulk struct {
	s       *Store
	ctx     context.Context
	objects []intent.Object
	out     []Written
	dry     bool                           // all are only checked
	opt     func(i int) PutOptions         // of each; all dry or none
	retry   func(i int) (PutResult, error) // when one lost a race
}

// run writes all, what is named before what names it.
func (b *bulk) run() {
	objects := b.objects
	order, rank := make([]int, len(objects)), map[intent.Kind]int{}
	for i, k := range intent.Kinds() {
		rank[k] = i
	}
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(rank[objects[i].Ref().Kind], rank[objects[j].Ref().Kind]) })
	for len(order) > 0 {
		n, refs := b.batch(order)
		b.write(order[:n], refs)
		order = order[n:]
	}
}

// batch is how many objects can be read together: of one kind, so that none
// names another, none twice, and as many keys as one transaction may read.
func (b *bulk) batch(order []int) (int, []intent.Ref) {
	var refs []intent.Ref
	own, seen := map[intent.Ref]bool{}, map[intent.Ref]bool{}
	for n, i := range order {
		o := b.objects[i]
		if own[o.Ref()] || o.Ref().Kind != b.objects[order[0]].Ref().Kind {
			return n, refs
		}
		add := slices.DeleteFunc(mentions(o), func(r intent.Ref) bool { return seen[r] })
		if n > 0 && len(refs)+len(add) > b.s.maxOps {
			return n, refs
		}
		own[o.Ref()] = true
		for _, r := range add {
			if !seen[r] {
				seen[r] = true
				refs = append(refs, r)
			}
		}
	}
	return len(order), refs
}

// item is an object with what is to be written of it.
type item struct {
	at    int // in objects
	write *write
	plan  *plan
}

// write writes a batch, by as few transactions as etcd's limits allow.
func (b *bulk) write(order []int, refs []intent.Ref) {
	have, rev, err := b.s.lookup(b.ctx, refs)
	if err != nil {
		for _, i := range order {
			b.out[i].Err = err
		}
		return
	}
	var (
		todo []item
		t    txn
	)
	for _, i := range order {
		it, ok := b.plan(i, have, rev)
		if !ok {
			continue
		}
		if len(todo) > 0 && !t.fits(it.plan, b.s.maxOps) {
			b.commit(todo, &t)
			todo, t = nil, txn{}
		}
		t.add(it.plan)
		todo = append(todo, it)
	}
	b.commit(todo, &t)
}

// plan prepares an object; ok is false when nothing is left to be written.
func (b *bulk) plan(i int, have map[intent.Ref]found, rev int64) (item, bool) {
	out := &b.out[i]
	if out.Err = valid(b.objects[i]); out.Err != nil {
		return item{}, false
	}
	want, err := clone(b.objects[i])
	if err != nil {
		out.Err = err
		return item{}, false
	}
	w := &write{s: b.s, want: want, opt: b.opt(i), taken: map[string]bool{}}
	if err = w.check(b.ctx, have, rev); err == nil {
		err = w.precondition(b.ctx)
	}
	var p *plan
	if err == nil {
		p, err = w.plan()
	}
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		b.alone(i, w)
	case err != nil:
		w.giveBack()
		out.Err = err
	case p == nil:
		out.PutResult = PutResult{Object: w.old}
	default:
		return item{i, w, p}, true
	}
	return item{}, false
}

// alone puts an object by itself, which finds out what stands against it.
func (b *bulk) alone(i int, w *write) {
	w.giveBack()
	b.out[i].PutResult, b.out[i].Err = b.retry(i)
}

// commit writes the items by one transaction, which is made anew when it is nil. When it does not succeed each half
// is tried, so that one object at fault costs few transactions more.
func (b *bulk) commit(items []item, t *txn) {
	switch len(items) {
	case 0:
		return
	case 1:
		it := items[0]
		b.out[it.at].PutResult, b.out[it.at].Err = it.write.commit(b.ctx, it.plan)
		if errors.Is(b.out[it.at].Err, errRaced) {
			b.alone(it.at, it.write)
		}
		return
	}
	if t == nil {
		t = &txn{}
		for _, it := range items {
			t.add(it.plan)
		}
	}
	if b.dry {
		t.puts = nil
	}
	r, err := b.s.client.Txn(b.ctx).If(t.cmps...).Then(t.puts...).Commit()
	switch {
	case tooLarge(err), err == nil && !r.Succeeded:
		b.commit(items[:len(items)/2], nil)
		b.commit(items[len(items)/2:], nil)
	case err != nil:
		err = wrong(err)
		for _, it := range items {
			b.out[it.at].Err = err
		}
	default:
		for _, it := range items {
			b.out[it.at].PutResult = it.write.wrote(r.Header.Revision)
		}
	}
}

// tooLarge reports whether a transaction was refused for its size.
func tooLarge(err error) bool {
	return errors.Is(err, rpctypes.ErrTooManyOps) || errors.Is(err, rpctypes.ErrRequestTooLarge)
}

// txn joins plans.
type txn struct {
	cmps  []clientv3.Cmp
	puts  []clientv3.Op
	bytes int
	keys  map[string]bool // that are written
	deps  map[string]bool // that are compared for several
}

// depKey tells comparisons apart that are of one key.
func depKey(c *clientv3.Cmp) string { return string(rune(c.Target)) + string(c.Key) }

// fits reports whether a plan can be added.
func (t *txn) fits(p *plan, most int) bool {
	size, cmps := t.bytes, len(t.cmps)+len(p.own)
	for _, o := range p.puts {
		if t.keys[string(o.KeyBytes())] {
			return false // both claim it: the second one is refused when the first is there
		}
		size += len(o.KeyBytes()) + len(o.ValueBytes())
	}
	for i := range p.deps {
		if !t.deps[depKey(&p.deps[i])] {
			cmps++
		}
	}
	return cmps <= most && len(t.puts)+len(p.puts) <= most && size <= maxBytes
}

func (t *txn) add(p *plan) {
	if t.keys == nil {
		t.keys, t.deps = map[string]bool{}, map[string]bool{}
	}
	t.cmps, t.puts = append(t.cmps, p.own...), append(t.puts, p.puts...)
	for _, o := range p.puts {
		t.keys[string(o.KeyBytes())] = true
		t.bytes += len(o.KeyBytes()) + len(o.ValueBytes())
	}
	for i := range p.deps {
		if k := depKey(&p.deps[i]); !t.deps[k] {
			t.deps[k] = true
			t.cmps = append(t.cmps, p.deps[i])
		}
	}
}
