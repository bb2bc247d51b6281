package api

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/fabric/paths"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

func (d *devices) TakeRouting(node string, r switchstate.RoutingReport) (whole, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if node != "leaf1" {
		return false, false
	}
	if r.Routing == nil {
		return d.routing[node].Hash != r.Hash, true
	}
	d.routing = map[string]switchstate.RoutingReport{node: r}
	return false, true
}

func (d *devices) Routing(node string) (switchstate.Routing, time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.routing[node]
	if !ok {
		return switchstate.Routing{}, time.Time{}, false
	}
	if d.routed.IsZero() {
		return *r.Routing, time.Unix(7, 0).UTC(), true
	}
	return *r.Routing, d.routed, true
}

func (d *devices) Paths(from, to string) (paths.Result, error) {
	if from == "nobody" {
		return paths.Result{}, errors.New("there is no node nobody")
	}
	r := d.paths
	r.From.Name, r.To.Name = from, to
	return r, nil
}

// What an agent reports of its routing is had again, and only the hash is sent while
// the controller has it.
func TestRouting(t *testing.T) {
	b := newBench(t)
	c := b.client()
	_, err := c.Routing(t.Context(), "leaf1")
	require.ErrorContains(t, err, "run weft agent on the switch")
	p := netip.MustParsePrefix("10.255.0.2/32")
	r := switchstate.Routing{
		BGP:        []switchstate.BGPSession{{Peer: "eth1", Interface: "eth1", ASN: 4200001001, State: "Established", Since: time.Unix(5, 0).UTC(), Prefixes: 3}},
		Programmed: []switchstate.Group{{Prefixes: []netip.Prefix{p}, Protocol: "bgp", NextHops: []switchstate.NextHop{{Interface: "eth1", Via: netip.MustParseAddr("169.254.0.1")}, {Interface: "eth2", Weight: 3}}}},
		Mended:     []switchstate.Mend{{At: time.Unix(6, 0).UTC(), Object: "eth2", Message: "m"}},
	}
	report := switchstate.RoutingReport{Hash: r.Hash()}
	whole, err := c.ReportRouting(t.Context(), "leaf1", report)
	require.NoError(t, err)
	require.True(t, whole)
	whole, err = c.ReportRouting(t.Context(), "leaf1", switchstate.RoutingReport{Hash: report.Hash, Routing: &r})
	require.NoError(t, err)
	require.False(t, whole)
	whole, err = c.ReportRouting(t.Context(), "leaf1", report)
	require.NoError(t, err)
	require.False(t, whole)
	got, err := c.Routing(t.Context(), "leaf1")
	require.NoError(t, err)
	require.Equal(t, client.NodeRouting{Node: "leaf1", Since: time.Unix(7, 0).UTC(), Routing: r}, got)
	_, err = c.ReportRouting(t.Context(), "nobody", report)
	require.ErrorContains(t, err, "there is no node nobody")
}

func TestPaths(t *testing.T) {
	b := newBench(t)
	c := b.client()
	_, err := c.Paths(t.Context(), "nobody", "leaf1")
	require.ErrorContains(t, err, "there is no node nobody")
	_, err = c.Paths(t.Context(), "", "leaf1")
	require.Error(t, err, "both ends are needed")
	a := netip.MustParseAddr("10.255.0.3")
	b.devices.paths = paths.Result{To: paths.Place{Node: "leaf3", Switch: "leaf3", Address: a}, From: paths.Place{Address: a},
		Intended: paths.Set{Width: 2, Paths: 2, Hops: 2}, Programmed: paths.Set{Width: 1, Paths: 1, Hops: 2},
		Hops:        []paths.Hop{{Switch: "leaf1", Reported: true, Legs: []paths.Leg{{Interface: "eth2", Neighbour: topology.End{Node: "spine2", Interface: "eth1"}, Intended: true, Up: true}}}},
		Differences: []paths.Difference{{Kind: paths.NotLearned, Switch: "leaf1", Interface: "eth2", Message: "m"}}}
	got, err := c.Paths(t.Context(), "leaf1", "leaf3")
	require.NoError(t, err)
	require.Equal(t, client.Paths{From: client.PathEnd{Name: "leaf1", Address: a}, To: client.PathEnd{Name: "leaf3", Node: "leaf3", Switch: "leaf3", Address: a},
		Intended: client.PathSet{Width: 2, Paths: 2, Hops: 2}, Programmed: client.PathSet{Width: 1, Paths: 1, Hops: 2},
		Hops:        []client.PathHop{{Switch: "leaf1", Reported: true, NextHops: []client.PathLeg{{Interface: "eth2", Neighbour: "spine2:eth1", Intended: true, Up: true}}}},
		Differences: []client.PathDifference{{Kind: "NextHopNotLearned", Switch: "leaf1", Interface: "eth2", Message: "m"}}}, got)
}
