package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/weft-sdn/weft/controller/api/client"
)

// docsPage shows /openapi.json; it needs nothing from elsewhere.
//
//go:embed docs.html
var docsPage []byte

// registerDocs serves the OpenAPI document, its schemas and the page.
func (s *Server) registerDocs() {
	// Made when first asked for: that takes longer than all the rest of New.
	s.mux.HandleFunc("GET /openapi.json", static("application/openapi+json", func() ([]byte, error) { return json.Marshal(s.api.OpenAPI()) }))
	s.mux.HandleFunc("GET /openapi.yaml", static("application/openapi+yaml", s.api.OpenAPI().YAML))
	page := static("text/html; charset=utf-8", func() ([]byte, error) { return docsPage, nil })
	s.mux.HandleFunc("GET /docs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		page(w, r)
	})
	s.mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
	s.mux.HandleFunc("GET /schemas/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimSuffix(r.PathValue("name"), ".json")
		schema, ok := s.api.OpenAPI().Components.Schemas.Map()[name]
		if !ok {
			writeProblem(w, r, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound,
				Detail: fmt.Sprintf("there is no schema %s; see /openapi.json", name)})
			return
		}
		static("application/schema+json", func() ([]byte, error) {
			b, err := json.Marshal(schema)
			return []byte(strings.ReplaceAll(string(b), `"#/components/schemas/`, `"/schemas/`)), err
		})(w, r)
	})
}

// static answers what is made once, at the first request.
func static(contentType string, content func() ([]byte, error)) http.HandlerFunc {
	content = sync.OnceValues(content)
	return func(w http.ResponseWriter, _ *http.Request) {
		b, err := content()
		if err != nil {
			panic(fmt.Errorf("document of our own types: %w", err))
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(b)
	}
}
