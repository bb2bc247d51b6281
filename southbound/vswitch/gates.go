package vswitch

import (
	"context"
	"runtime"
)

// Gates bound what all drivers of a process do at the same time that costs much:
// they have to share them. Small changes pass by them, so that one port is not
// late because a thousand switches came back at once. What follows from the rows of
// segments they make once for all.
type Gates struct {
	read    gate // switches of which all flows are in memory
	compare gate // comparisons with what there should be
	tables  tables
}

// readsMost is how many switches are read at the same time: more than one, since
// one that does not answer must not hold up the rest.
const readsMost = 32

// NewGates returns gates for all drivers of a process; half of its processors
// are left to small changes.
func NewGates() *Gates {
	return &Gates{read: make(gate, readsMost), compare: make(gate, max(1, runtime.GOMAXPROCS(0)/2))}
}

// Compiled is how often the flows of a segment's rows have been made so far.
func (g *Gates) Compiled() int64 { return g.tables.made.Load() }

type gate chan struct{}

// enter waits for a place, which leave gives back.
func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }
