package vtep

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// behind is what tor1's feed says when a VTEP is gateway for its stations of VNI 100,
// and for those of tor2.
func behind(gateway netip.Addr, rows ...evpn.Row) input {
	vrf := &overlay.VRF{VNI: 900, Bridges: []overlay.Bridge{{VNI: 100, VTEP: ip(2), Gateway: ip(8)}}}
	if gateway.IsValid() {
		vrf.Bridges = append(vrf.Bridges, overlay.Bridge{VNI: 100, VTEP: ip(1), Gateway: gateway})
	}
	l := overlay.LocalPort{Port: port("a"), VNI: 100, Interface: "eth1", Routing: &overlay.Routing{VRF: vrf, Gateways: []netip.Addr{netip.MustParseAddr("fd00::1"), host(9), host(1)}}}
	return input{name: "tor1", vtep: ip(1), local: map[intent.Ref]overlay.LocalPort{l.Port: l}, rows: map[intent.VNI][]evpn.Row{100: append(rows, imet(ip(1)))}}
}

func TestGatewayIsARemoteMAC(t *testing.T) {
	none := &ovsdb.VTEPRows{}
	s := desire(behind(ip(7), imet(ip(5))), none).segments[100]
	require.Equal(t, map[intent.MAC]station{intent.GatewayMAC: {ip(7), "192.168.0.1"}}, s.stations)
	require.Equal(t, []netip.Addr{ip(5), ip(7)}, s.vteps, "requests come there, though it has no port of the network")
	s = desire(behind(ip(5), imet(ip(5))), none).segments[100]
	require.Equal(t, []netip.Addr{ip(5)}, s.vteps, "once")
	s = desire(behind(netip.Addr{}, imet(ip(5))), none).segments[100]
	require.Empty(t, s.stations)
	require.Equal(t, []netip.Addr{ip(5)}, s.vteps)

	served := imet(ip(1))
	served.Replicator = ip(5)
	in := behind(ip(5))
	in.rows[100] = []evpn.Row{served}
	s = desire(in, none).segments[100]
	require.Equal(t, ip(5), s.stations[intent.GatewayMAC].vtep)
	require.Equal(t, []netip.Addr{ip(5)}, s.vteps, "it replicates")
}

// A switch has tunnels only from VTEPs that rows name.
func TestSendersAreHeard(t *testing.T) {
	in := behind(ip(7), imet(ip(5)))
	in.local[port("a")].Routing.VRF.Senders = []netip.Addr{ip(6), ip(7)}
	s := desire(in, &ovsdb.VTEPRows{}).segments[100]
	require.Equal(t, map[intent.MAC]station{intent.GatewayMAC: {ip(7), "192.168.0.1"}, intent.RouterMAC(ip(6)): {vtep: ip(6)}}, s.stations)
	require.Equal(t, []netip.Addr{ip(5), ip(7)}, s.vteps, "broadcasts do not go there")
}

// Until all edges have reported, nobody may be appointed: what is there stays.
func TestGatewayIsKept(t *testing.T) {
	has := &ovsdb.VTEPRows{Logical: map[string]ovsdb.VTEPLogical{"u": {Name: "weft-100", Key: 100}},
		Ucast: map[string]map[intent.MAC]ovsdb.VTEPRemote{"u": {intent.GatewayMAC: {VTEP: ip(7), IP: "192.168.0.1"}}}}
	in := behind(netip.Addr{})
	in.unreported = overlay.AwayVTEPs(ip(3))
	s := desire(in, has).segments[100]
	require.Equal(t, station{ip(7), "192.168.0.1"}, s.stations[intent.GatewayMAC])
	require.Equal(t, []netip.Addr{ip(7)}, s.vteps)
	in = behind(ip(5))
	in.unreported = overlay.AwayVTEPs(ip(3))
	require.Equal(t, ip(5), desire(in, has).segments[100].stations[intent.GatewayMAC].vtep)
	require.Empty(t, desire(behind(netip.Addr{}), has).segments[100].stations)
}
