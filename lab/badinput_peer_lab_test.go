//go:build lab

package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// rogue is a namespace on the management network in which a lab's bad peers are.
type rogue struct {
	*site
	addr netip.Addr
}

const rogueNode = "rogue"

func newRogue(w *site) *rogue {
	w.Helper()
	base := w.Mgmt.Masked().Addr().As4()
	base[3] += 200
	r := &rogue{w, netip.AddrFrom4(base)}
	w.Nodes = append(w.Nodes, Node{Name: rogueNode, Kind: "linux"})
	require.NoError(w, w.save())
	require.NoError(w, makeNamespace(w.Namespace(rogueNode), hostSysctls))
	require.NoError(w, joinMgmt(w.State.Name, rogueNode, "eth0", 900, netip.PrefixFrom(r.addr, w.Mgmt.Bits())))
	return r
}

// node is an EVPN leaf that somebody else configures, as the intent has it.
func (r *rogue) node(name string, port uint16, asn uint32, vtep byte) *intent.Node {
	return &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, ASN: asn, VTEP: netip.AddrFrom4([4]byte{10, 99, 0, vtep}),
		EVPN: &intent.EVPN{Address: r.addr, Port: port, Unmanaged: true}}}
}

// bgpd runs FRR's BGP daemon, which waits for the controller in an AS.
func (r *rogue) bgpd(name string, port uint16, asn uint32, password string) {
	r.Helper()
	dir := r.NodeDir(name)
	require.NoError(r, makeFRRDir(dir))
	controller := r.controllerMgmt().Addr()
	conf := fmt.Sprintf("router bgp %d\n bgp router-id 10.99.1.%d\n no bgp default ipv4-unicast\n neighbor %s remote-as %d\n neighbor %s passive\n", asn, port%250, controller, asn, controller)
	if password != "" {
		conf += fmt.Sprintf(" neighbor %s password %s\n", controller, password)
	}
	conf += fmt.Sprintf(" address-family l2vpn evpn\n  neighbor %s activate\n", controller)
	require.NoError(r, os.WriteFile(filepath.Join(dir, "bgpd.conf"), []byte(conf), 0o644))
	run := &run{state: r.State, progress: silent{}}
	require.NoError(r, run.daemon(r.Context(), program{node: rogueNode, name: "bgpd", log: filepath.Join(dir, "bgpd.log"), args: []string{
		filepath.Join(frrDir, "bgpd"), "-Z", "-f", filepath.Join(dir, "bgpd.conf"), "-i", filepath.Join(dir, "bgpd.pid"), "--vty_socket", dir,
		"-A", "127.0.0.1", "-P", "0", "-p", fmt.Sprint(port)}}, filepath.Join(dir, "bgpd.vty")))
}

// configure tells a bgpd something else.
func (r *rogue) configure(name string, lines ...string) {
	r.Helper()
	args := []string{"--vty_socket", r.NodeDir(name), "-d", "bgpd", "-c", "configure terminal"}
	for _, l := range lines {
		args = append(args, "-c", l)
	}
	out, err := exec.CommandContext(r.Context(), "vtysh", args...).CombinedOutput()
	require.NoError(r, err, "%s", out)
}

// speaker is a BGP peer that says what the test has it say, good or bad (RFC
// 4271, RFC 7432).
type speaker struct {
	*rogue
	asn      uint32
	vtep     netip.Addr
	sessions atomic.Int32 // that were established

	mu   sync.Mutex
	conn net.Conn
}

func (r *rogue) speaker(port uint16, asn uint32, vtep netip.Addr) *speaker {
	r.Helper()
	s := &speaker{rogue: r, asn: asn, vtep: vtep}
	var l net.Listener
	require.NoError(r, netns.Do(r.Namespace(rogueNode), func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(r.addr, port).String())
		return err
	}))
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() { s.serve(c) })
		}
	})
	r.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		if s.conn != nil {
			s.conn.Close()
		}
		s.mu.Unlock()
		done.Wait()
	})
	return s
}

// bgp is a message with its header.
func bgp(kind byte, body ...byte) []byte {
	m := append(bytes.Repeat([]byte{0xff}, 16), 0, 0, kind)
	m = append(m, body...)
	binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
	return m
}

const (
	bgpOpen      = 1
	bgpUpdate    = 2
	bgpKeepalive = 4
)

// serve greets and answers each KEEPALIVE with one.
func (s *speaker) serve(c net.Conn) {
	defer c.Close()
	asn := binary.BigEndian.AppendUint32(nil, s.asn)
	open := slices.Concat([]byte{4}, asn[2:], []byte{0, 90}, s.vtep.AsSlice(), []byte{14, 2, 12, 1, 4, 0, 25, 0, 70, 65, 4}, asn)
	if _, err := c.Write(bgp(bgpOpen, open...)); err != nil {
		return
	}
	head, up := make([]byte, 19), false
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint16(head[16:]))-19); err != nil {
			return
		}
		if head[18] != bgpKeepalive {
			continue
		}
		s.mu.Lock()
		if !up {
			s.conn = c
		}
		_, err := c.Write(bgp(bgpKeepalive))
		s.mu.Unlock()
		if !up {
			s.sessions.Add(1)
		}
		if up = true; err != nil {
			return
		}
	}
}

