//go:build lab

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// outgoing is what of a tenant's leaves by an uplink to an address of a VTEP: bytes of
// packets in VXLAN whose inner frames go to one MAC address.
type outgoing struct {
	iface string
	vni   intent.VNI
	to    netip.Addr
}

// uplinks watch what a leaf sends in tunnels by some of its interfaces.
type uplinks struct {
	*site
	mu   sync.Mutex
	sent map[outgoing]uint64
}

// watch begins to count what a leaf sends by its uplinks, and ends with the test.
func (w *site) watch(leaf string, interfaces ...string) *uplinks {
	w.Helper()
	u := &uplinks{site: w, sent: map[outgoing]uint64{}}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for _, name := range interfaces {
		var fd int
		require.NoError(w, netns.Do(w.Namespace(leaf), func() (err error) {
			fd, err = listenOn(name)
			return err
		}))
		readers.Go(func() {
			defer unix.Close(fd)
			buf := make([]byte, 2048)
			for {
				select {
				case <-stop:
					return
				default:
				}
				n, from, err := unix.Recvfrom(fd, buf, 0)
				if err != nil { // nothing came for a while
					continue
				}
				if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
					u.take(name, buf[:n])
				}
			}
		})
	}
	w.Cleanup(func() {
		close(stop)
		readers.Wait()
	})
	return u
}

// listenOn opens a packet socket on an interface of this namespace.
func listenOn(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	if err != nil {
		return -1, err
	}
	index := 0
	if l, e := net.InterfaceByName(name); e != nil {
		err = e
	} else {
		index = l.Index
	}
	wait := unix.Timeval{Usec: 100_000}
	err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", name, err)
	}
	return fd, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// take counts a frame.
func (u *uplinks) take(iface string, b []byte) {
	const eth, udp, vxlan = 14, 8, 8
	if len(b) < eth+20 || binary.BigEndian.Uint16(b[12:]) != unix.ETH_P_IP || b[eth+9] != unix.IPPROTO_UDP {
		return
	}
	at := eth + int(b[eth]&15)*4
	if len(b) < at+udp+vxlan+eth || binary.BigEndian.Uint16(b[at+2:]) != 4789 || b[at+udp+vxlan]&1 != 0 {
		return // a flooded frame goes to the VTEPs' own addresses
	}
	k := outgoing{iface, intent.VNI(binary.BigEndian.Uint32(b[at+udp+4:]) >> 8), netip.AddrFrom4([4]byte(b[eth+16 : eth+20]))}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent[k] += uint64(len(b))
}

// during counts what leaves while something is done, and a moment longer.
func (u *uplinks) during(do func()) map[outgoing]uint64 {
	u.mu.Lock()
	clear(u.sent)
	u.mu.Unlock()
	do()
	time.Sleep(150 * time.Millisecond) // what is read after the last packet was sent
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make(map[outgoing]uint64, len(u.sent))
	for k, n := range u.sent {
		out[k] = n
	}
	return out
}

// burst sends flows between several pairs at once, one flow after the other.
func (w *site) burst(rounds int, pairs ...pairOf) {
	w.Helper()
	payload := make([]byte, 400)
	for range rounds {
		for _, p := range pairs {
			flows := w.dialled(p, flowsAtOnce/2)
			for range 2 {
				for _, c := range flows {
					_, _ = c.Write(payload) // the port may be closed
				}
			}
			shut(flows)
		}
		time.Sleep(time.Millisecond) // a burst, not a flood
	}
}

// byUplink is how much of a tenant's traffic to some addresses left by each interface,
// in parts of a hundred, and how many bytes that are.
func byUplink(sent map[outgoing]uint64, vni intent.VNI, to []netip.Addr, interfaces ...string) (parts []float64, bytes uint64) {
	parts = make([]float64, len(interfaces))
	for i, name := range interfaces {
		for _, a := range to {
			n := sent[outgoing{name, vni, a}]
			parts[i] += float64(n)
			bytes += n
		}
	}
	for i := range parts {
		parts[i] *= 100 / float64(max(bytes, 1))
	}
	return parts, bytes
}
