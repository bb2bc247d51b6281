package api

import (
	"github.com/weft-sdn/weft/controller/engine"

	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "w") // short: a socket's path has 108 bytes
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "api.sock")
}

func TestListenUnix(t *testing.T) {
	path := socket(t)
	l, err := ListenUnix(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())
	_, err = ListenUnix(path)
	require.ErrorContains(t, err, "another process listens there")

	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a kill leaves it
	require.NoError(t, l.Close())
	l, err = ListenUnix(path)
	require.NoError(t, err, "a stale socket is replaced")
	require.NoError(t, l.Close())

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = ListenUnix(path)
	require.ErrorContains(t, err, "no socket")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "precious", string(b))
}

// TestServeStopsGracefully: on two listeners, with a watch and a wait open.
func TestServeStopsGracefully(t *testing.T) {
	d := newDevices()
	s := New(Config{Store: openStore(t), Status: d, Boxes: engine.New(engine.Config{})})
	path := socket(t)
	unix, err := ListenUnix(path)
	require.NoError(t, err)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, unix, tcp) }()

	for _, endpoint := range []string{"unix:" + path, "http://" + tcp.Addr().String()} {
		c, err := client.New(endpoint)
		require.NoError(t, err)
		require.NoError(t, c.Ready(t.Context()))
	}
	d.will(pendingAll)
	c, err := client.New("unix:" + path)
	require.NoError(t, err)
	waited := make(chan error)
	go func() {
		_, err := c.Put(t.Context(), &intent.Tenant{Metadata: intent.Metadata{Name: "blue"}}, client.PutOptions{Wait: true})
		waited <- err
	}()
	watch, err := http.Get("http://" + tcp.Addr().String() + "/v1/tenants?watch=true")
	require.NoError(t, err)
	defer watch.Body.Close()
	require.Eventually(t, func() bool {
		_, err := c.Get(t.Context(), intent.Ref{Kind: intent.KindTenant, Name: "blue"})
		return err == nil
	}, time.Minute, 10*time.Millisecond)

	start := time.Now()
	stop()
	require.ErrorContains(t, <-waited, "the controller is stopping")
	require.NoError(t, <-done)
	require.Less(t, time.Since(start), graceTime, "who waits is told, not waited for")
	require.NoFileExists(t, path)
	err = c.Ready(t.Context())
	require.ErrorContains(t, err, "no controller answers at unix:"+path)
}

func TestServeReportsListenerFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	s := New(Config{Store: openStore(t), Status: newDevices(), Boxes: engine.New(engine.Config{})})
	require.ErrorContains(t, s.Serve(t.Context(), l), "serve API")
	require.ErrorContains(t, s.Serve(t.Context()), "no listener")
}

// TestOpenAPI holds the document, and that its schemas are schemas (OpenAPI 3.1
// uses JSON Schema 2020-12) which the answers fit.
func TestOpenAPI(t *testing.T) {
	b := newBench(t)
	r := b.ok("GET", "/openapi.json", "")
	golden(t, "openapi.json", pretty(t, r.body))
	require.True(t, strings.HasPrefix(b.ok("GET", "/openapi.yaml", "").body, "components:"))

	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(r.body))
	require.NoError(t, err)
	m := doc.(map[string]any)
	require.Equal(t, "3.1.0", m["openapi"])
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	require.NoError(t, c.AddResource("mem:///openapi.json", doc))
	compiled := map[string]*jsonschema.Schema{}
	for name := range m["components"].(map[string]any)["schemas"].(map[string]any) {
		compiled[name], err = c.Compile("mem:///openapi.json#/components/schemas/" + name)
		require.NoError(t, err, name)
	}
	ids := map[string]bool{}
	for path, item := range m["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			o := op.(map[string]any)
			id := o["operationId"].(string)
			require.False(t, ids[id], "operation %s is there twice", id)
			ids[id] = true
			require.NotEmpty(t, o["responses"], "%s %s", method, path)
			if method == "put" {
				want := "#/components/schemas/" + strings.TrimPrefix(id, "put")
				require.Contains(t, mustJSON(t, o["requestBody"]), want)
				require.Contains(t, mustJSON(t, o["responses"].(map[string]any)["201"]), "Weft-Action")
			}
			given := map[string]bool{}
			params, _ := o["parameters"].([]any)
			for _, p := range params {
				if p.(map[string]any)["in"] == "path" {
					given[p.(map[string]any)["name"].(string)] = true
				}
			}
			for _, v := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				require.True(t, given[v[1]], "%s %s lacks parameter %s", method, path, v[1])
			}
		}
	}

	b.blue()
	b.ok("PUT", "/v1/tenants/blue/ports/a", `{"spec":{"network":"web"}}`)
	for path, name := range map[string]string{"/v1/tenants/blue": "Tenant", "/v1/tenants/blue/networks/web": "Network",
		"/v1/tenants/blue/ports/a": "Port", "/v1/ports": "ListPort", "/v1/version": "Version", "/v1/events": "Events",
		"/v1/tenants/nope": "Problem", "/readyz": "Health"} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(b.do("GET", path, "").body))
		require.NoError(t, err)
		require.Contains(t, compiled, name)
		require.NoError(t, compiled[name].Validate(v), path)
	}
	var network map[string]any
	require.NoError(t, json.Unmarshal([]byte(b.ok("GET", "/schemas/Network.json", "").body), &network))
	require.Equal(t, "object", network["type"])
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// TestDocsNeedNothingFromElsewhere: a fabric's management network has no way
// out.
func TestDocsNeedNothingFromElsewhere(t *testing.T) {
	b := newBench(t)
	r := b.ok("GET", "/docs", "")
	require.Equal(t, "text/html; charset=utf-8", r.header.Get("Content-Type"))
	require.Contains(t, r.header.Get("Content-Security-Policy"), "default-src 'none'")
	require.NotRegexp(t, `https?://`, r.body)
	require.NotContains(t, r.body, "innerHTML")
	require.Equal(t, r.body, b.ok("GET", "/", "").body, "the root leads there")
}
