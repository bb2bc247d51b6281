package evpn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// Listener takes the connections of peers that dial and gives each to the session
// of its address. It is shared by speakers. Connections of others are closed.
type Listener struct {
	tcp *net.TCPListener
	raw syscall.RawConn
	six bool // it is a socket of IPv6

	mu    sync.Mutex
	peers map[netip.Addr]*session
}

// Listen opens a listener at an address and port.
func Listen(at netip.AddrPort) (*Listener, error) {
	network := "tcp" // of IPv6, and at :: of IPv4, too
	if at.Addr().Is4() {
		network = "tcp4"
	}
	tcp, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, fmt.Errorf("listen for BGP at %s: %w", at, err)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		tcp.Close()
		return nil, fmt.Errorf("listen for BGP at %s: %w", at, err)
	}
	return &Listener{tcp: tcp, raw: raw, six: at.Addr().Is6(), peers: map[netip.Addr]*session{}}, nil
}

// Addr is where it listens.
func (l *Listener) Addr() netip.AddrPort { return l.tcp.Addr().(*net.TCPAddr).AddrPort() }

// Run accepts connections until ctx ends.
func (l *Listener) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { l.tcp.Close() })()
	defer l.tcp.Close()
	for {
		c, err := l.tcp.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			continue // the peer gave up meanwhile
		}
		l.give(ctx, c)
	}
}

// give hands a connection to the session that waits for it. One that is up
// already, or does not wait yet, has no use for it: the peer dials again.
func (l *Listener) give(ctx context.Context, c *net.TCPConn) {
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	l.mu.Lock()
	p := l.peers[from]
	l.mu.Unlock()
	if p == nil {
		c.Close()
		return
	}
	select {
	case p.incoming <- c:
	case <-p.done:
		c.Close()
	case <-ctx.Done():
		c.Close()
	default:
		p.superseded(c)
	}
}

// expect has the connections of a session's peer given to it.
func (l *Listener) expect(p *session) error {
	a := p.peer.Address.Addr().Unmap()
	if p.peer.Password != "" {
		if err := l.setMD5(a, p.peer.Password); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers[a] = p
	return nil
}

// forget undoes expect.
func (l *Listener) forget(p *session) {
	a := p.peer.Address.Addr().Unmap()
	l.mu.Lock()
	mine := l.peers[a] == p
	if mine {
		delete(l.peers, a)
	}
	l.mu.Unlock()
	if mine && p.peer.Password != "" {
		_ = l.setMD5(a, "") // it fails when the listener is closed, and its keys gone with it
	}
}

// setMD5 sets the TCP-MD5 password of a peer; an empty one removes it.
func (l *Listener) setMD5(peer netip.Addr, password string) error {
	if l.six {
		peer = netip.AddrFrom16(peer.As16()) // a socket of IPv6 knows IPv4 peers so
	}
	var err error
	if cerr := l.raw.Control(func(fd uintptr) { err = setMD5(int(fd), peer, password) }); cerr != nil {
		return cerr
	}
	return err
}
