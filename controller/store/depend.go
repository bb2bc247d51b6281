package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
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
		refs = append(refs, o.ACLRefs()...)
	case *intent.NetworkACL:
		refs = append(refs, intent.Ref{Kind: intent.KindTenant, Name: o.Metadata.Tenant})
	case *intent.SecurityGroup:
		refs = append(refs, intent.Ref{Kind: intent.KindTenant, Name: o.Metadata.Tenant})
		refs = append(refs, namedGroups(o)...)
	case *intent.Router:
		refs = append(refs, intent.Ref{Kind: intent.KindTenant, Name: o.Metadata.Tenant})
		for _, n := range o.Spec.Networks {
			refs = append(refs, o.NetworkRef(n))
		}
		refs = append(refs, hopPorts(o)...)
		if o.Spec.External != nil {
			refs = append(refs, o.Spec.External.Ref())
		}
	case *intent.ExternalNetwork:
		for _, b := range o.Spec.Borders {
			refs = append(refs, b.NodeRef())
		}
	case *intent.FloatingIP:
		refs = append(refs, intent.Ref{Kind: intent.KindTenant, Name: o.Metadata.Tenant}, o.ExternalRef(), o.PortRef())
	case *intent.Node:
		if o.Spec.VSwitch != nil {
			for _, s := range o.Spec.VSwitch.SourceAddresses {
				refs = append(refs, intent.ExternalRef(s.External))
			}
		}
	case *intent.Port:
		refs = append(refs, o.NetworkRef())
		for _, n := range []string{o.Spec.Binding.Node, o.Spec.Requested.Node} {
			if n != "" {
				refs = append(refs, intent.Ref{Kind: intent.KindNode, Name: n})
			}
		}
		refs = append(refs, o.GroupRefs()...)
	case *intent.Interconnect:
		for _, n := range o.Spec.Networks {
			refs = append(refs, n.Ref())
		}
		for _, l := range o.Spec.Lines {
			refs = append(refs, l.NodeRef())
		}
	case *intent.SteeringPolicy:
		if s := o.Spec.Scope; s.Tenant != "" {
			refs = append(refs, intent.Ref{Kind: intent.KindTenant, Name: s.Tenant})
			if s.Network != "" {
				refs = append(refs, intent.Ref{Kind: intent.KindNetwork, Tenant: s.Tenant, Name: s.Network})
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

// lookup reads objects at one revision, maxOps of them by a transaction.
func (s *Store) lookup(ctx context.Context, refs []intent.Ref) (map[intent.Ref]found, int64, error) {
	for {
		out, rev, err := s.lookupOnce(ctx, refs)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return out, rev, err
		}
	}
}

func (s *Store) lookupOnce(ctx context.Context, refs []intent.Ref) (map[intent.Ref]found, int64, error) {
	out, rev := make(map[intent.Ref]found, len(refs)), int64(0)
	for len(refs) > 0 {
		n := min(len(refs), s.maxOps)
		ops := make([]clientv3.Op, n)
		for i, r := range refs[:n] {
			ops[i] = clientv3.OpGet(s.keys.object(r), clientv3.WithRev(rev))
		}
		r, err := s.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", refs[0], err)
		}
		for i, ref := range refs[:n] {
			if kvs := r.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
				var f found
				f.object, f.broken = s.readKV(kvs[0])
				out[ref] = f
			}
		}
		if rev == 0 {
			rev = r.Header.Revision
		}
		refs = refs[n:]
	}
	return out, rev, nil
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
	for i, r := range mentions(w.want) {
		switch f := have[r]; {
		case i == 0:
			w.old, w.bad = f.object, f.broken // a broken one is written over
		case f.broken != nil:
			return f.broken
		}
	}
	named := func(r intent.Ref) intent.Object { return have[r].object }
	switch o := w.want.(type) {
	case *intent.Network:
		return w.network(ctx, o, named)
	case *intent.NetworkACL:
		return w.inTenant(o, named)
	case *intent.SecurityGroup:
		return w.group(ctx, o, named)
	case *intent.Port:
		return w.port(ctx, o, named)
	case *intent.Router:
		return w.router(ctx, o, named)
	case *intent.Interconnect:
		return w.interconnect(o, named)
	case *intent.SteeringPolicy:
		return w.steering(ctx, o, named)
	case *intent.Node:
		if err := w.sources(ctx, o, named); err != nil {
			return err
		}
		return w.node(ctx, o)
	case *intent.Fabric:
		return w.fabric(ctx, o)
	case *intent.ExternalNetwork:
		return w.externalNetwork(ctx, o, named)
	case *intent.FloatingIP:
		return w.floatingIP(ctx, o, named)
	case *intent.Link:
		return w.link(o, named)
	}
	return nil
}

func (w *write) network(ctx context.Context, n *intent.Network, have func(intent.Ref) intent.Object) error {
	if err := w.inTenant(n, have); err != nil {
		return err
	}
	if err := w.judged(n, have); err != nil {
		return err
	}
	if err := w.capable(ctx, n); err != nil {
		return err
	}
	if n.Spec.MTU == 0 {
		n.Spec.MTU = intent.DefaultMTU
	}
	old, _ := w.old.(*intent.Network)
	if old != nil && n.Spec.VNI == 0 {
		n.Spec.VNI = old.Spec.VNI
	}
	if w.bad != nil || old != nil && !slices.Equal(n.Spec.Subnets, old.Spec.Subnets) {
		if err := w.subnets(ctx, n); err != nil {
			return err
		}
		if err := w.routed(ctx, n); err != nil {
			return err
		}
	}
	if n.Spec.VNI == 0 {
		return w.allocVNI(ctx, n.Ref(), &n.Spec.VNI)
	}
	return nil
}

