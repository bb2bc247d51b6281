//go:build lab

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
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

// grownFile is a file with one spine more, and one leaf more that has a server and a
// hypervisor with a VM, named and plugged in behind what is there.
func grownFile(t *testing.T, file *topology.File, spines, leaves int) *topology.File {
	t.Helper()
	b, err := file.Encode()
	require.NoError(t, err)
	host := func(name, group string, n int) string {
		return fmt.Sprintf("    %s:\n      group: %s\n      labels: {weft-tenant: blue, weft-network: lan, weft-addresses: 10.0.0.%d/24}\n      exec: [ip addr add 10.0.0.%d/24 dev eth1]\n", name, group, n, n)
	}
	spine, leaf := fmt.Sprintf("spine%d", spines+1), fmt.Sprintf("leaf%d", leaves+1)
	nodes := fmt.Sprintf("    %s:\n      group: spines\n    %s:\n      group: leaves\n", spine, leaf) +
		host(fmt.Sprintf("server%d", leaves+1), "servers", leaves+1) +
		"    hv1:\n      labels: {weft-role: hypervisor}\n" + strings.Replace(host("blue-vm1", "vms", 101), "      group: vms\n      labels: {", "      labels: {weft-role: vm, ", 1)
	links := ""
	cable := func(a, ai, b, bi string) {
		links += fmt.Sprintf("    - endpoints: [\"%s:%s\", \"%s:%s\"]\n", a, ai, b, bi)
	}
	for i := 1; i <= leaves; i++ {
		cable(fmt.Sprintf("leaf%d", i), "eth9", spine, fmt.Sprintf("eth%d", i))
	}
	for i := 1; i <= spines; i++ {
		cable(leaf, fmt.Sprintf("eth%d", i), fmt.Sprintf("spine%d", i), "eth99")
	}
	cable(leaf, "eth9", spine, "eth99")
	cable(leaf, "eth20", fmt.Sprintf("server%d", leaves+1), "eth1")
	cable(leaf, "eth21", "hv1", "eth1")
	cable("hv1", "vm1", "blue-vm1", "eth1")
	text := strings.Replace(string(b), "\n  links:\n", nodes+"\n  links:\n", 1) + links
	grown, err := topology.Parse([]byte(text), file.Source())
	require.NoError(t, err)
	return grown
}

// Switches are drained, replaced, added and taken away while 30 streams of a
// datagram a millisecond run: what is not worked on loses nothing.
func TestFabricUpkeep(t *testing.T) {
	const spines, leaves = 4, 6
	file := rackedFile(t, topology.GenerateParams{Name: "upkeep", Spines: spines, Leaves: leaves, ServersPerLeaf: 1})
	w := siteOf(t, file)
	w.put(w.objects...)
	w.ready(patience)
	try := func(t *testing.T, failures ...Failure) *FailureReport {
		t.Helper()
		rep, err := TryFailures(t.Context(), w.State, failures, FailureOptions{Weft: w.weft, Calm: 200 * time.Millisecond, Abort: true})
		require.NotNil(t, rep, "%v", err)
		var out bytes.Buffer
		require.NoError(t, rep.Print(&out))
		t.Logf("%s", &out)
		require.NoError(t, err)
		return rep
	}
	lossless := func(t *testing.T, rep *FailureReport) {
		t.Helper()
		for _, r := range rep.Results {
			require.Zero(t, r.Down.Lost+r.Up.Lost, "%s of %s: %+v", r.Kind, r.What, r)
			require.Positive(t, r.Down.Sent)
		}
	}
	t.Run("drain", func(t *testing.T) {
		drains := w.Drains()
		require.Len(t, drains, spines)
		lossless(t, try(t, drains...))
	})
	t.Run("refused", w.refusedDrains)
	t.Run("replaced", func(t *testing.T) {
		w := w.in(t)
		lossless(t, try(t, w.replaced("spine3", "BOX9")))
		w.cabling()
		require.Contains(t, w.cli("fabric", "token", "list"), "used by BOX9 as spine3")
	})
	t.Run("growth", func(t *testing.T) {
		grown := grownFile(t, file, spines, leaves)
		plan := func(f *topology.File) *State {
			s, _, err := Plan(f)
			require.NoError(t, err)
			return s
		}
		f := w.Rebuilt("one spine and one leaf more", plan(grown), plan(file), Options{Weft: w.weft, Timeout: time.Minute})
		objects, err := Intent(grown)
		require.NoError(t, err)
		there := f.fail
		f.fail = func(ctx context.Context) error { return errors.Join(there(ctx), w.reload()) }
		f.during = func(ctx context.Context) error { return w.newOnesWork(ctx, objects) }
		back := f.mend
		f.mend = func(ctx context.Context) error {
			for _, p := range []string{"server7", "blue-vm1"} {
				if err := w.forgetPort(ctx, p, objects); err != nil {
					return err
				}
			}
			return errors.Join(back(ctx), w.reload())
		}
		lossless(t, try(t, f))
		require.Len(t, w.Nodes, spines+2*leaves, "all is as before")
	})
}

