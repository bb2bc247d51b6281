package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
)

// NameKey is the path of an object that no tenant owns.
type NameKey struct {
	Name string `path:"name" doc:"Name of the object"`
}

// TenantKey is the path of a tenant's object.
type TenantKey struct {
	Tenant string `path:"tenant" doc:"Tenant that owns the object"`
	Name   string `path:"name" doc:"Name of the object"`
}

// WaitParams make a request wait for the devices.
type WaitParams struct {
	Wait    string `query:"wait" enum:"applied" doc:"applied: answer when the devices confirmed the object (Ready, and status.applied is its revision or newer); 504 with the reasons when they do not in time. Objects without status, such as links, are not waited for"`
	Timeout string `query:"timeout" example:"30s" doc:"How long to wait, such as 90s or 2m; 30s when left out, 10m at most"`
}

// PutParams are the conditions and manners of a PUT.
type PutParams struct {
	IfMatch     string `header:"If-Match" doc:"ETag at which the object must be, or * for any that exists; else 412"`
	IfNoneMatch string `header:"If-None-Match" doc:"* when the object must not exist yet; else 412"`
	DryRun      bool   `query:"dryRun" doc:"Check and complete the object, but write nothing and wait for nothing"`
	Force       bool   `query:"force" doc:"Nodes and links: also when ports would be cut off from the fabric, or leaves from each other; else 409"`
	WaitParams
	RawBody []byte `contentType:"application/json"`
}

// GetParams are the manners of a GET.
type GetParams struct {
	WaitParams
	Revision int64 `query:"revision" minimum:"0" doc:"With wait: the revision that must be confirmed; the object's present one when left out"`
}

// DeleteParams are the conditions and manners of a DELETE.
type DeleteParams struct {
	IfMatch string `header:"If-Match" doc:"ETag at which the object must be; else 412"`
	Cascade bool   `query:"cascade" doc:"Delete what belongs to the object too; else 409 when something names it. What only names it, such as the router of a network, must let go of it first"`
	DryRun  bool   `query:"dryRun" doc:"Tell what would be deleted, and delete nothing"`
	Force   bool   `query:"force" doc:"Nodes and links: also when ports would be cut off from the fabric; else 409"`
}

type putOutput[T any] struct {
	Status int
	ETag   string `header:"ETag" doc:"The object's revision in quotes"`
	Action string `header:"Weft-Action" enum:"created,configured,unchanged" doc:"What a PUT did"`
	// Warnings are of what may be done and is perhaps not meant.
	Warnings []string `header:"Weft-Warning" doc:"What the object would do that is perhaps not meant, such as a link on which a steering policy puts more than it has"`
	Body     *T
}

type getOutput[T any] struct {
	ETag string `header:"ETag" doc:"The object's revision in quotes"`
	Body *T
}

type deleteOutput struct{ Body client.Deleted }

func (s *Server) registerKinds() {
	register[intent.Tenant](s, intent.KindTenant, "A tenant owns networks and ports.")
	register[intent.Node](s, intent.KindNode, "A node is a device: a switch or a hypervisor.")
	register[intent.Link](s, intent.KindLink, "A link is a cable between two nodes.")
	register[intent.Fabric](s, intent.KindFabric, "The fabric says how the underlay of all switches is planned; there is one.")
	register[intent.ExternalNetwork](s, intent.KindExternalNetwork, "An external network is a way outside: one VRF, which border leaves join to BGP routers that are not ours.")
	register[intent.NetworkACL](s, intent.KindNetworkACL, "A network ACL is an ordered list of rules that allow or deny, stateless, for what enters and leaves the subnets of networks that name it.")
	register[intent.Network](s, intent.KindNetwork, "A network is an L2 segment of a tenant, with one VNI.")
	register[intent.SecurityGroup](s, intent.KindSecurityGroup, "A security group is a set of ports of a tenant and what they may receive and send: stateful rules that allow.")
	register[intent.Port](s, intent.KindPort, "A port attaches one interface of a VM or server to a network.")
	register[intent.Router](s, intent.KindRouter, "A router routes between networks of a tenant: one VRF, with a distributed anycast gateway.")
	register[intent.FloatingIP](s, intent.KindFloatingIP, "A floating IP gives an address of a port an address of an external network, one to one.")
	register[intent.Interconnect](s, intent.KindInterconnect, "An interconnect stretches chosen networks to another fabric, by BGP EVPN between the two controllers.")
	register[intent.SteeringPolicy](s, intent.KindSteeringPolicy, "A steering policy says which ways some of the underlay's traffic takes: by routes that are announced to single leaves.")
}

// resource has the operations of one kind.
type resource[T any, P object[T]] struct {
	s      *Server
	kind   intent.Kind
	schema *huma.Schema
}

