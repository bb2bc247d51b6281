package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func TestApplyWritesManyByFewTransactions(t *testing.T) {
	b := newBenchAlone(t)
	objects := []intent.Object{
		&intent.Tenant{Header: intent.Header{Kind: intent.KindTenant}, Metadata: intent.Metadata{Name: "blue"}},
		&intent.Network{Header: intent.Header{Kind: intent.KindNetwork}, Metadata: intent.Metadata{Name: "web", Tenant: "blue"}},
	}
	const ports = 1200
	for i := range ports {
		objects = append(objects, &intent.Port{Header: intent.Header{Kind: intent.KindPort},
			Metadata: intent.Metadata{Name: fmt.Sprintf("p%d", i), Tenant: "blue"}, Spec: intent.PortSpec{Network: "web"}})
	}
	before, err := b.store.Revision(t.Context())
	require.NoError(t, err)
	var got []intent.Ref
	require.NoError(t, b.client().Apply(t.Context(), objects, client.ApplyOptions{}, func(i client.AppliedItem) {
		require.Nil(t, i.Problem)
		require.Equal(t, client.Created, i.Action)
		require.Positive(t, i.Revision)
		got = append(got, i.Ref)
	}))
	require.Len(t, got, len(objects))
	require.Equal(t, objects[700].Ref(), got[700])
	after, err := b.store.Revision(t.Context())
	require.NoError(t, err)
	require.Less(t, 10*(after-before), int64(len(objects)), "under 0.1 writes an object")
}

func TestApplyTellsOfEach(t *testing.T) {
	b := newBench(t)
	b.ok("PUT", "/v1/tenants/blue", `{}`)
	r := b.ok("POST", "/v1/apply", `{"items":[
		{"kind":"Port","metadata":{"name":"p","tenant":"blue"},"spec":{"network":"web"}},
		{"kind":"Network","metadata":{"name":"web","tenant":"blue"},"spec":{"subnets":["10.0.0.0/24"]}},
		{"kind":"Tenant","metadata":{"name":"blue"}},
		{"kind":"Port","metadata":{"name":"q","tenant":"blue"},"spec":{"network":"nope"}},
		{"kind":"Port","metadata":{"name":"r","tenant":"blue"},"spec":{"network":"web","colour":"red"}},
		{"kind":"Gadget","metadata":{"name":"g"}},
		17]}`)
	golden(t, "apply.json", numbers.ReplaceAll(pretty(t, r.body), []byte("${1}0")))
	dry := b.ok("POST", "/v1/apply?dryRun=true", `{"items":[{"kind":"Tenant","metadata":{"name":"red"}}]}`)
	require.Contains(t, dry.body, "created")
	require.Equal(t, http.StatusNotFound, b.do("GET", "/v1/tenants/red", "").status)
	for body, status := range map[string]int{
		"":     400,
		`{"it`: 400,
		`{"items":[` + strings.Repeat("1,", client.MaxApply) + `1]}`: 400,
		`{"items":["` + strings.Repeat("x", maxBody) + `"]}`:         413,
	} {
		require.Equal(t, status, b.do("POST", "/v1/apply", body).status)
	}
	require.Equal(t, `{"items":[]}`, strings.TrimSpace(b.ok("POST", "/v1/apply", `{"items":[]}`).body))
}
