package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/weft-sdn/weft/controller/intent"
)

// SteeringQuestion asks what would be steered.
type SteeringQuestion struct {
	Policies []SteeringDraft `json:"policies,omitempty" doc:"Policies instead of those of their names, or besides"`
	Off      []string        `json:"off,omitempty" doc:"Names of policies that are gone"`
	Without  []string        `json:"without,omitempty" doc:"Interfaces (leaf1:eth1) and switches that are down, besides those that are"`
}

// SteeringDraft is a policy that need not be stored.
type SteeringDraft struct {
	Name string                    `json:"name" doc:"Name"`
	Spec intent.SteeringPolicySpec `json:"spec"`
}

// SteeringPlan is what would be steered.
type SteeringPlan struct {
	Routes   []intent.SteeredRoute `json:"routes" nullable:"false" doc:"Of all leaves: before is ECMP, after is what the leaf is given"`
	Problems []SteeringProblem     `json:"problems" nullable:"false" doc:"Policies that do nothing, or fall back to ECMP, and why"`
	// Overloads are by the traffic of the last 10 s.
	Overloads []SteeringOverload `json:"overloads" nullable:"false" doc:"Links on which policies that pin or weigh would put more than they have, of the traffic of the last 10 s; of links whose capacity is known"`
}

// SteeringOverload is a link on which policies put more than it has, and than ECMP would.
type SteeringOverload struct {
	From     string   `json:"from" doc:"Interface of the switch that sends, as leaf1:eth1"`
	To       string   `json:"to" doc:"Interface at the other end"`
	Capacity float64  `json:"capacity" doc:"Bits per second"`
	Rate     float64  `json:"rate" doc:"Bits per second of the traffic that is measured, with the policies"`
	ECMP     float64  `json:"ecmp" doc:"Bits per second by plain ECMP"`
	Policies []string `json:"policies" nullable:"false" doc:"Those that put more on it than ECMP"`
	Message  string   `json:"message"`
}

// SteeringProblem is why a policy does not do what it says.
type SteeringProblem struct {
	Policy  string `json:"policy"`
	Message string `json:"message"`
}

// PlanSteering asks what would be steered. Nothing is done.
func (c *Client) PlanSteering(ctx context.Context, q SteeringQuestion) (SteeringPlan, error) {
	var out SteeringPlan
	body, err := json.Marshal(q)
	if err != nil {
		return out, err
	}
	_, answer, err := c.do(ctx, http.MethodPost, "/v1/steering/plan", nil, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(answer, &out)
}
