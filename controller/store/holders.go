package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// holder is an object that others name which don't belong to it.
type holder struct {
	object intent.Ref
	by     []intent.Ref
}

// holders are the prefixes of the keys of what names an object without
// belonging to it. Those of ports and routers are of the whole tenant: a network
// may have many ports, and few are named by routes and floating IPs.
func (k keyspace) holders(r intent.Ref) []string {
	switch r.Kind {
	case intent.KindNode:
		return []string{k.borderOf(r.Name), k.linesOf(r.Name)}
	case intent.KindExternalNetwork:
		return []string{k.users(r.Name)}
	case intent.KindNetwork:
		return []string{k.onRouter(r), k.stretches(r)}
	case intent.KindNetworkACL:
		return []string{k.judged(r)}
	case intent.KindPort:
		return []string{k.hops(r.Tenant), k.floats(r.Tenant)}
	case intent.KindRouter:
		return []string{k.floats(r.Tenant)}
	case intent.KindSecurityGroup:
		return []string{k.members(r)}
	}
	return nil
}

// heldBy lists what names an object without belonging to it.
func (d *deletion) heldBy(ctx context.Context, r intent.Ref) ([]intent.Ref, error) {
	switch r.Kind {
	case intent.KindPort:
		return d.namesPort(ctx, r)
	case intent.KindRouter:
		return d.behind(ctx, r)
	}
	var out []intent.Ref
	for _, prefix := range d.s.keys.holders(r) {
		_, err := d.s.pages(ctx, prefix, d.rev, func(resp *clientv3.GetResponse) error {
			for _, kv := range resp.Kvs {
				out = append(out, decodeRef(kv.Value))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read what names %s: %w", r, err)
		}
	}
	return sorted(out), nil
}

// namesPort lists the routers whose routes name a port and its floating IPs,
// after one read for all ports of the tenant.
func (d *deletion) namesPort(ctx context.Context, port intent.Ref) ([]intent.Ref, error) {
	if by, ok := d.named[port.Tenant]; ok {
		return by[port.Name], nil
	}
	by := map[string][]intent.Ref{}
	for _, prefix := range d.s.keys.holders(port) {
		_, err := d.s.pages(ctx, prefix, d.rev, func(resp *clientv3.GetResponse) error {
			for _, kv := range resp.Kvs {
				name, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
				name = lastPart("/" + name)
				by[name] = append(by[name], decodeRef(kv.Value))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read what names ports of %s: %w", port.Tenant, err)
		}
	}
	for _, refs := range by {
		sorted(refs)
	}
	if d.named == nil {
		d.named = map[string]map[string][]intent.Ref{}
	}
	d.named[port.Tenant] = by
	return by[port.Name], nil
}

// behind lists the floating IPs whose ports are behind a router.
func (d *deletion) behind(ctx context.Context, router intent.Ref) ([]intent.Ref, error) {
	var floats, out []intent.Ref
	_, err := d.s.pages(ctx, d.s.keys.floats(router.Tenant), d.rev, func(resp *clientv3.GetResponse) error {
		for _, kv := range resp.Kvs {
			floats = append(floats, decodeRef(kv.Value))
		}
		return nil
	})
	for _, ref := range floats {
		if err != nil {
			break
		}
		var resp *clientv3.GetResponse
		if resp, err = d.s.client.Get(ctx, d.s.keys.object(ref), clientv3.WithRev(d.rev)); err != nil || len(resp.Kvs) == 0 {
			continue
		}
		o, _ := d.s.readKV(resp.Kvs[0])
		i, ok := o.(*intent.FloatingIP)
		if !ok {
			continue
		}
		var mine bool
		if _, mine, err = d.s.behind(ctx, i, router, d.rev); mine {
			out = append(out, ref)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read what is behind %s: %w", router, err)
	}
	return sorted(out), nil
}

func sorted(refs []intent.Ref) []intent.Ref {
	slices.SortFunc(refs, func(a, b intent.Ref) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Name, b.Name))
	})
	return refs
}

// released checks that what names something that is to go, without belonging to
// it, goes too.
func (d *deletion) released() error {
	for _, h := range d.holders {
		stay := slices.DeleteFunc(slices.Clone(h.by), func(r intent.Ref) bool { return d.seen[r] })
		if len(stay) > 0 {
			return &InUseError{Object: h.object, By: stay[:min(shown, len(stay))], Total: len(stay), Holders: len(stay)}
		}
	}
	return nil
}

// gateways adds a router's addresses in its networks to its keys. The networks
// must be as they were read: with other subnets it has other addresses.
func (d *deletion) gateways(ctx context.Context, v *victim, r *intent.Router) error {
	for i, rn := range r.Spec.Networks {
		key := d.s.keys.object(r.NetworkRef(rn))
		resp, err := d.s.client.Get(ctx, key, clientv3.WithRev(d.rev))
		if err != nil {
			return fmt.Errorf("read the networks of %s: %w", r.Ref(), err)
		}
		if len(resp.Kvs) == 0 {
			continue
		}
		o, b := d.s.readKV(resp.Kvs[0])
		v.deps = append(v.deps, at(key, resp.Kvs[0].ModRevision))
		if b != nil {
			left, err := d.s.leftovers(ctx, r.Ref(), d.rev)
			if err != nil {
				return fmt.Errorf("read what %s holds: %w", r.Ref(), err)
			}
			v.keys = v.keys[:0]
			for k := range left {
				v.keys = append(v.keys, k)
			}
			return nil
		}
		for _, c := range d.s.keys.gateways(r, i, o.(*intent.Network)) {
			v.keys = append(v.keys, c.key)
		}
	}
	return nil
}

// removal is what a transaction needs to delete some victims.
type removal struct {
	n      int // how many
	cmps   []clientv3.Cmp
	guards []string // prefixes under which nothing new may be
	ops    []clientv3.Op
}

// together is the removal of the first victim, or of all groups that follow one
// another when they fit into a transaction: they may name each other.
func (d *deletion) together(victims []victim) removal {
	one := d.removal(victims[0])
	if victims[0].ref.Kind != intent.KindSecurityGroup {
		return one
	}
	all := one
	for all.n < len(victims) && victims[all.n].ref.Kind == intent.KindSecurityGroup {
		next := d.removal(victims[all.n])
		all = removal{all.n + 1, append(all.cmps, next.cmps...), append(all.guards, next.guards...), append(all.ops, next.ops...)}
		if len(all.ops) > d.s.maxOps || 1+len(all.cmps)+len(all.guards) > d.s.maxOps {
			return one
		}
	}
	return all
}

func (d *deletion) removal(v victim) removal {
	k := d.s.keys
	key := k.object(v.ref)
	out := removal{n: 1, cmps: append([]clientv3.Cmp{at(key, v.rev)}, v.deps...), ops: []clientv3.Op{clientv3.OpDelete(key)}}
	out.guards = append(k.dependents(v.ref), k.holders(v.ref)...)
	for _, held := range v.keys {
		out.ops = append(out.ops, clientv3.OpDelete(held))
	}
	return out
}
