package store

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// shown is how many objects a sentence names.
const shown = 3

// read reads the object and what it names at one revision, checks the one
// against the other, and completes what was left out.
func (w *write) read(ctx context.Context) error {
	k := w.s.keys
	refs := []intent.Ref{w.want.Ref()}
	switch o := w.want.(type) {
	case *intent.Network:
		refs = append(refs, intent.Ref{Kind: intent.KindTenant, Name: o.Metadata.Tenant})
	case *intent.Port:
		refs = append(refs, o.NetworkRef())
		if n := o.Spec.Binding.Node; n != "" {
			refs = append(refs, intent.Ref{Kind: intent.KindNode, Name: n})
		}
	case *intent.Link:
		for _, e := range o.Spec.Endpoints {
			refs = append(refs, intent.Ref{Kind: intent.KindNode, Name: e.Node})
		}
	}
	ops := make([]clientv3.Op, len(refs))
	for i, r := range refs {
		ops[i] = clientv3.OpGet(k.object(r))
	}
	r, err := w.s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return fmt.Errorf("read %s: %w", refs[0], err)
	}
	w.rev = r.Header.Revision
	got := make([]intent.Object, len(refs))
	for i := range refs {
		if kvs := r.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
			if got[i], err = w.s.decodeKV(kvs[0]); err != nil {
				return err
			}
		}
	}
	w.old = got[0]
	switch o := w.want.(type) {
	case *intent.Network:
		return w.network(ctx, o, got[1])
	case *intent.Port:
		return w.port(ctx, o, got[1:])
	case *intent.Link:
		return w.link(o, got[1:])
	}
	return nil
}

func (w *write) network(ctx context.Context, n *intent.Network, tenant intent.Object) error {
	if tenant == nil {
		f := intent.NewFaults(n.Ref())
		f.Add("metadata.tenant", "names an unknown tenant %q", n.Metadata.Tenant)
		return f.Err()
	}
	w.deps = append(w.deps, exists(w.s.keys.object(tenant.Ref())))
	if n.Spec.MTU == 0 {
		n.Spec.MTU = intent.DefaultMTU
	}
	old, _ := w.old.(*intent.Network)
	if old != nil {
		if n.Spec.VNI == 0 {
			n.Spec.VNI = old.Spec.VNI
		}
		if err := w.subnets(ctx, n, old); err != nil {
			return err
		}
	}
	if n.Spec.VNI == 0 {
		return w.allocVNI(ctx, n)
	}
	return nil
}

// subnets checks that addresses in use stay inside the subnets.
func (w *write) subnets(ctx context.Context, n, old *intent.Network) error {
	same := len(n.Spec.Subnets) == len(old.Spec.Subnets)
	for i := range old.Spec.Subnets {
		same = same && n.Spec.Subnets[i] == old.Spec.Subnets[i]
	}
	if same {
		return nil
	}
	var (
		outside []string
		total   int
		prefix  = w.s.keys.addrs(n.Ref())
	)
	_, err := w.s.pages(ctx, prefix, w.rev, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			a, ok := addrOf(string(kv.Key))
			if s := n.Subnet(a); !ok || s.IsValid() && intent.HostAddress(s, a) {
				continue
			}
			if total++; total <= shown {
				outside = append(outside, fmt.Sprintf("%s of %s", a, decodeRef(kv.Value)))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read addresses of %s: %w", n.Ref(), err)
	}
	if total > 0 {
		if total > shown {
			outside = append(outside, fmt.Sprintf("%d more", total-shown))
		}
		f := intent.NewFaults(n.Ref())
		f.Add("spec.subnets", "leave out addresses in use: %s; change these ports first", strings.Join(outside, ", "))
		return f.Err()
	}
	w.deps = append(w.deps, untouched(prefix, w.rev))
	return nil
}

// port checks a port; deps are its network and, for a binding, its node.
func (w *write) port(ctx context.Context, p *intent.Port, deps []intent.Object) error {
	f := intent.NewFaults(p.Ref())
	n, ok := deps[0].(*intent.Network)
	if !ok {
		f.Add("spec.network", "names an unknown network %q of tenant %s", p.Spec.Network, p.Metadata.Tenant)
	}
	if len(deps) > 1 && deps[1] == nil {
		f.Add("spec.binding.node", "names an unknown node %q", p.Spec.Binding.Node)
	}
	if err := f.Err(); err != nil {
		return err
	}
	w.deps = append(w.deps, unchanged(w.s.keys.object(n.Ref()), n))
	for _, d := range deps[1:] {
		w.deps = append(w.deps, exists(w.s.keys.object(d.Ref())))
	}
	if old, _ := w.old.(*intent.Port); old != nil {
		moved := old.Spec.Network != p.Spec.Network
		// A port that moves takes its MAC along, unless the new network has it.
		if p.Spec.MAC.IsZero() && !w.taken[w.s.keys.mac(p.NetworkRef(), old.Spec.MAC)] {
			p.Spec.MAC = old.Spec.MAC
			w.chose("spec.mac", func() {})
		}
		if p.Spec.Addresses == nil && !moved {
			p.Spec.Addresses = append([]netip.Addr(nil), old.Spec.Addresses...)
		}
	}
	if p.Spec.MAC.IsZero() {
		if err := w.allocMAC(p); err != nil {
			return err
		}
	}
	if len(p.Spec.Addresses) == 0 {
		if err := w.allocAddrs(ctx, p, n); err != nil {
			return err
		}
	}
	return intent.CheckPort(p, n)
}

func (w *write) link(l *intent.Link, nodes []intent.Object) error {
	f := intent.NewFaults(l.Ref())
	for i, n := range nodes {
		if n == nil {
			f.Add(fmt.Sprintf("spec.endpoints[%d].node", i), "names an unknown node %q", l.Spec.Endpoints[i].Node)
			continue
		}
		w.deps = append(w.deps, exists(w.s.keys.object(n.Ref())))
	}
	return f.Err()
}
