package store

import (
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
	// Cascade deletes what belongs to the object too: all of a tenant, a
	// network's ports, a node's links and the ports bound to it, the groups
	// whose rules name a group. What only names the object must let go of it
	// first: the router of a network, the routes and floating IPs of a port, the
	// ports in a group, the networks that an ACL judges, the floating IPs behind a
	// router, and what uses an external network or a border.
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
	open    map[intent.Ref]bool                // what is being collected
	named   map[string]map[string][]intent.Ref // by tenant, what names ports: routers in their routes, floating IPs
	holders []holder
	gone    []intent.Ref
}

// victim is an object that is to go.
type victim struct {
	ref  intent.Ref
	rev  int64
	port *intent.Port // when it is one that can be read
	keys []string     // its claims
	deps []clientv3.Cmp
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
	switch o := o.(type) {
	case *intent.Node:
		v.keys = append(v.keys, d.s.keys.credential(o.Metadata.Name))
	case *intent.Router:
		return v, d.gateways(ctx, &v, o)
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
	d.rev, d.seen, d.open = resp.Header.Revision, map[intent.Ref]bool{}, map[intent.Ref]bool{}
	o, err := d.victim(ctx, resp.Kvs[0])
	if err != nil {
		return err
	}
	if d.opt.IfMatch != 0 && d.opt.IfMatch != o.rev {
		return &RevisionError{Object: d.root, Want: d.opt.IfMatch, Have: o.rev}
	}
	if err = d.collect(ctx, o); err == nil {
		err = d.released()
	}
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

// dependents are the prefixes of the keys of what belongs to an object.
func (k keyspace) dependents(r intent.Ref) []string {
	switch r.Kind {
	case intent.KindTenant:
		return []string{k.kind(intent.KindFloatingIP, r.Name), k.kind(intent.KindRouter, r.Name), k.kind(intent.KindNetwork, r.Name), k.kind(intent.KindSecurityGroup, r.Name), k.kind(intent.KindNetworkACL, r.Name)}
	case intent.KindSecurityGroup:
		return []string{k.rules(r)}
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
	if d.open[o.ref] {
		return nil // groups that name each other
	}
	d.open[o.ref] = true
	held, err := d.heldBy(ctx, o.ref)
	if err != nil {
		return err
	}
	for _, prefix := range k.dependents(o.ref) {
		before := len(refs)
		_, err := d.s.pages(ctx, prefix, d.rev, func(r *clientv3.GetResponse) error {
			for _, kv := range r.Kvs {
				ref, err := k.dependent(o.ref, string(kv.Key), kv.Value)
				if err != nil {
					return err
				}
				if !dup[ref] && ref.Kind != intent.KindExternalNetwork && ref.Kind != intent.KindInterconnect { // they have an interface of the node, and hold it
					dup[ref] = true
					refs = append(refs, ref)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read what names %s: %w", o.ref, err)
		}
		sorted(refs[before:])
	}
	if all := append(held, refs...); len(all) > 0 && !d.opt.Cascade {
		return &InUseError{Object: o.ref, By: all[:min(shown, len(all))], Total: len(all), Holders: len(held)}
	}
	if len(held) > 0 {
		d.holders = append(d.holders, holder{o.ref, held})
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
		n, guarded := 0, map[string]bool{}
		for n < len(rest) {
			more := d.together(rest[n:])
			if n == 0 && len(more.ops) > d.s.maxOps {
				return fmt.Errorf("delete %s: %s has %d keys of the store, and one transaction of etcd takes %d: leave out some of its networks or rules first", d.root, rest[0].ref, len(more.ops), d.s.maxOps)
			}
			if n > 0 && (len(ops)+len(more.ops) > d.s.maxOps || len(cmps)+len(more.cmps)+len(more.guards) > d.s.maxOps) {
				break
			}
			cmps, ops = append(cmps, more.cmps...), append(ops, more.ops...)
			for _, g := range more.guards {
				if !guarded[g] {
					guarded[g] = true
					cmps = append(cmps, untouched(g, read))
				}
			}
			n += more.n
		}
		r, err := d.s.deleting(ctx, cmps, ops)
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
