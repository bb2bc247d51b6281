//go:build bench

package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/sim"
)

// scaleNet is a network and where its ports are.
type scaleNet struct {
	name, tenant string
	vni          intent.VNI
	edges        []int
	ports        int
}

// rig is one point of the scale benchmark: a controller process, simulated
// edges and, in front of them, real vSwitches.
type rig struct {
	t         *testing.T
	dir       string
	real      *sandbox
	farm      *sim.Farm
	edges     int // real ones included; these come first
	endpoints int
	// intentFirst has all ports written before any edge is known.
	intentFirst bool
	nets        []*scaleNet
	wide        *scaleNet
	portOf      map[string]*intent.Port // of nets, by name
	spares      []*spare
	serial      atomic.Int64 // of ports, for MACs and addresses
	apis        []*client.Client
	cmd         *exec.Cmd
	process     atomic.Pointer[os.Process] // of cmd, for guard
	pprof       string
	track       *tracker
	out         *report

	// What each edge must have.
	wantRemote, wantLocal, wantARP []int
}

func (r *rig) reals() int { return len(r.real.hvs) }

// sim returns a simulated edge.
func (r *rig) sim(i int) *sim.Edge { return r.farm.Edge(i - r.reals()) }

func (r *rig) isReal(n *scaleNet) bool {
	for _, e := range n.edges {
		if e < r.reals() {
			return true
		}
	}
	return false
}

func edgeName(i int) string { return fmt.Sprintf("edge%d", i) }

// portsPerEdge of a network on one edge, and edges of a network.
const (
	portsPerEdge = 10
	edgesPerNet  = 10
	wideMost     = 1000
)

// layOut decides where the networks are: each on ten edges, spread at random
// but evenly.
func (r *rig) layOut() {
	r.wantRemote, r.wantLocal, r.wantARP = make([]int, r.edges), make([]int, r.edges), make([]int, r.edges)
	random := rand.New(rand.NewPCG(1, 2))
	var order []int
	for k := range r.endpoints / (portsPerEdge * edgesPerNet) {
		n := &scaleNet{name: fmt.Sprintf("n%d", k), tenant: fmt.Sprintf("t%d", k%*scaleTenants), vni: intent.VNI(10000 + k)}
		for len(n.edges) < edgesPerNet {
			if len(order) == 0 {
				order = random.Perm(r.edges)
			}
			n.edges, order = append(n.edges, order[0]), order[1:]
		}
		r.nets = append(r.nets, n)
	}
	r.wide = &scaleNet{name: "wide", tenant: "t0", vni: 9999}
	for i := range min(wideMost, r.edges) {
		r.wide.edges = append(r.wide.edges, r.edges-1-i)
	}
}

// counted notes that ports were added to a network on an edge, or with a
// negative number taken away.
func (r *rig) counted(n *scaleNet, edge, ports int) {
	for _, e := range n.edges {
		if e == edge {
			r.wantLocal[e] += ports
			r.wantARP[e] += 2 * ports // the answer, and the way round it for its own
		} else {
			r.wantRemote[e] += ports
			r.wantARP[e] += ports
		}
	}
}

func (r *rig) newPort(n *scaleNet, id string) *intent.Port {
	s := r.serial.Add(1)
	at := n.ports
	n.ports++
	return &intent.Port{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindPort}, Metadata: intent.Metadata{Name: id, Tenant: n.tenant}, Spec: intent.PortSpec{Network: n.name, Binding: intent.Binding{IfaceID: id},
		MAC: intent.MAC{2, byte(s >> 32), byte(s >> 24), byte(s >> 16), byte(s >> 8), byte(s)}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte((at + 2) >> 8), byte(at + 2)})}}}
}

// cookieOf is the cookie of the flows that belong to a port.
func cookieOf(n *scaleNet, p *intent.Port) uint64 {
	m := p.Spec.MAC
	return 0x7ef7<<48 | uint64(m[3])<<40 | uint64(m[4])<<32 | uint64(m[5])<<24 | uint64(n.vni)
}

// plug adds an interface to an edge of either kind.
func (r *rig) plug(edge int, ids ...string) {
	if edge < r.reals() {
		r.real.hvs[edge].plug(r.t, ids...)
		return
	}
	r.sim(edge).Plug(ids...)
}

