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

// Action is one action in its encoding.
type Action struct{ b []byte }

// Output sends the packet to a port.
func Output(port uint32) Action {
	b := make([]byte, 16)
	binary.BigEndian.PutUint16(b[2:], 16)
	binary.BigEndian.PutUint32(b[4:], port)
	binary.BigEndian.PutUint16(b[8:], maxLenNoBuffer)
	return Action{b}
}

// SetField sets a field of the packet or of its metadata.
func SetField(f Field) Action {
	b := make([]byte, 4, 24)
	b[1] = actionSetField
	b = pad8(f.appendTo(b), 0)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return Action{b}
}

// Move copies a whole field to one of the same size.
func Move(src, dst FieldID) Action {
	n := fields[src].size
	b := make([]byte, 12, 24)
	b[1], b[3] = actionCopyField, 24
	binary.BigEndian.PutUint16(b[4:], uint16(n)*8)
	b = binary.BigEndian.AppendUint32(b, uint32(src)<<9|uint32(n))
	b = binary.BigEndian.AppendUint32(b, uint32(dst)<<9|uint32(n))
	return Action{pad8(b, 0)}
}

// MoveBits copies the lowest bits of a field to the lowest of another.
func MoveBits(src, dst FieldID, bits uint16) Action {
	b := make([]byte, 12, 24)
	b[1], b[3] = actionCopyField, 24
	binary.BigEndian.PutUint16(b[4:], bits)
	b = binary.BigEndian.AppendUint32(b, uint32(src)<<9|uint32(fields[src].size))
	b = binary.BigEndian.AppendUint32(b, uint32(dst)<<9|uint32(fields[dst].size))
	return Action{pad8(b, 0)}
}

// HashFlow writes a hash of the packet's addresses, protocol and ports into the
// lowest bits of register reg. Both directions of a connection have the same.
func HashFlow(reg int, bits uint16) Action {
	b := make([]byte, 32)
	binary.BigEndian.PutUint16(b, actionExperimenter)
	b[3] = 32
	binary.BigEndian.PutUint32(b[4:], vendorNicira)
	binary.BigEndian.PutUint16(b[8:], niciraMultipath)
	binary.BigEndian.PutUint16(b[10:], hashSymmetricL4)
	binary.BigEndian.PutUint16(b[18:], 1<<bits-1) // the highest result; modulo
	binary.BigEndian.PutUint16(b[26:], bits-1)
	binary.BigEndian.PutUint32(b[28:], uint32(FieldReg(reg))<<9|4)
	return Action{b}
}

// Resubmit looks the packet up in a table again, which may be the same or an
// earlier one, and then goes on.
func Resubmit(table uint8) Action {
	b := make([]byte, 16)
	binary.BigEndian.PutUint16(b, actionExperimenter)
	binary.BigEndian.PutUint16(b[2:], 16)
	binary.BigEndian.PutUint32(b[4:], vendorNicira)
	binary.BigEndian.PutUint16(b[8:], niciraResubmit)
	binary.BigEndian.PutUint16(b[10:], resubmitInPort16)
	b[12] = table
	return Action{b}
}

// String writes the action as ovs-ofctl does.
func (a Action) String() string {
	switch binary.BigEndian.Uint16(a.b) {
	case actionOutput:
		if len(a.b) == 16 {
			switch p := binary.BigEndian.Uint32(a.b[4:]); p {
			case PortInPort:
				return "in_port"
			case PortController:
				return "CONTROLLER"
			default:
				return fmt.Sprintf("output:%d", p)
			}
		}
	case actionSetField:
		if f, _, err := readField(a.b[4:]); err == nil {
			name, value, _ := strings.Cut(f.String(), "=")
			return "set_field:" + value + "->" + name
		}
	case actionCopyField:
		if len(a.b) == 24 {
			src, dst := FieldID(binary.BigEndian.Uint32(a.b[12:])>>9), FieldID(binary.BigEndian.Uint32(a.b[16:])>>9)
			if n := binary.BigEndian.Uint16(a.b[4:]); n < uint16(fields[src].size)*8 {
				return fmt.Sprintf("move:%s[0..%d]->%s[0..%d]", fields[src].name, n-1, fields[dst].name, n-1)
			}
			return "move:" + fields[src].name + "->" + fields[dst].name
		}
	case actionExperimenter:
		if len(a.b) == 16 && binary.BigEndian.Uint32(a.b[4:]) == vendorNicira && binary.BigEndian.Uint16(a.b[8:]) == niciraResubmit {
			return fmt.Sprintf("resubmit(,%d)", a.b[12])
		}
		if len(a.b) == 32 && binary.BigEndian.Uint32(a.b[4:]) == vendorNicira && binary.BigEndian.Uint16(a.b[8:]) == niciraMultipath {
			return fmt.Sprintf("multipath(symmetric_l4,%s)", fields[FieldID(binary.BigEndian.Uint32(a.b[28:])>>9)].name)
		}
	}
	return fmt.Sprintf("action(0x%x)", a.b)
}

