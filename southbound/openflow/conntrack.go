package openflow

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
)

// CTState are the states of a packet that connection tracking has seen
// (ovs-fields(7), ct_state).
type CTState uint32

// States of a tracked packet.
const (
	CTNew         CTState = 1 << 0 // of a connection that is not committed
	CTEstablished CTState = 1 << 1 // of one that is
	CTRelated     CTState = 1 << 2 // belongs to one, such as an ICMP error
	CTReply       CTState = 1 << 3 // against the direction of the first packet
	CTInvalid     CTState = 1 << 4
	CTTracked     CTState = 1 << 5
	CTSourceNAT   CTState = 1 << 6 // its source was translated
	CTDestNAT     CTState = 1 << 7 // its destination was
)

var ctStateNames = []string{"new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"}

// MatchCTState matches packets that have the states of set and none of unset.
func MatchCTState(set, unset CTState) Field {
	f := number(FieldCTState, uint64(set))
	mask := binary.BigEndian.AppendUint32(nil, uint32(set|unset))
	return f.Masked(mask)
}

// ctStateText writes the states as ovs-ofctl does: +new-rpl+trk.
func ctStateText(value, mask uint32) string {
	var b strings.Builder
	for i, n := range ctStateNames {
		switch {
		case mask>>i&1 == 0:
		case value>>i&1 == 1:
			b.WriteString("+" + n)
		default:
			b.WriteString("-" + n)
		}
	}
	return b.String()
}

// CTMark is the mark of a tracked packet's connection.
func CTMark(v uint32) Field { return number(FieldCTMark, uint64(v)) }

// TCPFlags matches segments that have the flags of set and none of unset.
func TCPFlags(set, unset uint16) Field {
	return number(FieldTCPFlags, uint64(set)).Masked(binary.BigEndian.AppendUint16(nil, set|unset))
}

// Flags of TCP (RFC 9293 section 3.1).
const (
	TCPSyn uint16 = 1 << 1
	TCPRst uint16 = 1 << 2
	TCPAck uint16 = 1 << 4
)

// WideReg is the 128-bit register n, 0 to 3.
func WideReg(n int, v [16]byte) Field {
	return Field{ID: FieldWideReg(n), size: 16, value: v}
}

// Get returns the match of a field; ok is false when it matches any.
func (m Match) Get(id FieldID) (f Field, ok bool) {
	for _, f := range m.fields {
		if f.ID == id {
			return f, true
		}
	}
	return Field{}, false
}

// Reg returns the match of register n, 0 to 15; the mask is zero when it matches
// any.
func (m Match) Reg(n int) (value, mask uint32) {
	f, ok := m.Get(fieldPktReg(n / 2))
	if !ok {
		return 0, 0
	}
	at := n % 2 * 4
	mask = ^uint32(0)
	if f.masked {
		mask = binary.BigEndian.Uint32(f.mask[at:])
	}
	return binary.BigEndian.Uint32(f.value[at:]), mask
}

// Addr is the address of an address field; the zero Addr of others.
func (f Field) Addr() netip.Addr { return f.addr() }

// Number is the value of a field of up to eight bytes.
func (f Field) Number() (n uint64) {
	for _, c := range f.value[:min(f.size, 8)] {
		n = n<<8 | uint64(c)
	}
	return n
}

// Wide is the value of a 128-bit field.
func (f Field) Wide() [16]byte { return f.value }

// MAC is the value of a MAC address field.
func (f Field) MAC() [6]byte { return [6]byte(f.value[:6]) }

// ValueText is the value in words: a prefix for an address under a mask, a range
// for a port under one.
func (f Field) ValueText() string {
	if !f.masked {
		return f.text(f.value)
	}
	ones := 0
	for _, b := range f.mask[:f.size] {
		ones += bits.OnesCount8(b)
	}
	if fields[f.ID].kind == 'i' {
		return netip.PrefixFrom(f.addr(), ones).String()
	}
	if fields[f.ID].kind == 'd' && f.size == 2 {
		first := f.Number()
		return fmt.Sprintf("%d-%d", first, first|(1<<(16-ones)-1))
	}
	return f.text(f.value) + "/" + f.text(f.mask)
}

// Goto returns the table in which the packet goes on.
func (i Instructions) Goto() (table uint8, ok bool) {
	_ = i.each(func(kind uint16, body []byte) {
		if kind == instructionGoto {
			table, ok = body[0], true
		}
	})
	return table, ok
}

// Sets lists the fields that the actions set, in order.
func (i Instructions) Sets() (fs []Field) {
	i.eachAction(func(a []byte) {
		if binary.BigEndian.Uint16(a) != actionSetField {
			return
		}
		if f, _, err := readField(a[4:]); err == nil {
			fs = append(fs, f)
		}
	})
	return fs
}

