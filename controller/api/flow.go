package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Flows tells which links single flows take; *engine.Engine does.
type Flows interface {
	// Flow asks the switches' agents.
	Flow(context.Context, engine.FlowQuestion) (engine.FlowPath, error)
	// Questions waits for questions for an agent; its error is engine.ErrNoNode or the
	// context's.
	Questions(ctx context.Context, node string) ([]switchstate.Question, error)
	// TakeAnswer takes an agent's answer; its error is engine.ErrNoNode.
	TakeAnswer(node string, a switchstate.Answer) error
}

type (
	flowInput struct {
		From            string `query:"from" required:"true" minLength:"1" maxLength:"253" doc:"Leaf at which it enters the fabric, or behind which it begins"`
		To              string `query:"to" required:"true" minLength:"1" maxLength:"253" doc:"Leaf at which it leaves the fabric"`
		Tenant          string `query:"tenant" maxLength:"253" doc:"Whose it is; any when left out"`
		Network         string `query:"network" maxLength:"253" doc:"Only in this network of the tenant, or routed"`
		Source          string `query:"source" required:"true" maxLength:"64" doc:"Source address of the tenant's packets; or, with the addresses of VTEPs, of the tunnel"`
		Destination     string `query:"destination" required:"true" maxLength:"64" doc:"Destination address"`
		Protocol        uint8  `query:"protocol" required:"true" doc:"IP protocol number: 6 is TCP, 17 is UDP"`
		SourcePort      uint16 `query:"sourcePort" doc:"Of protocols with ports"`
		DestinationPort uint16 `query:"destinationPort" doc:"Of protocols with ports"`
	}
	flowOutput     struct{ Body client.FlowPath }
	questionsInput struct {
		Name string `path:"name" doc:"Node"`
	}
	questionsOutput struct {
		Status int
		Body   *client.Questions
	}
	answerInput struct {
		Name string `path:"name" doc:"Node"`
		Body switchstate.Answer
	}
)

// registerFlow registers what tells of single flows, and what the agents ask and tell
// for that.
func (s *Server) registerFlow() {
	huma.Register(s.api, huma.Operation{OperationID: "getFlow", Method: http.MethodGet, Path: "/v1/fabric/flow", Tags: []string{"Operation"},
		Summary: "Links that one flow takes now",
		Description: "The agent of its first leaf watches in which tunnel the flow leaves, for 3 s at most; then the kernel of each switch on its way is asked by which next hop it sends that outer header. " +
			"Nothing is sent and nothing is changed. With the addresses of two VTEPs the header is that of the tunnel, and nothing is watched.",
		Errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict}}, s.flow)
	huma.Register(s.api, huma.Operation{OperationID: "getQuestions", Method: http.MethodGet, Path: "/v1/nodes/{name}/questions", Tags: []string{"Agents"},
		Summary: "What the controller wants to know of a switch's flows", Description: "Waits for questions; 204 when there were none for a while.",
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound}, Middlewares: huma.Middlewares{s.agentsOnly},
		Responses: map[string]*huma.Response{"204": {Description: "Nobody asked: ask again"}}}, s.questions)
	huma.Register(s.api, huma.Operation{OperationID: "answerQuestion", Method: http.MethodPost, Path: "/v1/nodes/{name}/answers", Tags: []string{"Agents"},
		Summary: "Answer a question", DefaultStatus: http.StatusNoContent,
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound}, Middlewares: huma.Middlewares{s.agentsOnly}}, s.answer)
}

func (s *Server) flow(ctx context.Context, in *flowInput) (*flowOutput, error) {
	h := switchstate.Header{Protocol: in.Protocol, FromPort: in.SourcePort, ToPort: in.DestinationPort}
	for _, f := range []struct {
		name, value string
		to          *netip.Addr
	}{{"source", in.Source, &h.From}, {"destination", in.Destination, &h.To}} {
		var err error
		if *f.to, err = netip.ParseAddr(f.value); err != nil || f.to.Zone() != "" {
			return nil, s.fail(ctx, parameter("query", f.name, "%q is no address", f.value))
		}
	}
	if h.From.Is4() != h.To.Is4() {
		return nil, s.fail(ctx, parameter("query", "destination", "%s is of another IP version than %s", h.To, h.From))
	}
	p, err := s.cfg.Status.Flow(ctx, engine.FlowQuestion{From: in.From, To: in.To, Tenant: in.Tenant, Network: in.Network, Header: h})
	if err != nil {
		problem := &client.Problem{Type: client.TypeConflict, Title: "The flow's way is not known", Status: http.StatusConflict, Instance: instance(ctx), Detail: err.Error()}
		if errors.Is(err, engine.ErrUnseen) || errors.Is(err, engine.ErrNoNode) {
			problem.Type, problem.Title, problem.Status = client.TypeNotFound, "Not found", http.StatusNotFound
		}
		return nil, problem
	}
	out := client.FlowPath{Tunnel: p.Tunnel, VNI: p.VNI, Seen: p.Seen, Links: []client.FlowLink{}}
	for _, l := range p.Links {
		out.Links = append(out.Links, client.FlowLink{From: l.From.String(), To: l.To.String()})
	}
	return &flowOutput{out}, nil
}

func (s *Server) questions(ctx context.Context, in *questionsInput) (*questionsOutput, error) {
	wait, cancel := s.agentWait(ctx)
	defer cancel()
	list, err := s.cfg.Status.Questions(wait, in.Name)
	switch {
	case errors.Is(err, engine.ErrNoNode):
		return nil, noNode(ctx, in.Name)
	case err != nil:
		return &questionsOutput{Status: http.StatusNoContent}, nil // the agent asks again
	}
	return &questionsOutput{Status: http.StatusOK, Body: &client.Questions{Questions: list}}, nil
}

func (s *Server) answer(ctx context.Context, in *answerInput) (*struct{}, error) {
	if err := s.cfg.Status.TakeAnswer(in.Name, in.Body); err != nil {
		return nil, noNode(ctx, in.Name)
	}
	return nil, nil
}
