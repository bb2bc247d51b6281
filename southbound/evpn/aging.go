package evpn

import "slices"

// refuse says whether a path may not be handed on.
func (r *rib) refuse(s *source, i uint32, refused bool) {
	e := r.entry(i)
	before := *e
	p, _ := r.pathOf(i, e, s.id)
	if p.flags&flagRefused != 0 == refused {
		return
	}
	p.flags ^= flagRefused
	r.choose(i, e)
	r.settle(i, e, &before)
}

// stale reports whether a source has stale paths.
func (r *rib) stale(s *source) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.stale > 0
}

// retain marks all paths of a source as stale.
func (r *rib) retain(s *source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range s.entries {
		p, _ := r.pathOf(i, r.entry(i), s.id)
		p.flags |= flagStale
	}
	s.stale = len(s.entries)
}

// sweep removes the paths of a source that are stale, or all, and calls gone for
// each. r.mu is held.
func (r *rib) sweep(s *source, all bool, gone func(nlri, *attributes)) {
	if !all && s.stale == 0 {
		return
	}
	for k := len(s.entries) - 1; k >= 0; k-- { // what take moves to k was looked at
		i := s.entries[k]
		p, n := r.pathOf(i, r.entry(i), s.id)
		if all || p.flags&flagStale != 0 {
			n = slices.Clone(n)
			gone(n, r.take(s, i))
		}
	}
	r.publish()
}

// outlast marks the stale paths of a source with LLGR_STALE, so that any other
// wins over them, and removes those with NO_LLGR (RFC 9494 section 4.2). It
// calls gone for these. r.mu is held.
func (r *rib) outlast(s *source, gone func(nlri, *attributes)) {
	marked := map[*attributes]*attributes{}
	for k := len(s.entries) - 1; k >= 0; k-- {
		i := s.entries[k]
		p, n := r.pathOf(i, r.entry(i), s.id)
		a := r.byID[p.attrs]
		if p.flags&flagStale == 0 || a.stale && !a.noStale {
			continue
		}
		n = slices.Clone(n)
		m, seen := marked[a]
		if !seen {
			m, _ = understand(a.lasting())
			marked[a] = m
		}
		if a.noStale || m == nil {
			gone(n, r.take(s, i))
			continue
		}
		r.announce(s, n, m, p.flags&flagRefused != 0)
		p, _ = r.pathOf(i, r.entry(i), s.id)
		p.flags |= flagStale
		s.stale++
	}
	r.publish()
}
