//go:build lab

package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// unplug takes the cable out of an interface, and with a veth pair both ends.
func (w *site) unplug(node, iface string) {
	w.Helper()
	require.NoError(w, netns.Do(w.Namespace(node), func() error {
		l, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}))
}

// cable puts a cable in between two interfaces.
func (w *site) cable(a, ai, b, bi string, mtu int) {
	w.Helper()
	require.NoError(w, makeLink(w.State.Name, Link{A: End{Node: a, Interface: ai}, B: End{Node: b, Interface: bi}, MTU: mtu}))
}

// cabling waits until faults are as wanted, by kind and link, and tells how long it
// took.
func (w *site) cabling(want ...string) (client.Cabling, time.Duration) {
	w.Helper()
	var got client.Cabling
	took := w.eventually(patience, func() (err error) {
		if got, err = w.client.Cabling(w.Context()); err != nil {
			return err
		}
		var have []string
		for _, f := range got.Faults {
			have = append(have, f.Kind+" "+f.Link)
		}
		slices.Sort(have)
		if !slices.Equal(have, want) || len(got.Unheard)+len(got.Silent) > 0 {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	return got, took
}

// Two cables are swapped, one is taken out, one carries one way only: each fault is
// named with what to do, and gone when all is as intended again. The fabric routes
// again then.
func TestFabricCabling(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "cabling", Spines: 2, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 1, Tenants: []string{"blue"}})
	_, took := w.cabling()
	t.Logf("all cables known %s after the tenants were ready", took.Round(time.Millisecond))
	require.Contains(t, w.cli("fabric", "cabling"), "no faults")
	for _, n := range []string{"spine1", "leaf1"} {
		w.nodeStatus(n, func(s *intent.Status) bool { return s.Phase == intent.PhaseReady })
		require.Equal(t, intent.PhaseReady, w.cliGet(intent.Ref{Kind: intent.KindNode, Name: n}).Phase, n)
	}
	mtu := w.linkOf("leaf1", "eth1").MTU

	w.unplug("leaf1", "eth1")
	w.unplug("leaf1", "eth2")
	w.cable("leaf1", "eth1", "spine2", "eth1", mtu)
	w.cable("leaf1", "eth2", "spine1", "eth1", mtu)
	got, took := w.cabling("Miswired leaf1:eth1 - spine2:eth1", "Miswired leaf1:eth2 - spine1:eth1")
	t.Logf("two swapped cables named after %s", took.Round(time.Millisecond))
	require.Equal(t, "leaf1:eth1 is wired to spine2:eth1, where leaf1:eth2 belongs: move that end to spine1:eth1", got.Faults[0].Message)
	require.Equal(t, "leaf1:eth2 is wired to spine1:eth1, where leaf1:eth1 belongs: move that end to spine2:eth1", got.Faults[1].Message)
	cmd := exec.Command(w.weft, "fabric", "cabling", "--server", w.Controller)
	out, err := cmd.Output()
	require.Error(t, err)
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), got.Faults[0].Message)
	w.eventually(patience, func() error {
		alarms, err := w.client.Alarms(t.Context())
		if n := len(slices.DeleteFunc(alarms, func(a client.Alarm) bool { return a.Reason != "Miswired" })); n != 2 {
			return fmt.Errorf("%d alarms of cables, %w", n, err)
		}
		return nil
	})

	w.unplug("leaf1", "eth1")
	w.unplug("leaf1", "eth2")
	w.cable("leaf1", "eth1", "spine1", "eth1", mtu)
	_, took = w.cabling("Missing leaf1:eth2 - spine2:eth1")
	t.Logf("a cable that is missing named after %s", took.Round(time.Millisecond))
	w.cable("leaf1", "eth2", "spine2", "eth1", mtu)
	_, took = w.cabling()
	t.Logf("no fault any more %s after the last cable", took.Round(time.Millisecond))
	w.eventually(patience, func() error {
		alarms, err := w.client.Alarms(t.Context())
		if len(alarms) > 0 {
			return fmt.Errorf("%+v", alarms)
		}
		return err
	})

	// What spine1 sends to leaf2 is lost.
	_, err = output(t, w.State, "leaf2", "nft", "add table netdev deaf; add chain netdev deaf in { type filter hook ingress device eth1 priority -500; }; add rule netdev deaf in drop")
	require.NoError(t, err)
	_, took = w.cabling("OneWay leaf2:eth1 - spine1:eth2")
	t.Logf("a cable that carries one way only named after %s", took.Round(time.Millisecond))
	_, err = output(t, w.State, "leaf2", "nft", "delete table netdev deaf")
	require.NoError(t, err)
	w.cabling()
	w.eventually(patience, func() error {
		res, err := Check(t.Context(), w.State, probe.CheckOptions{})
		if err != nil || !res.OK() {
			return fmt.Errorf("packets are lost, %w", err)
		}
		return nil
	})
}

// LLDP of lldpd is heard, and ours by it.
func TestFabricCablingWithLLDPD(t *testing.T) {
	w := newSite(t, topology.GenerateParams{Name: "lldpd", Spines: 1, Leaves: 1, ServersPerLeaf: 1})
	var server Node
	for _, n := range w.Nodes {
		if n.Role == intent.RoleServer {
			server = n
		}
	}
	link := w.linkOf(server.Name, "eth1")
	w.cabling()
	dir, err := os.MkdirTemp("", "weft-lldpd") // lldpd's own user must enter it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	socket := filepath.Join(dir, "lldpd.sock")
	cmd := exec.Command("ip", "netns", "exec", w.Namespace(server.Name), "lldpd", "-d", "-u", socket, "-I", "eth1", "-S", "a server")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var log strings.Builder
	cmd.Stderr, cmd.Stdout = &log, &log
	require.NoError(t, cmd.Start())
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
		t.Log(log.String())
	}()
	w.eventually(patience, func() error {
		got, err := w.client.Switch(t.Context(), link.B.Node)
		i := slices.IndexFunc(got.Ports, func(p switchstate.Port) bool { return p.Name == link.B.Interface })
		if err != nil || i < 0 || len(got.Ports[i].Neighbours) != 1 || got.Ports[i].Neighbours[0].Device == "" {
			return fmt.Errorf("%+v, %w", got, err)
		}
		t.Logf("%+v", got.Ports[i].Neighbours[0])
		return nil
	})
	got, err := w.client.Cabling(t.Context())
	require.NoError(t, err)
	require.Empty(t, got.Faults, "a server may speak LLDP")
	w.eventually(patience, func() error {
		out, err := exec.Command("lldpcli", "-u", socket, "-f", "json", "show", "neighbors", "details").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		var seen struct {
			LLDP struct {
				Interface map[string]struct {
					Chassis map[string]any
					Port    struct {
						ID  struct{ Value string }
						MFS string
						TTL string
					}
				}
			}
		}
		if err := json.Unmarshal(out, &seen); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		at := seen.LLDP.Interface["eth1"]
		if _, ok := at.Chassis[link.B.Node]; !ok || at.Port.ID.Value != link.B.Interface || at.Port.MFS != fmt.Sprint(link.MTU+18) {
			return fmt.Errorf("lldpd hears %s", out)
		}
		return nil
	})
}

// linkOf is the link of an interface, the interface's end as A.
func (w *site) linkOf(node, iface string) Link {
	w.Helper()
	for _, l := range w.Links {
		if l.B.Node == node && l.B.Interface == iface {
			l.A, l.B = l.B, l.A
		}
		if l.A.Node == node && l.A.Interface == iface {
			return l
		}
	}
	require.Fail(w, "no link", "%s:%s", node, iface)
	return Link{}
}
