package sim

import (
	"encoding/binary"
	"maps"
	"net"
	"slices"
)

// Commands of a meter-mod (section 7.3.4.6).
const (
	meterAdd    = 0
	meterDelete = 2
)

// meter makes the change of one meter-mod; flows that use a deleted meter stay,
// since no driver deletes one that is in use.
func (f *flowConn) meter(m []byte) error {
	if len(m) < headerLen+8 {
		return errFrame
	}
	command, id := binary.BigEndian.Uint16(m[headerLen:]), binary.BigEndian.Uint32(m[headerLen+4:])
	f.mu.Lock()
	_, has := f.meters[id]
	ok := command == meterDelete || has == (command != meterAdd)
	switch {
	case !ok:
	case command == meterDelete:
		delete(f.meters, id)
	default:
		if f.meters == nil {
			f.meters = map[uint32][]byte{}
		}
		// A description is the meter-mod with its length for the command.
		d := slices.Clone(m[headerLen:])
		binary.BigEndian.PutUint16(d, uint16(len(d)))
		f.meters[id] = d
	}
	f.mu.Unlock()
	if !ok {
		f.mu.Lock()
		f.stats.Refused++
		f.mu.Unlock()
		f.reply(typeError, binary.BigEndian.Uint32(m[4:]), append([]byte{0, 12, 0, byte(1 + 2*command)}, m[:min(len(m), 64)]...)...)
	}
	return nil
}

// dumpMeters answers a request for meter descriptions or counters, which are
// zero: nothing passes here.
func (f *flowConn) dumpMeters(xid uint32, kind byte) error {
	if err := f.flush(); err != nil {
		return err
	}
	f.mu.Lock()
	var entries [][]byte
	for _, id := range slices.Sorted(maps.Keys(f.meters)) {
		e := f.meters[id]
		if kind == multipartMeterStats {
			e = binary.BigEndian.AppendUint32(nil, id)
			e = append(append(e, 0, 56), make([]byte, 50)...)
		}
		entries = append(entries, e)
	}
	f.mu.Unlock()
	for first := true; first || len(entries) > 0; first = false {
		n := min(len(entries), 500)
		now, more := entries[:n], byte(0)
		if entries = entries[n:]; len(entries) > 0 {
			more = 1
		}
		b := slices.Concat(now...)
		h := []byte{6, typeMultipartReply, 0, 0, 0, 0, 0, 0, 0, kind, 0, more, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(b)))
		binary.BigEndian.PutUint32(h[4:], xid)
		buffers := net.Buffers{h, b}
		if _, err := buffers.WriteTo(f.conn); err != nil {
			return err
		}
	}
	return nil
}
