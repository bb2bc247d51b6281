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
	key := w.s.keys.onRouter(p.NetworkRef())
	resp, err := w.s.client.Get(ctx, key, clientv3.WithRev(w.rev))
	if err != nil {
		return fmt.Errorf("read the router of %s: %w", p.NetworkRef(), err)
	}
	if len(resp.Kvs) == 0 {
		f.Add(field, "%s is on %s, which is on no router: put it on one with spec.external.network %s", p.Ref(), p.NetworkRef(), i.Spec.External)
		return nil
	}
	o, err := w.at(ctx, decodeRef(resp.Kvs[0].Value))
	if err != nil {
		return err
	}
	r, ok := o.(*intent.Router)
	if !ok {
		return fmt.Errorf("key %s of the store names %s, which does not exist", key, decodeRef(resp.Kvs[0].Value))
	}
	w.deps = append(w.deps, unchanged(w.s.keys.object(r.Ref()), r))
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
