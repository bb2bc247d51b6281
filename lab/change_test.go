package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/topology"
)

// planned plans a lab of cables such as "leaf1:eth1 spine1:eth1"; servers have ports
// of a tenant.
func planned(t *testing.T, cables ...string) *State {
	t.Helper()
	s, _, err := Plan(cabled(t, cables...))
	require.NoError(t, err)
	return s
}

// cabled is the file of planned.
func cabled(t *testing.T, cables ...string) *topology.File {
	t.Helper()
	var b strings.Builder
	b.WriteString("name: x\ntopology:\n  defaults: {kind: linux}\n  nodes:\n")
	seen := map[string]bool{}
	links := ""
	for _, c := range cables {
		ends := strings.Fields(c)
		for _, e := range ends {
			name, _, _ := strings.Cut(e, ":")
			if seen[name] {
				continue
			}
			seen[name] = true
			labels := ""
			if strings.HasPrefix(name, "server") {
				labels = " {labels: {weft-tenant: t, weft-network: n}}"
			}
			b.WriteString("    " + name + ":" + labels + "\n")
		}
		links += "    - endpoints: [\"" + ends[0] + "\", \"" + ends[1] + "\"]\n"
	}
	f, err := topology.Parse([]byte(b.String()+"  links:\n"+links), "x.clab.yml")
	require.NoError(t, err)
	return f
}

// TestChangeKeepsColours: a lab that was brought up with fewer colours, or none, keeps
// those when its file changes; where colours would be others, that is what is said.
func TestChangeKeepsColours(t *testing.T) {
	base := []string{"leaf1:eth1 spine1:eth1", "leaf2:eth1 spine1:eth2", "hypervisor1:eth1 leaf1:eth2", "vtep1:eth1 leaf2:eth2"}
	for _, colours := range []int{0, 2, fabric.DefaultColours} {
		running, _, err := plan(cabled(t, base...), fabric.Params{BFD: true, Colours: colours})
		require.NoError(t, err)
		now, _, err := PlanChange(cabled(t, append(base, "leaf3:eth1 spine1:eth3")...), running)
		require.NoError(t, err)
		d, err := difference(running, now)
		require.NoError(t, err)
		require.Equal(t, "adds leaf3 and 1 link", d.String())
		require.Equal(t, colours, now.Fabric.Spec.Colours)
		require.Len(t, now.specOf("leaf3").Colours, colours)
	}

	running, now := planned(t, base...), planned(t, base...)
	vtep, err := running.Node("vtep1")
	require.NoError(t, err)
	vtep.VTEP.Colours = []netip.Addr{netip.MustParseAddr("10.128.4.1")} // as of before hardware VTEPs had none
	for _, n := range running.FabricNodes {
		if n.Metadata.Name == "vtep1" {
			n.Spec.Colours = vtep.VTEP.Colours
		}
	}
	_, err = difference(running, now)
	require.EqualError(t, err, "vtep1 would have no colours, and has colours 10.128.4.1; take the lab down and bring it up anew")
	_, err = difference(now, running)
	require.EqualError(t, err, "vtep1 would have colours 10.128.4.1, and has no colours; take the lab down and bring it up anew")
}

// TestDifference: what a changed file adds to a running lab and takes away, and what
// can't be changed while it runs.
func TestDifference(t *testing.T) {
	base := []string{"leaf1:eth1 spine1:eth1", "leaf1:eth2 spine2:eth1", "leaf2:eth1 spine1:eth2", "leaf2:eth2 spine2:eth2", "leaf1:eth9 server1:eth1"}
	for _, c := range []struct {
		name  string
		now   []string
		want  string
		fault string
	}{
		{"nothing", base, "changes nothing", ""},
		{"turned cables", append([]string{"spine1:eth1 leaf1:eth1"}, base[1:]...), "changes nothing", ""},
		{"a spine and a leaf", append(base, "leaf3:eth1 spine1:eth3", "leaf3:eth2 spine2:eth3", "leaf1:eth3 spine3:eth1", "leaf2:eth3 spine3:eth2", "leaf3:eth3 spine3:eth3"),
			"adds leaf3, spine3 and 5 links", ""},
		{"a link more", append(base, "leaf2:eth3 spine2:eth3"), "adds 1 link", ""},
		{"a leaf less", []string{base[0], base[1], base[4]}, "removes leaf2 and 2 links", ""},
		{"both", []string{base[0], base[1], base[2], base[3], "leaf1:eth9 server2:eth1"}, "adds server2 and 1 link; removes server1 and 1 link", ""},
		{"a leaf before the others", append(base, "leaf0:eth1 spine1:eth3", "leaf0:eth2 spine2:eth3"), "", "leaf1 would be renumbered: ASN 4200100002, loopback 10.255.0.2, VTEP 10.254.0.2, was 4200100001, 10.255.0.1, 10.254.0.1; name what is new behind what is there"},
		{"another place for a cable", append(base, "leaf1:eth0 spine1:eth9"), "", "would have other addresses"},
		{"servers on another leaf", append(base, "leaf2:eth9 server2:eth1"), "", "leaf2 would begin or cease to be an EVPN leaf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := difference(planned(t, base...), planned(t, c.now...))
			if c.fault != "" {
				require.ErrorContains(t, err, c.fault)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, d.String())
		})
	}
}
