package openflow

import (
	"context"
	"encoding/binary"
	"fmt"
)

// PortController stands for the connections that asked for packets.
const PortController uint32 = 0xfffffffd

// PortTable has a packet-out go through the flow tables from the first.
const PortTable uint32 = 0xfffffff9

const (
	noBuffer   = 0xffffffff
	wholeFrame = 0xffff
)

// Controller sends the whole packet to those who asked for packets.
func Controller() Action {
	a := Output(PortController)
	binary.BigEndian.PutUint16(a.b[8:], wholeFrame)
	return a
}

// PacketIn is a packet that a flow sent to us (section 7.4.1).
type PacketIn struct {
	Table  uint8
	Cookie uint64 // of the flow
	InPort uint32
	Match  Match // metadata of the packet, InPort among it
	Data   []byte
}

func readPacketIn(body []byte) (PacketIn, error) {
	if len(body) < 16 {
		return PacketIn{}, errShort
	}
	p := PacketIn{Table: body[7], Cookie: binary.BigEndian.Uint64(body[8:])}
	m, rest, err := readMatch(body[16:])
	if err != nil {
		return p, fmt.Errorf("packet-in: %w", err)
	}
	if len(rest) < 2 {
		return p, errShort
	}
	p.Match, p.Data = m, rest[2:]
	for _, f := range m.fields {
		if f.ID == FieldInPort && !f.masked {
			p.InPort = binary.BigEndian.Uint32(f.value[:4])
		}
	}
	return p, nil
}

// packetOut has a frame handled as if it had come in by a port (section
// 7.3.6).
func packetOut(xid, inPort uint32, frame []byte, actions ...Action) []byte {
	b := header(nil, typePacketOut, xid)
	b = binary.BigEndian.AppendUint32(b, noBuffer)
	n := 0
	for _, a := range actions {
		n += int(a.n)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, 0, 0)
	b = NewMatch(InPort(inPort)).appendStruct(b)
	for _, a := range actions {
		b = append(b, a.bytes()...)
	}
	return finish(append(b, frame...), 0)
}

// SendFrame sends a frame through the bridge's flow tables, as if it had come
// in by a port. It does not wait until the switch has done so.
func (c *Conn) SendFrame(inPort uint32, frame []byte) error {
	if err := c.write(packetOut(c.next(), inPort, frame, Output(PortTable))); err != nil {
		c.end(err)
		return err
	}
	return nil
}

// fragmentsWithPorts has the first fragment of an IP packet match by its ports
// (OFPC_FRAG_NX_MATCH of Open vSwitch). By default no fragment does.
const fragmentsWithPorts = 3

// ReceivePackets calls f for each packet that a flow sends to us from now on,
// in the connection's reader: f must not block and must not keep the data. Open
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