// RegsSet lists the values to which the actions set register n, in order.
func (i Instructions) RegsSet(n int) (vs []uint32) {
	for _, f := range i.Sets() {
		if f.ID == FieldReg(n) {
			vs = append(vs, uint32(f.Number()))
		}
	}
	return vs
}

// Subtypes of Nicira actions and messages.
const (
	niciraOutputReg = 15
	niciraConntrack = 35
	niciraFlushZone = 29 // a message
	ctCommit        = 1
	noTable         = 0xff
)

// Zone says where connection tracking has the number of its zone from.
type Zone struct {
	field FieldID
	bits  uint16 // offset and count, or the number itself
}

// ZoneNumber is a fixed zone.
func ZoneNumber(n uint16) Zone { return Zone{bits: n} }

// ZoneInPort is the zone of the port by which the packet came in.
func ZoneInPort() Zone { return Zone{fieldInPort16, 15} }

// ZoneReg has the zone's number in the lower half of a register.
func ZoneReg(n int) Zone { return Zone{FieldReg(n), 15} }

func conntrack(flags uint16, z Zone, table uint8) Action {
	a := Action{n: 24}
	binary.BigEndian.PutUint16(a.b[:], actionExperimenter)
	a.b[3] = 24
	binary.BigEndian.PutUint32(a.b[4:], vendorNicira)
	binary.BigEndian.PutUint16(a.b[8:], niciraConntrack)
	binary.BigEndian.PutUint16(a.b[10:], flags)
	if z.field != 0 || z.bits == 15 && z == ZoneInPort() {
		binary.BigEndian.PutUint32(a.b[12:], uint32(z.field)<<9|uint32(fields[z.field].size))
	}
	binary.BigEndian.PutUint16(a.b[16:], z.bits)
	a.b[18] = table
	return a
}

// Track looks the packet's connection up and goes on with a copy of the packet,
// which knows its state, in a table.
func Track(z Zone, table uint8) Action { return conntrack(0, z, table) }

// Commit keeps the packet's connection, and sets its mark if one is given.
func Commit(z Zone, mark ...Field) Action {
	a := conntrack(ctCommit, z, noTable)
	for _, f := range mark {
		set := SetField(f)
		a.n += uint8(copy(a.b[a.n:], set.bytes()))
	}
	binary.BigEndian.PutUint16(a.b[2:], uint16(a.n))
	return a
}

// OutputReg sends the packet to the port whose number is in a register.
func OutputReg(n int) Action {
	a := Action{n: 24}
	binary.BigEndian.PutUint16(a.b[:], actionExperimenter)
	a.b[3] = 24
	binary.BigEndian.PutUint32(a.b[4:], vendorNicira)
	binary.BigEndian.PutUint16(a.b[8:], niciraOutputReg)
	binary.BigEndian.PutUint16(a.b[10:], 31)
	binary.BigEndian.PutUint32(a.b[12:], uint32(FieldReg(n))<<9|4)
	binary.BigEndian.PutUint16(a.b[16:], wholeFrame)
	return a
}

// conntrackText writes the actions of this file as ovs-ofctl does; it is empty
// for others.
func conntrackText(b []byte) string {
	if len(b) < 16 || binary.BigEndian.Uint32(b[4:]) != vendorNicira {
		return ""
	}
	if binary.BigEndian.Uint16(b[8:]) == niciraClearTrack {
		return "ct_clear"
	}
	if len(b) < 24 {
		return ""
	}
	switch binary.BigEndian.Uint16(b[8:]) {
	case niciraOutputReg:
		return "output:" + fields[FieldID(binary.BigEndian.Uint32(b[12:])>>9)].name
	case niciraConntrack:
	default:
		return ""
	}
	var s []string
	if binary.BigEndian.Uint16(b[10:])&ctCommit != 0 {
		s = append(s, "commit")
	}
	if b[18] != noTable {
		s = append(s, fmt.Sprintf("table=%d", b[18]))
	}
	zone := fmt.Sprint(binary.BigEndian.Uint16(b[16:]))
	if h := binary.BigEndian.Uint32(b[12:]); h != 0 {
		zone = fields[FieldID(h>>9)].name
	}
	s = append(s, "zone="+zone)
	s = append(s, nestedText(b[24:])...)
	return "ct(" + strings.Join(s, ",") + ")"
}

// FlushZone has connection tracking forget all connections of a zone. It does not
// wait until the switch has done so.
func (c *Conn) FlushZone(zone uint16) error {
	b := header(nil, typeExperimenter, c.next())
	b = binary.BigEndian.AppendUint32(b, vendorNicira)
	b = binary.BigEndian.AppendUint32(b, niciraFlushZone)
	b = binary.BigEndian.AppendUint16(append(b, 0, 0, 0, 0, 0, 0), zone)
	if err := c.write(finish(b, 0)); err != nil {
		c.end(err)
		return err
	}
	return nil
}
