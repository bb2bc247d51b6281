package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/fabric/steering"
)

type choiceOutput struct{ Body client.Choice }

// registerChoice registers what the optimiser does.
func (s *Server) registerChoice() {
	huma.Register(s.api, huma.Operation{OperationID: "getChoice", Method: http.MethodGet, Path: "/v1/fabric/choice", Tags: []string{"Operation"},
		Summary:     "What the optimiser did in its last step",
		Description: "It runs while a SteeringPolicy of action auto is in force, on the measured matrix, every 5 s."},
		func(context.Context, *struct{}) (*choiceOutput, error) {
			c := s.cfg.Status.Choice()
			out := client.Choice{Active: c.Active, Before: c.Before, After: c.After, Target: c.Target, Moved: c.Moved, Steered: c.Steered, Why: c.Why, Changes: []client.ChoiceChange{}}
			if c.Active {
				out.At = &c.At
			}
			for _, k := range c.Changes {
				out.Changes = append(out.Changes, client.ChoiceChange{From: k.From, To: k.To, Tenant: k.Tenant, Before: hopsOf(k.Before), After: hopsOf(k.After), Why: k.Why})
			}
			return &choiceOutput{out}, nil
		})
}

func hopsOf(hops []steering.Hop) map[string]int {
	out := map[string]int{}
	for _, h := range hops {
		out[h.Link.From.Interface+"/"+h.Link.To.Node] = h.Weight
	}
	return out
}
