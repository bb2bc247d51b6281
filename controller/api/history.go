package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
)

type historyInput struct {
	Limit  int   `query:"limit" minimum:"1" maximum:"1000" default:"20" doc:"Revisions at most"`
	Before int64 `query:"before" minimum:"0" doc:"Only revisions before this one; the newest when left out"`
}

type historyOutput struct{ Body client.History }

type rollbackInput struct{ Body client.Rollback }

type rollbackOutput struct{ Body client.RolledBack }

func (s *Server) registerHistory() {
	huma.Register(s.api, huma.Operation{OperationID: "getHistory", Method: http.MethodGet, Path: "/v1/history", Tags: []string{"Operation"},
		Summary:     "Last changes of all objects, the newest first",
		Description: "Goes as far back as the store keeps its history: the last 100,000 transactions with the etcd inside the controller, what its own compaction leaves with a cluster.",
		Errors:      []int{http.StatusServiceUnavailable}}, s.history)
	huma.Register(s.api, huma.Operation{OperationID: "rollback", Method: http.MethodPost, Path: "/v1/rollback", Tags: []string{"Operation"},
		Summary: "Make all objects what they were at a revision",
		Description: "All objects, and what is allocated to them, become what they were; what came since is deleted. It is a change like others, and can be rolled back. " +
			"One transaction takes up to 20,000 keys of the store with the etcd inside the controller, 120 with a cluster; what is more takes several, and one that was cut short is repeated. " +
			"409 when ports that are in use would go or be cut off, unless forced; 410 when the revision is compacted.",
		Errors: []int{http.StatusConflict, http.StatusGone, http.StatusServiceUnavailable}}, s.rollback)
}

func (s *Server) history(ctx context.Context, in *historyInput) (*historyOutput, error) {
	sctx, cancel := context.WithTimeout(ctx, s.cfg.StoreTimeout)
	defer cancel()
	h, err := s.cfg.Store.History(sctx, store.HistoryOptions{Limit: in.Limit, Before: in.Before})
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	out := client.History{Oldest: h.Oldest, Items: []client.Revision{}}
	for _, r := range h.Revisions {
		c := client.Revision{Revision: r.Revision, At: r.At, Note: r.Note, Changes: []client.Touched{}}
		for _, t := range r.Objects {
			if t.Ref.Kind != "" {
				c.Changes = append(c.Changes, client.Touched{Ref: t.Ref, Action: string(t.Action)})
			}
		}
		out.Items = append(out.Items, c)
	}
	return &historyOutput{out}, nil
}

func (s *Server) rollback(ctx context.Context, in *rollbackInput) (*rollbackOutput, error) {
	sctx, cancel := context.WithTimeout(ctx, 6*s.cfg.StoreTimeout)
	defer cancel()
	opt := store.RollbackOptions{DryRun: in.Body.DryRun}
	if !in.Body.Force && !in.Body.Objects {
		opt.Check = func(d store.Difference) error { return s.mayRollBack(sctx, d) }
	}
	d, err := s.cfg.Store.Rollback(sctx, in.Body.Revision, opt)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	out := client.RolledBack{Transactions: d.Transactions, Changes: []client.RollbackChange{}}
	for _, c := range d.Changes {
		r := client.RollbackChange{Ref: c.Ref, Action: string(c.Action)}
		if in.Body.Objects {
			r.Now, r.Then = raw(c.Now), raw(c.Then)
		}
		out.Changes = append(out.Changes, r)
	}
	return &rollbackOutput{out}, nil
}

// raw is an object as JSON; nothing for none.
func raw(o intent.Object) json.RawMessage {
	if o == nil {
		return nil
	}
	b, err := json.Marshal(o)
	if err != nil { // it came from the store
		return nil
	}
	return b
}

// mayRollBack refuses a rollback that takes ports away which are in use, or their
// way through the fabric.
func (s *Server) mayRollBack(ctx context.Context, d store.Difference) error {
	after := edits{}
	var used []intent.Ref
	for _, c := range d.Changes {
		if c.Ref.Kind == "" {
			continue
		}
		after[c.Ref] = c.Then
		if p, ok := c.Now.(*intent.Port); ok && c.Then == nil {
			if st := s.cfg.Status.Status(p); st != nil && st.Node != "" {
				used = append(used, c.Ref)
			}
		}
	}
	if len(used) > 0 {
		return &client.Problem{Type: client.TypeOrphans, Title: "Ports would be cut off", Status: http.StatusConflict, Users: used[:min(len(used), shown)],
			Detail: fmt.Sprintf("revision %d had no %s, which %s in use now: unplug what is behind, or force it", d.Revision, some(used), areOrIs(len(used)))}
	}
	_, err := s.guard(ctx, after)
	return err
}

func areOrIs(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
