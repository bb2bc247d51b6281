package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

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
	Name   string `path:"name" doc:"Network or router"`
}

type outsideRoutesInput struct {
	Name string `path:"name" doc:"External network"`
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
		Errors:      []int{http.StatusNotFound}},
		func(ctx context.Context, in *routesInput) (*routesOutput, error) {
			return s.routes(ctx, intent.Ref{Kind: intent.KindNetwork, Tenant: in.Tenant, Name: in.Name})
		})
	huma.Register(s.api, huma.Operation{OperationID: "listRouterRoutes", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/routers/{name}/routes", Tags: []string{"Operation"},
		Summary:     "Table of a router's L3VNI",
		Description: "The hosts and prefixes that the VRF knows, whoever stated them, with all their paths. Its subnets and static routes are in the router itself.",
		Errors:      []int{http.StatusNotFound}},
		func(ctx context.Context, in *routesInput) (*routesOutput, error) {
			return s.routes(ctx, intent.Ref{Kind: intent.KindRouter, Tenant: in.Tenant, Name: in.Name})
		})
	huma.Register(s.api, huma.Operation{OperationID: "listExternalRoutes", Method: http.MethodGet, Path: "/v1/externalnetworks/{name}/routes", Tags: []string{"Operation"},
		Summary:     "Table of an external network's L3VNI",
		Description: "The prefixes that its borders learned, and the hosts that are known outside.",
		Errors:      []int{http.StatusNotFound}},
		func(ctx context.Context, in *outsideRoutesInput) (*routesOutput, error) {
			return s.routes(ctx, intent.Ref{Kind: intent.KindExternalNetwork, Name: in.Name})
		})
	huma.Register(s.api, huma.Operation{OperationID: "getCabling", Method: http.MethodGet, Path: "/v1/fabric/cabling", Tags: []string{"Operation"},
		Summary:     "Intended links beside what switches hear by LLDP",
		Description: "Links are judged by the reports of the agents on their switches (IEEE 802.1AB)."},
		func(context.Context, *struct{}) (*cablingOutput, error) {
			c := s.cfg.Status.Cabling()
			out := &cablingOutput{client.Cabling{Links: c.Links, Unheard: c.Unheard, Silent: c.Silent, Faults: []client.CablingFault{}}}
			for _, f := range c.Faults {
				out.Body.Faults = append(out.Body.Faults, client.CablingFault{Kind: string(f.Kind), Link: f.Link, Message: f.Message, Since: f.Since})
			}
			return out, nil
		})
	huma.Register(s.api, huma.Operation{OperationID: "getSwitch", Method: http.MethodGet, Path: "/v1/nodes/{name}/switch", Tags: []string{"Operation"},
		Summary: "Ports of a switch, and who is at their other ends", Errors: []int{http.StatusNotFound}}, s.ports)
	s.registerPaths()
	s.registerFlow()
	s.registerCounters()
	s.registerSharedCounters()
}

type portsInput struct {
	Name string `path:"name" doc:"Switch"`
}

type portsOutput struct{ Body client.Switch }

func (s *Server) ports(ctx context.Context, in *portsInput) (*portsOutput, error) {
	ports, at, ok := s.cfg.Status.SwitchPorts(in.Name)
	if !ok {
		return nil, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Instance: instance(ctx),
			Detail: "no agent has reported from " + in.Name + " since the controller started: run weft agent on the switch"}
	}
	return &portsOutput{client.Switch{Node: in.Name, Since: at, Ports: ports}}, nil
}

type cablingOutput struct{ Body client.Cabling }

// tableOf is the VNI of the table that belongs to an object.
func tableOf(o intent.Object) intent.VNI {
	switch o := o.(type) {
	case *intent.Network:
		return o.Spec.VNI
	case *intent.Router:
		return o.Spec.VNI
	case *intent.ExternalNetwork:
		return o.Spec.VNI
	}
	return 0
}

func (s *Server) routes(ctx context.Context, ref intent.Ref) (*routesOutput, error) {
	o, err := s.cfg.Store.Get(ctx, ref)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	out := &routesOutput{client.Routes{VNI: tableOf(o), Items: []client.Route{}}}
	for _, r := range s.cfg.Status.Routes(tableOf(o)) {
		c := client.Route{Type: r.Type.String(), IP: r.IP, VTEP: r.VTEP, Node: r.Node, Origin: r.Origin.String(), Source: string(r.Source),
			L2VNI: r.VNI, Best: r.Best, Sequence: r.Seq, Sticky: r.Sticky, Revision: uint64(r.Rev)}
		switch r.Type {
		case evpn.MACIP:
			c.MAC = r.MAC.String()
		case evpn.PREFIX:
			c.IP, c.Prefix = netip.Addr{}, netip.PrefixFrom(r.IP, int(r.Bits))
		}
		if !r.RouterMAC.IsZero() {
			c.RouterMAC = r.RouterMAC.String()
		}
		out.Body.Items = append(out.Body.Items, c)
	}
	return out, nil
}
