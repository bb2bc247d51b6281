package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// DeleteOptions are conditions and manners of a Delete.
type DeleteOptions struct {
	IfMatch int64 // revision at which the object must be; 0 for any
	// Cascade deletes what names the object too: a tenant's networks, a
	// network's ports, a node's links and the ports bound to it.
	Cascade bool
	DryRun  bool // checks, and writes nothing
}

// DeleteResult tells what a Delete removed.
type DeleteResult struct {
	Deleted  []intent.Ref // dependents first, the object itself last
	Revision int64        // of the store after it
}

// Delete removes an object; NotFoundError when there is none, InUseError when
// others name it. A cascade that has more keys than a transaction may have is
// done in several, dependents first: when it is cut short, run it again.
func (s *Store) Delete(ctx context.Context, r intent.Ref, opt DeleteOptions) (DeleteResult, error) {
	if unnamed(r.Kind) && !opt.DryRun {
		if res, ok, err := s.deleteTogether(ctx, r, opt.IfMatch); ok {
			return res, err
		}
	}
	var (
		res  DeleteResult
		gone []intent.Ref // by attempts before the last
	)
	err := retry(ctx, r, func() error {
		d := &deletion{s: s, root: r, opt: opt}
		err := d.run(ctx)
		gone = append(gone, d.gone...)
		res = DeleteResult{Deleted: gone, Revision: d.rev}
		if err != nil && len(gone) > 0 && errors.Is(err, ErrNotFound) {
			return nil // another process finished what we began
		}
		return err
	})
	if err != nil {
		return DeleteResult{}, err
	}
	return res, nil
}

// deletion is one attempt at a Delete.
type deletion struct {
	s       *Store
	root    intent.Ref
	opt     DeleteOptions
	rev     int64 // at which was read, then of the last transaction
	victims []victim
	seen    map[intent.Ref]bool
	gone    []intent.Ref
}

// victim is an object that is to go.
type victim struct {
	ref  intent.Ref
	rev  int64
	port *intent.Port // when it is one that can be read
	keys []string     // its claims
}

// victim makes one of a key, whether its object can be read or not.
func (d *deletion) victim(ctx context.Context, kv *mvccpb.KeyValue) (victim, error) {
	o, b := d.s.readKV(kv)
	if b != nil {
		left, err := d.s.leftovers(ctx, b.Object, d.rev)
		if err != nil {
			return victim{}, fmt.Errorf("read what %s holds: %w", b.Name(), err)
		}
		return victim{ref: b.Object, rev: b.Revision, keys: slices.Collect(maps.Keys(left))}, nil
	}
	v := victim{ref: o.Ref(), rev: o.Meta().Revision}
	v.port, _ = o.(*intent.Port)
	for _, c := range d.s.keys.claims(o) {
		v.keys = append(v.keys, c.key)
	}
	return v, nil
}

func (d *deletion) run(ctx context.Context) error {
	resp, err := d.s.client.Get(ctx, d.s.keys.object(d.root))
	if err != nil {
		return fmt.Errorf("read %s: %w", d.root, err)
	}
	if len(resp.Kvs) == 0 {
		return &NotFoundError{d.root}
	}
	d.rev, d.seen = resp.Header.Revision, map[intent.Ref]bool{}
	o, err := d.victim(ctx, resp.Kvs[0])
	if err != nil {
		return err
	}
	if d.opt.IfMatch != 0 && d.opt.IfMatch != o.rev {
		return &RevisionError{Object: d.root, Want: d.opt.IfMatch, Have: o.rev}
	}
	err = d.collect(ctx, o)
	if errors.Is(err, rpctypes.ErrCompacted) {
		return errRaced
	}
	if err != nil {
		return err
	}
	if d.opt.DryRun {
		for _, v := range d.victims {
			d.gone = append(d.gone, v.ref)
		}
		return nil
	}
	return d.commit(ctx, o)
}

// dependents are the prefixes under which keys name an object.
func (k keyspace) dependents(r intent.Ref) []string {
	switch r.Kind {
	case intent.KindTenant:
		return []string{k.kind(intent.KindNetwork, r.Name)}
	case intent.KindNetwork:
		return []string{k.macs(r)}
	case intent.KindNode:
		return []string{k.links(r.Name), k.binds(r.Name)}
	}
	return nil
}

