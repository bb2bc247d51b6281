//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

var (
	nHypervisors = flag.Int("hypervisors", 10, "sandboxed hypervisors")
	nNetworks    = flag.Int("networks", 10, "networks")
	perEach      = flag.Int("ports", 1, "ports per network and hypervisor")
	nExtra       = flag.Int("extra", 20, "single ports added afterwards")
	nMoves       = flag.Int("moves", 10, "ports moved afterwards")
	weftBinary   = flag.String("weft", "", "the weft program")
	onlySide     = flag.String("side", "", "weft or ovn; both when left out")
	profileAt    = flag.String("pprof", "", "loopback address on which weft serves Go profiles")
)

// result is what one side needed.
type result struct {
	Side           string  `json:"side"`
	Hypervisors    int     `json:"hypervisors"`
	Ports          int     `json:"ports"`
	BulkMS         float64 `json:"bulk_ms"`
	CentralCPUms   float64 `json:"central_cpu_ms"`
	AgentsCPUms    float64 `json:"agents_cpu_ms"`
	SwitchesCPUms  float64 `json:"switches_cpu_ms"`
	CentralMB      int     `json:"central_rss_mb"`
	AgentsMB       int     `json:"agents_rss_mb"`
	FlowsPerSwitch int     `json:"flows_per_switch"`
	ExtraP50us     int64   `json:"extra_p50_us"`
	ExtraP99us     int64   `json:"extra_p99_us"`
	MoveP50us      int64   `json:"move_p50_us"`
	MoveMaxus      int64   `json:"move_max_us"`
	RestartMS      float64 `json:"restart_ms"`
}

// side is one of the two that wire the same ports.
type side interface {
	name() string
	central() []int
	agents() []int
	// bulk declares everything and returns once every flow is in place; the
	// interfaces are plugged meanwhile by plugAll.
	bulk(plugAll func())
	// add declares one more port of the first network.
	add(id, mac, ip string)
}

func portID(network, hv, n int) string { return fmt.Sprintf("s%dh%dp%d", network, hv, n) }
func portMAC(network, hv, n int) string {
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:01", network, hv/256, hv%256, n)
}
func portIP(network, hv, n int) string { return fmt.Sprintf("10.%d.%d.%d", network, hv, n) }

func eachPort(f func(network, hv, n int)) {
	for s := 1; s <= *nNetworks; s++ {
		for h := 1; h <= *nHypervisors; h++ {
			for p := 1; p <= *perEach; p++ {
				f(s, h, p)
			}
		}
	}
}

func measure(t *testing.T, sb *sandbox, s side) result {
	r := result{Side: s.name(), Hypervisors: *nHypervisors}
	c, a, v := cpu(t, s.central()...), cpu(t, s.agents()...), cpu(t, sb.pids...)
	began := time.Now()
	s.bulk(func() {
		sb.each(func(i int, h *hypervisor) {
			var ids []string
			for n := 1; n <= *nNetworks; n++ {
				for p := 1; p <= *perEach; p++ {
					ids = append(ids, portID(n, i+1, p))
				}
			}
			h.plug(t, ids...)
		})
	})
	r.BulkMS = float64(time.Since(began).Microseconds()) / 1000
	eachPort(func(int, int, int) { r.Ports++ })
	r.CentralCPUms = float64((cpu(t, s.central()...) - c).Milliseconds())
	r.AgentsCPUms = float64((cpu(t, s.agents()...) - a).Milliseconds())
	r.SwitchesCPUms = float64((cpu(t, sb.pids...) - v).Milliseconds())
	r.CentralMB, r.AgentsMB = rss(t, s.central()...), rss(t, s.agents()...)
	far := sb.hvs[len(sb.hvs)-1]
	r.FlowsPerSwitch = strings.Count(far.flows(t), "cookie=")
	r.ExtraP50us, r.ExtraP99us = spread(addPorts(t, sb, s))
	r.MoveP50us, r.MoveMaxus = spread(movePorts(t, sb))
	r.RestartMS = restartOne(t, sb)
	return r
}