func register[T any, P object[T]](s *Server, k intent.Kind, about string) {
	s.api.OpenAPI().Tags = append(s.api.OpenAPI().Tags, &huma.Tag{Name: string(k), Description: about})
	r := &resource[T, P]{s: s, kind: k, schema: schemaOf[T](s)}
	s.readers[k] = func(ref intent.Ref, body []byte) (intent.Object, error) { return read[T, P](s, r.schema, ref, body) }
	r.registerObject()
	r.registerList("/v1/"+k.Plural(), false)
	if k.Tenanted() {
		r.registerList("/v1/tenants/{tenant}/"+k.Plural(), true)
	}
}

func (r *resource[T, P]) registerObject() {
	api, path := r.s.api, "/v1/"+r.kind.Plural()+"/{name}"
	if r.kind.Tenanted() {
		path = "/v1/tenants/{tenant}/" + r.kind.Plural() + "/{name}"
	}
	op := func(method, id, summary, about string, errs ...int) huma.Operation {
		return huma.Operation{OperationID: id + string(r.kind), Method: method, Path: path, Tags: []string{string(r.kind)},
			Summary: summary, Description: about, Errors: append(errs, http.StatusServiceUnavailable)}
	}
	put := op(http.MethodPut, "put", "Write "+r.kind.Phrase(),
		"Writes the object whole; it may be repeated. Fields that may be allocated and are left out keep their values, or get them. Answers 201 when the object was created.",
		400, 409, 412, 413, 415, 504)
	put.SkipValidateBody, put.BodyReadTimeout, put.MaxBodyBytes = true, -1, -1
	put.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	put.Responses = map[string]*huma.Response{"201": {Description: "Created", Content: map[string]*huma.MediaType{"application/json": {Schema: r.schema}}}}
	get := op(http.MethodGet, "get", "Read "+r.kind.Phrase(), "Reads the object with its status, which the devices say.", 404, 504)
	del := op(http.MethodDelete, "delete", "Delete "+r.kind.Phrase(), "Deletes the object, or with cascade all that belongs to it too.", 404, 409, 412)
	// The handler reads the body itself, so huma takes it for binary data.
	defer func() {
		put.RequestBody.Content["application/json"].Schema = r.schema
		put.Responses["201"].Headers = put.Responses["200"].Headers
	}()
	if r.kind.Tenanted() {
		huma.Register(api, put, func(ctx context.Context, in *struct {
			TenantKey
			PutParams
		}) (*putOutput[T], error) {
			return r.put(ctx, intent.Ref{Kind: r.kind, Tenant: in.Tenant, Name: in.Name}, &in.PutParams)
		})
		huma.Register(api, get, func(ctx context.Context, in *struct {
			TenantKey
			GetParams
		}) (*getOutput[T], error) {
			return r.get(ctx, intent.Ref{Kind: r.kind, Tenant: in.Tenant, Name: in.Name}, &in.GetParams)
		})
		huma.Register(api, del, func(ctx context.Context, in *struct {
			TenantKey
			DeleteParams
		}) (*deleteOutput, error) {
			return r.s.delete(ctx, intent.Ref{Kind: r.kind, Tenant: in.Tenant, Name: in.Name}, &in.DeleteParams)
		})
		return
	}
	huma.Register(api, put, func(ctx context.Context, in *struct {
		NameKey
		PutParams
	}) (*putOutput[T], error) {
		return r.put(ctx, intent.Ref{Kind: r.kind, Name: in.Name}, &in.PutParams)
	})
	huma.Register(api, get, func(ctx context.Context, in *struct {
		NameKey
		GetParams
	}) (*getOutput[T], error) {
		return r.get(ctx, intent.Ref{Kind: r.kind, Name: in.Name}, &in.GetParams)
	})
	huma.Register(api, del, func(ctx context.Context, in *struct {
		NameKey
		DeleteParams
	}) (*deleteOutput, error) {
		return r.s.delete(ctx, intent.Ref{Kind: r.kind, Name: in.Name}, &in.DeleteParams)
	})
}

func (r *resource[T, P]) put(ctx context.Context, ref intent.Ref, in *PutParams) (*putOutput[T], error) {
	s := r.s
	timeout, err := in.timeout()
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	o, err := read[T, P](s, r.schema, ref, in.RawBody)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	res, err := s.putIf(ctx, o, in)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	out := &putOutput[T]{Status: http.StatusOK, Action: string(action(res))}
	if rev := res.Object.Meta().Revision; rev != 0 {
		out.ETag = etag(rev)
	}
	if p, ok := res.Object.(*intent.SteeringPolicy); ok {
		out.Warnings = s.overloads(p)
	}
	if res.Created && !in.DryRun {
		out.Status = http.StatusCreated
	}
	got := res.Object
	if in.Wait != "" && !in.DryRun {
		if got, err = s.await(ctx, got, got.Meta().Revision, timeout); err != nil {
			return nil, huma.ErrorWithHeaders(s.fail(ctx, err), http.Header{"Etag": {out.ETag}, client.ActionHeader: {out.Action}})
		}
	}
	out.Body = withStatus(got, s.cfg.Status.Status(got)).(P)
	return out, nil
}

func action(res store.PutResult) client.Action {
	switch {
	case res.Created:
		return client.Created
	case res.Changed:
		return client.Configured
	}
	return client.Unchanged
}

