//go:build budget

package budget_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/lab/budget"
	"github.com/weft-sdn/weft/lab/sim"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/vswitch"
)

// Of the simulated edges the first ten have the network, the others another one.
const (
	simulated = 12
	members   = 10
	webVNI    = intent.VNI(100)
)

// intents is a store of test objects.
type intents struct {
	objects []intent.Object
	changes chan store.Event
}

func (s *intents) Snapshot(context.Context) ([]intent.Object, int64, error) {
	return s.objects, 1, nil
}

func (s *intents) Watch(ctx context.Context, _ int64) iter.Seq2[[]store.Event, error] {
	return func(yield func([]store.Event, error) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-s.changes:
				if !yield([]store.Event{e}, nil) {
					return
				}
			}
		}
	}
}

// still is an edge of the rest: it reports its interfaces and has all that it is
// told at once.
type still struct {
	feed   southbound.Feed
	ifaces []overlay.Interface
}

func (d *still) Run(ctx context.Context) error {
	d.feed.Observe(d.ifaces)
	d.feed.Confirmed()
	<-ctx.Done()
	return ctx.Err()
}
func (d *still) Status() southbound.Status                       { return southbound.Status{Synced: true} }
func (d *still) Programmed(intent.Ref) (overlay.LocalPort, bool) { return overlay.LocalPort{}, false }
func (d *still) Cursor(intent.VNI) (evpn.Revision, bool)         { return 0, false }
func (d *still) Cursors() map[intent.VNI]evpn.Revision           { return nil }
func (d *still) Withdraw(context.Context) error                  { return nil }

// counted is a feed that counts the rows which its driver reads.
type counted struct {
	southbound.Feed
	rows *int
	mu   *sync.Mutex
}

func (c counted) Rows(v intent.VNI, since evpn.Revision) ([]evpn.Row, evpn.Revision) {
	rows, rev := c.Feed.Rows(v, since)
	c.mu.Lock()
	*c.rows += len(rows)
	c.mu.Unlock()
	return rows, rev
}

// site is the engine with the real driver on simulated edges, and the rest.
type site struct {
	*engine.Engine
	t    *testing.T
	farm *sim.Farm
	src  *intents
	mu   sync.Mutex
	rows [simulated]int
	rev  int64
}

func node(name string, vtep uint32, v *intent.VSwitch) *intent.Node {
	b := binary.BigEndian.AppendUint32(nil, vtep)
	return &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor,
		VTEP: netip.AddrFrom4([4]byte(b)), VSwitch: v}}
}

func network(name string, vni intent.VNI) *intent.Network {
	return &intent.Network{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.NetworkSpec{VNI: vni}}
}

func port(id, net string, n int) *intent.Port {
	b := binary.BigEndian.AppendUint32(nil, uint32(n))
	return &intent.Port{Metadata: intent.Metadata{Name: id, Tenant: "t"}, Spec: intent.PortSpec{Network: net, Binding: intent.Binding{IfaceID: id},
		MAC: intent.MAC{2, 0, b[0], b[1], b[2], b[3]}}}
}

// start brings up a site with rest endpoints beside the network. shape may change
// the ports, and more are objects beside.
func start(t *testing.T, rest int, shape func(*intent.Port), more ...intent.Object) *site {
	farm, err := sim.Start(simulated)
	require.NoError(t, err)
	s := &site{t: t, farm: farm, src: &intents{changes: make(chan store.Event)}, rev: 1}
	add := func(o intent.Object) {
		o.Meta().Revision = 1
		if p, ok := o.(*intent.Port); ok && shape != nil {
			shape(p)
		}
		s.src.objects = append(s.src.objects, o)
	}
	index := map[string]int{}
	for _, o := range more {
		add(o)
	}
	add(network("web", webVNI))
	add(network("other", webVNI+1))
	var own []*intent.Port
	for i := range simulated {
		name := fmt.Sprintf("hv%d", i)
		index[name] = i
		add(node(name, 10<<24+uint32(i)+1, farm.VSwitch(i)))
		net := "web"
		if i >= members {
			net = "other"
		}
		p := port(fmt.Sprintf("own%d", i), net, i+1)
		add(p)
		own = append(own, p)
		farm.Edge(i).Plug(p.Metadata.Name)
	}
	const away = 100
	reports := map[string][]overlay.Interface{}
	for i := range away {
		add(node(fmt.Sprintf("away%d", i), 11<<24+uint32(i)+1, &intent.VSwitch{OVSDB: "unix:/nowhere"}))
	}
	for i := range rest {
		net := fmt.Sprintf("net%d", i/100)
		if i%100 == 0 {
			add(network(net, 1000+intent.VNI(i/100)))
		}
		id := fmt.Sprintf("p%d", i)
		add(port(id, net, 1000+i))
		at := fmt.Sprintf("away%d", i%away)
		reports[at] = append(reports[at], overlay.Interface{Name: "tap" + id, IfaceID: id, OFPort: uint32(i/away + 1)})
	}
	log, gates := slog.New(slog.DiscardHandler), vswitch.NewGates()
	s.Engine = engine.New(engine.Config{Source: s.src, NewDriver: func(n *intent.Node, f southbound.Feed) southbound.Driver {
		i, ok := index[n.Metadata.Name]
		if !ok {
			return &still{f, reports[n.Metadata.Name]}
		}
		return vswitch.New(n, counted{f, &s.rows[i], &s.mu}, gates, log)
	}})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; farm.Close() })
	for _, p := range own {
		s.untilReady(p)
	}
	return s
}

