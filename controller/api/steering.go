package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
)

type steeringInput struct{ Body client.SteeringQuestion }

type steeringOutput struct{ Body client.SteeringPlan }

// registerSteering registers what tells of steering before it happens.
func (s *Server) registerSteering() {
	huma.Register(s.api, huma.Operation{OperationID: "planSteering", Method: http.MethodPost, Path: "/v1/steering/plan", Metadata: readsOnly, Tags: []string{"Operation"},
		Summary:     "What would be steered",
		Description: "The routes that leaves would be given, if policies were others or more links were down: beside the next hops of plain ECMP. Nothing is done.",
		Errors:      []int{http.StatusBadRequest, http.StatusServiceUnavailable}}, s.planSteering)
}

func (s *Server) planSteering(ctx context.Context, in *steeringInput) (*steeringOutput, error) {
	if err := s.cfg.Status.Ready(); err != nil {
		return nil, s.fail(ctx, err)
	}
	q := engine.SteeringQuestion{Off: in.Body.Off, Without: in.Body.Without}
	for _, d := range in.Body.Policies {
		p := &intent.SteeringPolicy{Metadata: intent.Metadata{Name: d.Name}, Spec: d.Spec}
		if err := p.Validate(); err != nil {
			return nil, s.fail(ctx, err)
		}
		q.Policies = append(q.Policies, p)
	}
	plan, err := s.cfg.Status.PlanSteering(q)
	if err != nil {
		return nil, s.fail(ctx, parameter("body", "policies", "can't be planned: %v", err))
	}
	out := &steeringOutput{client.SteeringPlan{Routes: append([]intent.SteeredRoute{}, plan.Routes...), Problems: []client.SteeringProblem{}, Overloads: []client.SteeringOverload{}}}
	for _, o := range plan.Overloads {
		out.Body.Overloads = append(out.Body.Overloads, client.SteeringOverload{From: o.From.String(), To: o.To.String(), Capacity: o.Capacity, Rate: o.Rate, ECMP: o.ECMP, Policies: o.Policies, Message: o.String()})
	}
	for _, name := range slices.Sorted(maps.Keys(plan.Unfit)) {
		out.Body.Problems = append(out.Body.Problems, client.SteeringProblem{Policy: name, Message: plan.Unfit[name].Error()})
	}
	for _, f := range plan.Fallen {
		out.Body.Problems = append(out.Body.Problems, client.SteeringProblem{Policy: f.Policy,
			Message: fmt.Sprintf("all ways from %s to %s that it leaves are down: plain ECMP serves", f.From, f.To)})
	}
	return out, nil
}

// overloads warns of the links on which a policy would put more than they have.
func (s *Server) overloads(p *intent.SteeringPolicy) (out []string) {
	if s.cfg.Status.Ready() != nil {
		return nil
	}
	plan, err := s.cfg.Status.PlanSteering(engine.SteeringQuestion{Policies: []*intent.SteeringPolicy{p}})
	if err != nil {
		return nil // its status tells why
	}
	for _, o := range plan.Overloads {
		if slices.Contains(o.Policies, p.Metadata.Name) {
			out = append(out, "with policy "+p.Metadata.Name+" "+o.String())
		}
	}
	return out[:min(len(out), warningsMost)]
}

// warningsMost bounds the warnings of an answer.
const warningsMost = 8
