package api

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

func (d *devices) Flow(_ context.Context, q engine.FlowQuestion) (engine.FlowPath, error) {
	switch q.Header.FromPort {
	case 1:
		return engine.FlowPath{}, fmt.Errorf("%s: %w", q.From, engine.ErrUnseen)
	case 2:
		return engine.FlowPath{}, fmt.Errorf("%s: its agent does not answer", q.From)
	}
	return engine.FlowPath{Tunnel: q.Header, VNI: 7, Seen: "eth1", Links: []engine.FlowLink{{From: topology.End{Node: q.From, Interface: "eth1"}, To: topology.End{Node: "spine1", Interface: "eth1"}}}}, nil
}

func (d *devices) Questions(ctx context.Context, node string) ([]switchstate.Question, error) {
	if node != "leaf1" {
		return nil, engine.ErrNoNode
	}
	return []switchstate.Question{{ID: 5, Route: &switchstate.RouteQuestion{In: "eth9"}}}, nil
}

func (d *devices) TakeAnswer(node string, a switchstate.Answer) error {
	if node != "leaf1" || a.ID != 5 || a.Route.Interface != "eth1" {
		return engine.ErrNoNode
	}
	return nil
}

// A flow is asked for, and agents are asked and answer.
func TestFlow(t *testing.T) {
	b := newBench(t)
	c := b.client()
	q := client.FlowQuestion{From: "leaf1", To: "leaf3", Tenant: "blue", Header: switchstate.Header{From: netip.MustParseAddr("10.0.0.1"), To: netip.MustParseAddr("10.0.0.3"), Protocol: 6, FromPort: 40000, ToPort: 80}}
	p, err := c.Flow(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, client.FlowPath{Tunnel: q.Header, VNI: 7, Seen: "eth1", Links: []client.FlowLink{{From: "leaf1:eth1", To: "spine1:eth1"}}}, p)
	for port, want := range map[uint16]string{1: "the flow is not seen now", 2: "does not answer"} {
		q.Header.FromPort = port
		_, err = c.Flow(t.Context(), q)
		require.ErrorContains(t, err, want)
	}
	q.Header.From = netip.Addr{}
	_, err = c.Flow(t.Context(), q)
	require.Error(t, err)

	list, err := c.Questions(t.Context(), "leaf1")
	require.NoError(t, err)
	require.Equal(t, []switchstate.Question{{ID: 5, Route: &switchstate.RouteQuestion{In: "eth9"}}}, list)
	require.NoError(t, c.Answer(t.Context(), "leaf1", switchstate.Answer{ID: 5, Route: &switchstate.NextHop{Interface: "eth1"}}))
	_, err = c.Questions(t.Context(), "leaf7")
	require.ErrorContains(t, err, "there is no node leaf7")
	require.ErrorContains(t, c.Answer(t.Context(), "leaf7", switchstate.Answer{}), "there is no node leaf7")
}
