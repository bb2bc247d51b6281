package openflow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

var errShort = errors.New("message is cut short")

// Reserved port numbers (section 7.2.1.2).
const (
	PortInPort uint32 = 0xfffffff8
	PortAny    uint32 = 0xffffffff
)

// Action and instruction types (sections 7.2.5, 7.2.4).
const (
	actionOutput       = 0
	actionSetField     = 25
	actionCopyField    = 28
	actionMeter        = 29
	actionExperimenter = 0xffff

	instructionGoto     = 1
	instructionMetadata = 2
	instructionApply    = 4

	vendorNicira     = 0x2320
	niciraMultipath  = 10
	niciraResubmit   = 14
	hashSymmetricL4  = 1
	maxLenNoBuffer   = 0
	resubmitInPort16 = 0xfff8
)

// Action is one action in its encoding. It is a value: flows are made of
// actions by the hundred thousand.
type Action struct {
	n uint8
	b [maxAction]byte
}

// maxAction is the longest action that is made here, one that translates to an
// IPv6 address. A switch may have longer ones.
const maxAction = 56

func (a *Action) bytes() []byte { return a.b[:a.n] }

// Output sends the packet to a port.
func Output(port uint32) Action {
	a := Action{n: 16}
	binary.BigEndian.PutUint16(a.b[2:], 16)
	binary.BigEndian.PutUint32(a.b[4:], port)
	binary.BigEndian.PutUint16(a.b[8:], maxLenNoBuffer)
	return a
}

// SetField sets a field of the packet or of its metadata.
func SetField(f Field) Action {
	var a Action
	a.b[1] = actionSetField
	a.n = uint8(len(pad8(f.appendTo(a.b[:4]), 0)))
	binary.BigEndian.PutUint16(a.b[2:], uint16(a.n))
	return a
}

// Move copies a whole field to one of the same size.
func Move(src, dst FieldID) Action { return MoveBits(src, dst, uint16(fields[src].size)*8) }

// MoveBits copies the lowest bits of a field to the lowest of another.
func MoveBits(src, dst FieldID, bits uint16) Action {
	a := Action{n: 24}
	a.b[1], a.b[3] = actionCopyField, 24
	binary.BigEndian.PutUint16(a.b[4:], bits)
	binary.BigEndian.PutUint32(a.b[12:], uint32(src)<<9|uint32(fields[src].size))
	binary.BigEndian.PutUint32(a.b[16:], uint32(dst)<<9|uint32(fields[dst].size))
	return a
}

// HashFlow writes a hash of the packet's addresses, protocol and ports into the
// lowest bits of register reg. Both directions of a connection have the same.
func HashFlow(reg int, bits uint16) Action {
	a := Action{n: 32}
	binary.BigEndian.PutUint16(a.b[:], actionExperimenter)
	a.b[3] = 32
	binary.BigEndian.PutUint32(a.b[4:], vendorNicira)
	binary.BigEndian.PutUint16(a.b[8:], niciraMultipath)
	binary.BigEndian.PutUint16(a.b[10:], hashSymmetricL4)
	binary.BigEndian.PutUint16(a.b[18:], 1<<bits-1) // the highest result; modulo
	binary.BigEndian.PutUint16(a.b[26:], bits-1)
	binary.BigEndian.PutUint32(a.b[28:], uint32(FieldReg(reg))<<9|4)
	return a
}

// Resubmit looks the packet up in a table again, which may be the same or an
// earlier one, and then goes on.
func Resubmit(table uint8) Action {
	a := Action{n: 16}
	binary.BigEndian.PutUint16(a.b[:], actionExperimenter)
	binary.BigEndian.PutUint16(a.b[2:], 16)
	binary.BigEndian.PutUint32(a.b[4:], vendorNicira)
	binary.BigEndian.PutUint16(a.b[8:], niciraResubmit)
	binary.BigEndian.PutUint16(a.b[10:], resubmitInPort16)
	a.b[12] = table
	return a
}

