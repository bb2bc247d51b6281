package lab

import (
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// The mixed lab: how the controller reaches each edge, and which edge and tag
// each host has.
func TestPlanOfEveryEdge(t *testing.T) {
	file, err := LoadFile("testdata/edges.clab.yml")
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)

	kinds := map[string]string{}
	vteps := map[string]netip.Addr{}
	for _, o := range s.FabricNodes {
		require.NoError(t, o.Validate())
		n, err := s.Node(o.Metadata.Name)
		require.NoError(t, err)
		mgmt := n.Mgmt.Addr().String()
		vteps[n.Name] = o.Spec.VTEP
		switch spec := o.Spec; {
		case spec.EVPN != nil:
			kinds[n.Name] = "evpn"
			require.Equal(t, mgmt, spec.EVPN.Address.String())
			require.True(t, n.EVPN && n.Agent)
		case spec.HardwareVTEP != nil:
			kinds[n.Name] = "vtep"
			require.Equal(t, intent.HardwareVTEP{OVSDB: "tcp:" + mgmt + ":6640", Switch: "tor"}, *spec.HardwareVTEP)
		case spec.VSwitch != nil:
			kinds[n.Name] = "vswitch"
			require.Equal(t, "tcp:"+mgmt+":6640", spec.VSwitch.OVSDB)
		}
	}
	require.Equal(t, map[string]string{"leaf1": "evpn", "leaf2": "evpn", "vtep1": "vtep", "hv1": "vswitch", "hv2": "vswitch"}, kinds)
	require.Equal(t, netip.MustParseAddr("10.254.0.1"), vteps["leaf1"])

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
	require.Len(t, hosts, 13)
	at := map[string]probe.Host{}
	for _, h := range hosts {
		require.Len(t, h.Addresses, 2)
		require.Equal(t, "eth1", h.Interface)
		at[h.Name] = h
	}
	for host, edge := range map[string]string{
		"blue-vm1": "hv1", "blue-vm2": "hv1", "blue-vm3": "hv2", "blue-vm4": "hv2", "blue-srv1": "leaf1", "blue-srv2": "leaf2", "blue-srv3": "vtep1", "blue-srv4": "vtep1",
		"red-vm1": "hv1", "red-vm2": "hv2", "red-srv1": "leaf1", "red-srv2": "leaf2", "red-srv3": "vtep1",
	} {
		require.Equal(t, vteps[edge], at[host].VTEP, host)
		n, err := s.Node(host)
		require.NoError(t, err)
		var want []Tag
		if host == "blue-srv4" || host == "red-srv3" {
			want = []Tag{{"eth1", 20}}
		}
		require.Equal(t, want, n.Tags, host)
	}
	require.Len(t, s.uplinks(), 3, "of both hypervisors and the hardware VTEP")
}

// A leaf is an EVPN edge when a server in a tenant's network is on it, and Weft
// configures it.
func TestWhichLeavesAreEdges(t *testing.T) {
	for name, c := range map[string]struct {
		server string
		want   bool
	}{
		"in a network":    {"{labels: {weft-tenant: blue, weft-network: web}}", true},
		"of nobody":       {"", false},
		"behind the vtep": {"{labels: {weft-tenant: blue, weft-network: web}}", false},
	} {
		edge := "leaf1"
		if name == "behind the vtep" {
			edge = "vtep1"
		}
		s, err := planText(t, "  nodes:\n    leaf1:\n    vtep1: {kind: vtep}\n    srv1: "+c.server+"\n  links:\n"+
			"    - endpoints: [\"leaf1:eth1\", \"vtep1:eth1\"]\n    - endpoints: [\""+edge+":eth9\", \"srv1:eth1\"]\n")
		require.NoError(t, err, name)
		n, err := s.Node("leaf1")
		require.NoError(t, err)
		require.Equal(t, c.want, n.EVPN, name)
		require.Equal(t, c.want, s.FabricNodes[0].Spec.EVPN != nil, name)
	}
}

func TestPlanRefusesHardwareVTEPs(t *testing.T) {
	for want, links := range map[string]string{
		"vtep1: a hardware VTEP needs a link to a leaf: its tunnels have no address to end at":                     "",
		"vtep1: interface tor: the node has a bridge of this name: give the interface another":                     `[["leaf1:eth1", "vtep1:tor"]]`,
		"vtep1: interface eth1-p: the emulator takes names that end in -p for its own: give the interface another": `[["leaf1:eth1", "vtep1:eth1-p"]]`,
		"link vtep1:eth1 to spine1:eth1: a hardware VTEP can't be on a spine or superspine: plug it into a leaf":   `[["vtep1:eth1", "spine1:eth1"]]`,
		"vtep1: interface br-phy: the node has a bridge of this name: give the interface another":                  `[["leaf1:eth1", "vtep1:br-phy"]]`,
		"vtep1: interface vtep_bfd: the node has a bridge of this name: give the interface another":                `[["leaf1:eth1", "vtep1:vtep_bfd"]]`,
		"vtep1: interface br-neigh: the node has a bridge of this name: give the interface another":                `[["leaf1:eth1", "vtep1:br-neigh"]]`,
	} {
		text := "  nodes:\n    spine1:\n    leaf1:\n    vtep1: {kind: vtep}\n"
		if links != "" {
			text += "  links:\n    - endpoints: " + links[1:len(links)-1] + "\n"
		}
		_, err := planText(t, text)
		require.ErrorContains(t, err, want)
	}
}

func planText(t *testing.T, text string) (*State, error) {
	t.Helper()
	file, err := topology.Parse([]byte("name: t\ntopology:\n  defaults: {kind: linux}\n"+text), filepath.Join(t.TempDir(), "t.clab.yml"))
	require.NoError(t, err)
	s, _, err := Plan(file)
	return s, err
}

// Every jump of the programs that tag frames leads to their verdict.
func TestTagPrograms(t *testing.T) {
	for name, p := range map[string][]instruction{"push": pushTag(20), "pop": popTag(20)} {
		require.Equal(t, uint8(opExit), p[len(p)-1].op, name)
		for i, ins := range p {
			if ins.op != opJumpEqual && ins.op != opJumpOther {
				continue
			}
			to := i + 1 + int(ins.off)
			require.Less(t, to, len(p), name)
			// Each jump ends at the verdict: drop it, or what the call gave.
			require.Contains(t, []int{len(p) - 2, len(p) - 1}, to, name)
		}
	}
}
