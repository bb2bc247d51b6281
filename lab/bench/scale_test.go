//go:build bench

package bench

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/sim"
	"github.com/weft-sdn/weft/southbound/openflow"
)

var (
	scalePoints  = flag.String("points", "", "points as EDGES:ENDPOINTS, separated by commas; with :intent the intent is there before the edges")
	scaleReal    = flag.Int("real", 20, "real vSwitches among the edges")
	scaleTenants = flag.Int("tenants", 10, "tenants among which the networks are; the group has the ports of one")
	scaleSpares  = flag.Int("spares", 4000, "ports that come and go at a rate")
	scaleRate    = flag.Int("rate", 5000, "changes a second")
	scaleSeconds = flag.Int("seconds", 60, "how long to make changes at a rate")
	scaleOps     = flag.Int("ops", 100, "single changes of each kind")
	scalePhases  = flag.String("phases", "real,single,slow,reconnect,rates,restart,wide,group", "what is measured once all is loaded, in this order")
	scaleOut     = flag.String("out", "", "folder for figures and profiles")
)

// TestScale measures the controller at each point, one after the other.
func TestScale(t *testing.T) {
	require.NotEmpty(t, *weftBinary, "-args -weft PROGRAM")
	require.NotEmpty(t, *scalePoints, "-args -points EDGES:ENDPOINTS,...")
	dir := *scaleOut
	if dir == "" {
		dir = t.TempDir()
	}
	out := newReport(t, dir)
	defer out.table(os.Stdout)
	for _, p := range strings.Split(*scalePoints, ",") {
		p, intentFirst := strings.CutSuffix(p, ":intent")
		e, n, ok := strings.Cut(p, ":")
		edges, err1 := strconv.Atoi(e)
		endpoints, err2 := strconv.Atoi(n)
		require.True(t, ok && err1 == nil && err2 == nil && edges >= *scaleReal+2*edgesPerNet && edges%edgesPerNet == 0, "point %q: edges are a multiple of %d, at least %d", p, edgesPerNet, *scaleReal+2*edgesPerNet)
		point := fmt.Sprintf("%d/%d", edges, endpoints)
		out.points = append(out.points, point)
		if !t.Run(point, func(t *testing.T) {
			runPoint(t, &rig{t: t, edges: edges, endpoints: endpoints, intentFirst: intentFirst, out: out}, point)
		}) {
			return
		}
	}
}

func runPoint(t *testing.T, r *rig, point string) {
	dir, err := os.MkdirTemp("", "weft-scale") // t.TempDir is too long for a socket's path
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	r.t, r.dir = t, dir
	r.track = &tracker{rig: r, all: map[uint64]*arrival{}, mods: map[[2]uint8]int64{}}
	r.real = newSandbox(t, *scaleReal)
	r.farm, err = sim.Start(r.edges - *scaleReal)
	require.NoError(t, err)
	t.Cleanup(r.farm.Close)
	t.Cleanup(r.stopController)
	r.guard()
	r.farm.Observe(r.track.observe)
	say := func(name, unit string, v float64) { r.out.say(point, name, unit, v) }
	file := func(what string) string { return fmt.Sprintf("%d-%d-%s", r.edges, r.endpoints, what) }
	r.layOut()
	r.load(say, file)
	for _, phase := range []struct {
		name string
		run  func()
	}{
		{"real", func() { r.checkReal(say) }},
		{"single", func() { r.single(say, file) }},
		{"slow", func() { r.slowEdge(say) }},
		{"reconnect", func() { r.reconnect(say, file) }},
		{"rates", func() { r.rates(say, file) }},
		{"restart", func() { r.restart(say, file) }},
		{"wide", func() { r.wideNetwork(say, file) }},
		{"group", func() { r.group(say, file) }},
	} {
		if slices.Contains(strings.Split(*scalePhases, ","), phase.name) {
			phase.run()
		}
	}
}

type sayer func(name, unit string, v float64)

// parallel calls f for 0 to n-1 from several goroutines.
func parallel(workers, n int, f func(worker, i int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for w := range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(w, i)
			}
		})
	}
	wg.Wait()
}

