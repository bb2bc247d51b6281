package openflow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// multipartPortStats is OFPMP_PORT_STATS (section 7.3.5.6).
const multipartPortStats = 4

// PortStats are the counters of a port since it was opened. Received is what
// came from the station behind it.
type PortStats struct {
	Port                       uint32
	RxPackets, TxPackets       uint64
	RxBytes, TxBytes           uint64
	RxDropped, TxDropped       uint64
	RxErrors, TxErrors         uint64
	DurationSec, DurationNanos uint32
}

// PortStats returns the counters of a port.
func (c *Conn) PortStats(ctx context.Context, port uint32) (PortStats, error) {
	out := PortStats{Port: port}
	found := false
	b := multipart(multipartPortStats, c.next())
	b = binary.BigEndian.AppendUint32(b, port)
	err := c.do(ctx, finish(append(b, 0, 0, 0, 0), 0), func(_ uint8, body []byte) (bool, error) {
		kind, more, rest, err := readMultipart(body)
		if err != nil || kind != multipartPortStats {
			return true, errors.Join(err, fmt.Errorf("multipart reply of kind %d", kind))
		}
		for len(rest) > 0 {
			s, r, err := readPortStats(rest)
			if err != nil {
				return true, err
			}
			if rest = r; s.Port == port {
				out, found = s, true
			}
		}
		return !more, nil
	})
	if err == nil && !found {
		err = fmt.Errorf("the switch has no port %d", port)
	}
	return out, err
}

// readPortStats reads one entry of a port statistics reply.
func readPortStats(b []byte) (PortStats, []byte, error) {
	if len(b) < 80 {
		return PortStats{}, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if n < 80 || n > len(b) {
		return PortStats{}, nil, fmt.Errorf("port statistics of %d bytes", n)
	}
	u64 := func(at int) uint64 { return known(binary.BigEndian.Uint64(b[at:])) }
	return PortStats{
		Port: binary.BigEndian.Uint32(b[4:]), DurationSec: binary.BigEndian.Uint32(b[8:]), DurationNanos: binary.BigEndian.Uint32(b[12:]),
		RxPackets: u64(16), TxPackets: u64(24), RxBytes: u64(32), TxBytes: u64(40),
		RxDropped: u64(48), TxDropped: u64(56), RxErrors: u64(64), TxErrors: u64(72),
	}, b[n:], nil
}

// known is a counter; one that the switch does not keep reads as all ones.
func known(v uint64) uint64 {
	if v == ^uint64(0) {
		return 0
	}
	return v
}
