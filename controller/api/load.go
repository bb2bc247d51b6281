package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/fabric/load"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// LoadStatus tells what the fabric carries; *engine.Engine is one.
type LoadStatus interface {
	TakeLoad(node string, r switchstate.Load) (a switchstate.LoadAnswer, ok bool)
	Load(window time.Duration) engine.FabricLoad
	LoadHistory(node, port string, step time.Duration) ([]load.Sample, bool)
	Matrix(window time.Duration) load.Matrix
	Choice() engine.Choice
}

// Bounds of a window.
const (
	shortestWindow = time.Second
	longestWindow  = 5 * time.Hour
	longestMatrix  = 5 * time.Minute
)

type windowInput struct {
	Window string `query:"window" default:"10s" doc:"Time that ends now, like 10s or 5m"`
}

// parse reads the window.
func (in *windowInput) parse(ctx context.Context, longest time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(in.Window)
	if err == nil && d >= shortestWindow && d <= longest {
		return d, nil
	}
	return 0, badQuery(ctx, fmt.Sprintf("window %q is not a time between %s and %s: use 1s, 10s, 1m or 5m", in.Window, shortestWindow, longest))
}

func badQuery(ctx context.Context, detail string) error {
	return &client.Problem{Type: client.TypeInvalid, Title: "Invalid request", Status: http.StatusUnprocessableEntity, Instance: instance(ctx), Detail: detail}
}

type loadInput struct {
	Name string `path:"name" doc:"Node"`
	Body switchstate.Load
}

type loadOutput struct{ Body switchstate.LoadAnswer }

type fabricLoadOutput struct{ Body client.FabricLoad }

type portLoadInput struct {
	Name       string `path:"name" doc:"Switch"`
	Port       string `path:"port" doc:"Port"`
	Resolution string `query:"resolution" default:"10s" doc:"1s, 10s, 1m or 5m"`
}

type portLoadOutput struct{ Body client.LoadHistory }

type matrixOutput struct{ Body client.Matrix }

type csvOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

// registerLoad registers what is measured, and who measures it.
func (s *Server) registerLoad() {
	s.registerChoice()
	huma.Register(s.api, huma.Operation{OperationID: "reportLoad", Method: http.MethodPost, Path: "/v1/nodes/{name}/switch/load", Tags: []string{tagAgents},
		Summary: "Tell what a switch has counted", MaxBodyBytes: 16 << 20, Errors: []int{http.StatusUnauthorized, http.StatusNotFound}, Middlewares: huma.Middlewares{s.agentsOnly}}, s.reportLoad)
	huma.Register(s.api, huma.Operation{OperationID: "getFabricLoad", Method: http.MethodGet, Path: "/v1/fabric/load", Tags: []string{"Operation"},
		Summary:     "What the links between switches carry",
		Description: "From the counters of their ports, which agents report each second: rates, utilisation and drops of both directions, shares of the spines, and how unequal the uplinks of each leaf are used.",
		Errors:      []int{http.StatusUnprocessableEntity}}, s.fabricLoad)
	huma.Register(s.api, huma.Operation{OperationID: "getPortLoad", Method: http.MethodGet, Path: "/v1/nodes/{name}/switch/ports/{port}/load", Tags: []string{"Operation"},
		Summary:     "What a port of a switch sent, over time",
		Description: "Kept in memory: the last minute by seconds, ten minutes by 10 s, an hour by minutes, a day by 5 min.",
		Errors:      []int{http.StatusUnprocessableEntity, http.StatusNotFound}}, s.portLoad)
	huma.Register(s.api, huma.Operation{OperationID: "getMatrix", Method: http.MethodGet, Path: "/v1/fabric/matrix", Tags: []string{"Operation"},
		Summary:     "Traffic matrix between VTEPs, as measured",
		Description: "What leaves count of packets in tunnels that leave by their uplinks, by outer addresses and VNI. What stays on a leaf is not in it.",
		Errors:      []int{http.StatusUnprocessableEntity}}, s.matrix)
	huma.Register(s.api, huma.Operation{OperationID: "getMatrixCSV", Method: http.MethodGet, Path: "/v1/fabric/matrix.csv", Tags: []string{"Operation"},
		Summary: "The same as CSV, which weft steer simulate reads", Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}}}}}, s.matrixCSV)
}

