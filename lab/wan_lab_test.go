//go:build lab

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/southbound/frr"
)

// wan are two fabrics that are joined by three lines: a private one between their
// first leaves, and two of a VPN between their second ones. Four stations are in each,
// behind the third leaf: a VM on a vSwitch, and servers on the EVPN leaf.
type wan struct {
	*fabrics
	hold     time.Duration
	stations []probe.Host
}

// The lines of wan, as leaf:interface in each fabric.
var (
	wanPrimary = [2]string{"leaf1", "dci"}
	wanBackups = [][2]string{{"leaf2", "dci"}, {"leaf2", "dci2"}}
)

// wanStations are how many stations are in each fabric: 32 flows cross.
const wanStations = 4

// wanFile writes the topology file of one of the fabrics.
func wanFile(t testing.TB, name string, site int) string {
	var nodes, links strings.Builder
	for i := range 3 {
		fmt.Fprintf(&links, "    - endpoints: [\"leaf%d:eth1\", \"spine1:eth%d\"]\n", i+1, i+1)
	}
	links.WriteString("    - endpoints: [\"leaf3:eth2\", \"hv1:eth1\"]\n")
	for i := range wanStations {
		host, at := fmt.Sprintf("%s-srv%d", name, i+1), fmt.Sprintf("leaf3:eth%d", i+3)
		if i == 0 {
			host, at = name+"-vm1", "hv1:eth2"
		}
		address := fmt.Sprintf("10.9.%d.%d", site, i+1)
		fmt.Fprintf(&nodes, "    %s:\n      labels: {weft-tenant: red, weft-network: red, weft-addresses: %s/16}\n      exec:\n"+
			"        - ip link set eth1 address 02:5e:00:00:0%d:0%d\n        - ip addr add %s/16 dev eth1\n        - ip link set eth1 up\n", host, address, site, i+1, address)
		fmt.Fprintf(&links, "    - endpoints: [\"%s:eth1\", \"%s\"]\n      mtu: 1500\n", host, at)
	}
	text := "name: " + name + "\ntopology:\n  defaults: {kind: linux}\n  nodes:\n    spine1:\n    leaf1:\n    leaf2:\n    leaf3:\n    hv1:\n" + nodes.String() + "  links:\n" + links.String()
	path := filepath.Join(t.TempDir(), name+".clab.yml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func newWAN(t testing.TB) *wan {
	t.Helper()
	labDir(t)
	w := &wan{fabrics: &fabrics{TB: t}, hold: 8 * time.Second}
	for i, name := range []string{"west", "east"} {
		w.sites[i] = w.site(i+1, wanFile(t, name, i+1))
	}
	var err error
	w.joined, err = JoinLines(t.Context(), [2]*State{w.sites[0].State, w.sites[1].State},
		Line{Leaves: [2]string{"leaf1", "leaf1"}, Preference: 200}, Line{Leaves: [2]string{"leaf2", "leaf2"}}, Line{Leaves: [2]string{"leaf2", "leaf2"}})
	require.NoError(t, err)
	for i, s := range w.sites {
		c := w.interconnect(i)
		c.Spec.Lines, c.Spec.Prefixes, c.Spec.HoldDown = w.joined.Lines[i], w.joined.Prefixes[i], intent.Seconds(w.hold.Seconds())
		s.put(c)
	}
	return w
}

// route is by which interfaces a border leaf sends to the other fabric's third leaf;
// nothing without a route.
func (w *wan) route(site int, leaf string) (out []string) {
	w.Helper()
	to := w.sites[1-site].specOf("leaf3").VTEP
	require.NoError(w, netns.Do(w.sites[site].Namespace(leaf), func() error {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: netlink.NewIPNet(to.AsSlice())}, netlink.RT_FILTER_DST)
		if err != nil {
			return err
		}
		for _, r := range routes {
			hops := r.MultiPath
			if len(hops) == 0 {
				hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex}}
			}
			for _, h := range hops {
				l, err := netlink.LinkByIndex(h.LinkIndex)
				if err != nil {
					return err
				}
				out = append(out, l.Attrs().Name)
			}
		}
		return nil
	}))
	return out
}

// on waits until both fabrics' leaves send over the primary line, or over both backups.
func (w *wan) on(primary bool, patience time.Duration) time.Duration {
	w.Helper()
	want := map[string]string{"leaf1": "eth1", "leaf2": "dci dci2"}
	if primary {
		want = map[string]string{"leaf1": "dci", "leaf2": "eth1"}
	}
	return w.sites[0].eventually(patience, func() error {
		for site := range w.sites {
			for leaf, over := range want {
				if got := strings.Join(w.route(site, leaf), " "); got != over {
					return fmt.Errorf("%s of %s sends over %q, want %q", leaf, w.sites[site].State.Name, got, over)
				}
			}
		}
		return nil
	})
}