// spread gives the median and the 99th percentile, of few values the greatest.
func spread(took []int64) (p50, p99 int64) {
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}

// addPorts adds one port after the other, each until the farthest hypervisor
// has its flow.
func addPorts(t *testing.T, sb *sandbox, s side) (took []int64) {
	w := sb.hvs[len(sb.hvs)-1].watch(t)
	for k := range *nExtra {
		id, mac := fmt.Sprintf("extra%d", k+1), fmt.Sprintf("02:ff:00:00:00:%02x", k+1)
		began := time.Now()
		sb.hvs[0].plug(t, id)
		s.add(id, mac, fmt.Sprintf("10.1.250.%d", k+1))
		took = append(took, w.until(t, "event=ADDED", "dl_dst="+mac).Sub(began).Microseconds())
	}
	return took
}

// movePorts plugs added ports out of the first hypervisor, and once the farthest
// has nothing more to do with that, into the second: that is measured, until the
// farthest has a flow for it.
func movePorts(t *testing.T, sb *sandbox) (took []int64) {
	w := sb.hvs[len(sb.hvs)-1].watch(t)
	for k := range min(*nMoves, *nExtra) {
		id := fmt.Sprintf("extra%d", k+1)
		sb.hvs[0].unplug(t, id)
		w.until(t, "event=DELETED")
		w.calm(time.Second)
		began := time.Now()
		sb.hvs[1].plug(t, id)
		took = append(took, w.until(t, "event=ADDED").Sub(began).Microseconds())
	}
	return took
}

// restartOne kills the last hypervisor's switch and starts it, without flows,
// until it has all of them again.
func restartOne(t *testing.T, sb *sandbox) float64 {
	far := sb.hvs[len(sb.hvs)-1]
	want := strings.Count(far.flows(t), "cookie=")
	began := time.Now()
	sb.restart(far)
	for got := 0; got < want; got = far.count() {
		require.Less(t, time.Since(began), 2*time.Minute, "%s has %d of %d flows", far.name, got, want)
	}
	return float64(time.Since(began).Microseconds()) / 1000
}

func TestBesideOVN(t *testing.T) {
	require.NotEmpty(t, *weftBinary, "-args -weft PROGRAM")
	var rs []result
	for _, s := range []struct {
		name string
		make func(*testing.T, *sandbox) side
	}{{"weft", newWeft}, {"ovn", newOVN}} {
		if *onlySide != "" && *onlySide != s.name {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			sb := newSandbox(t, *nHypervisors)
			r := measure(t, sb, s.make(t, sb))
			b, err := json.Marshal(r)
			require.NoError(t, err)
			fmt.Println(string(b))
			rs = append(rs, r)
		})
	}
	if *onlySide != "" || t.Failed() {
		return
	}
	require.Len(t, rs, 2)
	w, o := rs[0], rs[1]
	tw := tabwriter.NewWriter(os.Stdout, 0, 8, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "%d hypervisors, %d ports\tWeft\tOVN\tOVN/Weft\t\n", w.Hypervisors, w.Ports)
	for _, l := range []struct {
		what string
		w, o float64
	}{
		{"all wired, ms", w.BulkMS, o.BulkMS}, {"CPU of controllers, ms", w.CentralCPUms + w.AgentsCPUms, o.CentralCPUms + o.AgentsCPUms},
		{"CPU of switches, ms", w.SwitchesCPUms, o.SwitchesCPUms}, {"memory of controllers, MB", float64(w.CentralMB + w.AgentsMB), float64(o.CentralMB + o.AgentsMB)},
		{"flows per switch", float64(w.FlowsPerSwitch), float64(o.FlowsPerSwitch)},
		{"one more port, p50 ms", float64(w.ExtraP50us) / 1000, float64(o.ExtraP50us) / 1000}, {"one more port, p99 ms", float64(w.ExtraP99us) / 1000, float64(o.ExtraP99us) / 1000},
		{"one port moved, p50 ms", float64(w.MoveP50us) / 1000, float64(o.MoveP50us) / 1000}, {"one port moved, most ms", float64(w.MoveMaxus) / 1000, float64(o.MoveMaxus) / 1000},
		{"one switch restarted empty until full, ms", w.RestartMS, o.RestartMS},
	} {
		fmt.Fprintf(tw, "%s\t%.1f\t%.1f\t%.2f\t\n", l.what, l.w, l.o, l.o/l.w)
	}
	tw.Flush()
}