func readActions(b []byte) ([]Action, error) {
	var as []Action
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, errShort
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n%8 != 0 || n > len(b) {
			return nil, fmt.Errorf("action of type %d: length %d", binary.BigEndian.Uint16(b), n)
		}
		as = append(as, Action{b[:n:n]})
		b = b[n:]
	}
	return as, nil
}

// Instruction is one instruction of a flow in its encoding.
type Instruction struct{ b []byte }

// Apply applies actions at once.
func Apply(as ...Action) Instruction {
	n := 8
	for _, a := range as {
		n += len(a.b)
	}
	b := make([]byte, 8, n)
	b[1] = instructionApply
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	for _, a := range as {
		b = append(b, a.b...)
	}
	return Instruction{b}
}

// WriteMetadata sets the whole metadata.
func WriteMetadata(v uint64) Instruction {
	b := make([]byte, 24)
	b[1], b[3] = instructionMetadata, 24
	binary.BigEndian.PutUint64(b[8:], v)
	binary.BigEndian.PutUint64(b[16:], ^uint64(0))
	return Instruction{b}
}

// GotoTable goes on in a later table.
func GotoTable(t uint8) Instruction { return Instruction{[]byte{0, instructionGoto, 0, 8, t, 0, 0, 0}} }

// Instructions are what a flow does. The zero value drops.
type Instructions struct{ b []byte }

// NewInstructions joins instructions, which must come in the order apply,
// write-metadata, goto, in which a switch returns them.
func NewInstructions(is ...Instruction) Instructions {
	var out Instructions
	for _, i := range is {
		if i.b[1] == instructionApply && len(i.b) == 8 {
			continue // no actions: the switch leaves it out as well
		}
		out.b = append(out.b, i.b...)
	}
	return out
}

// AppendTo appends the encoding.
func (i Instructions) AppendTo(b []byte) []byte { return append(b, i.b...) }

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

func readInstructions(b []byte) (Instructions, error) {
	i := Instructions{b}
	var bad error
	err := i.each(func(kind uint16, body []byte) {
		switch kind {
		case instructionApply:
			if _, err := readActions(body[4:]); err != nil {
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
	_ = i.each(func(kind uint16, body []byte) {
		if kind != instructionApply {
			return
		}
		as, _ := readActions(body[4:])
		for _, a := range as {
			if binary.BigEndian.Uint16(a.b) != actionSetField {
				continue
			}
			if f, _, err := readField(a.b[4:]); err == nil && (f.ID == FieldTunIPv4Dst || f.ID == FieldTunIPv6Dst) {
				out = append(out, f.addr())
			}
		}
	})
	return out
}

// Outputs lists the ports that the actions send to, in order.
func (i Instructions) Outputs() []uint32 {
	var out []uint32
	_ = i.each(func(kind uint16, body []byte) {
		if kind != instructionApply {
			return
		}
		as, _ := readActions(body[4:])
		for _, a := range as {
			if binary.BigEndian.Uint16(a.b) == actionOutput && len(a.b) == 16 {
				out = append(out, binary.BigEndian.Uint32(a.b[4:]))
			}
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
			as, _ := readActions(body[4:])
			for _, a := range as {
				s = append(s, a.String())
			}
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
