package store

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// floatingIP checks a floating IP against its external network, its port, and
// the router between them, and completes it.
func (w *write) floatingIP(ctx context.Context, i *intent.FloatingIP, have func(intent.Ref) intent.Object) error {
	if err := w.inTenant(i, have); err != nil {
		return err
	}
	f := intent.NewFaults(i.Ref())
	ext, ok := have(i.ExternalRef()).(*intent.ExternalNetwork)
	if !ok {
		f.Add("spec.external", "names an unknown external network %q", i.Spec.External)
	}
	p, ok := have(i.PortRef()).(*intent.Port)
	if !ok {
		f.Add("spec.port", "names an unknown port %q of tenant %s", i.Spec.Port, i.Metadata.Tenant)
	}
	if err := f.Err(); err != nil {
		return err
	}
	w.deps = append(w.deps, unchanged(w.s.keys.object(ext.Ref()), ext), unchanged(w.s.keys.object(p.Ref()), p))
	if err := w.wayOut(ctx, f, "spec.port", i, p); err != nil {
		return err
	}
	if err := w.translates(ctx, f, "spec.port", p); err != nil {
		return err
	}
	w.keepFloating(i, p)
	if !i.Spec.Fixed.IsValid() {
		i.Spec.Fixed = fixedOf(i.Spec.Address, p, ext)
	}
	switch x, a := i.Spec.Fixed, i.Spec.Address; {
	case !x.IsValid() && a.IsValid():
		f.Add("spec.port", "%s has no %s address, and %s needs one", p.Ref(), family(a), a)
	case !x.IsValid():
		f.Add("spec.port", "%s has the addresses %v, and %s none to give of their families: its pools are %v", p.Ref(), p.Spec.Addresses, ext.Ref(), ext.Spec.Pools)
	case !slices.Contains(p.Spec.Addresses, x):
		f.Add("spec.fixed", "%s is no address of %s, which has %v", x, p.Ref(), p.Spec.Addresses)
	case a.IsValid() && a.Is4() != x.Is4():
		f.Add("spec.fixed", "%s is of another family than %s", x, a)
	case a.IsValid() && !ext.Pool(a).IsValid():
		f.Add("spec.address", "%s is in no pool of %s, which has %v", a, ext.Ref(), ext.Spec.Pools)
	}
	if err := f.Err(); err != nil || i.Spec.Address.IsValid() {
		return err
	}
	return w.allocOutside(ctx, "spec.address", ext, i.Spec.Fixed.Is4(), &i.Spec.Address)
}

// keepFloating keeps what is left out and was there before, if it fits.
func (w *write) keepFloating(i *intent.FloatingIP, p *intent.Port) {
	old, _ := w.old.(*intent.FloatingIP)
	if old == nil {
		return
	}
	given := i.Spec.Address
	if !i.Spec.Fixed.IsValid() && old.Spec.Port == i.Spec.Port && slices.Contains(p.Spec.Addresses, old.Spec.Fixed) &&
		(!given.IsValid() || given.Is4() == old.Spec.Fixed.Is4()) {
		i.Spec.Fixed = old.Spec.Fixed
	}
	if x := i.Spec.Fixed; !given.IsValid() && old.Spec.External == i.Spec.External && (!x.IsValid() || x.Is4() == old.Spec.Address.Is4()) {
		i.Spec.Address = old.Spec.Address
	}
}

