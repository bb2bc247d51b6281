package openflow

import "encoding/binary"

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

// PacketOut is a packet for the switch to handle (section 7.3.6).
type PacketOut struct {
	// InPort is where the packet is said to have come from: a port number, or
	// PortController.
	InPort uint32
	// Metadata are values of pipeline fields beside InPort, as a packet that
	// came in has them: metadata, registers, tunnel fields.
	Metadata []Field
	Actions  []Action
	Data     []byte
}

func (p PacketOut) appendTo(b []byte, xid uint32) []byte {
	at := len(b)
	b = header(b, typePacketOut, xid)
	b = binary.BigEndian.AppendUint32(b, noBuffer)
	n := 0
	for _, a := range p.Actions {
		n += int(a.n)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, 0, 0)
	b = NewMatch(append([]Field{InPort(p.InPort)}, p.Metadata...)...).appendStruct(b)
	for _, a := range p.Actions {
		b = append(b, a.bytes()...)
	}
	return finish(append(b, p.Data...), at)
}

// SendPacket has the switch handle a packet. It does not wait until the switch
// has done so; what the switch refuses, it says nothing of.
func (c *Conn) SendPacket(p PacketOut) error {
	if err := c.write(p.appendTo(nil, c.next())); err != nil {
		c.end(err)
		return err
	}
	return nil
}

// SendFrame sends a frame through the bridge's flow tables, as if it had come
// in by a port.
func (c *Conn) SendFrame(inPort uint32, frame []byte) error {
	return c.SendPacket(PacketOut{InPort: inPort, Actions: []Action{Output(PortTable)}, Data: frame})
}
