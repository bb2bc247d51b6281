package engine

import (
	"fmt"
	"iter"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// notShared says why a port has no way outside though its router has, nil if it has.
// An EVPN leaf sends all of a VRF with one L3VNI, which borders do not have.
func (e *Engine) notShared(a overlay.Attachment) *intent.Reason {
	if a.Routing == nil || !e.model.IsEVPN(a.VTEP) {
		return nil
	}
	r := e.model.RouterWith(a.Routing.VRF.VNI)
	if r == nil {
		return nil
	}
	if r.Spec.External == nil {
		return nil
	}
	return &intent.Reason{Device: a.Node, Code: southbound.AlarmCapability,
		Message: fmt.Sprintf("an EVPN leaf sends with the L3VNI of %s only: its stations and external network %s do not reach each other", r.Ref(), r.Spec.External.Network),
		Action:  "move the port to a vSwitch if it needs that"}
}

// tellNotShared has a router's status name the edges that can't share.
func (e *Engine) tellNotShared(st *intent.Status, ports iter.Seq[intent.Ref]) {
	told := map[string]bool{}
	for p := range ports {
		a, ok := e.model.Attachment(p)
		if !ok || told[a.Node] || len(st.Reasons) >= maxReasons {
			continue
		}
		if why := e.notShared(a); why != nil {
			told[a.Node] = true
			st.Reasons = append(st.Reasons, *why)
			if st.Phase == intent.PhaseReady {
				st.Phase = intent.PhaseDegraded
			}
		}
	}
}
