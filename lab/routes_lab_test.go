//go:build lab

package lab

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// A foreign EVPN leaf announces 100 stations. What goes over the wire is good, and
// another foreign leaf hears nothing withdrawn when the controller is killed.
func TestEdgesBesideForeignLeaves(t *testing.T) {
	const stations = 100
	w := edgesSite(t)
	f := w.foreign("far1", "10.254.250.1", true)
	f.underlay()
	vni := w.network("blue").Spec.VNI
	before := w.edgeTables()
	captures := []func() string{w.capture(f.name, "eth0"), w.capture("leaf2", w.mgmtInterface("leaf2"))}
	w.put(&f.node)
	f.established()
	f.announce(f.stations(vni, 0, stations))
	t.Logf("%d stations are on every edge after %s", stations, f.reached(time.Now(), before, stations))
	w.exactly(stations)
	ear := w.foreign("far2", "10.254.250.2", false)
	w.put(&ear.node)
	ear.established()
	ear.survivesKill(f)
	f.withdrawAll()
	f.reached(time.Now(), before, 0)
	for _, c := range captures {
		w.requireUpdates(c())
	}
	w.check()
}

// manyRoutes is how many MAC/IP routes foreign leaves announce together: stations
// with one address each, which are two rows of the segment table. gobgpd takes
// routes in a time that grows with their square, so each has a part.
const (
	manyRoutes = 10_000
	speakers   = 8
)

// Foreign EVPN leaves announce 10,000 MAC/IP routes to every other edge, and take
// them back.
func TestEdgesTakeManyForeignRoutes(t *testing.T) {
	w := edgesSite(t)
	vni := w.network("blue").Spec.VNI
	all := make([]*foreign, speakers)
	for i := range all {
		all[i] = w.foreign(fmt.Sprintf("far%d", i+1), fmt.Sprintf("10.254.250.%d", i+1), true)
	}
	all[0].underlay(all[1:]...)
	began := time.Now()
	var wg sync.WaitGroup
	for i, f := range all {
		wg.Go(func() { f.announce(f.stations(vni, i*manyRoutes/speakers, manyRoutes/speakers)) })
	}
	wg.Wait()
	t.Logf("%d gobgpds themselves take %d MAC/IP routes in %s", speakers, manyRoutes, time.Since(began).Round(time.Millisecond))
	before, flows := w.edgeTables(), w.allFlows()
	began = time.Now()
	for _, f := range all {
		w.put(&f.node)
	}
	t.Logf("%d MAC/IP routes: from the intent for their leaves on, the last one is on every edge after %s", manyRoutes, all[0].reached(began, before, manyRoutes))
	w.exactly(manyRoutes)

	began = time.Now()
	all[0].announce([]*api.Path{all[0].macIP(vni, manyRoutes)})
	t.Logf("one more: on every edge after %s", all[0].reached(began, before, manyRoutes+1))

	began = time.Now()
	for _, f := range all {
		wg.Go(f.withdrawAll)
	}
	wg.Wait()
	t.Logf("all withdrawn: on no edge any more after %s", all[0].reached(began, before, 0))
	w.eventually(patience, func() error { return differ(flows, w.allFlows()) })
	w.requireOlderButFloods(flows, w.allFlows())
	w.check()
}

// stations announces some stations and that the leaf takes frames to all.
func (f *foreign) stations(vni intent.VNI, first, n int) []*api.Path {
	f.Helper()
	paths := []*api.Path{f.imet(vni)}
	for i := range n {
		paths = append(paths, f.macIP(vni, first+i))
	}
	return paths
}

// network is a tenant's network as it is stored.
func (w *site) network(tenant string) *intent.Network {
	w.Helper()
	o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNetwork, Tenant: tenant, Name: "web"})
	require.NoError(w, err)
	return o.(*intent.Network)
}

