package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-sdn/weft/lab/netns"
)

// Place is where streams begin and end: an address in a namespace, and the
// interface that it is on, when datagrams are to use no other.
type Place struct {
	Name      string
	Namespace string
	Interface string
	Address   netip.Addr
}

// Stream is one flow of datagrams between two places, with a source port that
// stays: switches that hash by flow carry all of it one way.
type Stream struct {
	From, To int        // places
	Over     []Crossing // where it was seen on its way, when Spread chose its port

	choice int // of the sender's sockets
}

// Crossing is an interface that packets come in by.
type Crossing struct{ Node, Namespace, Interface string }

// Streams are flows between places that are sent at one steady rate, to see for
// how long a failure interrupts each. Unlike Continuous they are cheap enough for
// tens of thousands of packets a second: what they carry is 16 bytes, and what
// arrived is a bit.
type Streams struct {
	Places  []Place
	Streams []Stream

	senders   [][]*net.UDPConn // by place, then by choice
	receivers []*net.UDPConn
	runs      uint32
	now       atomic.Pointer[Recording]
	ended     sync.WaitGroup
}

// choices is the number of source ports that each stream may have.
const choices = 16

// streamPort is where streams end, and streamFrom the first of the ports where they
// begin.
const (
	streamPort = 4243
	streamFrom = 42440
)

// streamMagic begins a stream's datagrams, streamSize is their length: the magic,
// the recording, the stream and the tick.
const (
	streamMagic = 0x77667473 // "wfts"
	streamSize  = 16
)

// OpenStreams opens the sockets for streams between pairs of places.
func OpenStreams(places []Place, pairs [][2]int) (*Streams, error) {
	s := &Streams{Places: places}
	for _, p := range pairs {
		s.Streams = append(s.Streams, Stream{From: p[0], To: p[1]})
	}
	for i, p := range places {
		err := netns.Do(p.Namespace, func() error { return s.open(p) })
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("open sockets on %s: %w", p.Name, err)
		}
		s.ended.Go(func() { s.receive(i) })
	}
	return s, nil
}

// open opens a place's sockets in the current namespace.
func (s *Streams) open(p Place) error {
	r, err := bound(p, streamPort)
	if err != nil {
		return err
	}
	s.receivers = append(s.receivers, r)
	var conns []*net.UDPConn
	for i := range choices {
		c, err := bound(p, streamFrom+i)
		if err != nil {
			s.senders = append(s.senders, conns)
			return err
		}
		conns = append(conns, c)
	}
	s.senders = append(s.senders, conns)
	return nil
}

// Close closes all sockets. A recording must have ended.
func (s *Streams) Close() {
	for _, conns := range append(s.senders, s.receivers) {
		for _, c := range conns {
			c.Close()
		}
	}
	s.ended.Wait()
}

// receive notes all that comes to a place until its socket is closed.
func (s *Streams) receive(place int) {
	buf := make([]byte, 64)
	for {
		n, _, err := s.receivers[place].ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for something sent
		}
		if run, stream, tick, ok := parseStream(buf[:n]); ok {
			if r := s.now.Load(); r != nil && r.run == run {
				r.arrive(place, stream, tick)
			}
		}
	}
}

// send sends one datagram of a stream. A refusal by the sender's kernel shows as
// loss.
func (s *Streams) send(buf []byte, run uint32, stream, choice, tick int) {
	t := &s.Streams[stream]
	putStream(buf, run, stream, tick)
	_, _ = s.senders[t.From][choice].WriteToUDPAddrPort(buf, netip.AddrPortFrom(s.Places[t.To].Address, streamPort))
}

func putStream(b []byte, run uint32, stream, tick int) {
	binary.BigEndian.PutUint32(b, streamMagic)
	binary.BigEndian.PutUint32(b[4:], run)
	binary.BigEndian.PutUint32(b[8:], uint32(stream))
	binary.BigEndian.PutUint32(b[12:], uint32(tick))
}

