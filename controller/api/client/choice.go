package client

import (
	"context"
	"time"
)

// Choice is what the optimiser did in its last step.
type Choice struct {
	Active  bool           `json:"active" doc:"A policy hands over to the optimiser"`
	At      *time.Time     `json:"at,omitempty"`
	Before  float64        `json:"before" doc:"Highest utilisation of a link that the averaged demand makes, before the step"`
	After   float64        `json:"after" doc:"The same after the step"`
	Target  float64        `json:"target" doc:"What could be reached if all were changed at once"`
	Moved   float64        `json:"moved" doc:"Part of all traffic that the step moved"`
	Steered int            `json:"steered" doc:"Cells of the matrix that are off ECMP: each is a route on a leaf"`
	Changes []ChoiceChange `json:"changes" nullable:"false"`
	Why     string         `json:"why,omitempty" doc:"Why nothing, or not more, was changed"`
}

// ChoiceChange is what a step does to the traffic from a leaf to a VTEP.
type ChoiceChange struct {
	From   string         `json:"from"`
	To     string         `json:"to"`
	Tenant string         `json:"tenant,omitempty" doc:"Whose traffic it is, of those that have a colour; that of all others when left out"`
	Before map[string]int `json:"before" doc:"Weights by port and next switch, as eth1/spine1; empty is ECMP"`
	After  map[string]int `json:"after"`
	Why    string         `json:"why"`
}

// Choice is what the optimiser did in its last step.
func (c *Client) Choice(ctx context.Context) (Choice, error) {
	var out Choice
	err := c.get(ctx, "/v1/fabric/choice", &out)
	return out, err
}
