package openflow

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// PacketReason says why a packet was sent to us (section 7.4.1).
type PacketReason uint8

// Reasons.
const (
	ReasonTableMiss  PacketReason = 0
	ReasonAction     PacketReason = 1 // an output action of a flow
	ReasonInvalidTTL PacketReason = 2
	ReasonActionSet  PacketReason = 3
	ReasonGroup      PacketReason = 4
	ReasonPacketOut  PacketReason = 5
)

// PacketIn is a packet that a switch sent to us (section 7.4.1).
type PacketIn struct {
	Reason PacketReason
	Table  uint8
	Cookie uint64 // of the flow
	InPort uint32
	Match  Match // pipeline fields of the packet, InPort among them
	// Data is the frame, cut where the flow or the connection says so; Length
	// is how long it was.
	Data   []byte
	Length int
}

func readPacketIn(body []byte) (PacketIn, error) {
	if len(body) < 16 {
		return PacketIn{}, errShort
	}
	p := PacketIn{Length: int(binary.BigEndian.Uint16(body[4:])), Reason: PacketReason(body[6]), Table: body[7], Cookie: binary.BigEndian.Uint64(body[8:])}
	m, rest, err := readMatch(body[16:])
	if err != nil {
		return p, fmt.Errorf("packet-in: %w", err)
	}
	if len(rest) < 2 {
		return p, errShort
	}
	p.Match, p.Data = m, rest[2:]
	in, _ := p.Value(FieldInPort)
	p.InPort = uint32(in)
	return p, nil
}

// Value returns a pipeline field of at most eight bytes, such as FieldMetadata
// or FieldReg(3); ok is false when the switch did not send it, as it does for
// fields that are zero.
func (p PacketIn) Value(id FieldID) (v uint64, ok bool) {
	return p.Match.value(id)
}

// value looks a field up; registers are found in their pairs.
func (m Match) value(id FieldID) (v uint64, ok bool) {
	pair, at := FieldID(0), 0
	if n := uint32(id); n>>7 == classNXM && n&0x7f < 16 {
		pair, at = fieldPktReg(int(n&0x7f)/2), int(n&0x7f)%2*4
	}
	for _, f := range m.fields {
		switch {
		case f.ID == id && f.size <= 8:
			for _, b := range f.value[:f.size] {
				v = v<<8 | uint64(b)
			}
			return v, true
		case f.ID == pair && f.size == 8:
			return uint64(binary.BigEndian.Uint32(f.value[at:])), true
		}
	}
	return 0, false
}

// fragmentsWithPorts has the first fragment of an IP packet match by its ports
// (OFPC_FRAG_NX_MATCH of Open vSwitch). By default no fragment does.
const fragmentsWithPorts = 3

// ReceivePackets calls f for each packet that a flow sends to us from now on,
// in the connection's reader: f must not block; a PacketQueue never does. Open
// vSwitch sends packets only to connections that have set a length for them; what
// is set with it, for the whole bridge, is that the first fragment of a packet has
// ports.
func (c *Conn) ReceivePackets(ctx context.Context, f func(PacketIn)) error {
	c.mu.Lock()
	c.onPacket = f
	c.mu.Unlock()
	if err := c.write(simple(typeSetConfig, c.next(), 0, fragmentsWithPorts, 0, 128)); err != nil {
		c.end(err)
		return err
	}
	return c.Barrier(ctx)
}

// PacketQueue holds packets until somebody has time for them. It is bounded:
// what does not fit is dropped and counted, and the connection goes on reading.
// Each purpose has a queue of its own, so that none starves another.
type PacketQueue struct {
	c       chan PacketIn
	dropped atomic.Uint64
}

// NewPacketQueue returns a queue for so many packets.
func NewPacketQueue(most int) *PacketQueue { return &PacketQueue{c: make(chan PacketIn, most)} }

// Put queues a packet, or drops it when the queue is full; it never blocks.
func (q *PacketQueue) Put(p PacketIn) {
	select {
	case q.c <- p:
	default:
		q.dropped.Add(1)
	}
}

// C receives the packets.
func (q *PacketQueue) C() <-chan PacketIn { return q.c }

// Dropped is how many packets did not fit.
func (q *PacketQueue) Dropped() uint64 { return q.dropped.Load() }
