package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// hopPorts are the ports that a router's routes name, each once.
func hopPorts(r *intent.Router) []intent.Ref {
	var out []intent.Ref
	for _, rt := range r.Spec.Routes {
		for _, h := range rt.NextHops {
			if ref := r.PortRef(h); h.Port != "" && !slices.Contains(out, ref) {
				out = append(out, ref)
			}
		}
	}
	return out
}

// gateways are the claims of a router's addresses on one of its networks, which
// is the i-th. They follow from both objects, so whichever of them changes
// writes them.
func (k keyspace) gateways(r *intent.Router, i int, n *intent.Network) []claim {
	rn := r.Spec.Networks[i]
	var out []claim
	for _, s := range n.Spec.Subnets {
		a := rn.Gateway(s)
		field := fmt.Sprintf("spec.networks[%d].gateways", i)
		if j := slices.Index(rn.Gateways, a); j >= 0 {
			field = fmt.Sprintf("%s[%d]", field, j)
		}
		out = append(out, claim{key: k.addr(n.Ref(), a), field: field, value: a.String(), owner: r.Ref()})
	}
	return out
}

// router checks a router against its tenant, its networks and the ports that
// its routes name, and claims its addresses.
func (w *write) router(ctx context.Context, r *intent.Router, have func(intent.Ref) intent.Object) error {
	if err := w.inTenant(r, have); err != nil {
		return err
	}
	nets := map[string]*intent.Network{}
	for _, rn := range r.Spec.Networks {
		if n, ok := have(r.NetworkRef(rn)).(*intent.Network); ok {
			nets[rn.Network] = n
			w.deps = append(w.deps, unchanged(w.s.keys.object(n.Ref()), n))
		}
	}
	var faults, more intent.FieldErrors
	errors.As(intent.CheckRouter(r, nets), &faults)
	errors.As(w.hopsExist(r, have), &more)
	if faults = append(faults, more...); len(faults) > 0 {
		return faults
	}
	if err := w.joined(ctx, r, have); err != nil {
		return err
	}
	if err := w.floating(ctx, r); err != nil {
		return err
	}
	for i, rn := range r.Spec.Networks {
		w.gateways = append(w.gateways, w.s.keys.gateways(r, i, nets[rn.Network])...)
	}
	old, _ := w.old.(*intent.Router)
	if old != nil {
		if err := w.heldGateways(ctx, old, nets); err != nil {
			return err
		}
		if r.Spec.VNI == 0 {
			r.Spec.VNI = old.Spec.VNI
		}
	}
	if r.Spec.VNI == 0 {
		if err := w.allocVNI(ctx, r.Ref(), &r.Spec.VNI); err != nil {
			return err
		}
	}
	return w.shared(ctx, "spec", r, nil)
}

// heldGateways notes the addresses that the router has now, also on networks
// that it leaves.
func (w *write) heldGateways(ctx context.Context, old *intent.Router, nets map[string]*intent.Network) error {
	for i, rn := range old.Spec.Networks {
		n := nets[rn.Network]
		if n == nil {
			o, err := w.at(ctx, old.NetworkRef(rn))
			if err != nil {
				return err
			}
			if n, _ = o.(*intent.Network); n == nil {
				continue
			}
			w.deps = append(w.deps, unchanged(w.s.keys.object(n.Ref()), n))
		}
		for _, c := range w.s.keys.gateways(old, i, n) {
			w.held = append(w.held, c.key)
		}
	}
	return nil
}

// hopsExist checks that the ports which routes name exist and are on networks
// of the router.
func (w *write) hopsExist(r *intent.Router, have func(intent.Ref) intent.Object) error {
	f := intent.NewFaults(r.Ref())
	for i, rt := range r.Spec.Routes {
		for j, h := range rt.NextHops {
			if h.Port == "" {
				continue
			}
			field := fmt.Sprintf("spec.routes[%d].nextHops[%d].port", i, j)
			p, ok := have(r.PortRef(h)).(*intent.Port)
			switch {
			case !ok:
				f.Add(field, "names an unknown port %q of tenant %s", h.Port, r.Metadata.Tenant)
			case !joins(r, p.Spec.Network):
				f.Add(field, "%s is on %s, which is not on the router", p.Ref(), p.NetworkRef())
			}
		}
	}
	for _, ref := range hopPorts(r) {
		if p := have(ref); p != nil {
			w.deps = append(w.deps, unchanged(w.s.keys.object(ref), p))
		}
	}
	return f.Err()
}

