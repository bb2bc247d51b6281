//go:build bench

package bench

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	evpnPeers   = flag.Int("evpn-peers", 5, "route reflector clients")
	evpnRoutes  = flag.String("evpn-routes", "1000,20000", "type-2 routes of each, one figure or several")
	evpnOneMAC  = flag.String("evpn-one-mac", "1000,20000", "VNIs that one MAC of each of two clients is in; empty for none")
	evpnDaemons = flag.String("evpn-daemons", "weft,frr,gobgpd,bird", "who reflects")
	evpnLimit   = flag.Duration("evpn-limit", 45*time.Second, "after which a reflector that is not done is left")
	evpnProfile = flag.String("evpn-profile", "", "folder for CPU and heap profiles of our reflector")
)

const evpnNamespace = "WEFT_BENCH_NETNS"

// evpnFigure is one line of the result.
type evpnFigure struct {
	Reflector string  `json:"reflector"`
	Case      string  `json:"case"`
	Peers     int     `json:"peers"`
	Routes    int     `json:"routes_per_peer"`
	Taken     float64 `json:"sent_s"`      // until the peers had written all
	Converged float64 `json:"converged_s"` // until the last had all routes of all others
	Share     float64 `json:"share"`       // of the routes that had come by then: 1, or less when it was left
	In        float64 `json:"routes_in_per_s"`
	Out       float64 `json:"routes_out_per_s"`
	Withdrawn float64 `json:"withdrawn_s"`
	CPU       float64 `json:"cpu_s"`       // of the reflector, for all that
	Bench     float64 `json:"bench_cpu_s"` // what the peers themselves took
	RSS       int     `json:"rss_mb"`
	PerRoute  int     `json:"octets_per_route"`
	Heap      int     `json:"live_heap_octets_per_route,omitempty"`
	PerUpdate float64 `json:"routes_per_update_out"`
	Excess    int64   `json:"routes_out_in_excess"` // sent again, or to who had sent them
}

// TestEVPN measures route reflectors, one after the other, in a network
// namespace of its own.
func TestEVPN(t *testing.T) {
	if os.Getenv(evpnNamespace) == "" {
		c := exec.Command("/proc/self/exe", os.Args[1:]...)
		c.Args[0] = os.Args[0]
		c.Env = append(os.Environ(), evpnNamespace+"=1")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		require.NoError(t, c.Run(), "as root?")
		return
	}
	run(t, nil, "ip", "link", "set", "lo", "up")
	run(t, nil, "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	run(t, nil, "ip", "link", "set", "v1", "up")
	run(t, nil, "ip", "link", "set", "v0", "up")
	run(t, nil, "ip", "address", "add", reflectorAddr.String()+"/16", "dev", "v0") // next hops must be reachable
	for i := range *evpnPeers {
		run(t, nil, "ip", "address", "add", peerAddr(i+1).String()+"/32", "dev", "v1")
	}
	notes := sayVersions(t)
	var all []evpnFigure
	for _, name := range strings.Split(*evpnDaemons, ",") {
		r, ok := reflectors()[name]
		require.True(t, ok, name)
		for _, n := range numbers(t, *evpnRoutes) {
			if all = measureReflector(t, all, r, *evpnPeers, work{routes: n, perVNI: 100, ipv4: r.ipv4}); all[len(all)-1].Share < 1 {
				break // it will not do more
			}
		}
		if r.oneMAC {
			for _, n := range numbers(t, *evpnOneMAC) {
				if all = measureReflector(t, all, r, 2, work{routes: n, perVNI: 1, oneMAC: true}); all[len(all)-1].Share < 1 {
					break
				}
			}
		}
	}
	evpnTable(all)
	for _, n := range notes {
		fmt.Println(n)
	}
}

func numbers(t *testing.T, s string) (out []int) {
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(f)
		require.NoError(t, err)
		require.True(t, n >= 1 && n < 1<<24, "%d routes", n)
		out = append(out, n)
	}
	return out
}

