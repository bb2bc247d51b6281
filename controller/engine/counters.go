package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
)

// Errors of PortCounters.
var (
	ErrNowhere   = errors.New("the port is nowhere: no edge has its interface")
	ErrUncounted = errors.New("its edge does not count by port")
)

// counter is a driver that can read what its device counted of a port.
type counter interface {
	Counters(ctx context.Context, port intent.Ref) (southbound.PortCounters, error)
}

// PortCounters asks a port's edge what it has counted, and says which one it is.
// The error is ErrNowhere, ErrUncounted or a *southbound.OpError.
func (e *Engine) PortCounters(ctx context.Context, port intent.Ref) (node string, c southbound.PortCounters, err error) {
	e.mu.RLock()
	a, ok := e.model.Attachment(port)
	s := e.sessions[a.Node]
	e.mu.RUnlock()
	if !ok || s == nil {
		return "", c, fmt.Errorf("%s: %w", port, ErrNowhere)
	}
	d, ok := s.driver.(counter)
	if !ok {
		return a.Node, c, fmt.Errorf("%s is on %s: %w", port, a.Node, ErrUncounted)
	}
	c, err = d.Counters(ctx, port) // without the lock: a device may be slow
	return a.Node, c, err
}