// subnets checks that addresses of ports stay inside the subnets. Those of the
// router that the network is on become others with them.
func (w *write) subnets(ctx context.Context, n *intent.Network) error {
	var (
		outside []string
		total   int
		prefix  = w.s.keys.addrs(n.Ref())
	)
	_, err := w.s.pages(ctx, prefix, w.rev, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			owner := decodeRef(kv.Value)
			if owner.Kind == intent.KindRouter {
				w.held = append(w.held, string(kv.Key))
				continue
			}
			a, ok := addrOf(string(kv.Key))
			if s := n.Subnet(a); !ok || s.IsValid() && intent.HostAddress(s, a) {
				continue
			}
			if total++; total <= shown {
				outside = append(outside, fmt.Sprintf("%s of %s", a, owner))
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

// port checks a port against its network, the nodes and the groups that it
// names, and completes it.
func (w *write) port(ctx context.Context, p *intent.Port, have func(intent.Ref) intent.Object) error {
	f := intent.NewFaults(p.Ref())
	n, ok := have(p.NetworkRef()).(*intent.Network)
	if !ok {
		f.Add("spec.network", "names an unknown network %q of tenant %s", p.Spec.Network, p.Metadata.Tenant)
	}
	w.portNode(f, "spec.binding.node", p.Spec.Binding.Node, n, p, have)
	w.portNode(f, "spec.requested.node", p.Spec.Requested.Node, n, p, have)
	w.portGroups(f, p, have)
	if err := f.Err(); err != nil {
		return err
	}
	w.deps = append(w.deps, unchanged(w.s.keys.object(n.Ref()), n))
	old, _ := w.old.(*intent.Port)
	if w.bad != nil || old != nil && old.Spec.Network != p.Spec.Network {
		if err := w.hop(ctx, p); err != nil {
			return err
		}
	}
	if old != nil {
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
	if err := intent.CheckPort(p, n); err != nil {
		return err
	}
	return w.floats(ctx, p)
}

// portNode checks that a node which a port names exists and can serve it.
func (w *write) portNode(f *intent.Faults, field, name string, n *intent.Network, p *intent.Port, have func(intent.Ref) intent.Object) {
	if name == "" {
		return
	}
	node, ok := have(intent.Ref{Kind: intent.KindNode, Name: name}).(*intent.Node)
	if !ok {
		f.Add(field, "names an unknown node %q", name)
		return
	}
	if key := w.s.keys.object(node.Ref()); particular(n, p) {
		w.deps = append(w.deps, unchanged(key, node)) // it must not become an edge that can't
	} else {
		w.deps = append(w.deps, exists(key))
	}
	if why := incapable(node, n, p); why != "" {
		f.Add(field, "%s", why)
	}
}

// judged checks that a network's ACLs exist.
func (w *write) judged(n *intent.Network, have func(intent.Ref) intent.Object) error {
	f := intent.NewFaults(n.Ref())
	for i, s := range n.Spec.ACLs {
		if have(n.ACLRef(s)) == nil {
			f.Add(fmt.Sprintf("spec.acls[%d].acl", i), "names an unknown network ACL %q of tenant %s", s.ACL, n.Metadata.Tenant)
		}
	}
	for _, r := range n.ACLRefs() {
		w.deps = append(w.deps, exists(w.s.keys.object(r)))
	}
	return f.Err()
}

// capable checks that the nodes of a network's ports can do what it asks for from
// now on.
func (w *write) capable(ctx context.Context, n *intent.Network) error {
	old, _ := w.old.(*intent.Network)
	if old == nil {
		return nil
	}
	encapsulation := !n.Spec.Encapsulation.Standard() && n.Spec.Encapsulation.Full() != old.Spec.Encapsulation.Full()
	if !encapsulation && (len(n.Spec.ACLs) == 0 || len(old.Spec.ACLs) > 0) {
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
	if err := f.Err(); err != nil {
		return err
	}
	return w.stretched(ctx, n)
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
			if why := incapable(node, n, nil); why != "" {
				field := "spec.encapsulation"
				if n.Spec.Encapsulation.Standard() {
					field = "spec.acls"
				}
				f.Add(field, "%s is bound there: %s", ref, why)
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
// networks of its ports, and serve these, and that a border stays one.
func (w *write) node(ctx context.Context, n *intent.Node) error {
	if err := w.staysBorder(ctx, n); err != nil {
		return err
	}
	old, _ := w.old.(*intent.Node)
	if old == nil || edgeOnly(n) == "" || edgeOnly(n) == edgeOnly(old) {
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
			nw, _ := net.(*intent.Network)
			if why := incapable(n, nw, port); why != "" {
				f.Add("spec", "%s is bound here: %s", port.Ref(), why)
			}
			err = w.owners(ctx, w.s.keys.floatsOf(port.Ref()), func(_ string, owner intent.Ref) error {
				f.Add("spec", "%s is bound here, for which %s stands: %s is a %s, which can't translate addresses", port.Ref(), owner, n.Metadata.Name, edgeOnly(n))
				return nil
			})
			if err != nil {
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

func (w *write) link(l *intent.Link, have func(intent.Ref) intent.Object) error {
	f := intent.NewFaults(l.Ref())
	for i, e := range l.Spec.Endpoints {
		node := intent.Ref{Kind: intent.KindNode, Name: e.Node}
		if have(node) == nil {
			f.Add(fmt.Sprintf("spec.endpoints[%d].node", i), "names an unknown node %q", e.Node)
			continue
		}
		w.deps = append(w.deps, exists(w.s.keys.object(node)))
	}
	return f.Err()
}
