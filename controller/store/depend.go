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

// mentions lists the object and what it names.
func mentions(o intent.Object) []intent.Ref {
	refs := []intent.Ref{o.Ref()}
	switch o := o.(type) {
	case *intent.Network:
		refs = append(refs, intent.Ref{Kind: intent.KindTenant, Name: o.Metadata.Tenant})
	case *intent.Port:
		refs = append(refs, o.NetworkRef())
		for _, n := range []string{o.Spec.Binding.Node, o.Spec.Requested.Node} {
			if n != "" {
				refs = append(refs, intent.Ref{Kind: intent.KindNode, Name: n})
			}
		}
	case *intent.Link:
		for _, e := range o.Spec.Endpoints {
			refs = append(refs, intent.Ref{Kind: intent.KindNode, Name: e.Node})
		}
	}
	return refs
}

// found is what a key of the store has: an object, or one that can't be read.
type found struct {
	object intent.Object
	broken *Broken
}

// lookup reads objects at one revision, in one transaction: maxOps of them at
// most.
func (s *Store) lookup(ctx context.Context, refs []intent.Ref) (map[intent.Ref]found, int64, error) {
	ops := make([]clientv3.Op, len(refs))
	for i, r := range refs {
		ops[i] = clientv3.OpGet(s.keys.object(r))
	}
	r, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", refs[0], err)
	}
	out := make(map[intent.Ref]found, len(refs))
	for i, ref := range refs {
		if kvs := r.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
			var f found
			f.object, f.broken = s.readKV(kvs[0])
			out[ref] = f
		}
	}
	return out, r.Header.Revision, nil
}

// read reads the object and what it names at one revision.
func (w *write) read(ctx context.Context) error {
	have, rev, err := w.s.lookup(ctx, mentions(w.want))
	if err != nil {
		return err
	}
	return w.check(ctx, have, rev)
}

// check checks the object against what was read at a revision, and completes
// what was left out.
func (w *write) check(ctx context.Context, have map[intent.Ref]found, rev int64) error {
	w.rev = rev
	refs := mentions(w.want)
	got := make([]intent.Object, len(refs))
	for i, r := range refs {
		if f := have[r]; f.broken == nil {
			got[i] = f.object
		} else if i > 0 {
			return f.broken
		} else {
			w.bad = f.broken // to be written over
		}
	}
	w.old = got[0]
	switch o := w.want.(type) {
	case *intent.Network:
		return w.network(ctx, o, got[1])
	case *intent.Port:
		return w.port(ctx, o, got[1:], refs[1:])
	case *intent.Node:
		return w.node(ctx, o)
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
	if err := w.encapsulation(ctx, n); err != nil {
		return err
	}
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

// port checks a port; deps are its network and the nodes that it names, as they
// were found under refs.
func (w *write) port(ctx context.Context, p *intent.Port, deps []intent.Object, refs []intent.Ref) error {
	f := intent.NewFaults(p.Ref())
	n, ok := deps[0].(*intent.Network)
	if !ok {
		f.Add("spec.network", "names an unknown network %q of tenant %s", p.Spec.Network, p.Metadata.Tenant)
	}
	for i, d := range deps[1:] {
		field := "spec.binding.node"
		if i > 0 || p.Spec.Binding.Node == "" {
			field = "spec.requested.node"
		}
		node, ok := d.(*intent.Node)
		if !ok {
			f.Add(field, "names an unknown node %q", refs[i+1].Name)
		} else if why := incapable(node, n); why != "" {
			f.Add(field, "%s", why)
		}
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

// incapable says why a node can't carry a network, or nothing when it can.
func incapable(node *intent.Node, n *intent.Network) string {
	if n == nil || n.Spec.Encapsulation.Standard() {
		return ""
	}
	kind := ""
	switch {
	case node.Spec.EVPN != nil:
		kind = "BGP EVPN leaf"
	case node.Spec.HardwareVTEP != nil:
		kind = "hardware VTEP"
	default:
		return ""
	}
	return fmt.Sprintf("%s is a %s, which can't do %s, the encapsulation of %s: only vSwitches can; use a hypervisor, or vxlan on port 4789", node.Metadata.Name, kind, n.Spec.Encapsulation, n.Ref())
}

// encapsulation checks that the nodes of a network's ports can do what is asked
// for.
func (w *write) encapsulation(ctx context.Context, n *intent.Network) error {
	old, _ := w.old.(*intent.Network)
	if old == nil || n.Spec.Encapsulation.Standard() || n.Spec.Encapsulation.Full() == old.Spec.Encapsulation.Full() {
		return nil
	}
	f := intent.NewFaults(n.Ref())
	prefix := w.s.keys.macs(n.Ref())
	_, err := w.s.pages(ctx, prefix, w.rev, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			if err := w.portCan(ctx, f, decodeRef(kv.Value), n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read ports of %s: %w", n.Ref(), err)
	}
	w.deps = append(w.deps, untouched(prefix, w.rev))
	return f.Err()
}

// portCan adds a fault when a port is on a node that can't carry the network.
func (w *write) portCan(ctx context.Context, f *intent.Faults, ref intent.Ref, n *intent.Network) error {
	p, err := w.at(ctx, ref)
	port, ok := p.(*intent.Port)
	if err != nil || !ok {
		return err
	}
	for _, name := range []string{port.Spec.Binding.Node, port.Spec.Requested.Node} {
		if name == "" {
			continue
		}
		o, err := w.at(ctx, intent.Ref{Kind: intent.KindNode, Name: name})
		if err != nil {
			return err
		}
		if node, ok := o.(*intent.Node); ok {
			if why := incapable(node, n); why != "" {
				f.Add("spec.encapsulation", "%s is bound there: %s", ref, why)
			}
		}
	}
	return nil
}

// at reads an object at the revision of this attempt; nil when there is none.
func (w *write) at(ctx context.Context, r intent.Ref) (intent.Object, error) {
	resp, err := w.s.client.Get(ctx, w.s.keys.object(r), clientv3.WithRev(w.rev))
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return w.s.decodeKV(resp.Kvs[0])
}

// node checks that a node which becomes another kind of edge can carry the
// networks of its ports.
func (w *write) node(ctx context.Context, n *intent.Node) error {
	old, _ := w.old.(*intent.Node)
	if old == nil || n.Spec.EVPN == nil && n.Spec.HardwareVTEP == nil || (old.Spec.EVPN != nil || old.Spec.HardwareVTEP != nil) {
		return nil
	}
	f := intent.NewFaults(n.Ref())
	prefix := w.s.keys.binds(n.Metadata.Name)
	_, err := w.s.pages(ctx, prefix, w.rev, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			o, err := w.at(ctx, decodeRef(kv.Value))
			if err != nil {
				return err
			}
			port, ok := o.(*intent.Port)
			if !ok {
				continue
			}
			net, err := w.at(ctx, port.NetworkRef())
			if err != nil {
				return err
			}
			if nw, ok := net.(*intent.Network); ok {
				if why := incapable(n, nw); why != "" {
					f.Add("spec", "%s is bound here: %s", port.Ref(), why)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read ports of %s: %w", n.Ref(), err)
	}
	w.deps = append(w.deps, untouched(prefix, w.rev))
	return f.Err()
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
