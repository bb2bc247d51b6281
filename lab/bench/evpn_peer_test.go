//go:build bench

package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// What an UPDATE says (RFC 4271, RFC 4760, RFC 7432).
const (
	bgpHeader  = 19
	bgpMessage = 4096
	attrReach  = 14
	attrUnrch  = 15
	nlriMACIP  = 2 + 33 // a MAC/IP route without an address
	nlriHost   = 1 + 4  // an IPv4 /32
)

// work is what the peers announce.
type work struct {
	routes int // of each peer
	perVNI int // routes that share a VNI, and so fit into one UPDATE
	oneMAC bool
	ipv4   bool // IPv4 unicast, for who has no EVPN
}

// bgpPeer is a client of the reflector under test that costs little: it writes
// UPDATEs made before, and marks each route that it receives.
type bgpPeer struct {
	index  int // from 1
	work   work
	listen net.Listener
	conn   net.Conn
	writes sync.Mutex

	announce, withdraw []byte // all of its routes
	first, unfirst     []byte // one more, to see that routes pass

	have           [][]uint64 // routes there are now, by sender
	count          atomic.Int64
	target         atomic.Int64
	updates, nlris atomic.Int64
	reached        chan time.Time
	up             chan struct{}
	failed         chan error
	done           chan struct{}
}

func peerAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 255, 0, byte(i)}) }
func peerVTEP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 255, 1, byte(i)}) }

const benchASN = 65000

var reflectorAddr = netip.AddrFrom4([4]byte{10, 255, 0, 254})

// newPeer listens; the reflector dials. Of peers there are n.
func newPeer(index, n int, w work) (*bgpPeer, error) {
	l, err := net.Listen("tcp4", netip.AddrPortFrom(peerAddr(index), 179).String())
	if err != nil {
		return nil, err
	}
	p := &bgpPeer{index: index, work: w, listen: l, reached: make(chan time.Time, 1), up: make(chan struct{}), failed: make(chan error, 1), done: make(chan struct{})}
	for range n + 1 {
		p.have = append(p.have, make([]uint64, (w.routes+64)/64))
	}
	p.announce, p.withdraw = p.encode(0, w.routes, true), p.encode(0, w.routes, false)
	p.first, p.unfirst = p.encode(w.routes, w.routes+1, true), p.encode(w.routes, w.routes+1, false)
	go func() {
		defer close(p.done)
		if err := p.run(); err != nil && !errors.Is(err, net.ErrClosed) {
			p.failed <- fmt.Errorf("peer %d: %w", index, err)
		}
	}()
	return p, nil
}

func (p *bgpPeer) close() {
	p.listen.Close()
	p.writes.Lock()
	if p.conn != nil {
		p.conn.Close()
	}
	p.writes.Unlock()
	<-p.done
}

// encode makes UPDATEs of the routes from index i to before end.
func (p *bgpPeer) encode(i, end int, reach bool) []byte {
	var out, nlri []byte
	for i < end {
		vni := p.vni(i)
		nlri = nlri[:0]
		for ; i < end && p.vni(i) == vni && len(nlri) < 3600; i++ {
			nlri = p.appendNLRI(nlri, i)
		}
		out = p.appendUpdate(out, vni, nlri, reach)
	}
	return out
}

// vni of a route. The one more route is in the last.
func (p *bgpPeer) vni(i int) int { return 1 + i/p.work.perVNI }

func (p *bgpPeer) appendNLRI(b []byte, i int) []byte {
	if p.work.ipv4 {
		return append(b, 32, byte(100+p.index), byte(i>>16), byte(i>>8), byte(i))
	}
	vni := p.vni(i)
	b = append(b, 2, nlriMACIP-2, 0, 0, 0, byte(p.index)) // RD of type 0: the peer, the VNI
	b = binary.BigEndian.AppendUint32(b, uint32(vni))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48)
	if p.work.oneMAC {
		b = append(b, 2, 0, 0, 0, 0, byte(p.index))
	} else {
		b = append(b, 2, byte(p.index), byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
	}
	return append(b, 0, byte(vni>>16), byte(vni>>8), byte(vni))
}

