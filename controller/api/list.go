package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
)

// PageParams choose a page of a collection, or a watch of it.
type PageParams struct {
	Limit    int      `query:"limit" minimum:"1" maximum:"5000" default:"500" doc:"Objects that a page may have; fewer are on it where selectors leave some out"`
	Continue string   `query:"continue" doc:"Token of the page before; 410 when its revision is gone"`
	Label    []string `query:"label,explode" doc:"Only objects with this label, as KEY=VALUE; may be repeated"`
	Watch    bool     `query:"watch" doc:"Answer with server-sent events, one for each change after revision; only the tenant selector goes with it"`
	Revision int64    `query:"revision" minimum:"0" doc:"With watch: the last revision known, such as that of a list; from now on when left out"`
	LastID   string   `header:"Last-Event-ID" doc:"With watch: the same as revision, for a connection made again"`
}

// TenantParam selects objects of one tenant.
type TenantParam struct {
	Tenant string `query:"tenant" doc:"Only objects of this tenant"`
}

// TenantPath selects objects of one tenant.
type TenantPath struct {
	Tenant string `path:"tenant" doc:"Tenant that owns the objects"`
}

// PortParams select ports.
type PortParams struct {
	Network string `query:"network" doc:"Only ports of networks of this name"`
	Node    string `query:"node" doc:"Only ports that are bound to this node, or were found on it"`
}

// selection is what a list is asked for.
type selection struct {
	PageParams
	PortParams
	tenant string
}

type listOutput[T any] struct {
	Body client.List[*T]
}

func (r *resource[T, P]) registerList(path string, ofTenant bool) {
	id, more := "list"+string(r.kind)+"s", ""
	if ofTenant {
		id, more = "listTenant"+string(r.kind)+"s", " of a tenant"
	}
	events := schemaOf[client.WatchEvent](r.s)
	op := huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: path, Tags: []string{string(r.kind)},
		Summary: "List or watch " + r.kind.Plural() + more,
		Description: "Reads a page of objects sorted by tenant and name, with their status. All pages show one revision.\n\n" +
			"With watch=true the answer is a stream of server-sent events: put and delete, whose data is a WatchEvent without status, and error, whose data is a Problem and which ends the stream; after one with status 410, list again. The last event of a revision has it as its id.",
		Errors: []int{400, 410, 503},
		Responses: map[string]*huma.Response{"200": {Content: map[string]*huma.MediaType{
			"application/json": {}, "text/event-stream": {Schema: events}}}},
		Middlewares: huma.Middlewares{r.s.watchInstead(r.kind), r.s.bound},
	}
	switch {
	case r.kind == intent.KindPort && ofTenant:
		huma.Register(r.s.api, op, func(ctx context.Context, in *struct {
			TenantPath
			PageParams
			PortParams
		}) (*listOutput[T], error) {
			return r.list(ctx, selection{in.PageParams, in.PortParams, in.Tenant})
		})
	case r.kind == intent.KindPort:
		huma.Register(r.s.api, op, func(ctx context.Context, in *struct {
			TenantParam
			PageParams
			PortParams
		}) (*listOutput[T], error) {
			return r.list(ctx, selection{in.PageParams, in.PortParams, in.Tenant})
		})
	case ofTenant:
		huma.Register(r.s.api, op, func(ctx context.Context, in *struct {
			TenantPath
			PageParams
		}) (*listOutput[T], error) {
			return r.list(ctx, selection{PageParams: in.PageParams, tenant: in.Tenant})
		})
	case r.kind.Tenanted():
		huma.Register(r.s.api, op, func(ctx context.Context, in *struct {
			TenantParam
			PageParams
		}) (*listOutput[T], error) {
			return r.list(ctx, selection{PageParams: in.PageParams, tenant: in.Tenant})
		})
	default:
		huma.Register(r.s.api, op, func(ctx context.Context, in *struct{ PageParams }) (*listOutput[T], error) {
			return r.list(ctx, selection{PageParams: in.PageParams})
		})
	}
}

