package api

import (
	"context"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/leafstate"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

func TestAlarms(t *testing.T) {
	b := newBench(t)
	c := b.client()
	list, err := c.Alarms(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
	b.devices.alarms = []engine.Alarm{{ID: "dup", Device: "leaf1", Reason: "DuplicateMAC", Object: "VNI 1 MAC 02:00:00:00:00:01", Message: "twice", Count: 2, Since: time.Unix(1, 0), Last: time.Unix(2, 0)}}
	list, err = c.Alarms(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "twice", list[0].Message)
	require.Equal(t, 2, list[0].Count)

	require.NoError(t, c.ClearAlarm(t.Context(), "dup"))
	var p *client.Problem
	require.ErrorAs(t, c.ClearAlarm(t.Context(), "other"), &p)
	require.Equal(t, http.StatusConflict, p.Status)
	require.ErrorContains(t, p, "ends by itself")
	require.ErrorAs(t, c.ClearAlarm(t.Context(), "none"), &p)
	require.Equal(t, http.StatusNotFound, p.Status)
}

func TestRoutes(t *testing.T) {
	b := newBench(t)
	c := b.client()
	ref := intent.Ref{Kind: intent.KindNetwork, Tenant: "t", Name: "n"}
	_, err := c.Routes(t.Context(), ref)
	require.ErrorContains(t, err, "Network t/n does not exist")
	for _, o := range []intent.Object{&intent.Tenant{Metadata: intent.Metadata{Name: "t"}},
		&intent.Network{Metadata: intent.Metadata{Name: "n", Tenant: "t"}, Spec: intent.NetworkSpec{VNI: 7}}} {
		_, err := c.Put(t.Context(), o, client.PutOptions{})
		require.NoError(t, err)
	}
	vtep := netip.MustParseAddr("10.0.0.1")
	b.devices.routes = []engine.Route{
		{Row: evpn.Row{Key: evpn.FloodKey(vtep), Path: evpn.Path{VTEP: vtep, Source: "hv1"}, Rev: 1}, Node: "hv1", Best: true},
		{Row: evpn.Row{Key: evpn.MACKey(intent.MAC{2, 0, 0, 0, 0, 1}), Path: evpn.Path{VTEP: vtep, Source: "leaf1/bgp", Origin: evpn.OriginBGP, Seq: 3}, Rev: 2}, Best: true},
	}
	got, err := c.Routes(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, client.Routes{VNI: 7, Items: []client.Route{
		{Type: "IMET", IP: vtep, VTEP: vtep, Node: "hv1", Origin: "port", Source: "hv1", Best: true, Revision: 1},
		{Type: "MAC/IP", MAC: "02:00:00:00:00:01", VTEP: vtep, Origin: "bgp", Source: "leaf1/bgp", Best: true, Sequence: 3, Revision: 2},
	}}, got)
}

// What a switch reports reaches who judges it, and what is wrong with cables is told.
func TestCabling(t *testing.T) {
	b := newBench(t)
	c := b.client()
	r := switchstate.Report{Ports: []switchstate.Port{{Name: "eth1", MAC: intent.MAC{2}, Up: true, MTU: 9216, Neighbours: []switchstate.Neighbour{{Device: "spine1", Port: "eth1"}}}}}
	leaf, err := c.ReportSwitch(t.Context(), "leaf1", r)
	require.NoError(t, err)
	require.False(t, leaf)
	require.Equal(t, []switchstate.Report{r}, b.devices.wired)
	_, err = c.ReportSwitch(t.Context(), "nobody", r)
	require.ErrorContains(t, err, "there is no node nobody")
	ports, err := c.Switch(t.Context(), "leaf1")
	require.NoError(t, err)
	require.Equal(t, client.Switch{Node: "leaf1", Since: time.Unix(7, 0).UTC(), Ports: r.Ports}, ports)
	_, err = c.Switch(t.Context(), "spine1")
	require.ErrorContains(t, err, "no agent has reported from spine1")
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b.devices.cabling = engine.Cabling{Links: 4, Unheard: []string{"spine2"}, Faults: []engine.CablingFault{{CablingFault: topology.CablingFault{Kind: topology.OneWay, Link: "a:1 - b:1", Message: "m"}, Since: since}}}
	got, err := c.Cabling(t.Context())
	require.NoError(t, err)
	require.Equal(t, client.Cabling{Links: 4, Unheard: []string{"spine2"}, Faults: []client.CablingFault{{Kind: "OneWay", Link: "a:1 - b:1", Message: "m", Since: since}}}, got)
}

// The table of a router has prefixes, and by which MAC a VTEP routes.
func TestRoutesOfARouter(t *testing.T) {
	b := newBench(t)
	c := b.client()
	r := &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: 9}}
	for _, o := range []intent.Object{&intent.Tenant{Metadata: intent.Metadata{Name: "t"}}, r} {
		_, err := c.Put(t.Context(), o, client.PutOptions{})
		require.NoError(t, err)
	}
	vtep, host, prefix := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.1"), netip.MustParsePrefix("198.51.100.0/24")
	mac := intent.MAC{2, 0, 0, 0, 0, 1}
	b.devices.routes = []engine.Route{
		{Row: evpn.Row{Key: evpn.HostKey(mac, host), Path: evpn.Path{VTEP: vtep, VNI: 7, RouterMAC: mac}, Rev: 1}, Best: true},
		{Row: evpn.Row{Key: evpn.PrefixKey(prefix), Path: evpn.Path{VTEP: vtep, RouterMAC: mac, Origin: evpn.OriginBGP}, Rev: 2}, Best: true},
	}
	got, err := c.Routes(t.Context(), r.Ref())
	require.NoError(t, err)
	require.Equal(t, client.Routes{VNI: 9, Items: []client.Route{
		{Type: "MAC/IP", MAC: mac.String(), IP: host, L2VNI: 7, RouterMAC: mac.String(), VTEP: vtep, Origin: "port", Best: true, Revision: 1},
		{Type: "prefix", Prefix: prefix, RouterMAC: mac.String(), VTEP: vtep, Origin: "bgp", Best: true, Revision: 2},
	}}, got)
	_, err = c.Routes(t.Context(), intent.Ref{Kind: intent.KindExternalNetwork, Name: "none"})
	require.ErrorContains(t, err, "ExternalNetwork none does not exist")
}

