package lab

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/topology"
)

// Sites have no address and no AS number in common, whatever the underlay.
func TestSitesAreApart(t *testing.T) {
	for _, words := range []string{"", "isis ipv6", "bgp unnumbered ipv6", "bgp ipv6"} {
		file, err := topology.Generate(topology.GenerateParams{Name: "s", Superspines: 1, Pods: 2, Spines: 2, Leaves: 2, HypervisorsPerLeaf: 1, Underlay: words})
		require.NoError(t, err)
		params, err := fabric.ParamsOf(file.Graph)
		require.NoError(t, err)
		owner := map[any]int{}
		for site := 1; site <= Sites; site++ {
			at, err := atSite(params, site)
			require.NoError(t, err)
			facts, err := fabric.Plan(file.Graph, at)
			require.NoError(t, err)
			claim := func(v any) {
				other, taken := owner[v]
				require.False(t, taken && other != site, "%q: %v is of sites %d and %d", words, v, other, site)
				owner[v] = site
			}
			for _, n := range facts.Nodes {
				for _, a := range []netip.Addr{n.Loopback, n.Loopback6, n.VTEP} {
					if a.IsValid() {
						claim(a)
					}
				}
				if n.ASN != 0 {
					claim(n.ASN)
				}
			}
			for _, l := range facts.Links {
				for _, a := range []netip.Prefix{l.A.Address, l.B.Address, l.A.Address6, l.B.Address6} {
					if a.IsValid() {
						claim(a.Addr())
					}
				}
			}
			s, _, err := PlanSite(file, site)
			require.NoError(t, err)
			require.Equal(t, site, s.Site)
			require.Equal(t, at.String(), s.Underlay)
		}
		require.Greater(t, len(owner), Sites*10)
	}
	_, _, err := PlanSite(&topology.File{Graph: &topology.Graph{}}, Sites+1)
	require.ErrorContains(t, err, "outside 0..4")
}
