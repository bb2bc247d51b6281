package openflow

import (
	"bufio"
	"encoding/binary"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// answering is a switch that answers hello, features, echoes and barriers until
// the connection ends.
func answering(c net.Conn) {
	defer c.Close()
	for r := bufio.NewReader(c); ; {
		m, err := readMessage(r)
		if err != nil {
			return
		}
		answer, body := byte(0), []byte(nil)
		switch m[1] {
		case typeHello:
			if _, err := c.Write(hello(1)); err != nil {
				return
			}
			continue
		case typeFeaturesRequest:
			answer, body = typeFeaturesReply, make([]byte, 24)
		case typeEchoRequest:
			answer = typeEchoReply
		case typeBarrierRequest:
			answer = typeBarrierReply
		default:
			continue
		}
		if _, err := c.Write(simple(answer, binary.BigEndian.Uint32(m[4:]), body...)); err != nil {
			return
		}
	}
}

// A connection that has been quiet, and then is busy for longer than a switch
// may be silent, goes on.
func TestBusyConnectionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go answering(theirs)
		c, err := talk(t.Context(), ours, Config{})
		require.NoError(t, err)
		defer c.Close()
		time.Sleep(20 * time.Second) // an echo is sent
		for range 60 {
			time.Sleep(time.Second)
			require.NoError(t, c.Barrier(t.Context()))
		}
		require.NoError(t, c.Err())
	})
}