// say sends messages in the session that is up.
func (s *speaker) say(messages ...[]byte) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NotNil(s, s.conn)
	_, err := s.conn.Write(slices.Concat(messages...))
	require.NoError(s, err)
}

// nlri is a MAC/IP route; the address may be invalid.
func (s *speaker) nlri(v intent.VNI, mac intent.MAC, ip netip.Addr) []byte {
	label := binary.BigEndian.AppendUint32(nil, uint32(v))[1:]
	b := slices.Concat([]byte{0, 1}, s.vtep.AsSlice(), []byte{0, 7}, make([]byte, 14), []byte{48}, mac[:], []byte{byte(ip.BitLen())}, ip.AsSlice(), label)
	return append([]byte{2, byte(len(b))}, b...)
}

// announce is the UPDATE that announces routes to those who import a VNI's
// target, with a sequence number.
func (s *speaker) announce(v intent.VNI, seq uint32, nlri ...[]byte) []byte {
	return s.update([]byte{0x40, 1, 1, 0}, v, seq, nlri...)
}

// malformed is announce with an ORIGIN that does not exist: treat-as-withdraw
// (RFC 7606 section 7.1).
func (s *speaker) malformed(v intent.VNI, nlri ...[]byte) []byte {
	return s.update([]byte{0x40, 1, 1, 9}, v, 0, nlri...)
}

func (s *speaker) update(origin []byte, v intent.VNI, seq uint32, nlri ...[]byte) []byte {
	routes := slices.Concat(nlri...)
	reach := slices.Concat([]byte{0, 25, 70, 4}, s.vtep.AsSlice(), []byte{0}, routes)
	target := intent.VNIRouteTarget(s.asn, v)
	mobility := binary.BigEndian.AppendUint32([]byte{6, 0, 0, 0}, seq)
	a := slices.Concat(origin, []byte{0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, 100},
		[]byte{0x90, 14, byte(len(reach) >> 8), byte(len(reach))}, reach,
		[]byte{0xc0, 16, 24}, target[:], []byte{3, 0x0c, 0, 0, 0, 0, 0, 8}, mobility)
	return bgp(bgpUpdate, slices.Concat([]byte{0, 0, byte(len(a) >> 8), byte(len(a))}, a)...)
}

// withdraw is the UPDATE that withdraws routes.
func (s *speaker) withdraw(nlri ...[]byte) []byte {
	gone := slices.Concat([]byte{0, 25, 70}, slices.Concat(nlri...))
	a := slices.Concat([]byte{0x90, 15, byte(len(gone) >> 8), byte(len(gone))}, gone)
	return bgp(bgpUpdate, slices.Concat([]byte{0, 0, byte(len(a) >> 8), byte(len(a))}, a)...)
}

// cutter stands before a database server and can go away in the middle of a
// transaction.
type cutter struct {
	armed, down atomic.Bool
	cuts        atomic.Int32
}

// cutter passes connections to a port of the rogue's on to a server.
func (r *rogue) cutter(port uint16, server string) *cutter {
	r.Helper()
	c := &cutter{}
	ns := r.Namespace(rogueNode)
	var l net.Listener
	require.NoError(r, netns.Do(ns, func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(r.addr, port).String())
		return err
	}))
	var done sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	done.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			var up net.Conn
			if c.down.Load() || netns.Do(ns, func() (err error) { up, err = net.DialTimeout("tcp4", server, 5*time.Second); return err }) != nil {
				down.Close()
				continue
			}
			mu.Lock()
			open = append(open, down, up)
			mu.Unlock()
			done.Go(func() { defer down.Close(); _, _ = io.Copy(down, up) })
			done.Go(func() { defer up.Close(); defer down.Close(); c.requests(up, down) })
		}
	})
	r.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, x := range open {
			x.Close()
		}
		mu.Unlock()
		done.Wait()
	})
	return c
}

// requests passes requests on; when armed, half of the next transaction.
func (c *cutter) requests(up io.Writer, down io.Reader) {
	b := make([]byte, 1<<20)
	for {
		n, err := down.Read(b)
		if err != nil {
			return
		}
		if at := bytes.Index(b[:n], []byte(`"transact"`)); at >= 0 && c.armed.CompareAndSwap(true, false) {
			c.down.Store(true)
			c.cuts.Add(1)
			_, _ = up.Write(b[:at+(n-at)/2])
			return
		}
		if _, err := up.Write(b[:n]); err != nil {
			return
		}
	}
}

// in returns the site for a subtest.
func (w *site) in(t testing.TB) *site {
	s := *w
	s.TB = t
	return &s
}

// errStill says what a condition still waits for.
func errStill(format string, args ...any) error { return fmt.Errorf("still "+format, args...) }
