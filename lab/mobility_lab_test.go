//go:build lab

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
)

// mobile is a VM that can be in several places: its address is on a bridge of
// its own, with one plug in each place, of which one at a time is the bridge's.
// Plugging is what is left of a live migration when the memory is copied: the
// VM stops in one place and speaks in the next.
type mobile struct {
	*site
	vm    string
	mac   intent.MAC
	plugs map[string]string // node -> the VM's interface
	at    string
	quiet func() // ends the announcements of the last move
}

const mobileBridge = "vm0"

// mobile makes a VM of the lab mobile. It is where it was.
func (w *site) mobile(vm string) *mobile {
	w.Helper()
	host, edge := End{}, End{}
	for _, l := range w.Links {
		for _, e := range [][2]End{{l.A, l.B}, {l.B, l.A}} {
			if e[0].Node == vm {
				host, edge = e[0], e[1]
			}
		}
	}
	m := &mobile{site: w, vm: vm, mac: host.MAC, plugs: map[string]string{edge.Node: host.Interface}, at: edge.Node, quiet: func() {}}
	require.NoError(w, netns.Do(w.Namespace(vm), func() error {
		old, err := netlink.LinkByName(host.Interface)
		if err != nil {
			return err
		}
		addresses, err := netlink.AddrList(old, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		attrs, off := netlink.NewLinkAttrs(), false
		attrs.Name, attrs.HardwareAddr, attrs.MTU = mobileBridge, old.Attrs().HardwareAddr, old.Attrs().MTU
		m.mac = intent.MAC(old.Attrs().HardwareAddr)
		bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		if err := checksumOff(mobileBridge); err != nil {
			return err
		}
		for _, a := range addresses {
			if a.IP.IsLinkLocalUnicast() {
				continue
			}
			if err := netlink.AddrDel(old, &a); err != nil {
				return err
			}
			p, _ := netip.AddrFromSlice(a.IP)
			bits, _ := a.Mask.Size()
			if err := addAddress(Address{mobileBridge, netip.PrefixFrom(p.Unmap(), bits)}); err != nil {
				return err
			}
		}
		if err := netlink.LinkSetMaster(old, bridge); err != nil {
			return err
		}
		return netlink.LinkSetUp(bridge)
	}))
	return m
}

// settle makes the VM an ordinary one again, in the place where it was first.
func (m *mobile) settle() {
	m.Helper()
	m.quiet()
	require.NoError(m, netns.Do(m.Namespace(m.vm), func() error {
		bridge, err := netlink.LinkByName(mobileBridge)
		if err != nil {
			return err
		}
		addresses, err := netlink.AddrList(bridge, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		if err := netlink.LinkDel(bridge); err != nil {
			return err
		}
		for _, a := range addresses {
			if a.IP.IsLinkLocalUnicast() {
				continue
			}
			p, _ := netip.AddrFromSlice(a.IP)
			bits, _ := a.Mask.Size()
			if err := addAddress(Address{"eth1", netip.PrefixFrom(p.Unmap(), bits)}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// socket gives the VM a plug in another place: what a hypervisor manager makes
// at the destination before it copies memory. On a leaf it is just a cable.
func (m *mobile) socket(node string) {
	m.Helper()
	iface, inside := "m-"+m.vm, fmt.Sprintf("eth%d", len(m.plugs)+1)
	require.LessOrEqual(m, len(iface), 15)
	require.NoError(m, makeLink(m.State.Name, Link{A: End{Node: node, Interface: iface}, B: End{Node: m.vm, Interface: inside}, MTU: vmMTU}))
	require.NoError(m, netns.Do(m.Namespace(m.vm), func() error { return checksumOff(inside) }))
	m.plugs[node] = inside
	n, err := m.Node(node)
	require.NoError(m, err)
	if n.Role == intent.RoleHypervisor {
		m.claim(node)
	}
}

// claim plugs the VM's iface-id into a hypervisor's bridge.
func (m *mobile) claim(node string) {
	iface := m.iface(node)
	m.vsctl(node, "--may-exist", "add-port", bridgeInt, iface, "--", "set", "Interface", iface, "external_ids:iface-id="+m.vm)
}

// left plugs it out of where the VM was.
func (m *mobile) left(node string) {
	if n, err := m.Node(node); err == nil && n.Role == intent.RoleHypervisor {
		m.vsctl(node, "remove", "Interface", m.iface(node), "external_ids", "iface-id")
	}
}

// iface is the interface of a node that leads to the VM.
func (m *mobile) iface(node string) string {
	if m.plugs[node] == "eth1" {
		return m.hostPort(m.vm)
	}
	return "m-" + m.vm
}

// announceAgain is when QEMU announces a VM that arrived, after the first time:
// one frame alone can be lost, to a switch that still has another verdict on its
// kind in its cache, too.
var announceAgain = []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 250 * time.Millisecond, 350 * time.Millisecond}

// announce sends announcements from an interface of the VM until it moves on.
func (m *mobile) announce(ifindex int) {
	ctx, stop := context.WithCancel(m.Context())
	done := make(chan struct{})
	m.quiet = func() { stop(); <-done }
	go func() {
		defer close(done)
		for _, wait := range announceAgain {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			_ = netns.Do(m.Namespace(m.vm), func() error { return sendRARP(ifindex, m.mac) }) // the first one was sent
		}
	}()
}

// move takes the VM to another place, where it speaks as QEMU does at the end of
// a migration.
func (m *mobile) move(node string) {
	m.Helper()
	m.quiet()
	index := 0
	require.NoError(m, netns.Do(m.Namespace(m.vm), func() error {
		bridge, err := netlink.LinkByName(mobileBridge)
		if err != nil {
			return err
		}
		old, err := netlink.LinkByName(m.plugs[m.at])
		if err != nil {
			return err
		}
		now, err := netlink.LinkByName(m.plugs[node])
		if err != nil {
			return err
		}
		if err := netlink.LinkSetNoMaster(old); err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(now, bridge); err != nil {
			return err
		}
		index = now.Attrs().Index
		return sendRARP(index, m.mac)
	}))
	m.announce(index)
	m.at = node
}

// sendRARP sends the frame by which QEMU announces a VM that arrived.
func sendRARP(ifindex int, mac intent.MAC) error {
	const etherRARP = 0x8035
	f := slices.Concat(slices.Repeat([]byte{0xff}, 6), mac[:], []byte{etherRARP >> 8, etherRARP & 0xff, 0, 1, 8, 0, 6, 4, 0, 3},
		mac[:], make([]byte, 4), mac[:], make([]byte, 4), make([]byte, 18))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: ifindex, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}})
}

// stream is a 1 ms ping and a TCP connection between two hosts.
type stream struct {
	t    testing.TB
	stop context.CancelFunc
	done sync.WaitGroup

	sent, back []atomic.Int64 // by number: when it was sent, when the answer came
	pinged     atomic.Int64

	moved  atomic.Int64 // bytes
	failed atomic.Value
}

const (
	pingEvery = time.Millisecond
	pingMost  = 200_000
)

// stream begins to talk from one host to an address of another.
func (w *site) stream(from, to string, at netip.Addr) *stream {
	w.Helper()
	ctx, stop := context.WithCancel(w.Context())
	s := &stream{t: w.TB, stop: stop, sent: make([]atomic.Int64, pingMost), back: make([]atomic.Int64, pingMost)}
	var echo, ask *net.UDPConn
	var listener net.Listener
	var dialled net.Conn
	require.NoError(w, netns.Do(w.Namespace(to), func() (err error) {
		if echo, err = net.ListenUDP("udp", &net.UDPAddr{IP: at.AsSlice(), Port: 7001}); err != nil {
			return err
		}
		listener, err = net.Listen("tcp", netip.AddrPortFrom(at, 7002).String())
		return err
	}))
	require.NoError(w, netns.Do(w.Namespace(from), func() (err error) {
		if ask, err = net.DialUDP("udp", nil, &net.UDPAddr{IP: at.AsSlice(), Port: 7001}); err != nil {
			return err
		}
		dialled, err = net.DialTimeout("tcp", netip.AddrPortFrom(at, 7002).String(), patience)
		return err
	}))
	accepted, err := listener.Accept()
	require.NoError(w, err)
	context.AfterFunc(ctx, func() {
		for _, c := range []io.Closer{echo, ask, listener, dialled, accepted} {
			c.Close()
		}
	})
	s.done.Go(func() { answer(echo) })
	s.done.Go(func() { s.hear(ask) })
	s.done.Go(func() { s.ask(ctx, ask) })
	s.done.Go(func() { s.pour(ctx, dialled) })
	s.done.Go(func() { s.drink(ctx, accepted) })
	w.eventually(patience, func() error {
		if s.back[10].Load() == 0 || s.moved.Load() < 1<<16 {
			return errors.New("the stream has not begun")
		}
		return nil
	})
	return s
}

func answer(c *net.UDPConn) {
	buf := make([]byte, 64)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteToUDPAddrPort(buf[:n], from) // a loss shows in the gap
		}
	}
}

func (s *stream) hear(c *net.UDPConn) {
	buf := make([]byte, 64)
	for {
		n, err := c.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n == 8 {
			s.back[binary.BigEndian.Uint64(buf)].CompareAndSwap(0, time.Now().UnixNano())
		}
	}
}

func (s *stream) ask(ctx context.Context, c *net.UDPConn) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for i := range pingMost {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.sent[i].Store(time.Now().UnixNano())
		_, _ = c.Write(binary.BigEndian.AppendUint64(nil, uint64(i)))
		s.pinged.Store(int64(i + 1))
	}
}

// pour writes a sequence that drink checks, at a few MB/s.
func (s *stream) pour(ctx context.Context, c net.Conn) {
	buf := make([]byte, 8192)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for n := uint64(0); ; {
		for i := range buf {
			buf[i] = byte(n % 251)
			n++
		}
		if _, err := c.Write(buf); err != nil {
			s.fail(ctx, fmt.Errorf("TCP write: %w", err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *stream) drink(ctx context.Context, c net.Conn) {
	buf := make([]byte, 65536)
	for n := uint64(0); ; {
		k, err := c.Read(buf)
		for _, b := range buf[:k] {
			if b != byte(n%251) {
				s.fail(ctx, fmt.Errorf("TCP byte %d is %d", n, b))
				return
			}
			n++
		}
		s.moved.Store(int64(n))
		if err != nil {
			s.fail(ctx, fmt.Errorf("TCP read: %w", err))
			return
		}
	}
}

func (s *stream) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.failed.CompareAndSwap(nil, err)
	}
}

// mark is the number of the next ping.
func (s *stream) mark() int { return int(s.pinged.Load()) }

// gapSince waits until pings are answered again and TCP flows, and returns the
// longest time between two pings that were answered one after the other, by
// when they were sent.
func (s *stream) gapSince(mark int) time.Duration {
	s.t.Helper()
	bytes := s.moved.Load()
	end := time.Now().Add(patience)
	for {
		n := s.mark() - 40
		answered := n > mark
		for i := max(n-20, 0); answered && i < n; i++ {
			answered = s.back[i].Load() != 0
		}
		if answered && s.moved.Load() > bytes+1<<15 {
			break
		}
		if err, ok := s.failed.Load().(error); ok {
			require.NoError(s.t, err)
		}
		require.True(s.t, time.Now().Before(end), "the stream did not go on: %s, TCP %d bytes since", s.answers(mark), s.moved.Load()-bytes)
		time.Sleep(5 * time.Millisecond)
	}
	var gap time.Duration
	last := s.sent[max(mark-1, 0)].Load()
	for i := mark; i < s.mark()-40; i++ {
		if s.back[i].Load() != 0 {
			at := s.sent[i].Load()
			gap, last = max(gap, time.Duration(at-last)), at
		}
	}
	return gap
}

// answers says which pings since a mark were answered.
func (s *stream) answers(mark int) string {
	n, last := 0, -1
	for i := mark; i < s.mark(); i++ {
		if s.back[i].Load() != 0 {
			n, last = n+1, i
		}
	}
	return fmt.Sprintf("%d of %d pings answered, the last %d before the end", n, s.mark()-mark, s.mark()-last)
}

// close ends the stream and requires that TCP never failed.
func (s *stream) close() {
	s.t.Helper()
	err, _ := s.failed.Load().(error)
	s.stop()
	s.done.Wait()
	require.NoError(s.t, err)
}

var followed = regexp.MustCompile(`^all .*?: (.*?) after ([0-9.]+[a-zµ]+)`)

// ours is the part of a move that is the controller's: from the announcement to
// the last edge's confirmation, as it tells itself, and which edge that was.
func (w *site) ours(port intent.Ref, since time.Time) (last string, took time.Duration) {
	w.Helper()
	w.eventually(patience, func() error {
		for _, e := range w.events(since) {
			if e.Reason == "Followed" && e.Object == port.String() {
				m := followed.FindStringSubmatch(e.Message)
				d, err := time.ParseDuration(m[2])
				last, took = m[1], d
				return err
			}
		}
		return errors.New("not all edges follow yet")
	})
	return last, took
}

// prepared waits until a place is ready to take a port.
func (w *site) prepared(port intent.Ref, at string) {
	w.Helper()
	w.eventually(patience, func() error {
		o, err := w.client.Get(w.Context(), port)
		if err != nil {
			return err
		}
		if s := o.(*intent.Port).Status; s.Requested != at {
			return fmt.Errorf("prepared at %q: %v", s.Requested, s.Reasons)
		}
		return nil
	})
}

// request asks for a move as "weft migrate" does, once the last one is written.
func (w *site) request(port intent.Ref, to intent.Place) {
	w.Helper()
	var p *intent.Port
	w.eventually(patience, func() error {
		o, err := w.client.Get(w.Context(), port)
		if err != nil {
			return err
		}
		if p = o.(*intent.Port); !p.Spec.Requested.IsZero() {
			return fmt.Errorf("still to come to %s", p.Spec.Requested)
		}
		return nil
	})
	p.Spec.Requested, p.Status = to, nil
	_, err := w.client.Put(w.Context(), p, client.PutOptions{IfMatch: p.Metadata.Revision})
	require.NoError(w, err)
}

// edgesSite brings the mixed lab up with its tenants: every kind of edge.
func edgesSite(t testing.TB) *site {
	t.Helper()
	labDir(t)
	weft, err := weftBinary()
	require.NoError(t, err)
	file, err := LoadFile("testdata/edges.clab.yml")
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	s.UseController()
	began := time.Now()
	require.NoError(t, Up(t.Context(), s, Options{Weft: weft}))
	w := &site{State: s, TB: t, weft: weft}
	w.client, err = client.New(s.Controller)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			all, _ := w.client.Events(context.Background())
			for _, e := range all[max(0, len(all)-15):] {
				t.Logf("%s %s %s %s: %s", e.Time.Format("15:04:05.000"), e.Device, e.Object, e.Reason, e.Message)
			}
			for _, leaf := range []string{"leaf1", "leaf2"} {
				for _, show := range []string{"nft list ruleset", "bridge fdb show", "ip neigh show", "bridge link show"} {
					out, _ := exec.Command("ip", append([]string{"netns", "exec", w.Namespace(leaf)}, strings.Fields(show)...)...).CombinedOutput()
					t.Logf("%s: %s\n%s", leaf, show, out)
				}
			}
			for _, n := range w.hypervisors() {
				t.Logf("%s:\n%s", n.Name, w.ofctl(n.Name, "dump-flows"))
			}
		}
	})
	w.objects, err = Intent(file)
	require.NoError(t, err)
	w.put(w.objects...)
	w.ready(patience)
	w.whole()
	t.Logf("%d nodes up and %d objects in place after %s", len(s.Nodes), len(w.objects), time.Since(began).Round(time.Millisecond))
	return w
}

