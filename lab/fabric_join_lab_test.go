//go:build lab

package lab

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
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
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// A running lab whose intent is lost is discovered and written down again. Then boxes
// of two leaves are exchanged: one waits until it is admitted, one joins by its cables
// and a token. Tenants' packets pass all along.
func TestFabricJoin(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "join", Spines: 2, Leaves: 3, HypervisorsPerLeaf: 1, HostsPerHypervisor: 1, Tenants: []string{"blue"}})
	w.cabling()
	require.True(t, t.Run("adopt", func(t *testing.T) { w.in(t).adopt() }))
	require.True(t, t.Run("admit", func(t *testing.T) { w.in(t).admitBox() }))
	require.True(t, t.Run("by cables", func(t *testing.T) { w.in(t).joinByCables() }))
}

// pass checks that the tenants' packets pass.
func (w *site) pass() {
	w.Helper()
	w.eventually(patience, func() error {
		res, err := Check(w.Context(), w.State, probe.CheckOptions{})
		if err != nil || !res.OK() {
			return fmt.Errorf("packets are lost, %w", err)
		}
		return nil
	})
}

// unknown waits until boxes wait for something, by serial number and what. Others may
// wait beside them: one that has gone is forgotten after some seconds.
func (w *site) unknown(want map[string]string) {
	w.Helper()
	took := w.eventually(patience, func() error {
		all, err := w.client.Unknown(w.Context())
		got := map[string]string{}
		for _, u := range all {
			if _, ok := want[u.Serial]; ok || len(want) == 0 {
				got[u.Serial] = u.Why
			}
		}
		if err == nil && !maps.Equal(got, want) {
			err = fmt.Errorf("%v wait", got)
		}
		return err
	})
	w.Logf("%d boxes wait after %s", len(want), took.Round(time.Millisecond))
}

// adopt forgets the switches, discovers them, and compares what is written down with
// what was forgotten.
func (w *site) adopt() {
	want, wait := map[string]intent.Object{}, map[string]string{}
	var others []intent.Object // links of the switches to what does not speak LLDP
	isSwitch := map[string]bool{}
	for _, n := range w.FabricNodes {
		if n.Spec.Role.Switch() {
			isSwitch[n.Metadata.Name] = true
			o := *n
			o.Spec.Serial = w.serial(n.Metadata.Name)
			o.Spec.Injection = nil // how to reach it only its operator knows
			want[n.Ref().String()] = &o
			wait[o.Spec.Serial] = "there is no node " + n.Metadata.Name + ": create it, or admit the box as another one"
		}
	}
	for _, l := range w.FabricLinks {
		if e := l.Spec.Endpoints; isSwitch[e[0].Node] && isSwitch[e[1].Node] {
			want[l.Ref().String()] = l
		} else {
			others = append(others, l)
		}
	}
	for name := range isSwitch {
		_, err := w.client.Delete(w.Context(), intent.Ref{Kind: intent.KindNode, Name: name}, client.DeleteOptions{Cascade: true, Force: true})
		require.NoError(w, err)
	}
	w.unknown(wait)
	w.pass()

	file := filepath.Join(w.TempDir(), "fabric.yaml")
	w.eventually(patience, func() error {
		text := w.cli("fabric", "discover", "-o", "yaml")
		require.NoError(w, os.WriteFile(file, []byte(text), 0o600))
		objects, err := intent.Decode([]byte(text), file)
		if err != nil || len(objects) != len(want) {
			return fmt.Errorf("%d objects instead of %d, %w", len(objects), len(want), err)
		}
		return nil
	})
	text, err := os.ReadFile(file)
	require.NoError(w, err)
	objects, err := intent.Decode(text, file)
	require.NoError(w, err)
	for _, o := range objects {
		require.Contains(w, want, o.Ref().String())
		switch o := o.(type) {
		case *intent.Node:
			require.Equal(w, want[o.Ref().String()].(*intent.Node).Spec, o.Spec, o.Ref())
		case *intent.Link:
			was := want[o.Ref().String()].(*intent.Link).Spec
			require.Equal(w, was.MTU, o.Spec.MTU, o.Ref())
			require.ElementsMatch(w, was.Endpoints, o.Spec.Endpoints, o.Ref())
		}
	}
	w.Logf("%d nodes and links discovered as they were planned", len(objects))
	clab, err := topology.Parse([]byte(w.cli("fabric", "discover", "-o", "clab", "--name", "join")), "join.clab.yml")
	require.NoError(w, err)
	require.Len(w, clab.Graph.Switches(), len(isSwitch))
	table := w.cli("fabric", "discover")
	require.Contains(w, table, "eth1 spine1:eth1, eth2 spine2:eth1")

	w.cli("apply", "-f", file)
	_, took := w.cabling()
	w.Logf("adopted, and all cables as intended, after %s", took.Round(time.Millisecond))
	w.unknown(map[string]string{})
	w.put(others...)
	w.cabling()
	require.Contains(w, w.cli("fabric", "cabling"), "no faults")
	w.pass()
}

