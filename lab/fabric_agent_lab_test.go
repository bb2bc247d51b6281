//go:build lab

package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
)

// What somebody changes by hand on a switch is found, told and mended by its agent; a
// state that FRR refuses leaves the one before in place; and the agent needs no
// controller for either. Sessions that were not touched do not flap.
func TestFabricAgent(t *testing.T) {
	w := siteOf(t, rackedFile(t, topology.GenerateParams{Name: "agent", Spines: 2, Leaves: 2, ServersPerLeaf: 1}))
	w.put(w.objects...)
	w.ready(patience)
	w.pass()
	sessions := w.epochs()
	require.NotEmpty(t, sessions)
	require.True(t, t.Run("by hand", func(t *testing.T) { w.in(t).handChanges() }))
	require.True(t, t.Run("forwarding tables", func(t *testing.T) { w.in(t).forwardingTables() }))
	w.pass()
	w.idleCost("leaf1")
	require.NoError(t, differSessions(sessions, w.epochs()))
	t.Run("refused line", func(t *testing.T) { w.in(t).refusedLine() })
	t.Run("taken identity", func(t *testing.T) { w.in(t).takenIdentity() })
	t.Run("no controller", func(t *testing.T) { w.in(t).agentAlone() })
	require.NoError(t, differSessions(sessions, w.epochs()))
	w.pass()
}

// epochs is since when each BGP session of each switch is, by switch and
// neighbour.
func (w *site) epochs() map[string]int64 {
	w.Helper()
	out := map[string]int64{}
	for _, n := range w.Nodes {
		if !n.Role.Switch() {
			continue
		}
		require.NoError(w, readEpochs(n.Name, w.askFRR(n.Name, "show bgp summary json"), out))
	}
	return out
}

// readEpochs reads of a switch's answer since when each of its sessions is.
func readEpochs(node string, summary []byte, to map[string]int64) error {
	var families map[string]struct {
		Peers map[string]struct {
			Epoch int64 `json:"peerUptimeEstablishedEpoch"`
		} `json:"peers"`
	}
	if err := json.Unmarshal(summary, &families); err != nil {
		return err
	}
	for _, f := range families {
		for peer, p := range f.Peers {
			to[node+" "+peer] = p.Epoch
		}
	}
	return nil
}

// differSessions says which sessions of before are not the same any more. FRR makes
// the time from the uptime, and may round it to another second.
func differSessions(before, now map[string]int64) error {
	for _, s := range slices.Sorted(maps.Keys(before)) {
		if d := now[s] - before[s]; d < -2 || d > 2 {
			return fmt.Errorf("session %s is of %s, and was of %s", s, time.Unix(now[s], 0).UTC(), time.Unix(before[s], 0).UTC())
		}
	}
	return nil
}

// askFRR asks FRR of a switch.
func (w *site) askFRR(node, command string) []byte {
	w.Helper()
	out, err := exec.CommandContext(w.Context(), "vtysh", "--vty_socket", w.NodeDir(node), "-c", command).Output()
	require.NoError(w, err, "%s on %s", command, node)
	return out
}

// shell runs a command line in a switch's namespace and returns what it prints.
func (w *site) shell(node, line string) string {
	w.Helper()
	var out []byte
	var err error
	require.NoError(w, netns.Do(w.Namespace(node), func() error {
		out, err = exec.CommandContext(w.Context(), "sh", "-c", line).CombinedOutput()
		return nil
	}))
	require.NoError(w, err, "%s on %s: %s", line, node, out)
	return string(out)
}

// handChange is something that somebody does on a switch by hand.
type handChange struct {
	name, node string
	do         func()
	event      *regexp.Regexp // of reason Repaired; nil when FRR mends it itself
	mended     func() error
}

