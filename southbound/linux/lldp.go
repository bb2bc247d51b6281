package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology/lldp"
)

// Times of LLDP. The standard's 30 s (IEEE 802.1AB-2016 clause 9.2.5.7) are for
// people; a cable that was moved is to be found at once.
const (
	lldpEvery = 2 * time.Second
	lldpTTL   = 3*lldpEvery + time.Second // clause 9.2.5.22, with two frames lost
)

// heardMost bounds the neighbours of a port: more than two are a hub or a flood.
const heardMost = 8

// Wires are the switch's Ethernet ports and who is at their other ends. It speaks
// LLDP on each port that is up, and hears it on all. All calls must come from
// threads of one network namespace.
type Wires struct {
	name string
	log  *slog.Logger

	mu    sync.Mutex
	heard map[int][]heard // by interface index
	woken chan struct{}
}

// heard is a neighbour and until when what it says holds.
type heard struct {
	switchstate.Neighbour
	until time.Time
}

// NewWires returns the wires of a switch, which its neighbours get to know by name.
func NewWires(name string, log *slog.Logger) *Wires {
	return &Wires{name: name, log: log, heard: map[int][]heard{}, woken: make(chan struct{}, 1)}
}

// Changed gets a value when a neighbour came, went or changed.
func (w *Wires) Changed() <-chan struct{} { return w.woken }

func (w *Wires) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// Run speaks and hears until ctx ends, or the socket fails. When it ends, ports take
// back what they said (clause 9.1.1.3, "shutdown").
func (w *Wires) Run(ctx context.Context) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(network16(lldp.EtherType)))
	if err != nil {
		return fmt.Errorf("open a packet socket for LLDP: %w", err)
	}
	f := os.NewFile(uintptr(fd), "lldp")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer f.Close() // ends the reader
		return w.speak(ctx, raw)
	})
	g.Go(func() error {
		err := w.hear(raw)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("read LLDP: %w", err)
	})
	return g.Wait()
}

func network16(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// rawConn is a socket's descriptor, lent for a call.
type rawConn interface {
	Control(func(fd uintptr)) error
	Read(func(fd uintptr) bool) error
}

// speak sends on each port now, whenever an interface changes and every lldpEvery.
func (w *Wires) speak(ctx context.Context, raw rawConn) error {
	updates, stop := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(stop)
	if err := netlink.LinkSubscribe(updates, stop); err != nil {
		return fmt.Errorf("follow interfaces: %w", err)
	}
	tick := time.NewTicker(lldpEvery)
	defer tick.Stop()
	member := map[int]bool{}
	up := map[int]bool{}
	w.sayAll(raw, lldpTTL, member, up)
	for {
		select {
		case <-ctx.Done():
			w.sayAll(raw, 0, member, up)
			return ctx.Err()
		case u, ok := <-updates:
			if !ok {
				return errors.New("follow interfaces: the kernel's messages ended")
			}
			if i := u.Attrs().Index; up[i] == carrier(u.Link) {
				continue
			}
			w.wake()
		case <-tick.C:
			if w.expire(time.Now()) {
				w.wake()
			}
		}
		w.sayAll(raw, lldpTTL, member, up)
	}
}

// sayAll sends a frame on each port that is up, and joins the group there that the
// frames of others are sent to. A port that can't be sent on is tried again.
func (w *Wires) sayAll(raw rawConn, ttl time.Duration, member, up map[int]bool) {
	links, err := allLinks()
	if err != nil {
		w.log.Warn("reading interfaces failed; no LLDP is sent", "err", err)
		return
	}
	clear(up)
	for _, l := range links {
		a := l.Attrs()
		if !isPort(l) || !carrier(l) {
			continue
		}
		up[a.Index] = true
		frame, err := lldp.Frame{Chassis: w.name, System: w.name, Port: a.Name, TTL: ttl, MaxFrame: a.MTU + 18}.Encode(intent.MAC(a.HardwareAddr))
		if err != nil {
			w.log.Warn("no LLDP is sent", "interface", a.Name, "err", err)
			continue
		}
		to := &unix.SockaddrLinklayer{Protocol: network16(lldp.EtherType), Ifindex: a.Index, Halen: 6}
		copy(to.Addr[:], lldp.Destination[:])
		_ = raw.Control(func(fd uintptr) {
			if !member[a.Index] {
				m := unix.PacketMreq{Ifindex: int32(a.Index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
				copy(m.Address[:], lldp.Destination[:])
				member[a.Index] = unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m) == nil
			}
			if err := unix.Sendto(int(fd), frame, 0, to); err != nil && !errors.Is(err, unix.ENETDOWN) {
				w.log.Debug("LLDP was not sent", "interface", a.Name, "err", err)
			}
		})
	}
}

// hear reads frames until the socket is closed.
func (w *Wires) hear(raw rawConn) error {
	buf := make([]byte, 9216)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		if err := raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(failed, unix.EAGAIN)
		}); err != nil {
			return err
		}
		if errors.Is(failed, unix.ENETDOWN) || errors.Is(failed, unix.EINTR) {
			continue // an interface went down; the others go on
		}
		if failed != nil {
			return failed
		}
		at, ok := from.(*unix.SockaddrLinklayer)
		if !ok || at.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		f, err := lldp.Decode(buf[:n])
		if err != nil {
			w.log.Debug("a frame of LLDP could not be read", "ifindex", at.Ifindex, "err", err)
			continue
		}
		if w.take(at.Ifindex, f, time.Now()) {
			w.wake()
		}
	}
}