// route reads an NLRI that appendNLRI made.
func (p *bgpPeer) route(b []byte) (sender, index int) {
	if p.work.ipv4 {
		return int(b[1]) - 100, int(b[2])<<16 | int(b[3])<<8 | int(b[4])
	}
	sender = int(b[5])
	if p.work.oneMAC {
		return sender, int(binary.BigEndian.Uint32(b[6:])) - 1
	}
	return sender, int(binary.BigEndian.Uint32(b[27:]))
}

func (p *bgpPeer) appendUpdate(b []byte, vni int, nlri []byte, reach bool) []byte {
	start := len(b)
	b = beginMessage(b, 2)
	hop := peerVTEP(p.index).As4()
	if p.work.ipv4 {
		if !reach {
			b = binary.BigEndian.AppendUint16(b, uint16(len(nlri)))
			return endMessage(append(append(b, nlri...), 0, 0), start)
		}
		attrs := append([]byte{0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4}, hop[:]...)
		attrs = append(attrs, 0x40, 5, 4, 0, 0, 0, 100)
		// A community in place of the route target, so that as many routes
		// share their attributes.
		attrs = append(attrs, 0xc0, 8, 4, byte(benchASN>>8), byte(benchASN&0xff), byte(vni>>8), byte(vni))
		b = binary.BigEndian.AppendUint16(append(b, 0, 0), uint16(len(attrs)))
		return endMessage(append(append(b, attrs...), nlri...), start)
	}
	b = append(b, 0, 0, 0, 0)
	if reach {
		b = append(b, 0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, 100)
		b = append(b, 0x90, attrReach, 0, 0)
		binary.BigEndian.PutUint16(b[len(b)-2:], uint16(9+len(nlri)))
		b = append(append(append(b, 0, 25, 70, 4), hop[:]...), 0)
		b = append(b, nlri...)
		b = append(b, 0xc0, 16, 16, 0, 2, byte(benchASN>>8), byte(benchASN&0xff), 0, byte(vni>>16), byte(vni>>8), byte(vni), 3, 0x0c, 0, 0, 0, 0, 0, 8)
	} else {
		b = append(b, 0x90, attrUnrch, 0, 0)
		binary.BigEndian.PutUint16(b[len(b)-2:], uint16(3+len(nlri)))
		b = append(append(b, 0, 25, 70), nlri...)
	}
	binary.BigEndian.PutUint16(b[start+bgpHeader+2:], uint16(len(b)-start-bgpHeader-4))
	return endMessage(b, start)
}

func beginMessage(b []byte, kind byte) []byte {
	for range 16 {
		b = append(b, 0xff)
	}
	return append(b, 0, 0, kind)
}

func endMessage(b []byte, start int) []byte {
	binary.BigEndian.PutUint16(b[start+16:], uint16(len(b)-start))
	return b
}

// open is the OPEN message: one family and four-octet AS numbers.
func (p *bgpPeer) open() []byte {
	b := append(beginMessage(nil, 1), 4, byte(benchASN>>8), byte(benchASN&0xff), 0x0e, 0x10)
	id := peerAddr(p.index).As4()
	afi, safi := byte(25), byte(70)
	if p.work.ipv4 {
		afi, safi = 1, 1
	}
	b = append(append(b, id[:]...), 14, 2, 12, 1, 4, 0, afi, 0, safi, 65, 4, 0, 0, byte(benchASN>>8), byte(benchASN&0xff))
	return endMessage(b, 0)
}