// handChanges makes one change after the other.
func (w *site) handChanges() {
	leaf := w.specOf("leaf1")
	loopback := netip.PrefixFrom(leaf.Loopback, 32).String()
	vni := w.l2vni("leaf1")
	br, vx := "br"+vni, "vx"+vni
	line := func(command string, there bool) func() error {
		return func() error {
			if strings.Contains(string(w.askFRR("leaf1", "show running-config")), command+"\n") != there {
				return fmt.Errorf("%q: is to be there: %t", command, there)
			}
			return nil
		}
	}
	vtysh := func(lines ...string) func() {
		return func() { require.NoError(w, w.vtysh(w.Context(), "leaf1", lines...)) }
	}
	sh := func(line string) func() { return func() { w.shell("leaf1", line) } }
	shows := func(command, want string) func() error {
		return func() error {
			out := w.shell("leaf1", command+" || true")
			if !strings.Contains(out, want) {
				return fmt.Errorf("%s: %q lacks %q", command, out, want)
			}
			return nil
		}
	}
	as := fmt.Sprintf("router bgp %d", leaf.ASN)
	entry, far := w.remoteEntry("leaf1", vx), w.specOf("leaf2").VTEP.String()
	for _, c := range []handChange{
		{"a line of FRR removed", "leaf1", vtysh(as, "address-family ipv4 unicast", "no network "+loopback), regexp.MustCompile(`bgpd: .*network ` + regexp.QuoteMeta(loopback)), line("  network "+loopback, true)},
		{"a line of FRR changed", "leaf1", vtysh(as, "address-family ipv4 unicast", "maximum-paths 1"), regexp.MustCompile(`bgpd: .*maximum-paths 64`), line("  maximum-paths 64", true)},
		{"a line of bgpd's EVPN part removed", "leaf1", vtysh(as, "address-family l2vpn evpn", "no advertise-all-vni"), regexp.MustCompile(`bgpd: configured again: .*advertise-all-vni`), line("  advertise-all-vni", true)},
		{"the loopback's address removed", "leaf1", sh("ip addr del " + loopback + " dev lo"), regexp.MustCompile(`interface lo: address ` + regexp.QuoteMeta(loopback) + ` added`), shows("ip route show "+far, "src "+leaf.Loopback.String())},
		{"a port's MTU changed", "leaf1", sh("ip link set eth1 mtu 1400"), regexp.MustCompile(`interface eth1: MTU set from 1400`), shows("ip link show eth1", "mtu 9")},
		{"a setting of the kernel changed", "leaf1", sh("sysctl -qw net.ipv4.ip_forward=0"), regexp.MustCompile(`setting net\.ipv4\.ip_forward: set from 0 to 1`), shows("sysctl net.ipv4.ip_forward", "= 1")},
		{"the bridge's MTU changed", "leaf1", sh("ip link set " + br + " mtu 1300"), regexp.MustCompile(`interface ` + br + `: had MTU 1300; set back`), shows("ip link show "+br, "mtu 1500")},
		{"the VXLAN device taken out of its bridge", "leaf1", sh("ip link set " + vx + " nomaster"), regexp.MustCompile(`interface ` + vx + `: .*set back to .*master ` + br), shows("ip link show "+vx, "master "+br)},
		{"learning switched on", "leaf1", sh("bridge link set dev " + vx + " learning on"), regexp.MustCompile(`interface ` + vx + `: had learning on; set back to learning off`), shows("bridge -d link show dev "+vx, "learning off")},
		{"the VXLAN device removed", "leaf1", sh("ip link del " + vx), regexp.MustCompile(`interface ` + vx + `: was missing; made again`), shows("bridge fdb show dev "+vx, entry+" dst "+far)},
		{"the bridge removed", "leaf1", sh("ip link del " + br), regexp.MustCompile(`interface ` + br + `: was missing; made again`), shows("bridge fdb show dev "+vx, entry+" dst "+far)},
		{"a link put into the bridge", "leaf1", sh("ip link add other0 type veth peer name other1 && ip link set other0 master " + br), regexp.MustCompile(`interface other0: was added .*taken out`), shows("ip -o link show other0 | grep -v master", "other0")},
	} {
		w.handChange(c)
		w.pass()
	}
}

// handChange makes a change and waits until it is told and mended.
func (w *site) handChange(c handChange) {
	w.Helper()
	w.handChangesAtOnce(c)
}

