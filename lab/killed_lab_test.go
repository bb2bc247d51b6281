//go:build lab

package lab

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// window probes all pairs while something happens.
func (w *site) window(length time.Duration, happens func()) *probe.LossReport {
	w.Helper()
	type result struct {
		rep *probe.LossReport
		err error
	}
	hosts, _, err := w.hosts(w.Context())
	require.NoError(w, err)
	field, err := probe.Open(hosts)
	require.NoError(w, err)
	defer field.Close()
	done := make(chan result, 1)
	go func() {
		rep, err := field.Continuous(w.Context(), probe.ContinuousOptions{Duration: length})
		done <- result{rep, err}
	}()
	happens()
	r := <-done
	require.NoError(w, r.err)
	require.NotZero(w, r.rep.Sent)
	return r.rep
}

// windows is how often a window may be tried: this machine's other work can
// hold Open vSwitch up for longer than its sockets' buffers last. What can't be
// chance is that packets are lost each time.
const windows = 3

// cleanWindow wants a window without any loss, and tells of those with.
func (w *site) cleanWindow(length time.Duration, what string, happens func()) {
	w.Helper()
	for try := 1; ; try++ {
		began := time.Now()
		rep := w.window(length, happens)
		w.Logf("%s, window %d: %d pairs, sent %d every %s, lost %d, leaked %d, doubled %d", what, try, rep.Pairs, rep.Sent, rep.Interval, rep.Lost, rep.Leaked, rep.Dup)
		require.Zero(w, rep.Leaked)
		require.Zero(w, rep.Dup)
		if rep.OK() {
			return
		}
		for _, p := range rep.Worst[:min(5, len(rep.Worst))] {
			w.Logf("  %s lost %d of %d, longest gap %s, from %s after the window began", p.Flow, p.Lost, p.Sent, p.Gap, p.GapBegan.Sub(began))
		}
		require.Less(w, try, windows, "%s: packets were lost in every window", what)
	}
}

// Packets never need the controller: it is killed and started again while all
// pairs talk, and changes nothing that was there before.
func TestKilledControllerLosesNothing(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "killed", Spines: 2, Leaves: 3, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2})
	before := w.allFlows()
	control := w.window(4*time.Second, func() {})
	t.Logf("without a kill: sent %d every %s, lost %d", control.Sent, control.Interval, control.Lost)
	restarted := time.Now()
	w.cleanWindow(6*time.Second, "kill -9 and start", func() {
		time.Sleep(2 * time.Second) // a part of the window is before the kill, and one without a controller
		require.NoError(t, Kill(w.State, controllerNode, true))
		time.Sleep(1500 * time.Millisecond)
		restarted = time.Now()
		w.startController()
		w.ready(patience)
		t.Logf("all ports are Ready again %s after the start", time.Since(restarted).Round(time.Millisecond))
	})
	after := w.allFlows()
	require.NoError(t, differ(before, after))
	flows := w.requireOlder(before, after)
	t.Logf("%d flows on %d hypervisors, none removed or added again", flows, len(before))
	for _, e := range w.events(restarted) {
		require.NotContains(t, e.Reason, "Repaired", "%+v", e)
	}

	// One more port, on a VM that was not there before.
	hv := w.hypervisors()[0].Name
	mac := intent.MAC{2, 0, 10, 0, 0, 99}
	addresses := []netip.Prefix{netip.MustParsePrefix("10.0.0.99/24"), netip.MustParsePrefix("fd00:0:0:a::99/64")}
	w.plug(hv, "blue-vm99", mac, addresses...)
	port := w.portOf("blue-vm1")
	port.Metadata = intent.Metadata{Name: "blue-vm99", Tenant: "blue"}
	port.Spec.Binding.IfaceID, port.Spec.MAC = "blue-vm99", mac
	port.Spec.Addresses = []netip.Addr{addresses[0].Addr(), addresses[1].Addr()}
	began := time.Now()
	w.put(port)
	w.ready(patience)
	t.Logf("one more port is Ready after %s", time.Since(began).Round(time.Millisecond))
	c := w.check()
	require.Equal(t, 7, c.Unicast.Hosts)
	w.requireOlderButFloods(before, w.allFlows())
}

// requireOlder wants every flow of before, older by now.
func (w *site) requireOlder(before, after map[string]map[string]time.Duration) int {
	w.Helper()
	flows := 0
	for node, was := range before {
		for f, age := range was {
			flows++
			require.Greater(w, after[node][f], age, "%s: made again: %s", node, f)
		}
	}
	return flows
}

// requireOlderButFloods is requireOlder after ports or VTEPs came or went: the
// flood flows name them, and nothing else of before may be new.
func (w *site) requireOlderButFloods(before, after map[string]map[string]time.Duration) {
	w.Helper()
	for node, was := range before {
		for f, age := range was {
			if strings.Contains(f, "table=50, ") {
				continue
			}
			got, ok := after[node][f]
			require.True(w, ok, "%s: gone: %s", node, f)
			require.Greater(w, got, age, "%s: made again: %s", node, f)
		}
	}
}
