package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// Which routers import from which follows from route targets, so a router names
// no other. What one may import depends on all that export to it, their networks
// and static routes; so whoever changes any of these checks all importers.
//
// Two such writes must not pass each other. Each router has a key for each route
// target that it imports or exports; its L3VNI's claim stands for the target that
// is made from it. Whoever changes what a router imports into or exports writes
// these keys anew, and compares that the keys of the others are untouched.

// targets are the parsed route targets that a router exports by name.
func targets(r *intent.Router) []intent.RouteTarget {
	out := make([]intent.RouteTarget, 0, len(r.Spec.RouteTargets.Export))
	for _, s := range r.Spec.RouteTargets.Export {
		if t, err := intent.ParseRouteTarget(s); err == nil && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// sharers are the keys by which others find what a router shares with them.
func (k keyspace) sharers(r *intent.Router) []claim {
	var out []claim
	add := func(key string) { out = append(out, claim{key: key, owner: r.Ref()}) }
	for _, t := range targets(r) {
		add(k.exports(t) + k.owner(r.Ref()))
	}
	if len(out) == 0 {
		add(k.vni(r.Spec.VNI))
	}
	for _, i := range r.Spec.Imports {
		add(k.imports(i.Target()) + k.owner(r.Ref()))
	}
	return out
}

// sharing reads what routers share, as it will be when an object is written.
type sharing struct {
	w        *write
	router   *intent.Router  // as it will be
	network  *intent.Network // as it will be; nil when the router is written
	have     map[intent.Ref]intent.Object
	compared map[string]bool // prefixes of keys
}

// shared checks a router that changes, or of which a network changes, against
// all from which it imports, and those that import from it against it. The
// faults are of the object that is written, in the field that is given; those of
// the router's own imports name theirs when the router is written.
func (w *write) shared(ctx context.Context, field string, r *intent.Router, n *intent.Network) error {
	s := &sharing{w: w, router: r, network: n, have: map[intent.Ref]intent.Object{}, compared: map[string]bool{}}
	f := intent.NewFaults(w.want.Ref())
	importers, err := s.importers(ctx)
	if err != nil {
		return err
	}
	for _, x := range append([]*intent.Router{r}, importers...) {
		var faults intent.FieldErrors
		if err := s.check(ctx, x); !errors.As(err, &faults) && err != nil {
			return err
		}
		for _, e := range faults {
			if x == r && n == nil {
				f.Add(e.Field, "%s", e.Detail)
			} else {
				f.Add(field, "don't fit %s, which imports routes: %s: %s", x.Ref(), e.Field, e.Detail)
			}
		}
	}
	w.touch = append(w.touch, w.s.keys.sharers(r)...)
	return f.Err()
}

// check is CheckLeaks of a router as all will be.
func (s *sharing) check(ctx context.Context, r *intent.Router) error {
	if len(r.Spec.Imports) == 0 {
		return nil
	}
	others, err := s.exporters(ctx, r)
	if err != nil {
		return err
	}
	all := []intent.Exporter{}
	for _, o := range append([]*intent.Router{r}, others...) {
		e := intent.Exporter{Router: o}
		if e.Subnets, err = s.subnets(ctx, o); err != nil {
			return err
		}
		all = append(all, e)
	}
	return intent.CheckLeaks(r, all[0].Subnets, intent.Leaks(r, all[1:]))
}

// exporters are the routers from which a router imports, each once.
func (s *sharing) exporters(ctx context.Context, r *intent.Router) ([]*intent.Router, error) {
	var refs []intent.Ref
	for _, i := range r.Spec.Imports {
		t := i.Target()
		found, err := s.owners(ctx, s.w.s.keys.exports(t))
		if err != nil {
			return nil, err
		}
		refs = append(refs, found...)
		if v, ok := t.VNI(); ok {
			if found, err = s.owner(ctx, s.w.s.keys.vni(v)); err != nil {
				return nil, err
			}
			refs = append(refs, found...)
		}
	}
	return s.routers(ctx, refs, func(o *intent.Router) bool {
		return slices.ContainsFunc(r.Spec.Imports, func(i intent.RouterImport) bool { return o.Exports(i.Target(), r.Metadata.Tenant) })
	}, r)
}

// importers are the other routers that import from the one that changes.
func (s *sharing) importers(ctx context.Context) ([]*intent.Router, error) {
	var refs []intent.Ref
	prefixes := []string{}
	for _, t := range targets(s.router) {
		prefixes = append(prefixes, s.w.s.keys.imports(t))
	}
	if len(prefixes) == 0 {
		prefixes = append(prefixes, s.w.s.keys.importsOf(s.router.Spec.VNI))
	}
	for _, p := range prefixes {
		found, err := s.owners(ctx, p)
		if err != nil {
			return nil, err
		}
		refs = append(refs, found...)
	}
	return s.routers(ctx, refs, func(o *intent.Router) bool {
		return slices.ContainsFunc(o.Spec.Imports, func(i intent.RouterImport) bool { return s.router.Exports(i.Target(), o.Metadata.Tenant) })
	}, s.router)
}

// owners lists who has keys under a prefix, which must stay untouched.
func (s *sharing) owners(ctx context.Context, prefix string) ([]intent.Ref, error) {
	var out []intent.Ref
	_, err := s.w.s.pages(ctx, prefix, s.w.rev, func(resp *clientv3.GetResponse) error {
		for _, kv := range resp.Kvs {
			out = append(out, decodeRef(kv.Value))
		}
		return nil
	})
	s.compare(prefix, untouched(prefix, s.w.rev))
	return out, err
}

// owner is owners of one key.
func (s *sharing) owner(ctx context.Context, key string) ([]intent.Ref, error) {
	s.compare(key, clientv3.Compare(clientv3.ModRevision(key), "<", s.w.rev+1))
	resp, err := s.w.s.client.Get(ctx, key, clientv3.WithRev(s.w.rev))
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return []intent.Ref{decodeRef(resp.Kvs[0].Value)}, nil
}

// compare adds a comparison unless it was made for another router.
func (s *sharing) compare(key string, c clientv3.Cmp) {
	if !s.compared[key] {
		s.compared[key] = true
		s.w.deps = append(s.w.deps, c)
	}
}

// routers reads routers, each once, in the order of their names, but not the one
// that is asked for. The one that is written is among them, as it will be.
func (s *sharing) routers(ctx context.Context, refs []intent.Ref, keep func(*intent.Router) bool, but *intent.Router) ([]*intent.Router, error) {
	refs = append(slices.DeleteFunc(refs, func(r intent.Ref) bool { return r.Kind != intent.KindRouter }), s.router.Ref())
	refs = slices.Compact(sorted(refs))
	if err := s.read(ctx, refs); err != nil {
		return nil, err
	}
	var out []*intent.Router
	for _, ref := range refs {
		if r, ok := s.have[ref].(*intent.Router); ok && ref != but.Ref() && keep(r) {
			out = append(out, r)
		}
	}
	return out, nil
}

// subnets are those of a router's networks.
func (s *sharing) subnets(ctx context.Context, r *intent.Router) ([]netip.Prefix, error) {
	refs := make([]intent.Ref, len(r.Spec.Networks))
	for i, n := range r.Spec.Networks {
		refs[i] = r.NetworkRef(n)
	}
	if err := s.read(ctx, refs); err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, ref := range refs {
		if n, ok := s.have[ref].(*intent.Network); ok {
			out = append(out, n.Spec.Subnets...)
		}
	}
	return out, nil
}

// read reads objects that were not read before. What can't be read shares
// nothing until it is written again.
func (s *sharing) read(ctx context.Context, refs []intent.Ref) error {
	s.have[s.router.Ref()] = s.router
	if s.network != nil {
		s.have[s.network.Ref()] = s.network
	}
	var todo []intent.Ref
	for _, r := range refs {
		if _, ok := s.have[r]; !ok {
			todo = append(todo, r)
		}
	}
	for len(todo) > 0 {
		n := min(len(todo), s.w.s.maxOps)
		ops := make([]clientv3.Op, n)
		for i, r := range todo[:n] {
			ops[i] = clientv3.OpGet(s.w.s.keys.object(r), clientv3.WithRev(s.w.rev))
		}
		resp, err := s.w.s.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return fmt.Errorf("read %s: %w", todo[0], err)
		}
		for i, r := range todo[:n] {
			s.have[r] = nil
			if kvs := resp.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
				s.have[r], _ = s.w.s.readKV(kvs[0])
			}
		}
		todo = todo[n:]
	}
	return nil
}
