//go:build lab

package linux

import (
	"net/netip"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/southbound/leafstate"
)

// A kernel without VRF devices says so of the router, and serves the segments.
func TestRouterNeedsVRFs(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	lacks := exec.Command("ip", "-n", a.ns, "link", "add", "vrf0", "type", "vrf", "table", "99").Run() != nil
	s := a.state()
	s.Routers = []leafstate.Router{{VNI: 5000, MTU: 1500, Gateways: []leafstate.Gateway{{Segment: labVNI, Address: netip.MustParsePrefix("192.168.1.254/24")}}}}
	in, err := a.applied(s)
	require.NoError(t, err)
	require.Len(t, in.Ports, 2)
	require.Len(t, in.Routers, 1)
	require.Equal(t, lacks, in.Routers[0].Capability)
	if lacks {
		require.Contains(t, in.Routers[0].Error, "CONFIG_NET_VRF")
		require.NotContains(t, a.vty("bgpd", "show running-config"), "vrf5000")
		require.NotContains(t, a.run("ip", "addr"), "192.168.1.254")
	}
	r.reach(a, b)
	in, err = a.applied(s)
	require.NoError(t, err)
	require.Equal(t, lacks, in.Routers[0].Capability)
}