// joins reports whether a network is on a router.
func joins(r *intent.Router, network string) bool {
	return slices.ContainsFunc(r.Spec.Networks, func(n intent.RouterNetwork) bool { return n.Network == network })
}

// routerOf is the router that a network is on, nil when it is on none. The write is
// done only if that is still so.
func (w *write) routerOf(ctx context.Context, network intent.Ref) (*intent.Router, error) {
	key := w.s.keys.onRouter(network)
	resp, err := w.s.client.Get(ctx, key, clientv3.WithRev(w.rev))
	if err != nil {
		return nil, fmt.Errorf("read the router of %s: %w", network, err)
	}
	if len(resp.Kvs) == 0 {
		w.deps = append(w.deps, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
		return nil, nil
	}
	o, err := w.at(ctx, decodeRef(resp.Kvs[0].Value))
	if err != nil {
		return nil, err
	}
	r, ok := o.(*intent.Router)
	if !ok {
		return nil, fmt.Errorf("key %s of the store names %s, which does not exist", key, decodeRef(resp.Kvs[0].Value))
	}
	w.deps = append(w.deps, unchanged(w.s.keys.object(r.Ref()), r))
	return r, nil
}

// routed checks the subnets of a network against the router that it is on: its
// other networks, its gateways, its next hops. The router's addresses in the
// network become those of the new subnets.
func (w *write) routed(ctx context.Context, n *intent.Network) error {
	r, err := w.routerOf(ctx, n.Ref())
	if r == nil {
		return err
	}
	nets := map[string]*intent.Network{n.Metadata.Name: n}
	for i, rn := range r.Spec.Networks {
		if rn.Network == n.Metadata.Name {
			w.gateways = w.s.keys.gateways(r, i, n)
			continue
		}
		o, err := w.at(ctx, r.NetworkRef(rn))
		if err != nil {
			return err
		}
		if other, ok := o.(*intent.Network); ok {
			nets[rn.Network] = other
			w.deps = append(w.deps, unchanged(w.s.keys.object(other.Ref()), other))
		}
	}
	for i := range w.gateways {
		w.gateways[i].field = "spec.subnets"
		w.gateways[i].value = fmt.Sprintf("%s, gateway of %s,", w.gateways[i].value, r.Ref())
	}
	var faults intent.FieldErrors
	errors.As(intent.CheckRouter(r, nets), &faults)
	f := intent.NewFaults(n.Ref())
	for _, e := range faults {
		f.Add("spec.subnets", "don't fit %s, which the network is on: %s: %s", r.Ref(), e.Field, e.Detail)
	}
	if err := f.Err(); err != nil {
		return err
	}
	return w.shared(ctx, "spec.subnets", r, n)
}

// hop checks that a port that moves to another network stays on the routers
// whose routes name it.
func (w *write) hop(ctx context.Context, p *intent.Port) error {
	f := intent.NewFaults(p.Ref())
	prefix := w.s.keys.hopsOf(p.Ref())
	_, err := w.s.pages(ctx, prefix, w.rev, func(resp *clientv3.GetResponse) error {
		for _, kv := range resp.Kvs {
			o, err := w.at(ctx, decodeRef(kv.Value))
			if err != nil {
				return err
			}
			r, ok := o.(*intent.Router)
			if !ok {
				continue
			}
			w.deps = append(w.deps, unchanged(w.s.keys.object(r.Ref()), r))
			if !joins(r, p.Spec.Network) {
				f.Add("spec.network", "%s is not on %s, whose routes send to the port: put it on the router, or take the port out of its routes", p.NetworkRef(), r.Ref())
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what routes to %s: %w", p.Ref(), err)
	}
	w.deps = append(w.deps, untouched(prefix, w.rev))
	return f.Err()
}
