package store

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// fabric refuses a change of the fabric that renumbers switches which there are,
// unless it says that it may.
func (w *write) fabric(ctx context.Context, o *intent.Fabric) error {
	old, _ := w.old.(*intent.Fabric)
	if old == nil || o.Spec.Renumber {
		return nil
	}
	fields := old.Spec.Renumbers(o.Spec)
	if len(fields) == 0 {
		return nil
	}
	prefix := w.s.keys.kind(intent.KindNode, "")
	switches := 0
	_, err := w.s.pages(ctx, prefix, w.rev, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			if n, _ := w.s.readKV(kv); n != nil && n.(*intent.Node).Spec.Role.Switch() {
				switches++
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the switches of %s: %w", o.Ref(), err)
	}
	if switches == 0 {
		w.deps = append(w.deps, untouched(prefix, w.rev))
		return nil
	}
	f := intent.NewFaults(o.Ref())
	f.Add(fields[0], "can't be changed while there are %d switches: a change of %s renumbers them or replaces all their sessions; delete them first, or set spec.renumber to true to do it", switches, strings.Join(fields, ", "))
	return f.Err()
}