// handChangesAtOnce makes changes and waits until each is told and mended.
func (w *site) handChangesAtOnce(changes ...handChange) {
	w.Helper()
	began := time.Now()
	for _, c := range changes {
		c.do()
	}
	for _, c := range changes {
		told := client.Event{Message: "by FRR"}
		w.eventually(patience, func() error {
			if c.event == nil {
				return c.mended()
			}
			all := w.events(began)
			i := slices.IndexFunc(all, func(e client.Event) bool {
				return e.Device == c.node && e.Reason == "Repaired" && c.event.MatchString(e.Message)
			})
			if i < 0 {
				return fmt.Errorf("no event like %s", c.event)
			}
			told = all[i]
			return c.mended()
		})
		w.Logf("%s: mended after %s: %s", c.name, time.Since(began).Round(time.Millisecond), told.Message)
	}
}

// l2vni is the VNI of the only bridge of ours on a leaf.
func (w *site) l2vni(node string) string {
	w.Helper()
	m := regexp.MustCompile(`: br([0-9]+):`).FindStringSubmatch(w.shell(node, "ip -o link show type bridge"))
	require.NotNil(w, m)
	return m[1]
}

// remoteEntry is the MAC address of a station behind another VTEP.
func (w *site) remoteEntry(node, vxlan string) (mac string) {
	w.Helper()
	w.eventually(patience, func() error {
		for line := range strings.Lines(w.shell(node, "bridge fdb show dev "+vxlan)) {
			if f := strings.Fields(line); len(f) > 2 && f[1] == "dst" && f[0] != "00:00:00:00:00:00" {
				mac = f[0]
				return nil
			}
		}
		return fmt.Errorf("no station behind another VTEP")
	})
	return mac
}

// idleCost prints what the agent of a switch uses while nothing changes.
func (w *site) idleCost(node string) {
	w.Helper()
	used := func() time.Duration {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.lastAgent(node).PID))
		require.NoError(w, err)
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		var ticks int
		for _, x := range f[11:13] { // utime and stime, in hundredths of a second
			n, err := strconv.Atoi(x)
			require.NoError(w, err)
			ticks += n
		}
		return time.Duration(ticks) * 10 * time.Millisecond
	}
	before, began := used(), time.Now()
	time.Sleep(6 * time.Second) // what is measured is a time
	for _, e := range w.events(began) {
		require.NotEqual(w, "Repaired", e.Reason, "nobody changed anything: %+v", e)
	}
	w.Logf("%s's agent used %s of CPU in %s with nothing to do", node, used()-before, time.Since(began).Round(time.Millisecond))
}

// nodeStatus waits until a node is as wanted.
func (w *site) nodeStatus(node string, want func(*intent.Status) bool) (st *intent.Status, took time.Duration) {
	w.Helper()
	took = w.eventually(patience, func() error {
		o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNode, Name: node})
		if err != nil {
			return err
		}
		if st = o.(*intent.Node).Status; st == nil || !want(st) {
			return fmt.Errorf("%s: %+v", node, st)
		}
		return nil
	})
	return st, took
}

// refusedLine has a fabric with a controller whose address is leaf1's: bgpd takes no
// neighbour that it is itself.
func (w *site) refusedLine() {
	ref := intent.Ref{Kind: intent.KindFabric, Name: intent.FabricName}
	put := func(controllers ...netip.Addr) {
		o, err := w.client.Get(w.Context(), ref)
		require.NoError(w, err)
		f := o.(*intent.Fabric)
		f.Spec.Controllers, f.Status = controllers, nil
		w.put(f)
	}
	o, err := w.client.Get(w.Context(), ref)
	require.NoError(w, err)
	was := o.(*intent.Fabric).Spec.Controllers
	before := string(w.askFRR("leaf1", "show running-config"))
	put(append(slices.Clone(was), w.specOf("leaf1").Loopback)...)
	st, took := w.nodeStatus("leaf1", func(s *intent.Status) bool { return s.Phase == intent.PhaseFailed })
	require.Equal(w, "Refused", st.Reasons[0].Code)
	require.Contains(w, st.Reasons[0].Message, "Can not configure the local system as neighbor", "FRR's own words")
	w.Logf("refused, and Failed, after %s: %s", took.Round(time.Millisecond), st.Reasons[0].Message)
	require.Contains(w, w.cli("describe", "node", "leaf1"), "Can not configure the local system as neighbor")
	w.nodeStatus("leaf2", func(s *intent.Status) bool { return s.Phase == intent.PhaseReady })
	w.eventually(patience, func() error {
		if now := string(w.askFRR("leaf1", "show running-config")); now != before {
			return fmt.Errorf("the configuration before is not there again: %s", now)
		}
		return nil
	})
	put(was...)
	_, took = w.nodeStatus("leaf1", func(s *intent.Status) bool { return s.Phase == intent.PhaseReady })
	w.Logf("Ready again %s after it was taken back", took.Round(time.Millisecond))
}

