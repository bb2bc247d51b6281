package sim

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Message types (OpenFlow 1.5 section 7.1.1).
const (
	typeHello            = 0
	typeError            = 1
	typeEchoRequest      = 2
	typeEchoReply        = 3
	typeExperimenter     = 4
	typeFeaturesRequest  = 5
	typeFeaturesReply    = 6
	typeSetConfig        = 9
	typePacketOut        = 13
	typeFlowMod          = 14
	typeMultipartRequest = 18
	typeMultipartReply   = 19
	typeBarrierRequest   = 20
	typeBarrierReply     = 21
	typeMeterMod         = 29
	typeBundleControl    = 33
	typeBundleAdd        = 34
)

const headerLen = 8

// flowConn is one OpenFlow connection of an edge.
type flowConn struct {
	*Edge
	conn    net.Conn
	out     []byte
	bundles map[uint32][]byte // open ones: their flow-mods
	monitor bool
	monXID  uint32
	mods    []Mod  // for the observer
	desc    []byte // scratch
}

var errFrame = errors.New("malformed OpenFlow message")

// serveOpenFlow answers until the connection ends.
func (e *Edge) serveOpenFlow(c net.Conn) {
	e.mu.Lock()
	e.stats.OpenFlowConnects++
	e.mu.Unlock()
	e.farm.flowConns.Add(1)
	f := &flowConn{Edge: e, conn: c}
	r := bufio.NewReaderSize(c, 4<<10)
	f.reply(typeHello, 0, 0, 1, 0, 8, 0, 0, 0, 1<<6)
	if f.flush() != nil {
		return
	}
	var buf []byte
	for {
		e.pause(true)
		head, err := r.Peek(headerLen)
		if err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(head[2:]))
		if n < headerLen {
			return
		}
		if cap(buf) < n {
			buf = make([]byte, max(n, 512))
		}
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return
		}
		e.pause(false) // got stuck meanwhile
		if f.take(buf[:n]) != nil || r.Buffered() == 0 && f.flush() != nil {
			return
		}
		if cap(buf) > 16<<10 {
			buf = nil
		}
	}
}

func (f *flowConn) reply(kind uint8, xid uint32, body ...byte) {
	f.out = append(f.out, 6, kind, 0, 0)
	binary.BigEndian.PutUint16(f.out[len(f.out)-2:], uint16(headerLen+len(body)))
	f.out = binary.BigEndian.AppendUint32(f.out, xid)
	f.out = append(f.out, body...)
}

func (f *flowConn) flush() error {
	if len(f.out) == 0 {
		return nil
	}
	_, err := f.conn.Write(f.out)
	if f.out = f.out[:0]; cap(f.out) > 4<<10 {
		f.out = nil
	}
	return err
}

// refuse answers with an error of type bad request.
func (f *flowConn) refuse(m []byte, code byte) {
	f.mu.Lock()
	f.stats.Refused++
	f.mu.Unlock()
	f.reply(typeError, binary.BigEndian.Uint32(m[4:]), append([]byte{0, 1, 0, code}, m[:min(len(m), 64)]...)...)
}

// take handles one message; an error ends the connection.
func (f *flowConn) take(m []byte) error {
	kind, xid, body := m[1], binary.BigEndian.Uint32(m[4:]), m[headerLen:]
	f.mu.Lock()
	f.stats.Bytes += int64(len(m))
	f.mu.Unlock()
	f.farm.bytes.Add(int64(len(m)))
	switch kind {
	case typeHello, typeEchoReply, typeSetConfig, typeError:
	case typeExperimenter:
		// Open vSwitch's message to forget the connections of a zone (NXT_CT_FLUSH_ZONE).
		if len(body) != 16 || binary.BigEndian.Uint32(body) != 0x2320 || binary.BigEndian.Uint32(body[4:]) != 29 {
			f.refuse(m, 3)
			return nil
		}
		f.mu.Lock()
		f.stats.ZonesFlushed++
		f.mu.Unlock()
	case typePacketOut:
		f.mu.Lock()
		f.stats.PacketOuts++
		f.mu.Unlock()
	case typeEchoRequest:
		f.reply(typeEchoReply, xid, body...)
	case typeFeaturesRequest:
		b := binary.BigEndian.AppendUint64(nil, uint64(f.index)+1)
		f.reply(typeFeaturesReply, xid, append(b, 0, 0, 0, 0, 254, 0, 0, 0, 0, 0, 0, 0x4f, 0, 0, 0, 0)...)
	case typeBarrierRequest:
		f.reply(typeBarrierReply, xid)
	case typeMultipartRequest:
		return f.multipart(m)
	case typeFlowMod:
		return f.apply(m)
	case typeMeterMod:
		return f.meter(m)
	case typeBundleControl:
		return f.control(m)
	case typeBundleAdd:
		if len(body) < 8+descMatch {
			return errFrame
		}
		id := binary.BigEndian.Uint32(body)
		staged, ok := f.bundles[id]
		if !ok {
			f.refuse(m, 1)
			return nil
		}
		f.bundles[id] = append(staged, body[8:]...)
	default:
		f.refuse(m, 1)
	}
	return nil
}

