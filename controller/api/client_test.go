package api

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
)

func tenant(name string) *intent.Tenant {
	return &intent.Tenant{Metadata: intent.Metadata{Name: name}}
}

// TestClient takes the Go client through every verb.
func TestClient(t *testing.T) {
	b := newBench(t)
	b.devices.events = []southbound.Event{{Time: time.Unix(0, 0).UTC(), Severity: southbound.Warning, Device: "hv1", Reason: "Lost", Message: "connection lost"}}
	c, ctx := b.client(), t.Context()
	res, err := c.Put(ctx, tenant("blue"), client.PutOptions{IfAbsent: true, Wait: true, Timeout: time.Minute})
	require.NoError(t, err)
	require.Equal(t, client.Created, res.Action)
	require.Equal(t, intent.PhaseReady, res.Object.(*intent.Tenant).Status.Phase)
	rev := res.Object.Meta().Revision
	res, err = c.Put(ctx, tenant("blue"), client.PutOptions{IfMatch: rev})
	require.NoError(t, err)
	require.Equal(t, client.Unchanged, res.Action)

	n := &intent.Network{Metadata: intent.Metadata{Tenant: "blue", Name: "web"}}
	res, err = c.Put(ctx, n, client.PutOptions{DryRun: true})
	require.NoError(t, err)
	require.Equal(t, client.Created, res.Action)
	_, err = c.Get(ctx, n.Ref())
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusNotFound, p.Status)
	require.EqualError(t, err, "Network blue/web does not exist")
	_, err = c.Put(ctx, n, client.PutOptions{})
	require.NoError(t, err)

	for _, name := range []string{"a", "b", "c"} {
		_, err = c.Put(ctx, &intent.Port{Metadata: intent.Metadata{Tenant: "blue", Name: name}, Spec: intent.PortSpec{Network: "web"}}, client.PutOptions{})
		require.NoError(t, err)
	}
	ports, err := c.List(ctx, intent.KindPort, client.ListOptions{Tenant: "blue", Network: "web", Limit: 2})
	require.NoError(t, err)
	require.Len(t, ports, 3, "all pages")
	_, err = c.Await(ctx, ports[0].Ref(), 0, time.Second)
	require.NoError(t, err)
	b.devices.will(pendingAll)
	_, err = c.Await(ctx, ports[0].Ref(), 0, 20*time.Millisecond)
	require.ErrorAs(t, err, &p)
	require.Equal(t, client.TypeNotApplied, p.Type)
	require.Equal(t, "hv1", p.Reasons[0].Device)

	_, err = c.Delete(ctx, n.Ref(), client.DeleteOptions{})
	require.ErrorAs(t, err, &p)
	require.Equal(t, client.TypeInUse, p.Type)
	require.Len(t, p.Users, 3)
	gone, err := c.Delete(ctx, n.Ref(), client.DeleteOptions{Cascade: true})
	require.NoError(t, err)
	require.Len(t, gone, 4)

	events, err := c.Events(ctx)
	require.NoError(t, err)
	require.Equal(t, "connection lost", events[0].Message)
	v, err := c.Version(ctx)
	require.NoError(t, err)
	require.Equal(t, "test", v.Version)
	require.NoError(t, c.Ready(ctx))
}

func TestClientWatchesFromAList(t *testing.T) {
	b := newBench(t)
	c := b.client()
	b.ok("PUT", "/v1/tenants/zero", `{}`)
	list, rev, err := c.ListAt(t.Context(), intent.KindTenant, client.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	b.ok("PUT", "/v1/tenants/one", `{}`)
	b.ok("DELETE", "/v1/tenants/zero", "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []client.Change
	for ch, err := range c.Watch(ctx, intent.KindTenant, client.WatchOptions{Revision: rev}) {
		require.NoError(t, err)
		if got = append(got, ch); len(got) == 2 {
			break
		}
	}
	require.Len(t, got, 2)
	require.Equal(t, "one", got[0].Object.Meta().Name)
	require.Nil(t, got[1].Object)
	require.Equal(t, "zero", got[1].Ref.Name)
}
