package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// Change is an object that is not now what it was at another revision.
type Change struct {
	Ref  intent.Ref // zero for a key that is no object's
	Key  string
	Now  intent.Object // nil when there is none, or none that can be read
	Then intent.Object
	// Action is what going back would do: create, change or delete.
	Action Action
}

// Difference is what going back to a revision changes.
type Difference struct {
	Revision int64    // that was compared with
	At       int64    // the revision of the objects now
	Changes  []Change // deletions first, in the order in which they can be done
	// Transactions is how many transactions going back takes: when it is more
	// than one, others may see what is between.
	Transactions int
}

// RollbackOptions are conditions and manners of a Rollback.
type RollbackOptions struct {
	DryRun bool // compares, and writes nothing
	// Check refuses a rollback by an error, before anything is written. It may be
	// called again when others write meanwhile.
	Check func(Difference) error
}

// Rollback makes all objects and all that is allocated to them what they were at
// a revision: it writes back the objects that changed since with their claims, and
// deletes those that came. Since the whole was consistent then, it is now. What
// was written meanwhile by others is never lost: the transaction compares that
// nothing was. All is one transaction of up to 20,000 keys with the etcd in this
// process, 120 with a cluster; what is more is written in several, and one that is
// cut short is finished by repeating it.
//
// A GoneError tells that the revision is compacted, or has not been yet.
func (s *Store) Rollback(ctx context.Context, rev int64, opt RollbackOptions) (Difference, error) {
	var d Difference
	err := retry(ctx, intent.Ref{Kind: "revision", Name: fmt.Sprint(rev)}, func() error {
		b := &backward{s: s, rev: rev}
		if err := b.read(ctx); err != nil {
			return err
		}
		d = b.difference()
		if opt.Check != nil {
			if err := opt.Check(d); err != nil {
				return err
			}
		}
		if opt.DryRun {
			return nil
		}
		return b.commit(ctx)
	})
	if errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev) {
		return Difference{}, s.gone(ctx, rev)
	}
	if err != nil {
		return Difference{}, err
	}
	return d, nil
}

// gone says between which revisions one must be.
func (s *Store) gone(ctx context.Context, rev int64) error {
	now, err := s.Revision(ctx)
	if err != nil {
		return err
	}
	old, err := s.oldest(ctx, now)
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	return &GoneError{Revision: rev, Oldest: old, Current: now}
}

// backward is one attempt at a Rollback.
type backward struct {
	s    *Store
	rev  int64
	last *mvccpb.KeyValue // the journal, when it was read
	keys []restored
}

// restored is a key that is to be as it was.
type restored struct {
	key       string
	now, then *mvccpb.KeyValue // nil: none
}

// read finds all keys that are not as they were.
func (b *backward) read(ctx context.Context) (err error) {
	if b.last, err = b.s.begin(ctx); err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	now := b.last.ModRevision
	if _, _, err := b.s.lastEntry(ctx, b.rev); err != nil {
		return fmt.Errorf("read revision %d: %w", b.rev, err)
	}
	touched := map[string]bool{}
	err = b.s.replay(ctx, b.rev+1, now, func(ev *clientv3.Event) {
		if key := string(ev.Kv.Key); b.s.keys.restores(key) {
			touched[key] = true
		}
	})
	if err != nil {
		return fmt.Errorf("read what changed since revision %d: %w", b.rev, err)
	}
	keys := make([]string, 0, len(touched))
	for k := range touched {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return b.compare(ctx, keys, now)
}

// restores reports whether a key is an object's or a claim.
func (k keyspace) restores(key string) bool {
	return strings.HasPrefix(key, k.objects()) || strings.HasPrefix(key, k.dir("claim"))
}

// compare reads keys as they are and as they were.
func (b *backward) compare(ctx context.Context, keys []string, now int64) error {
	for part := range slices.Chunk(keys, b.s.maxOps/2) {
		var ops []clientv3.Op
		for _, k := range part {
			ops = append(ops, clientv3.OpGet(k, clientv3.WithRev(now)), clientv3.OpGet(k, clientv3.WithRev(b.rev)))
		}
		r, err := b.s.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return fmt.Errorf("read revision %d: %w", b.rev, err)
		}
		for i, k := range part {
			one := func(i int) *mvccpb.KeyValue {
				if kvs := r.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
					return kvs[0]
				}
				return nil
			}
			n, t := one(2*i), one(2*i+1)
			if n == nil && t == nil || n != nil && t != nil && bytes.Equal(n.Value, t.Value) {
				continue
			}
			b.keys = append(b.keys, restored{k, n, t})
		}
	}
	return nil
}