// Bundle control (section 7.3.9.2).
const (
	bundleOpen    = 0
	bundleCommit  = 4
	bundleDiscard = 6
)

func (f *flowConn) control(m []byte) error {
	if len(m) < headerLen+8 {
		return errFrame
	}
	id, what := binary.BigEndian.Uint32(m[headerLen:]), binary.BigEndian.Uint16(m[headerLen+4:])
	switch what {
	case bundleOpen:
		if f.bundles == nil {
			f.bundles = make(map[uint32][]byte, 1)
		}
		f.bundles[id] = nil
	case bundleCommit:
		mods := f.bundles[id]
		delete(f.bundles, id)
		if err := f.apply(mods); err != nil {
			return err
		}
	case bundleDiscard:
		delete(f.bundles, id)
	default:
		f.refuse(m, 1)
		return nil
	}
	body := append([]byte(nil), m[headerLen:headerLen+8]...)
	binary.BigEndian.PutUint16(body[4:], what+1)
	f.reply(typeBundleControl, binary.BigEndian.Uint32(m[4:]), body...)
	return nil
}

// apply makes the changes of a run of flow-mods, all at once.
func (f *flowConn) apply(mods []byte) error {
	watch := f.farm.observer.Load()
	f.mods = f.mods[:0]
	n, last := 0, uint32(0)
	f.mu.Lock()
	for len(mods) >= 48 {
		size := int(binary.BigEndian.Uint16(mods[2:]))
		if size < 48 || size > len(mods) || mods[1] != typeFlowMod {
			break
		}
		m := mods[:size]
		mods, last = mods[size:], binary.BigEndian.Uint32(m[4:])
		if !f.change(m) {
			f.stats.Refused++
			f.reply(typeError, last, append([]byte{0, 4, 0, 1}, m[:min(len(m), 64)]...)...)
			continue
		}
		n++
		if watch != nil {
			f.mods = append(f.mods, Mod{Cookie: binary.BigEndian.Uint64(m[8:]), Table: m[24], Delete: m[25] >= 3})
		}
	}
	f.stats.Bundles++
	f.stats.FlowMods += n
	f.mu.Unlock()
	f.farm.bundles.Add(1)
	f.farm.mods.Add(int64(n))
	if len(mods) > 0 {
		return errFrame
	}
	if f.monitor && n > 0 {
		// Of its own changes a connection is told in short form.
		b := []byte{0, 16, 0, 0, 0, 0, 0, 0, 0, 8, 0, 4}
		f.reply(typeMultipartReply, f.monXID, binary.BigEndian.AppendUint32(b, last)...)
	}
	if watch != nil {
		(*watch)(Commit{Edge: f.index, At: time.Now(), Mods: f.mods})
	}
	return nil
}

