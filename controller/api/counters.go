package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
)

type countersInput struct {
	Tenant string `path:"tenant" doc:"Tenant"`
	Name   string `path:"name" doc:"Port"`
}

type countersOutput struct{ Body client.PortCounters }

// countersTime bounds what a device may take to answer.
const countersTime = 5 * time.Second

func (s *Server) registerCounters() {
	huma.Register(s.api, huma.Operation{OperationID: "getPortCounters", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/ports/{name}/counters", Tags: []string{"Operation"},
		Summary:     "What a port's edge has counted of it",
		Description: "Read from the device when asked. The counters are the device's: a controller that starts does not touch them.",
		Errors:      []int{http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable}}, s.counters)
}

// registerSharedCounters registers what the counters of several edges say of one
// object.
func (s *Server) registerSharedCounters() {
	huma.Register(s.api, huma.Operation{OperationID: "getRouterCounters", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/routers/{name}/counters", Tags: []string{"Operation"},
		Summary:     "What the edges of a router have counted of it",
		Description: "Read from the vSwitches with ports of the router's networks when asked. The counters are the devices': a controller that starts does not touch them, nor does any change of the router. What an edge has counted goes with the last port that it has of the router's networks.",
		Errors:      []int{http.StatusNotFound, http.StatusServiceUnavailable}}, s.routerCounters)
	huma.Register(s.api, huma.Operation{OperationID: "getTenantCounters", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/counters", Tags: []string{"Operation"},
		Summary:     "What the limits of a tenant have done",
		Description: "Read from the vSwitches with ports of the tenant when asked. The counters are the devices', since the limit was made there.",
		Errors:      []int{http.StatusNotFound, http.StatusConflict}}, s.tenantCounters)
}

type routerCountersInput struct {
	Tenant string `path:"tenant" doc:"Tenant"`
	Name   string `path:"name" doc:"Router"`
}

type routerCountersOutput struct{ Body client.RouterCounters }

func (s *Server) routerCounters(ctx context.Context, in *routerCountersInput) (*routerCountersOutput, error) {
	ref := intent.Ref{Kind: intent.KindRouter, Tenant: in.Tenant, Name: in.Name}
	if _, err := s.cfg.Store.Get(ctx, ref); err != nil {
		return nil, s.fail(ctx, err)
	}
	ask, cancel := context.WithTimeout(ctx, countersTime)
	defer cancel()
	c, ok := s.cfg.Status.RouterCounters(ask, ref)
	if !ok {
		return nil, &client.Problem{Type: client.TypeUnavailable, Title: "Not known yet", Status: http.StatusServiceUnavailable,
			Detail: "the controller has not taken " + ref.String() + " yet: wait a moment", Instance: instance(ctx)}
	}
	out := client.RouterCounters{Edges: []client.RouterCount{}, Missing: []client.MissingCount{}, Uncounted: append([]string{}, c.Uncounted...)}
	var total client.RouterTotal
	for _, e := range c.Edges {
		if e.Err != nil {
			out.Missing = append(out.Missing, client.MissingCount{Node: e.Node, Why: e.Err.Error()})
			continue
		}
		of := client.RouterTotal{Routed: client.Count(e.Count.Routed), Received: client.Count(e.Count.Received)}
		out.Edges = append(out.Edges, client.RouterCount{Node: e.Node, RouterTotal: of, Since: e.Count.Since})
		total.Routed, total.Received = total.Routed.Plus(of.Routed), total.Received.Plus(of.Received)
	}
	if len(out.Missing) == 0 {
		out.Total = &total
	}
	return &routerCountersOutput{out}, nil
}

type tenantCountersInput struct {
	Tenant string `path:"tenant" doc:"Tenant"`
}

type tenantCountersOutput struct{ Body client.TenantCounters }

func (s *Server) tenantCounters(ctx context.Context, in *tenantCountersInput) (*tenantCountersOutput, error) {
	if _, err := s.cfg.Store.Get(ctx, intent.Ref{Kind: intent.KindTenant, Name: in.Tenant}); err != nil {
		return nil, s.fail(ctx, err)
	}
	ask, cancel := context.WithTimeout(ctx, countersTime)
	defer cancel()
	c, ok := s.cfg.Status.TenantCounters(ask, in.Tenant)
	if !ok {
		return nil, &client.Problem{Type: client.TypeConflict, Title: "Not counted", Status: http.StatusConflict, Detail: "Tenant " + in.Tenant + " has no limits: set spec.qos", Instance: instance(ctx)}
	}
	out := client.TenantCounters{Edges: []client.TenantCount{}, Missing: []client.MissingCount{}, Uncounted: append([]string{}, c.Uncounted...)}
	limit := func(c southbound.LimitCount) client.LimitCount {
		return client.LimitCount{Came: client.Count(c.Came), Dropped: client.Count(c.Dropped)}
	}
	for _, e := range c.Edges {
		if e.Err != nil {
			out.Missing = append(out.Missing, client.MissingCount{Node: e.Node, Why: e.Err.Error()})
			continue
		}
		out.Edges = append(out.Edges, client.TenantCount{Node: e.Node, Sent: limit(e.Count.Sent), Received: limit(e.Count.Received)})
	}
	return &tenantCountersOutput{out}, nil
}

func (s *Server) counters(ctx context.Context, in *countersInput) (*countersOutput, error) {
	ref := intent.Ref{Kind: intent.KindPort, Tenant: in.Tenant, Name: in.Name}
	if _, err := s.cfg.Store.Get(ctx, ref); err != nil {
		return nil, s.fail(ctx, err)
	}
	ask, cancel := context.WithTimeout(ctx, countersTime)
	defer cancel()
	node, c, err := s.cfg.Status.PortCounters(ask, ref)
	switch {
	case errors.Is(err, engine.ErrNowhere), errors.Is(err, engine.ErrUncounted):
		return nil, &client.Problem{Type: client.TypeConflict, Title: "Not counted", Status: http.StatusConflict, Detail: err.Error(), Instance: instance(ctx)}
	case err != nil:
		return nil, &client.Problem{Type: client.TypeUnavailable, Title: "The device does not answer", Status: http.StatusServiceUnavailable, Detail: err.Error(), Instance: instance(ctx)}
	}
	out := client.PortCounters{Node: node, Sent: client.Count(c.Sent), Received: client.Count(c.Received), Dropped: []client.DropCount{}}
	for _, d := range c.Dropped {
		out.Dropped = append(out.Dropped, client.DropCount{Why: d.Why, Count: client.Count(d.Count)})
	}
	return &countersOutput{out}, nil
}
