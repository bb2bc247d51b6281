package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func TestETagGuardsAgainstLostUpdates(t *testing.T) {
	b := newBench(t)
	tag := b.ok("PUT", "/v1/tenants/blue", `{}`, "If-None-Match: *").header.Get("ETag")
	require.Equal(t, tag, b.ok("GET", "/v1/tenants/blue", "").header.Get("ETag"))
	newer := b.ok("PUT", "/v1/tenants/blue", `{"spec":{"description":"mine"}}`, "If-Match: "+tag).header.Get("ETag")
	late := b.do("PUT", "/v1/tenants/blue", `{"spec":{"description":"yours"}}`, "If-Match: "+tag)
	require.Equal(t, http.StatusPreconditionFailed, late.status)
	require.Equal(t, http.StatusPreconditionFailed, b.do("DELETE", "/v1/tenants/blue", "", "If-Match: "+tag).status)
	b.ok("PUT", "/v1/tenants/blue", `{"spec":{"description":"any"}}`, "If-Match: *")
	require.Equal(t, http.StatusPreconditionFailed, b.do("DELETE", "/v1/tenants/blue", "", "If-Match: "+newer).status)
	b.ok("DELETE", "/v1/tenants/blue", "", "If-Match: *")
	require.Equal(t, http.StatusNotFound, b.do("GET", "/v1/tenants/blue", "").status)
}

func TestDryRunWritesNothing(t *testing.T) {
	b := newBenchAlone(t) // the revision is of the whole etcd
	b.blue()
	before, err := b.store.Revision(t.Context())
	require.NoError(t, err)
	r := b.do("PUT", "/v1/tenants/blue/ports/a?dryRun=true&wait=applied", `{"spec":{"network":"web"}}`)
	require.Equal(t, http.StatusOK, r.status, r.body)
	require.Equal(t, "created", r.header.Get("Weft-Action"))
	require.Empty(t, r.header.Get("ETag"))
	require.Contains(t, r.body, `"10.0.0.2"`)
	require.Equal(t, http.StatusNotFound, b.do("GET", "/v1/tenants/blue/ports/a", "").status)
	require.Equal(t, http.StatusUnprocessableEntity, b.do("PUT", "/v1/tenants/blue/ports/a?dryRun=true", `{"spec":{"network":"nope"}}`).status)
	var d client.Deleted
	require.NoError(t, json.Unmarshal([]byte(b.ok("DELETE", "/v1/tenants/blue?dryRun=true&cascade=true", "").body), &d))
	require.Len(t, d.Deleted, 2)
	after, err := b.store.Revision(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Contains(t, b.ok("PUT", "/v1/tenants/blue/ports/b", `{"spec":{"network":"web"}}`).body, `"10.0.0.2"`, "the address was not used up")
}

func TestDeleteCascades(t *testing.T) {
	b := newBench(t)
	b.blue()
	b.ok("PUT", "/v1/tenants/blue/ports/a", `{"spec":{"network":"web"}}`)
	var d client.Deleted
	require.NoError(t, json.Unmarshal([]byte(b.ok("DELETE", "/v1/tenants/blue?cascade=true", "").body), &d))
	require.Equal(t, []intent.Ref{{Kind: "Port", Tenant: "blue", Name: "a"}, {Kind: "Network", Tenant: "blue", Name: "web"}, {Kind: "Tenant", Name: "blue"}}, d.Deleted)
}

func TestStatusIsAskedForAndNeverStored(t *testing.T) {
	b := newBench(t)
	b.ok("PUT", "/v1/tenants/blue", `{"status":{"phase":"Failed"},"metadata":{"revision":99,"created":"2001-01-01T00:00:00Z"}}`)
	r := b.ok("GET", "/v1/tenants/blue", "")
	require.Contains(t, r.body, `"Ready"`)
	require.NotContains(t, r.body, "2001")
	b.devices.will(pendingAll)
	require.Contains(t, b.ok("GET", "/v1/tenants/blue", "").body, `"Pending"`)
	require.Contains(t, b.ok("GET", "/v1/tenants", "").body, `"Pending"`)
	o, err := b.store.Get(t.Context(), intent.Ref{Kind: intent.KindTenant, Name: "blue"})
	require.NoError(t, err)
	require.Nil(t, o.(*intent.Tenant).Status)
}

func TestListPagesShowOneRevision(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		b.ok("PUT", fmt.Sprintf("/v1/tenants/t%d", i), `{}`)
	}
	page := func(query string) (l client.List[intent.Tenant]) {
		require.NoError(t, json.Unmarshal([]byte(b.ok("GET", "/v1/tenants?"+query, "").body), &l))
		return l
	}
	first := page("limit=2")
	require.Equal(t, "TenantList", first.Kind)
	require.Equal(t, int64(3), first.Remaining)
	b.ok("PUT", "/v1/tenants/t9", `{}`)
	b.ok("DELETE", "/v1/tenants/t3", "")
	names, token := []string{first.Items[0].Metadata.Name, first.Items[1].Metadata.Name}, first.Continue
	for token != "" {
		next := page("limit=2&continue=" + token)
		require.Equal(t, first.Revision, next.Revision)
		for _, o := range next.Items {
			names = append(names, o.Metadata.Name)
		}
		token = next.Continue
	}
	require.Equal(t, []string{"t0", "t1", "t2", "t3", "t4"}, names)
	require.Len(t, page("").Items, 5)
}

