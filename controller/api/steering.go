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
	huma.Register(s.api, huma.Operation{OperationID: "planSteering", Method: http.MethodPost, Path: "/v1/steering/plan", Tags: []string{"Operation"},
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
	out := &steeringOutput{client.SteeringPlan{Routes: append([]intent.SteeredRoute{}, plan.Routes...), Problems: []client.SteeringProblem{}}}
	for _, name := range slices.Sorted(maps.Keys(plan.Unfit)) {
		out.Body.Problems = append(out.Body.Problems, client.SteeringProblem{Policy: name, Message: plan.Unfit[name].Error()})
	}
	for _, f := range plan.Fallen {
		out.Body.Problems = append(out.Body.Problems, client.SteeringProblem{Policy: f.Policy,
			Message: fmt.Sprintf("all ways from %s to %s that it leaves are down: plain ECMP serves", f.From, f.To)})
	}
	return out, nil
}
