package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// reader parses the body of an object of one kind.
type reader func(ref intent.Ref, body []byte) (intent.Object, error)

type applyInput struct {
	DryRun  bool   `query:"dryRun" doc:"Check and complete the objects, but write nothing"`
	Force   bool   `query:"force" doc:"Write nodes and links also when ports would be cut off from the fabric, or leaves from each other"`
	RawBody []byte `contentType:"application/json"`
}

type applyOutput struct{ Body client.Applied }

// registerApply registers the writing of many objects by one request.
func (s *Server) registerApply() {
	op := huma.Operation{OperationID: "apply", Method: http.MethodPost, Path: "/v1/apply", Tags: []string{"Operation"},
		Summary: "Write many objects",
		Description: fmt.Sprintf("Writes up to %d objects, each as a PUT would, by few transactions of the store. What is named is written before what names it. "+
			"An object that is refused does not hold back the others: the answer is 200 and has, in the order of the items, what was done with each or its problem. When the store fails, the request does; repeat it.", client.MaxApply),
		Errors: []int{400, 413, 415, 503, 507}}
	op.SkipValidateBody, op.BodyReadTimeout, op.MaxBodyBytes = true, -1, -1
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	huma.Register(s.api, op, s.apply)
	op.RequestBody.Content["application/json"].Schema = schemaOf[client.Apply](s)
}

func (s *Server) apply(ctx context.Context, in *applyInput) (*applyOutput, error) {
	var body client.Apply
	if err := json.Unmarshal(in.RawBody, &body); err != nil {
		return nil, s.fail(ctx, syntax(in.RawBody, err))
	}
	if len(body.Items) > client.MaxApply {
		return nil, s.fail(ctx, malformed("there are %d items: send %d at most", len(body.Items), client.MaxApply))
	}
	out := &applyOutput{client.Applied{Items: make([]client.AppliedItem, len(body.Items))}}
	var (
		objects []intent.Object
		at      []int // which items they are
	)
	for i, raw := range body.Items {
		item := &out.Body.Items[i]
		o, err := s.item(raw, &item.Ref)
		if err != nil {
			item.Problem = s.problem(ctx, err)
			continue
		}
		objects, at = append(objects, o), append(at, i)
	}
	sctx, cancel := context.WithTimeout(ctx, 6*s.cfg.StoreTimeout)
	defer cancel()
	if !in.Force {
		var err error
		if objects, at, err = s.unguarded(sctx, objects, at, out.Body.Items); err != nil {
			return nil, s.fail(ctx, err)
		}
	}
	for n, w := range s.cfg.Store.PutAll(sctx, objects, in.DryRun) {
		item := &out.Body.Items[at[n]]
		if w.Err != nil {
			if item.Problem = s.problem(ctx, w.Err); item.Problem.Status >= http.StatusServiceUnavailable {
				return nil, s.fail(ctx, w.Err) // the store's own trouble; the others have it too
			}
			continue
		}
		item.Action, item.Revision = action(w.PutResult), w.Object.Meta().Revision
	}
	return out, nil
}

// unguarded leaves out the objects that together would cut ports off, with the
// problem in their items.
func (s *Server) unguarded(ctx context.Context, objects []intent.Object, at []int, items []client.AppliedItem) ([]intent.Object, []int, error) {
	after := edits{}
	for _, o := range objects {
		after[o.Ref()] = o
	}
	refused, err := s.guard(ctx, after)
	if err == nil || len(refused) == 0 {
		return objects, at, err
	}
	var keep []intent.Object
	var where []int
	for i, o := range objects {
		if slices.Contains(refused, o.Ref()) {
			items[at[i]].Problem = s.problem(ctx, err)
			continue
		}
		keep, where = append(keep, o), append(where, at[i])
	}
	return keep, where, nil
}

// item reads one item of an apply.
func (s *Server) item(raw json.RawMessage, ref *intent.Ref) (intent.Object, error) {
	var head struct {
		Kind     intent.Kind `json:"kind"`
		Metadata struct {
			Name   string `json:"name"`
			Tenant string `json:"tenant"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, malformed("an object with kind and metadata is expected")
	}
	*ref = intent.Ref{Kind: head.Kind, Name: head.Metadata.Name}
	if head.Kind.Tenanted() {
		ref.Tenant = head.Metadata.Tenant
	}
	read := s.readers[head.Kind]
	if read == nil {
		return nil, malformed("kind %q is not known", head.Kind)
	}
	return read(*ref, raw)
}
