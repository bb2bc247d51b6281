package openflow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// MeterCommand says what a MeterMod does (section 7.3.4.6).
type MeterCommand uint16

// Commands of a MeterMod.
const (
	MeterAdd    MeterCommand = 0
	MeterModify MeterCommand = 1
	MeterDelete MeterCommand = 2
)

// Flags of a meter.
const (
	meterKbps  = 1
	meterPktps = 2
	meterBurst = 4
	meterStats = 8
)

// MeterAll stands for all meters in a deletion.
const MeterAll uint32 = 0xffffffff

// Meter drops what comes faster than its rate: a token bucket (section 5.11).
type Meter struct {
	ID      uint32
	Packets bool   // rate and burst count packets, not kilobits
	Rate    uint32 // kbit/s, or packets/s
	Burst   uint32 // kbit, or packets
}

// String writes the meter as ovs-ofctl does.
func (m Meter) String() string {
	unit := "kbps"
	if m.Packets {
		unit = "pktps"
	}
	return fmt.Sprintf("meter=%d %s burst stats bands=type=drop rate=%d burst_size=%d", m.ID, unit, m.Rate, m.Burst)
}

// MeterMod changes the meters of a switch. Deleting a meter deletes the flows
// that use it; changing one does not touch them.
type MeterMod struct {
	Command MeterCommand
	Meter
}

func (m MeterMod) appendTo(b []byte, xid uint32) []byte {
	at := len(b)
	b = header(b, typeMeterMod, xid)
	b = binary.BigEndian.AppendUint16(b, uint16(m.Command))
	if m.Command == MeterDelete {
		b = append(b, 0, 0)
		return finish(binary.BigEndian.AppendUint32(b, m.ID), at)
	}
	flags := uint16(meterKbps)
	if m.Packets {
		flags = meterPktps
	}
	b = binary.BigEndian.AppendUint16(b, flags|meterBurst|meterStats)
	b = binary.BigEndian.AppendUint32(b, m.ID)
	b = append(b, 0, 1, 0, 16) // a drop band
	b = binary.BigEndian.AppendUint32(b, m.Rate)
	b = binary.BigEndian.AppendUint32(b, m.Burst)
	return finish(append(b, 0, 0, 0, 0), at)
}

// MeterError says which change of meters the switch refused.
type MeterError struct {
	Mod MeterMod
	Err error
}

// Error names the meter and has the switch's words.
func (e *MeterError) Error() string { return fmt.Sprintf("%v: %s", e.Err, e.Mod.Meter) }

// Unwrap returns the switch's error.
func (e *MeterError) Unwrap() error { return e.Err }

