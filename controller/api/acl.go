package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
)

type aclInput struct {
	Tenant string `path:"tenant" doc:"Tenant"`
	Name   string `path:"name" doc:"Network ACL"`
}

type aclOutput struct{ Body client.ACLCounters }

func (s *Server) registerACL() {
	huma.Register(s.api, huma.Operation{OperationID: "getNetworkACLCounters", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/networkacls/{name}/counters", Tags: []string{"Operation"},
		Summary:     "What the rules of a network ACL have decided on",
		Description: "Read from the vSwitches with ports of its networks when asked, and summed. A packet between two hypervisors is judged where it leaves its subnet and where it enters another.",
		Errors:      []int{http.StatusNotFound, http.StatusServiceUnavailable}}, s.aclCounters)
}

func (s *Server) aclCounters(ctx context.Context, in *aclInput) (*aclOutput, error) {
	ref := intent.Ref{Kind: intent.KindNetworkACL, Tenant: in.Tenant, Name: in.Name}
	if _, err := s.cfg.Store.Get(ctx, ref); err != nil {
		return nil, s.fail(ctx, err)
	}
	ask, cancel := context.WithTimeout(ctx, countersTime)
	defer cancel()
	c, ok := s.cfg.Status.ACLCounters(ask, ref)
	if !ok {
		return nil, &client.Problem{Type: client.TypeUnavailable, Title: "Not known yet", Status: http.StatusServiceUnavailable,
			Detail: "the controller has not taken " + ref.String() + " yet: wait a moment", Instance: instance(ctx)}
	}
	rest := func(c southbound.FlowCount) client.PolicyRest {
		return client.PolicyRest{Action: string(intent.Deny), Packets: c.Packets, Bytes: c.Bytes}
	}
	out := client.ACLCounters{Devices: append([]string{}, c.Devices...), Missing: []client.MissingCount{}, Rules: []client.ACLRuleCount{}, Ingress: rest(c.Count.In), Egress: rest(c.Count.Out)}
	for _, m := range c.Missing {
		out.Missing = append(out.Missing, client.MissingCount{Node: m.Device, Why: m.Why})
	}
	for i, r := range c.ACL.Rules {
		out.Rules = append(out.Rules, client.ACLRuleCount{Index: i, Rule: r.String(), Packets: c.Count.Rules[i].Packets, Bytes: c.Count.Rules[i].Bytes})
	}
	return &aclOutput{out}, nil
}
