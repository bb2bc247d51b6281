package evpn

import "slices"

// publish wakes the readers, and lets go of what all have read.
func (r *rib) publish() {
	r.trim()
	if !r.open {
		return
	}
	for _, d := range r.readers {
		if d.waiting {
			d.waiting = false
			select {
			case d.wake <- struct{}{}:
			default:
			}
		}
	}
}

// trim lets go of what all readers have read, and bounds the log: it is no
// longer than the table, so that it is less work to look through that.
func (r *rib) trim() {
	if len(r.graves) == 0 && len(r.log) < r.logLeast && len(r.blocks) == 0 {
		return
	}
	read, needed := r.head(), r.head()
	for _, d := range r.readers {
		read, needed = min(read, d.knows()), min(needed, d.needs())
	}
	k := r.passed
	for ; k < len(r.graves) && r.graves[k].rev <= read; k++ {
		g := r.graves[k]
		e := r.entry(g.entry)
		switch {
		case e.rev != g.rev: // it is back, or gone a second time
		case e.source == none:
			r.remove(g.entry)
		default:
			e.rev, e.from, e.moved = 0, none, false
		}
	}
	if r.passed = k; 2*k >= len(r.graves) {
		r.graves = append(r.graves[:0], r.graves[k:]...)
		r.passed = 0
	}
	for len(r.blocks) > 0 && r.blocks[0].to <= needed {
		r.blocks = slices.Delete(r.blocks, 0, 1)
	}
	drop := int(needed + 1 - r.first)
	if most := max(r.logLeast, int(r.used)); len(r.log) >= 2*most {
		drop = max(drop, len(r.log)-most)
	}
	if drop >= r.logLeast/2 && 2*drop >= len(r.log) {
		r.log = append(r.log[:0], r.log[drop:]...)
		r.first += uint64(drop)
	}
}
