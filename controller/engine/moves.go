package engine

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
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
		e.moving[mv.Port] = time.Now()
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

// settleMoving tells of ports that moved and that all edges follow by now. The
// caller holds the lock.
func (e *Engine) settleMoving() {
	for port, since := range e.moving {
		a, ok := e.model.Attachment(port)
		if !ok || time.Since(since) > movingTime {
			delete(e.moving, port)
			continue
		}
		s := e.sessions[a.Node]
		if s == nil || !s.has(a) || len(e.behind(a)) > 0 {
			continue
		}
		delete(e.moving, port)
		e.events.add(southbound.Event{Severity: southbound.Normal, Device: a.Node, Object: port.String(), Reason: "Followed",
			Message: fmt.Sprintf("all %d edges of VNI %d follow %s after %s", len(e.model.Carriers(a.VNI)), a.VNI, a.VTEP, time.Since(since).Round(10*time.Microsecond))})
	}
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
