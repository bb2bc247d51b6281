package openflow

import (
	"encoding/binary"
	"iter"
)

// Encoded are flow-mods as a bundle carries them, but for the transaction and
// bundle ids, which are filled in when they are sent. They can be sent over many
// connections at the same time, as long as nothing is appended.
type Encoded struct {
	b  []byte
	at []uint32 // where each message begins in b, and the last one ends
}

// Offsets in a message of Encoded: a flow-mod (section 7.3.4.2) behind the head
// of OFPT_BUNDLE_ADD_MESSAGE (section 7.3.9.6).
const (
	encodedXID      = 4
	encodedBundle   = headerLen
	encodedMod      = bundleAddExtra
	encodedModXID   = encodedMod + 4
	encodedCookie   = encodedMod + 8
	encodedMask     = encodedMod + 16
	encodedTable    = encodedMod + 24
	encodedCommand  = encodedMod + 25
	encodedPriority = encodedMod + 30
	encodedMatch    = encodedMod + 48
)

// Grow makes room for n flow-mods of some bytes in all.
func (e *Encoded) Grow(n, bytes int) {
	if cap(e.b)-len(e.b) < bytes {
		e.b = append(make([]byte, 0, len(e.b)+bytes), e.b...)
	}
	if cap(e.at)-len(e.at) < n+1 {
		e.at = append(make([]uint32, 0, len(e.at)+n+1), e.at...)
	}
}

// Append encodes one more flow-mod.
func (e *Encoded) Append(m FlowMod) {
	if len(e.at) == 0 {
		e.at = append(e.at, uint32(len(e.b)))
	}
	e.b = appendBundleAdd(e.b, 0, 0, m)
	e.at = append(e.at, uint32(len(e.b)))
}

// Reset takes all flow-mods out and keeps the room.
func (e *Encoded) Reset() { e.b, e.at = e.b[:0], e.at[:0] }

// Len is the number of flow-mods.
func (e Encoded) Len() int { return max(0, len(e.at)-1) }

// Size is the number of bytes.
func (e Encoded) Size() int {
	if len(e.at) == 0 {
		return 0
	}
	return int(e.at[len(e.at)-1] - e.at[0])
}

// Slice are the flow-mods from i up to but not including j; it shares the bytes.
func (e Encoded) Slice(i, j int) Encoded { return Encoded{e.b, e.at[i : j+1 : j+1]} }

// At is one flow-mod.
func (e Encoded) At(i int) EncodedMod { return EncodedMod(e.b[e.at[i]:e.at[i+1]:e.at[i+1]]) }

// appendTo appends the i-th message with its ids.
func (e Encoded) appendTo(b []byte, i int, xid, bundle uint32) []byte {
	at := len(b)
	b = append(b, e.At(i)...)
	binary.BigEndian.PutUint32(b[at+encodedXID:], xid)
	binary.BigEndian.PutUint32(b[at+encodedBundle:], bundle)
	binary.BigEndian.PutUint32(b[at+encodedModXID:], xid)
	return b
}

// EncodedMod is one flow-mod of Encoded.
type EncodedMod []byte

// Cookie is the flow's cookie.
func (m EncodedMod) Cookie() uint64 { return binary.BigEndian.Uint64(m[encodedCookie:]) }

// Table is the flow's table.
func (m EncodedMod) Table() uint8 { return m[encodedTable] }

// matchLen is the length of the match with its head.
func (m EncodedMod) matchLen() int { return int(binary.BigEndian.Uint16(m[encodedMatch+2:])) }

// AppendKey appends what identifies the flow in a switch: its table, its priority
// and its match in the canonical encoding.
func (m EncodedMod) AppendKey(b []byte) []byte {
	b = append(b, m[encodedTable], m[encodedPriority], m[encodedPriority+1])
	return append(b, m[encodedMatch+4:encodedMatch+m.matchLen()]...)
}

// Instructions are what the flow does; they share the bytes.
func (m EncodedMod) Instructions() Instructions {
	return Instructions{m[encodedMatch+(m.matchLen()+7)/8*8:]}
}

// Decode returns the flow-mod. It is one that was encoded here, and has no error.
func (m EncodedMod) Decode() FlowMod {
	match, _, _ := readMatch(m[encodedMatch:])
	return FlowMod{Command: Command(m[encodedCommand]), CookieMask: binary.BigEndian.Uint64(m[encodedMask:]),
		Flow: Flow{Table: m.Table(), Priority: binary.BigEndian.Uint16(m[encodedPriority:]), Cookie: m.Cookie(), Match: match, Instructions: m.Instructions()}}
}

// Described are the flows of a switch as it described them (section 7.3.5.2), not
// decoded: what is as it should be needs no decoding.
type Described struct {
	parts [][]byte // whole descriptions, checked
	n     int
}