// measureReflector measures one reflector at one point.
func measureReflector(t *testing.T, all []evpnFigure, r reflector, peers int, w work) []evpnFigure {
	f := evpnFigure{Reflector: r.name, Case: "many MACs", Peers: peers, Routes: w.routes}
	if w.oneMAC {
		f.Case = "one MAC"
	}
	if !t.Run(fmt.Sprintf("%s/%s/%d", r.name, f.Case, w.routes), func(t *testing.T) { reflectOnce(t, r, w, &f) }) {
		t.FailNow()
	}
	b, err := json.Marshal(f)
	require.NoError(t, err)
	fmt.Println(string(b))
	return append(all, f)
}

func reflectOnce(t *testing.T, r reflector, w work, f *evpnFigure) {
	dir, err := os.MkdirTemp("", "weft-evpn")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	peers := make([]*bgpPeer, f.Peers)
	for i := range peers {
		peers[i], err = newPeer(i+1, f.Peers, w)
		require.NoError(t, err)
		t.Cleanup(peers[i].close)
	}
	pid := r.start(t, dir, f.Peers)
	for _, p := range peers {
		awaitUp(t, p)
	}
	// One route of each, until all have it: everything works.
	_, _, share := exchange(t, peers, 1, *evpnLimit, func(p *bgpPeer) []byte { return p.first })
	require.Equal(t, 1.0, share, "a route does not come")
	before := rss(t, pid)
	ours := r.name == "weft"
	profile := fmt.Sprintf("%s/%d-%d-%s", *evpnProfile, f.Peers, w.routes, strings.ReplaceAll(f.Case, " ", "-"))
	if ours && *evpnProfile != "" {
		ask(t, dir, "/start?file="+profile+".cpu")
	}
	// Small numbers are sent again and again, and the median counts.
	var took, taken, gone, busy, benchBusy []float64
	for began, last := time.Now(), false; !last; {
		last = w.routes*(len(took)+1) >= 20_000 || len(took) == 10 || time.Since(began) > 10*time.Second
		cpuBefore, benchBefore := cpu(t, pid), cpu(t, os.Getpid())
		for _, p := range peers {
			p.updates.Store(0)
			p.nlris.Store(0)
		}
		sent, done, share := exchange(t, peers, 1+w.routes, *evpnLimit, func(p *bgpPeer) []byte { return p.announce })
		took, taken = append(took, done.Seconds()), append(taken, sent.Seconds())
		busy = append(busy, (cpu(t, pid) - cpuBefore).Seconds())
		benchBusy = append(benchBusy, (cpu(t, os.Getpid()) - benchBefore).Seconds())
		f.Share = share
		if last || share < 1 {
			f.settle(t, peers, pid, before)
			if ours {
				f.heap(t, dir, profile)
			}
		}
		if share < 1 {
			break
		}
		_, done, share = exchange(t, peers, 1, 2**evpnLimit, func(p *bgpPeer) []byte { return p.withdraw })
		require.Equal(t, 1.0, share, "routes are left")
		gone = append(gone, done.Seconds())
	}
	if ours && *evpnProfile != "" {
		ask(t, dir, "/stop")
	}
	if len(gone) == 0 {
		gone = []float64{0}
	}
	f.Converged, f.Taken, f.Withdrawn, f.CPU, f.Bench = median(took), median(taken), median(gone), mean(busy), mean(benchBusy)
	f.In = float64(f.Peers*w.routes) * f.Share / f.Converged
	f.Out = f.In * float64(f.Peers-1)
}

// settle notes what there is when all have everything.
func (f *evpnFigure) settle(t *testing.T, peers []*bgpPeer, pid, before int) {
	f.RSS = rss(t, pid)
	if f.Share == 1 {
		f.PerRoute = (f.RSS - before) << 20 / (f.Peers * f.Routes)
	}
	var updates, nlris int64
	for _, p := range peers {
		updates, nlris = updates+p.updates.Load(), nlris+p.nlris.Load()
	}
	f.PerUpdate = float64(nlris) / float64(max(updates, 1))
	f.Excess = max(0, nlris-int64(f.Peers*(f.Peers-1)*f.Routes))
}

// heap notes what our reflector holds in earnest.
func (f *evpnFigure) heap(t *testing.T, dir, profile string) {
	path := "/heap"
	if *evpnProfile != "" {
		path += "?file=" + profile + ".heap"
	}
	n, err := strconv.Atoi(ask(t, dir, path))
	require.NoError(t, err)
	f.Heap = n / (f.Peers * f.Routes)
}

