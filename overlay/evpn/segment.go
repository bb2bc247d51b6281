package evpn

import (
	"iter"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// Revision counts the changes of one segment. Zero comes before the first.
type Revision uint64

// Segment is the table of one VNI. The zero value is an empty table.
type Segment struct {
	rev     Revision
	entries map[Key]*entry
	// The entries are also a list in the order of their last change, so that
	// reading changes costs what changed.
	oldest, newest *entry
	tombstones     int
	// Clock tells the time of moves; time.Now when nil.
	Clock func() time.Time

	follow bool // learned paths may win over ports
	moves  map[intent.MAC]*moves
}

// entry is a route with all its paths; row.Path is the best of them.
type entry struct {
	row          Row
	others       []Path // the paths that are not the best, in no order
	older, newer *entry
}

// Rev is the revision of the last change.
func (s *Segment) Rev() Revision { return s.rev }

// Len is the number of rows, tombstones left out.
func (s *Segment) Len() int { return len(s.entries) - s.tombstones }

// Tombstones is the number of deleted rows that are still kept.
func (s *Segment) Tombstones() int { return s.tombstones }

// Get returns a row; ok is false when there is none or it is deleted.
func (s *Segment) Get(k Key) (Row, bool) {
	e := s.entries[k]
	if e == nil || e.row.Deleted {
		return Row{}, false
	}
	return e.row, true
}

// Set states the path that p.Source offers for the route, replacing what that
// source offered before. It reports whether readers see a change.
func (s *Segment) Set(k Key, p Path) bool {
	e := s.entries[k]
	if e == nil {
		if s.entries == nil {
			s.entries = make(map[Key]*entry)
		}
		e = &entry{row: Row{Key: k, Path: p}}
		s.entries[k] = e
		s.touch(e)
		e.row.Led = e.row.Rev
		return true
	}
	if e.row.Deleted {
		e.row.Deleted, e.row.Path = false, p
		s.tombstones--
		s.touch(e)
		e.row.Led = e.row.Rev
		return true
	}
	return s.choose(e, append(e.without(p.Source), p))
}

// Move states that the source now has the station at the VTEP: as Set, with a
// sequence number that wins over every other path with another VTEP (RFC 7432
// section 7.7). Repeating it changes nothing.
func (s *Segment) Move(k Key, p Path) bool {
	if e := s.entries[k]; e != nil {
		if e.row.Source == p.Source && e.row.VTEP == p.VTEP && !e.row.Deleted {
			p.Seq = max(p.Seq, e.row.Seq)
		} else if e.row.VTEP != p.VTEP {
			p.Seq = max(p.Seq, e.row.Seq+1)
		} else {
			p.Seq = max(p.Seq, e.row.Seq)
		}
	}
	return s.Set(k, p)
}

// Withdraw takes back what the source offered for the route. It reports
// whether readers see a change.
func (s *Segment) Withdraw(k Key, src Source) bool {
	e := s.entries[k]
	if e == nil || e.row.Deleted {
		return false
	}
	left := e.without(src)
	if len(left) > 0 {
		return s.choose(e, left)
	}
	e.row.Deleted, e.others = true, nil
	s.tombstones++
	s.touch(e)
	return true
}

// Follow says whether a path that was learned may win over that of a port of
// the intent, by MAC mobility.
func (s *Segment) Follow(yes bool) {
	if s.follow == yes {
		return
	}
	s.follow = yes
	for _, e := range s.entries {
		if len(e.others) > 0 {
			s.choose(e, append(e.others, e.row.Path))
		}
	}
}

// Paths lists all paths of a route, the best first.
func (s *Segment) Paths(k Key) []Path {
	e := s.entries[k]
	if e == nil || e.row.Deleted {
		return nil
	}
	return append([]Path{e.row.Path}, e.others...)
}

// Contested reports whether a route has more than one path.
func (s *Segment) Contested(k Key) bool {
	e := s.entries[k]
	return e != nil && !e.row.Deleted && len(e.others) > 0
}

// choose makes paths, which is not empty, the paths of the entry.
func (s *Segment) choose(e *entry, paths []Path) bool {
	best := 0
	for i := range paths {
		if paths[i].better(paths[best], s.follow) {
			best = i
		}
	}
	best = s.judge(e, paths, best)
	was := e.row.Path
	e.row.Path = paths[best]
	e.others = slices.Delete(paths, best, best+1)
	if len(e.others) == 0 {
		e.others = nil
	}
	if e.row.Path == was {
		return false
	}
	s.touch(e)
	if e.row.VTEP != was.VTEP || e.row.Replicator != was.Replicator || e.row.VNI != was.VNI || e.row.RouterMAC != was.RouterMAC {
		e.row.Led = e.row.Rev
	}
	return true
}

// without lists the entry's paths but that of the source.
func (e *entry) without(src Source) []Path {
	left := make([]Path, 0, len(e.others)+2)
	for _, p := range e.others {
		if p.Source != src {
			left = append(left, p)
		}
	}
	if e.row.Source != src {
		left = append(left, e.row.Path)
	}
	return left
}

// touch gives the entry a new revision and puts it at the end of the list.
func (s *Segment) touch(e *entry) {
	s.rev++
	e.row.Rev = s.rev
	s.unlink(e)
	if e.older = s.newest; e.older != nil {
		e.older.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
}

func (s *Segment) unlink(e *entry) {
	if e.older != nil {
		e.older.newer = e.newer
	} else if s.oldest == e {
		s.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else if s.newest == e {
		s.newest = e.older
	}
	e.older, e.newer = nil, nil
}

// Changes yields, in the order of their revisions, the rows that changed after
// since: each once, as it is now, deleted ones as tombstones. It costs what it
// yields. The segment must not change while it is read.
func (s *Segment) Changes(since Revision) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		var first *entry
		for e := s.newest; e != nil && e.row.Rev > since; e = e.older {
			first = e
		}
		for e := first; e != nil; e = e.newer {
			if !yield(e.row) {
				return
			}
		}
	}
}

// Rows yields the rows that are not deleted.
func (s *Segment) Rows() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for r := range s.Changes(0) {
			if !r.Deleted && !yield(r) {
				return
			}
		}
	}
}

// Trim drops the tombstones that every reader has passed: those up to read.
func (s *Segment) Trim(read Revision) {
	for e := s.oldest; e != nil && e.row.Rev <= read && s.tombstones > 0; {
		next := e.newer
		if e.row.Deleted {
			s.unlink(e)
			delete(s.entries, e.row.Key)
			s.tombstones--
		}
		e = next
	}
}