func (r *resource[T, P]) list(ctx context.Context, in selection) (*listOutput[T], error) {
	labels, err := parseLabels(in.Label)
	if err != nil {
		return nil, r.s.fail(ctx, err)
	}
	sctx, cancel := context.WithTimeout(ctx, r.s.cfg.StoreTimeout)
	defer cancel()
	if err := take(sctx, r.s.reading); err != nil {
		return nil, r.s.fail(ctx, crowded())
	}
	defer func() { <-r.s.reading }()
	l, err := r.s.cfg.Store.List(sctx, r.kind, store.ListOptions{Tenant: in.tenant, Limit: in.Limit, Continue: in.Continue})
	if err != nil {
		return nil, r.s.fail(ctx, err)
	}
	out := &listOutput[T]{Body: client.List[*T]{Kind: string(r.kind) + "List", Items: []*T{},
		Revision: l.Revision, Continue: l.Continue, Remaining: l.Remaining}}
	for _, b := range l.Broken {
		out.Body.Broken = append(out.Body.Broken, b.Error())
	}
	for _, o := range l.Objects {
		if !hasLabels(o, labels) {
			continue
		}
		st := r.s.cfg.Status.Status(o)
		if p, ok := o.(*intent.Port); ok && !in.PortParams.match(p, st) {
			continue
		}
		out.Body.Items = append(out.Body.Items, (*T)(withStatus(o, st).(P)))
	}
	return out, nil
}

// Clients that list everything over and over hold no more memory and keep etcd
// no busier than this: so many pages are read at a time, and so many wait for
// that or for their client to take them.
const (
	maxReading = 4
	maxPages   = 32
)

// take takes one of what there is, or waits for it.
func take(ctx context.Context, from chan struct{}) error {
	select {
	case from <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func crowded() *client.Problem {
	return &client.Problem{Type: client.TypeUnavailable, Title: "Too many lists", Status: http.StatusServiceUnavailable,
		Detail: "too many clients list objects at this moment: try again, or watch instead of listing over and over"}
}

// bound holds a list back while there are too many others.
func (s *Server) bound(ctx huma.Context, next func(huma.Context)) {
	wait, cancel := context.WithTimeout(ctx.Context(), s.cfg.StoreTimeout)
	defer cancel()
	if take(wait, s.pages) != nil {
		r, w := humago.Unwrap(ctx)
		writeProblem(w, r, crowded())
		return
	}
	defer func() { <-s.pages }()
	next(ctx)
}

func (p PortParams) match(port *intent.Port, st *intent.Status) bool {
	if p.Network != "" && port.Spec.Network != p.Network {
		return false
	}
	return p.Node == "" || port.Spec.Binding.Node == p.Node || st != nil && st.Node == p.Node
}

func parseLabels(in []string) (map[string]string, error) {
	out := map[string]string{}
	for _, l := range in {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return nil, parameter("query", "label", "is %q: give KEY=VALUE", l)
		}
		out[k] = v
	}
	return out, nil
}

func hasLabels(o intent.Object, want map[string]string) bool {
	have := o.Meta().Labels
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// watchInstead answers a list with watch=true by a stream.
func (s *Server) watchInstead(k intent.Kind) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if w := ctx.Query("watch"); w != "true" && w != "1" {
			next(ctx)
			return
		}
		r, w := humago.Unwrap(ctx)
		st, p := s.stream(k, r)
		if p != nil {
			writeProblem(w, r, p)
			return
		}
		st.run(w, r)
	}
}

// stream reads the parameters of a watch.
func (s *Server) stream(k intent.Kind, r *http.Request) (*stream, *client.Problem) {
	st := &stream{s: s, kind: k, tenant: r.PathValue("tenant")}
	after := ""
	for name, values := range r.URL.Query() {
		switch name {
		case "watch", "limit":
		case "revision":
			after = values[0]
		case "tenant":
			if !k.Tenanted() || r.PathValue("tenant") != "" {
				return nil, parameter("query", name, "can't be used here")
			}
			st.tenant = values[0]
		default:
			return nil, parameter("query", name, "can't be used with watch")
		}
	}
	from := "revision"
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		after, from = id, "Last-Event-ID"
	}
	if after != "" {
		if _, err := fmt.Sscanf(after+"\n", "%d\n", &st.after); err != nil || st.after < 0 {
			return nil, parameter("query", from, "is %q: give a revision", after)
		}
	}
	return st, nil
}