// startController starts the controller on the data that are there.
func (r *rig) startController() {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	require.NoError(r.t, err)
	r.pprof = l.Addr().String()
	l.Close()
	at := r.dir + "/api.sock"
	os.Remove(at)
	log, err := os.OpenFile(r.dir+"/controller.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(r.t, err)
	c := exec.Command(*weftBinary, "controller", "--data-dir", r.dir+"/data", "--listen", "unix:"+at, "--log-level", "error", "--pprof", r.pprof)
	c.Stdout, c.Stderr = log, log
	require.NoError(r.t, c.Start())
	log.Close()
	r.cmd = c
	r.process.Store(c.Process)
	r.apis = nil
	for range 4 {
		api, err := client.New("unix:" + at)
		require.NoError(r.t, err)
		r.apis = append(r.apis, api)
	}
}

// applied is how many objects go into one request of apply.
const applied = 500

// apply writes objects by few requests, several at once, and returns the
// store's last revision and how many requests had to be repeated. A controller
// that has no such request gets each object by itself.
func (r *rig) apply(objects []intent.Object, progress func(int)) (last int64, again int) {
	c := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", r.dir+"/api.sock")
	}}}
	defer c.CloseIdleConnections()
	var mu sync.Mutex
	parallel(4, (len(objects)+applied-1)/applied, func(w, i int) {
		batch := objects[i*applied : min(len(objects), (i+1)*applied)]
		body, err := json.Marshal(map[string]any{"items": batch})
		require.NoError(r.t, err)
		for try := 0; ; try++ {
			rev, why := r.applyBatch(&c, w, batch, body)
			mu.Lock()
			if why == nil {
				last = max(last, rev)
				progress(len(batch))
				mu.Unlock()
				return
			}
			again++
			mu.Unlock()
			fmt.Println("  apply again:", why)
			if !r.alive() {
				r.t.Errorf("apply: %v, and the controller ended: %s", why, r.lastWords())
				return
			}
			if try > 100 {
				r.t.Errorf("apply: %v", why)
				return
			}
		}
	})
	require.False(r.t, r.t.Failed(), "not all objects could be written")
	return last, again
}