// takenIdentity starts a second agent by the name of leaf2, for another box.
func (w *site) takenIdentity() {
	dir := w.TempDir()
	log := filepath.Join(dir, "second.log")
	args := w.agentArgs(w.weft, Node{Name: "leaf2"}, w.NodeDir("leaf2"), filepath.Join(w.NodeDir("leaf2"), "agent"))
	args[slices.Index(args, "--serial")+1] = "OTHER"
	args[slices.Index(args, "--state-dir")+1] = filepath.Join(dir, "state")
	proc, _, err := start(w.Namespace("leaf2"), program{node: "leaf2", name: "second agent", args: args, log: log})
	require.NoError(w, err)
	w.Cleanup(func() { _ = stop([]Process{proc}, 0) })
	took := w.eventually(patience, func() error {
		alarms, err := w.client.Alarms(w.Context())
		for _, a := range alarms {
			if a.Reason == "IdentityTaken" && a.Device == "leaf2" && strings.Contains(a.Message, "OTHER") && strings.Contains(a.Message, w.serial("leaf2")) {
				return nil
			}
		}
		return fmt.Errorf("no alarm that names both boxes: %+v, %w", alarms, err)
	})
	w.Logf("the second agent is refused, and the alarm there, after %s", took.Round(time.Millisecond))
	w.eventually(patience, func() error {
		text, err := os.ReadFile(log)
		if err == nil && !strings.Contains(string(text), "wants to be it too") {
			err = fmt.Errorf("the second agent is not told why: %s", text)
		}
		return err
	})
	require.NoError(w, stop([]Process{proc}, 10*time.Second))
	require.NoFileExists(w, filepath.Join(dir, "state", "state.json"), "it has got no state")
	w.joined("leaf2", w.serial("leaf2"))
}

// agentAlone starts leaf1's agent anew while the controller is dead: it has its state
// from disk, and mends.
func (w *site) agentAlone() {
	require.NoError(w, Kill(w.State, controllerNode, true))
	before := w.lastAgent("leaf1")
	require.NoError(w, stop([]Process{before}, 10*time.Second))
	loopback := netip.PrefixFrom(w.specOf("leaf1").Loopback, 32).String()
	w.shell("leaf1", "ip addr del "+loopback+" dev lo")
	began := time.Now()
	require.NoError(w, w.running().daemon(w.Context(), program{node: "leaf1", name: "agent", args: before.Args, log: before.Log}))
	there := func() error {
		have := false
		err := netns.Do(w.Namespace("leaf1"), func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(lo, netlink.FAMILY_V4)
			have = slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IPNet.String() == loopback })
			return err
		})
		if err == nil && !have {
			err = fmt.Errorf("lo lacks %s", loopback)
		}
		return err
	}
	w.eventually(patience, there)
	w.Logf("started without a controller: mended after %s", time.Since(began).Round(time.Millisecond))
	w.shell("leaf1", "ip addr del "+loopback+" dev lo")
	took := w.eventually(patience, there)
	w.Logf("changed again: mended after %s", took.Round(time.Millisecond))
	w.startController()
	w.nodesReady()
	w.ready(patience)
}