func (s *Server) reportLoad(ctx context.Context, in *loadInput) (*loadOutput, error) {
	a, ok := s.cfg.Status.TakeLoad(in.Name, in.Body)
	if !ok {
		return nil, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Instance: instance(ctx),
			Detail: "there is no node " + in.Name + ": give the agent the name of the switch's Node object with --node, or create it"}
	}
	return &loadOutput{a}, nil
}

func (s *Server) fabricLoad(ctx context.Context, in *windowInput) (*fabricLoadOutput, error) {
	d, err := in.parse(ctx, longestWindow)
	if err != nil {
		return nil, err
	}
	l := s.cfg.Status.Load(d)
	out := client.FabricLoad{Window: d.String(), Links: []client.LinkLoad{}, Shares: []client.Share{}, Imbalances: []client.Imbalance{}}
	for _, k := range l.Links {
		out.Links = append(out.Links, client.LinkLoad{From: k.From.String(), To: k.To.String(), Rate: k.Rate, Capacity: k.Capacity, Utilisation: k.Utilisation, Dropped: k.Dropped, Seen: k.Seen})
	}
	for _, k := range l.Shares {
		out.Shares = append(out.Shares, client.Share(k))
	}
	for _, k := range l.Imbalances {
		out.Imbalances = append(out.Imbalances, client.Imbalance(k))
	}
	return &fabricLoadOutput{out}, nil
}

func (s *Server) portLoad(ctx context.Context, in *portLoadInput) (*portLoadOutput, error) {
	d, err := time.ParseDuration(in.Resolution)
	known := false
	for _, r := range load.Resolutions() {
		known = known || r.Step == d
	}
	if err != nil || !known {
		return nil, badQuery(ctx, fmt.Sprintf("resolution %q is not one of 1s, 10s, 1m, 5m", in.Resolution))
	}
	points, ok := s.cfg.Status.LoadHistory(in.Name, in.Port, d)
	if !ok {
		return nil, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Instance: instance(ctx),
			Detail: "no agent has reported port " + in.Port + " of " + in.Name + ": see weft fabric neighbours " + in.Name}
	}
	out := client.LoadHistory{Node: in.Name, Port: in.Port, Resolution: d.String(), Points: []client.LoadPoint{}}
	for _, p := range points {
		out.Points = append(out.Points, client.LoadPoint{Time: p.Time, Rate: p.Rate})
	}
	return &portLoadOutput{out}, nil
}

func (s *Server) matrix(ctx context.Context, in *windowInput) (*matrixOutput, error) {
	d, err := in.parse(ctx, longestMatrix)
	if err != nil {
		return nil, err
	}
	m := s.cfg.Status.Matrix(d)
	out := client.Matrix{Window: d.String(), Cells: []client.Cell{}, Tenants: []client.Volume{}, Total: m.Total(),
		Unknown: m.Unknown, Addresses: m.Addresses, Uncounted: m.Uncounted, Missing: m.Missing}
	for _, c := range m.Cells {
		by := map[string]float64{}
		for leaf, ports := range c.Leaves {
			for port, rate := range ports {
				by[leaf+":"+port] = rate
			}
		}
		out.Cells = append(out.Cells, client.Cell{From: c.From, To: c.To, Tenant: c.Tenant, Rate: c.Rate, By: by})
	}
	for _, v := range m.Tenants() {
		out.Tenants = append(out.Tenants, client.Volume(v))
	}
	return &matrixOutput{out}, nil
}

func (s *Server) matrixCSV(ctx context.Context, in *windowInput) (*csvOutput, error) {
	d, err := in.parse(ctx, longestMatrix)
	if err != nil {
		return nil, err
	}
	m, err := s.cfg.Status.Matrix(d).Demand(func(string) bool { return true })
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return &csvOutput{"text/csv; charset=utf-8", m.CSV()}, nil
}
