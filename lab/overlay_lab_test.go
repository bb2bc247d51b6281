//go:build lab

package lab

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// tunnel joins the br-int of two hypervisors by hand, as a plain switch.
func tunnel(t *testing.T, s *State, a, b string) {
	t.Helper()
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		here, err := s.Node(pair[0])
		require.NoError(t, err)
		there, err := s.Node(pair[1])
		require.NoError(t, err)
		name := "vx-" + there.Name
		require.NoError(t, ovsVsctl(t.Context(), s.NodeDir(here.Name), "add-port", bridgeInt, name, "--", "set", "Interface", name, "type=vxlan",
			"options:key=100", fmt.Sprintf("options:remote_ip=%s", there.VTEP.Address), fmt.Sprintf("options:local_ip=%s", here.VTEP.Address)))
		out, err := exec.Command("ovs-ofctl", "add-flow", "unix:"+filepath.Join(s.NodeDir(here.Name), bridgeInt+".mgmt"), "actions=NORMAL").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

// The probes see what a tunnelled network does: VXLAN on the uplinks, and that
// a hypervisor without the network gets a copy when it is joined wrongly.
func TestBroadcastsAreCountedOnUplinks(t *testing.T) {
	labDir(t)
	file, err := topology.Generate(topology.GenerateParams{Name: "vx", Spines: 2, Leaves: 3, HypervisorsPerLeaf: 1, HostsPerHypervisor: 1})
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	up(t, s)
	objects, err := Intent(file)
	require.NoError(t, err)
	var networks, ports []intent.Object
	for _, o := range objects {
		switch o.Ref().Kind {
		case intent.KindNetwork:
			networks = append(networks, o)
		case intent.KindPort:
			ports = append(ports, o)
		}
	}
	hosts, notes := s.hostsOf(networks, ports)
	require.Empty(t, notes)
	require.Len(t, hosts, 3) // blue-vm1 on hv1, green-vm1 on hv2, blue-vm2 on hv3
	field, err := probe.Open(hosts)
	require.NoError(t, err)
	defer field.Close()

	rep, err := field.Check(t.Context(), probe.CheckOptions{Tries: 1})
	require.NoError(t, err)
	require.Len(t, rep.Failures, 4, "br-int forwards nothing of itself")

	tunnel(t, s, "hv1", "hv3")
	// Each of the two first asks for its gateway's MAC, and drops what is to go there.
	rep, err = field.Check(t.Context(), probe.CheckOptions{Tries: 30})
	require.NoError(t, err)
	require.True(t, rep.OK(), "%+v", rep.Failures)
	cast, err := field.Broadcast(t.Context(), s.uplinks(), probe.CheckOptions{})
	require.NoError(t, err)
	require.True(t, cast.OK(), "%+v", cast.Failures)
	tunnelled := 0
	for _, r := range cast.Rows {
		require.Zero(t, r.Stray)
		tunnelled += r.Tunnels
	}
	require.Equal(t, 6, tunnelled, "three kinds from each blue VM, one copy each")

	tunnel(t, s, "hv1", "hv2")
	require.Eventually(t, func() bool {
		cast, err := field.Broadcast(t.Context(), s.uplinks(), probe.CheckOptions{})
		if err != nil {
			return false
		}
		stray, leaked := 0, 0
		for _, r := range cast.Rows {
			stray += r.Stray
			leaked += r.Leaked
		}
		return !cast.OK() && stray > 0 && leaked > 0
	}, patience, 10*time.Millisecond, "what goes to a hypervisor without the network is told")
}