// survivesKill kills the controller and starts it again: the foreign leaf hears
// nothing withdrawn, no edge changes what it has, and what is withdrawn
// afterwards is heard.
func (f *foreign) survivesKill(speaker *foreign) {
	f.Helper()
	w := f.site
	adjIn, best := f.listen(api.WatchEventRequest_Table_Filter_ADJIN), f.listen(api.WatchEventRequest_Table_Filter_BEST)
	flows, tables := w.allFlows(), w.edgeTables()
	before, _, _, _ := adjIn.counts()
	require.NoError(f, Kill(w.State, controllerNode, true))
	f.eventually(patience, func() error {
		s, err := f.api.ListPeer(f.Context(), &api.ListPeerRequest{})
		if err != nil {
			return err
		}
		if p, err := s.Recv(); err != nil || p.Peer.State.SessionState == api.PeerState_ESTABLISHED {
			return fmt.Errorf("the session is still established: %v", err)
		}
		return nil
	})
	began := time.Now()
	w.startController()
	w.ready(patience)
	for _, l := range []*foreign{f, speaker} {
		l.established()
		w.eventually(patience, func() error { return w.synced(l.name) })
	}
	f.Logf("the foreign leaves are in sync again %s after the start", time.Since(began).Round(time.Millisecond))
	// All that the controller announces is announced again.
	again := 0
	w.eventually(patience, func() error {
		now, _, _, _ := adjIn.counts()
		if again = now - before; again < 20 {
			return fmt.Errorf("%d routes were announced again", again)
		}
		return nil
	})
	for _, h := range []*heard{adjIn, best} {
		_, withdrawn, texts, err := h.counts()
		require.NoError(f, err)
		require.Zero(f, withdrawn, "withdrawn at the restart: %v", texts)
	}
	require.Equal(f, tables, w.edgeTables())
	n := w.requireOlder(flows, w.allFlows())
	f.Logf("killed and started again: gobgpd heard %d routes again and none withdrawn; %d flows on hypervisors, none made again", again, n)

	port := w.portOf("blue-vm4")
	_, err := w.client.Delete(f.Context(), port.Ref(), client.DeleteOptions{})
	require.NoError(f, err)
	w.eventually(patience, func() error {
		for _, h := range []*heard{adjIn, best} {
			if _, n, _, err := h.counts(); err != nil || n == 0 {
				return fmt.Errorf("nothing is heard of a port that was deleted: %v", err)
			}
		}
		return nil
	})
	w.put(port)
	w.ready(patience)
}

// synced tells whether a leaf's session is in sync, by the controller's word.
func (w *site) synced(node string) error {
	o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNode, Name: node})
	if err != nil {
		return err
	}
	if s := o.(*intent.Node).Status; s == nil || s.Phase != intent.PhaseReady {
		return fmt.Errorf("%s is %+v", node, s)
	}
	return nil
}

// edgeTables counts what each edge has for stations elsewhere.
func (w *site) edgeTables() map[string]int {
	w.Helper()
	tables := map[string]int{}
	for name, count := range w.tables() {
		n, err := count()
		require.NoError(w, err, name)
		tables[name] = n
	}
	return tables
}

// tables are the tables of all edges that stations elsewhere are in, and how
// their rows are counted.
func (w *site) tables() map[string]func() (int, error) {
	w.Helper()
	all := map[string]func() (int, error){}
	for _, n := range w.hypervisors() {
		for _, table := range []string{"20", "40"} { // ARP, and MACs elsewhere
			all[n.Name+" table "+table] = func() (int, error) {
				out, err := exec.Command("ovs-ofctl", "-O", "OpenFlow15", "dump-aggregate", "unix:"+filepath.Join(w.NodeDir(n.Name), bridgeInt+".mgmt"), "table="+table).Output()
				if err != nil {
					return 0, err
				}
				_, count, _ := strings.Cut(string(out), "flow_count=")
				var flows int
				_, err = fmt.Sscan(count, &flows)
				return flows, err
			}
		}
	}
	all["vtep1 Ucast_Macs_Remote"] = func() (int, error) {
		macs, err := w.remoteMACs()
		return len(macs), err
	}
	for _, leaf := range []string{"leaf1", "leaf2"} {
		all[leaf+" FDB"] = func() (int, error) {
			macs, err := w.leafMACs(leaf)
			return len(macs), err
		}
	}
	return all
}