// startBox ends a switch's agent and starts one that knows neither the switch's name
// nor anything that the old one did: another box in its place. token may be empty.
func (w *site) startBox(node, serial, token string) (dir string) {
	w.Helper()
	require.NoError(w, stop([]Process{w.lastAgent(node)}, 10*time.Second))
	dir = w.TempDir()
	args := []string{w.weft, "agent", "--controller", "http://" + w.controllerMgmtAPI(), "--frr-dir", w.NodeDir(node), "--serial", serial, "--state-dir", filepath.Join(dir, "state")}
	if token != "" {
		require.NoError(w, os.WriteFile(filepath.Join(dir, "token"), []byte(token+"\n"), 0o600))
		args = append(args, "--token-file", filepath.Join(dir, "token"))
	}
	require.NoError(w, w.running().daemon(w.Context(), program{node: node, name: "agent", args: args, log: filepath.Join(w.NodeDir(node), "agent.log")}))
	return dir
}

// running is what starts programs of the lab.
func (w *site) running() *run {
	return &run{state: w.State, opts: Options{Weft: w.weft}, progress: silent{}}
}

// factoryReset makes a switch what it is fresh from the factory: FRR is without
// configuration, and no port but that of the management has an address.
func (w *site) factoryReset(node string) {
	w.Helper()
	n, err := w.Node(node)
	require.NoError(w, err)
	require.NoError(w, Kill(w.State, node, true))
	require.NoError(w, netns.Do(w.Namespace(node), func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				if a.Scope == int(netlink.SCOPE_UNIVERSE) && l.Attrs().Name != w.mgmtInterface(node) {
					if err := netlink.AddrDel(l, &a); err != nil {
						return err
					}
				}
			}
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: unix.RTPROT_BGP}, netlink.RT_FILTER_PROTOCOL)
		for _, r := range routes {
			err = errors.Join(err, netlink.RouteDel(&r))
		}
		return err
	}))
	require.NoError(w, w.running().startRouter(w.Context(), n))
	require.Empty(w, w.fib(node)[netip.PrefixFrom(w.specOf("leaf1").Loopback, 32)], "it has forgotten the fabric")
}

// lastAgent is the agent of a switch that was started last.
func (w *site) lastAgent(node string) Process {
	w.Helper()
	for _, p := range slices.Backward(w.Processes) {
		if p.Node == node && p.Name == "agent" {
			return p
		}
	}
	require.Fail(w, "no agent", node)
	return Process{}
}

// joined waits until a box reports as a node.
func (w *site) joined(node, serial string) {
	w.Helper()
	took := w.eventually(patience, func() error {
		d, err := w.client.Discover(w.Context())
		for _, s := range d.Switches {
			if s.Node == node && s.Serial == serial && s.Role != "" {
				return nil
			}
		}
		return fmt.Errorf("%s does not report as %s, %w", serial, node, err)
	})
	w.Logf("%s is %s after %s", serial, node, took.Round(time.Millisecond))
}

