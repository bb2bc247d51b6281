//go:build lab

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/southbound/frr"
	"github.com/weft-sdn/weft/southbound/linux"
	"github.com/weft-sdn/weft/topology"
)

// pathsOf asks for paths until they are as wanted, and tells how long it took.
func (w *site) pathsOf(from, to string, want func(client.Paths) error) (got client.Paths, took time.Duration) {
	w.Helper()
	took = w.eventually(patience, func() (err error) {
		if got, err = w.client.Paths(w.Context(), from, to); err != nil {
			return err
		}
		if err := want(got); err != nil {
			return fmt.Errorf("%w: %+v", err, got)
		}
		return nil
	})
	return got, took
}

// alike wants all sets of paths to be the intended one, told by all switches.
func alike(p client.Paths) error {
	if p.Intended.Paths == 0 || p.Up != p.Intended || p.Learned != p.Intended || p.Programmed != p.Intended || len(p.Differences) > 0 {
		return fmt.Errorf("the sets are not alike")
	}
	for _, h := range p.Hops {
		if !h.Reported {
			return fmt.Errorf("%s does not report", h.Switch)
		}
	}
	return nil
}

// noPathAlarms waits until there is no alarm of next hops.
func (w *site) noPathAlarms() {
	w.Helper()
	w.eventually(patience, func() error {
		alarms, err := w.client.Alarms(w.Context())
		for _, a := range alarms {
			if strings.HasPrefix(a.Reason, "NextHop") {
				return fmt.Errorf("%+v", a)
			}
		}
		return err
	})
}

// requireAlike compares the paths between all leaves, as the controller tells them,
// with the graph and with the kernels.
func (w *site) requireAlike(file *topology.File) {
	w.Helper()
	facts, err := PlanFabric(file)
	require.NoError(w, err)
	leaves := file.Graph.ByRole(intent.RoleLeaf)
	compared := 0
	for _, from := range leaves {
		for _, to := range leaves {
			if from.Name == to.Name {
				continue
			}
			got, _ := w.pathsOf(from.Name, to.Name, alike)
			set := file.Graph.Paths(from.Name, to.Name, topology.PathOptions{})
			require.Equal(w, client.PathSet{Width: set.Width(), Paths: set.Count(), Hops: set.Hops()}, got.Programmed)
			compared++
		}
	}
	w.requirePaths(file.Graph, facts) // the same by reading the kernels here
	w.Logf("%s: %d pairs of leaves have the graph's paths, as told by the agents and as read in the kernels", w.State.Name, compared)
	w.noPathAlarms()
}

// The paths of a fabric of five stages are told as they are: all of them, with a link
// down, with a route that somebody wrote, and with groups and tunnels that FRR and the
// kernel left thin; those are mended and told.
func TestFabricPaths(t *testing.T) {
	p := topology.GenerateParams{Name: "paths", Superspines: 2, Spines: 4, Leaves: 4, Pods: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 0, ServersPerLeaf: 1}
	file, err := topology.Generate(p)
	require.NoError(t, err)
	for i, n := range file.Graph.Nodes {
		if n.Name == "server1" {
			file.Graph.Nodes[i].Labels = map[string]string{topology.LabelTenant: "blue", topology.LabelNetwork: "lan", topology.LabelAddresses: "10.0.0.1/24"}
		}
	}
	w := siteOf(t, file)
	w.requireAlike(file)

	t.Run("hypervisors and addresses", func(t *testing.T) { w.pathsToHosts(t) })
	t.Run("a link that is down", func(t *testing.T) { w.pathsWithLinkDown(t) })
	t.Run("a route of someone else's", func(t *testing.T) { w.pathsWithForeignRoute(t) })
	t.Run("a thin group", func(t *testing.T) { w.thinGroup(t) })
	t.Run("nexthop objects", func(t *testing.T) { w.thinByObjects(t) })
	t.Run("a tunnel by one uplink", func(t *testing.T) { w.thinTunnel(t) })
	w.requireAlike(file)
}