// whole waits until all pairs reach each other, and what is sent to all comes to all:
// the emulator of a hardware VTEP looks at its database once a second, and nothing says
// when it has done what is there.
func (w *site) whole() {
	w.Helper()
	hosts, _, err := w.hosts(w.Context())
	require.NoError(w, err)
	w.eventually(patience, func() error {
		field, err := probe.Open(hosts)
		if err != nil {
			return err
		}
		defer field.Close()
		o := probe.CheckOptions{Tries: 1}
		uni, err := field.Check(w.Context(), o)
		if err == nil && !uni.OK() {
			err = fmt.Errorf("%+v", uni.Failures)
		}
		if err != nil {
			return err
		}
		cast, err := field.Broadcast(w.Context(), w.uplinks(), o)
		if err == nil && !cast.OK() {
			err = fmt.Errorf("%+v", cast.Failures)
		}
		return err
	})
}

// A VM moves between hypervisors and to an EVPN leaf and back while a TCP
// connection and a ping of 1 ms go on.
func TestMovingVM(t *testing.T) {
	w := edgesSite(t)
	w.moves(3)
	w.whole()
	require.True(t, w.check().OK())
}

// BenchmarkMoves moves a VM b.N times each way and tells the gaps' median, 99th
// percentile and maximum.
func BenchmarkMoves(b *testing.B) {
	w := edgesSite(b)
	b.ResetTimer()
	w.moves(b.N)
}

