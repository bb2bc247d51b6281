package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// PutOptions are conditions and manners of a Put.
type PutOptions struct {
	// IfMatch is the revision at which the object must be; 0 for any.
	IfMatch int64
	// IfAbsent requires that the object does not exist yet.
	IfAbsent bool
	// DryRun checks and allocates, and writes nothing.
	DryRun bool
}

// PutResult is what a Put stored.
type PutResult struct {
	Object  intent.Object // complete, with what was allocated
	Created bool          // it did not exist before
	Changed bool          // it was written; false when it was so already
}

// maxRaces bounds how often a write starts over; backoff grows to about 20 ms.
const maxRaces = 200

// maxAddresses of a port, so that moving one fits into etcd's 128 operations.
const maxAddresses = 48

// errRaced says that what was read has changed before the commit.
var errRaced = errors.New("raced")

// retry runs f until it returns anything but errRaced.
func retry(ctx context.Context, r intent.Ref, f func() error) error {
	for i := range maxRaces {
		err := f()
		if !errors.Is(err, errRaced) {
			return err
		}
		wait := rand.N(time.Duration(min(i+1, 20)) * time.Millisecond)
		select {
		case <-ctx.Done():
			return fmt.Errorf("write %s: %w", r, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
	return fmt.Errorf("write %s: %w", r, ErrBusy)
}

// Put writes an object whole. Fields that may be allocated and are left out
// keep their values, or get them. Status is dropped. The error is an
// intent.FieldErrors for a faulty object, a ConflictError, an ExhaustedError, a
// RevisionError, or one of the store itself. The object given is not changed.
func (s *Store) Put(ctx context.Context, o intent.Object, opt PutOptions) (PutResult, error) {
	if err := valid(o); err != nil {
		return PutResult{}, err
	}
	res, err := s.put(ctx, o, opt)
	if err == nil && !opt.DryRun {
		err = s.settleSources(ctx, res.Object)
	}
	return res, err
}

func (s *Store) put(ctx context.Context, o intent.Object, opt PutOptions) (PutResult, error) {
	if !opt.DryRun && o.Ref().Kind != intent.KindSteeringPolicy { // checked against each other
		if res, ok, err := s.putTogether(ctx, o, opt); ok {
			return res, err
		}
	}
	return s.putAlone(ctx, o, opt)
}

// putAlone is Put of a valid object by transactions of its own.
func (s *Store) putAlone(ctx context.Context, o intent.Object, opt PutOptions) (PutResult, error) {
	var (
		res   PutResult
		raced = map[string]bool{}
	)
	err := retry(ctx, o.Ref(), func() error {
		want, err := clone(o)
		if err != nil {
			return err
		}
		w := &write{s: s, want: want, opt: opt, raced: len(raced) > 1, taken: raced}
		res, err = w.run(ctx)
		return err
	})
	if err != nil {
		return PutResult{}, err
	}
	return res, nil
}

// valid checks an object alone.
func valid(o intent.Object) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if p, ok := o.(*intent.Port); ok && len(p.Spec.Addresses) > maxAddresses {
		f := intent.NewFaults(o.Ref())
		f.Add("spec.addresses", "has %d addresses: a port may have %d", len(p.Spec.Addresses), maxAddresses)
		return f.Err()
	}
	return nil
}

// write is one attempt at a Put.
type write struct {
	s    *Store
	want intent.Object
	old  intent.Object // nil when there is none
	bad  *Broken       // what is there instead, when it can't be read
	opt  PutOptions
	rev  int64           // at which was read
	left map[string]bool // keys that the broken object holds

	raced  bool            // chosen values were taken: choose at random
	taken  map[string]bool // keys of claims that were, over all attempts
	chosen map[string]func()
	deps   []clientv3.Cmp

	gateways []claim  // of the router that is written, or that the network is on
	held     []string // keys of those that it has now

	touch []claim // keys that are written anew, so that others notice

	beside map[intent.Ref]bool // groups that are written together with this one
	needs  []intent.Ref        // those of them that don't exist yet and that it names
}

// chose notes that a field's value was chosen here, and how to give it back.
func (w *write) chose(field string, giveBack func()) {
	if w.chosen == nil {
		w.chosen = map[string]func(){}
	}
	w.chosen[field] = giveBack
}

func (w *write) giveBack() {
	for _, f := range w.chosen {
		f()
	}
}

func (w *write) run(ctx context.Context) (PutResult, error) {
	if err := w.prepare(ctx); err != nil {
		w.giveBack()
		return PutResult{}, err
	}
	p, err := w.plan()
	if err != nil {
		w.giveBack()
		return PutResult{}, err
	}
	if p == nil {
		return PutResult{Object: w.old}, nil
	}
	return w.commit(ctx, p)
}

// plan is what a transaction has to compare and to write for one object.
type plan struct {
	own   []clientv3.Cmp // that the object and its claims are as they were read
	deps  []clientv3.Cmp // that what it names is
	puts  []clientv3.Op
	fresh []claim // that it did not have before
}

// plan is nil when the object is so already.
func (w *write) plan() (*plan, error) {
	value, err := encode(w.want)
	if err != nil {
		return nil, err
	}
	if w.old != nil {
		before, err := encode(w.old)
		if err != nil || bytes.Equal(before, value) {
			return nil, err
		}
	}
	k, key := w.s.keys, w.s.keys.object(w.want.Ref())
	p := &plan{own: []clientv3.Cmp{w.unchanged(key)}, deps: w.deps, puts: []clientv3.Op{clientv3.OpPut(key, string(value))}}
	held := maps.Clone(w.left)
	if held == nil {
		held = map[string]bool{}
	}
	if w.old != nil {
		for _, c := range k.claims(w.old) {
			held[c.key] = true
		}
	}
	for _, key := range w.held {
		held[key] = true
	}
	before, written := maps.Clone(held), map[string]bool{}
	for _, c := range append(k.claims(w.want), w.gateways...) {
		if !held[c.key] && c.field != "" {
			p.fresh = append(p.fresh, c)
			p.own = append(p.own, clientv3.Compare(clientv3.CreateRevision(c.key), "=", 0))
		}
		if !held[c.key] {
			p.puts = append(p.puts, clientv3.OpPut(c.key, encodeRef(c.owner)))
		}
		delete(held, c.key)
		written[c.key] = !before[c.key]
	}
	for _, c := range w.touch {
		if !written[c.key] {
			p.puts = append(p.puts, clientv3.OpPut(c.key, encodeRef(c.owner)))
		}
	}
	for h := range held {
		p.puts = append(p.puts, clientv3.OpDelete(h))
	}
	return p, w.fits(p)
}

// fits checks that etcd takes the transaction, and later that of the object's
// deletion.
func (w *write) fits(p *plan) error {
	f, most := intent.NewFaults(w.want.Ref()), w.s.maxOps
	if n := 1 + len(w.s.keys.claims(w.want)) + len(w.gateways); n > most {
		f.Add("spec", "needs %d keys of the store, and one transaction of etcd takes %d: use several objects", n, most)
	} else if n := max(len(p.puts), len(p.own)+len(p.deps)); n > most {
		f.Add("spec", "changes %d keys of the store at once, and one transaction of etcd takes %d: change it in steps", n, most)
	}
	return f.Err()
}

// prepare reads what the object depends on, checks against it and completes
// the object.
func (w *write) prepare(ctx context.Context) error {
	err := w.read(ctx)
	if err == nil {
		err = w.precondition(ctx)
	}
	if errors.Is(err, rpctypes.ErrCompacted) {
		return errRaced
	}
	return err
}

// precondition checks what PutOptions ask for.
func (w *write) precondition(ctx context.Context) (err error) {
	have := int64(0)
	if w.old != nil {
		have = w.old.Meta().Revision
	} else if w.bad != nil {
		have = w.bad.Revision
		if w.left, err = w.s.leftovers(ctx, w.bad.Object, w.rev); err != nil {
			return fmt.Errorf("read what %s holds: %w", w.bad.Name(), err)
		}
	}
	if w.opt.IfAbsent && have != 0 {
		return &RevisionError{Object: w.want.Ref(), Have: have}
	}
	if w.opt.IfMatch != 0 && w.opt.IfMatch != have {
		return &RevisionError{Object: w.want.Ref(), Want: w.opt.IfMatch, Have: have}
	}
	if w.old != nil {
		w.want.Meta().Created = w.old.Meta().Created
	} else {
		now := w.s.now().UTC().Truncate(time.Second)
		w.want.Meta().Created = &now
	}
	return nil
}

// commit writes the object and its claims, if all is still as it was read;
// otherwise it finds out why not.
func (w *write) commit(ctx context.Context, p *plan) (PutResult, error) {
	look := make([]clientv3.Op, len(p.fresh))
	for i, c := range p.fresh {
		look[i] = clientv3.OpGet(c.key)
	}
	ops := p.puts
	if w.opt.DryRun {
		ops = nil
	}
	r, err := w.s.client.Txn(ctx).If(append(p.own, p.deps...)...).Then(w.s.stamped(ops)...).Else(look...).Commit()
	if err != nil {
		return PutResult{}, fmt.Errorf("write %s: %w", w.want.Ref(), wrong(err))
	}
	if !r.Succeeded {
		return PutResult{}, w.lost(p.fresh, r.Responses)
	}
	return w.wrote(r.Header.Revision), nil
}

// wrote is the result of a transaction that succeeded.
func (w *write) wrote(rev int64) PutResult {
	switch {
	case !w.opt.DryRun:
		w.want.Meta().Revision = rev
	case w.old != nil:
		w.want.Meta().Revision = w.old.Meta().Revision
	}
	if w.opt.DryRun {
		w.giveBack()
	}
	return PutResult{Object: w.want, Created: w.old == nil && w.bad == nil, Changed: true}
}

// lost tells a claim that another object has from a race to be run again.
func (w *write) lost(fresh []claim, found []*etcdserverpb.ResponseOp) error {
	var conflict error
	for i, c := range fresh {
		kvs := found[i].GetResponseRange().Kvs
		_, mine := w.chosen[c.field]
		switch {
		case len(kvs) == 0:
			if mine {
				w.chosen[c.field]()
				w.chosen[c.field] = func() {} // once: two would be given the same
			}
		case mine:
			w.taken[c.key] = true
		default:
			owner := decodeRef(kvs[0].Value)
			if owner == c.owner || conflict != nil {
				continue // our own object, written by another at this moment
			}
			conflict = &ConflictError{Object: w.want.Ref(), Field: c.field, Value: c.value, Owner: owner}
		}
	}
	if conflict != nil {
		return conflict
	}
	return errRaced
}

// unchanged compares that the object is as it was read.
func (w *write) unchanged(key string) clientv3.Cmp {
	if w.bad != nil {
		return at(key, w.bad.Revision)
	}
	return unchanged(key, w.old)
}

// unchanged compares that an object is as it was read.
func unchanged(key string, o intent.Object) clientv3.Cmp {
	rev := int64(0)
	if o != nil {
		rev = o.Meta().Revision
	}
	return at(key, rev)
}

// at compares that a key was last written at a revision.
func at(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", rev)
}

// exists compares that a key exists.
func exists(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), ">", 0)
}

// untouched compares that no key under a prefix was written after a revision.
func untouched(prefix string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(prefix), "<", rev+1).WithPrefix()
}
