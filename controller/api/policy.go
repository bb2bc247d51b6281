package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
)

type portInput struct {
	Tenant string `path:"tenant" doc:"Tenant"`
	Name   string `path:"name" doc:"Port"`
}

type policyOutput struct{ Body client.Policy }

type flowsOutput struct{ Body client.Flows }

// registerPolicy registers what shows what a device does with a port's packets. It
// is read from the device when it is asked for.
func (s *Server) registerPolicy() {
	op := func(id, what, summary, text string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: "/v1/tenants/{tenant}/ports/{name}/" + what, Tags: []string{"Operation"},
			Summary: summary, Description: text, Errors: []int{http.StatusNotFound, http.StatusServiceUnavailable}}
	}
	huma.Register(s.api, op("getPortPolicy", "policy", "Policy of a port, with counters",
		"The rules of all security groups of the port, each with what it let pass, and what no rule allows. Read from the port's device now; the counters are those of all ports of the device that are in the same groups."), s.portPolicy)
	huma.Register(s.api, op("listPortFlows", "flows", "Flows of a port in words",
		"The flows of the port on its device, and those of its policy. Read from the device now."), s.portFlows)
}

// port finds out whether the port exists.
func (s *Server) port(ctx context.Context, in *portInput) (intent.Ref, error) {
	ref := intent.Ref{Kind: intent.KindPort, Tenant: in.Tenant, Name: in.Name}
	if _, err := s.cfg.Store.Get(ctx, ref); err != nil {
		return ref, s.fail(ctx, err)
	}
	return ref, nil
}

// silent is the problem that a device can't be asked.
func (s *Server) silent(ctx context.Context, err error) error {
	var op *southbound.OpError
	if !errors.As(err, &op) {
		return s.fail(ctx, err)
	}
	return &client.Problem{Type: client.TypeUnavailable, Title: "The device can't be asked", Status: http.StatusServiceUnavailable,
		Detail: op.Error() + ": " + op.Action, Instance: instance(ctx)}
}

func (s *Server) portPolicy(ctx context.Context, in *portInput) (*policyOutput, error) {
	ref, err := s.port(ctx, in)
	if err != nil {
		return nil, err
	}
	p, err := s.cfg.Status.Policy(ctx, ref)
	if err != nil {
		return nil, s.silent(ctx, err)
	}
	rest := func(action string, c southbound.FlowCount) client.PolicyRest {
		return client.PolicyRest{Action: action, Packets: c.Packets, Bytes: c.Bytes}
	}
	out := &policyOutput{client.Policy{Node: p.Node, Groups: []string{}, Ports: p.Count.Ports, Rules: []client.PolicyRule{},
		Ingress: rest("allow", p.Count.In), Egress: rest("allow", p.Count.Out)}}
	if p.Policy == nil {
		return out, nil
	}
	out.Body.Ingress.Action = "deny"
	if p.Policy.Limited {
		out.Body.Egress.Action = "deny"
	}
	for _, g := range p.Policy.Groups {
		out.Body.Groups = append(out.Body.Groups, g.Name)
	}
	for i, r := range p.Policy.Rules {
		out.Body.Rules = append(out.Body.Rules, client.PolicyRule{Group: r.From, Index: r.Index, Rule: r.String(), Packets: p.Count.Rules[i].Packets, Bytes: p.Count.Rules[i].Bytes})
	}
	return out, nil
}

func (s *Server) portFlows(ctx context.Context, in *portInput) (*flowsOutput, error) {
	ref, err := s.port(ctx, in)
	if err != nil {
		return nil, err
	}
	node, flows, err := s.cfg.Status.Flows(ctx, ref)
	if err != nil {
		return nil, s.silent(ctx, err)
	}
	out := &flowsOutput{client.Flows{Node: node, Items: make([]client.Flow, 0, len(flows))}}
	for _, f := range flows {
		out.Body.Items = append(out.Body.Items, client.Flow{Table: f.Table, Priority: f.Priority, Words: f.Words, Packets: f.Packets, Bytes: f.Bytes})
	}
	return out, nil
}
