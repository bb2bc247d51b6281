package api

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// describe is the head of the OpenAPI document. huma's own pages are left out:
// they load scripts from elsewhere.
func (s *Server) describe() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "Weft", Version: "v1", Description: "Northbound interface of the Weft controller: declare tenants, networks, routers, security groups, ports, interconnects, nodes and links, and read what the devices made of them."},
			Tags:    []*huma.Tag{},
			Components: &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "A user's access token, where the controller was started with users; on operations for agents, the switch's credential"}}},
			// Both, since a controller without users asks for nothing.
			Security: []map[string][]string{{"token": {}}, {}},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",

		RejectUnknownQueryParameters: true,
	}
}

// schemaName names a type in the document; what agents say begins with Leaf
// or Switch, since some of its types are called as objects are.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch t.PkgPath() {
	case reflect.TypeFor[leafstate.State]().PkgPath():
		return "Leaf" + name
	case reflect.TypeFor[switchstate.Report]().PkgPath():
		return "Switch" + name
	}
	return name
}

// schemaOf is the schema of a type. The names in an object's metadata may be
// left out, as the path has them.
func schemaOf[T any](s *Server) *huma.Schema {
	reg := s.api.OpenAPI().Components.Schemas
	ref := reg.Schema(reflect.TypeFor[T](), true, "")
	for _, name := range []string{"Metadata", reflect.TypeFor[T]().Name()} {
		if m := reg.Map()[name]; m != nil && reflect.TypeFor[T]().PkgPath() == reflect.TypeFor[intent.Metadata]().PkgPath() {
			var keep []string
			for _, r := range m.Required {
				if r != "name" && r != "metadata" {
					keep = append(keep, r)
				}
			}
			m.Required = keep
			m.PrecomputeMessages()
		}
	}
	return ref
}

type versionOutput struct{ Body client.Version }

type eventsOutput struct{ Body client.Events }

type healthOutput struct{ Body client.Health }

func (s *Server) registerMeta() {
	s.api.OpenAPI().Tags = append(s.api.OpenAPI().Tags, &huma.Tag{Name: "Controller", Description: "The controller itself."})
	op := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{"Controller"}}
	}
	huma.Register(s.api, op("getVersion", "/v1/version", "Version of the controller"), func(context.Context, *struct{}) (*versionOutput, error) {
		return &versionOutput{client.Version{Version: s.cfg.Version, Commit: s.cfg.Commit, Go: runtime.Version(), API: intent.APIVersion}}, nil
	})
	huma.Register(s.api, op("listEvents", "/v1/events", "Newest events, oldest first"), func(context.Context, *struct{}) (*eventsOutput, error) {
		out := &eventsOutput{client.Events{Items: []client.Event{}}}
		for _, e := range s.cfg.Status.Events() {
			out.Body.Items = append(out.Body.Items, client.Event{Time: e.Time, Severity: string(e.Severity), Device: e.Device,
				Object: e.Object, Reason: e.Reason, Message: e.Message})
		}
		return out, nil
	})
	health := op("getHealth", "/healthz", "Whether the process runs")
	health.Description = "Answers 200 as long as the process runs, and names what is wrong: what the store can't do, intent that is not loaded, objects that can't be read. None of that is mended by starting the controller again."
	huma.Register(s.api, health, func(ctx context.Context, _ *struct{}) (*healthOutput, error) {
		rev, problems := s.problems(ctx)
		return &healthOutput{client.Health{Status: "alive", Revision: rev, Problems: problems}}, nil
	})
	ready := op("getReady", "/readyz", "Whether the store answers and the intent is loaded")
	ready.Errors = []int{http.StatusServiceUnavailable}
	huma.Register(s.api, ready, func(ctx context.Context, _ *struct{}) (*healthOutput, error) {
		rev, err := s.ready(ctx)
		if err != nil {
			return nil, &client.Problem{Type: client.TypeUnavailable, Title: "Not ready", Status: http.StatusServiceUnavailable,
				Detail: fmt.Sprintf("the controller is not ready: %v", err), Instance: instance(ctx)}
		}
		return &healthOutput{client.Health{Status: "ready", Revision: rev}}, nil
	})
}

func (s *Server) ready(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, min(2*time.Second, s.cfg.StoreTimeout))
	defer cancel()
	rev, err := s.cfg.Store.Revision(ctx)
	if err != nil {
		return 0, fmt.Errorf("the store does not answer: %w", err)
	}
	return rev, s.cfg.Status.Ready()
}