// weft is our side: one controller, none on the hypervisors.
type weft struct {
	t   *testing.T
	sb  *sandbox
	pid int
	api *client.Client
}

func newWeft(t *testing.T, sb *sandbox) side {
	at := sb.dir + "/api.sock"
	args := []string{"controller", "--data-dir", sb.dir + "/data", "--listen", "unix:" + at, "--log-level", "error"}
	if *profileAt != "" {
		args = append(args, "--pprof", *profileAt)
	}
	w := &weft{t: t, sb: sb, pid: start(t, nil, *weftBinary, args...)}
	waitFile(t, at)
	c, err := client.New("unix:" + at)
	require.NoError(t, err)
	w.api = c
	for i, h := range sb.hvs {
		w.put(&intent.Node{Metadata: intent.Metadata{Name: h.name}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor,
			VTEP: netip.AddrFrom4([4]byte{172, 16, byte(i / 250), byte(i%250 + 1)}), VSwitch: &intent.VSwitch{OVSDB: h.db(), DatapathType: "dummy"}}})
	}
	w.put(&intent.Tenant{Metadata: intent.Metadata{Name: "t"}})
	require.Eventually(t, func() bool {
		ns, err := c.List(context.Background(), intent.KindNode, client.ListOptions{})
		if err != nil {
			return false
		}
		for _, n := range ns {
			if s := n.(*intent.Node).Status; s == nil || s.Phase != intent.PhaseReady {
				return false
			}
		}
		return true
	}, 30*time.Second, 20*time.Millisecond, "nodes ready")
	return w
}

func (w *weft) name() string   { return "weft" }
func (w *weft) central() []int { return []int{w.pid} }
func (w *weft) agents() []int  { return nil }

func (w *weft) put(o intent.Object) {
	_, err := w.api.Put(context.Background(), o, client.PutOptions{})
	require.NoError(w.t, err)
}

func (w *weft) port(network, id, mac, ip string) *intent.Port {
	m, err := intent.ParseMAC(mac)
	require.NoError(w.t, err)
	return &intent.Port{Header: intent.Header{Kind: intent.KindPort}, Metadata: intent.Metadata{Name: id, Tenant: "t"}, Spec: intent.PortSpec{Network: network,
		Binding: intent.Binding{IfaceID: id}, MAC: m, Addresses: []netip.Addr{netip.MustParseAddr(ip)}}}
}

