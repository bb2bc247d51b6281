package engine

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/load"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// Times of the load.
const (
	loadEvery = time.Second // a switch reports, and less often when they are many
	// loadReports is how many reports a second the controller asks for at most.
	loadReports = 200
	loadTrim    = time.Minute
)

// loads measures what the fabric carries.
type loads struct {
	mu      sync.Mutex
	meter   *load.Meter
	trimmed time.Time
	now     func() time.Time
}

func newLoads() *loads {
	return &loads{meter: load.New(load.DefaultLimits(), time.Now()), now: time.Now}
}

// put takes an object of the intent, or with nil its deletion.
func (l *loads) put(r intent.Ref, o intent.Object) {
	if r.Kind == intent.KindNode && o == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.meter.Forget(r.Name)
	}
}

// take takes a report; switches is how many report.
func (l *loads) take(node string, r switchstate.Load) (full bool, switches int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if now.Sub(l.trimmed) > loadTrim {
		l.meter.Trim(now)
		l.trimmed = now
	}
	full = l.meter.Take(node, now, r)
	return full, l.meter.Switches()
}

// TakeLoad takes what a switch has counted; ok is false when there is no such node.
func (e *Engine) TakeLoad(node string, r switchstate.Load) (a switchstate.LoadAnswer, ok bool) {
	e.mu.RLock()
	n := e.model.Node(node)
	e.mu.RUnlock()
	if n == nil {
		return a, false
	}
	var switches int
	a.Full, switches = e.loads.take(node, r)
	a.Tunnels = tierOf(n) == 0
	a.Every = max(loadEvery, time.Duration(switches)*time.Second/loadReports)
	return a, true
}

// tierOf is 0 for leaves, 1 for spines, 2 for superspines, and -1 for what is no switch.
func tierOf(n *intent.Node) int {
	if n == nil {
		return -1
	}
	switch n.Spec.Role {
	case intent.RoleLeaf, intent.RoleBorder:
		return 0
	case intent.RoleSpine:
		return 1
	case intent.RoleSuperspine:
		return 2
	}
	return -1
}

// FabricLoad is what the links between switches carry.
type FabricLoad struct {
	Links      []load.LinkLoad // both directions of each, by the leaf's or lower switch's name and port
	Shares     []load.Share
	Imbalances []load.Imbalance
}

// Load is what the fabric carried within a window that ends now.
func (e *Engine) Load(window time.Duration) FabricLoad {
	nodes, links := e.measured()
	tier := func(name string) int { return tierOf(nodes[name]) }
	e.loads.mu.Lock()
	out := FabricLoad{Links: e.loads.meter.Links(e.loads.now(), links, window)}
	e.loads.mu.Unlock()
	out.Shares, out.Imbalances = load.Shares(out.Links, tier), load.Imbalances(out.Links, tier)
	return out
}

// LoadHistory is what a port of a switch sent, in bit/s, in the whole buckets of one of
// load.Resolutions; ok is false when its agent has not reported such a port.
func (e *Engine) LoadHistory(node, port string, step time.Duration) (out []load.Sample, ok bool) {
	e.loads.mu.Lock()
	defer e.loads.mu.Unlock()
	return e.loads.meter.History(topology.End{Node: node, Interface: port}, step)
}

// measured are the nodes of the intent and the links between switches, the lower tier's
// end first, in natural order.
func (e *Engine) measured() (nodes map[string]*intent.Node, links []load.Link) {
	nodes = map[string]*intent.Node{}
	e.mu.RLock()
	for r := range e.objects {
		if r.Kind == intent.KindNode {
			nodes[r.Name] = e.model.Node(r.Name)
		}
	}
	e.mu.RUnlock()
	for _, l := range e.wiring.intended() {
		a, b := tierOf(nodes[l.A.Node]), tierOf(nodes[l.B.Node])
		if a < 0 || b < 0 {
			continue
		}
		if b < a {
			l.A, l.B = l.B, l.A
		}
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b load.Link) int {
		return cmp.Or(fabric.Natural(a.A.Node, b.A.Node), fabric.Natural(a.A.Interface, b.A.Interface))
	})
	return nodes, links
}

// Matrix is what VTEPs sent each other within a window that ends now.
func (e *Engine) Matrix(window time.Duration) load.Matrix {
	nodes, links := e.measured()
	f := load.Fabric{}
	vteps, uplinks := map[netip.Addr]string{}, map[topology.End]struct{}{}
	for name, n := range nodes {
		if tierOf(n) == 0 {
			f.Leaves = append(f.Leaves, name)
		}
		if n != nil && n.Spec.VTEP.IsValid() {
			vteps[n.Spec.VTEP] = name
		}
		if n != nil {
			for _, a := range n.Spec.Colours {
				vteps[a] = name
			}
		}
	}
	slices.SortFunc(f.Leaves, fabric.Natural)
	for _, l := range links {
		uplinks[topology.End{Node: l.A.Node, Interface: l.A.Interface}] = struct{}{}
		uplinks[topology.End{Node: l.B.Node, Interface: l.B.Interface}] = struct{}{}
	}
	f.VTEP = func(a netip.Addr) (string, bool) { name, ok := vteps[a]; return name, ok }
	f.Uplink = func(leaf, port string) bool { _, ok := uplinks[topology.End{Node: leaf, Interface: port}]; return ok }
	owners := map[intent.VNI]string{}
	f.Tenant = func(v intent.VNI) string {
		if _, ok := owners[v]; !ok {
			owners[v] = e.tenantOf(v)
		}
		return owners[v]
	}
	e.loads.mu.Lock()
	defer e.loads.mu.Unlock()
	return e.loads.meter.Matrix(e.loads.now(), f, window)
}

// tenantOf is whose a VNI is: a network's, or a router's.
func (e *Engine) tenantOf(v intent.VNI) string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if n := e.model.NetworkOf(v); n != nil {
		return n.Metadata.Tenant
	}
	if r := e.model.RouterWith(v); r != nil {
		return r.Metadata.Tenant
	}
	return ""
}
