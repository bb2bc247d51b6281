package api

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

func TestPolicyOfAPort(t *testing.T) {
	b := newBench(t)
	c := b.client()
	ref := intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: "p"}
	_, err := c.Policy(t.Context(), ref)
	require.ErrorContains(t, err, "Port t/p does not exist")
	_, err = c.Flows(t.Context(), ref)
	require.ErrorContains(t, err, "Port t/p does not exist")
	for _, o := range []intent.Object{&intent.Tenant{Metadata: intent.Metadata{Name: "t"}},
		&intent.Network{Metadata: intent.Metadata{Name: "n", Tenant: "t"}, Spec: intent.NetworkSpec{VNI: 7}},
		&intent.Port{Metadata: intent.Metadata{Name: "p", Tenant: "t"}, Spec: intent.PortSpec{Network: "n"}}} {
		_, err := c.Put(t.Context(), o, client.PutOptions{})
		require.NoError(t, err)
	}
	b.devices.policy.Node = "hv1"
	p, err := c.Policy(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, client.Policy{Node: "hv1", Groups: []string{}, Rules: []client.PolicyRule{}, Ingress: client.PolicyRest{Action: "allow"}, Egress: client.PolicyRest{Action: "allow"}}, p,
		"a port in no group is not filtered")

	b.devices.policy.Policy = &overlay.Policy{Tenant: "t", Groups: []overlay.PolicyGroup{{Name: "web", ID: 7}},
		Rules: []overlay.PolicyRule{{SecurityRule: intent.SecurityRule{Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: 80, Last: 80}, Group: "app"}, From: "web", Peer: 8}}}
	b.devices.policy.Count = southbound.PolicyCount{Rules: []southbound.FlowCount{{Packets: 5, Bytes: 400}}, In: southbound.FlowCount{Packets: 2, Bytes: 120}, Ports: 3}
	p, err = c.Policy(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, client.Policy{Node: "hv1", Groups: []string{"web"}, Ports: 3,
		Rules:   []client.PolicyRule{{Group: "web", Rule: "ingress tcp 80 from group app", Packets: 5, Bytes: 400}},
		Ingress: client.PolicyRest{Action: "deny", Packets: 2, Bytes: 120}, Egress: client.PolicyRest{Action: "allow"}}, p)

	b.devices.flows = []southbound.FlowLine{{Table: 62, Priority: 100, Words: "IPv4 tcp port 80 may pass", FlowCount: southbound.FlowCount{Packets: 5}}}
	f, err := c.Flows(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, client.Flows{Node: "hv1", Items: []client.Flow{{Table: 62, Priority: 100, Words: "IPv4 tcp port 80 may pass", Packets: 5}}}, f)

	b.devices.mute = &southbound.OpError{Device: "hv1", Op: "connect by OpenFlow", Code: southbound.CodeUnreachable, Action: "start ovs-vswitchd", Err: errors.New("connection refused")}
	_, err = c.Policy(t.Context(), ref)
	require.ErrorContains(t, err, "hv1: connect by OpenFlow: connection refused: start ovs-vswitchd")
	_, err = c.Flows(t.Context(), ref)
	require.ErrorContains(t, err, "connection refused")
}