// moves moves a VM between two hypervisors, and another between a hypervisor
// and an EVPN leaf, rounds times each.
func (w *site) moves(rounds int) {
	w.Helper()
	// The hypervisor manager plugs the iface-id in where the VM goes, and out
	// where it was.
	w.moveBetween("blue-vm1", "hv1", "hv2", rounds, (*mobile).claim)
	leaf := "leaf2"
	port := w.portOf("blue-vm2").Ref()
	w.moveBetween("blue-vm2", "hv1", leaf, rounds, func(m *mobile, to string) {
		w.request(port, intent.Place{Node: to, Interface: m.iface(to)})
	})
}

// moveBetween moves a VM to and fro. prepare has the next place made ready.
func (w *site) moveBetween(vm, a, b string, rounds int, prepare func(m *mobile, to string)) {
	w.Helper()
	m := w.mobile(vm)
	m.socket(b)
	port := w.portOf(vm)
	s := w.stream("blue-vm3", vm, port.Spec.Addresses[0])
	var gaps, ours []time.Duration
	slowest := map[string]int{}
	for i := range 2 * rounds {
		to := b
		if i%2 == 1 {
			to = a
		}
		prepare(m, to)
		w.prepared(port.Ref(), to+":"+m.iface(to))
		mark, began := s.mark(), time.Now()
		m.move(to)
		gaps = append(gaps, s.gapSince(mark))
		m.left(map[bool]string{true: a, false: b}[to == b])
		last, took := w.ours(port.Ref(), began)
		ours, slowest[last] = append(ours, took), slowest[last]+1
	}
	s.close()
	m.settle()
	w.Logf("%s between %s and %s, %d moves: longest gap %s, of which ours %s; the last edge to follow: %v", vm, a, b, len(gaps), spread(gaps), spread(ours), slowest)
}

// hostPort is the interface of a hypervisor that leads to a VM.
func (w *site) hostPort(vm string) string {
	for _, l := range w.Links {
		for _, e := range [][2]End{{l.A, l.B}, {l.B, l.A}} {
			if e[0].Node == vm {
				return e[1].Interface
			}
		}
	}
	return ""
}

func spread(d []time.Duration) string {
	d = slices.Clone(d)
	slices.Sort(d)
	round := func(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
	return fmt.Sprintf("p50 %s, p99 %s, most %s", round(d[len(d)/2]), round(d[(len(d)*99-1)/100]), round(d[len(d)-1]))
}
