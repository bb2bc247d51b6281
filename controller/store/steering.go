package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/steering"
)

// steering checks a policy against the fabric and the policies that there are: what it
// names exists, it asks for ways that there are, and no two policies say different
// things about the same traffic. Switches and links may leave later; the policy's
// status tells then.
func (w *write) steering(ctx context.Context, p *intent.SteeringPolicy, have func(intent.Ref) intent.Object) error {
	f := intent.NewFaults(p.Ref())
	if s := p.Spec.Scope; s.Tenant != "" {
		tenant := intent.Ref{Kind: intent.KindTenant, Name: s.Tenant}
		if have(tenant) == nil {
			f.Add("spec.scope.tenant", "names an unknown tenant %q", s.Tenant)
		} else {
			w.deps = append(w.deps, exists(w.s.keys.object(tenant)))
		}
		if s.Network != "" {
			network := intent.Ref{Kind: intent.KindNetwork, Tenant: s.Tenant, Name: s.Network}
			if have(network) == nil {
				f.Add("spec.scope.network", "names an unknown network %q of tenant %s", s.Network, s.Tenant)
			} else {
				w.deps = append(w.deps, exists(w.s.keys.object(network)))
			}
		}
	}
	if err := f.Err(); err != nil {
		return err
	}
	prefix := w.s.keys.kind(intent.KindSteeringPolicy, "")
	w.deps = append(w.deps, untouched(prefix, w.rev))
	if p.Spec.Freeze || !p.Spec.Active(w.s.now()) {
		return nil
	}
	network, err := w.switches(ctx)
	if err != nil {
		f.Add("spec", "the fabric can't be steered: %v", err)
		return f.Err()
	}
	for _, via := range p.Spec.Via() {
		if network.drained[via] {
			f.Add("spec", "%s is drained: no traffic is sent by it (weft fabric undrain %s)", via, via)
		}
	}
	if err := f.Err(); err != nil {
		return err
	}
	policies := []steering.Policy{steering.PolicyOf(p)}
	err = w.each(ctx, intent.KindSteeringPolicy, func(o intent.Object) {
		if o, ok := o.(*intent.SteeringPolicy); ok && o.Metadata.Name != p.Metadata.Name {
			policies = append(policies, steering.PolicyOf(o))
		}
	})
	if err != nil {
		return err
	}
	// What does not fit any longer, of those that there are, is no fault of this one.
	if _, err := steering.Compile(network.Network, policies[:1], w.s.now()); err != nil {
		f.Add("spec", "%v", err)
		return f.Err()
	}
	others, _, err := steering.Fit(network.Network, policies[1:], w.s.now())
	if err == nil {
		_, err = steering.Compile(network.Network, append(policies[:1], others.Policies()...), w.s.now())
	}
	if err != nil {
		f.Add("spec", "%v", err)
	}
	return f.Err()
}

// switches are the fabric, and which of them are drained.
type switches struct {
	*steering.Network
	drained map[string]bool
}

// switches reads the fabric. Capacities don't matter for what is checked.
func (w *write) switches(ctx context.Context) (*switches, error) {
	var nodes []*intent.Node
	var links []*intent.Link
	for _, k := range []intent.Kind{intent.KindNode, intent.KindLink} {
		err := w.each(ctx, k, func(o intent.Object) {
			switch o := o.(type) {
			case *intent.Node:
				nodes = append(nodes, o)
			case *intent.Link:
				links = append(links, o)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	out := &switches{drained: map[string]bool{}}
	for _, n := range nodes {
		out.drained[n.Metadata.Name] = n.Spec.Drains()
	}
	graph, _ := fabric.Stated(nodes, links)
	var err error
	out.Network, err = steering.NewNetwork(graph, steering.Capacities{Default: 1})
	return out, err
}

// each reads the objects of a kind that can be read, at the revision of this attempt.
func (w *write) each(ctx context.Context, k intent.Kind, f func(intent.Object)) error {
	_, err := w.s.pages(ctx, w.s.keys.kind(k, ""), w.rev, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			if o, broken := w.s.readKV(kv); broken == nil {
				f(o)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read all %s: %w", k.Plural(), err)
	}
	return nil
}
