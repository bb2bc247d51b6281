package store

import (
	"context"
	"errors"
	"fmt"

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

// maxOps of one transaction, below etcd's default limit of 128.
const maxOps = 120

// Delete removes an object; NotFoundError when there is none, InUseError when
// others name it. A cascade that has more keys than a transaction may have is
// done in several, dependents first: when it is cut short, run it again.
func (s *Store) Delete(ctx context.Context, r intent.Ref, opt DeleteOptions) (DeleteResult, error) {
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
	victims []intent.Object
	seen    map[intent.Ref]bool
	gone    []intent.Ref
}

func (d *deletion) run(ctx context.Context) error {
	resp, err := d.s.client.Get(ctx, d.s.keys.object(d.root))
	if err != nil {
		return fmt.Errorf("read %s: %w", d.root, err)
	}
	if len(resp.Kvs) == 0 {
		return &NotFoundError{d.root}
	}
	o, err := d.s.decodeKV(resp.Kvs[0])
	if err != nil {
		return err
	}
	if have := o.Meta().Revision; d.opt.IfMatch != 0 && d.opt.IfMatch != have {
		return &RevisionError{Object: d.root, Want: d.opt.IfMatch, Have: have}
	}
	d.rev, d.seen = resp.Header.Revision, map[intent.Ref]bool{}
	err = d.collect(ctx, o)
	if errors.Is(err, rpctypes.ErrCompacted) {
		return errRaced
	}
	if err != nil {
		return err
	}
	if d.opt.DryRun {
		for _, v := range d.victims {
			d.gone = append(d.gone, v.Ref())
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
		return []string{k.ports(r)}
	case intent.KindNode:
		return []string{k.links(r.Name), k.binds(r.Name)}
	}
	return nil
}

// dependent tells which object such a key is of.
func (k keyspace) dependent(of intent.Ref, key string, value []byte) (intent.Ref, error) {
	switch of.Kind {
	case intent.KindTenant:
		return k.ref(key)
	case intent.KindNetwork:
		return intent.Ref{Kind: intent.KindPort, Tenant: of.Tenant, Name: lastPart(key)}, nil
	}
	return decodeRef(value), nil
}

// collect puts what names the object, and then the object, on the list.
func (d *deletion) collect(ctx context.Context, o intent.Object) error {
	var (
		k    = d.s.keys
		refs []intent.Ref
		dup  = map[intent.Ref]bool{}
	)
	for _, prefix := range k.dependents(o.Ref()) {
		_, err := d.s.pages(ctx, prefix, d.rev, func(r *clientv3.GetResponse) error {
			for _, kv := range r.Kvs {
				ref, err := k.dependent(o.Ref(), string(kv.Key), kv.Value)
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
			return fmt.Errorf("read what names %s: %w", o.Ref(), err)
		}
	}
	if len(refs) > 0 && !d.opt.Cascade {
		return &InUseError{Object: o.Ref(), By: refs[:min(shown, len(refs))], Total: len(refs)}
	}
	for len(refs) > 0 {
		n := min(len(refs), 100)
		objects, err := d.objects(ctx, refs[:n])
		if err != nil {
			return err
		}
		for _, c := range objects {
			if p, ok := c.(*intent.Port); ok && o.Ref().Kind == intent.KindNode && p.Spec.Binding.Node != o.Ref().Name {
				return &InUseError{Object: o.Ref(), By: []intent.Ref{p.Ref()}, Total: 1, Moving: true}
			}
			if err := d.collect(ctx, c); err != nil {
				return err
			}
		}
		refs = refs[n:]
	}
	if !d.seen[o.Ref()] {
		d.seen[o.Ref()] = true
		d.victims = append(d.victims, o)
	}
	return nil
}

// objects reads objects at the revision of the deletion.
func (d *deletion) objects(ctx context.Context, refs []intent.Ref) ([]intent.Object, error) {
	ops := make([]clientv3.Op, len(refs))
	for i, r := range refs {
		ops[i] = clientv3.OpGet(d.s.keys.object(r), clientv3.WithRev(d.rev))
	}
	resp, err := d.s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, fmt.Errorf("read what names %s: %w", d.root, err)
	}
	out := make([]intent.Object, 0, len(refs))
	for i, r := range refs {
		kvs := resp.Responses[i].GetResponseRange().Kvs
		if len(kvs) == 0 {
			return nil, fmt.Errorf("%s is named by a key of the store but does not exist", r)
		}
		o, err := d.s.decodeKV(kvs[0])
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// commit deletes the list, in as few transactions as its keys allow. Each
// compares that its victims and the root are as they were read and that
// nothing new names them.
func (d *deletion) commit(ctx context.Context, root intent.Object) error {
	k, read := d.s.keys, d.rev
	for rest := d.victims; len(rest) > 0; {
		cmps := []clientv3.Cmp{unchanged(k.object(d.root), root)}
		var ops []clientv3.Op
		n := 0
		for _, o := range rest {
			key, cs, ix := k.object(o.Ref()), k.claims(o), k.index(o)
			guards := k.dependents(o.Ref())
			if n > 0 && (len(ops)+1+len(cs)+len(ix) > maxOps || len(cmps)+1+len(guards) > maxOps) {
				break
			}
			cmps = append(cmps, unchanged(key, o))
			for _, g := range guards {
				cmps = append(cmps, untouched(g, read))
			}
			ops = append(ops, clientv3.OpDelete(key))
			for _, c := range cs {
				ops = append(ops, clientv3.OpDelete(c.key))
			}
			for _, i := range ix {
				ops = append(ops, clientv3.OpDelete(i))
			}
			n++
		}
		r, err := d.s.client.Txn(ctx).If(cmps...).Then(ops...).Commit()
		if err != nil {
			return fmt.Errorf("delete %s: %w", d.root, err)
		}
		if !r.Succeeded {
			return errRaced
		}
		d.rev = r.Header.Revision
		for _, o := range rest[:n] {
			d.gone = append(d.gone, o.Ref())
			if nw, ok := o.(*intent.Network); ok {
				d.s.forget(nw)
			}
		}
		rest = rest[n:]
	}
	return nil
}
