package evpn

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

const many = 100_000

func manyRoutes() []table.Route {
	routes := make([]table.Route, many)
	for i := range routes {
		routes[i] = macIP(intent.VNI(1+i/1000), intent.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, "", netip.AddrFrom4([4]byte{10, 255, 0, byte(i / 1000)}))
	}
	return routes
}

// benchPair is a speaker with a leaf whose session is up and synchronised.
func benchPair(b *testing.B, onRoutes func(string, []Change)) (*Speaker, net.Conn, *bufio.Reader) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	s := New(Config{ASN: 65000, RouterID: netip.MustParseAddr("192.0.2.250"), OnRoutes: onRoutes})
	require.NoError(b, s.SetPeers([]Peer{{Name: "leaf", Address: l.Addr().(*net.TCPAddr).AddrPort(), ASN: 65001}}))
	s.Open()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done })
	conn, err := l.Accept()
	require.NoError(b, err)
	open := openMessage{asn: 65001, id: netip.MustParseAddr("10.255.1.1"), restart: restart{RestartTime: time.Minute}}.encode()
	_, err = conn.Write(append(append(open, keepalive()...), endOfRIB...))
	require.NoError(b, err)
	r := bufio.NewReaderSize(conn, 1<<16)
	for {
		m, err := read(r)
		require.NoError(b, err)
		if isEnd(m) {
			return s, conn, r
		}
	}
}

func isEnd(m message) bool { return m.kind() == bgp.BGP_MSG_UPDATE && isEndOfRIB(m) }

// announcedIn counts the routes that an UPDATE of ours announces.
func announcedIn(b *testing.B, m message) int {
	list, err := split(nil, m.body())
	require.NoError(b, err)
	require.Equal(b, bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, list[0].kind)
	return count(list[0].value[5+int(list[0].value[3]):])
}

// BenchmarkAnnounce is 100,000 routes from Announce to a leaf's socket.
func BenchmarkAnnounce(b *testing.B) {
	routes := manyRoutes()
	for b.Loop() {
		b.StopTimer()
		s, _, r := benchPair(b, nil)
		b.StartTimer()
		require.NoError(b, s.Announce(routes, nil))
		for n := 0; n < many; {
			m, err := read(r)
			require.NoError(b, err)
			if m.kind() == bgp.BGP_MSG_UPDATE {
				n += announcedIn(b, m)
			}
		}
	}
	b.ReportMetric(many*float64(b.N)/b.Elapsed().Seconds(), "routes/s")
}

// BenchmarkReceive is 100,000 routes from a leaf to OnRoutes.
func BenchmarkReceive(b *testing.B) {
	routes := manyRoutes()
	for b.Loop() {
		b.StopTimer()
		got, all := 0, make(chan struct{})
		_, conn, _ := benchPair(b, func(_ string, list []Change) {
			if got += len(list); got == many {
				close(all)
			}
		})
		b.StartTimer()
		_, err := conn.Write(appendRoutes(nil, routes))
		require.NoError(b, err)
		<-all
	}
	b.ReportMetric(many*float64(b.N)/b.Elapsed().Seconds(), "routes/s")
}

// BenchmarkEncode is 100,000 routes in the table to UPDATEs.
func BenchmarkEncode(b *testing.B) {
	s := New(Config{})
	require.NoError(b, s.Announce(manyRoutes(), nil))
	s.rib.start()
	b.ReportAllocs()
	for b.Loop() {
		d := s.rib.reader(1, true)
		for ended := false; !ended; {
			_, _, ended = d.next()
		}
		d.close()
	}
	b.ReportMetric(many*float64(b.N)/b.Elapsed().Seconds(), "routes/s")
}