// fixedOf is the first address of a port that a floating IP can stand for: of
// its family, or of one that the pools have.
func fixedOf(floating netip.Addr, p *intent.Port, ext *intent.ExternalNetwork) netip.Addr {
	for _, a := range p.Spec.Addresses {
		if floating.IsValid() && floating.Is4() == a.Is4() ||
			!floating.IsValid() && slices.ContainsFunc(ext.Spec.Pools, func(q netip.Prefix) bool { return q.Addr().Is4() == a.Is4() }) {
			return a
		}
	}
	return netip.Addr{}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// wayOut checks that the router of a port's network leads to the external
// network of a floating IP.
func (w *write) wayOut(ctx context.Context, f *intent.Faults, field string, i *intent.FloatingIP, p *intent.Port) error {
	r, err := w.routerOf(ctx, p.NetworkRef())
	if err != nil {
		return err
	}
	if r == nil {
		f.Add(field, "%s is on %s, which is on no router: put it on one with spec.external.network %s", p.Ref(), p.NetworkRef(), i.Spec.External)
		return nil
	}
	if r.Spec.External.Ref() != i.ExternalRef() {
		f.Add(field, "%s is behind %s, which does not lead to %s: give that router spec.external.network %s", p.Ref(), r.Ref(), i.ExternalRef(), i.Spec.External)
	}
	return nil
}

// translates checks that a port with a floating IP is on no node that can't
// translate.
func (w *write) translates(ctx context.Context, f *intent.Faults, field string, p *intent.Port) error {
	for _, name := range []string{p.Spec.Binding.Node, p.Spec.Requested.Node} {
		if name == "" {
			continue
		}
		o, err := w.at(ctx, intent.Ref{Kind: intent.KindNode, Name: name})
		if err != nil {
			return err
		}
		node, ok := o.(*intent.Node)
		if !ok {
			continue
		}
		w.deps = append(w.deps, unchanged(w.s.keys.object(node.Ref()), node))
		if kind := edgeOnly(node); kind != "" {
			f.Add(field, "%s is on %s, a %s, which can't translate addresses: only vSwitches can", p.Ref(), name, kind)
		}
	}
	return nil
}

// floats checks a port that changes against its floating IPs: their fixed
// addresses stay its own, its router leads to their external networks, and its
// edge can translate.
func (w *write) floats(ctx context.Context, p *intent.Port) error {
	old, _ := w.old.(*intent.Port)
	if w.bad == nil && (old == nil || old.Spec.Network == p.Spec.Network && slices.Equal(old.Spec.Addresses, p.Spec.Addresses) &&
		old.Spec.Binding == p.Spec.Binding && old.Spec.Requested == p.Spec.Requested) {
		return nil
	}
	f := intent.NewFaults(p.Ref())
	any := false
	err := w.owners(ctx, w.s.keys.floatsOf(p.Ref()), func(key string, owner intent.Ref) error {
		any = true
		if a, ok := addrOf(key); ok && !slices.Contains(p.Spec.Addresses, a) {
			f.Add("spec.addresses", "leave out %s, for which %s stands: change that first", a, owner)
			return nil
		}
		if old != nil && old.Spec.Network == p.Spec.Network {
			return nil
		}
		o, err := w.at(ctx, owner)
		if i, ok := o.(*intent.FloatingIP); ok && err == nil {
			return w.wayOut(ctx, f, "spec.network", i, p)
		}
		return err
	})
	if err == nil && any {
		err = w.translates(ctx, f, "spec.binding.node", p)
	}
	if err != nil {
		return fmt.Errorf("read floating IPs of %s: %w", p.Ref(), err)
	}
	return f.Err()
}

// floating checks that floating IPs behind a router still have their way out
// when it changes.
func (w *write) floating(ctx context.Context, r *intent.Router) error {
	old, _ := w.old.(*intent.Router)
	if w.bad == nil && (old == nil || old.Spec.External == nil || old.Spec.External.Ref() == r.Spec.External.Ref() &&
		!slices.ContainsFunc(old.Spec.Networks, func(n intent.RouterNetwork) bool { return !joins(r, n.Network) })) {
		return nil
	}
	f := intent.NewFaults(r.Ref())
	err := w.owners(ctx, w.s.keys.floats(r.Metadata.Tenant), func(_ string, owner intent.Ref) error {
		o, err := w.at(ctx, owner)
		i, ok := o.(*intent.FloatingIP)
		if err != nil || !ok {
			return err
		}
		network, mine, err := w.s.behind(ctx, i, r.Ref(), w.rev)
		switch {
		case err != nil || !mine:
			return err
		case !joins(r, network):
			f.Add("spec.networks", "leave out %s, behind which is %s: delete that first", network, owner)
		case r.Spec.External.Ref() != i.ExternalRef():
			f.Add("spec.external", "does not lead to %s, of which %s has its address: delete that first", i.ExternalRef(), owner)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read floating IPs of %s: %w", r.Metadata.Tenant, err)
	}
	return f.Err()
}

// behind tells on which network the port of a floating IP is, and whether that
// is on a router, at a revision.
func (s *Store) behind(ctx context.Context, i *intent.FloatingIP, router intent.Ref, rev int64) (network string, mine bool, err error) {
	resp, err := s.client.Get(ctx, s.keys.object(i.PortRef()), clientv3.WithRev(rev))
	if err != nil || len(resp.Kvs) == 0 {
		return "", false, err
	}
	o, b := s.readKV(resp.Kvs[0])
	p, ok := o.(*intent.Port)
	if b != nil || !ok {
		return "", false, nil // a broken port is judged when it is written again
	}
	resp, err = s.client.Get(ctx, s.keys.onRouter(p.NetworkRef()), clientv3.WithRev(rev))
	if err != nil || len(resp.Kvs) == 0 {
		return "", false, err
	}
	return p.Spec.Network, decodeRef(resp.Kvs[0].Value) == router, nil
}
