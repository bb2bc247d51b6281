package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/ipam"
)

// externalNetwork checks an external network against its borders and against
// what has addresses of it or announces prefixes there.
func (w *write) externalNetwork(ctx context.Context, n *intent.ExternalNetwork, have func(intent.Ref) intent.Object) error {
	f := intent.NewFaults(n.Ref())
	for i, b := range n.Spec.Borders {
		field := fmt.Sprintf("spec.borders[%d]", i)
		node, ok := have(b.NodeRef()).(*intent.Node)
		if !ok {
			f.Add(field+".node", "names an unknown node %q", b.Node)
			continue
		}
		w.deps = append(w.deps, unchanged(w.s.keys.object(node.Ref()), node))
		if why := noBorder(node, b); why != "" {
			f.Add(field+".node", "%s", why)
		}
	}
	old, _ := w.old.(*intent.ExternalNetwork)
	if old == nil || !slices.Equal(old.Spec.Pools, n.Spec.Pools) {
		if err := w.pools(ctx, f, n); err != nil {
			return err
		}
	}
	if err := f.Err(); err != nil {
		return err
	}
	if old != nil && n.Spec.VNI == 0 {
		n.Spec.VNI = old.Spec.VNI
	}
	if n.Spec.VNI == 0 {
		return w.allocVNI(ctx, n.Ref(), &n.Spec.VNI)
	}
	return nil
}

// noBorder says why a node can't be a border, or nothing when it can.
func noBorder(node *intent.Node, b intent.Border) string {
	switch {
	case node.Spec.EVPN == nil:
		return fmt.Sprintf("%s is no BGP EVPN leaf: only such a leaf can lead outside", b.Node)
	case node.Spec.EVPN.Unmanaged && len(b.Peers) > 0:
		return fmt.Sprintf("%s is unmanaged, so someone else configures its BGP: leave peers out", b.Node)
	}
	return ""
}

