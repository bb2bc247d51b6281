package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/fabric/load"
	"github.com/weft-sdn/weft/fabric/paths"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

var update = flag.Bool("update", false, "write the golden files")

// etcdDir is of the one etcd of this package's tests; each test has a prefix
// of its own.
var (
	etcdDir  string
	prefixes atomic.Int64
)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("/dev/shm", "weft-api-") // no disk to wait for
	if err != nil {
		dir, err = os.MkdirTemp("", "weft-api-")
	}
	if err != nil {
		panic(err)
	}
	s, err := store.Open(context.Background(), store.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	etcdDir = dir
	code := m.Run()
	_ = s.Close()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// devices says what devices would.
type devices struct {
	routing   map[string]switchstate.RoutingReport
	routed    time.Time // when that was said; some time ago when zero
	switches  map[string]intent.Role
	paths     paths.Result
	wired     []switchstate.Report
	reporting []engine.Reporting
	cabling   engine.Cabling
	loads     []switchstate.Load
	load      engine.FabricLoad
	matrix    load.Matrix
	mu        sync.Mutex
	say       func(intent.Object) *intent.Status
	changed   chan struct{}
	ready     error
	events    []southbound.Event
	alarms    []engine.Alarm
	routes    []engine.Route
	leaf      engine.Leaf
	policy    engine.PortPolicy
	router    engine.EdgeCounts[southbound.RouterCount] // of the router that is called r
	tenant    engine.EdgeCounts[southbound.TenantCount] // of tenant t
	acl       engine.ACLCounters                        // of the ACL that is called edge
	flows     []southbound.FlowLine
	at        map[string][]intent.Ref // ports on a node
	mute      error                   // why no device can be asked
}

func newDevices() *devices {
	return &devices{changed: make(chan struct{}), say: func(o intent.Object) *intent.Status {
		if o.Ref().Kind == intent.KindLink {
			return nil
		}
		return &intent.Status{Phase: intent.PhaseReady, Applied: o.Meta().Revision}
	}}
}

func (d *devices) PlanSteering(q engine.SteeringQuestion) (engine.SteeringPlan, error) {
	plan := engine.SteeringPlan{Unfit: map[string]error{"p": errors.New("does not fit")}}
	if len(q.Policies) == 1 && q.Policies[0].Metadata.Name == "heavy" {
		end := func(node string) topology.End { return topology.End{Node: node, Interface: "eth1"} }
		plan.Overloads = []steering.Overload{
			{Link: steering.Link{From: end("leaf1"), To: end("spine1"), Capacity: 10e9}, Rate: 12e9, ECMP: 6e9, Policies: []string{"heavy"}},
			{Link: steering.Link{From: end("leaf2"), To: end("spine1"), Capacity: 10e9}, Rate: 12e9, ECMP: 6e9, Policies: []string{"another"}},
		}
	}
	return plan, nil
}

func (d *devices) Status(o intent.Object) *intent.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.say(o)
}

func (d *devices) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

func (d *devices) Events() []southbound.Event { return d.events }
func (d *devices) Ready() error               { return d.ready }
func (d *devices) Alarms() []engine.Alarm     { return d.alarms }
func (d *devices) Routes(intent.VNI) []engine.Route {
	return d.routes
}

func (d *devices) TakeSwitch(node string, r switchstate.Report) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if node != "leaf1" {
		return engine.ErrNoNode
	}
	if r.Serial == "stranger" {
		return &engine.TakenError{Node: node, Has: "1", Wanted: r.Serial}
	}
	d.wired = append(d.wired, r)
	return nil
}

func (d *devices) SwitchState(ctx context.Context, node, serial string, since uint64) (switchstate.State, error) {
	switch {
	case node != "leaf1":
		return switchstate.State{}, engine.ErrNoNode
	case serial == "stranger":
		return switchstate.State{}, &engine.TakenError{Node: node, Has: "1", Wanted: serial}
	case since == 7:
		<-ctx.Done()
		return switchstate.State{}, ctx.Err()
	}
	return switchstate.State{Version: switchstate.Version, Revision: 7, Hash: "abc", Device: device.State{Hostname: node}}, nil
}

func (d *devices) SwitchPorts(node string) ([]switchstate.Port, time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if node != "leaf1" || len(d.wired) == 0 {
		return nil, time.Time{}, false
	}
	return d.wired[len(d.wired)-1].Ports, time.Unix(7, 0).UTC(), true
}

func (d *devices) PortsAt(node string) []intent.Ref { return d.at[node] }
func (d *devices) Reporting() []engine.Reporting    { return d.reporting }
func (d *devices) Switches() map[string]intent.Role { return maps.Clone(d.switches) }

func (d *devices) Cabling() engine.Cabling { return d.cabling }

func (d *devices) ClearAlarm(id string) error {
	switch id {
	case "dup":
		return nil
	case "other":
		return fmt.Errorf("alarm other: %w", engine.ErrNotClear)
	}
	return fmt.Errorf("alarm %s: %w", id, engine.ErrNoAlarm)
}

func (d *devices) PortCounters(_ context.Context, port intent.Ref) (string, southbound.PortCounters, error) {
	switch port.Name {
	case "nowhere":
		return "", southbound.PortCounters{}, fmt.Errorf("%s: %w", port, engine.ErrNowhere)
	case "silent":
		return "hv1", southbound.PortCounters{}, &southbound.OpError{Device: "hv1", Op: "read the counters of " + port.String(), Err: context.DeadlineExceeded}
	}
	return "hv1", southbound.PortCounters{Sent: southbound.Count{Packets: 1, Bytes: 100}, Received: southbound.Count{Packets: 2, Bytes: 200},
		Dropped: []southbound.DropCount{{Why: "sent router advertisements", Count: southbound.Count{Packets: 3, Bytes: 300}}}}, nil
}

