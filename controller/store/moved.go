package store

import (
	"context"
	"errors"

	"github.com/weft-sdn/weft/controller/intent"
)

// Moved writes that a port came to the place that was requested for it: it is
// bound there from now on, unless it is bound by iface-id and only a node was
// requested; and nothing is requested any more. When something else is requested by now, or the port is
// gone, it writes nothing.
func (s *Store) Moved(ctx context.Context, port intent.Ref, to intent.Place) error {
	return retry(ctx, port, func() error {
		o, err := s.Get(ctx, port)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		p := o.(*intent.Port)
		q := p.Spec.Requested
		if q.Node != to.Node || q.Interface != "" && q.Interface != to.Interface {
			return nil
		}
		p.Spec.Requested = intent.Place{}
		if p.Spec.Binding.IfaceID == "" || q.Interface != "" {
			p.Spec.Binding = intent.Binding{Node: to.Node, Interface: to.Interface}
		}
		_, err = s.Put(ctx, p, PutOptions{IfMatch: p.Metadata.Revision})
		if errors.Is(err, ErrRevision) {
			return errRaced
		}
		return err
	})
}
