package frr

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// What FRR 8.4.4 prints, with each kind of station and address.
func TestParseEVPNTables(t *testing.T) {
	far, mac := netip.MustParseAddr("10.254.0.2"), intent.MAC{2, 0xc3, 0x8f, 0x1e, 0xed, 0x2c}
	vni, err := ParseEVPNVNI([]byte(`{"vni":10000,"type":"L2","ifindex":6,"numRemoteVteps":["10.254.0.2"]}`))
	require.NoError(t, err)
	require.Equal(t, EVPNVNI{VXLAN: 6, VTEPs: []netip.Addr{far}}, vni)
	vni, err = ParseEVPNVNI([]byte(`{"vni":10000,"type":"L2","ifindex":6,"numMacs":1}`))
	require.NoError(t, err)
	require.Equal(t, EVPNVNI{VXLAN: 6}, vni)

	macs, err := ParseEVPNMACs([]byte(`{"numMacs":5,"macs":{
		"02:31:ae:8c:ad:4d":{"type":"local","intf":"eth3","isDuplicate":false},
		"02:c3:8f:1e:ed:2c":{"type":"remote","remoteVtep":"10.254.0.2","localSequence":0,"remoteSequence":0,"detectionCount":0,"isDuplicate":false},
		"02:00:00:00:00:03":{"type":"remote","remoteVtep":"10.254.0.2","isDuplicate":true},
		"02:00:00:00:00:04":{"type":"remote","remoteEs":"03:44:38:39:ff:ff:01:00:00:01"},
		"02:00:00:00:00:05":{"type":"auto"}}}`))
	require.NoError(t, err)
	require.Equal(t, map[intent.MAC]EVPNPlace{mac: {VTEP: far}, {2, 0x31, 0xae, 0x8c, 0xad, 0x4d}: {}, {2, 0, 0, 0, 0, 3}: {}, {2, 0, 0, 0, 0, 4}: {}}, macs)
	one, err := ParseEVPNMACs([]byte(`{"02:c3:8f:1e:ed:2c":{"type":"remote","remoteVtep":"10.254.0.2","uptime":"00:00:03","neighbors":{"active":["10.0.0.13"],"inactive":[]}}}`))
	require.NoError(t, err)
	require.Equal(t, map[intent.MAC]EVPNPlace{mac: {VTEP: far}}, one)

	ips, err := ParseEVPNNeighbours([]byte(`{"numArpNd":2,"10.0.0.13":{"type":"remote","state":"active","mac":"02:c3:8f:1e:ed:2c","remoteVtep":"10.254.0.2"},
		"fd00::7":{"type":"remote","state":"inactive","mac":"02:c3:8f:1e:ed:2c","remoteVtep":"10.254.0.2"}}`))
	require.NoError(t, err)
	require.Equal(t, map[netip.Addr]EVPNPlace{netip.MustParseAddr("10.0.0.13"): {VTEP: far, MAC: mac}, netip.MustParseAddr("fd00::7"): {MAC: mac}}, ips)
	ips, err = ParseEVPNNeighbours([]byte("{\n  \"uptime\":\"00:00:00\",\n  \"ip\":\"10.0.0.13\",\n  \"type\":\"remote\",\n  \"state\":\"active\",\n  \"mac\":\"02:c3:8f:1e:ed:2c\",\n  \"remoteVtep\":\"10.254.0.2\"\n}\n"))
	require.NoError(t, err)
	require.Equal(t, map[netip.Addr]EVPNPlace{netip.MustParseAddr("10.0.0.13"): {VTEP: far, MAC: mac}}, ips)
}

// Of a VNI, station or address that zebra does not have there is nothing; what can't be
// read is an error, and never nothing.
func TestParseEVPNTablesOfNothing(t *testing.T) {
	for _, none := range []string{"", "\n", "{\n}\n", "{}", "% VNI 7 does not exist\n", `{"numMacs":0}`} {
		vni, err := ParseEVPNVNI([]byte(none))
		require.NoError(t, err)
		require.Zero(t, vni)
		macs, err := ParseEVPNMACs([]byte(none))
		require.NoError(t, err)
		require.Empty(t, macs)
		ips, err := ParseEVPNNeighbours([]byte(none))
		require.NoError(t, err)
		require.Empty(t, ips)
	}
	for _, bad := range []string{"[", "7", `{"macs": 7, "ip": 7, "numRemoteVteps": ["x"]}`, `{"02:c3:8f:1e:ed:2c": 7, "10.0.0.1": 7, "ifindex": "x"}`, `{"macs":{"02:c3:8f:1e:ed:2c":{"mac":"x"}},"10.0.0.1":{"mac":"x"},"ifindex":[]}`} {
		_, err := ParseEVPNVNI([]byte(bad))
		require.ErrorContains(t, err, "read zebra's", bad)
		_, err = ParseEVPNMACs([]byte(bad))
		require.ErrorContains(t, err, "read zebra's", bad)
		_, err = ParseEVPNNeighbours([]byte(bad))
		require.ErrorContains(t, err, "read zebra's", bad)
	}
}

func FuzzParseEVPNTables(f *testing.F) {
	f.Add([]byte(`{"macs":{"02:22:62:73:2d:d9":{"type":"remote","remoteVtep":"10.254.0.2"}},"ifindex":6,"numRemoteVteps":["10.254.0.2"]}`))
	f.Add([]byte(`{"numArpNd":1,"10.0.0.13":{"type":"remote","state":"active","mac":"02:c3:8f:1e:ed:2c","remoteVtep":"10.254.0.2"}}`))
	f.Add([]byte(`{"ip":"10.0.0.13","type":"remote","state":"active","mac":"02:c3:8f:1e:ed:2c","remoteVtep":"10.254.0.2"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if macs, err := ParseEVPNMACs(b); err != nil {
			require.Nil(t, macs)
		}
		ips, err := ParseEVPNNeighbours(b)
		if err != nil {
			require.Nil(t, ips)
		}
		for ip := range ips {
			require.True(t, ip.IsValid() && !ip.Is4In6())
		}
		if vni, err := ParseEVPNVNI(b); err != nil {
			require.Zero(t, vni)
		}
	})
}
