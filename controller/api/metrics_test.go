package api

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/load"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// What is scraped is what the switches, the alarms and the store say, and keeps to the
// rules of Prometheus's own linter.
func TestMetrics(t *testing.T) {
	b := newBench(t)
	for name, role := range map[string]intent.Role{"leaf1": intent.RoleLeaf, "spine1": intent.RoleSpine} {
		_, err := b.client().Put(t.Context(), &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: role}}, client.PutOptions{})
		require.NoError(t, err)
	}
	d := b.devices
	d.switches = map[string]intent.Role{"leaf1": intent.RoleLeaf, "spine1": intent.RoleSpine}
	d.say = func(o intent.Object) *intent.Status {
		phase := intent.PhasePending
		if o.Ref().Name == "leaf1" {
			phase = intent.PhaseReady
		}
		return &intent.Status{Phase: phase}
	}
	d.routed = time.Now()
	d.reporting = []engine.Reporting{{Node: "leaf1", Role: intent.RoleLeaf, Ports: []switchstate.Port{{Name: "eth1", Up: true, Counters: switchstate.Counters{TxBytes: 1 << 40, RxPackets: 7, RxDropped: 3}}}}}
	d.routing = map[string]switchstate.RoutingReport{"leaf1": {Routing: &switchstate.Routing{
		BGP: []switchstate.BGPSession{{Peer: "10.192.0.0", State: switchstate.Established, Prefixes: 9}, {Peer: "10.192.0.2", State: "Active"}},
		BFD: []switchstate.BFDSession{{Peer: "10.192.0.0", Interface: "eth1", State: "up"}, {Peer: "10.192.0.0", Interface: "eth2", State: "down"}}}}}
	d.alarms = []engine.Alarm{{Device: "spine1", Reason: "LinkDown"}, {Device: "spine1", Reason: "LinkDown"}}
	end := func(n, i string) topology.End { return topology.End{Node: n, Interface: i} }
	d.load = engine.FabricLoad{Shares: []load.Share{{Node: "spine1", Part: 0.75}}, Links: []load.LinkLoad{
		{From: end("leaf1", "eth1"), To: end("spine1", "eth1"), Rate: 4e8, Capacity: 1e9, Utilisation: 0.4, Dropped: 2, Seen: true},
		{From: end("spine1", "eth1"), To: end("leaf1", "eth1")}}}
	d.matrix = load.Matrix{Unknown: 40, Addresses: []netip.Addr{}, Cells: []load.Cell{
		{Key: demand.Key{From: "leaf1", To: "leaf2", Tenant: "blue"}, Rate: 24}, {Key: demand.Key{From: "leaf1", To: "leaf3", Tenant: "blue"}, Rate: 32}}}

	got := b.do("GET", "/metrics", "")
	require.Equal(t, 200, got.status, got.body)
	for _, want := range []string{
		`weft_build_info{commit="",version="test"} 1`,
		`weft_ready 1`,
		`weft_objects{kind="Node",phase="Failed"} 0`,
		`weft_objects{kind="Node",phase="Pending"} 1`,
		`weft_objects{kind="Node",phase="Ready"} 1`,
		`weft_steering_utilisation_ratio{of="before"} 0.6`,
		`weft_steering_utilisation_ratio{of="after"} 0.3`,
		`weft_steering_utilisation_ratio{of="target"} 0.3`,
		`weft_steering_cells 1`,
		`weft_switch_up{role="leaf",switch="leaf1"} 1`,
		`weft_switch_up{role="spine",switch="spine1"} 0`,
		`weft_port_up{port="eth1",switch="leaf1"} 1`,
		`weft_port_transmit_bytes_total{port="eth1",switch="leaf1"} 1.099511627776e+12`,
		`weft_port_dropped_packets_total{direction="receive",port="eth1",switch="leaf1"} 3`,
		`weft_bgp_session_up{peer="10.192.0.0",switch="leaf1"} 1`,
		`weft_bgp_session_up{peer="10.192.0.2",switch="leaf1"} 0`,
		`weft_bgp_session_prefixes{peer="10.192.0.0",switch="leaf1"} 9`,
		`weft_bfd_session_up{peer="10.192.0.0",port="eth2",switch="leaf1"} 0`,
		`weft_alarms{device="spine1",reason="LinkDown"} 2`,
		`weft_link_utilisation_ratio{from="leaf1",from_port="eth1",to="spine1",to_port="eth1"} 0.4`,
		`weft_tier_share_ratio{switch="spine1"} 0.75`,
		`weft_tunnel_bytes_per_second{from="leaf1",tenant="blue"} 7`,
		`weft_tunnel_unknown_bytes_per_second 5`,
	} {
		require.Contains(t, got.body, want+"\n")
	}
	require.NotContains(t, got.body, `from="spine1"`, "what nobody has seen is not told as zero")
	require.Contains(t, got.body, "go_goroutines")

	problems, err := testutil.CollectAndLint(metrics{b.server})
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Equal(t, 404, b.do("GET", "/metrics/none", "").status)
	require.Equal(t, 405, b.do("POST", "/metrics", "").status)
	require.Contains(t, b.do("GET", "/metrics", "", "Accept: application/openmetrics-text; version=1.0.0").body, "# EOF")
	require.Equal(t, 1, strings.Count(got.body, "# TYPE weft_port_transmit_bytes_total counter"))
}

