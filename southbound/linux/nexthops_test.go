package linux

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func TestNextHopsAreReadFromZebra(t *testing.T) {
	hops, err := readNextHops([]byte(`{
  "5000":{
    "numNextHops":2,
    "::ffff:10.9.0.2":{
      "nexthopIp":"::ffff:10.9.0.2",
      "routerMac":"06:77:0a:09:00:02"
    },
    "10.9.0.2":{
      "nexthopIp":"10.9.0.2",
      "routerMac":"06:77:0a:09:00:02"
    }
  },
  "5001":{
    "numNextHops":0
  }
}`))
	require.NoError(t, err)
	mac := intent.MAC{6, 0x77, 10, 9, 0, 2}
	require.Equal(t, map[intent.VNI][]nextHop{5000: {{netip.MustParseAddr("10.9.0.2"), mac}, {netip.MustParseAddr("::ffff:10.9.0.2"), mac}}}, hops)

	hops, err = readNextHops([]byte("{\n}\n"))
	require.NoError(t, err)
	require.Empty(t, hops)
	for _, bad := range []string{"", "% no", `{"5000":{"10.9.0.2":{"routerMac":"x"}}}`, `{"x":{}}`} {
		_, err := readNextHops([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestRouterMACIsReadFromBGP(t *testing.T) {
	answer := `{"prefix":"192.168.2.2/32","paths":[
  {"valid":true,"extendedCommunity":{"string":"RT:65000:5000 ET:8"},"nexthops":[{"ip":"10.9.0.3","afi":"ipv4"}]},
  {"valid":true,"extendedCommunity":{"string":"RT:65000:101 RT:65000:5000 ET:8 Rmac:06:77:0a:09:00:02"},"nexthops":[{"ip":"10.9.0.2","afi":"ipv4"}]}]}`
	for hop, want := range map[string]bool{"10.9.0.2": true, "::ffff:10.9.0.2": true, "10.9.0.3": false, "10.9.0.4": false} {
		mac, ok, err := readRouterMAC([]byte(answer), netip.MustParseAddr(hop))
		require.NoError(t, err)
		require.Equal(t, want, ok, hop)
		if want {
			require.Equal(t, intent.MAC{6, 0x77, 10, 9, 0, 2}, mac)
		}
	}
	_, ok, err := readRouterMAC([]byte("{}"), netip.MustParseAddr("10.9.0.2"))
	require.NoError(t, err)
	require.False(t, ok, "the prefix is not there")
	for _, bad := range []string{"", "% no", `{"paths":[{"extendedCommunity":{"string":"Rmac:x"},"nexthops":[{"ip":"10.9.0.2"}]}]}`} {
		_, _, err := readRouterMAC([]byte(bad), netip.MustParseAddr("10.9.0.2"))
		require.Error(t, err, bad)
	}
}
