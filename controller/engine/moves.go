package engine

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// announcer is a driver that can speak for a port: by a gratuitous ARP, an
// unsolicited neighbour advertisement or a RARP.
type announcer interface {
	Announce(overlay.LocalPort)
}

// moveQueue holds the ports that came to the place that was requested for them,
// until that is written: one entry a port at most.
type moveQueue struct {
	mu   sync.Mutex
	wake chan struct{}
	todo map[intent.Ref]intent.Place
}

func newMoveQueue() moveQueue {
	return moveQueue{wake: make(chan struct{}, 1), todo: map[intent.Ref]intent.Place{}}
}

// takeMoved tells of ports that moved, speaks for them in the new place, and
// has it written when it was asked for. The caller holds the lock.
func (e *Engine) takeMoved() {
	for _, mv := range e.model.TakeMoved() {
		e.events.add(southbound.Event{Severity: southbound.Normal, Device: mv.To.Node, Object: mv.Port.String(), Reason: "Moved",
			Message: fmt.Sprintf("moved from %s to %s", mv.From, mv.To)})
		a, ok := e.model.Attachment(mv.Port)
		if !ok {
			continue // it moved on already
		}
		e.beginMoving(a)
		if s := e.sessions[a.Node]; s != nil {
			if d, ok := s.driver.(announcer); ok {
				d.Announce(a.LocalPort)
			}
		}
		p := e.model.Port(mv.Port)
		if q := p.Spec.Requested; q.Node == a.Node && (q.Interface == "" || q.Interface == a.Interface) {
			e.moves.mu.Lock()
			e.moves.todo[mv.Port] = intent.Place{Node: a.Node, Interface: a.Interface}
			e.moves.mu.Unlock()
			select {
			case e.moves.wake <- struct{}{}:
			default:
			}
		}
	}
}

// moving is a port that moved, until all edges follow.
type moving struct {
	since   time.Time
	to      overlay.Attachment
	rev     evpn.Revision       // of the newest of its rows
	waiting map[string]struct{} // edges that don't follow yet
	took    []edgeTook
}

type edgeTook struct {
	edge string
	took time.Duration
}

// beginMoving notes which edges are to follow a port. The caller holds the lock.
func (e *Engine) beginMoving(a overlay.Attachment) {
	m := &moving{since: time.Now(), to: a, rev: e.newest(a), waiting: map[string]struct{}{a.Node: {}}}
	for n := range e.model.Carriers(a.VNI) {
		if e.sessions[n] != nil {
			m.waiting[n] = struct{}{}
		}
	}
	e.moving[a.Port] = m
	e.anyMoving.Store(true)
}

// follows notes what an edge confirmed of the ports that moved, and tells of
// those that all edges follow by now. An edge that has left the segment is not
// waited for. The caller holds the lock.
func (e *Engine) follows(node string) {
	s := e.sessions[node]
	for port, m := range e.moving {
		a, ok := e.model.Attachment(port)
		if !ok || !a.LocalPort.Equal(m.to.LocalPort) || time.Since(m.since) > movingTime {
			delete(e.moving, port)
			continue
		}
		if _, waiting := m.waiting[node]; !waiting {
			continue
		}
		if s != nil && e.model.Carries(node, a.VNI) {
			done := s.has(m.to)
			if node != a.Node {
				at, ok := s.driver.Cursor(a.VNI)
				done = ok && at >= m.rev
			}
			if !done {
				continue
			}
			m.took = append(m.took, edgeTook{node, time.Since(m.since)})
		}
		if delete(m.waiting, node); len(m.waiting) > 0 {
			continue
		}
		delete(e.moving, port)
		e.events.add(southbound.Event{Severity: southbound.Normal, Device: a.Node, Object: port.String(), Reason: "Followed", Message: m.String()})
	}
	e.anyMoving.Store(len(e.moving) > 0)
}

// slowestTold is how many of the edges that followed last are named.
const slowestTold = 5

// String says how long the edges took, the slowest first.
func (m *moving) String() string {
	var names []string
	for i := len(m.took) - 1; i >= 0 && len(names) < slowestTold; i-- {
		names = append(names, fmt.Sprintf("%s after %s", m.took[i].edge, m.took[i].took.Round(10*time.Microsecond)))
	}
	return fmt.Sprintf("all %d edges of VNI %d follow %s: %s", len(m.took), m.to.VNI, m.to.VTEP, strings.Join(names, ", "))
}

// movingTime is how long an edge may lag behind a move until nobody waits to
// tell of it.
const movingTime = time.Minute

// finishMoves writes what came to where it was requested, until ctx ends.
func (e *Engine) finishMoves(ctx context.Context) {
	again := time.NewTimer(0)
	<-again.C
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.moves.wake:
		case <-again.C:
		}
		e.moves.mu.Lock()
		todo := maps.Clone(e.moves.todo)
		e.moves.mu.Unlock()
		for port, to := range todo {
			var err error
			if e.config.Moved != nil {
				err = e.config.Moved(ctx, port, to)
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				e.log.Warn("writing where a port moved failed; trying again", "port", port.String(), "to", to.String(), "err", err)
				again.Reset(time.Second)
				continue
			}
			e.moves.mu.Lock()
			if e.moves.todo[port] == to {
				delete(e.moves.todo, port)
			}
			e.moves.mu.Unlock()
		}
	}
}