// change makes the change of one flow-mod (section 7.3.4.2) and reports whether
// it could. The caller holds the lock.
func (f *flowConn) change(m []byte) bool {
	table, command, priority := m[24], m[25], binary.BigEndian.Uint16(m[30:])
	match := m[48:]
	if len(match) < 8 {
		return false
	}
	size := int(binary.BigEndian.Uint16(match[2:]))
	padded := (size + 7) / 8 * 8
	if size < 4 || padded > len(match) {
		return false
	}
	cookie, mask := binary.BigEndian.Uint64(m[8:]), binary.BigEndian.Uint64(m[16:])
	switch {
	case command == 0 && table < tables && binary.BigEndian.Uint16(m[28:]) != 0:
		// A flow that ends by itself: it is counted as a change and is over at once.
	case command == 0 && table < tables:
		f.set(f.farm.arena.flowKey(table, priority, match[:size]), f.describe(m, match[:padded], match[padded:]))
	case command == 3 && size == 4: // all flows with a cookie
		for k := range f.flows {
			d := f.description(k)
			if (table == 0xff || d[descTable] == table) && (binary.BigEndian.Uint64(d[descCookie:])^cookie)&mask == 0 {
				f.remove(k)
			}
		}
	case command == 4 && table < tables:
		k := f.farm.arena.flowKey(table, priority, match[:size])
		if d := f.description(k); d != nil && (binary.BigEndian.Uint64(d[descCookie:])^cookie)&mask == 0 {
			f.remove(k)
		}
	default:
		return false
	}
	return true
}

// describe makes a flow description of a flow-mod.
func (f *flowConn) describe(m, match, instructions []byte) []byte {
	d := append(f.desc[:0], make([]byte, descMatch)...)
	d[descTable] = m[24]
	copy(d[descPriority:], m[30:32])
	copy(d[descCookie:], m[8:16])
	d = append(d, match...)
	d = append(d, 0, 0, 0, 4, 0, 0, 0, 0) // no statistics
	d = append(d, instructions...)
	binary.BigEndian.PutUint16(d, uint16(len(d)))
	f.desc = d
	return d
}

// Multipart types (section 7.3.5).
const (
	multipartFlowDesc    = 1
	multipartMeterStats  = 9
	multipartMeterDesc   = 10
	multipartFlowMonitor = 16
)

// partSize is how much of a flow description goes into one message at most.
const partSize = 32 << 10

var parts = sync.Pool{New: func() any { b := make([]byte, 0, 2*partSize); return &b }}

func (f *flowConn) multipart(m []byte) error {
	if len(m) < 16 {
		return errFrame
	}
	xid := binary.BigEndian.Uint32(m[4:])
	switch binary.BigEndian.Uint16(m[headerLen:]) {
	case multipartFlowMonitor:
		f.monitor, f.monXID = true, xid
		f.reply(typeMultipartReply, xid, 0, multipartFlowMonitor, 0, 0, 0, 0, 0, 0)
	case multipartFlowDesc:
		if len(m) < 48 {
			return errFrame
		}
		return f.dump(xid, m[16], binary.BigEndian.Uint64(m[32:]), binary.BigEndian.Uint64(m[40:]))
	case multipartMeterDesc, multipartMeterStats:
		return f.dumpMeters(xid, m[headerLen+1])
	default:
		f.refuse(m, 2)
	}
	return nil
}

// dump answers a request for flow descriptions. Changes wait meanwhile, as
// they would in ovs-vswitchd's one thread.
func (f *flowConn) dump(xid uint32, table uint8, cookie, mask uint64) error {
	if err := f.flush(); err != nil {
		return err
	}
	f.mu.Lock()
	f.stats.Dumps++
	keys := make([]uint64, 0, len(f.flows))
	for k := range f.flows {
		keys = append(keys, k)
	}
	f.mu.Unlock()
	f.farm.dumps.Add(1)
	p := parts.Get().(*[]byte)
	defer parts.Put(p)
	b := (*p)[:0]
	send := func(more byte) error {
		h := []byte{6, typeMultipartReply, 0, 0, 0, 0, 0, 0, 0, multipartFlowDesc, 0, more, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(b)))
		binary.BigEndian.PutUint32(h[4:], xid)
		buffers := net.Buffers{h, b}
		_, err := buffers.WriteTo(f.conn)
		b = b[:0]
		return err
	}
	for _, k := range keys {
		f.mu.Lock()
		d := f.description(k)
		f.mu.Unlock()
		if d == nil || table != 0xff && d[descTable] != table || (binary.BigEndian.Uint64(d[descCookie:])^cookie)&mask != 0 {
			continue
		}
		if len(b) > 0 && len(b)+len(d) > partSize {
			if err := send(1); err != nil {
				return err
			}
		}
		b = append(b, d...)
	}
	return send(0)
}
