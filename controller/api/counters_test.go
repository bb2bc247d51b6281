package api

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
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

// What edges have counted of a router is summed when all of them answer, and not when
// one does not: the sum would go back.
func TestRouterCounters(t *testing.T) {
	b := newBench(t)
	c := b.client()
	ref := func(name string) intent.Ref { return intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: name} }
	var p *client.Problem
	_, err := c.RouterCounters(t.Context(), ref("r"))
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusNotFound, p.Status)
	for _, o := range []intent.Object{&intent.Tenant{Metadata: intent.Metadata{Name: "t"}}, &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}}, &intent.Router{Metadata: intent.Metadata{Name: "late", Tenant: "t"}}} {
		_, err := c.Put(t.Context(), o, client.PutOptions{})
		require.NoError(t, err)
	}
	_, err = c.RouterCounters(t.Context(), ref("late"))
	require.ErrorAs(t, err, &p)
	require.Equal(t, "the controller has not taken Router t/late yet: wait a moment", p.Detail)
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b.devices.router = engine.EdgeCounts[southbound.RouterCount]{Uncounted: []string{"leaf1"}, Edges: []engine.EdgeCount[southbound.RouterCount]{
		{Node: "hv1", Count: southbound.RouterCount{Routed: southbound.Count{Packets: 1, Bytes: 10}, Received: southbound.Count{Packets: 2, Bytes: 20}, Since: since}},
		{Node: "hv2", Count: southbound.RouterCount{Routed: southbound.Count{Packets: 3, Bytes: 30}, Since: since}}}}
	got, err := c.RouterCounters(t.Context(), ref("r"))
	require.NoError(t, err)
	require.Equal(t, client.RouterCounters{Total: &client.RouterTotal{Routed: client.Count{Packets: 4, Bytes: 40}, Received: client.Count{Packets: 2, Bytes: 20}}, Missing: []client.MissingCount{}, Uncounted: []string{"leaf1"},
		Edges: []client.RouterCount{{Node: "hv1", RouterTotal: client.RouterTotal{Routed: client.Count{Packets: 1, Bytes: 10}, Received: client.Count{Packets: 2, Bytes: 20}}, Since: since},
			{Node: "hv2", RouterTotal: client.RouterTotal{Routed: client.Count{Packets: 3, Bytes: 30}}, Since: since}}}, got)
	b.devices.router.Edges[1].Err = errors.New("hv2: it is away")
	got, err = c.RouterCounters(t.Context(), ref("r"))
	require.NoError(t, err)
	require.Nil(t, got.Total)
	require.Len(t, got.Edges, 1)
	require.Equal(t, []client.MissingCount{{Node: "hv2", Why: "hv2: it is away"}}, got.Missing)
}

func TestTenantCounters(t *testing.T) {
	b := newBench(t)
	c := b.client()
	var p *client.Problem
	_, err := c.TenantCounters(t.Context(), "t")
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusNotFound, p.Status)
	for _, name := range []string{"t", "free"} {
		_, err := c.Put(t.Context(), &intent.Tenant{Metadata: intent.Metadata{Name: name}}, client.PutOptions{})
		require.NoError(t, err)
	}
	_, err = c.TenantCounters(t.Context(), "free")
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusConflict, p.Status)
	require.Equal(t, "Tenant free has no limits: set spec.qos", p.Detail)
	b.devices.tenant = engine.EdgeCounts[southbound.TenantCount]{Uncounted: []string{"tor1"}, Edges: []engine.EdgeCount[southbound.TenantCount]{{Node: "hv2", Err: errors.New("hv2: it is away")},
		{Node: "hv3", Count: southbound.TenantCount{Sent: southbound.LimitCount{Came: southbound.Count{Packets: 3, Bytes: 30}, Dropped: southbound.Count{Packets: 1, Bytes: 10}}}}}}
	got, err := c.TenantCounters(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, client.TenantCounters{Edges: []client.TenantCount{{Node: "hv3", Sent: client.LimitCount{Came: client.Count{Packets: 3, Bytes: 30}, Dropped: client.Count{Packets: 1, Bytes: 10}}}},
		Missing: []client.MissingCount{{Node: "hv2", Why: "hv2: it is away"}}, Uncounted: []string{"tor1"}}, got)
}