// remoteMACs are the MACs in the hardware VTEP's Ucast_Macs_Remote.
func (w *site) remoteMACs() ([]string, error) {
	out, err := exec.Command("ovsdb-client", "--format=csv", "--no-headings", "dump", "unix:"+filepath.Join(w.NodeDir("vtep1"), "db.sock"), "hardware_vtep", "Ucast_Macs_Remote", "MAC").Output()
	if err != nil {
		return nil, err
	}
	return strings.Fields(strings.ReplaceAll(string(out), "\"", "")), nil
}

// leafMACs are the MACs behind a leaf's tunnels.
func (w *site) leafMACs(leaf string) (macs []string, err error) {
	out, err := exec.Command("ip", "netns", "exec", w.Namespace(leaf), "bridge", "fdb", "show").Output()
	for line := range strings.Lines(string(out)) {
		mac, rest, _ := strings.Cut(line, " ")
		if strings.Contains(rest, " dst ") && mac != "00:00:00:00:00:00" {
			macs = append(macs, mac)
		}
	}
	return macs, err
}

// reached waits until every table of every edge has so many rows more than
// before, and returns how long each kind of edge took, and the last.
func (f *foreign) reached(began time.Time, before map[string]int, more int) string {
	f.Helper()
	var mu sync.Mutex
	took := map[string]time.Duration{}
	var wg sync.WaitGroup
	for name, count := range f.tables() {
		wg.Go(func() {
			last := -1
			err := until(f.Context(), 250*time.Millisecond, nil, func() (bool, error) {
				n, err := count()
				last = n
				if err == nil && n != before[name]+more && time.Since(began) > 90*time.Second {
					err = errors.New("time is up")
				}
				return n == before[name]+more, err
			})
			mu.Lock()
			defer mu.Unlock()
			if took[name] = time.Since(began).Round(time.Millisecond); err != nil {
				f.Errorf("%s has %d rows, not %d: %v", name, last, before[name]+more, err)
			}
		})
	}
	wg.Wait()
	if f.Failed() {
		f.Logf("took %v", took)
		f.FailNow()
	}
	var most time.Duration
	for _, d := range took {
		most = max(most, d)
	}
	return fmt.Sprintf("%s %v", most, took)
}

// exactly wants each of so many stations on every edge, at the foreign VTEP.
func (w *site) exactly(stations int) {
	w.Helper()
	where := map[string]map[string]bool{}
	add := func(edge string, macs []string) {
		where[edge] = map[string]bool{}
		for _, m := range macs {
			where[edge][m] = true
		}
	}
	macs, err := w.remoteMACs()
	require.NoError(w, err)
	add("vtep1", macs)
	for _, leaf := range []string{"leaf1", "leaf2"} {
		macs, err := w.leafMACs(leaf)
		require.NoError(w, err)
		add(leaf, macs)
	}
	for _, n := range w.hypervisors() {
		macs = nil
		for line := range strings.Lines(w.ofctl(n.Name, "dump-flows", "table=40")) {
			if _, mac, ok := strings.Cut(line, "dl_dst="); ok {
				macs = append(macs, mac[:17])
			}
		}
		add(n.Name, macs)
	}
	for n := range stations {
		mac, _ := foreignStation(n)
		for edge, has := range where {
			require.True(w, has[mac.String()], "%s lacks %s", edge, mac)
		}
	}
}

// requireUpdates has tshark read the BGP sessions of a capture: UPDATEs with
// MAC/IP and IMET routes, and nothing that it complains about.
func (w *site) requireUpdates(path string) {
	w.Helper()
	read := func(filter string) int {
		out, err := exec.Command("tshark", "-r", path, "-d", "tcp.port==1179,bgp", "-Y", filter, "-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message").Output()
		require.NoError(w, err)
		if n := strings.Count(string(out), "\n"); n > 0 {
			return n
		}
		return 0
	}
	imet, macIP := read("bgp.type == 2 && bgp.evpn.nlri.rt == 3"), read("bgp.type == 2 && bgp.evpn.nlri.rt == 2")
	w.Logf("%s: frames with UPDATEs of IMET routes %d, of MAC/IP routes %d", filepath.Base(path), imet, macIP)
	require.NotZero(w, imet)
	require.NotZero(w, macIP)
	w.requireWellFormed(path, "-d", "tcp.port==1179,bgp")
	require.Zero(w, read(`bgp && _ws.expert.severity >= "Error"`), "errors, by tshark's word")
}
