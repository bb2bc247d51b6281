package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/fabric/paths"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// Underlay tells what switches report of their routing; *engine.Engine does.
type Underlay interface {
	// TakeRouting takes a report; ok is false when there is no such node.
	TakeRouting(node string, r switchstate.RoutingReport) (whole, ok bool)
	// Routing is what a switch reported last; ok is false when it has not.
	Routing(node string) (r switchstate.Routing, at time.Time, ok bool)
	// Paths fails when a place is not known.
	Paths(from, to string) (paths.Result, error)
}

// registerPaths registers what shows the underlay's routing, and takes it.
func (s *Server) registerPaths() {
	huma.Register(s.api, huma.Operation{OperationID: "getPaths", Method: http.MethodGet, Path: "/v1/fabric/paths", Tags: []string{"Operation"},
		Summary:     "Equal-cost paths between two places: intended, learned and programmed",
		Description: "Hop by hop: what the graph has, what the switches' routing protocols have, and by what their kernels send. The last two are those that agents reported.",
		Errors:      []int{http.StatusNotFound}}, s.paths)
	huma.Register(s.api, huma.Operation{OperationID: "getRouting", Method: http.MethodGet, Path: "/v1/nodes/{name}/routing", Tags: []string{"Operation"},
		Summary: "Sessions and routes of a switch in the underlay", Errors: []int{http.StatusNotFound}}, s.routing)
	huma.Register(s.api, huma.Operation{OperationID: "reportRouting", Method: http.MethodPost, Path: "/v1/nodes/{name}/routing/report", Tags: []string{tagAgents},
		Summary: "Tell what sessions and routes a switch has in the underlay", MaxBodyBytes: 16 << 20, Errors: []int{http.StatusUnauthorized, http.StatusNotFound}, Middlewares: huma.Middlewares{s.agentsOnly}}, s.reportRouting)
}

type pathsInput struct {
	From string `query:"from" required:"true" minLength:"1" maxLength:"253" doc:"Switch, hypervisor or address"`
	To   string `query:"to" required:"true" minLength:"1" maxLength:"253" doc:"Switch, hypervisor or address"`
}

type pathsOutput struct{ Body client.Paths }

func (s *Server) paths(ctx context.Context, in *pathsInput) (*pathsOutput, error) {
	r, err := s.cfg.Status.Paths(in.From, in.To)
	if err != nil {
		return nil, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Instance: instance(ctx), Detail: err.Error()}
	}
	return &pathsOutput{pathsOf(r)}, nil
}

// pathsOf is a result as the API tells it.
func pathsOf(r paths.Result) client.Paths {
	out := client.Paths{From: pathEnd(r.From), To: pathEnd(r.To), Intended: client.PathSet(r.Intended), Up: client.PathSet(r.Up),
		Learned: client.PathSet(r.Learned), Programmed: client.PathSet(r.Programmed), Hops: []client.PathHop{}, Differences: []client.PathDifference{}}
	for _, h := range r.Hops {
		hop := client.PathHop{Switch: h.Switch, Reported: h.Reported, Steered: h.Steered, NextHops: []client.PathLeg{}}
		for _, l := range h.Legs {
			leg := client.PathLeg{Interface: l.Interface, Intended: l.Intended, Up: l.Up, Learned: l.Learned, Programmed: l.Programmed, Weight: l.Weight}
			if l.Neighbour != (topology.End{}) {
				leg.Neighbour = l.Neighbour.String()
			}
			hop.NextHops = append(hop.NextHops, leg)
		}
		out.Hops = append(out.Hops, hop)
	}
	for _, d := range r.Differences {
		out.Differences = append(out.Differences, client.PathDifference{Kind: string(d.Kind), Switch: d.Switch, Interface: d.Interface, Message: d.Message})
	}
	return out
}

func pathEnd(p paths.Place) client.PathEnd {
	return client.PathEnd{Name: p.Name, Node: p.Node, Switch: p.Switch, Address: p.Address}
}

type routingOutput struct{ Body client.NodeRouting }

func (s *Server) routing(ctx context.Context, in *portsInput) (*routingOutput, error) {
	r, at, ok := s.cfg.Status.Routing(in.Name)
	if !ok {
		return nil, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Instance: instance(ctx),
			Detail: "no agent has reported the routing of " + in.Name + " since the controller started: run weft agent on the switch"}
	}
	return &routingOutput{client.NodeRouting{Node: in.Name, Since: at, Routing: r}}, nil
}

type routingInput struct {
	Name string `path:"name" doc:"Node"`
	Body switchstate.RoutingReport
}

type routingReportOutput struct{ Body client.RoutingReported }

func (s *Server) reportRouting(ctx context.Context, in *routingInput) (*routingReportOutput, error) {
	whole, ok := s.cfg.Status.TakeRouting(in.Name, in.Body)
	if !ok {
		return nil, noNode(ctx, in.Name)
	}
	return &routingReportOutput{client.RoutingReported{Whole: whole}}, nil
}
