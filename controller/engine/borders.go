package engine

import (
	"fmt"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// Borders lists the external networks of which a node is a border.
func (e *Engine) Borders(node string) []overlay.Border {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.model.Borders(node)
}

// border is the driver of a leaf that may lead outside.
type border interface {
	// Outside is an external network as the leaf said last.
	Outside(intent.VNI) (leafstate.RouterReport, bool)
	// OutsideError says why the leaf does not lead to it, nil when it does.
	OutsideError(*intent.ExternalNetwork) *southbound.OpError
}

// unknown is the state of a session with a router outside of which the border says
// nothing.
const unknown = "Unknown"

// established is the state of a BGP session that works (RFC 4271 section 8.2.2).
const established = "Established"

// externalStatus is Ready when all borders lead outside by all their sessions, and
// all edges that need the network's table have it.
func (e *Engine) externalStatus(n *intent.ExternalNetwork) *intent.Status {
	known := e.model.ExternalWith(n.Spec.VNI)
	if known == nil || known.Ref() != n.Ref() || known.Metadata.Revision < n.Metadata.Revision {
		return pending("Loading", "controller", "wait a moment", "the controller has not taken revision %d yet", n.Metadata.Revision)
	}
	st := &intent.Status{Phase: intent.PhaseReady, Applied: n.Metadata.Revision}
	up := 0
	for _, b := range n.Spec.Borders {
		report, reasons := e.borderStatus(n, b)
		st.Reasons = append(st.Reasons, reasons...)
		for _, p := range b.Peers {
			s := intent.OutsideSession{Node: b.Node, Peer: p.Address, ASN: p.ASN, State: unknown}
			for _, is := range report.Sessions {
				if is.Peer == p.Address {
					s.State, s.Since, s.Taken, s.Announced = is.State, is.Since, is.Taken, is.Announced
				}
			}
			st.Outside = append(st.Outside, s)
			switch s.State {
			case established:
				if len(reasons) == 0 {
					up++
				}
			case unknown:
			default:
				st.Reasons = append(st.Reasons, intent.Reason{Device: b.Node, Code: southbound.AlarmPeerDown,
					Message: fmt.Sprintf("the BGP session with %s, AS %d, is %s", p.Address, p.ASN, s.State),
					Action:  "check the link, AS and password of both sides"})
			}
		}
	}
	if len(n.Spec.Borders) == 0 {
		st.Reasons = append(st.Reasons, intent.Reason{Code: "NoBorder", Message: "no border leads outside", Action: "name EVPN leaves in spec.borders"})
	}
	for _, s := range e.lagging(n.Spec.VNI) {
		if err := s.driver.Status().Err; err == nil {
			st.Reasons = append(st.Reasons, intent.Reason{Device: s.node, Code: "Programming", Message: "the device has not confirmed the network's routes yet", Action: "wait a moment"})
		}
	}
	if len(st.Reasons) > 0 {
		st.Phase, st.Applied = intent.PhaseDegraded, 0
		if up == 0 {
			st.Phase = intent.PhasePending
		}
	}
	return st
}

// borderStatus is what a border reports of an external network, and what keeps it
// from leading there.
func (e *Engine) borderStatus(n *intent.ExternalNetwork, b intent.Border) (report leafstate.RouterReport, reasons []intent.Reason) {
	s := e.sessions[b.Node]
	if s == nil {
		return report, []intent.Reason{{Device: b.Node, Code: "UnknownNode", Message: "there is no node " + b.Node + " that is an edge", Action: "create it with spec.evpn, or name another border"}}
	}
	d, ok := s.driver.(border)
	if !ok {
		return report, []intent.Reason{{Device: b.Node, Code: southbound.AlarmCapability, Message: "it is no EVPN leaf", Action: "name EVPN leaves in spec.borders"}}
	}
	report, _ = d.Outside(n.Spec.VNI)
	err := s.driver.Status().Err
	if err == nil {
		err = d.OutsideError(n)
	}
	if err != nil {
		reasons = append(reasons, reason(err))
	}
	return report, reasons
}
