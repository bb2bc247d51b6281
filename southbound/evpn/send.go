package evpn

import (
	"context"
	"net"
	"time"
)

// send sends the leaf what the table has for it, and KEEPALIVEs, until ctx ends.
func (t *talk) send(ctx context.Context) error {
	var tick <-chan time.Time
	if t.wait > 0 {
		keep := time.NewTicker(t.wait / 3)
		defer keep.Stop()
		tick = keep.C
	}
	var wake <-chan struct{}
	if t.reader != nil {
		wake = t.reader.wake
	}
	for ctx.Err() == nil {
		more, err := t.sendNext()
		if err != nil {
			return err
		}
		if more {
			select {
			case <-tick:
				err = t.write(net.Buffers{keepalive()})
			default:
			}
		} else {
			select {
			case <-ctx.Done():
			case <-wake:
			case <-tick:
				err = t.write(net.Buffers{keepalive()})
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sendNext sends a block, or End-of-RIB; more is false when there was none.
func (t *talk) sendNext() (more bool, err error) {
	if t.reader == nil {
		return false, nil
	}
	b, fresh, ended := t.reader.next()
	if ended {
		t.p.out.Add(1)
		return true, t.write(net.Buffers{endOfRIB})
	}
	if b == nil {
		return false, nil
	}
	list, updates := t.reader.of(b, fresh)
	t.p.out.Add(uint64(updates))
	if len(list) == 0 {
		return true, nil
	}
	return true, t.write(list)
}

// of returns the octets of a block that are for the reader: what follows on each
// other as one.
func (d *reader) of(b *block, fresh bool) (list net.Buffers, updates int) {
	from, to := 0, 0
	for i := range b.parts {
		p := &b.parts[i]
		start := 0
		if i > 0 {
			start = b.parts[i-1].end
		}
		if !d.takes(p, fresh) {
			continue
		}
		updates += p.updates
		if start != to {
			if to > from {
				list = append(list, b.wire[from:to])
			}
			from = start
		}
		to = p.end
	}
	if to > from {
		list = append(list, b.wire[from:to])
	}
	return list, updates
}
