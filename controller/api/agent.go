package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/southbound/leafstate"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// leafWait is how long an agent's question waits for a change.
const leafWait = 20 * time.Second

type leafInput struct {
	Name  string `path:"name" doc:"Node"`
	Since uint64 `query:"since" doc:"Revision of the state that the agent has; the answer waits for another one"`
}

type leafOutput struct {
	Status int
	Body   *leafstate.State
}

type reportInput struct {
	Name string `path:"name" doc:"Node"`
	Body leafstate.Report
}

type reportOutput struct{ Body client.Reported }

// registerAgent registers what the agents on leaves ask and tell.
func (s *Server) registerAgent() {
	s.api.OpenAPI().Tags = append(s.api.OpenAPI().Tags, &huma.Tag{Name: tagAgents, Description: "For the agents on switches."})
	huma.Register(s.api, huma.Operation{OperationID: "getLeafState", Method: http.MethodGet, Path: "/v1/nodes/{name}/leaf", Tags: []string{tagAgents},
		Summary:     "State that a leaf is to have",
		Description: "Waits for a state of another revision than since; 204 when there was none for a while. The first answer comes after the agent's first report.",
		Errors:      []int{http.StatusUnauthorized, http.StatusNotFound}, Middlewares: huma.Middlewares{s.agentsOnly},
		Responses: map[string]*huma.Response{"204": {Description: "Nothing changed: ask again"}}}, s.leafState)
	huma.Register(s.api, huma.Operation{OperationID: "reportLeaf", Method: http.MethodPost, Path: "/v1/nodes/{name}/leaf/report", Tags: []string{tagAgents},
		Summary: "Tell what a leaf has", MaxBodyBytes: 256 << 20, Errors: []int{http.StatusUnauthorized, http.StatusNotFound}, Middlewares: huma.Middlewares{s.agentsOnly}}, s.reportLeaf)
	huma.Register(s.api, huma.Operation{OperationID: "getSwitchState", Method: http.MethodGet, Path: "/v1/nodes/{name}/state", Tags: []string{tagAgents},
		Summary:     "State that a switch is to have as a part of the underlay",
		Description: "Waits for a state of another revision than since; 204 when there was none for a while, as where there is no Fabric.",
		Errors:      []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict}, Middlewares: huma.Middlewares{s.agentsOnly},
		Responses: map[string]*huma.Response{"204": {Description: "Nothing changed: ask again"}}}, s.switchState)
	huma.Register(s.api, huma.Operation{OperationID: "reportSwitch", Method: http.MethodPost, Path: "/v1/nodes/{name}/switch/report", Tags: []string{tagAgents},
		Summary: "Tell what ports a switch has, who is at their other ends, and which state is in place", MaxBodyBytes: 16 << 20, Errors: []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict}, Middlewares: huma.Middlewares{s.agentsOnly}}, s.reportSwitch)
}

type switchInput struct {
	Name string `path:"name" doc:"Node"`
	Body switchstate.Report
}

type switchOutput struct{ Body client.SwitchReported }

func (s *Server) reportSwitch(ctx context.Context, in *switchInput) (*switchOutput, error) {
	if err := s.cfg.Status.TakeSwitch(in.Name, in.Body); err != nil {
		return nil, noAgent(ctx, in.Name, err)
	}
	return &switchOutput{client.SwitchReported{Leaf: s.cfg.Status.Leaf(in.Name) != nil}}, nil
}

// noAgent is why an agent is not served.
func noAgent(ctx context.Context, node string, err error) *client.Problem {
	var taken *engine.TakenError
	if errors.As(err, &taken) {
		return &client.Problem{Type: client.TypeConflict, Title: "The node has another agent", Status: http.StatusConflict, Instance: instance(ctx), Detail: taken.Error()}
	}
	return noNode(ctx, node)
}

func noNode(ctx context.Context, node string) *client.Problem {
	return &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Instance: instance(ctx),
		Detail: "there is no node " + node + ": give the agent the name of the switch's Node object with --node, or create it"}
}

type stateInput struct {
	Name   string `path:"name" doc:"Node"`
	Since  uint64 `query:"since" doc:"Revision of the state that the agent has; the answer waits for another one"`
	Serial string `query:"serial" doc:"Serial number of the box"`
}

type stateOutput struct {
	Status int
	Body   *switchstate.State
}

func (s *Server) switchState(ctx context.Context, in *stateInput) (*stateOutput, error) {
	wait, cancel := s.agentWait(ctx)
	defer cancel()
	state, err := s.cfg.Status.SwitchState(wait, in.Name, in.Serial, in.Since)
	var taken *engine.TakenError
	switch {
	case errors.Is(err, engine.ErrNoNode) || errors.As(err, &taken):
		return nil, noAgent(ctx, in.Name, err)
	case err != nil:
		return &stateOutput{Status: http.StatusNoContent}, nil // the agent asks again
	}
	return &stateOutput{Status: http.StatusOK, Body: &state}, nil
}

// agentWait is how long an agent's question may wait: until the server ends, at most.
func (s *Server) agentWait(ctx context.Context) (context.Context, context.CancelFunc) {
	wait, cancel := context.WithTimeout(ctx, leafWait)
	go func() {
		select {
		case <-s.closing:
			cancel()
		case <-wait.Done():
		}
	}()
	return wait, cancel
}

func noLeaf(ctx context.Context, node string) *client.Problem {
	return &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Instance: instance(ctx),
		Detail: "node " + node + " is no EVPN leaf that an agent serves: give it spec.evpn"}
}

func (s *Server) leafState(ctx context.Context, in *leafInput) (*leafOutput, error) {
	d := s.cfg.Status.Leaf(in.Name)
	if d == nil {
		return nil, noLeaf(ctx, in.Name)
	}
	wait, cancel := s.agentWait(ctx)
	defer cancel()
	state, err := d.Want(wait, in.Since)
	if err != nil {
		return &leafOutput{Status: http.StatusNoContent}, nil // the agent asks again
	}
	return &leafOutput{Status: http.StatusOK, Body: &state}, nil
}

func (s *Server) reportLeaf(ctx context.Context, in *reportInput) (*reportOutput, error) {
	d := s.cfg.Status.Leaf(in.Name)
	if d == nil {
		return nil, noLeaf(ctx, in.Name)
	}
	return &reportOutput{client.Reported{Full: !d.Take(in.Body)}}, nil
}
