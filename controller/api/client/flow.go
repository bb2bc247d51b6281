package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// FlowQuestion asks which links one flow between two leaves takes.
type FlowQuestion struct {
	From, To        string // leaves: where it enters the fabric, and where it leaves it
	Tenant, Network string // whose it is; any when empty
	// Header is of the tenant's packets; or, with the addresses of VTEPs, of the tunnel.
	Header switchstate.Header
}

// FlowPath is which links a flow takes.
type FlowPath struct {
	Tunnel switchstate.Header `json:"tunnel" doc:"The outer header"`
	VNI    intent.VNI         `json:"vni,omitempty" doc:"Of the tunnel, where it was seen"`
	Seen   string             `json:"seen,omitempty" doc:"Interface by which its leaf was seen to send it; left out when the tunnel's header was given"`
	Links  []FlowLink         `json:"links" nullable:"false" doc:"As the kernels of the switches say for the outer header"`
}

// FlowLink is a link of a flow's way.
type FlowLink struct {
	From string `json:"from" doc:"Interface of the switch that sends, as leaf1:eth1"`
	To   string `json:"to" doc:"Interface at the other end"`
}

// Flow asks which links a flow takes.
func (c *Client) Flow(ctx context.Context, q FlowQuestion) (FlowPath, error) {
	var out FlowPath
	h := q.Header
	v := url.Values{"from": {q.From}, "to": {q.To}, "source": {h.From.String()}, "destination": {h.To.String()}, "protocol": {strconv.Itoa(int(h.Protocol))},
		"sourcePort": {strconv.Itoa(int(h.FromPort))}, "destinationPort": {strconv.Itoa(int(h.ToPort))}}
	for name, value := range map[string]string{"tenant": q.Tenant, "network": q.Network} {
		if value != "" {
			v.Set(name, value)
		}
	}
	_, b, err := c.do(ctx, http.MethodGet, "/v1/fabric/flow", v, nil, nil)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("ask for a flow: the controller's answer can't be read: %w", err)
	}
	return out, nil
}

// Questions are what the controller wants to know of a switch's flows.
type Questions struct {
	Questions []switchstate.Question `json:"questions" nullable:"false"`
}

// Questions waits until the controller has questions for a switch's agent; there are
// none when nobody asked for a while.
func (c *Client) Questions(ctx context.Context, node string) ([]switchstate.Question, error) {
	_, b, err := c.do(ctx, http.MethodGet, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/questions", nil, nil, nil)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	var out Questions
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("questions for %s: the controller's answer can't be read: %w", node, err)
	}
	return out.Questions, nil
}

// Answer answers one.
func (c *Client) Answer(ctx context.Context, node string, a switchstate.Answer) error {
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("answer for %s: %w", node, err)
	}
	_, _, err = c.do(ctx, http.MethodPost, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/answers", nil, http.Header{"Content-Type": {"application/json"}}, body)
	return err
}