// replaced gives the place of a spine, which is drained, to another box: with another
// serial number, other MAC addresses, nothing configured, and a join token.
func (w *site) replaced(node, serial string) Failure {
	return Failure{Kind: "replacement", What: node, Node: node, into: w.endsOf(node),
		fail: func(ctx context.Context) error {
			w.cli("fabric", "drain", node)
			w.cli("fabric", "replace", node, "--serial", serial)
			w.factoryReset(node)
			for i, e := range w.endsOf(node) {
				err := netns.Do(w.Namespace(node), func() error {
					link, err := netlink.LinkByName(e.Interface)
					if err != nil {
						return err
					}
					return netlink.LinkSetHardwareAddr(link, net.HardwareAddr{2, 0x99, 0, 0, 0, byte(i)})
				})
				if err != nil {
					return err
				}
			}
			w.startBox(node, serial, strings.TrimSpace(w.cli("fabric", "token", "create", "--ttl", "10m")))
			w.joined(node, serial)
			return nil
		},
		mend: func(context.Context) error {
			w.cli("fabric", "undrain", node)
			return nil
		}}
}

// reload takes what another State has written.
func (w *site) reload() error {
	s, err := Load(w.State.Name)
	if err == nil {
		w.Nodes, w.Links, w.Processes, w.Widths, w.FabricNodes, w.FabricLinks = s.Nodes, s.Links, s.Processes, s.Widths, s.FabricNodes, s.FabricLinks
	}
	return err
}

// refusedDrains: a drain that would leave two leaves, or ports, without a way.
func (w *site) refusedDrains(t *testing.T) {
	ctx := t.Context()
	_, err := w.client.SetMaintenance(ctx, "leaf1", intent.MaintenanceDrain, false)
	require.ErrorContains(t, err, "blue/server1")
	for i := 1; i <= 3; i++ {
		require.NoError(t, w.drain(ctx, fmt.Sprintf("spine%d", i)))
	}
	_, err = w.client.SetMaintenance(ctx, "spine4", intent.MaintenanceDrain, false)
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, client.TypeOrphans, p.Type)
	require.Contains(t, p.Detail, "Node spine4")
	for i := 1; i <= 3; i++ {
		require.NoError(t, w.undrain(ctx, fmt.Sprintf("spine%d", i)))
	}
}

// newOnesWork waits until packets of the new server and VM go everywhere, and until
// the new spine carries some.
func (w *site) newOnesWork(ctx context.Context, objects []intent.Object) error {
	for _, o := range objects {
		if _, err := w.client.Put(ctx, o, client.PutOptions{}); err != nil {
			return err
		}
	}
	w.ready(patience)
	var why error
	err := until(ctx, 50*time.Millisecond, nil, func() (bool, error) {
		why = nil
		for _, from := range []string{"server7", "blue-vm1"} {
			for _, to := range []string{"10.0.0.1", "10.0.0.6", "10.0.0.101"} {
				if status, err := quietExec(w.State, from, "ping", "-c", "1", "-W", "1", to); err != nil || status != 0 {
					why = fmt.Errorf("%s does not reach %s", from, to)
				}
			}
		}
		return why == nil, nil
	})
	if err != nil {
		return errors.Join(why, err)
	}
	before, err := w.forwarded("spine5")
	if err != nil {
		return err
	}
	return until(ctx, 50*time.Millisecond, nil, func() (bool, error) {
		now, err := w.forwarded("spine5")
		return now > before+100, err
	})
}

// forwarded is how many packets a switch has passed on.
func (w *site) forwarded(node string) (n int, err error) {
	err = netns.Do(w.Namespace(node), func() error {
		b, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		f := strings.Fields(string(b)) // Ip: and 19 names, Ip: and 19 values
		i := slices.Index(f, "ForwDatagrams")
		n, err = strconv.Atoi(f[i+slices.Index(f[1:], "Ip:")+1])
		return err
	})
	return n, err
}

// quietExec runs a command in a node's namespace.
func quietExec(s *State, node string, args ...string) (int, error) {
	n, err := s.Node(node)
	if err != nil {
		return 0, err
	}
	err = s.runLine(context.Background(), n, strings.Join(args, " "))
	if err != nil {
		return 1, nil
	}
	return 0, nil
}

// forgetPort deletes the port of a host.
func (w *site) forgetPort(ctx context.Context, host string, objects []intent.Object) error {
	for _, o := range objects {
		if p, ok := o.(*intent.Port); ok && strings.Contains(p.Metadata.Name, host) {
			if _, err := w.client.Delete(ctx, p.Ref(), client.DeleteOptions{}); err != nil {
				return err
			}
		}
	}
	return nil
}
