package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// interconnect checks that the networks which an interconnect stretches exist and
// are of the encapsulation that other fabrics understand, and that its lines begin at
// leaves.
func (w *write) interconnect(c *intent.Interconnect, have func(intent.Ref) intent.Object) error {
	f := intent.NewFaults(c.Ref())
	for i, sn := range c.Spec.Networks {
		field := fmt.Sprintf("spec.networks[%d].network", i)
		n, ok := have(sn.Ref()).(*intent.Network)
		if !ok {
			f.Add(field, "names an unknown network %q of tenant %s", sn.Network, sn.Tenant)
			continue
		}
		if !n.Spec.Encapsulation.Standard() {
			f.Add(field, "%s is carried by %s: only VXLAN on port 4789 is understood by another fabric", n.Ref(), n.Spec.Encapsulation.Full().Type)
		}
		w.deps = append(w.deps, unchanged(w.s.keys.object(n.Ref()), n))
	}
	for i, l := range c.Spec.Lines {
		field := fmt.Sprintf("spec.lines[%d].node", i)
		switch node, ok := have(l.NodeRef()).(*intent.Node); {
		case !ok:
			f.Add(field, "names an unknown node %q", l.Node)
		case node.Spec.Role != intent.RoleLeaf && node.Spec.Role != intent.RoleBorder:
			f.Add(field, "%s is a %s: lines begin at leaves and border leaves", l.Node, node.Spec.Role)
		default:
			w.deps = append(w.deps, exists(w.s.keys.object(l.NodeRef())))
		}
	}
	return f.Err()
}

// stretched checks that a network that an interconnect stretches stays of the
// encapsulation that other fabrics understand.
func (w *write) stretched(ctx context.Context, n *intent.Network) error {
	prefix := w.s.keys.stretches(n.Ref())
	resp, err := w.s.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(w.rev), clientv3.WithLimit(1))
	if err != nil {
		return fmt.Errorf("read what stretches %s: %w", n.Ref(), err)
	}
	if len(resp.Kvs) == 0 {
		w.deps = append(w.deps, untouched(prefix, w.rev))
		return nil
	}
	f := intent.NewFaults(n.Ref())
	f.Add("spec.encapsulation", "%s stretches the network to another fabric, which understands only VXLAN on port 4789: take it out there first", decodeRef(resp.Kvs[0].Value))
	return f.Err()
}