// putIf writes on the conditions of the headers.
func (s *Server) putIf(ctx context.Context, o intent.Object, in *PutParams) (store.PutResult, error) {
	opt := store.PutOptions{DryRun: in.DryRun}
	switch in.IfNoneMatch {
	case "":
	case "*":
		opt.IfAbsent = true
	default:
		return store.PutResult{}, parameter("header", "If-None-Match", "is %s: only * can be used", in.IfNoneMatch)
	}
	rev, any, err := ifMatch(in.IfMatch)
	if err != nil {
		return store.PutResult{}, err
	}
	if rev != 0 && opt.IfAbsent || any && opt.IfAbsent {
		return store.PutResult{}, parameter("header", "If-Match", "can't be used together with If-None-Match")
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StoreTimeout)
	defer cancel()
	if !in.Force {
		if _, err := s.guard(ctx, edits{o.Ref(): o}); err != nil {
			return store.PutResult{}, err
		}
	}
	for opt.IfMatch = rev; ; {
		if any {
			old, err := s.cfg.Store.Get(ctx, o.Ref())
			if errors.Is(err, store.ErrNotFound) {
				return store.PutResult{}, absent(o.Ref())
			}
			if err != nil {
				return store.PutResult{}, err
			}
			opt.IfMatch = old.Meta().Revision
		}
		res, err := s.cfg.Store.Put(ctx, o, opt)
		if any && errors.Is(err, store.ErrRevision) && ctx.Err() == nil {
			continue // changed since the Get
		}
		return res, err
	}
}

func absent(r intent.Ref) *client.Problem {
	return &client.Problem{Type: client.TypePrecondition, Title: "Precondition failed", Status: http.StatusPreconditionFailed,
		Detail: fmt.Sprintf("%s does not exist, and If-Match asks for one that does", r),
		Errors: []client.ProblemField{{Location: "header", Field: "If-Match", Message: "the object does not exist"}}}
}

func etag(rev int64) string { return strconv.Quote(strconv.FormatInt(rev, 10)) }

// ifMatch reads the header: a revision in quotes, *, or nothing.
func ifMatch(h string) (rev int64, any bool, err error) {
	switch h = strings.TrimSpace(h); h {
	case "":
		return 0, false, nil
	case "*":
		return 0, true, nil
	}
	rev, err = strconv.ParseInt(strings.Trim(h, `"`), 10, 64)
	if err != nil || rev <= 0 {
		return 0, false, parameter("header", "If-Match", "is %s: give one ETag such as \"17\", or *", h)
	}
	return rev, false, nil
}

func (r *resource[T, P]) get(ctx context.Context, ref intent.Ref, in *GetParams) (*getOutput[T], error) {
	s := r.s
	timeout, err := in.timeout()
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	o, err := s.read(ctx, ref)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	if in.Wait != "" {
		rev := in.Revision
		if rev == 0 {
			rev = o.Meta().Revision
		}
		if o, err = s.await(ctx, o, rev, timeout); err != nil {
			return nil, s.fail(ctx, err)
		}
	}
	return &getOutput[T]{ETag: etag(o.Meta().Revision), Body: withStatus(o, s.cfg.Status.Status(o)).(P)}, nil
}

// read gets an object from the store within the time that a request has.
func (s *Server) read(ctx context.Context, ref intent.Ref) (intent.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StoreTimeout)
	defer cancel()
	return s.cfg.Store.Get(ctx, ref)
}

func (s *Server) delete(ctx context.Context, ref intent.Ref, in *DeleteParams) (*deleteOutput, error) {
	rev, _, err := ifMatch(in.IfMatch) // * asks for no more than that it exists
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	// A cascade may take several transactions.
	sctx, cancel := context.WithTimeout(ctx, 6*s.cfg.StoreTimeout)
	defer cancel()
	if !in.Force {
		if err := s.mayDelete(sctx, ref); err != nil {
			return nil, s.fail(ctx, err)
		}
	}
	res, err := s.cfg.Store.Delete(sctx, ref, store.DeleteOptions{IfMatch: rev, Cascade: in.Cascade, DryRun: in.DryRun})
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return &deleteOutput{Body: client.Deleted{Deleted: res.Deleted, Revision: res.Revision}}, nil
}

// withStatus puts a status on an object that was read from the store.
func withStatus(o intent.Object, st *intent.Status) intent.Object {
	switch o := o.(type) {
	case *intent.Tenant:
		o.Status = st
	case *intent.Node:
		o.Status = st
	case *intent.Link:
		o.Status = st
	case *intent.Network:
		o.Status = st
	case *intent.NetworkACL:
		o.Status = st
	case *intent.SecurityGroup:
		o.Status = st
	case *intent.Port:
		o.Status = st
	case *intent.Router:
		o.Status = st
	case *intent.ExternalNetwork:
		o.Status = st
	case *intent.FloatingIP:
		o.Status = st
	case *intent.Fabric:
		o.Status = st
	case *intent.Interconnect:
		o.Status = st
	case *intent.SteeringPolicy:
		o.Status = st
	}
	return o
}