func (d *devices) Policy(context.Context, intent.Ref) (engine.PortPolicy, error) {
	return d.policy, d.mute
}

func (d *devices) Flows(context.Context, intent.Ref) (string, []southbound.FlowLine, error) {
	return d.policy.Node, d.flows, d.mute
}

func (d *devices) ACLCounters(_ context.Context, ref intent.Ref) (engine.ACLCounters, bool) {
	return d.acl, ref.Name == "edge"
}

func (d *devices) RouterCounters(_ context.Context, router intent.Ref) (engine.EdgeCounts[southbound.RouterCount], bool) {
	return d.router, router.Name == "r"
}

func (d *devices) TenantCounters(_ context.Context, tenant string) (engine.EdgeCounts[southbound.TenantCount], bool) {
	return d.tenant, tenant == "t"
}

func (d *devices) Leaf(node string) engine.Leaf {
	if node != "leaf1" {
		return nil
	}
	return d.leaf
}

// will changes what the devices say.
func (d *devices) will(say func(intent.Object) *intent.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.say = say
	close(d.changed)
	d.changed = make(chan struct{})
}

func pendingAll(intent.Object) *intent.Status {
	return &intent.Status{Phase: intent.PhasePending, Reasons: []intent.Reason{{Device: "hv1", Code: "Unreachable", Message: "connection refused", Action: "start it"}}}
}

// bench is a controller's API on real etcd. Benches share nothing but it.
type bench struct {
	t       *testing.T
	store   *store.Store
	devices *devices
	server  *Server
	url     string
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Endpoints: []string{"unix://" + filepath.Join(etcdDir, "etcd.sock")}, Prefix: fmt.Sprintf("/t%d", prefixes.Add(1))})
	require.NoError(t, err)
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// newBench makes one; the test then runs beside others.
func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	t.Parallel()
	return newBenchAlone(t, change...)
}

// newBenchAlone is for tests that others' writes, or whose writes others, would
// disturb.
func newBenchAlone(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, store: openStore(t), devices: newDevices()}
	cfg := Config{Store: b.store, Status: b.devices, Boxes: engine.New(engine.Config{}), Version: "test", Heartbeat: 50 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	b.server = New(cfg)
	srv := httptest.NewServer(b.server.Handler())
	t.Cleanup(func() {
		b.server.closeOnce.Do(func() { close(b.server.closing) })
		srv.CloseClientConnections()
		srv.Close()
	})
	b.url = srv.URL
	return b
}

type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request; headers are "Name: value".
func (b *bench) do(method, path, body string, headers ...string) reply {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(b.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return reply{resp.StatusCode, resp.Header, string(got)}
}

// ok is do that must succeed.
func (b *bench) ok(method, path, body string, headers ...string) reply {
	b.t.Helper()
	r := b.do(method, path, body, headers...)
	require.Less(b.t, r.status, 300, "%s %s: %s", method, path, r.body)
	return r
}

// blue is a tenant with a network web.
func (b *bench) blue() {
	b.t.Helper()
	b.ok("PUT", "/v1/tenants/blue", `{}`)
	b.ok("PUT", "/v1/tenants/blue/networks/web", `{"spec":{"subnets":["10.0.0.0/24"]}}`)
}

func (b *bench) client() *client.Client {
	c, err := client.New(b.url)
	require.NoError(b.t, err)
	return c
}

var numbers = regexp.MustCompile(`(revision |"revision":\s?)\d+`)

// golden compares with a file under testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run with -update")
	require.Equal(t, string(want), string(got))
}

func pretty(t *testing.T, s string) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, json.Indent(&out, []byte(strings.TrimSpace(s)), "", "  "), s)
	out.WriteByte('\n')
	return out.Bytes()
}

func TestPutIsIdempotent(t *testing.T) {
	b := newBench(t)
	b.blue()
	const body = `{"spec":{"network":"web"}}`
	first := b.do("PUT", "/v1/tenants/blue/ports/a", body)
	require.Equal(t, http.StatusCreated, first.status, first.body)
	require.Equal(t, "created", first.header.Get("Weft-Action"))
	var p intent.Port
	require.NoError(t, json.Unmarshal([]byte(first.body), &p))
	require.Equal(t, intent.PhaseReady, p.Status.Phase)
	require.Equal(t, "10.0.0.2", p.Spec.Addresses[0].String())
	require.Equal(t, etag(p.Metadata.Revision), first.header.Get("ETag"))

	second := b.do("PUT", "/v1/tenants/blue/ports/a", body)
	require.Equal(t, http.StatusOK, second.status)
	require.Equal(t, "unchanged", second.header.Get("Weft-Action"))
	require.Equal(t, first.body, second.body)
	require.Equal(t, first.header.Get("ETag"), second.header.Get("ETag"))

	back := b.do("PUT", "/v1/tenants/blue/ports/a", first.body)
	require.Equal(t, "unchanged", back.header.Get("Weft-Action"), "what was read can be written back: %s", back.body)

	third := b.do("PUT", "/v1/tenants/blue/ports/a", `{"metadata":{"labels":{"a":"b"}},"spec":{"network":"web"}}`)
	require.Equal(t, http.StatusOK, third.status)
	require.Equal(t, "configured", third.header.Get("Weft-Action"))
	require.NotEqual(t, first.header.Get("ETag"), third.header.Get("ETag"))
}
