package intent

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRouteTargets(t *testing.T) {
	for in, want := range map[string]string{
		"65000:10100": "65000:10100", "4200000001:7": "4200000001:7", "192.0.2.1:65535": "192.0.2.1:65535", "0:4294967295": "0:4294967295",
	} {
		rt, err := ParseRouteTarget(in)
		require.NoError(t, err, in)
		require.Equal(t, want, rt.String())
	}
	for _, in := range []string{"", "65000", "65000:", ":1", "a:1", "1:b", "4200000001:65536", "192.0.2.1:65536", "::1:1", "1:4294967296", "-1:1"} {
		_, err := ParseRouteTarget(in)
		require.Error(t, err, in)
	}
	v, ok := VNIRouteTarget(4200000001, 16777215).VNI()
	require.True(t, ok)
	require.Equal(t, MaxVNI, v)
	auto, err := ParseRouteTarget("65000:268445556") // 1<<28 | 10100
	require.NoError(t, err)
	v, ok = auto.VNI()
	require.True(t, ok)
	require.Equal(t, VNI(10100), v)
	ip, _ := ParseRouteTarget("192.0.2.1:100")
	_, ok = ip.VNI()
	require.False(t, ok)
}
