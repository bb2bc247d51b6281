package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// TestProblems holds each problem's status and body. Revisions are written as
// N: they depend on the other tests' writes.
func TestProblems(t *testing.T) {
	b := newBench(t)
	b.blue()
	b.ok("PUT", "/v1/tenants/blue/ports/a", `{"spec":{"network":"web"}}`)
	large := `{"spec":{"description":"` + strings.Repeat("x", maxBody) + `"}}`
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		headers                  []string
	}{
		{"malformed", "PUT", "/v1/tenants/blue/networks/x", "{\"spec\":{}\n x}", 400, nil},
		{"empty", "PUT", "/v1/tenants/blue/networks/x", "", 400, nil},
		{"token", "GET", "/v1/ports?continue=zz", "", 400, nil},
		{"cross-origin", "PUT", "/v1/tenants/red", `{}`, 403, []string{"Origin: http://elsewhere.example"}},
		{"not-found", "GET", "/v1/tenants/blue/ports/nope", "", 404, nil},
		{"delete-not-found", "DELETE", "/v1/nodes/nope", "", 404, nil},
		{"no-such-path", "GET", "/v2", "", 404, nil},
		{"no-such-schema", "GET", "/schemas/Nope", "", 404, nil},
		{"method", "PATCH", "/v1/tenants/blue", "", 405, nil},
		{"conflict", "PUT", "/v1/tenants/blue/ports/b", `{"spec":{"network":"web","addresses":["10.0.0.2"]}}`, 409, nil},
		{"in-use", "DELETE", "/v1/tenants/blue/networks/web", "", 409, nil},
		{"if-match", "PUT", "/v1/tenants/blue", `{}`, 412, []string{`If-Match: "1"`}},
		{"if-match-absent", "PUT", "/v1/tenants/red", `{}`, 412, []string{`If-Match: *`}},
		{"if-none-match", "PUT", "/v1/tenants/blue", `{}`, 412, []string{`If-None-Match: *`}},
		{"delete-if-match", "DELETE", "/v1/tenants/blue/ports/a", "", 412, []string{`If-Match: "1"`}},
		{"too-large", "PUT", "/v1/tenants/blue", large, 413, nil},
		{"media-type", "PUT", "/v1/tenants/blue", `a: b`, 415, []string{"Content-Type: text/yaml"}},
		{"unknown-field", "PUT", "/v1/tenants/blue/networks/x", `{"spec":{"vnii":3,"subnets":["10.1.0.0"]},"foo":1}`, 422, nil},
		{"range", "PUT", "/v1/tenants/blue/networks/x", `{"spec":{"vni":99999999,"mtu":"big"}}`, 422, nil},
		{"null", "PUT", "/v1/tenants/blue/networks/x", `null`, 422, nil},
		{"addresses", "PUT", "/v1/tenants/blue/ports/b", `{"spec":{"network":"web","mac":"zz","addresses":["10.0.0.300"]}}`, 422, nil},
		{"validate", "PUT", "/v1/tenants/blue/networks/x", `{"kind":"Port","spec":{"subnets":["10.1.0.1/24"]}}`, 422, nil},
		{"names", "PUT", "/v1/tenants/blue/networks/x", `{"metadata":{"name":"y","tenant":"red"},"spec":{}}`, 422, nil},
		{"unknown-network", "PUT", "/v1/tenants/blue/ports/b", `{"spec":{"network":"nope"}}`, 422, nil},
		{"query", "GET", "/v1/ports?limit=0", "", 422, nil},
		{"unknown-query", "PUT", "/v1/tenants/blue?dry=1", `{}`, 422, nil},
		{"timeout", "GET", "/v1/tenants/blue?wait=applied&timeout=1h", "", 422, nil},
		{"wait", "GET", "/v1/tenants/blue?wait=ready", "", 422, nil},
		{"label", "GET", "/v1/ports?label=zz", "", 422, nil},
		{"if-match-syntax", "PUT", "/v1/tenants/blue", `{}`, 422, []string{`If-Match: x`}},
		{"if-none-match-syntax", "PUT", "/v1/tenants/blue", `{}`, 422, []string{`If-None-Match: "3"`}},
		{"if-both", "PUT", "/v1/tenants/blue", `{}`, 422, []string{`If-None-Match: *`, `If-Match: "3"`}},
		{"watch-label", "GET", "/v1/ports?watch=true&label=a=b", "", 422, nil},
		{"watch-revision", "GET", "/v1/ports?watch=true&revision=x", "", 422, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := b.do(c.method, c.path, c.body, c.headers...)
			require.Equal(t, c.status, r.status, r.body)
			require.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
			got := numbers.ReplaceAll(pretty(t, r.body), []byte("${1}N"))
			golden(t, fmt.Sprintf("problems/%d-%s.json", c.status, c.name), got)
		})
	}
	r := b.do("PATCH", "/v1/tenants/blue", "")
	require.Equal(t, "DELETE, GET, HEAD, PUT", r.header.Get("Allow"))
}

func TestBodyLimitIsExact(t *testing.T) {
	b := newBench(t)
	frame := len(`{"spec":{"description":""}}`)
	r := b.do("PUT", "/v1/tenants/big?dryRun=true", `{"spec":{"description":"`+strings.Repeat("x", maxBody-frame)+`"}}`)
	require.Equal(t, http.StatusOK, r.status, "exactly the limit is accepted")
}

func TestStoreAway(t *testing.T) {
	b := newBench(t, func(c *Config) { c.StoreTimeout = 200 * time.Millisecond })
	require.NoError(t, b.store.Close())
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/v1/tenants/blue", ""}, {"GET", "/v1/tenants", ""}, {"PUT", "/v1/tenants/blue", `{}`},
		{"DELETE", "/v1/tenants/blue", ""}, {"GET", "/v1/tenants?watch=true", ""}, {"GET", "/readyz", ""},
	} {
		r := b.do(c.method, c.path, c.body)
		require.Equal(t, http.StatusServiceUnavailable, r.status, "%s %s: %s", c.method, c.path, r.body)
		require.Contains(t, r.body, `"/problems/unavailable"`)
	}
	require.Equal(t, http.StatusOK, b.do("GET", "/healthz", "").status, "the process runs all the same")
}

func TestNotReady(t *testing.T) {
	b := newBench(t)
	b.devices.ready = fmt.Errorf("intent is not loaded yet")
	r := b.do("GET", "/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, r.status)
	require.Contains(t, r.body, "intent is not loaded yet")
	require.EqualError(t, b.client().Ready(t.Context()), "the controller is not ready: intent is not loaded yet")
}

func TestPanicBecomesProblem(t *testing.T) {
	b := newBench(t)
	b.ok("PUT", "/v1/tenants/blue", `{}`)
	b.devices.will(func(intent.Object) *intent.Status { panic("boom") })
	r := b.do("GET", "/v1/tenants/blue", "")
	require.Equal(t, http.StatusInternalServerError, r.status)
	require.NotContains(t, r.body, "boom")
	golden(t, "problems/500-panic.json", pretty(t, r.body))
}