func TestListSelects(t *testing.T) {
	b := newBench(t)
	b.blue()
	b.ok("PUT", "/v1/tenants/red", `{}`)
	b.ok("PUT", "/v1/tenants/red/networks/db", `{"spec":{}}`)
	b.ok("PUT", "/v1/nodes/hv1", `{"spec":{"role":"hypervisor"}}`)
	b.ok("PUT", "/v1/tenants/blue/ports/a", `{"metadata":{"labels":{"tier":"front","x":"1"}},"spec":{"network":"web","binding":{"node":"hv1","interface":"eth0"}}}`)
	b.ok("PUT", "/v1/tenants/red/ports/b", `{"metadata":{"labels":{"tier":"front"}},"spec":{"network":"db","binding":{"ifaceID":"vm-b"}}}`)
	b.ok("PUT", "/v1/tenants/red/ports/c", `{"spec":{"network":"db"}}`)
	b.devices.will(func(o intent.Object) *intent.Status {
		if o.Ref().Name == "b" {
			return &intent.Status{Phase: intent.PhaseReady, Node: "hv1"}
		}
		return pendingAll(o)
	})
	for query, want := range map[string][]string{
		"/v1/ports": {"a", "b", "c"}, "/v1/ports?tenant=red": {"b", "c"}, "/v1/tenants/red/ports": {"b", "c"},
		"/v1/ports?network=db": {"b", "c"}, "/v1/ports?node=hv1": {"a", "b"}, "/v1/ports?tenant=red&node=hv1": {"b"},
		"/v1/ports?label=tier=front": {"a", "b"}, "/v1/ports?label=tier=front&label=x=1": {"a"}, "/v1/tenants/none/ports": {},
	} {
		var l client.List[intent.Port]
		require.NoError(t, json.Unmarshal([]byte(b.ok("GET", query, "").body), &l))
		got := []string{}
		for _, p := range l.Items {
			got = append(got, p.Metadata.Name)
		}
		require.Equal(t, want, got, query)
	}
}

func TestWaitAppliedAnswersWhenReady(t *testing.T) {
	b := newBench(t)
	b.devices.will(pendingAll)
	type result struct {
		r    reply
		took time.Duration
	}
	done := make(chan result)
	go func() {
		start := time.Now()
		r := b.do("PUT", "/v1/tenants/blue?wait=applied&timeout=20s", `{}`)
		done <- result{r, time.Since(start)}
	}()
	select {
	case r := <-done:
		t.Fatalf("answered before it was applied: %v", r)
	case <-time.After(200 * time.Millisecond):
	}
	// Ready at an older revision is not enough.
	b.devices.will(func(o intent.Object) *intent.Status {
		return &intent.Status{Phase: intent.PhaseReady, Applied: o.Meta().Revision - 1}
	})
	select {
	case r := <-done:
		t.Fatalf("answered before it was applied: %v", r)
	case <-time.After(100 * time.Millisecond):
	}
	b.devices.will(newDevices().say)
	got := <-done
	require.Equal(t, http.StatusCreated, got.r.status, got.r.body)
	require.Contains(t, got.r.body, `"Ready"`)
	require.Equal(t, http.StatusOK, b.do("GET", "/v1/tenants/blue?wait=applied", "").status)
}

func TestWaitAppliedGivesReasonsAfterTimeout(t *testing.T) {
	b := newBench(t)
	b.devices.will(pendingAll)
	r := b.do("PUT", "/v1/tenants/blue?wait=applied&timeout=50ms", `{}`)
	require.Equal(t, http.StatusGatewayTimeout, r.status)
	require.NotEmpty(t, r.header.Get("ETag"), "the object is written all the same")
	require.Equal(t, "created", r.header.Get("Weft-Action"))
	golden(t, "problems/504-put.json", numbers.ReplaceAll(pretty(t, r.body), []byte("${1}N")))
	r = b.do("GET", "/v1/tenants/blue?wait=applied&timeout=50ms", "")
	require.Equal(t, http.StatusGatewayTimeout, r.status)

	b.devices.will(newDevices().say)
	r = b.do("GET", "/v1/tenants/blue?wait=applied&timeout=50ms&revision=999999999", "")
	require.Equal(t, http.StatusGatewayTimeout, r.status, "waits for a revision that never comes")
}

func TestWaitNoticesDeletion(t *testing.T) {
	b := newBench(t)
	b.ok("PUT", "/v1/tenants/blue", `{}`)
	b.devices.will(pendingAll)
	done := make(chan reply)
	go func() { done <- b.do("GET", "/v1/tenants/blue?wait=applied&timeout=20s", "") }()
	time.Sleep(50 * time.Millisecond)
	b.ok("DELETE", "/v1/tenants/blue", "")
	require.Equal(t, http.StatusNotFound, (<-done).status)
}

func TestLinksAreNotWaitedFor(t *testing.T) {
	b := newBench(t)
	b.ok("PUT", "/v1/nodes/a", `{"spec":{"role":"leaf"}}`)
	b.ok("PUT", "/v1/nodes/b", `{"spec":{"role":"spine"}}`)
	b.ok("PUT", "/v1/links/a:eth1--b:eth1?wait=applied&timeout=1s", `{"spec":{"endpoints":[{"node":"a","interface":"eth1"},{"node":"b","interface":"eth1"}]}}`)
	b.ok("GET", "/v1/links/a%3Aeth1--b%3Aeth1", "")
}