// load brings everything up from nothing.
func (r *rig) load(say sayer, file func(string) string) {
	ports := r.plan()
	r.startController()
	r.ready()
	empty := r.memory()
	say("resident memory, empty", "MB", float64(empty.rss)/1e6)
	bare := empty
	if !r.intentFirst {
		bare = r.loadNodes(say, empty)
	}
	for i := range *scaleTenants {
		r.put(0, &intent.Tenant{Metadata: intent.Metadata{Name: fmt.Sprintf("t%d", i)}})
	}
	var nets []intent.Object
	for _, n := range append([]*scaleNet{r.wide}, r.nets...) {
		nets = append(nets, &intent.Network{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindNetwork}, Metadata: intent.Metadata{Name: n.name, Tenant: n.tenant}, Spec: intent.NetworkSpec{VNI: n.vni, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}})
	}
	r.apply(nets, func(int) {})
	r.putPorts(ports, say, file)
	if r.intentFirst {
		say("resident memory, intent without edges", "MB", float64(r.memory().rss)/1e6)
		r.connectAll(say, file)
	}
	ready, asking := r.networksReady()
	say("status Ready of all networks after that", "s", ready.Seconds())
	say("listing all networks with status takes", "s", asking.Seconds())
	full := r.memory()
	heap := r.heap()
	per := float64(len(ports))
	say("resident memory, all loaded", "MB", float64(full.rss)/1e6)
	say("anonymous memory, all loaded", "MB", float64(full.anon)/1e6)
	say("memory per endpoint (RSS less RSS empty)", "B", float64(full.rss-empty.rss)/per)
	say("memory per endpoint (RSS less RSS with interfaces reported)", "B", float64(full.rss-bare.rss)/per)
	say("heap in use after a collection", "MB", float64(heap)/1e6)
	say("heap per endpoint", "B", float64(heap)/per)
	say("etcd database", "MB", float64(r.etcdSize())/1e6)
	say("etcd database per endpoint", "B", float64(r.etcdSize())/per)
	r.profile(file("heap-loaded"), "heap")
	r.quiet()
	r.profiling(file("cpu-idle"), 10, func() { say("idle, all loaded", "% of a core", 100*r.idle(10*time.Second)) })
}

// loadNodes declares the edges before there are ports, and returns the memory
// that the controller has then.
func (r *rig) loadNodes(say sayer, empty usage) usage {
	began := time.Now()
	r.makeNodes()
	say("all edges connected after", "s", time.Since(began).Seconds())
	bare := r.memory()
	say("memory per edge with its interfaces reported", "KB", float64(bare.anon-empty.anon)/float64(r.edges)/1e3)
	say("idle, interfaces reported", "% of a core", 100*r.idle(5*time.Second))
	return bare
}

// connectAll declares the edges when all ports are there already.
func (r *rig) connectAll(say sayer, file func(string) string) {
	before, used, began := r.farm.Totals(), r.cpu(), time.Now()
	r.profiling(file("cpu-connect"), 30, func() {
		r.makeNodes()
		r.converged("all edges have all rows")
	})
	say("all edges connected and full after", "s", time.Since(began).Seconds())
	r.sent(say, before, used)
}

// sent says what it took to bring all edges to where they are.
func (r *rig) sent(say sayer, before sim.Totals, used time.Duration) {
	now := r.farm.Totals()
	say("controller CPU until then", "s", (r.cpu() - used).Seconds())
	say("flow-mods sent per flow in place", "", float64(now.FlowMods-before.FlowMods)/float64(r.flowsInPlace()))
	say("connections made anew meanwhile", "", float64(now.OpenFlowConnects-before.OpenFlowConnects))
	say("flow-mods sent", "", float64(now.FlowMods-before.FlowMods))
	say("bundles", "", float64(now.Bundles-before.Bundles))
}

// plan makes all ports and plugs in their interfaces.
func (r *rig) plan() []intent.Object {
	began := time.Now()
	plugs := make([][]string, r.edges)
	var ports []intent.Object
	r.portOf = map[string]*intent.Port{}
	for _, n := range r.nets {
		for i := range portsPerEdge * len(n.edges) {
			e := n.edges[i%len(n.edges)]
			p := r.newPort(n, fmt.Sprintf("%s-p%d", n.name, i))
			plugs[e] = append(plugs[e], p.Metadata.Name)
			ports, r.portOf[p.Metadata.Name] = append(ports, p), p
			r.counted(n, e, 1)
		}
	}
	r.real.each(func(i int, h *hypervisor) { h.plug(r.t, plugs[i]...) })
	for e := r.reals(); e < r.edges; e++ {
		r.sim(e).Plug(plugs[e]...)
	}
	for i := range *scaleSpares {
		n := r.nets[i%len(r.nets)]
		for _, e := range n.edges {
			if e >= r.reals() {
				r.spares = append(r.spares, r.newSpare(n, e, fmt.Sprintf("spare%d", i)))
				break
			}
		}
	}
	// The order in which tenants make ports knows no networks.
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
	fmt.Printf("  %d edges with %d interfaces simulated after %.1f s\n", r.edges, len(ports), time.Since(began).Seconds())
	return ports
}

// makeNodes declares all edges and waits until all are ready.
func (r *rig) makeNodes() {
	var nodes []intent.Object
	for i := range r.edges {
		n := &intent.Node{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindNode}, Metadata: intent.Metadata{Name: edgeName(i)}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor, VTEP: netip.AddrFrom4([4]byte{172, byte(16 + (i+1)>>16), byte((i + 1) >> 8), byte(i + 1)})}}
		if i < r.reals() {
			n.Spec.VSwitch = &intent.VSwitch{OVSDB: r.real.hvs[i].db(), DatapathType: "dummy"}
		} else {
			n.Spec.VSwitch = r.farm.VSwitch(i - r.reals())
		}
		nodes = append(nodes, n)
	}
	r.apply(nodes, func(int) {})
	r.nodesReady()
}

