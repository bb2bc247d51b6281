package vswitch

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func TestAnnouncements(t *testing.T) {
	mac := intent.MAC{2, 0, 0, 0, 0, 9}
	require.Equal(t, "ffffffffffff"+"020000000009"+"0806"+"0001080006040001"+"020000000009"+"c0a80009"+"000000000000"+"c0a80009",
		hex.EncodeToString(gratuitousARP(mac, netip.MustParseAddr("192.168.0.9"))[:42]))
	require.Equal(t, "ffffffffffff"+"020000000009"+"8035"+"0001080006040003"+"020000000009"+"00000000"+"020000000009"+"00000000", hex.EncodeToString(rarp(mac)[:42]))
	na := unsolicitedNA(mac, netip.MustParseAddr("fd00::9"))
	require.Equal(t, "333300000001"+"020000000009"+"86dd"+"6000000000203aff", hex.EncodeToString(na[:22]))
	require.Equal(t, "20000000"+"fd000000000000000000000000000009"+"0201"+"020000000009", hex.EncodeToString(na[58:]))
	// The checksum of a packet with its checksum is zero.
	pseudo := append(append([]byte{}, na[22:54]...), 0, 0, 0, 32, 0, 0, 0, 58)
	require.Zero(t, checksum(append(pseudo, na[54:86]...)))
	for _, f := range announcements(local(1, "192.168.0.1", "fd00::1")) {
		require.GreaterOrEqual(t, len(f), 60)
	}
	require.Len(t, announcements(local(1, "192.168.0.1", "fd00::1")), 2)
	require.Len(t, announcements(local(1)), 1)
}
