package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/southbound/frr"
)

type planInput struct{ Body client.FabricEdits }

type planOutput struct{ Body client.FabricPlan }

func (s *Server) registerFabricPlan() {
	huma.Register(s.api, huma.Operation{OperationID: "planFabric", Method: http.MethodPost, Path: "/v1/fabric/plan", Metadata: readsOnly, Tags: []string{"Operation"},
		Summary: "What edits of the fabric would change on each switch",
		Description: "Plans the fabric as it is and as it would be with the given Fabric, Node and Link objects, and without those that are to go. Nothing is written. " +
			"Tells for each switch that changes what is renumbered, which sessions come, go or flap, and the commands that its FRR would get; the others are left alone.",
		Errors: []int{http.StatusConflict, http.StatusServiceUnavailable}}, s.planFabric)
}

// fabricObjects are the objects of which the underlay is planned.
type fabricObjects struct {
	fabric *intent.Fabric
	nodes  []*intent.Node
	links  []*intent.Link
}

func (f *fabricObjects) add(o intent.Object) {
	switch o := o.(type) {
	case *intent.Fabric:
		f.fabric = o
	case *intent.Node:
		f.nodes = append(f.nodes, o)
	case *intent.Link:
		f.links = append(f.links, o)
	}
}

// states plans all switches that are the controller's to configure.
func (f *fabricObjects) states() (map[string]device.State, error) {
	out := map[string]device.State{}
	if f.fabric == nil {
		return out, nil
	}
	facts, err := fabric.PlanIntent(f.fabric.Spec, f.nodes, f.links)
	if err != nil {
		return nil, err
	}
	for _, n := range f.nodes {
		if !n.Spec.Role.Switch() || n.Spec.Unmanaged {
			continue
		}
		if out[n.Metadata.Name], err = fabric.Device(facts, n.Metadata.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Server) planFabric(ctx context.Context, in *planInput) (*planOutput, error) {
	after := edits{}
	for _, raw := range in.Body.Items {
		var ref intent.Ref
		o, err := s.item(raw, &ref)
		if err == nil {
			err = o.Validate()
		}
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		after[o.Ref()] = o
	}
	for _, r := range in.Body.Delete {
		after[r] = nil
	}
	sctx, cancel := context.WithTimeout(ctx, s.cfg.StoreTimeout)
	defer cancel()
	before, then, err := s.fabricWith(sctx, after)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	if before.fabric == nil && then.fabric == nil {
		return nil, s.fail(ctx, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusConflict,
			Detail: "there is no Fabric object, so the controller configures no underlay: give one with the file, or apply it first"})
	}
	out := client.FabricPlan{Changes: []client.FabricChange{}}
	old, err := before.states()
	if err != nil {
		out.Notes = append(out.Notes, "the fabric can't be planned as it is, so all is compared with nothing: "+err.Error())
	}
	now, err := then.states()
	if err != nil {
		return nil, s.fail(ctx, &client.Problem{Type: client.TypeInvalid, Title: "Can't be planned", Status: http.StatusConflict,
			Detail: "the fabric can't be planned with these edits: " + err.Error()})
	}
	if _, err := s.guard(sctx, after); err != nil {
		var p *client.Problem
		if !errors.As(err, &p) {
			return nil, s.fail(ctx, err)
		}
		out.Notes = append(out.Notes, "it would be refused: "+p.Detail)
	}
	for _, c := range fabric.Compare(old, now) {
		ch, err := changeOf(c, old[c.Node], now[c.Node])
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		out.Changes = append(out.Changes, ch)
	}
	return &planOutput{out}, nil
}

// fabricWith reads the fabric's objects, and what they would be with edits. With a
// node its links go too.
func (s *Server) fabricWith(ctx context.Context, after edits) (before, then *fabricObjects, err error) {
	before, then = &fabricObjects{}, &fabricObjects{}
	seen := map[intent.Ref]bool{}
	for _, k := range []intent.Kind{intent.KindFabric, intent.KindNode, intent.KindLink} {
		l, err := s.cfg.Store.List(ctx, k, store.ListOptions{})
		if err != nil {
			return nil, nil, err
		}
		for _, o := range l.Objects {
			before.add(o)
			seen[o.Ref()] = true
			switch n, edited := after[o.Ref()]; {
			case n != nil:
				then.add(n)
			case !edited && !hangs(o, after):
				then.add(o)
			}
		}
	}
	for r, o := range after {
		switch {
		case o == nil && !seen[r]:
			return nil, nil, &store.NotFoundError{Object: r}
		case o != nil && !seen[r]:
			then.add(o)
		}
	}
	return before, then, nil
}

// hangs reports whether a link has an end at a node that is to go.
func hangs(o intent.Object, after edits) bool {
	l, ok := o.(*intent.Link)
	return ok && slices.ContainsFunc(l.Spec.Endpoints, func(e intent.LinkEnd) bool {
		n, edited := after[intent.Ref{Kind: intent.KindNode, Name: e.Node}]
		return edited && n == nil
	})
}

// changeOf adds FRR's commands to a change.
func changeOf(c fabric.Change, old, now device.State) (client.FabricChange, error) {
	out := client.FabricChange{Node: c.Node, Kind: string(c.Kind), Renumbered: c.Renumbered, Details: c.Details, Commands: []string{}}
	for _, s := range c.Sessions {
		out.Sessions = append(out.Sessions, client.SessionChange{Peer: s.Peer, Fate: string(s.Fate), Why: s.Why})
	}
	if c.Kind == fabric.SwitchRemoved {
		return out, nil // its agent keeps what it has until it is told more
	}
	texts := make([]frr.Config, 2)
	for i, st := range []device.State{old, now} {
		if st.Hostname == "" {
			continue
		}
		conf, err := frr.Render(st)
		if err != nil {
			return out, fmt.Errorf("plan: %w", err)
		}
		texts[i] = conf
	}
	for _, d := range texts[1].Daemons() {
		have := texts[0].Daemon(d)
		for _, ch := range frr.Changes(frr.Reload{Have: have, Want: texts[1].Daemon(d), Last: have}) {
			if line := d + ": " + ch.String(); !slices.Contains(out.Commands, line) {
				out.Commands = append(out.Commands, line)
			}
		}
	}
	return out, nil
}