func (w *weft) bulk(plugAll func()) {
	var wg sync.WaitGroup
	wg.Go(plugAll)
	var all []intent.Object
	for n := 1; n <= *nNetworks; n++ {
		all = append(all, &intent.Network{Header: intent.Header{Kind: intent.KindNetwork}, Metadata: intent.Metadata{Name: fmt.Sprintf("s%d", n), Tenant: "t"},
			Spec: intent.NetworkSpec{Subnets: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", n))}}})
	}
	eachPort(func(s, h, p int) {
		all = append(all, w.port(fmt.Sprintf("s%d", s), portID(s, h, p), portMAC(s, h, p), portIP(s, h, p)))
	})
	// By few requests, as the peer's is one transaction.
	require.NoError(w.t, w.api.Apply(context.Background(), all, client.ApplyOptions{}, func(i client.AppliedItem) { require.Nil(w.t, i.Problem) }))
	wg.Wait()
	for {
		ns, err := w.api.List(context.Background(), intent.KindNetwork, client.ListOptions{})
		require.NoError(w.t, err)
		ready := 0
		for _, n := range ns {
			if s := n.(*intent.Network).Status; s.Phase == intent.PhaseReady {
				ready++
			}
		}
		if ready == *nNetworks {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *weft) add(id, mac, ip string) { w.put(w.port("s1", id, mac, ip)) }

// ovn is the peer: databases and northd in the middle, a controller on each
// hypervisor.
type ovn struct {
	t        *testing.T
	nb, sb   string
	mid, far []int
}

func newOVN(t *testing.T, s *sandbox) side {
	o := &ovn{t: t, nb: "unix:" + s.dir + "/nb.sock", sb: "unix:" + s.dir + "/sb.sock"}
	// By TCP, as hypervisors reach it: with forty of them on the unix socket some
	// never tell that they are done, and everybody sleeps.
	remote := freePort(t)
	env := []string{"OVN_NB_DB=" + o.nb, "OVN_SB_DB=" + o.sb}
	for _, db := range []string{"nb", "sb"} {
		run(t, nil, "ovsdb-tool", "create", s.dir+"/"+db+".db", "/usr/share/ovn/ovn-"+db+".ovsschema")
		args := []string{s.dir + "/" + db + ".db", "--remote=punix:" + s.dir + "/" + db + ".sock", "--unixctl=" + s.dir + "/" + db + ".ctl"}
		if db == "sb" {
			args = append(args, fmt.Sprintf("--remote=ptcp:%d:127.0.0.1", remote))
		}
		o.mid = append(o.mid, start(t, nil, "ovsdb-server", args...))
		waitFile(t, s.dir+"/"+db+".sock")
	}
	run(t, env, "ovn-nbctl", "init")
	run(t, env, "ovn-sbctl", "init")
	o.mid = append(o.mid, start(t, nil, "ovn-northd", "--ovnnb-db="+o.nb, "--ovnsb-db="+o.sb, "--unixctl="+s.dir+"/northd.ctl"))
	for i, h := range s.hvs {
		run(t, nil, "ovs-vsctl", "--db="+h.db(), "--no-wait", "set", "open", ".", "external_ids:system-id="+h.name, fmt.Sprintf("external_ids:ovn-remote=tcp:127.0.0.1:%d", remote),
			"external_ids:ovn-encap-type=geneve", fmt.Sprintf("external_ids:ovn-encap-ip=172.16.%d.%d", i/250, i%250+1), "external_ids:ovn-remote-probe-interval=0", "external_ids:ovn-openflow-probe-interval=0")
		o.far = append(o.far, start(t, []string{"OVS_RUNDIR=" + h.dir, "OVN_RUNDIR=" + h.dir}, "ovn-controller", h.db()))
	}
	o.nbctl("--wait=hv", "sync")
	return o
}

func (o *ovn) name() string   { return "ovn" }
func (o *ovn) central() []int { return o.mid }
func (o *ovn) agents() []int  { return o.far }

func (o *ovn) nbctl(args ...string) {
	run(o.t, []string{"OVN_NB_DB=" + o.nb}, "ovn-nbctl", args...)
}

func (o *ovn) bulk(plugAll func()) {
	var args []string
	for n := 1; n <= *nNetworks; n++ {
		args = append(args, "--", "ls-add", fmt.Sprintf("s%d", n))
	}
	eachPort(func(s, h, p int) {
		id := portID(s, h, p)
		args = append(args, "--", "lsp-add", fmt.Sprintf("s%d", s), id, "--", "lsp-set-addresses", id, portMAC(s, h, p)+" "+portIP(s, h, p))
	})
	o.nbctl(args[1:]...)
	plugAll()
	for run(o.t, []string{"OVN_SB_DB=" + o.sb}, "ovn-sbctl", "--bare", "--columns=_uuid", "find", "port_binding", "chassis=[]") != "" {
		time.Sleep(50 * time.Millisecond)
	}
	o.nbctl("--wait=hv", "sync")
}

func (o *ovn) add(id, mac, ip string) {
	o.nbctl("lsp-add", "s1", id, "--", "lsp-set-addresses", id, mac+" "+ip)
}