// dependent tells which object such a key is of.
func (k keyspace) dependent(of intent.Ref, key string, value []byte) (intent.Ref, error) {
	if of.Kind == intent.KindTenant {
		return k.ref(key)
	}
	return decodeRef(value), nil
}

// collect puts what names the object, and then the object, on the list.
func (d *deletion) collect(ctx context.Context, o victim) error {
	var (
		k    = d.s.keys
		refs []intent.Ref
		dup  = map[intent.Ref]bool{}
	)
	for _, prefix := range k.dependents(o.ref) {
		before := len(refs)
		_, err := d.s.pages(ctx, prefix, d.rev, func(r *clientv3.GetResponse) error {
			for _, kv := range r.Kvs {
				ref, err := k.dependent(o.ref, string(kv.Key), kv.Value)
				if err != nil {
					return err
				}
				if !dup[ref] {
					dup[ref] = true
					refs = append(refs, ref)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read what names %s: %w", o.ref, err)
		}
		slices.SortFunc(refs[before:], func(a, b intent.Ref) int {
			return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Name, b.Name))
		})
	}
	if len(refs) > 0 && !d.opt.Cascade {
		return &InUseError{Object: o.ref, By: refs[:min(shown, len(refs))], Total: len(refs)}
	}
	for len(refs) > 0 {
		n := min(len(refs), d.s.maxOps)
		objects, err := d.objects(ctx, refs[:n])
		if err != nil {
			return err
		}
		for _, c := range objects {
			if p := c.port; p != nil && o.ref.Kind == intent.KindNode && p.Spec.Binding.Node != o.ref.Name {
				return &InUseError{Object: o.ref, By: []intent.Ref{p.Ref()}, Total: 1, Moving: true}
			}
			if err := d.collect(ctx, c); err != nil {
				return err
			}
		}
		refs = refs[n:]
	}
	if !d.seen[o.ref] {
		d.seen[o.ref] = true
		d.victims = append(d.victims, o)
	}
	return nil
}

// objects reads objects at the revision of the deletion.
func (d *deletion) objects(ctx context.Context, refs []intent.Ref) ([]victim, error) {
	ops := make([]clientv3.Op, len(refs))
	for i, r := range refs {
		ops[i] = clientv3.OpGet(d.s.keys.object(r), clientv3.WithRev(d.rev))
	}
	resp, err := d.s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, fmt.Errorf("read what names %s: %w", d.root, err)
	}
	out := make([]victim, 0, len(refs))
	for i, r := range refs {
		kvs := resp.Responses[i].GetResponseRange().Kvs
		if len(kvs) == 0 {
			return nil, fmt.Errorf("%s is named by a key of the store but does not exist", r)
		}
		v, err := d.victim(ctx, kvs[0])
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// commit deletes the list, in as few transactions as its keys allow. Each
// compares that its victims and the root are as they were read and that
// nothing new names them.
func (d *deletion) commit(ctx context.Context, root victim) error {
	k, read := d.s.keys, d.rev
	for rest := d.victims; len(rest) > 0; {
		cmps := []clientv3.Cmp{at(k.object(d.root), root.rev)}
		var ops []clientv3.Op
		n := 0
		for _, o := range rest {
			key, guards := k.object(o.ref), k.dependents(o.ref)
			if n > 0 && (len(ops)+1+len(o.keys) > d.s.maxOps || len(cmps)+1+len(guards) > d.s.maxOps) {
				break
			}
			cmps = append(cmps, at(key, o.rev))
			for _, g := range guards {
				cmps = append(cmps, untouched(g, read))
			}
			ops = append(ops, clientv3.OpDelete(key))
			for _, held := range o.keys {
				ops = append(ops, clientv3.OpDelete(held))
			}
			n++
		}
		r, err := d.s.client.Txn(ctx).If(cmps...).Then(ops...).Commit()
		if err != nil {
			return fmt.Errorf("delete %s: %w", d.root, wrong(err))
		}
		if !r.Succeeded {
			return errRaced
		}
		d.rev = r.Header.Revision
		for _, o := range rest[:n] {
			d.gone = append(d.gone, o.ref)
			d.s.forget(o.ref)
		}
		rest = rest[n:]
	}
	return nil
}
