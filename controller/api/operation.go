package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

type alarmsOutput struct{ Body client.Alarms }

type alarmInput struct {
	ID string `path:"id" doc:"The alarm's id"`
}

type routesInput struct {
	Tenant string `path:"tenant" doc:"Tenant"`
	Name   string `path:"name" doc:"Network"`
}

type routesOutput struct{ Body client.Routes }

// registerOperation registers what shows the network's state beside objects.
func (s *Server) registerOperation() {
	s.api.OpenAPI().Tags = append(s.api.OpenAPI().Tags, &huma.Tag{Name: "Operation", Description: "What the network does: alarms and routes."})
	huma.Register(s.api, huma.Operation{OperationID: "listAlarms", Method: http.MethodGet, Path: "/v1/alarms", Tags: []string{"Operation"},
		Summary: "Alarms, the oldest first"}, func(context.Context, *struct{}) (*alarmsOutput, error) {
		out := &alarmsOutput{client.Alarms{Items: []client.Alarm{}}}
		for _, a := range s.cfg.Status.Alarms() {
			out.Body.Items = append(out.Body.Items, client.Alarm(a))
		}
		return out, nil
	})
	huma.Register(s.api, huma.Operation{OperationID: "clearAlarm", Method: http.MethodDelete, Path: "/v1/alarms/{id}", Tags: []string{"Operation"},
		Summary:     "Clear an alarm that does not end by itself",
		Description: "A duplicate MAC may move again after it (RFC 7432 section 15.1). Other alarms end when their cause is gone.",
		Errors:      []int{http.StatusNotFound, http.StatusConflict}, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *alarmInput) (*struct{}, error) {
			err := s.cfg.Status.ClearAlarm(in.ID)
			p := &client.Problem{Instance: instance(ctx)}
			switch {
			case errors.Is(err, engine.ErrNoAlarm):
				p.Type, p.Title, p.Status = client.TypeNotFound, "Not found", http.StatusNotFound
			case errors.Is(err, engine.ErrNotClear):
				p.Type, p.Title, p.Status = client.TypeConflict, "Can't be cleared", http.StatusConflict
			case err != nil:
				return nil, s.fail(ctx, err)
			default:
				return nil, nil
			}
			p.Detail = err.Error()
			return nil, p
		})
	huma.Register(s.api, huma.Operation{OperationID: "listRoutes", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/networks/{name}/routes", Tags: []string{"Operation"},
		Summary:     "Segment table of a network",
		Description: "The EVPN routes of the network's VNI, whoever stated them, with all their paths.",
		Errors:      []int{http.StatusNotFound}}, s.routes)
	s.registerCounters()
}

func (s *Server) routes(ctx context.Context, in *routesInput) (*routesOutput, error) {
	ref := intent.Ref{Kind: intent.KindNetwork, Tenant: in.Tenant, Name: in.Name}
	o, err := s.cfg.Store.Get(ctx, ref)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	out := &routesOutput{client.Routes{VNI: o.(*intent.Network).Spec.VNI, Items: []client.Route{}}}
	for _, r := range s.cfg.Status.Routes(ref) {
		c := client.Route{Type: r.Type.String(), IP: r.IP, VTEP: r.VTEP, Node: r.Node, Origin: r.Origin.String(), Source: string(r.Source),
			Best: r.Best, Sequence: r.Seq, Sticky: r.Sticky, Revision: uint64(r.Rev)}
		if r.Type == evpn.MACIP {
			c.MAC = r.MAC.String()
		}
		out.Body.Items = append(out.Body.Items, c)
	}
	return out, nil
}