// pools checks that addresses in use stay in the pools and that prefixes which
// routers announce stay outside.
func (w *write) pools(ctx context.Context, f *intent.Faults, n *intent.ExternalNetwork) error {
	var outside, inside []string
	err := w.owners(ctx, w.s.keys.outside(n.Metadata.Name), func(key string, owner intent.Ref) error {
		if a, ok := addrOf(key); ok && !n.Pool(a).IsValid() {
			outside = append(outside, fmt.Sprintf("%s of %s", a, owner))
		}
		return nil
	})
	if err == nil {
		err = w.owners(ctx, w.s.keys.advertised(n.Metadata.Name), func(key string, owner intent.Ref) error {
			p := w.s.keys.advertisedPrefix(n.Metadata.Name, key)
			if i := slices.IndexFunc(n.Spec.Pools, p.Overlaps); i >= 0 {
				inside = append(inside, fmt.Sprintf("%s of %s", p, owner))
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("read what uses %s: %w", n.Ref(), err)
	}
	if len(outside) > 0 {
		f.Add("spec.pools", "leave out addresses in use: %s; change these first", some(outside))
	}
	if len(inside) > 0 {
		f.Add("spec.pools", "overlap prefixes that are announced: %s; change these first", some(inside))
	}
	return nil
}

// some names the first few.
func some(of []string) string {
	if n := len(of) - shown; n > 0 {
		of = append(of[:shown:shown], fmt.Sprintf("%d more", n))
	}
	return strings.Join(of, ", ")
}

// owners reads the keys under a prefix at the revision of this attempt, which
// must be untouched until the commit.
func (w *write) owners(ctx context.Context, prefix string, f func(key string, owner intent.Ref) error) error {
	_, err := w.s.pages(ctx, prefix, w.rev, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			if err := f(string(kv.Key), decodeRef(kv.Value)); err != nil {
				return err
			}
		}
		return nil
	})
	w.deps = append(w.deps, untouched(prefix, w.rev))
	return err
}

// joined checks a router against its external network: that it exists, and that
// what the router announces there meets neither its pools nor what other routers
// announce.
func (w *write) joined(ctx context.Context, r *intent.Router, have func(intent.Ref) intent.Object) error {
	x := r.Spec.External
	if x == nil {
		return nil
	}
	f := intent.NewFaults(r.Ref())
	ext, ok := have(x.Ref()).(*intent.ExternalNetwork)
	if !ok {
		f.Add("spec.external.network", "names an unknown external network %q", x.Network)
		return f.Err()
	}
	key := w.s.keys.object(ext.Ref())
	if len(x.Advertise) == 0 {
		w.deps = append(w.deps, exists(key))
		return nil
	}
	w.deps = append(w.deps, unchanged(key, ext))
	for i, p := range x.Advertise {
		if j := slices.IndexFunc(ext.Spec.Pools, p.Overlaps); j >= 0 {
			f.Add(fmt.Sprintf("spec.external.advertise[%d]", i), "%s overlaps %s, a pool of %s", p, ext.Spec.Pools[j], ext.Ref())
		}
	}
	err := w.owners(ctx, w.s.keys.advertised(x.Network), func(key string, owner intent.Ref) error {
		q := w.s.keys.advertisedPrefix(x.Network, key)
		if i := slices.IndexFunc(x.Advertise, q.Overlaps); i >= 0 && owner != r.Ref() {
			f.Add(fmt.Sprintf("spec.external.advertise[%d]", i), "%s overlaps %s, which %s announces to %s: nobody outside can tell them apart", x.Advertise[i], q, owner, ext.Ref())
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what is announced to %s: %w", ext.Ref(), err)
	}
	return f.Err()
}

// allocOutside chooses an address of an external network, of a family.
func (w *write) allocOutside(ctx context.Context, field string, ext *intent.ExternalNetwork, v4 bool, to *netip.Addr) error {
	s := w.s
	for _, pool := range ext.Spec.Pools {
		if pool.Addr().Is4() != v4 {
			continue
		}
		hosts := s.hostPool(hostsKey{ext.Ref(), pool})
		a, err := hosts.take(w.raced, func() ([]netip.Addr, error) {
			taken := map[netip.Addr]bool{}
			err := s.eachKey(ctx, s.keys.outside(ext.Metadata.Name), func(key string) {
				if a, ok := addrOf(key); ok {
					taken[a] = true
				}
			})
			if err != nil {
				return nil, err
			}
			return collect(taken, func(taken func(netip.Addr) bool, hint netip.Addr) (netip.Addr, error) {
				return ipam.NextAddr(pool, taken, hint)
			})
		})
		if errors.Is(err, ipam.ErrExhausted) {
			continue
		}
		if err != nil {
			return fmt.Errorf("choose an address of %s: %w", ext.Ref(), err)
		}
		*to = a
		w.chose(field, func() { hosts.give(a) })
		return nil
	}
	name := "IPv6"
	if v4 {
		name = "IPv4"
	}
	return &ExhaustedError{w.want.Ref(), field, fmt.Sprintf("no %s address is free in the pools %v of %s: add one, or delete a floating IP", name, ext.Spec.Pools, ext.Ref())}
}

// staysBorder checks that a node which leads outside can still do it.
func (w *write) staysBorder(ctx context.Context, n *intent.Node) error {
	old, _ := w.old.(*intent.Node)
	if w.bad == nil && (old == nil || old.Spec.EVPN == nil || n.Spec.EVPN != nil && n.Spec.EVPN.Unmanaged == old.Spec.EVPN.Unmanaged) {
		return nil
	}
	f := intent.NewFaults(n.Ref())
	err := w.owners(ctx, w.s.keys.borderOf(n.Metadata.Name), func(_ string, owner intent.Ref) error {
		o, err := w.at(ctx, owner)
		ext, ok := o.(*intent.ExternalNetwork)
		if err != nil || !ok {
			return err
		}
		for _, b := range ext.Spec.Borders {
			if why := noBorder(n, b); why != "" && b.Node == n.Metadata.Name {
				f.Add("spec.evpn", "does not fit %s, of which the node is a border: %s", owner, why)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read of what %s is a border: %w", n.Ref(), err)
	}
	return f.Err()
}