// With IS-IS the same.
func TestFabricPathsByISIS(t *testing.T) {
	file, err := topology.Generate(topology.GenerateParams{Name: "pathsis", Spines: 2, Leaves: 3, Underlay: "isis bfd"})
	require.NoError(t, err)
	w := siteOf(t, file)
	w.requireAlike(file)
	w.eventually(patience, func() error {
		r, err := w.client.Routing(t.Context(), "leaf1")
		if err == nil && (len(r.ISIS) != 2 || len(r.BFD) != 2) {
			err = fmt.Errorf("not two adjacencies with BFD: %+v", r)
		}
		return err
	})
	t.Run("a thin group", func(t *testing.T) { w.thinGroup(t) })
}

func (w *site) pathsToHosts(t *testing.T) {
	hv := "hv4"
	spec := w.specOf(hv)
	got, _ := w.pathsOf("leaf1", spec.VTEP.String(), alike)
	require.Equal(t, hv, got.To.Node)
	last := got.Hops[len(got.Hops)-1]
	require.Equal(t, got.To.Switch, last.Switch)
	require.Equal(t, hv, strings.Split(last.NextHops[0].Neighbour, ":")[0])
	same, _ := w.pathsOf("hv1", hv, alike)
	require.Equal(t, "leaf1", same.From.Switch)
	out := w.cli("paths", "hv1", hv)
	require.Contains(t, out, "behind leaf1")
	t.Logf("\n%s", out)
}

func (w *site) pathsWithLinkDown(t *testing.T) {
	require.NoError(t, netns.Do(w.Namespace("leaf1"), func() error { return setDown("eth2") }))
	got, took := w.pathsOf("leaf1", "leaf2", func(p client.Paths) error {
		if p.Intended.Width != 2 || p.Up.Width != 1 || p.Learned.Width != 1 || p.Programmed.Width != 1 || len(p.Differences) != 1 {
			return fmt.Errorf("the link is not told")
		}
		return nil
	})
	require.Equal(t, "LinkDown", got.Differences[0].Kind)
	require.Contains(t, got.Differences[0].Message, "the link leaf1:eth2 - spine2:eth1 is down")
	t.Logf("a link that is down told after %s: %s", took.Round(time.Millisecond), got.Differences[0].Message)
	cmd := exec.Command(w.weft, "paths", "leaf1", "leaf2", "--server", w.Controller)
	out, err := cmd.Output()
	require.Error(t, err)
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), got.Differences[0].Message)
	t.Logf("\n%s", out)
	require.NoError(t, netns.Do(w.Namespace("leaf1"), func() error { return setUp("eth2") }))
	_, took = w.pathsOf("leaf1", "leaf2", alike)
	t.Logf("all paths again %s after the link came up", took.Round(time.Millisecond))
}

func setDown(iface string) error {
	l, err := netlink.LinkByName(iface)
	if err != nil {
		return err
	}
	return netlink.LinkSetDown(l)
}

// A route that somebody wrote is not ours to remove: it is an alarm until it is gone.
func (w *site) pathsWithForeignRoute(t *testing.T) {
	to := w.specOf("leaf2").Loopback.String() + "/32"
	via := w.linkOf("leaf1", "eth1")
	_, err := output(t, w.State, "leaf1", "ip", "route", "add", to, "dev", via.A.Interface, "via", w.addressOf("spine1", via.B.Interface), "proto", "static")
	require.NoError(t, err)
	w.pathsOf("leaf1", "leaf2", func(p client.Paths) error {
		if len(p.Differences) != 1 || p.Differences[0].Kind != "NextHopNotProgrammed" || !strings.Contains(p.Differences[0].Message, "of protocol static is preferred") {
			return fmt.Errorf("the route is not told")
		}
		return nil
	})
	var alarm client.Alarm
	took := w.eventually(patience, func() error {
		alarms, err := w.client.Alarms(t.Context())
		i := slices.IndexFunc(alarms, func(a client.Alarm) bool { return a.Reason == "NextHopNotProgrammed" && a.Device == "leaf1" })
		if i < 0 {
			return fmt.Errorf("no alarm, %w", err)
		}
		alarm = alarms[i]
		return nil
	})
	t.Logf("alarm after %s: %s", took.Round(time.Millisecond), alarm.Message)
	_, err = output(t, w.State, "leaf1", "ip", "route", "del", to, "proto", "static")
	require.NoError(t, err)
	w.noPathAlarms()
	w.pathsOf("leaf1", "leaf2", alike)
}