// up waits until no line is held down, from the border leaves' sessions.
func (w *wan) up() time.Duration {
	w.Helper()
	return w.sites[0].eventually(patience, func() error {
		for i, s := range w.sites {
			for _, l := range w.joined.Lines[i] {
				list, err := sessions(w.Context(), s.NodeDir(l.Node))
				if err != nil {
					return err
				}
				if !slices.ContainsFunc(list, func(b frr.Session) bool { return b.Peer == l.Peer.String() && b.Up() }) {
					return fmt.Errorf("%s of %s is not up at %s: %+v", l.Name, s.State.Name, l.Node, list)
				}
			}
		}
		return nil
	})
}

// since is when the session of each line of the first fabric was established, to the
// second.
func (w *wan) since() map[string]time.Time {
	w.Helper()
	at := map[string]time.Time{}
	for _, l := range w.joined.Lines[0] {
		list, err := sessions(w.Context(), w.sites[0].NodeDir(l.Node))
		require.NoError(w, err)
		for _, b := range list {
			if b.Peer == l.Peer.String() && b.Up() {
				at[l.Name] = b.Since
			}
		}
	}
	require.Len(w, at, len(w.joined.Lines[0]))
	return at
}

// carried is what was on a line.
type carried struct{ packets, bytes uint64 }

// traffic counts what is on each line, sent and received by the first fabric.
func (w *wan) traffic() map[[2]string]carried {
	w.Helper()
	counts := map[[2]string]carried{}
	for _, line := range append([][2]string{wanPrimary}, wanBackups...) {
		require.NoError(w, netns.Do(w.sites[0].Namespace(line[0]), func() error {
			l, err := netlink.LinkByName(line[1])
			if err != nil {
				return err
			}
			s := l.Attrs().Statistics
			counts[line] = carried{s.RxPackets + s.TxPackets, s.RxBytes + s.TxBytes}
			return nil
		}))
	}
	return counts
}

// shares are the parts of the bytes that were on each line since, the primary first:
// those of BFD, whose packets are small, weigh little beside the probes also when a busy
// machine sends few of them.
func (w *wan) shares(since map[[2]string]carried) (out []float64) {
	w.Helper()
	now, sum := w.traffic(), uint64(0)
	for line := range now {
		sum += now[line].bytes - since[line].bytes
	}
	for _, line := range append([][2]string{wanPrimary}, wanBackups...) {
		out = append(out, float64(now[line].bytes-since[line].bytes)/float64(sum))
	}
	return out
}

// crossing probes the flows between the fabrics, each every 10 ms, while something
// happens.
func (w *wan) crossing(happens func()) *probe.LossReport {
	w.Helper()
	field, err := probe.Open(w.stations)
	require.NoError(w, err)
	defer field.Close()
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	type result struct {
		rep *probe.LossReport
		err error
	}
	done := make(chan result, 1)
	go func() {
		rep, err := field.Continuous(ctx, probe.ContinuousOptions{Only: func(f probe.Flow) bool { return w.east(f.Source) != w.east(f.Dest) }})
		done <- result{rep, err}
	}()
	happens()
	cancel()
	r := <-done
	require.NoError(w, r.err)
	require.Equal(w, 2*wanStations*wanStations, r.rep.Pairs)
	require.Zero(w, r.rep.Dup+r.rep.Leaked, "%+v", r.rep)
	return r.rep
}

// flowing waits until many probes crossed since, and returns the shares of the lines.
func (w *wan) flowing(since map[[2]string]carried) []float64 {
	w.Helper()
	w.sites[0].eventually(patience, func() error {
		now, sum := w.traffic(), uint64(0)
		for line := range now {
			sum += now[line].packets - since[line].packets
		}
		if sum < 3000 {
			return fmt.Errorf("%d packets crossed", sum)
		}
		return nil
	})
	return w.shares(since)
}

// primary sets the state of the primary line, at the first fabric.
func (w *wan) primary(state string) {
	w.Helper()
	out, err := exec.Command("ip", "-n", w.sites[0].Namespace(wanPrimary[0]), "link", "set", wanPrimary[1], state).CombinedOutput()
	require.NoError(w, err, "%s", out)
}

func longest(rep *probe.LossReport) (gap time.Duration) {
	for _, p := range rep.Worst {
		gap = max(gap, p.Gap)
	}
	return gap.Round(time.Millisecond)
}