// take notes what a neighbour says, and reports whether that is news.
func (w *Wires) take(index int, f lldp.Frame, now time.Time) bool {
	n := switchstate.Neighbour{Device: f.Device(), Port: f.Port}
	if f.Chassis != n.Device {
		n.Chassis = f.Chassis
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.heard[index]
	i := slices.IndexFunc(list, func(h heard) bool { return h.Neighbour == n })
	switch {
	case f.TTL == 0 && i < 0:
		return false
	case f.TTL == 0:
		w.heard[index] = slices.Delete(list, i, i+1)
		return true
	case i >= 0:
		list[i].until = now.Add(f.TTL)
		return false
	case len(list) >= heardMost:
		return false
	}
	w.heard[index] = append(list, heard{n, now.Add(f.TTL)})
	return true
}

// expire forgets what holds no longer, and reports whether there was any.
func (w *Wires) expire(now time.Time) (any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for index, list := range w.heard {
		left := slices.DeleteFunc(list, func(h heard) bool { return h.until.Before(now) })
		any = any || len(left) < len(list)
		if w.heard[index] = left; len(left) == 0 {
			delete(w.heard, index)
		}
	}
	return any
}

// Report is what the switch's ports are now. What a port heard before it lost its
// carrier is not told: the cable may be elsewhere.
func (w *Wires) Report() (switchstate.Report, error) {
	r := switchstate.Report{Ports: []switchstate.Port{}}
	links, err := allLinks()
	if err != nil {
		return r, fmt.Errorf("read interfaces: %w", err)
	}
	if r.Forwarded, err = forwarded(); err != nil {
		return r, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range links {
		if !isPort(l) {
			continue
		}
		a := l.Attrs()
		p := switchstate.Port{Name: a.Name, MAC: intent.MAC(a.HardwareAddr), Up: carrier(l), MTU: a.MTU, Speed: speed(a.Name)}
		if s := a.Statistics; s != nil {
			p.Counters = switchstate.Counters{RxPackets: s.RxPackets, RxBytes: s.RxBytes, RxDropped: s.RxDropped, RxErrors: s.RxErrors,
				TxPackets: s.TxPackets, TxBytes: s.TxBytes, TxDropped: s.TxDropped, TxErrors: s.TxErrors}
		}
		if !p.Up {
			delete(w.heard, a.Index)
		}
		for _, h := range w.heard[a.Index] {
			p.Neighbours = append(p.Neighbours, h.Neighbour)
		}
		r.Ports = append(r.Ports, p)
	}
	slices.SortFunc(r.Ports, func(a, b switchstate.Port) int { return strings.Compare(a.Name, b.Name) })
	return r, nil
}

// isPort reports whether an interface is an Ethernet port, real or one end of a pair,
// and none that was made for the overlay.
func isPort(l netlink.Link) bool {
	a := l.Attrs()
	switch l.Type() {
	case "device", "veth":
		return a.EncapType == "ether" && len(a.HardwareAddr) == 6 && !ours(l)
	}
	return false
}

func carrier(l netlink.Link) bool { return l.Attrs().OperState == netlink.OperUp }

// speed is a port's in Mbit/s, zero when the kernel does not say.
func speed(name string) int {
	b, err := os.ReadFile("/sys/class/net/" + name + "/speed")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n <= 0 {
		return 0
	}
	return n
}
