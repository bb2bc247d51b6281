package evpn

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const dialTimeout = 5 * time.Second

// dial connects to a BGP speaker, with TCP-MD5 (RFC 2385) when there is a
// password.
func dial(ctx context.Context, from netip.Addr, to netip.AddrPort, password string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	if password != "" {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			if cerr := c.Control(func(fd uintptr) { err = setMD5(int(fd), to.Addr().Unmap(), password) }); cerr != nil {
				return cerr
			}
			return err
		}
	}
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// setMD5 sets the TCP-MD5 password of a peer on a socket.
func setMD5(fd int, to netip.Addr, password string) error {
	sig := unix.TCPMD5Sig{Keylen: uint16(len(password))}
	if len(password) > len(sig.Key) {
		return fmt.Errorf("the TCP-MD5 password has more than %d octets", len(sig.Key))
	}
	copy(sig.Key[:], password)
	sig.Addr.Family = unix.AF_INET
	if to.Is4() {
		a := to.As4()
		copy(sig.Addr.Data[2:], a[:])
	} else {
		sig.Addr.Family = unix.AF_INET6
		a := to.As16()
		copy(sig.Addr.Data[6:], a[:])
	}
	if err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig); err != nil {
		return fmt.Errorf("set the TCP-MD5 password: %w", err)
	}
	return nil
}
