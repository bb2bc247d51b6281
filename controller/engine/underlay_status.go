package engine

import (
	"fmt"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// underlayStatus is what a switch's agent says of the state that the switch is to
// have: its part of the node's status, and why that is not Ready. Both are nil where
// the controller has no state for the switch.
func (u *underlay) status(node string) (*intent.UnderlayStatus, *intent.Reason, intent.Phase) {
	u.mu.Lock()
	defer u.mu.Unlock()
	want, ok := u.states[node]
	if !ok {
		return nil, nil, intent.PhaseReady
	}
	out := &intent.UnderlayStatus{Wanted: want.Hash, Revision: want.Revision}
	v := u.switches[node]
	if v == nil || !v.reported {
		return out, &intent.Reason{Device: node, Code: "NoAgent", Message: "no agent has reported for the switch since the controller started", Action: "run weft agent on the switch"}, intent.PhasePending
	}
	out.Applied = v.status.Hash
	switch s := v.status; {
	case s.Refused:
		return out, &intent.Reason{Device: node, Code: "Refused", Message: s.Error, Action: "the switch keeps the state before; correct what the message names"}, intent.PhaseFailed
	case s.Error != "":
		return out, &intent.Reason{Device: node, Code: AlarmUnderlay, Message: s.Error, Action: "mend it on the switch; its agent tries again"}, intent.PhasePending
	case s.Hash != want.Hash:
		return out, &intent.Reason{Device: node, Code: "Programming", Message: "the switch has not confirmed its present state yet", Action: "wait a moment"}, intent.PhasePending
	case len(s.Notes) > 0:
		return out, &intent.Reason{Device: node, Code: "NotKept", Message: s.Notes[0], Action: "look at the disk of the switch"}, intent.PhaseDegraded
	}
	return out, nil, intent.PhaseReady
}

// withUnderlay adds what a switch's agent says of the underlay to the status of its
// node.
func (e *Engine) withUnderlay(node string, st *intent.Status) *intent.Status {
	under, why, phase := e.underlay.status(node)
	if under == nil {
		return st
	}
	if st == nil {
		st = &intent.Status{Phase: phase}
	}
	st.Underlay, st.Maintenance = under, e.maintenance(node)
	if why == nil && e.underlay.unplanned(e.objects[intent.Ref{Kind: intent.KindNode, Name: node}]) {
		why, phase = &intent.Reason{Device: node, Code: "Planning", Message: "the node's present revision is not planned yet", Action: "wait a moment"}, intent.PhasePending
	}
	if why == nil {
		return st
	}
	st.Reasons = append([]intent.Reason{*why}, st.Reasons...)
	if phase != intent.PhaseDegraded || st.Phase == intent.PhaseReady {
		st.Phase = phase
	}
	if phase != intent.PhaseDegraded {
		st.Applied = 0
	}
	return st
}

// fabricStatus is Ready when each switch has confirmed its present state.
func (e *Engine) fabricStatus(f *intent.Fabric) *intent.Status {
	if e.objects[f.Ref()] < f.Metadata.Revision {
		return pending("Loading", "controller", "wait a moment", "the controller has not taken revision %d yet", f.Metadata.Revision)
	}
	u := e.underlay
	u.mu.Lock()
	names := make([]string, 0, len(u.states))
	for n := range u.states {
		names = append(names, n)
	}
	failed := u.err
	u.mu.Unlock()
	slices.Sort(names)
	st := &intent.Status{Phase: intent.PhaseReady, Applied: f.Metadata.Revision, Switches: &intent.Counts{Total: len(names)}}
	for _, n := range names {
		_, why, phase := u.status(n)
		if why == nil || phase == intent.PhaseDegraded {
			st.Switches.Ready++
		}
		if why != nil && len(st.Reasons) < maxReasons {
			st.Reasons = append(st.Reasons, *why)
		}
	}
	if st.Switches.Ready < st.Switches.Total {
		st.Phase, st.Applied = intent.PhaseDegraded, 0
		if st.Switches.Ready == 0 {
			st.Phase = intent.PhasePending
		}
	}
	if failed != nil {
		st.Phase, st.Applied = intent.PhaseFailed, 0
		st.Reasons = append([]intent.Reason{{Device: fabricDevice, Code: AlarmPlan, Message: failed.Error(), Action: fmt.Sprintf("correct the objects; until then the %d switches keep their states", len(names))}}, st.Reasons...)
	}
	return st
}
