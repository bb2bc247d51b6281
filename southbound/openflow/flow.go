package openflow

import (
	"encoding/binary"
	"fmt"
	"time"
)

// TableAll stands for all tables in a deletion.
const TableAll uint8 = 0xff

// Flow is an entry of a flow table.
type Flow struct {
	Table        uint8
	Priority     uint16
	Cookie       uint64
	Match        Match
	Instructions Instructions
}

// String writes the flow as ovs-ofctl does.
func (f Flow) String() string {
	m := f.Match.String()
	if m != "" {
		m = "," + m
	}
	return fmt.Sprintf("cookie=%#x,table=%d,priority=%d%s actions=%s", f.Cookie, f.Table, f.Priority, m, f.Instructions)
}

// Command says what a FlowMod does (section 7.3.4.2).
type Command uint8

// Commands of a FlowMod.
const (
	FlowAdd          Command = 0
	FlowModify       Command = 1
	FlowModifyStrict Command = 2
	FlowDelete       Command = 3
	FlowDeleteStrict Command = 4
)

// FlowMod changes flow tables. For deletions the cookie, under CookieMask,
// limits what is deleted.
type FlowMod struct {
	Command    Command
	CookieMask uint64
	// HardTimeout is after how many seconds the switch removes a flow that is
	// added; zero for never.
	HardTimeout uint16
	Flow
}

// AppendTo appends the whole message.
func (m FlowMod) AppendTo(b []byte, xid uint32) []byte {
	at := len(b)
	b = header(b, typeFlowMod, xid)
	b = binary.BigEndian.AppendUint64(b, m.Cookie)
	b = binary.BigEndian.AppendUint64(b, m.CookieMask)
	b = append(b, m.Table, byte(m.Command), 0, 0) // no idle timeout
	b = binary.BigEndian.AppendUint16(b, m.HardTimeout)
	b = binary.BigEndian.AppendUint16(b, m.Priority)
	b = binary.BigEndian.AppendUint32(b, 0xffffffff) // no buffer
	b = binary.BigEndian.AppendUint32(b, PortAny)
	b = binary.BigEndian.AppendUint32(b, 0xffffffff) // any group
	b = append(b, 0, 0, 0, 0)                        // flags, importance
	b = m.Match.appendStruct(b)
	b = m.Instructions.AppendTo(b)
	return finish(b, at)
}

// FlowStats is a flow as a switch returns it.
type FlowStats struct {
	Flow
	Age     time.Duration
	Packets uint64
	Bytes   uint64
}

// readFlowDesc reads one entry of a flow description reply (section 7.3.5.2).
func readFlowDesc(b []byte) (FlowStats, []byte, error) {
	if len(b) < 24 {
		return FlowStats{}, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if n < 24 || n > len(b) {
		return FlowStats{}, nil, fmt.Errorf("flow description of %d bytes", n)
	}
	var f FlowStats
	f.Table, f.Priority, f.Cookie = b[4], binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint64(b[16:])
	m, rest, err := readMatch(b[24:n])
	if err != nil {
		return f, nil, err
	}
	f.Match = m
	if rest, err = f.readStats(rest); err != nil {
		return f, nil, err
	}
	f.Instructions, err = readInstructions(rest)
	return f, b[n:], err
}

// OXS fields of flow statistics (section 7.2.4.2).
const (
	oxsDuration = 0
	oxsPackets  = 4
	oxsBytes    = 5
)

func (f *FlowStats) readStats(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	padded := (n + 7) / 8 * 8
	if n < 4 || padded > len(b) {
		return nil, errShort
	}
	for in := b[4:n]; len(in) > 0; {
		if len(in) < 4 {
			return nil, errShort
		}
		h := binary.BigEndian.Uint32(in)
		size := int(h & 0xff)
		if len(in) < 4+size {
			return nil, errShort
		}
		v := in[4 : 4+size]
		in = in[4+size:]
		if h>>16 != 0x8002 || size != 8 {
			continue
		}
		switch h >> 9 & 0x7f {
		case oxsDuration:
			f.Age = time.Duration(binary.BigEndian.Uint32(v))*time.Second + time.Duration(binary.BigEndian.Uint32(v[4:]))
		case oxsPackets:
			f.Packets = binary.BigEndian.Uint64(v)
		case oxsBytes:
			f.Bytes = binary.BigEndian.Uint64(v)
		}
	}
	return b[padded:], nil
}

// UpdateEvent is what happened to a flow (section 7.3.5.18.2).
type UpdateEvent uint16

// Events of a flow monitor.
const (
	FlowAdded    UpdateEvent = 1
	FlowRemoved  UpdateEvent = 2
	FlowModified UpdateEvent = 3
	flowAbbrev   UpdateEvent = 4 // our own doing
	flowPaused   UpdateEvent = 5
	FlowsResumed UpdateEvent = 6 // updates were left out
)

// FlowUpdate is an event of a flow monitor. The flow has no instructions.
type FlowUpdate struct {
	Event UpdateEvent
	Flow  Flow
}

func readFlowUpdate(b []byte) (FlowUpdate, []byte, error) {
	if len(b) < 4 {
		return FlowUpdate{}, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if n < 4 || n > len(b) {
		return FlowUpdate{}, nil, fmt.Errorf("flow update of %d bytes", n)
	}
	u := FlowUpdate{Event: UpdateEvent(binary.BigEndian.Uint16(b[2:]))}
	if u.Event > FlowModified {
		return u, b[n:], nil
	}
	if n < 24 {
		return u, nil, errShort
	}
	u.Flow.Table, u.Flow.Priority, u.Flow.Cookie = b[4], binary.BigEndian.Uint16(b[10:]), binary.BigEndian.Uint64(b[16:])
	m, _, err := readMatch(b[24:n])
	u.Flow.Match = m
	return u, b[n:], err
}