// exchange has all peers write at once and waits until each has as many routes
// of each other, or for the limit. It returns how long the writing and all of
// it took, and what share of the routes came.
func exchange(t *testing.T, peers []*bgpPeer, each int, limit time.Duration, what func(*bgpPeer) []byte) (sent, all time.Duration, share float64) {
	was, total := arrived(peers), each*(len(peers)-1)*len(peers)
	for _, p := range peers {
		p.expect(each * (len(peers) - 1))
	}
	began := time.Now()
	written := make(chan time.Duration, len(peers))
	for _, p := range peers {
		go func() {
			if err := p.write(what(p)); err != nil {
				select {
				case p.failed <- err:
				default:
				}
			}
			written <- time.Since(began)
		}()
	}
	late := time.After(limit)
	for _, p := range peers {
		select {
		case at := <-p.reached:
			all = max(all, at.Sub(began))
		case err := <-p.failed:
			require.NoError(t, err)
		case <-late:
			return 0, time.Since(began), float64(arrived(peers)-was) / float64(total-was)
		}
	}
	for range peers {
		sent = max(sent, <-written)
	}
	return sent, all, 1
}

// arrived is how many routes of others the peers have.
func arrived(peers []*bgpPeer) (n int) {
	for _, p := range peers {
		n += int(p.count.Load())
	}
	return n
}

func awaitUp(t *testing.T, p *bgpPeer) {
	t.Helper()
	select {
	case <-p.up:
	case err := <-p.failed:
		require.NoError(t, err)
	case <-time.After(2 * time.Minute):
		require.Fail(t, "no session", "of peer %d", p.index)
	}
}

func mean(list []float64) (m float64) {
	for _, v := range list {
		m += v / float64(len(list))
	}
	return m
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// evpnTable prints all figures, the times beside FRR's, and how rates grow.
func evpnTable(all []evpnFigure) {
	find := func(name string, f evpnFigure, routes int) *evpnFigure {
		i := slices.IndexFunc(all, func(g evpnFigure) bool { return g.Reflector == name && g.Case == f.Case && g.Routes == routes })
		if i < 0 {
			return nil
		}
		return &all[i]
	}
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "case\tpeers\troutes each\treflector\tconverged s\tbeside FRR\tin/s\tout/s\twithdrawn s\tCPU s\tbench CPU s\tRSS MB\toctets/route\troutes/UPDATE\t")
	rows := slices.Clone(all)
	slices.SortStableFunc(rows, func(a, b evpnFigure) int {
		if c := strings.Compare(a.Case, b.Case); c != 0 {
			return c
		}
		return a.Routes - b.Routes
	})
	for _, f := range rows {
		ratio, took := "-", fmt.Sprintf("%.3f", f.Converged)
		if f.Share < 1 {
			took = fmt.Sprintf("%.0f for %.0f %%", f.Converged, 100*f.Share)
		} else if g := find("frr", f, f.Routes); g != nil && g.Share == 1 {
			ratio = fmt.Sprintf("%.2f", f.Converged/g.Converged)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%.0f\t%.0f\t%.3f\t%.2f\t%.2f\t%d\t%d\t%.1f\t\n", f.Case, f.Peers, f.Routes, f.Reflector, took, ratio,
			f.In, f.Out, f.Withdrawn, f.CPU, f.Bench, f.RSS, f.PerRoute, f.PerUpdate)
	}
	w.Flush()
	fmt.Println()
	for _, f := range rows {
		if g := find(f.Reflector, f, 1000); g != nil && f.Routes > 1000 && f.Share == 1 {
			fmt.Printf("%s, %s: the rate at %d is %.2f times that at 1000, by the reflector's CPU time %.2f times\n", f.Reflector, f.Case, f.Routes,
				f.In/g.In, g.CPU/float64(g.Routes)*float64(f.Routes)/f.CPU)
		}
	}
	fmt.Println("weft: the controller's speaker in a process of its own; what it takes is counted, not put into segment tables.")
}
