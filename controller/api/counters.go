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
