package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/fabric"
)

// edits are objects as they are to be: nil for those that are to go.
type edits map[intent.Ref]intent.Object

// wired are the kinds of which the fabric's graph is made.
var wired = []intent.Kind{intent.KindNode, intent.KindLink}

// guard refuses edits of the fabric that would leave ports without a way: those on
// nodes that are cut off or go, and drains that take the last way between two
// leaves. It judges by what is there when it is asked. The result are the edits
// to which the refusal applies.
func (s *Server) guard(ctx context.Context, after edits) ([]intent.Ref, error) {
	changed, err := s.rewired(ctx, after)
	if err != nil || len(changed) == 0 {
		return nil, err
	}
	var before, then []intent.Object
	for _, k := range wired {
		l, err := s.cfg.Store.List(ctx, k, store.ListOptions{})
		if err != nil {
			return nil, err
		}
		before = append(before, l.Objects...)
	}
	for _, o := range before {
		if n, edited := after[o.Ref()]; !edited {
			then = append(then, o)
		} else if n != nil {
			then = append(then, n)
		}
	}
	for r, o := range after {
		if o != nil && slices.Contains(wired, r.Kind) && !slices.ContainsFunc(before, func(b intent.Object) bool { return b.Ref() == r }) {
			then = append(then, o)
		}
	}
	loss := fabric.Lost(fabric.Wire(before), fabric.Wire(then))
	if p := s.orphans(after, changed, loss); p != nil {
		return changed, p
	}
	return nil, nil
}

// mayDelete refuses the deletion of a node or link that leaves ports without a way
// which don't go with it.
func (s *Server) mayDelete(ctx context.Context, ref intent.Ref) error {
	if !slices.Contains(wired, ref.Kind) {
		return nil
	}
	all, err := s.cfg.Store.Delete(ctx, ref, store.DeleteOptions{Cascade: true, DryRun: true})
	if err != nil {
		return nil // the deletion tells
	}
	after := edits{}
	for _, r := range all.Deleted {
		after[r] = nil
	}
	_, err = s.guard(ctx, after)
	return err
}

// rewired lists the edits that take something away from the graph, sorted.
func (s *Server) rewired(ctx context.Context, after edits) ([]intent.Ref, error) {
	var out []intent.Ref
	for r, o := range after {
		if !slices.Contains(wired, r.Kind) {
			continue
		}
		old, err := s.cfg.Store.Get(ctx, r)
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrBroken):
			continue
		case err != nil:
			return nil, err
		}
		if o == nil || !wiredAlike(old, o) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b intent.Ref) int { return fabric.Natural(a.String(), b.String()) })
	return out, nil
}

// wiredAlike reports whether two versions of an object are the same to the graph.
func wiredAlike(old, now intent.Object) bool {
	switch o := old.(type) {
	case *intent.Node:
		n := now.(*intent.Node)
		return o.Spec.Role == n.Spec.Role && o.Spec.Drains() == n.Spec.Drains()
	case *intent.Link:
		return slices.EqualFunc(o.Spec.Endpoints, now.(*intent.Link).Spec.Endpoints, func(a, b intent.LinkEnd) bool { return a.Node == b.Node })
	}
	return true
}

// orphans is the problem of edits that take ways away from ports or leaves; nil
// when they take none.
func (s *Server) orphans(after edits, changed []intent.Ref, loss fabric.Loss) *client.Problem {
	nodes := slices.Clone(loss.Cut)
	drained := ""
	for _, r := range changed {
		n, _ := after[r].(*intent.Node)
		if r.Kind == intent.KindNode && n == nil && !slices.Contains(nodes, r.Name) {
			nodes = append(nodes, r.Name)
		}
		if n != nil && n.Spec.Drains() {
			drained = r.Name
		}
	}
	var ports []intent.Ref
	var on []string
	for _, n := range nodes {
		at := slices.DeleteFunc(s.cfg.Status.PortsAt(n), func(r intent.Ref) bool {
			o, edited := after[r]
			return edited && o == nil
		})
		if len(at) > 0 {
			on, ports = append(on, n), append(ports, at...)
		}
	}
	p := &client.Problem{Type: client.TypeOrphans, Title: "Ports would be cut off", Status: http.StatusConflict}
	what := some(changed)
	switch {
	case len(ports) > 0:
		p.Users = ports[:min(len(ports), shown)]
		p.Detail = fmt.Sprintf("%s: %s would be left without a way to the rest of the fabric, and with it %s: move or delete these first, or force it",
			what, listed(on), some(ports))
		if stay := slices.DeleteFunc(slices.Clone(on), func(n string) bool {
			o, edited := after[intent.Ref{Kind: intent.KindNode, Name: n}]
			return edited && o == nil
		}); len(stay) == 0 {
			p.Detail = fmt.Sprintf("Node %s still has %s: move or delete these first, or force it", listed(on), some(ports))
		}
	case drained != "" && len(loss.Pairs) > 0:
		p.Detail = fmt.Sprintf("Node %s can't be drained: %s would have no way to each other without it%s: undrain other switches or mend links first, or force it",
			drained, loss.Pairs[0], more(len(loss.Pairs)-1, "pair"))
	default:
		return nil
	}
	return p
}

// shown is how many objects a sentence names.
const shown = 5

// some names the first of several objects.
func some(refs []intent.Ref) string {
	names := make([]string, 0, shown)
	for _, r := range refs[:min(shown, len(refs))] {
		names = append(names, r.String())
	}
	return strings.Join(names, ", ") + more(len(refs)-len(names), "")
}

// listed names the first of several nodes.
func listed(names []string) string {
	n := min(shown, len(names))
	return strings.Join(names[:n], ", ") + more(len(names)-n, "")
}

func more(n int, what string) string {
	if n <= 0 {
		return ""
	}
	if what != "" && n > 1 {
		what += "s"
	}
	return strings.TrimRight(fmt.Sprintf(" and %d more %s", n, what), " ")
}
