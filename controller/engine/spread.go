package engine

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// maxReasons of a status: more are the same trouble again.
const maxReasons = 10

// routerStatus is Ready when every edge with ports of the router's networks
// confirmed these, and every edge that reads the table of its L3VNI that.
func (e *Engine) routerStatus(r *intent.Router) *intent.Status {
	ports := e.portsOfRouter(r)
	st := e.spreadStatus(r, ports, r.Spec.VNI)
	for _, why := range e.sourceless(r) {
		if len(st.Reasons) < maxReasons {
			st.Reasons = append(st.Reasons, why)
		}
		if st.Phase == intent.PhaseReady {
			st.Phase, st.Applied = intent.PhaseDegraded, 0
		}
	}
	e.tellNotShared(st, ports)
	for _, rn := range r.Spec.Networks {
		if n := e.model.Network(r.NetworkRef(rn)); n != nil {
			for _, s := range n.Spec.Subnets {
				st.Gateways = append(st.Gateways, rn.Network+" "+rn.Gateway(s).String())
			}
		}
	}
	return st
}

// portsOfRouter are the ports of the router's networks.
func (e *Engine) portsOfRouter(r *intent.Router) iter.Seq[intent.Ref] {
	return func(yield func(intent.Ref) bool) {
		for _, n := range r.Spec.Networks {
			for _, p := range e.model.PortsOf(r.NetworkRef(n)) {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// groupStatus is Ready when every edge with ports in the group confirmed these,
// and every edge whose rules name the group the table of its members.
func (e *Engine) groupStatus(g *intent.SecurityGroup) *intent.Status {
	return e.spreadStatus(g, maps.Keys(e.members[g.Ref()]), overlay.GroupTable(g.Spec.ID))
}

// spreadStatus is that of an object which many edges serve, each for its ports,
// and which may have a table that edges read. What it makes of a port is part of
// the port's LocalPort, so an edge that confirmed that has confirmed the object.
func (e *Engine) spreadStatus(o intent.Object, ports iter.Seq[intent.Ref], table intent.VNI) *intent.Status {
	rev := o.Meta().Revision
	if e.objects[o.Ref()] < rev {
		return pending("Loading", "controller", "wait a moment", "the controller has not taken revision %d yet", rev)
	}
	counts := &intent.Counts{}
	served, lacking := map[string]bool{}, map[string]intent.Reason{}
	for p := range ports {
		counts.Total++
		a, ok := e.model.Attachment(p)
		if !ok {
			continue // on no edge, so none has to know
		}
		why := e.lacks(a)
		if why == nil {
			counts.Ready++
			served[a.Node] = true
		} else if _, known := lacking[a.Node]; !known {
			why.Message = fmt.Sprintf("%s: %s", p, why.Message)
			lacking[a.Node] = *why
		}
	}
	for _, s := range e.lagging(table) {
		if _, known := lacking[s.node]; known {
			continue
		}
		why := intent.Reason{Device: s.node, Code: "Programming", Message: "the device has not confirmed all of the table of " + o.Ref().String() + " yet", Action: "wait a moment"}
		if err := s.driver.Status().Err; err != nil {
			why = reason(err)
		}
		lacking[s.node] = why
	}
	st := &intent.Status{Phase: intent.PhaseReady, Applied: rev, Ports: counts}
	for node := range lacking {
		delete(served, node)
	}
	for _, node := range slices.Sorted(maps.Keys(lacking)) {
		why := lacking[node]
		if len(st.Reasons) < maxReasons {
			st.Reasons = append(st.Reasons, why)
		}
		switch {
		case why.Code == southbound.CodeRefused:
			st.Phase = intent.PhaseFailed
		case st.Phase == intent.PhaseFailed:
		case why.Code != southbound.CodeUnreachable || len(served) == 0:
			st.Phase = intent.PhasePending
		case st.Phase == intent.PhaseReady:
			st.Phase = intent.PhaseDegraded
		}
	}
	if st.Phase != intent.PhaseReady {
		st.Applied = 0
	}
	return st
}

// lacks says why a port's edge has not confirmed it, nil if it has.
func (e *Engine) lacks(a overlay.Attachment) *intent.Reason {
	if s := e.sessions[a.Node]; s != nil {
		return s.lacksPort(a)
	}
	return &intent.Reason{Device: a.Node, Code: "NoSession", Message: "the controller has no session with the node", Action: "wait a moment"}
}

// regroup notes in which groups a port is from now on; old and now may be nil.
// The caller holds the lock.
func (e *Engine) regroup(old, now *intent.Port) {
	if old != nil {
		for _, g := range old.Spec.SecurityGroups {
			r := intent.Ref{Kind: intent.KindSecurityGroup, Tenant: old.Metadata.Tenant, Name: g}
			if delete(e.members[r], old.Ref()); len(e.members[r]) == 0 {
				delete(e.members, r)
			}
		}
	}
	if now == nil || len(now.Spec.SecurityGroups) == 0 {
		return
	}
	for _, r := range now.GroupRefs() {
		if e.members[r] == nil {
			e.members[r] = map[intent.Ref]struct{}{}
		}
		e.members[r][now.Ref()] = struct{}{}
	}
}
