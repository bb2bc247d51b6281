package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/weft-sdn/weft/controller/intent"
)

// FabricEdits are objects that would be written, and such that would go.
type FabricEdits struct {
	Items  []json.RawMessage `json:"items,omitempty" maxItems:"10000" doc:"Fabric, Node and Link objects, each with kind and metadata"`
	Delete []intent.Ref      `json:"delete,omitempty" maxItems:"10000" doc:"Objects that would be deleted; a node's links go with it"`
}

// FabricPlan is what edits would change.
type FabricPlan struct {
	Changes []FabricChange `json:"changes" nullable:"false" doc:"Switches that change; the others are left alone"`
	Notes   []string       `json:"notes,omitempty" doc:"What else is to be known, such as why the edits would be refused"`
}

// FabricChange is what becomes of one switch.
type FabricChange struct {
	Node       string          `json:"node"`
	Kind       string          `json:"kind" enum:"added,removed,changed"`
	Renumbered []string        `json:"renumbered,omitempty" doc:"Numbers of its identity that become others"`
	Details    []string        `json:"details,omitempty" doc:"Other differences"`
	Sessions   []SessionChange `json:"sessions,omitempty" doc:"Sessions and adjacencies that come, go or flap; the others stay up"`
	Commands   []string        `json:"commands" nullable:"false" doc:"What FRR's daemons would be told, each in its context"`
}

// SessionChange is a session or adjacency that does not just stay.
type SessionChange struct {
	Peer string `json:"peer"`
	Fate string `json:"fate" enum:"comes,goes,flaps"`
	Why  string `json:"why,omitempty" doc:"Why it flaps"`
}

// PlanFabric tells what edits of the fabric would change on each switch.
func (c *Client) PlanFabric(ctx context.Context, objects []intent.Object, gone []intent.Ref) (FabricPlan, error) {
	items, err := marshalAll(objects)
	if err != nil {
		return FabricPlan{}, err
	}
	body, err := json.Marshal(FabricEdits{Items: items, Delete: gone})
	if err != nil {
		return FabricPlan{}, fmt.Errorf("plan the fabric: %w", err)
	}
	_, b, err := c.do(ctx, http.MethodPost, "/v1/fabric/plan", nil, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return FabricPlan{}, err
	}
	var out FabricPlan
	if err := json.Unmarshal(b, &out); err != nil {
		return FabricPlan{}, fmt.Errorf("plan the fabric: the controller's answer can't be read: %w", err)
	}
	return out, nil
}