func (r *rig) nodesReady() {
	asked := time.Time{}
	ready := 0
	r.await("nodes are ready", func() (bool, string) {
		if time.Since(asked) < 500*time.Millisecond {
			return false, fmt.Sprintf("%d of %d", ready, r.edges)
		}
		ns, err := r.apis[0].List(context.Background(), intent.KindNode, client.ListOptions{})
		asked = time.Now()
		if err != nil {
			return false, err.Error()
		}
		ready = 0
		for _, n := range ns {
			if s := n.(*intent.Node).Status; s != nil && s.Phase == intent.PhaseReady {
				ready++
			}
		}
		return ready == r.edges, fmt.Sprintf("%d of %d", ready, r.edges)
	})
}

// networksReady waits until the status of all networks says so.
func (r *rig) networksReady() (took, asking time.Duration) {
	took = r.await("networks are ready", func() (bool, string) {
		began := time.Now()
		ns, err := r.apis[0].List(context.Background(), intent.KindNetwork, client.ListOptions{})
		asking = time.Since(began)
		if err != nil {
			return false, err.Error()
		}
		ready := 0
		for _, n := range ns {
			if s := n.(*intent.Network).Status; s != nil && s.Phase == intent.PhaseReady {
				ready++
			}
		}
		return ready == len(ns), fmt.Sprintf("%d of %d", ready, len(ns))
	})
	return took, asking
}

// putPorts declares all ports and waits until all edges have them.
func (r *rig) putPorts(ports []intent.Object, say sayer, file func(string) string) {
	before, used := r.farm.Totals(), r.cpu()
	first := r.put(0, ports[0])
	var last int64
	var again int
	var done atomic.Int64
	began := time.Now()
	stop := make(chan struct{})
	go func() {
		for t := time.NewTicker(5 * time.Second); ; {
			select {
			case <-t.C:
				fmt.Printf("  %d of %d ports declared after %.0f s, %d flow-mods\n", done.Load(), len(ports), time.Since(began).Seconds(), r.farm.Totals().FlowMods-before.FlowMods)
			case <-stop:
				t.Stop()
				return
			}
		}
	}()
	put, more := time.Duration(0), time.Duration(0)
	r.profiling(file("cpu-bulk"), min(30, max(5, len(ports)/5000)), func() {
		last, again = r.apply(ports[1:], func(n int) { done.Add(int64(n)) })
		put = time.Since(began)
		if !r.intentFirst {
			more = r.converged("all edges have all rows")
		}
	})
	close(stop)
	say("all ports declared by REST after", "s", put.Seconds())
	say("ports declared", "1/s", float64(len(ports))/put.Seconds())
	say("requests that had to be repeated", "", float64(again))
	say("etcd transactions per port", "", float64(last-first)/float64(len(ports)-1))
	if r.intentFirst {
		return
	}
	say("full convergence", "s", (put + more).Seconds())
	say("all edges have all rows after the last write", "s", more.Seconds())
	r.sent(say, before, used)
}

// flowsInPlace counts the flows of all simulated edges.
func (r *rig) flowsInPlace() (n int64) {
	for t := range 64 {
		n += r.farm.Flows(uint8(t))
	}
	return n
}

// checkReal compares the real vSwitches with what every edge must have: the
// simulated ones were waited for by the same counts.
func (r *rig) checkReal(say sayer) {
	for i, h := range r.real.hvs {
		want := [3]int{r.wantRemote[i], r.wantLocal[i] + 2, r.wantARP[i] + 1}
		var has [3]int
		total := 0
		r.await("real vSwitch "+h.name, func() (bool, string) {
			c, err := openflow.Dial(context.Background(), "unix:"+h.dir+"/br-int.mgmt", openflow.Config{})
			require.NoError(r.t, err)
			defer c.Close()
			fs, err := c.DumpFlows(context.Background(), 0, 0)
			require.NoError(r.t, err)
			has, total = [3]int{}, len(fs)
			for _, f := range fs {
				switch f.Table {
				case 40:
					has[0]++
				case 30:
					has[1]++
				case 20:
					has[2]++
				}
			}
			return has == want, fmt.Sprintf("has %v, not %v", has, want)
		})
		if i == 0 {
			say("flows on a real vSwitch", "", float64(total))
		}
	}
	for e := r.reals(); e < r.edges; e++ {
		s := r.sim(e).Stats()
		require.Equal(r.t, [3]int{r.wantRemote[e], r.wantLocal[e] + 2, r.wantARP[e] + 1}, [3]int{int(s.Tables[40]), int(s.Tables[30]), int(s.Tables[20])}, edgeName(e))
		require.Zero(r.t, s.Refused, edgeName(e))
	}
	say("real vSwitches that have exactly the same rows as simulated ones", "", float64(len(r.real.hvs)))
}

// simNet is a network that only simulated edges have, the i-th.
func (r *rig) simNet(i int) *scaleNet {
	for _, n := range r.nets {
		if !r.isReal(n) {
			if i--; i < 0 {
				return n
			}
		}
	}
	require.Fail(r.t, "no network without real vSwitches", "use fewer of them")
	return nil
}
