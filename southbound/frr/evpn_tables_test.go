package frr

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseEVPNTables(t *testing.T) {
	far := netip.MustParseAddr("10.254.0.2")
	macs, err := ParseRemoteMACs([]byte(`{"numMacs":2,"macs":{"02:e1:82:2b:e7:c0":{"type":"local","intf":"eth3"},"02:22:62:73:2d:d9":{"type":"remote","remoteVtep":"10.254.0.2"}}}`))
	require.NoError(t, err)
	require.Equal(t, map[string]netip.Addr{"02:22:62:73:2d:d9": far}, macs)
	vteps, err := ParseFloodVTEPs([]byte(`{"vni":10000,"type":"L2","numRemoteVteps":["10.254.0.2"]}`))
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{far}, vteps)
	for _, none := range []string{"", "{}", "% VNI 7 does not exist\n", `{"numRemoteVteps":0}`} {
		macs, err := ParseRemoteMACs([]byte(none))
		require.NoError(t, err)
		require.Empty(t, macs)
		vteps, err := ParseFloodVTEPs([]byte(none))
		require.NoError(t, err)
		require.Empty(t, vteps)
	}
	_, err = ParseRemoteMACs([]byte(`{"macs": 7}`))
	require.ErrorContains(t, err, "read zebra's stations")
	_, err = ParseFloodVTEPs([]byte(`{"numRemoteVteps":["x"]}`))
	require.ErrorContains(t, err, "read zebra's VTEPs")
}

func FuzzParseEVPNTables(f *testing.F) {
	f.Add([]byte(`{"macs":{"02:22:62:73:2d:d9":{"type":"remote","remoteVtep":"10.254.0.2"}},"numRemoteVteps":["10.254.0.2"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		macs, _ := ParseRemoteMACs(b)
		for _, a := range macs {
			require.True(t, a.IsValid())
		}
		_, _ = ParseFloodVTEPs(b)
	})
}