// SetMeters makes changes of meters in order. Open vSwitch takes none in a
// bundle; at a refusal those before it are made, and *MeterError names it.
func (c *Conn) SetMeters(ctx context.Context, mods []MeterMod) error {
	for len(mods) > 0 {
		now := mods[:min(len(mods), metersAtOnce)]
		mods = mods[len(now):]
		if err := c.setMeters(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

// metersAtOnce is how many changes are sent before their answer is awaited.
const metersAtOnce = 256

func (c *Conn) setMeters(ctx context.Context, mods []MeterMod) error {
	c.bundles.Lock() // errors to a range of messages are awaited for one sender at a time
	defer c.bundles.Unlock()
	first := c.xid.Add(uint32(len(mods))) - uint32(len(mods)) + 1
	refused := &call{part: func(uint8, []byte) (bool, error) { return true, nil }, done: make(chan error, 1)}
	if err := c.awaitBundle(refused, first, first+uint32(len(mods))-1); err != nil {
		return err
	}
	defer c.forgetBundle()
	var b []byte
	for i, m := range mods {
		b = m.appendTo(b, first+uint32(i))
	}
	if err := c.write(b); err != nil {
		c.end(err)
		return err
	}
	if err := c.Barrier(ctx); err != nil {
		return err
	}
	select {
	case err := <-refused.done:
		var r *refusal
		if errors.As(err, &r) && r.xid-first < uint32(len(mods)) {
			return &MeterError{mods[r.xid-first], r.err}
		}
		return err
	default:
		return nil
	}
}

// Multipart types of meters (section 7.3.5).
const (
	multipartMeterStats = 9
	multipartMeterDesc  = 10
)

func meterRequest(kind uint16, xid, id uint32) []byte {
	b := binary.BigEndian.AppendUint32(multipart(kind, xid), id)
	return finish(append(b, 0, 0, 0, 0), 0)
}

// meters asks for all of one kind of multipart and has read take one entry
// after another.
func (c *Conn) meters(ctx context.Context, kind uint16, read func(b []byte) (rest []byte, err error)) error {
	return c.do(ctx, meterRequest(kind, c.next(), MeterAll), func(_ uint8, body []byte) (bool, error) {
		k, more, rest, err := readMultipart(body)
		if err != nil || k != kind {
			return true, errors.Join(err, fmt.Errorf("multipart reply of kind %d", k))
		}
		for len(rest) > 0 {
			if rest, err = read(rest); err != nil {
				return true, err
			}
		}
		return !more, nil
	})
}

// DumpMeters returns the meters of the switch.
func (c *Conn) DumpMeters(ctx context.Context) ([]MeterDesc, error) {
	var out []MeterDesc
	err := c.meters(ctx, multipartMeterDesc, func(b []byte) ([]byte, error) {
		m, rest, err := readMeterDesc(b)
		out = append(out, m)
		return rest, err
	})
	return out, err
}

// MeterDesc is a meter as a switch returns it.
type MeterDesc struct {
	Meter
	// Plain says that the meter is one that Meter describes in full: one drop
	// band with a burst, and statistics.
	Plain bool
}

// readMeterDesc reads one entry of a meter description reply (section
// 7.3.5.13).
func readMeterDesc(b []byte) (MeterDesc, []byte, error) {
	if len(b) < 8 {
		return MeterDesc{}, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if n < 8 || n > len(b) {
		return MeterDesc{}, nil, fmt.Errorf("meter description of %d bytes", n)
	}
	flags := binary.BigEndian.Uint16(b[2:])
	m := MeterDesc{Meter: Meter{ID: binary.BigEndian.Uint32(b[4:]), Packets: flags&meterPktps != 0}}
	if band := b[8:n]; len(band) == 16 && binary.BigEndian.Uint16(band) == 1 {
		m.Rate, m.Burst = binary.BigEndian.Uint32(band[4:]), binary.BigEndian.Uint32(band[8:])
		m.Plain = flags == meterKbps|meterBurst|meterStats || flags == meterPktps|meterBurst|meterStats
	}
	return m, b[n:], nil
}

// MeterStats are the counters of a meter.
type MeterStats struct {
	ID             uint32
	Packets, Bytes uint64 // that came to it
	DroppedPackets uint64
	DroppedBytes   uint64
}

// MeterStats returns the counters of all meters.
func (c *Conn) MeterStats(ctx context.Context) ([]MeterStats, error) {
	var out []MeterStats
	err := c.meters(ctx, multipartMeterStats, func(b []byte) ([]byte, error) {
		m, rest, err := readMeterStats(b)
		out = append(out, m)
		return rest, err
	})
	return out, err
}

// readMeterStats reads one entry of a meter statistics reply (section
// 7.3.5.12).
func readMeterStats(b []byte) (MeterStats, []byte, error) {
	if len(b) < 40 {
		return MeterStats{}, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < 40 || n > len(b) {
		return MeterStats{}, nil, fmt.Errorf("meter statistics of %d bytes", n)
	}
	m := MeterStats{ID: binary.BigEndian.Uint32(b), Packets: binary.BigEndian.Uint64(b[16:]), Bytes: binary.BigEndian.Uint64(b[24:])}
	for band := b[40:n]; len(band) >= 16; band = band[16:] {
		m.DroppedPackets += binary.BigEndian.Uint64(band)
		m.DroppedBytes += binary.BigEndian.Uint64(band[8:])
	}
	return m, b[n:], nil
}

// MeterBy has a packet pass a meter, or be dropped by it (section 7.2.6.10).
func MeterBy(id uint32) Action {
	a := Action{n: 8}
	a.b[1], a.b[3] = actionMeter, 8
	binary.BigEndian.PutUint32(a.b[4:], id)
	return a
}
