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
