package engine

import "github.com/weft-sdn/weft/controller/intent"

// PortsAt lists the ports that a node has, or that are bound or moving to it,
// sorted.
func (e *Engine) PortsAt(node string) []intent.Ref {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.model.PortsAt(node)
}
