package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/weft-sdn/weft/lab/netns"
	"golang.org/x/sys/unix"
)

// Host is a place where probes start and end: a VM or a server.
type Host struct {
	Name      string
	Namespace string
	Interface string
	Tenant    string // empty when intent knows no port of it
	Network   string
	// Router is that of the network, empty when there is none. Whether two hosts
	// behind one router reach each other is not known: it depends on their own
	// routes.
	Router    string
	Addresses []netip.Addr
	Subnets   []netip.Prefix
	// VTEP is the address of the edge that the host is attached to.
	VTEP netip.Addr
	// Edge is the kind of that edge.
	Edge string
}

// Kinds of edges.
const (
	VSwitch      = "vswitch"
	HardwareVTEP = "hardware-vtep"
	EVPNLeaf     = "evpn-leaf"
)

// sameNetwork reports whether two hosts are to reach each other.
func (h Host) sameNetwork(o Host) bool {
	return h.Tenant != "" && h.Tenant == o.Tenant && h.Network == o.Network
}

// port is the UDP port of probes.
const port = 4242

// Receipt is one copy of a probe that arrived.
type Receipt struct {
	ID
	IPv6 bool
	At   string // the host that got it
	Time int64  // nanoseconds since the run began
}

// Field is a set of hosts with open sockets.
type Field struct {
	Hosts []Host

	run   string
	began time.Time
	index map[string]int
	ends  []*end
	count int // of rounds

	mu       sync.Mutex
	onCopy   func(Receipt) // called for each copy, one at a time
	arrived  chan struct{}
	received sync.WaitGroup
}

// end is a host's sockets.
type end struct {
	ifindex int
	v4, v6  *net.UDPConn
}

// Open opens sockets on all hosts.
func Open(hosts []Host) (*Field, error) {
	f := &Field{Hosts: hosts, run: rand.Text()[:10], began: time.Now(), index: map[string]int{}, arrived: make(chan struct{}, 1)}
	for i, h := range hosts {
		if _, twice := f.index[h.Name]; twice {
			f.Close()
			return nil, fmt.Errorf("host %s is named twice", h.Name)
		}
		f.index[h.Name] = i
		e := &end{}
		f.ends = append(f.ends, e)
		if err := netns.Do(h.Namespace, func() error { return e.open(h.Interface) }); err != nil {
			f.Close()
			return nil, fmt.Errorf("open sockets on %s: %w", h.Name, err)
		}
	}
	for i, e := range f.ends {
		f.receive(hosts[i].Name, e.v4, false)
		f.receive(hosts[i].Name, e.v6, true)
	}
	return f, nil
}

// open opens the sockets in the current namespace.
func (e *end) open(iface string) error {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return fmt.Errorf("find %s: %w", iface, err)
	}
	e.ifindex = i.Index
	if e.v4, err = listen("udp4", iface); err != nil {
		return err
	}
	e.v6, err = listen("udp6", iface)
	return err
}

// listen opens a socket that is bound to an interface: a namespace may have
// several hosts, and what is sent leaves here or nowhere.
func listen(network, device string) (*net.UDPConn, error) { return listenAt(network, device, port) }

func listenAt(network, device string, port int) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		control := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			roomy(fd)
			if err == nil {
				err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device)
			}
		})
		return errors.Join(control, err)
	}}
	c, err := lc.ListenPacket(context.Background(), network, ":"+strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// room is how many bytes a socket keeps until they are read.
const room = 8 << 20

// roomy gives a socket so much room that losses are the network's, not the socket's,
// whatever the machine's own limit is.
func roomy(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) }

// listenOn opens a socket on an address and a port; any port when it is 0.
func listenOn(address netip.Addr, port int) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return c.Control(roomy) }}
	c, err := lc.ListenPacket(context.Background(), "udp", netip.AddrPortFrom(address, uint16(port)).String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// Close closes all sockets.
func (f *Field) Close() {
	for _, e := range f.ends {
		for _, c := range []*net.UDPConn{e.v4, e.v6} {
			if c != nil {
				c.Close()
			}
		}
	}
	f.received.Wait()
}

func (f *Field) now() int64 { return int64(time.Since(f.began)) }

// receive counts all that comes in on a socket until it is closed.
func (f *Field) receive(host string, c *net.UDPConn, v6 bool) {
	f.received.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // an ICMP error for something sent
			}
			id, ok := ParseID(buf[:n])
			if !ok || id.Run != f.run {
				continue
			}
			f.mu.Lock()
			if f.onCopy != nil {
				f.onCopy(Receipt{ID: id, IPv6: v6, At: host, Time: f.now()})
			}
			f.mu.Unlock()
			select {
			case f.arrived <- struct{}{}:
			default:
			}
		}
	})
}

// round names a new round of probes. What the hosts' kernels held back from an
// earlier one, waiting for a neighbour, is so told from what is sent now.
func (f *Field) round(kind string) string {
	f.count++
	return fmt.Sprintf("%s%d", kind, f.count)
}

// collect has each copy told to take until the returned function is called.
func (f *Field) collect(take func(Receipt)) (end func()) {
	f.mu.Lock()
	f.onCopy = take
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		f.onCopy = nil
		f.mu.Unlock()
	}
}

// locked calls a function that reads what the collector writes.
func (f *Field) locked(do func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return do()
}

// wait returns when cond holds, which is asked after arrivals, or after d.
func (f *Field) wait(ctx context.Context, d time.Duration, cond func() bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	for !f.locked(cond) {
		select {
		case <-f.arrived:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// send sends a probe from a host to an address. An error means that the
// host's own kernel refused it: no route, no buffer.
func (f *Field) send(from int, to netip.Addr, id ID) error {
	id.Run, id.Sent = f.run, f.now()
	e := f.ends[from]
	c := e.v4
	if to.Is6() {
		c = e.v6
		if to.IsLinkLocalUnicast() || to.IsLinkLocalMulticast() {
			// By number: a name would be looked up in our own namespace.
			to = to.WithZone(strconv.Itoa(e.ifindex))
		}
	}
	_, err := c.WriteToUDPAddrPort(id.Bytes(), netip.AddrPortFrom(to, port))
	return err
}

// pacer holds a rate of events per second. After more than catchUp late it goes on from
// then: what a sender that was held up sends at once, a network would lose that loses
// nothing at the rate.
type pacer struct {
	rate  int
	count int
	began time.Time
}

// catchUp is how late a pacer may be and still keep to its times.
const catchUp = 10 * time.Millisecond

// wait blocks as long as the next event is early.
func (p *pacer) wait(ctx context.Context) error {
	if p.began.IsZero() {
		p.began = time.Now()
	}
	due := p.began.Add(time.Duration(p.count) * time.Second / time.Duration(p.rate))
	p.count++
	switch d := time.Until(due); {
	case d > time.Millisecond:
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	case d < -catchUp:
		p.began = p.began.Add(-d)
	}
	return ctx.Err()
}