// String writes the action as ovs-ofctl does.
func (a Action) String() string { return actionText(a.bytes()) }

func actionText(b []byte) string {
	switch binary.BigEndian.Uint16(b) {
	case actionOutput:
		if len(b) == 16 {
			switch p := binary.BigEndian.Uint32(b[4:]); p {
			case PortInPort:
				return "in_port"
			case PortController:
				return "CONTROLLER"
			default:
				return fmt.Sprintf("output:%d", p)
			}
		}
	case actionSetField:
		if f, _, err := readField(b[4:]); err == nil {
			name, value, _ := strings.Cut(f.String(), "=")
			return "set_field:" + value + "->" + name
		}
	case actionCopyField:
		if len(b) == 24 {
			src, dst := FieldID(binary.BigEndian.Uint32(b[12:])>>9), FieldID(binary.BigEndian.Uint32(b[16:])>>9)
			if n := binary.BigEndian.Uint16(b[4:]); n < uint16(fields[src].size)*8 {
				return fmt.Sprintf("move:%s[0..%d]->%s[0..%d]", fields[src].name, n-1, fields[dst].name, n-1)
			}
			return "move:" + fields[src].name + "->" + fields[dst].name
		}
	case actionDecTTL:
		return "dec_ttl"
	case actionMeter:
		if len(b) == 8 {
			return fmt.Sprintf("meter:%d", binary.BigEndian.Uint32(b[4:]))
		}
	case actionExperimenter:
		if len(b) == 16 && binary.BigEndian.Uint32(b[4:]) == vendorNicira && binary.BigEndian.Uint16(b[8:]) == niciraResubmit {
			return fmt.Sprintf("resubmit(,%d)", b[12])
		}
		if len(b) == 32 && binary.BigEndian.Uint32(b[4:]) == vendorNicira && binary.BigEndian.Uint16(b[8:]) == niciraMultipath {
			if binary.BigEndian.Uint16(b[10:]) == hashSymmetricL3L4UD {
				return fmt.Sprintf("multipath(symmetric_l3l4+udp,%d,%s)", int(binary.BigEndian.Uint16(b[18:]))+1, fields[FieldID(binary.BigEndian.Uint32(b[28:])>>9)].name)
			}
			return fmt.Sprintf("multipath(symmetric_l4,%s)", fields[FieldID(binary.BigEndian.Uint32(b[28:])>>9)].name)
		}
		if s := conntrackText(b); s != "" {
			return s
		}
	}
	return fmt.Sprintf("action(0x%x)", b)
}

// eachAction yields the encoded actions of a list up to one that can't be read.
func eachAction(b []byte, f func(action []byte)) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return errShort
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n%8 != 0 || n > len(b) {
			return fmt.Errorf("action of type %d: length %d", binary.BigEndian.Uint16(b), n)
		}
		f(b[:n:n])
		b = b[n:]
	}
	return nil
}

// Instruction is one instruction of a flow in its encoding: a short one in
// place, one with actions beside it.
type Instruction struct {
	n     uint8
	short [24]byte
	apply []byte
}

func (i *Instruction) bytes() []byte {
	if i.apply != nil {
		return i.apply
	}
	return i.short[:i.n]
}

// Apply applies actions at once.
func Apply(as ...Action) Instruction {
	n := 8
	for i := range as {
		n += int(as[i].n)
	}
	b := make([]byte, 8, n)
	b[1] = instructionApply
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	for i := range as {
		b = append(b, as[i].bytes()...)
	}
	return Instruction{apply: b}
}

// WriteMetadata sets the whole metadata.
func WriteMetadata(v uint64) Instruction {
	i := Instruction{n: 24}
	i.short[1], i.short[3] = instructionMetadata, 24
	binary.BigEndian.PutUint64(i.short[8:], v)
	binary.BigEndian.PutUint64(i.short[16:], ^uint64(0))
	return i
}

// GotoTable goes on in a later table.
func GotoTable(t uint8) Instruction {
	return Instruction{n: 8, short: [24]byte{0, instructionGoto, 0, 8, t}}
}

