package evpn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func TestRDsAsWords(t *testing.T) {
	for want, rd := range map[string]RD{
		"65000:10100":      NewRD(65000, 10100),
		"59904:1":          NewRD(4200000000, 1), // the last two octets of the AS
		"192.0.2.1:3":      {0, 1, 192, 0, 2, 1, 0, 3},
		"4200000000:7":     {0, 2, 0xfa, 0x56, 0xea, 0x00, 0, 7},
		"0009010203040506": {0, 9, 1, 2, 3, 4, 5, 6},
	} {
		require.Equal(t, want, rd.String())
	}
}

// What is carried along with a route does not identify it.
func TestRouteIDs(t *testing.T) {
	a := Route{Key: MACKey(m1), RD: NewRD(65000, 100), VNI: 100, VTEP: v1}
	b := a
	b.VTEP, b.VNI, b.Seq, b.Sticky, b.RouterMAC = v2, 200, 5, true, intent.MAC{2}
	require.Equal(t, a.ID(), b.ID())
	b.Tag = 1
	require.NotEqual(t, a.ID(), b.ID())
	b = a
	b.RD = NewRD(65001, 100)
	require.NotEqual(t, a.ID(), b.ID())
	b = a
	b.Key = HostKey(m1, v1)
	require.NotEqual(t, a.ID(), b.ID())
}