// run takes the reflector's connection and reads until it ends. A session that
// does not come up is tried again.
func (p *bgpPeer) run() error {
	for {
		c, err := p.listen.Accept()
		if err != nil {
			return err
		}
		p.writes.Lock()
		p.conn = c
		p.writes.Unlock()
		err = p.session(c)
		c.Close()
		select {
		case <-p.up:
			return err
		default:
		}
	}
}

func (p *bgpPeer) session(c net.Conn) error {
	keep := endMessage(beginMessage(nil, 4), 0)
	if err := p.write(append(p.open(), keep...)); err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for tick := time.NewTicker(15 * time.Second); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				_ = p.write(keep)
			}
		}
	}()
	in := bufio.NewReaderSize(c, 1<<18)
	for up := false; ; {
		head, err := in.Peek(bgpHeader)
		if err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(head[16:]))
		m, err := in.Peek(n)
		if err != nil || n < bgpHeader {
			return fmt.Errorf("message of %d octets: %w", n, err)
		}
		switch m[18] {
		case 2:
			p.update(m[bgpHeader:])
		case 3:
			return fmt.Errorf("NOTIFICATION % x", m[bgpHeader:])
		case 4:
			if !up {
				up = true
				close(p.up)
			}
		}
		_, _ = in.Discard(n)
	}
}

// write sends messages, a piece at a time, so that KEEPALIVEs come between.
func (p *bgpPeer) write(b []byte) error {
	for len(b) > 0 {
		n := 0
		for n < len(b) && n < 1<<16 {
			n += int(binary.BigEndian.Uint16(b[n+16:]))
		}
		p.writes.Lock()
		_, err := p.conn.Write(b[:n])
		p.writes.Unlock()
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// update marks what an UPDATE says.
func (p *bgpPeer) update(b []byte) {
	p.updates.Add(1)
	n := int(binary.BigEndian.Uint16(b))
	p.hosts(b[2:2+n], false)
	b = b[2+n:]
	n = int(binary.BigEndian.Uint16(b))
	attrs, rest := b[2:2+n], b[2+n:]
	p.hosts(rest, true)
	for len(attrs) > 0 {
		head, n := 3, int(attrs[2])
		if attrs[0]&0x10 != 0 {
			head, n = 4, int(binary.BigEndian.Uint16(attrs[2:]))
		}
		switch v := attrs[head : head+n]; attrs[1] {
		case attrReach:
			p.evpn(v[5+int(v[3]):], true)
		case attrUnrch:
			p.evpn(v[3:], false)
		}
		attrs = attrs[head+n:]
	}
	if c := p.count.Load(); c == p.target.Load() {
		select {
		case p.reached <- time.Now():
		default:
		}
	}
}

func (p *bgpPeer) hosts(b []byte, reach bool) {
	for ; len(b) >= nlriHost; b = b[nlriHost:] {
		p.mark(b, reach)
	}
}

func (p *bgpPeer) evpn(b []byte, reach bool) {
	for ; len(b) > 0; b = b[2+int(b[1]):] {
		if len(b) >= nlriMACIP && b[0] == 2 {
			p.mark(b, reach)
		}
	}
}

func (p *bgpPeer) mark(b []byte, reach bool) {
	p.nlris.Add(1)
	sender, i := p.route(b)
	if sender < 1 || sender >= len(p.have) || i < 0 || i > p.work.routes || sender == p.index {
		return
	}
	word, bit := &p.have[sender][i/64], uint64(1)<<(i%64)
	switch {
	case reach && *word&bit == 0:
		*word |= bit
		p.count.Add(1)
	case !reach && *word&bit != 0:
		*word &^= bit
		p.count.Add(-1)
	}
}

// expect says how many routes of others there will be; it is called before
// anything is sent that leads there.
func (p *bgpPeer) expect(n int) {
	p.target.Store(int64(n))
	select {
	case <-p.reached:
	default:
	}
}

// readAll is used where a short answer of a process is read.
func readAll(r io.Reader) string {
	b, _ := io.ReadAll(r)
	return string(b)
}