// addressOf is the address of a switch's port.
func (w *site) addressOf(node, iface string) string {
	w.Helper()
	for _, l := range w.FabricLinks {
		for _, e := range l.Spec.Endpoints {
			if e.Node == node && e.Interface == iface {
				return e.Address.Addr().String()
			}
		}
	}
	require.Fail(w, "no address", "%s:%s", node, iface)
	return ""
}

// sessionsSince is since when each session of a switch is up, as its agent tells.
func (w *site) sessionsSince(node string) map[string]int64 {
	w.Helper()
	r, err := w.client.Routing(w.Context(), node)
	require.NoError(w, err)
	out := map[string]int64{}
	for _, s := range r.BGP {
		out[s.Peer] = s.Since.Unix()
	}
	return out
}

// mended waits for the event that something was mended on leaf1, and for all paths.
func (w *site) mended(t *testing.T, after int, words string) {
	t.Helper()
	var message string
	took := w.eventually(patience, func() error {
		events, err := w.client.Events(t.Context())
		if err != nil {
			return err
		}
		for _, e := range events[min(after, len(events)):] {
			if e.Reason == "Mended" && e.Device == "leaf1" && strings.Contains(e.Message, words) {
				message = e.Message
				return nil
			}
		}
		return fmt.Errorf("nothing was mended: %+v", events)
	})
	w.pathsOf("leaf1", "leaf2", alike)
	t.Logf("mended and told %s after: %s", took.Round(time.Millisecond), message)
}

func (w *site) eventCount(t *testing.T) int {
	t.Helper()
	events, err := w.client.Events(t.Context())
	require.NoError(t, err)
	return len(events)
}

// A leg that is taken out of a group behind FRR's back comes again, and no session
// flaps.
func (w *site) thinGroup(t *testing.T) {
	to := w.specOf("leaf2").VTEP
	if !to.IsValid() {
		to = w.specOf("leaf2").Loopback
	}
	before, n := w.sessionsSince("leaf1"), w.eventCount(t)
	require.NoError(t, netns.Do(w.Namespace("leaf1"), func() error {
		list, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Dst: netlink.NewIPNet(to.AsSlice())}, netlink.RT_FILTER_DST)
		if err != nil || len(list) != 1 || len(list[0].MultiPath) < 2 {
			return fmt.Errorf("%v, %w", list, err)
		}
		r := list[0]
		r.LinkIndex, r.Gw, r.Flags = r.MultiPath[0].LinkIndex, r.MultiPath[0].Gw, r.MultiPath[0].Flags
		r.MultiPath = nil
		return netlink.RouteReplace(&r)
	}))
	w.mended(t, n, "without the next hop by ")
	require.NoError(t, differSessions(before, w.sessionsSince("leaf1")))
	require.Equal(t, 2, len(w.fib("leaf1")[mustHost(to)]))
}

// The fault that FRR's groups of nexthop objects have after a flap: the kernel keeps a
// single leg, while zebra has both. Routes come as objects when they are learned anew.
// The switch's agent, which would take the command back, is held while that is set up.
func (w *site) thinByObjects(t *testing.T) {
	n, agent := w.eventCount(t), w.lastAgent("leaf1").PID
	require.NoError(t, unix.Kill(agent, unix.SIGSTOP))
	defer func() { require.NoError(t, unix.Kill(agent, unix.SIGCONT)) }()
	require.NoError(t, w.vtysh(t.Context(), "leaf1", "zebra nexthop kernel enable"))
	uplinks := []string{"eth1", "eth2"}
	require.NoError(t, netns.Do(w.Namespace("leaf1"), func() error {
		for _, iface := range uplinks {
			if err := setDown(iface); err != nil {
				return err
			}
		}
		return nil
	}))
	to := mustHost(w.specOf("leaf2").VTEP)
	w.eventually(patience, func() error {
		if legs := w.fib("leaf1")[to]; len(legs) > 0 {
			return fmt.Errorf("%v", legs)
		}
		return nil
	})
	require.NoError(t, netns.Do(w.Namespace("leaf1"), func() error {
		for _, iface := range uplinks {
			if err := setUp(iface); err != nil {
				return err
			}
		}
		return nil
	}))
	w.eventually(patience, func() error {
		if legs := w.fib("leaf1")[to]; !slices.Equal(legs, uplinks) {
			return fmt.Errorf("%v", legs)
		}
		return nil
	})
	route, err := output(t, w.State, "leaf1", "ip", "route", "show", to.String())
	require.NoError(t, err)
	require.Contains(t, route, "nhid", "the group is a nexthop object")
	// Not each flap leaves it so: zebra does not always hear of the port before bgpd.
	for flaps := 1; w.flap(w.linkOf("leaf1", "eth2").B, to, uplinks); flaps++ {
		require.Less(t, flaps, 60, "the kernel is not left with one leg while zebra has two")
	}
	require.NoError(t, unix.Kill(agent, unix.SIGCONT))
	w.mended(t, n, "without the next hop by eth2, which zebra has")
	require.Equal(t, uplinks, w.fib("leaf1")[to])
}