// step is all keys of one object that are written back.
type step struct {
	owner  intent.Ref
	delete bool
	keys   []restored
}

// steps groups the keys by the object to which they belong, in the order in which
// they are written: first what goes, what names before what is named, then what
// comes back, the other way round.
func (b *backward) steps() []step {
	at := map[intent.Ref]int{}
	var out []step
	for _, k := range b.keys {
		owner, isObject := b.owner(k)
		i, ok := at[owner]
		if !ok {
			i = len(out)
			at[owner] = i
			out = append(out, step{owner: owner})
		}
		out[i].keys = append(out[i].keys, k)
		out[i].delete = out[i].delete || isObject && k.then == nil
	}
	rank := map[intent.Kind]int{}
	for i, k := range intent.Kinds() {
		rank[k] = i + 1
	}
	slices.SortStableFunc(out, func(x, y step) int {
		switch {
		case x.delete && y.delete:
			return cmp.Compare(rank[y.owner.Kind], rank[x.owner.Kind])
		case x.delete:
			return -1
		case y.delete:
			return 1
		}
		return cmp.Compare(rank[x.owner.Kind], rank[y.owner.Kind])
	})
	return out
}

// owner is the object of a key: of a claim, the one that has it afterwards.
func (b *backward) owner(k restored) (r intent.Ref, isObject bool) {
	if strings.HasPrefix(k.key, b.s.keys.objects()) {
		if ref, err := b.s.keys.ref(k.key); err == nil {
			return ref, true
		}
		return intent.Ref{Name: k.key}, true
	}
	if k.then != nil {
		return decodeRef(k.then.Value), false
	}
	return decodeRef(k.now.Value), false
}

// difference is what the keys mean.
func (b *backward) difference() Difference {
	d := Difference{Revision: b.rev, At: b.last.ModRevision, Changes: []Change{}}
	steps := b.steps()
	for _, st := range steps {
		for _, k := range st.keys {
			if !strings.HasPrefix(k.key, b.s.keys.objects()) {
				continue
			}
			c := Change{Key: k.key, Action: Changed}
			c.Ref, _ = b.s.keys.ref(k.key)
			if k.now != nil {
				c.Now, _ = b.s.readKV(k.now)
			} else {
				c.Action = Created
			}
			if k.then != nil {
				c.Then, _ = b.s.readKV(k.then)
			} else {
				c.Action = Deleted
			}
			d.Changes = append(d.Changes, c)
		}
	}
	d.Transactions = len(b.cut(steps))
	return d
}

// cut makes as few transactions of the steps as etcd's limits allow.
func (b *backward) cut(steps []step) [][]restored {
	var out [][]restored
	size := 0
	for _, st := range steps {
		more := 0
		for _, k := range st.keys {
			more += len(k.key)
			if k.then != nil {
				more += len(k.then.Value)
			}
		}
		last := len(out) - 1
		if last < 0 || len(out[last])+len(st.keys) >= b.s.bulkOps || size+more > b.s.bulkBytes {
			out, last, size = append(out, nil), last+1, 0
		}
		out[last], size = append(out[last], st.keys...), size+more
	}
	return out
}

// commit writes the keys. Each transaction compares that nothing was written
// since the one before.
func (b *backward) commit(ctx context.Context) error {
	s, seen := b.s, b.last.ModRevision
	parts := b.cut(b.steps())
	for i, part := range parts {
		note := fmt.Sprintf("rollback to revision %d", b.rev)
		if len(parts) > 1 {
			note += fmt.Sprintf(", part %d of %d", i+1, len(parts))
		}
		ops := []clientv3.Op{s.stamp(note)}
		for _, k := range part {
			if k.then == nil {
				ops = append(ops, clientv3.OpDelete(k.key))
			} else {
				ops = append(ops, clientv3.OpPut(k.key, string(k.then.Value)))
			}
		}
		r, err := s.client.Txn(ctx).If(at(s.keys.journal(), seen)).Then(ops...).Commit()
		if err != nil {
			return fmt.Errorf("roll back to revision %d: %w%s", b.rev, wrong(err), halfway(i, len(parts)))
		}
		if !r.Succeeded {
			return errRaced
		}
		seen = r.Header.Revision
	}
	for _, st := range b.steps() {
		if st.delete {
			s.forget(st.owner)
		}
	}
	return nil
}

func halfway(done, of int) string {
	if done == 0 {
		return ""
	}
	return fmt.Sprintf("; %d of %d parts are written: run it again", done, of)
}