// ReadDescribed reads flow descriptions, one after the other.
func ReadDescribed(b []byte) (*Described, error) {
	d := &Described{}
	return d, d.add(b)
}

// Len is the number of flows.
func (d *Described) Len() int { return d.n }

// All yields the flows in the order in which they came.
func (d *Described) All() iter.Seq[DescribedFlow] {
	return func(yield func(DescribedFlow) bool) {
		for _, b := range d.parts {
			for len(b) > 0 {
				f, rest, _ := readDescribed(b) // it had no error when it came
				if b = rest; !yield(f) {
					return
				}
			}
		}
	}
}

// add takes one message's flows, after looking at all of them.
func (d *Described) add(b []byte) error {
	for rest := b; len(rest) > 0; d.n++ {
		f, r, err := readDescribed(rest)
		if err != nil {
			return err
		}
		if _, err := readInstructions(f.b[f.instructions:]); err != nil {
			return err
		}
		rest = r
	}
	if len(b) > 0 {
		d.parts = append(d.parts, b)
	}
	return nil
}

// DescribedFlow is one flow of Described.
type DescribedFlow struct {
	b            []byte
	instructions int
}

// Offsets in a flow description.
const (
	descTable    = 4
	descPriority = 6
	descCookie   = 16
	descMatch    = 24
)

// readDescribed finds the parts of a flow description.
func readDescribed(b []byte) (DescribedFlow, []byte, error) {
	if len(b) < descMatch+8 {
		return DescribedFlow{}, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if n < descMatch+8 || n > len(b) {
		return DescribedFlow{}, nil, errShort
	}
	f := DescribedFlow{b: b[:n:n]}
	match := int(binary.BigEndian.Uint16(b[descMatch+2:]))
	stats := descMatch + (match+7)/8*8
	if binary.BigEndian.Uint16(b[descMatch:]) != 1 || match < 4 || stats+4 > n || !wholeFields(b[descMatch+4:descMatch+match]) {
		return f, nil, errShort
	}
	size := int(binary.BigEndian.Uint16(b[stats+2:]))
	if f.instructions = stats + (size+7)/8*8; size < 4 || f.instructions > n {
		return f, nil, errShort
	}
	return f, b[n:], nil
}

// wholeFields reports whether a match consists of whole fields.
func wholeFields(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 4 || len(b) < 4+int(b[3]) {
			return false
		}
		b = b[4+int(b[3]):]
	}
	return true
}

// Cookie is the flow's cookie.
func (f DescribedFlow) Cookie() uint64 { return binary.BigEndian.Uint64(f.b[descCookie:]) }

// Table is the flow's table.
func (f DescribedFlow) Table() uint8 { return f.b[descTable] }

// Instructions are what the flow does; they share the bytes.
func (f DescribedFlow) Instructions() Instructions { return Instructions{f.b[f.instructions:]} }

func (f DescribedFlow) match() []byte {
	return f.b[descMatch+4 : descMatch+int(binary.BigEndian.Uint16(f.b[descMatch+2:]))]
}

// Metadata is the metadata that the flow matches exactly, if it does.
func (f DescribedFlow) Metadata() (uint64, bool) {
	for b := f.match(); len(b) > 0; b = b[4+int(b[3]):] {
		if binary.BigEndian.Uint32(b) == uint32(FieldMetadata)<<9|8 && len(b) >= 12 {
			return binary.BigEndian.Uint64(b[4:]), true
		}
	}
	return 0, false
}

// fieldsMost is how many fields of a match are put into order in place.
const fieldsMost = 24

// AppendKey appends what identifies the flow, as EncodedMod.AppendKey does: a
// switch returns fields in an order of its own.
func (f DescribedFlow) AppendKey(b []byte) []byte {
	b = append(b, f.b[descTable], f.b[descPriority], f.b[descPriority+1])
	m := f.match()
	var order [fieldsMost][]byte
	n := 0
	for rest := m; len(rest) > 0; n++ {
		size := 4 + int(rest[3])
		if n == fieldsMost {
			match, _, _ := readMatch(f.b[descMatch:])
			return match.AppendTo(b)
		}
		at := n
		for ; at > 0 && fieldOf(order[at-1]) > fieldOf(rest); at-- {
			order[at] = order[at-1]
		}
		order[at], rest = rest[:size], rest[size:]
	}
	for _, field := range order[:n] {
		b = append(b, field...)
	}
	return b
}

// fieldOf is where a field stands in the canonical encoding.
func fieldOf(tlv []byte) uint64 { return FieldID(binary.BigEndian.Uint32(tlv) >> 9).rank() }

// Decode returns the whole flow.
func (f DescribedFlow) Decode() (FlowStats, error) {
	s, _, err := readFlowDesc(f.b)
	return s, err
}
