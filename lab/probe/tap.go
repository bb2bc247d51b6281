package probe

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/weft-sdn/weft/lab/netns"
	"golang.org/x/sys/unix"
)

// Tap reads all frames of an interface, as an AF_PACKET socket in the
// interface's namespace.
type Tap struct {
	file *os.File
	done sync.WaitGroup
}

// OpenTap calls take for each frame on the interface until Close; out tells
// that the frame was leaving. The frame is take's only during the call.
func OpenTap(namespace, iface string, take func(frame []byte, out bool)) (*Tap, error) {
	t := &Tap{}
	err := netns.Do(namespace, func() error {
		i, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		all := int(uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: i.Index}); err != nil {
			unix.Close(fd)
			return err
		}
		t.file = os.NewFile(uintptr(fd), "tap "+iface) // non-blocking, so Close wakes the reader
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", iface, err)
	}
	raw, err := t.file.SyscallConn()
	if err != nil {
		t.file.Close()
		return nil, err
	}
	t.done.Go(func() {
		buf := make([]byte, 65536)
		for {
			var n int
			var from unix.Sockaddr
			var readErr error
			err := raw.Read(func(fd uintptr) bool {
				n, from, readErr = unix.Recvfrom(int(fd), buf, 0)
				return !errors.Is(readErr, unix.EAGAIN)
			})
			if err != nil || readErr != nil {
				return // closed, or the interface is gone
			}
			ll, _ := from.(*unix.SockaddrLinklayer)
			take(buf[:n], ll != nil && ll.Pkttype == unix.PACKET_OUTGOING)
		}
	})
	return t, nil
}

// Done ends when nothing more will be read: the interface is gone.
func (t *Tap) Done() <-chan struct{} {
	c := make(chan struct{})
	go func() { t.done.Wait(); close(c) }()
	return c
}

// Close ends the reading; after it take is not called any more.
func (t *Tap) Close() {
	t.file.Close()
	t.done.Wait()
}
