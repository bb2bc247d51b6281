package api

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func TestPortCounters(t *testing.T) {
	b := newBench(t)
	c := b.client()
	ref := func(name string) intent.Ref { return intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: name} }
	var p *client.Problem
	_, err := c.PortCounters(t.Context(), ref("p"))
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusNotFound, p.Status)
	objects := []intent.Object{&intent.Tenant{Metadata: intent.Metadata{Name: "t"}}, &intent.Network{Metadata: intent.Metadata{Name: "n", Tenant: "t"}}}
	for _, name := range []string{"p", "nowhere", "silent"} {
		objects = append(objects, &intent.Port{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.PortSpec{Network: "n"}})
	}
	for _, o := range objects {
		_, err := c.Put(t.Context(), o, client.PutOptions{})
		require.NoError(t, err)
	}
	got, err := c.PortCounters(t.Context(), ref("p"))
	require.NoError(t, err)
	require.Equal(t, client.PortCounters{Node: "hv1", Sent: client.Count{Packets: 1, Bytes: 100}, Received: client.Count{Packets: 2, Bytes: 200},
		Dropped: []client.DropCount{{Why: "sent router advertisements", Count: client.Count{Packets: 3, Bytes: 300}}}}, got)
	for name, want := range map[string]struct {
		status int
		detail string
	}{
		"nowhere": {http.StatusConflict, "Port t/nowhere: the port is nowhere: no edge has its interface"},
		"silent":  {http.StatusServiceUnavailable, "hv1: read the counters of Port t/silent: context deadline exceeded"},
	} {
		_, err := c.PortCounters(t.Context(), ref(name))
		require.ErrorAs(t, err, &p)
		require.Equal(t, want.status, p.Status)
		require.Equal(t, want.detail, p.Detail)
	}
}