// admitBox puts another box in leaf3's place, of which nobody has told the controller:
// it waits, is admitted, and the box before it is refused.
func (w *site) admitBox() {
	w.startBox("leaf3", "BOX3", "")
	w.unknown(map[string]string{"BOX3": "it is wired as leaf3 is to be, but that is the box with serial join-leaf3 (spec.serial)"})
	require.Contains(w, w.cli("fabric", "unknown"), "BOX3")
	w.cli("fabric", "admit", "BOX3", "--as", "leaf3", "--replace")
	w.joined("leaf3", "BOX3")
	w.unknown(map[string]string{})
	w.cabling()

	// The agent is started anew: it has its identity on disk.
	before := w.lastAgent("leaf3")
	require.NoError(w, stop([]Process{before}, 10*time.Second))
	require.NoError(w, w.running().daemon(w.Context(), program{node: "leaf3", name: "agent", args: before.Args, log: before.Log}))
	w.joined("leaf3", "BOX3")

	// The box that was leaf3 comes back under its name.
	old := program{node: "leaf3", name: "old agent", args: w.agentArgs(w.weft, Node{Name: "leaf3"}, w.NodeDir("leaf3"), filepath.Join(w.NodeDir("leaf3"), "agent")), log: filepath.Join(w.TempDir(), "old.log")}
	proc, _, err := start(w.Namespace("leaf3"), old)
	require.NoError(w, err)
	w.Cleanup(func() { _ = stop([]Process{proc}, 0) })
	w.eventually(patience, func() error {
		text, err := os.ReadFile(old.log)
		if err == nil && !strings.Contains(string(text), "leaf3 is to be the box with serial BOX3 (spec.serial), and this one has join-leaf3") {
			err = fmt.Errorf("it is not told: %s", text)
		}
		return err
	})
	require.NoError(w, stop([]Process{proc}, 10*time.Second))
	w.joined("leaf3", "BOX3")
	w.cabling()
	w.pass()
}

// joinByCables puts another box in leaf2's place, which has nothing but a token: its
// cables tell what it is.
func (w *site) joinByCables() {
	o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNode, Name: "leaf2"})
	require.NoError(w, err)
	n := o.(*intent.Node)
	n.Spec.Serial, n.Status = "", nil
	w.put(n)
	w.factoryReset("leaf2")
	dir := w.startBox("leaf2", "BOX2", "wrong.token")
	w.unknown(map[string]string{"BOX2": "the join token is unknown: it was deleted, or expired long ago, or is another controller's; make one with `weft fabric token create`"})
	token := strings.TrimSpace(w.cli("fabric", "token", "create", "--ttl", "10m"))
	require.NoError(w, os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600))
	w.joined("leaf2", "BOX2")
	took := w.eventually(patience, func() error {
		st, err := ReadStatus(w.Context(), w.State)
		if err == nil && !st.OK() {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
	w.Logf("all sessions, and all paths in the kernels, %s later", took.Round(time.Millisecond))
	w.cabling()
	w.pass()
	require.Contains(w, w.cli("fabric", "token", "list"), "used by BOX2 as leaf2")

	// Its credential is leaf2's: without it nobody reports as leaf2.
	_, err = w.client.ReportSwitch(w.Context(), "leaf2", switchstate.Report{Serial: "BOX2", Ports: []switchstate.Port{}})
	require.ErrorContains(w, err, "leaf2 has joined as the box with serial BOX2, and this request shows no credential")
	w.cli("fabric", "revoke", "leaf2")
	w.unknown(map[string]string{"BOX2": "the join token was used by the box with serial BOX2 as leaf2 at " + w.usedAt() + "; make one with `weft fabric token create`"})
	token = strings.TrimSpace(w.cli("fabric", "token", "create", "--node", "leaf2"))
	require.NoError(w, os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600))
	w.unknown(map[string]string{})
	w.joined("leaf2", "BOX2")
	w.cabling()
	w.pass()
}

// usedAt is when the only token that was used was.
func (w *site) usedAt() string {
	w.Helper()
	all, err := w.client.JoinTokens(w.Context())
	require.NoError(w, err)
	require.Len(w, all, 1)
	return all[0].Used.Format(time.RFC3339)
}
