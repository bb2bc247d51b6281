package linux

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForwarded(t *testing.T) {
	n, err := forwarded4("Ip: Forwarding DefaultTTL InReceives ForwDatagrams InDelivers\nIp: 1 64 500 42 7\nIcmp: InMsgs\nIcmp: 9\n")
	require.NoError(t, err)
	require.EqualValues(t, 42, n)
	for _, s := range []string{"", "Ip: Forwarding\nIp: 1\n", "Ip: ForwDatagrams\n", "Ip: a ForwDatagrams\nIp: 1\n", "Ip: a ForwDatagrams\nIp: 1 x\n"} {
		_, err := forwarded4(s)
		require.Error(t, err, "%q", s)
	}
	require.EqualValues(t, 13, forwarded6("Ip6InReceives   5\nIp6OutForwDatagrams   13\n"))
	require.Zero(t, forwarded6("Ip6InReceives   5\n"))
	_, err = forwarded()
	require.NoError(t, err, "this machine's kernel")
}