// oneLeaf answers with a state once it got a full report.
type oneLeaf struct {
	reports []leafstate.Report
	ready   chan struct{}
}

func (l *oneLeaf) Want(ctx context.Context, since uint64) (leafstate.State, error) {
	select {
	case <-l.ready:
	case <-ctx.Done():
		return leafstate.State{}, ctx.Err()
	}
	if since == 9 {
		<-ctx.Done()
		return leafstate.State{}, ctx.Err()
	}
	return leafstate.State{Revision: 9, VTEP: netip.MustParseAddr("10.0.0.1"), Segments: []leafstate.Segment{{VNI: 7, Ports: []leafstate.Port{{Interface: "eth1", MAC: intent.MAC{2}}}}}}, nil
}

func (l *oneLeaf) Take(r leafstate.Report) bool {
	if len(l.reports) == 0 && !r.Full {
		return false
	}
	l.reports = append(l.reports, r)
	if len(l.reports) == 1 {
		close(l.ready)
	}
	return true
}

func TestAgent(t *testing.T) {
	b := newBenchAlone(t)
	c := b.client()
	leaf := &oneLeaf{ready: make(chan struct{})}
	b.devices.leaf = leaf
	_, _, err := c.LeafState(t.Context(), "hv1", 0)
	require.ErrorContains(t, err, "node hv1 is no EVPN leaf")
	full, err := c.ReportLeaf(t.Context(), "leaf1", leafstate.Report{})
	require.NoError(t, err)
	require.True(t, full)
	entry := leafstate.Entry{Kind: leafstate.Remote, VNI: 7, MAC: intent.MAC{2, 1}, VTEP: netip.MustParseAddr("10.0.0.2")}
	full, err = c.ReportLeaf(t.Context(), "leaf1", leafstate.Report{Full: true, Applied: 9, Add: []leafstate.Entry{entry}})
	require.NoError(t, err)
	require.False(t, full)
	require.Equal(t, []leafstate.Entry{entry}, leaf.reports[0].Add)
	s, ok, err := c.LeafState(t.Context(), "leaf1", 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, intent.MAC{2}, s.Segments[0].Ports[0].MAC)

	asked := make(chan error, 1)
	go func() {
		_, ok, err := c.LeafState(t.Context(), "leaf1", 9)
		if ok {
			t.Error("there is no newer state")
		}
		asked <- err
	}()
	b.server.closeOnce.Do(func() { close(b.server.closing) })
	require.NoError(t, <-asked, "a question that waits ends with the server")
}