// Sessions of which an agent tells no longer are not told of, though it tells of ports.
func TestMetricsOfSilentRouting(t *testing.T) {
	b := newBench(t)
	d := b.devices
	d.reporting = []engine.Reporting{{Node: "leaf1", Role: intent.RoleLeaf, Ports: []switchstate.Port{{Name: "eth1", Up: true}}}}
	d.routing = map[string]switchstate.RoutingReport{"leaf1": {Routing: &switchstate.Routing{BGP: []switchstate.BGPSession{{Peer: "10.192.0.0", State: switchstate.Established}}}}}
	d.routed = time.Now()
	require.Contains(t, b.do("GET", "/metrics", "").body, "weft_bgp_session_up{")
	d.routed = time.Now().Add(-engine.SilentAfter - time.Second)
	got := b.do("GET", "/metrics", "").body
	require.NotContains(t, got, "weft_bgp_session_up{")
	require.Contains(t, got, `weft_port_up{port="eth1",switch="leaf1"} 1`)
}

// unreachable is a store whose etcd is away: it answers when whoever asks has given up.
type unreachable struct {
	*store.Store
	mu    sync.Mutex
	until []time.Duration // how long it was to be waited for
}

func (u *unreachable) gone(ctx context.Context) error {
	end, _ := ctx.Deadline()
	u.mu.Lock()
	u.until = append(u.until, time.Until(end))
	u.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (u *unreachable) List(ctx context.Context, _ intent.Kind, _ store.ListOptions) (store.List, error) {
	return store.List{}, u.gone(ctx)
}

func (u *unreachable) Health(ctx context.Context) (store.Health, error) {
	return store.Health{}, u.gone(ctx)
}

// While etcd is away the rest is told, long before Prometheus gives up after 10 s: that is
// when it is looked at.
func TestMetricsWithoutTheStore(t *testing.T) {
	var u *unreachable
	b := newBench(t, func(c *Config) {
		u = &unreachable{Store: c.Store.(*store.Store)}
		c.Store = u
	})
	d := b.devices
	d.switches = map[string]intent.Role{"leaf1": intent.RoleLeaf, "spine1": intent.RoleSpine}
	d.reporting = []engine.Reporting{{Node: "leaf1", Role: intent.RoleLeaf}}
	d.alarms = []engine.Alarm{{Device: "spine1", Reason: "LinkDown"}}
	got := b.do("GET", "/metrics", "")
	require.Equal(t, 200, got.status, got.body)
	for _, want := range []string{
		`weft_switch_up{role="leaf",switch="leaf1"} 1`,
		`weft_switch_up{role="spine",switch="spine1"} 0`,
		`weft_alarms{device="spine1",reason="LinkDown"} 1`,
		`weft_ready 1`,
	} {
		require.Contains(t, got.body, want+"\n")
	}
	require.NotContains(t, got.body, "weft_objects{")
	require.NotEmpty(t, u.until)
	for _, d := range u.until {
		require.LessOrEqual(t, d, 2*time.Second)
	}
}

// What would take a walk over all ports at each scrape is not counted.
func TestMetricsAskForNoWalks(t *testing.T) {
	b := newBench(t)
	_, err := b.client().Put(t.Context(), &intent.Tenant{Metadata: intent.Metadata{Name: "blue"}}, client.PutOptions{})
	require.NoError(t, err)
	_, err = b.client().Put(t.Context(), &intent.Network{Metadata: intent.Metadata{Name: "web", Tenant: "blue"}}, client.PutOptions{})
	require.NoError(t, err)
	b.devices.say = func(o intent.Object) *intent.Status {
		t.Errorf("the status of %s was asked for", o.Ref())
		return nil
	}
	require.Equal(t, 200, b.do("GET", "/metrics", "").status)
}
