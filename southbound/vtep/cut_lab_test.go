//go:build lab

package vtep

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// cutter stands before a server and hangs up in the middle of transactions.
type cutter struct {
	net.Listener
	server string
	// cuts are left; whole says that the server gets the transaction before
	// the connection ends, and only the answer is lost.
	cuts  atomic.Int32
	whole bool
}

func newCutter(t *testing.T, s *server, whole bool) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	c := &cutter{Listener: l, server: s.dir + "/db.sock", whole: whole}
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("unix", c.server)
			if err != nil {
				down.Close()
				continue
			}
			var lost atomic.Bool // the answers
			go c.requests(up, down, &lost)
			go answers(down, up, &lost)
		}
	}()
	return c
}

func answers(down, up net.Conn, lost *atomic.Bool) {
	defer down.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := up.Read(b)
		if err != nil || lost.Load() {
			return
		}
		if _, err := down.Write(b[:n]); err != nil {
			return
		}
	}
}

func (c *cutter) requests(up, down net.Conn, lost *atomic.Bool) {
	defer up.Close()
	b := make([]byte, 1<<20)
	for {
		n, err := down.Read(b)
		if err != nil {
			return
		}
		i := bytes.Index(b[:n], []byte(`"transact"`))
		if i < 0 || c.cuts.Load() == 0 {
			if _, err := up.Write(b[:n]); err != nil {
				return
			}
			continue
		}
		c.cuts.Add(-1)
		if !c.whole {
			_, _ = up.Write(b[:i+(n-i)/2])
			down.Close()
			return
		}
		lost.Store(true)
		_, _ = up.Write(b[:n])
		_, _ = up.Read(b) // the answer that nobody gets; the other reader may have it
		down.Close()
		return
	}
}

// A server that goes away in the middle of a transaction leaves all of it or
// nothing; what is lacking is written with the next connection.
func TestServerClosesMidTransaction(t *testing.T) {
	for name, whole := range map[string]bool{"half of the request arrives": false, "the answer is lost": true} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, schemaFile)
			s.ctl("add-ps", "tor1", "--", "set", "Physical_Switch", "tor1", "tunnel_ips=10.0.0.1", "--", "add-port", "tor1", "eth1", "--", "add-port", "tor1", "eth2")
			c := newCutter(t, s, whole)
			c.cuts.Store(3)
			tb := newTables()
			rows := []evpn.Row{imet(ip(7))}
			for i := range 200 {
				rows = append(rows, evpn.Row{Key: evpn.MACKey(intent.MAC{2, 1, 0, 0, byte(i), 0}), Path: evpn.Path{VTEP: ip(7)}})
			}
			tb.set(100, rows...)
			before := s.written()
			r := start(t, node("tor1", ip(1), "tcp:"+c.Addr().String()), tb, plugged)
			s.eventually("it is told", func() bool { return len(r.said(southbound.CodeUnreachable)) > 0 })
			if !whole {
				require.Zero(t, s.count("Ucast_Macs_Remote")%200, "all or nothing")
			}
			r.synced()
			require.Equal(t, 200, s.count("Ucast_Macs_Remote"), "each once")
			require.Equal(t, 1, s.count("Mcast_Macs_Remote"))
			require.Equal(t, before+1, s.written(), "one transaction was done, once")
			require.Empty(t, r.said("Repaired"))
			r.saidOnce(t, "Recovered")
			require.Len(t, r.said(southbound.CodeUnreachable), 1, "once for three connections")

			for i := range 5 {
				c.cuts.Store(1)
				tb.set(100, at(byte(20+i), ip(7)))
				s.eventually("it was cut", func() bool { return c.cuts.Load() == 0 })
			}
			r.synced()
			require.Equal(t, 205, s.count("Ucast_Macs_Remote"))
			require.Empty(t, r.said("Repaired"))
		})
	}
}
