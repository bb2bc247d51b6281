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

// sources checks the source addresses of a node against the pools, and chooses
// those that are left out. An external network may be yet to come.
func (w *write) sources(ctx context.Context, n *intent.Node, have func(intent.Ref) intent.Object) error {
	if n.Spec.VSwitch == nil {
		return nil
	}
	f := intent.NewFaults(n.Ref())
	old, _ := w.old.(*intent.Node)
	list := n.Spec.VSwitch.SourceAddresses
	for i := range list {
		src := &list[i]
		given := len(src.Addresses) > 0
		if !given && old != nil && old.Spec.VSwitch != nil {
			src.Addresses = slices.Clone(addressesOf(old.Spec.VSwitch.SourceAddresses, src.External))
		}
		ref := intent.ExternalRef(src.External)
		ext, ok := have(ref).(*intent.ExternalNetwork)
		if !ok {
			w.deps = append(w.deps, at(w.s.keys.object(ref), 0))
			continue
		}
		w.deps = append(w.deps, unchanged(w.s.keys.object(ref), ext))
		for j, a := range src.Addresses {
			if !ext.Pool(a).IsValid() {
				f.Add(fmt.Sprintf("%s.addresses[%d]", sourceField(i), j), "%s is in no pool of %s, which has %v", a, ext.Ref(), ext.Spec.Pools)
			}
		}
		if given || f.Err() != nil {
			continue
		}
		if err := w.allocSources(ctx, i, src, ext); err != nil {
			return err
		}
	}
	return f.Err()
}

func sourceField(i int) string { return fmt.Sprintf("spec.vswitch.sourceAddresses[%d]", i) }

func addressesOf(list []intent.SourceAddress, external string) []netip.Addr {
	for _, s := range list {
		if s.External == external {
			return s.Addresses
		}
	}
	return nil
}

// allocSources chooses a source address of each family that the pools have and
// that is not there yet.
func (w *write) allocSources(ctx context.Context, i int, src *intent.SourceAddress, ext *intent.ExternalNetwork) error {
	for _, v4 := range []bool{true, false} {
		is := func(a netip.Addr) bool { return a.Is4() == v4 }
		if slices.ContainsFunc(src.Addresses, is) || !slices.ContainsFunc(ext.Spec.Pools, func(p netip.Prefix) bool { return is(p.Addr()) }) {
			continue
		}
		var a netip.Addr
		if err := w.allocOutside(ctx, fmt.Sprintf("%s.addresses[%d]", sourceField(i), len(src.Addresses)), ext, v4, &a); err != nil {
			return err
		}
		src.Addresses = append(src.Addresses, a)
	}
	return nil
}

// settleSources gives nodes that name an external network without addresses
// theirs, now that it is there. A node for which none is free stays without.
func (s *Store) settleSources(ctx context.Context, o intent.Object) error {
	ext, ok := o.(*intent.ExternalNetwork)
	if !ok {
		return nil
	}
	var nodes []intent.Ref
	_, err := s.pages(ctx, s.keys.sources(ext.Metadata.Name), 0, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			nodes = append(nodes, decodeRef(kv.Value))
		}
		return nil
	})
	for _, r := range nodes {
		if err != nil {
			break
		}
		err = retry(ctx, r, func() error {
			o, err := s.Get(ctx, r)
			n, ok := o.(*intent.Node)
			if err != nil || !ok || n.Spec.VSwitch == nil || len(addressesOf(n.Spec.VSwitch.SourceAddresses, ext.Metadata.Name)) > 0 {
				return ignore(err, ErrNotFound, ErrBroken)
			}
			if _, err = s.putAlone(ctx, n, PutOptions{IfMatch: n.Metadata.Revision}); errors.Is(err, ErrRevision) {
				return errRaced
			}
			return ignore(err, ErrExhausted)
		})
	}
	if err != nil {
		return fmt.Errorf("%s is written, but choosing source addresses of nodes failed: %w; write it again", ext.Ref(), err)
	}
	return nil
}

// ignore is nil for some causes of an error.
func ignore(err error, causes ...error) error {
	if slices.ContainsFunc(causes, func(c error) bool { return errors.Is(err, c) }) {
		return nil
	}
	return err
}
