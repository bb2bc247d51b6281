package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	for i := range b.out {
		if b.out[i].Err == nil && !dryRun {
			b.out[i].Err = s.settleSources(ctx, b.out[i].Object)
		}
	}
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
	races   int                            // that were lost by groups that name each other
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
	b.all(order)
}

// batch is how many objects can be read together: of one kind, so that none
// names another, none twice, and as many keys as one transaction may read. Only
// groups may name each other: those of the request are all read together.
func (b *bulk) batch(order []int) (int, []intent.Ref) {
	var refs []intent.Ref
	own, seen := map[intent.Ref]bool{}, map[intent.Ref]bool{}
	for n, i := range order {
		o := b.objects[i]
		// Steering policies are checked against each other: one at a time.
		alone := n > 0 && o.Ref().Kind == intent.KindSteeringPolicy
		if alone || own[o.Ref()] || o.Ref().Kind != b.objects[order[0]].Ref().Kind {
			return n, refs
		}
		add := slices.DeleteFunc(mentions(o), func(r intent.Ref) bool { return seen[r] })
		if n > 0 && len(refs)+len(add) > b.s.maxOps && o.Ref().Kind != intent.KindSecurityGroup {
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
	beside := map[intent.Ref]bool{}
	for _, i := range order {
		if r := b.objects[i].Ref(); r.Kind == intent.KindSecurityGroup {
			beside[r] = true
		}
	}
	var items []item
	for _, i := range order {
		if it, ok := b.plan(i, have, rev, beside); ok {
			items = append(items, it)
		}
	}
	var (
		todo []unit
		t    txn
	)
	for _, u := range units(items) {
		if len(todo) > 0 && !t.fits(u, b.s.maxOps) {
			b.commit(todo, &t)
			todo, t = nil, txn{}
		}
		t.add(u)
		todo = append(todo, u)
	}
	b.commit(todo, &t)
}

// plan prepares an object; ok is false when nothing is left to be written.
// Beside are the groups that are written with it.
func (b *bulk) plan(i int, have map[intent.Ref]found, rev int64, beside map[intent.Ref]bool) (item, bool) {
	out := &b.out[i]
	if out.Err = valid(b.objects[i]); out.Err != nil {
		return item{}, false
	}
	want, err := clone(b.objects[i])
	if err != nil {
		out.Err = err
		return item{}, false
	}
	w := &write{s: b.s, want: want, opt: b.opt(i), taken: map[string]bool{}, beside: beside}
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

// commit writes the units by one transaction, which is made anew when it is nil.
// When it does not succeed each half is tried, so that one object at fault costs
// few transactions more.
func (b *bulk) commit(units []unit, t *txn) {
	switch {
	case len(units) == 0:
		return
	case len(units) == 1 && len(units[0]) == 1:
		it := units[0][0]
		b.out[it.at].PutResult, b.out[it.at].Err = it.write.commit(b.ctx, it.plan)
		if errors.Is(b.out[it.at].Err, errRaced) {
			b.alone(it.at, it.write)
		}
		return
	case len(units) == 1:
		b.together(units[0])
		return
	}
	if t == nil {
		t = &txn{}
		for _, u := range units {
			t.add(u)
		}
	}
	if b.dry {
		t.puts = nil
	}
	r, err := b.s.client.Txn(b.ctx).If(t.cmps...).Then(b.s.stamped(t.puts)...).Commit()
	switch {
	case tooLarge(err), err == nil && !r.Succeeded:
		b.commit(units[:len(units)/2], nil)
		b.commit(units[len(units)/2:], nil)
	case err != nil:
		err = wrong(err)
		for _, u := range units {
			b.fail(u, err)
		}
	default:
		for _, u := range units {
			b.wrote(u, r.Header.Revision)
		}
	}
}

// tooLarge reports whether a transaction was refused for its size.
func tooLarge(err error) bool {
	return errors.Is(err, rpctypes.ErrTooManyOps) || errors.Is(err, rpctypes.ErrRequestTooLarge)
}

func (b *bulk) fail(u unit, err error) {
	for _, it := range u {
		b.out[it.at].Err = err
	}
}

func (b *bulk) wrote(u unit, rev int64) {
	for _, it := range u {
		b.out[it.at].PutResult = it.write.wrote(rev)
	}
}

// together writes groups that name each other by one transaction. After a lost
// race what is left of them is read again; a group whose values another object
// has is refused, and then those that name it are.
func (b *bulk) together(u unit) {
	var t txn
	t.add(u)
	if n := max(len(t.puts), len(t.cmps)); n > b.s.maxOps {
		for _, it := range u {
			f := intent.NewFaults(it.write.want.Ref())
			f.Add("spec.rules", "name groups that name this one: %d new groups do, and one transaction of etcd takes %d keys: write them without these rules first", len(u), b.s.maxOps)
			it.write.giveBack()
			b.out[it.at].Err = f.Err()
		}
		return
	}
	if again, ok := b.rivals(u); ok {
		b.races++
		b.all(again)
		return
	}
	var look []clientv3.Op
	for _, it := range u {
		for _, c := range it.plan.fresh {
			look = append(look, clientv3.OpGet(c.key))
		}
	}
	if b.dry {
		t.puts = nil
	}
	r, err := b.s.client.Txn(b.ctx).If(t.cmps...).Then(b.s.stamped(t.puts)...).Else(look...).Commit()
	if err != nil {
		b.fail(u, wrong(err))
		return
	}
	if r.Succeeded {
		b.wrote(u, r.Header.Revision)
		return
	}
	var again []int
	responses := r.Responses
	for _, it := range u {
		n := len(it.plan.fresh)
		if err := it.write.lost(it.plan.fresh, responses[:n]); !errors.Is(err, errRaced) {
			b.out[it.at].Err = err
		} else {
			again = append(again, it.at)
		}
		responses = responses[n:]
	}
	if b.races++; b.races > maxRaces {
		b.fail(u, fmt.Errorf("write %s: %w", u[0].write.want.Ref(), ErrBusy))
		return
	}
	b.all(again)
}

// rivals settles which of several groups of a unit has a number that more than
// one of them claims. It tells whether there are such, and which are to be read
// again: those that are not refused.
func (b *bulk) rivals(u unit) (again []int, found bool) {
	owner := map[string]item{}
	refused := map[int]bool{}
	for _, chosen := range []bool{false, true} { // what was asked for goes first
		for _, it := range u {
			for _, c := range it.plan.fresh {
				if _, mine := it.write.chosen[c.field]; mine != chosen {
					continue
				}
				first, taken := owner[c.key]
				if !taken {
					owner[c.key] = it
					continue
				}
				if found = true; !chosen {
					refused[it.at] = true
					b.out[it.at].Err = &ConflictError{Object: it.write.want.Ref(), Field: c.field, Value: c.value, Owner: first.write.want.Ref()}
				}
			}
		}
	}
	for _, it := range u {
		if !refused[it.at] {
			again = append(again, it.at)
		}
	}
	return again, found
}

// all writes objects whose kinds are in order.
func (b *bulk) all(order []int) {
	for len(order) > 0 {
		n, refs := b.batch(order)
		b.write(order[:n], refs)
		order = order[n:]
	}
}