func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	require.Eventually(s.t, ok, time.Minute, 2*time.Millisecond, what)
}

func (s *site) untilReady(p *intent.Port) {
	s.t.Helper()
	s.until(p.Metadata.Name+" is ready", func() bool { st := s.Status(p); return st != nil && st.Phase == intent.PhaseReady })
}

// sent is what an edge was sent.
type sent struct{ rows, mods int }

func (s *site) sent() (out [simulated]sent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range out {
		out[i] = sent{s.rows[i], s.farm.Edge(i).Stats().FlowMods}
	}
	return out
}

// costs does something, waits until it is done, and tells what an edge that has
// the network was sent meanwhile, but for those that the port was or is on, and
// what all others were sent together.
func (s *site) costs(counts map[string]float64, what string, at []int, do func()) {
	s.t.Helper()
	before := s.sent()
	do()
	after := s.sent()
	var others sent
	each := map[sent]int{}
	for i := range after {
		d := sent{after[i].rows - before[i].rows, after[i].mods - before[i].mods}
		switch {
		case i >= members:
			others.rows += d.rows
			others.mods += d.mods
		case len(at) > 0 && (i == at[0] || i == at[len(at)-1]):
		default:
			each[d]++
		}
	}
	require.Len(s.t, each, 1, "%s: all edges that have the network are sent the same: %v", what, each)
	for d := range each {
		counts[what+": rows to each edge that has the network"] = float64(d.rows)
		counts[what+": flow-mods to each edge that has the network"] = float64(d.mods)
	}
	counts[what+": rows and flow-mods to all other edges"] = float64(others.rows + others.mods)
}

// change has the engine take a change of an object; nil deletes it.
func (s *site) change(r intent.Ref, o intent.Object) {
	s.rev++
	if o != nil {
		o.Meta().Revision = s.rev
	}
	s.src.changes <- store.Event{Ref: r, Object: o, Revision: s.rev}
}

// settled waits until every edge that has the network confirmed its rows, and
// nothing is left to be sent.
func (s *site) settled() {
	s.t.Helper()
	probe := network("web", webVNI)
	probe.Metadata.Revision = 1
	s.until("the network is ready", func() bool { st := s.Status(probe); return st != nil && st.Phase == intent.PhaseReady })
}

// TestBudget: what one port costs the edges, beside 10,000 other endpoints and
// beside 100,000. They must be the same.
func TestBudget(t *testing.T) {
	var all []map[string]float64
	for _, rest := range []int{10_000, 100_000} {
		s := start(t, rest, nil)
		s.settled()
		counts := map[string]float64{}
		p := port("new", "web", 500)
		s.costs(counts, "port added", []int{3}, func() {
			s.farm.Edge(3).Plug("new")
			s.change(p.Ref(), p)
			s.untilReady(p)
		})
		s.costs(counts, "port moved", []int{3, 5}, func() {
			s.farm.Edge(5).Plug("new")
			s.until("prepared", func() bool { return s.farm.Edge(5).Stats().Flows > s.farm.Edge(6).Stats().Flows })
			s.farm.Edge(3).Unplug("new")
			s.until("moved", func() bool { st := s.Status(p); return st.Node == "hv5" && st.Phase == intent.PhaseReady })
		})
		flows := s.farm.Edge(0).Stats().Flows
		s.costs(counts, "port deleted", []int{5}, func() {
			s.change(p.Ref(), nil)
			for i := range members {
				s.until("the flow is gone", func() bool { return i == 5 || s.farm.Edge(i).Stats().Flows == flows-1 })
			}
			s.settled()
		})
		all = append(all, counts)
	}
	require.Equal(t, all[0], all[1], "beside 10,000 endpoints as beside 100,000")
	small, large := memberCosts(t, 1, 10), memberCosts(t, 20, 10_000)
	require.Equal(t, small, large, "with one rule and 10 members as with 20 rules and 10,000 members")
	maps.Copy(all[1], large)
	budget.Check(t, all[1])
}
