package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/weft-sdn/weft/controller/api/client"
)

// docsPage shows /openapi.json; it needs nothing from elsewhere.
//
//go:embed docs.html
var docsPage []byte

// registerDocs serves the OpenAPI document, its schemas and the page.
func (s *Server) registerDocs() {
	doc, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		panic(fmt.Sprintf("OpenAPI document: %v", err)) // of our own types: a test would see it
	}
	yaml, err := s.api.OpenAPI().YAML()
	if err != nil {
		panic(fmt.Sprintf("OpenAPI document: %v", err))
	}
	s.mux.HandleFunc("GET /openapi.json", static("application/openapi+json", doc))
	s.mux.HandleFunc("GET /openapi.yaml", static("application/openapi+yaml", yaml))
	s.mux.HandleFunc("GET /docs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		static("text/html; charset=utf-8", docsPage)(w, r)
	})
	s.mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
	schemas := map[string][]byte{}
	for name, schema := range s.api.OpenAPI().Components.Schemas.Map() {
		b, err := json.Marshal(schema)
		if err != nil {
			panic(fmt.Sprintf("schema %s: %v", name, err))
		}
		schemas[name] = []byte(strings.ReplaceAll(string(b), `"#/components/schemas/`, `"/schemas/`))
	}
	s.mux.HandleFunc("GET /schemas/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimSuffix(r.PathValue("name"), ".json")
		b, ok := schemas[name]
		if !ok {
			writeProblem(w, r, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound,
				Detail: fmt.Sprintf("there is no schema %s; see /openapi.json", name)})
			return
		}
		static("application/schema+json", b)(w, r)
	})
}

func static(contentType string, b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(b)
	}
}