func (r *rig) applyBatch(c *http.Client, w int, batch []intent.Object, body []byte) (last int64, err error) {
	resp, err := c.Post("http://weft/v1/apply", "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		for _, o := range batch {
			res, err := r.api(w).Put(context.Background(), o, client.PutOptions{})
			if err != nil {
				return 0, err
			}
			last = res.Object.Meta().Revision
		}
		return last, nil
	}
	var out struct {
		Items []struct {
			Revision int64           `json:"revision"`
			Problem  json.RawMessage `json:"problem"`
		} `json:"items"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != http.StatusOK || len(out.Items) != len(batch) {
		return 0, fmt.Errorf("%s, %d answers to %d objects, %v", resp.Status, len(out.Items), len(batch), err)
	}
	for _, it := range out.Items {
		if len(it.Problem) > 0 {
			return 0, fmt.Errorf("%s", it.Problem)
		}
		last = max(last, it.Revision)
	}
	return last, nil
}

// stopController ends it in good order; the data stay.
func (r *rig) stopController() {
	if r.cmd == nil {
		return
	}
	r.process.Store(nil)
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = r.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		_ = r.cmd.Process.Kill()
		<-done
	}
	r.cmd = nil
}

// dead fails the test when the controller has ended by itself.
func (r *rig) dead() {
	if !r.alive() {
		require.Fail(r.t, "the controller ended", "%s", r.lastWords())
	}
}

func (r *rig) alive() bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// lastWords are the beginning of what the controller logged, where a panic says
// what it is.
func (r *rig) lastWords() string {
	log, _ := os.ReadFile(r.dir + "/controller.log")
	return string(log[:min(len(log), 4000)])
}

// ready waits until the controller has loaded the intent.
func (r *rig) ready() {
	r.await("the controller is ready", func() (bool, string) { return r.apis[0].Ready(context.Background()) == nil, "" })
}

// patience is how long nothing may move before a wait is given up.
const patience = 5 * time.Minute

// await waits for a condition, tells how it goes, and gives up when nothing
// has moved for a long time.
func (r *rig) await(what string, ok func() (bool, string)) time.Duration {
	began, told, moved, last := time.Now(), time.Now(), time.Now(), ""
	for {
		done, how := ok()
		if done {
			return time.Since(began)
		}
		if how != last {
			last, moved = how, time.Now()
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			fmt.Printf("  %s: %s after %.0f s\n", what, how, time.Since(began).Seconds())
			r.dead()
		}
		require.Less(r.t, time.Since(moved), patience, "%s: %s, and nothing moves", what, how)
		time.Sleep(5 * time.Millisecond)
	}
}

// converged waits until all simulated edges have all rows.
func (r *rig) converged(what string) time.Duration {
	remote, local, arp := int64(0), int64(0), int64(0)
	for i := r.reals(); i < r.edges; i++ {
		remote, local, arp = remote+int64(r.wantRemote[i]), local+int64(r.wantLocal[i])+2, arp+int64(r.wantARP[i])+1
	}
	return r.await(what, func() (bool, string) {
		a, b, c := r.farm.Flows(40), r.farm.Flows(30), r.farm.Flows(20)
		return a == remote && b == local && c == arp, fmt.Sprintf("%d of %d remote, %d of %d local, %d of %d ARP", a, remote, b, local, c, arp)
	})
}

// spareMemory is what the machine must have left: below it the controller is
// killed, before the kernel chooses whom to kill.
const spareMemory = 1 << 30

// guard watches the machine's memory until the test ends.
func (r *rig) guard() {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
			}
			if left := available(); left < spareMemory {
				p := r.process.Load()
				fmt.Printf("  only %d MB of memory are left: the controller is killed\n", left>>20)
				if p != nil {
					_ = p.Kill()
				}
				return
			}
		}
	})
	r.t.Cleanup(func() { close(stop); wg.Wait() })
}

// available is the memory that the machine could give, in bytes.
func available() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 1 << 62
	}
	_, rest, _ := strings.Cut(string(b), "MemAvailable:")
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 1 << 62
	}
	n, _ := strconv.ParseInt(f[0], 10, 64) // a number, says proc(5)
	return n << 10
}

// usage is what the kernel says of the controller.
type usage struct{ rss, anon, file int64 }

func (r *rig) memory() (p usage) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	require.NoError(r.t, err)
	for _, l := range strings.Split(string(b), "\n") {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64) // other lines are no numbers
		switch f[0] {
		case "VmRSS:":
			p.rss = n << 10
		case "RssAnon:":
			p.anon = n << 10
		case "RssFile:":
			p.file = n << 10
		}
	}
	return p
}

func (r *rig) cpu() time.Duration { return cpu(r.t, r.cmd.Process.Pid) }

// heap is the controller's heap in use after a collection.
func (r *rig) heap() int64 {
	resp, err := http.Get("http://" + r.pprof + "/debug/pprof/heap?debug=1&gc=1")
	require.NoError(r.t, err)
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "# HeapInuse = "); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			require.NoError(r.t, err)
			return n
		}
	}
	require.Fail(r.t, "no HeapInuse in the heap profile")
	return 0
}

// profile saves a profile of the controller ("heap", "goroutine", or
// "profile?seconds=N") with its top functions beside it.
func (r *rig) profile(name, what string) {
	resp, err := http.Get("http://" + r.pprof + "/debug/pprof/" + what)
	if err != nil {
		fmt.Println("  no profile:", err)
		return
	}
	defer resp.Body.Close()
	file := filepath.Join(r.out.dir, name+".pb.gz")
	f, err := os.Create(file)
	require.NoError(r.t, err)
	_, err = io.Copy(f, resp.Body)
	f.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		fmt.Println("  no profile:", resp.Status, err)
		return
	}
	for _, by := range []string{"", "-cum"} {
		args := []string{"tool", "pprof", "-top", "-nodecount=45"}
		if by != "" {
			args = append(args, by)
		}
		if strings.HasPrefix(what, "heap") {
			args = append(args, "-sample_index=inuse_space")
		}
		top, _ := exec.Command("go", append(args, *weftBinary, file)...).CombinedOutput() // its own words when it fails
		_ = os.WriteFile(filepath.Join(r.out.dir, name+by+".top.txt"), top, 0o644)
	}
}

// profiling takes a CPU profile while f runs.
func (r *rig) profiling(name string, seconds int, f func()) {
	var wg sync.WaitGroup
	wg.Go(func() { r.profile(name, fmt.Sprintf("profile?seconds=%d", seconds)) })
	f()
	wg.Wait()
}

// etcdSize is the size of etcd's database file.
func (r *rig) etcdSize() int64 {
	s, err := os.Stat(r.dir + "/data/etcd/member/snap/db")
	require.NoError(r.t, err)
	return s.Size()
}

// report collects figures: each is a JSON line at once, and all are a table at
// the end.
type report struct {
	dir     string
	file    *os.File
	mu      sync.Mutex
	points  []string
	names   []string
	figures map[string]map[string]string
}

func newReport(t *testing.T, dir string) *report {
	require.NoError(t, os.MkdirAll(dir, 0o755))
	f, err := os.OpenFile(filepath.Join(dir, "figures.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return &report{dir: dir, file: f, figures: map[string]map[string]string{}}
}

// say notes a figure of a point.
func (o *report) say(point, name, unit string, value float64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, _ := json.Marshal(map[string]any{"point": point, "figure": name, "unit": unit, "value": value})
	fmt.Println(string(b))
	fmt.Fprintln(o.file, string(b))
	name += ", " + unit
	if o.figures[name] == nil {
		o.names = append(o.names, name)
		o.figures[name] = map[string]string{}
	}
	text := strconv.FormatFloat(value, 'f', 2, 64)
	if value == float64(int64(value)) || value >= 1000 {
		text = strconv.FormatFloat(value, 'f', 0, 64)
	}
	o.figures[name][point] = text
}

// table prints all figures, one column for each point.
func (o *report) table(w io.Writer) {
	fmt.Fprintf(w, "| figure | %s |\n|---|%s\n", strings.Join(o.points, " | "), strings.Repeat("---:|", len(o.points)))
	for _, n := range o.names {
		fmt.Fprintf(w, "| %s |", n)
		for _, p := range o.points {
			fmt.Fprintf(w, " %s |", o.figures[n][p])
		}
		fmt.Fprintln(w)
	}
}

// busy is the processor time that all processes of the machine have used.
func busy() (d time.Duration) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b)) // cpu user nice system idle iowait irq softirq
	for i := 1; i < min(8, len(f)); i++ {
		if n, err := strconv.ParseInt(f[i], 10, 64); err == nil && i != 4 && i != 5 {
			d += time.Duration(n) * 10 * time.Millisecond // USER_HZ is 100
		}
	}
	return d
}