// Instructions are what a flow does. The zero value drops.
type Instructions struct{ b []byte }

// NewInstructions joins instructions, which must come in the order apply,
// write-metadata, goto, in which a switch returns them.
func NewInstructions(is ...Instruction) Instructions {
	n, used, only := 0, 0, 0
	for i := range is {
		if !is[i].idle() {
			n, used, only = n+len(is[i].bytes()), used+1, i
		}
	}
	switch {
	case used == 0:
		return Instructions{}
	case used == 1 && is[only].apply != nil:
		return Instructions{is[only].apply}
	}
	out := Instructions{make([]byte, 0, n)}
	for i := range is {
		if !is[i].idle() {
			out.b = append(out.b, is[i].bytes()...)
		}
	}
	return out
}

// idle reports whether an instruction has no actions: the switch leaves it out
// as well.
func (i *Instruction) idle() bool { return len(i.apply) == 8 }

// AppendTo appends the encoding.
func (i Instructions) AppendTo(b []byte) []byte { return append(b, i.b...) }

// Bytes is the encoding. It must not be changed.
func (i Instructions) Bytes() []byte { return i.b }

func (i Instructions) each(f func(kind uint16, body []byte)) error {
	for b := i.b; len(b) > 0; {
		if len(b) < 8 {
			return errShort
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			return fmt.Errorf("instruction of type %d: length %d", binary.BigEndian.Uint16(b), n)
		}
		f(binary.BigEndian.Uint16(b), b[4:n])
		b = b[n:]
	}
	return nil
}

// eachAction yields the encoded actions that are applied.
func (i Instructions) eachAction(f func(action []byte)) {
	_ = i.each(func(kind uint16, body []byte) {
		if kind == instructionApply {
			_ = eachAction(body[4:], f)
		}
	})
}

func readInstructions(b []byte) (Instructions, error) {
	i := Instructions{b}
	var bad error
	err := i.each(func(kind uint16, body []byte) {
		switch kind {
		case instructionApply:
			if err := eachAction(body[4:], func([]byte) {}); err != nil {
				bad = fmt.Errorf("apply-actions: %w", err)
			}
		case instructionMetadata:
			if len(body) != 20 {
				bad = errShort
			}
		}
	})
	return i, errors.Join(err, bad)
}

// TunnelDsts lists the tunnel destinations that the actions set, in order.
func (i Instructions) TunnelDsts() []netip.Addr {
	var out []netip.Addr
	i.eachAction(func(a []byte) {
		if binary.BigEndian.Uint16(a) != actionSetField {
			return
		}
		if f, _, err := readField(a[4:]); err == nil && (f.ID == FieldTunIPv4Dst || f.ID == FieldTunIPv6Dst) {
			out = append(out, f.addr())
		}
	})
	return out
}

// Outputs lists the ports that the actions send to, in order.
func (i Instructions) Outputs() []uint32 {
	var out []uint32
	i.eachAction(func(a []byte) {
		if binary.BigEndian.Uint16(a) == actionOutput && len(a) == 16 {
			out = append(out, binary.BigEndian.Uint32(a[4:]))
		}
	})
	return out
}

// String writes the instructions as ovs-ofctl does.
func (i Instructions) String() string {
	var s []string
	err := i.each(func(kind uint16, body []byte) {
		switch kind {
		case instructionApply:
			_ = eachAction(body[4:], func(a []byte) { s = append(s, actionText(a)) })
		case instructionMetadata:
			s = append(s, fmt.Sprintf("write_metadata:%#x", binary.BigEndian.Uint64(body[4:])))
		case instructionGoto:
			s = append(s, fmt.Sprintf("goto_table:%d", body[0]))
		default:
			s = append(s, fmt.Sprintf("instruction(%d)", kind))
		}
	})
	if err != nil {
		s = append(s, err.Error())
	}
	if len(s) == 0 {
		return "drop"
	}
	return strings.Join(s, ",")
}