// flap takes a link down at its far end until leaf1's kernel does without it, and up
// again until bgpd has its sessions and zebra all next hops for a prefix as before. It
// reports whether the kernel has them, too.
func (w *site) flap(far End, to netip.Prefix, uplinks []string) bool {
	require.NoError(w, netns.Do(w.Namespace(far.Node), func() error { return setDown(far.Interface) }))
	w.eventually(patience, func() error {
		if have := w.fib("leaf1")[to]; len(have) != 1 {
			return fmt.Errorf("%v", have)
		}
		return nil
	})
	require.NoError(w, netns.Do(w.Namespace(far.Node), func() error { return setUp(far.Interface) }))
	w.eventually(patience, func() error {
		list, err := sessions(w.Context(), w.NodeDir("leaf1"))
		if err != nil {
			return err
		}
		if up := established(list); up < len(list) {
			return fmt.Errorf("%d of %d sessions are established", up, len(list))
		}
		return w.zebraHas("leaf1", to, len(uplinks))
	})
	ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
	defer cancel()
	return until(ctx, 10*time.Millisecond, nil, func() (bool, error) { return slices.Equal(w.fib("leaf1")[to], uplinks), nil }) == nil
}

// zebraHas reports whether zebra has so many next hops for a prefix, and believes them to
// be in the kernel.
func (w *site) zebraHas(node string, to netip.Prefix, want int) error {
	text, err := exec.CommandContext(w.Context(), "vtysh", "--vty_socket", w.NodeDir(node), "-c", "show ip route json").Output()
	if err != nil {
		return err
	}
	list, err := frr.ParseRIB(text)
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Prefix == to && r.Installed && len(r.NextHops) == want {
			return nil
		}
	}
	return fmt.Errorf("not %d next hops for %s in %+v", want, to, list)
}

// A tunnel's device with tos 0, and a kernel that looks at addresses alone, send all
// flows to a VTEP by one uplink. The device stays the same.
func (w *site) thinTunnel(t *testing.T) {
	w.put(w.objects...)
	w.ready(patience)
	tunnel := func() *netlink.Vxlan {
		var found *netlink.Vxlan
		require.NoError(t, netns.Do(w.Namespace("leaf1"), func() error {
			list, err := linux.Listed(netlink.LinkList)
			for _, l := range list {
				if v, ok := l.(*netlink.Vxlan); ok {
					found = v
				}
			}
			return err
		}))
		require.NotNil(t, found)
		return found
	}
	was, n := tunnel(), w.eventCount(t)
	require.Equal(t, 8, was.TOS)
	_, err := output(t, w.State, "leaf1", "ip", "link", "set", was.Name, "type", "vxlan", "tos", "0")
	require.NoError(t, err)
	w.mended(t, n, was.Name+" had tos 0 instead of 8")
	is := tunnel()
	require.Equal(t, 8, is.TOS)
	require.Equal(t, was.Index, is.Index, "the device was changed, not made anew")
	n = w.eventCount(t)
	_, err = output(t, w.State, "leaf1", "sysctl", "-w", "net.ipv4.fib_multipath_hash_policy=0")
	require.NoError(t, err)
	w.mended(t, n, "net.ipv4.fib_multipath_hash_policy was 0 instead of 1")
	policy, err := output(t, w.State, "leaf1", "sysctl", "-n", "net.ipv4.fib_multipath_hash_policy")
	require.NoError(t, err)
	require.Equal(t, "1", strings.TrimSpace(policy))
}

func mustHost(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
