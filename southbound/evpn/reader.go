package evpn

import (
	"cmp"
	"slices"
)

// reader is a session's place in the table. Its fields are the rib's.
type reader struct {
	rib    *rib
	source uint32 // whose routes it is not told of
	lasts  bool   // it takes routes with LLGR_STALE (RFC 9494 section 4.3)
	wake   chan struct{}

	waiting bool
	begun   bool
	cursor  uint64 // it is told of all changes up to here, but for those of the scan
	scan    *scan
}

// scan is a reader's way through the whole table.
type scan struct {
	next  uint32 // chunk
	all   bool   // and not only what changed after since
	fresh bool   // it was told of nothing before: nothing is withdrawn from it
	since uint64 // it was told of all withdrawals up to here
}

// reader adds a reader.
func (r *rib) reader(source uint32, lasts bool) *reader {
	d := &reader{rib: r, source: source, lasts: lasts, wake: make(chan struct{}, 1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.cursor = r.head() // until it begins
	r.readers = append(r.readers, d)
	return d
}

// close removes the reader.
func (d *reader) close() {
	r := d.rib
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readers = slices.DeleteFunc(r.readers, func(o *reader) bool { return o == d })
	r.trim()
	d.noDumps()
}

// start opens the table for all readers.
func (r *rib) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = true
	r.publish()
}

// needs is the revision from which on the reader reads the log.
func (d *reader) needs() uint64 {
	if !d.begun {
		return d.rib.head()
	}
	return d.cursor
}

// knows is the revision up to which the reader was told of withdrawals.
func (d *reader) knows() uint64 {
	switch {
	case !d.begun:
		return d.rib.head()
	case d.scan != nil:
		return min(d.scan.since, d.cursor)
	}
	return d.cursor
}

// again has the reader be told of all routes once more.
func (d *reader) again() {
	r := d.rib
	r.mu.Lock()
	defer r.mu.Unlock()
	if !d.begun {
		return
	}
	d.scan = &scan{all: true, since: d.knows()}
	d.cursor = r.head()
	d.waiting = false
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// next returns what the reader is to be told next; nil when there is nothing,
// and wake tells of more. ended is true once the whole table was told, after
// start and again.
func (d *reader) next() (b *block, fresh, ended bool) {
	r := d.rib
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.trim()
	if !r.open {
		d.waiting = true
		return nil, false, false
	}
	if !d.begun {
		d.begun, d.cursor = true, r.head()
		d.scan = &scan{all: true, fresh: true, since: d.cursor}
	}
	for {
		if d.scan == nil && d.cursor+1 < r.first {
			d.scan = &scan{since: d.cursor}
			d.cursor = r.head()
		}
		if s := d.scan; s != nil {
			for int(s.next) < len(r.entries) {
				s.next++
				// An empty block now and then lets others have the lock.
				if b := r.dump(s.next-1, s); len(b.wire) > 0 || s.next%64 == 0 {
					return b, s.fresh, false
				}
			}
			d.scan = nil
			d.noDumps()
			if s.all {
				return nil, false, true
			}
			continue
		}
		if d.cursor == r.head() {
			d.waiting = true
			return nil, false, false
		}
		b := r.block(d.cursor)
		if d.cursor = b.to; len(b.wire) > 0 {
			return b, false, false
		}
	}
}

// noDumps lets the encoded chunks go once nobody begins any longer.
func (d *reader) noDumps() {
	if !slices.ContainsFunc(d.rib.readers, func(o *reader) bool { return o.scan != nil && o.scan.fresh }) {
		clear(d.rib.dumps)
	}
}

// blocksMost bounds the encoded blocks and chunks that are kept for others.
const blocksMost = 32

// block returns the changes after a revision, encoded once for all readers that
// come to it.
func (r *rib) block(from uint64) *block {
	to := min(from+uint64(r.blockMost), r.head())
	i, there := slices.BinarySearchFunc(r.blocks, from, func(b *block, at uint64) int { return cmp.Compare(b.from, at) })
	switch {
	case there:
		return r.blocks[i]
	case i > 0 && from < r.blocks[i-1].to: // amid one, after a scan: on to its end
		return r.packer.changes(r, from, r.blocks[i-1].to)
	case i < len(r.blocks): // before those that are kept: on to the first
		return r.packer.changes(r, from, min(to, r.blocks[i].from))
	case i > 0 && r.blocks[i-1].to != from:
		r.blocks = r.blocks[:0]
	case i == blocksMost:
		r.blocks = slices.Delete(r.blocks, 0, 1)
	}
	b := r.packer.changes(r, from, to)
	r.blocks = append(r.blocks, b)
	return b
}

// dump returns the state of a chunk for a reader that looks through the table.
// For those that begin it is encoded once, as long as it does not change.
func (r *rib) dump(i uint32, s *scan) *block {
	if !s.fresh {
		return r.packer.chunk(r, i, s)
	}
	if b := r.dumps[i]; b != nil && r.changed[i] <= b.to {
		return b
	}
	b := r.packer.chunk(r, i, s)
	for k := range r.dumps {
		if len(r.dumps) < blocksMost {
			break
		}
		delete(r.dumps, k)
	}
	r.dumps[i] = b
	return b
}
