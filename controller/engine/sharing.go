package engine

import (
	"fmt"
	"iter"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// notShared says why a port has nothing of what its router has of others, nil if it
// has. An EVPN leaf sends all of a VRF with one L3VNI, and has no VRF of others.
func (e *Engine) notShared(a overlay.Attachment) *intent.Reason {
	if a.Routing == nil || !e.model.IsEVPN(a.VTEP) {
		return nil
	}
	r := e.model.RouterWith(a.Routing.VRF.VNI)
	if r == nil {
		return nil
	}
	var what []string
	if r.Spec.External != nil {
		what = append(what, "external network "+r.Spec.External.Network)
	}
	if len(r.Spec.Imports) > 0 {
		what = append(what, "what the router imports")
	}
	if len(what) == 0 {
		return nil
	}
	return &intent.Reason{Device: a.Node, Code: southbound.AlarmCapability,
		Message: fmt.Sprintf("an EVPN leaf routes within %s only: its stations and %s do not reach each other", r.Ref(), strings.Join(what, " and ")),
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
