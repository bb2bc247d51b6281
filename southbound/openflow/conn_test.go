package openflow

import (
	"bufio"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answering is a switch that answers hello, features, echoes and barriers.
func answering(t *testing.T) (endpoint string) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := c.Write(hello(1)); err != nil {
			return
		}
		for r := bufio.NewReader(c); ; {
			m, err := readMessage(r)
			if err != nil {
				return
			}
			answer := map[byte]byte{typeFeaturesRequest: typeFeaturesReply, typeEchoRequest: typeEchoReply, typeBarrierRequest: typeBarrierReply}[m[1]]
			if answer == 0 {
				continue
			}
			var body []byte
			if answer == typeFeaturesReply {
				body = make([]byte, 24)
			}
			if _, err := c.Write(simple(answer, uint32(m[4])<<24|uint32(m[5])<<16|uint32(m[6])<<8|uint32(m[7]), body...)); err != nil {
				return
			}
		}
	}()
	return "unix:" + path
}

// A connection that has been quiet, and then is busy for longer than a switch
// may be silent, goes on.
func TestBusyConnectionGoesOn(t *testing.T) {
	const every = 20 * time.Millisecond
	c, err := Dial(t.Context(), answering(t), Config{EchoInterval: every})
	require.NoError(t, err)
	defer c.Close()
	quiet := time.Now()
	for time.Since(quiet) < 3*every { // an echo is sent
		time.Sleep(every / 4)
	}
	for began := time.Now(); time.Since(began) < 12*every; {
		require.NoError(t, c.Barrier(t.Context()))
	}
	require.NoError(t, c.Err())
}
