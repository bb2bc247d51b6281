package api

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

func TestACLCounters(t *testing.T) {
	b := newBench(t)
	c := b.client()
	rules := []intent.ACLRule{{Action: intent.Deny, Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: 22, Last: 22}}}
	b.devices.acl = engine.ACLCounters{ACL: &overlay.ACL{Tenant: "t", Name: "edge", Rules: rules}, Devices: []string{"hv1", "hv2"}, Missing: []engine.UncountedACL{{Device: "tor1", Why: "it counts nothing"}},
		Count: southbound.ACLCount{Rules: []southbound.FlowCount{{Packets: 3, Bytes: 300}}, In: southbound.FlowCount{Packets: 1, Bytes: 100}, Out: southbound.FlowCount{Packets: 2, Bytes: 200}}}
	ref := func(name string) intent.Ref {
		return intent.Ref{Kind: intent.KindNetworkACL, Tenant: "t", Name: name}
	}
	var p *client.Problem
	_, err := c.ACLCounters(t.Context(), ref("edge"))
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusNotFound, p.Status)
	for _, o := range []intent.Object{&intent.Tenant{Metadata: intent.Metadata{Name: "t"}},
		&intent.NetworkACL{Metadata: intent.Metadata{Name: "edge", Tenant: "t"}, Spec: intent.NetworkACLSpec{Rules: rules}}, &intent.NetworkACL{Metadata: intent.Metadata{Name: "late", Tenant: "t"}}} {
		_, err := c.Put(t.Context(), o, client.PutOptions{})
		require.NoError(t, err)
	}
	got, err := c.ACLCounters(t.Context(), ref("edge"))
	require.NoError(t, err)
	require.Equal(t, client.ACLCounters{Devices: []string{"hv1", "hv2"}, Missing: []client.MissingCount{{Node: "tor1", Why: "it counts nothing"}},
		Rules:   []client.ACLRuleCount{{Index: 0, Rule: "deny ingress tcp to port 22", Packets: 3, Bytes: 300}},
		Ingress: client.PolicyRest{Action: "deny", Packets: 1, Bytes: 100}, Egress: client.PolicyRest{Action: "deny", Packets: 2, Bytes: 200}}, got)
	_, err = c.ACLCounters(t.Context(), ref("late"))
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusServiceUnavailable, p.Status)
	require.Equal(t, "the controller has not taken NetworkACL t/late yet: wait a moment", p.Detail)
}
