package evpn

import (
	"net/netip"
	"testing"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// Of an UPDATE with several routes only those that are refused are withdrawn.
func TestRefusedRoutesAreWithdrawn(t *testing.T) {
	var routes []table.Route
	for i := range byte(4) {
		routes = append(routes, table.Route{Key: table.MACKey(intent.MAC{2, 0, 0, 0, 0, i}), RD: table.NewRD(65001, 100), VNI: 100,
			Targets: []intent.RouteTarget{intent.VNIRouteTarget(65001, 100)}, VTEP: netip.MustParseAddr("10.0.0.5")})
	}
	m := message(appendRoutes(nil, routes))
	for n := range 1 << len(routes) {
		refused := map[table.RouteID]bool{}
		for i := range routes {
			if n>>i&1 == 1 {
				refused[routes[i].ID()] = true
			}
		}
		if n == 0 {
			continue
		}
		out, err := m.without(refused)
		require.NoError(t, err)
		announced, withdrawn := 0, 0
		for len(out) > 0 {
			one := message(out[:int(out[16])<<8|int(out[17])])
			out = out[len(one):]
			require.Equal(t, byte(bgp.BGP_MSG_UPDATE), byte(one.kind()))
			u, err := parse(one)
			require.NoError(t, err)
			for _, c := range changes(u) {
				require.Equal(t, refused[c.ID()], c.Withdrawn)
				if c.Withdrawn {
					withdrawn++
				} else {
					announced++
				}
			}
		}
		require.Equal(t, len(refused), withdrawn)
		require.Equal(t, len(routes)-len(refused), announced)
	}
}