// TestSteeringWideArea: the primary line carries all; when it is lost the backups share
// the load within seconds, and it carries all again when it was up for the hold-down,
// not before. The controllers take no part: they are killed first.
func TestSteeringWideArea(t *testing.T) {
	w := newWAN(t)
	t.Logf("all lines are up %s after the interconnects", w.up().Round(time.Millisecond))
	w.on(true, patience)
	for _, s := range w.sites {
		s.eventually(patience, func() error {
			if st := w.status(s); st.Phase != intent.PhaseReady || len(st.Stretched[0].VTEPs) != 2 {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	}
	w.prefixes()
	w.whole()
	w.stations = w.hosts()
	for _, s := range w.sites {
		require.NoError(t, Kill(s.State, controllerNode, true))
	}
	rep := w.crossing(func() {
		shares := w.flowing(w.traffic())
		t.Logf("primary up: shares of the lines %.3f", shares)
		require.Greater(t, shares[0], 0.9)
	})
	t.Logf("primary up: %d probes of %d flows, lost %d", rep.Sent, rep.Pairs, rep.Lost)

	w.fails("cut", func() { w.primary("down") })
	w.flaps()
	w.fails("silent", func() { w.silent(true) })
}

// prefixes has one fabric take other prefixes for a while. Sessions are left as they
// are, so routes that were told before are judged again.
func (w *wan) prefixes() {
	w.Helper()
	before := w.since()
	take := func(ps ...netip.Prefix) {
		c := w.interconnect(0)
		c.Spec.Lines, c.Spec.Prefixes, c.Spec.HoldDown = w.joined.Lines[0], ps, intent.Seconds(w.hold.Seconds())
		w.sites[0].put(c)
	}
	take(netip.MustParsePrefix("192.0.2.0/24"))
	gone := w.sites[0].eventually(patience, func() error {
		if got := w.route(0, wanPrimary[0]); len(got) > 0 {
			return fmt.Errorf("%s still sends over %v", wanPrimary[0], got)
		}
		return nil
	})
	take(w.joined.Prefixes[0]...)
	back := w.on(true, patience)
	for line, since := range w.since() {
		require.WithinDuration(w, before[line], since, time.Second, "the sessions of %s are not started anew", line)
	}
	w.Logf("without the other fabric's prefixes its routes are gone after %s; with them they are back after %s", gone.Round(time.Millisecond), back.Round(time.Millisecond))
}

// fails has the primary line fail.
func (w *wan) fails(what string, fail func()) {
	w.Helper()
	rep := w.crossing(func() {
		w.flowing(w.traffic())
		fail()
		w.Logf("%s: both fabrics send over the backups %s later", what, w.on(false, patience).Round(time.Millisecond))
		shares := w.flowing(w.traffic())
		w.Logf("%s: shares of the lines %.3f", what, shares)
		require.Less(w, shares[0], 0.05)
		require.Greater(w, shares[1], 0.1)
		require.Greater(w, shares[2], 0.1)
	})
	w.Logf("%s: %d probes, lost %d, longest gap %s", what, rep.Sent, rep.Lost, longest(rep))
}

// flaps has the primary line, which was cut, come back, fail again without a sign
// before the hold-down is over, and come back for good: nothing is lost. It is cut again
// when something was, as windows says.
func (w *wan) flaps() {
	w.Helper()
	for try := 1; ; try++ {
		rep := w.flap()
		w.Logf("flapped, and back on the primary, window %d: %d probes, lost %d, longest gap %s", try, rep.Sent, rep.Lost, longest(rep))
		if rep.Lost == 0 {
			return
		}
		require.Less(w, try, windows, "packets were lost in every window: %+v", rep.Worst)
		w.primary("down")
		w.on(false, patience)
	}
}

func (w *wan) flap() *probe.LossReport {
	w.Helper()
	return w.crossing(func() {
		before := w.traffic()
		w.primary("up")
		w.detected(true)
		w.silent(true)
		w.detected(false)
		healed := time.Now()
		w.silent(false)
		w.detected(true)
		shares := w.flowing(before)
		w.Logf("shares of the lines while the primary flaps %.3f", shares)
		require.Less(w, shares[0], 0.05)
		w.on(true, patience)
		took := time.Since(healed)
		w.Logf("the primary carries all again %s after it was there for good, with a hold-down of %s", took.Round(time.Millisecond), w.hold)
		require.GreaterOrEqual(w, took, w.hold)
		shares = w.flowing(w.traffic())
		w.Logf("shares of the lines after that %.3f", shares)
		require.Greater(w, shares[0], 0.9)
	})
}

// detected waits until BFD sees the primary line up, or down, at both ends: for the
// session that is delayed.
func (w *wan) detected(up bool) {
	w.Helper()
	w.sites[0].eventually(patience, func() error {
		for i, s := range w.sites {
			b, err := vty(w.Context(), s.NodeDir(wanPrimary[0]), "bfdd", "show bfd peers json")
			if err != nil {
				return err
			}
			var list []struct{ Peer, Interface, Status string }
			if err := json.Unmarshal(b, &list); err != nil {
				return fmt.Errorf("%w: %s", err, b)
			}
			n := 0
			for _, p := range list {
				if p.Peer == w.joined.Lines[i][0].Peer.String() && p.Status == "up" {
					n++
				}
			}
			if up != (n == 1) {
				return fmt.Errorf("%s of %s has %d BFD sessions that are up: %+v", wanPrimary[0], s.State.Name, n, list)
			}
		}
		return nil
	})
}

// silent has the primary line lose everything without a sign.
func (w *wan) silent(lose bool) {
	w.Helper()
	text := "delete table inet silent"
	if lose {
		text = "add table inet silent; add chain inet silent in { type filter hook prerouting priority -300; }; add rule inet silent in iifname " + wanPrimary[1] + " drop; " +
			"add chain inet silent out { type filter hook postrouting priority 300; }; add rule inet silent out oifname " + wanPrimary[1] + " drop"
	}
	out, err := exec.Command("ip", "netns", "exec", w.sites[0].Namespace(wanPrimary[0]), "nft", text).CombinedOutput()
	require.NoError(w, err, "%s", out)
}
