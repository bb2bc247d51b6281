package evpn

import (
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// Duplicate MAC detection (RFC 7432 section 15.1): a MAC that moves movesMost
// times within movesTime is in two places at once.
const (
	movesMost = 5
	movesTime = 180 * time.Second
)

// moves are the last moves of a MAC that nobody asked for.
type moves struct {
	at     []time.Time // movesMost at most
	frozen bool
}

func (s *Segment) now() time.Time {
	if s.Clock != nil {
		return s.Clock()
	}
	return time.Now()
}

// judge counts a move of a station's MAC from one VTEP to another, and keeps a
// frozen MAC where it is as long as that path is there. It returns which path
// to use.
func (s *Segment) judge(e *entry, paths []Path, best int) int {
	if e.row.Type != MACIP {
		return best
	}
	if m := s.moves[e.row.MAC]; m != nil && m.frozen {
		for i := range paths {
			if paths[i].Source == e.row.Source && paths[i].VTEP == e.row.VTEP {
				return i
			}
		}
		return best
	}
	// What the intent moves is no duplicate, nor what is left when a path
	// was withdrawn.
	if e.row.IP.IsValid() || paths[best].Origin == OriginPort || paths[best].VTEP == e.row.VTEP || paths[best].Seq <= e.row.Seq {
		return best
	}
	if s.Moved(e.row.MAC) {
		for i := range paths { // stay where it is, if that path is still there
			if paths[i].Source == e.row.Source && paths[i].VTEP == e.row.VTEP {
				return i
			}
		}
	}
	return best
}

// Moved counts a move of a MAC that nobody asked for, and reports whether it is
// frozen now.
func (s *Segment) Moved(mac intent.MAC) (frozen bool) {
	now := s.now()
	for k, m := range s.moves { // few MACs move by themselves
		if !m.frozen && now.Sub(m.at[len(m.at)-1]) > movesTime {
			delete(s.moves, k)
		}
	}
	m := s.moves[mac]
	if m == nil {
		if s.moves == nil {
			s.moves = map[intent.MAC]*moves{}
		}
		m = &moves{}
		s.moves[mac] = m
	}
	if m.frozen {
		return true
	}
	m.at = append(m.at, now)
	for now.Sub(m.at[0]) > movesTime {
		m.at = m.at[1:]
	}
	m.frozen = len(m.at) >= movesMost
	return m.frozen
}

// Frozen reports whether a MAC moved so often that its routes are kept as they
// are.
func (s *Segment) Frozen(mac intent.MAC) bool {
	m := s.moves[mac]
	return m != nil && m.frozen
}

// Clear lets a frozen MAC move again. It reports whether readers see a change.
func (s *Segment) Clear(mac intent.MAC) bool {
	if !s.Frozen(mac) {
		return false
	}
	delete(s.moves, mac)
	changed := false
	for k, e := range s.entries {
		if k.Type == MACIP && k.MAC == mac && !e.row.Deleted && len(e.others) > 0 {
			changed = s.choose(e, append(e.others, e.row.Path)) || changed
		}
	}
	return changed
}
