package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// TestRollbackKeepsWhatIsUsed: a rollback that would take ports away that are in
// use, or their way through the fabric, is refused with their names.
func TestRollbackKeepsWhatIsUsed(t *testing.T) {
	b := newBenchAlone(t)
	b.ok("PUT", "/v1/tenants/t", `{}`)
	revision := func() int64 {
		h, err := b.client().History(t.Context(), 1, 0)
		require.NoError(t, err)
		return h.Items[0].Revision
	}
	before := revision()
	b.ok("PUT", "/v1/tenants/t/networks/n", `{"spec":{}}`)
	b.ok("PUT", "/v1/tenants/t/ports/vm1", `{"spec":{"network":"n"}}`)

	ask := func(body string) client.RolledBack {
		var out client.RolledBack
		require.NoError(t, json.Unmarshal([]byte(b.ok("POST", "/v1/rollback", body).body), &out))
		return out
	}
	dry := ask(fmt.Sprintf(`{"revision":%d,"dryRun":true,"objects":true}`, before))
	require.Len(t, dry.Changes, 2)
	now, then, err := dry.Changes[0].Objects()
	require.NoError(t, err)
	require.Equal(t, "vm1", now.Meta().Name)
	require.Nil(t, then)

	b.devices.will(func(o intent.Object) *intent.Status {
		st := &intent.Status{Phase: intent.PhaseReady, Applied: o.Meta().Revision}
		if o.Ref().Kind == intent.KindPort {
			st.Node = "hv1"
		}
		return st
	})
	r := b.do("POST", "/v1/rollback", fmt.Sprintf(`{"revision":%d}`, before))
	require.Equal(t, http.StatusConflict, r.status, r.body)
	require.Contains(t, r.body, fmt.Sprintf("revision %d had no Port t/vm1, which is in use now: unplug what is behind, or force it", before))
	require.Contains(t, r.body, client.TypeOrphans)
	require.Len(t, ask(fmt.Sprintf(`{"revision":%d,"force":true}`, before)).Changes, 2)
	require.Equal(t, http.StatusGone, b.do("POST", "/v1/rollback", `{"revision":9999}`).status)

	// The link that came since is the only way of a hypervisor with a port.
	for _, n := range []string{"leaf1", "leaf2"} {
		b.ok("PUT", "/v1/nodes/"+n, `{"spec":{"role":"leaf"}}`)
	}
	b.ok("PUT", "/v1/nodes/hv1", `{"spec":{"role":"hypervisor","vtep":"10.64.0.1"}}`)
	b.ok("PUT", "/v1/links/l", `{"spec":{"endpoints":[{"node":"leaf1","interface":"eth1"},{"node":"leaf2","interface":"eth1"}]}}`)
	unplugged := revision()
	b.ok("PUT", "/v1/links/up", `{"spec":{"endpoints":[{"node":"leaf1","interface":"eth9"},{"node":"hv1","interface":"eth1"}]}}`)
	b.devices.at = map[string][]intent.Ref{"hv1": {{Kind: intent.KindPort, Tenant: "t", Name: "vm1"}}}
	r = b.do("POST", "/v1/rollback", fmt.Sprintf(`{"revision":%d}`, unplugged))
	require.Equal(t, http.StatusConflict, r.status, r.body)
	require.Contains(t, r.body, "Link up: hv1 would be left without a way to the rest of the fabric, and with it Port t/vm1")
	r = b.do("DELETE", "/v1/nodes/hv1?cascade=true", "")
	require.Equal(t, http.StatusConflict, r.status, r.body)
	require.Contains(t, r.body, "Node hv1 still has Port t/vm1: move or delete these first, or force it")
	b.ok("DELETE", "/v1/nodes/hv1?cascade=true&force=true", "")
}