func parseStream(b []byte) (run uint32, stream, tick int, ok bool) {
	if len(b) != streamSize || binary.BigEndian.Uint32(b) != streamMagic {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint32(b[4:]), int(binary.BigEndian.Uint32(b[8:])), int(binary.BigEndian.Uint32(b[12:])), true
}

// Spread gives each stream the source port with which it crosses those of the
// interfaces that the fewest streams cross so far: every link is then used by some.
// It sends one datagram by each port and watches the interfaces.
func (s *Streams) Spread(ctx context.Context, watch []Crossing) error {
	s.runs++
	run := s.runs
	var mu sync.Mutex
	over := make([][choices][]int, len(s.Streams)) // interfaces by stream and choice
	var taps []*Tap
	defer func() {
		for _, t := range taps {
			t.Close()
		}
	}()
	for i, w := range watch {
		t, err := OpenTap(w.Namespace, w.Interface, func(frame []byte, out bool) {
			r, stream, choice, ok := findStream(frame)
			if out || !ok || r != run || stream >= len(over) || choice >= choices {
				return
			}
			mu.Lock()
			over[stream][choice] = append(over[stream][choice], i)
			mu.Unlock()
		})
		if err != nil {
			return fmt.Errorf("listen on %s of %s: %w", w.Interface, w.Node, err)
		}
		taps = append(taps, t)
	}
	rec := s.record(run, choices)
	s.now.Store(rec)
	defer s.now.Store(nil)
	pace := pacer{rate: 10000}
	buf := make([]byte, streamSize)
	for choice := range choices {
		for i := range s.Streams {
			if err := pace.wait(ctx); err != nil {
				return fmt.Errorf("spread streams: %w", err)
			}
			s.send(buf, run, i, choice, choice)
		}
	}
	rec.ticks.Store(choices)
	wait, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for len(rec.Missing(0, choices)) > 0 && wait.Err() == nil {
		select {
		case <-wait.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	if lost := rec.Missing(0, choices); len(lost) > 0 {
		t := s.Streams[lost[0]]
		return fmt.Errorf("spread streams: %d of %d lose packets while nothing fails, %s to %s first", len(lost), len(s.Streams), s.Places[t.From].Name, s.Places[t.To].Name)
	}
	mu.Lock()
	defer mu.Unlock()
	s.choose(over, watch)
	return nil
}

// choose picks the least used way for each stream, one after the other.
func (s *Streams) choose(over [][choices][]int, watch []Crossing) {
	used := make([]int, len(watch))
	cost := func(way []int) (worst, sum int) {
		for _, i := range way {
			worst, sum = max(worst, used[i]), sum+used[i]
		}
		return worst, sum
	}
	for i := range s.Streams {
		best := 0
		bw, bs := cost(over[i][0])
		for c := 1; c < choices; c++ {
			if w, sum := cost(over[i][c]); sum < bs || sum == bs && w < bw {
				best, bw, bs = c, w, sum
			}
		}
		t := &s.Streams[i]
		t.choice, t.Over = best, nil
		for _, at := range over[i][best] {
			used[at]++
			t.Over = append(t.Over, watch[at])
		}
	}
}

// findStream finds a stream's datagram in a frame, tunnelled or not: it is what the
// frame ends with.
func findStream(frame []byte) (run uint32, stream, choice int, ok bool) {
	var magic [4]byte
	binary.BigEndian.PutUint32(magic[:], streamMagic)
	at := bytes.LastIndex(frame, magic[:])
	if at < 0 || len(frame) < at+streamSize {
		return 0, 0, 0, false
	}
	return parseStream(frame[at : at+streamSize])
}

// Crossers are the streams that were seen coming in by an interface.
func (s *Streams) Crossers(node, iface string) []int {
	var list []int
	for i, t := range s.Streams {
		if slices.ContainsFunc(t.Over, func(c Crossing) bool { return c.Node == node && c.Interface == iface }) {
			list = append(list, i)
		}
	}
	return list
}
