package engine

import (
	"context"
	"fmt"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// PortPolicy is what the security groups of a port say together, and what its
// device counts for them.
type PortPolicy struct {
	Node   string
	Policy *overlay.Policy // nil for a port in no group
	Count  southbound.PolicyCount
}

// Policy reads the policy of a port from the device that has it. Its error is a
// *southbound.OpError: the port is nowhere, or its device can't be asked.
func (e *Engine) Policy(ctx context.Context, port intent.Ref) (PortPolicy, error) {
	a, judge, err := e.judgeOf(port)
	if err != nil {
		return PortPolicy{}, err
	}
	p := PortPolicy{Node: a.Node, Policy: a.Policy}
	if a.Policy == nil {
		return p, nil
	}
	p.Count, err = judge.CountPolicy(ctx, a.LocalPort)
	return p, err
}

// Flows reads the flows of a port, in words, from the device that has it. Its error
// is as that of Policy.
func (e *Engine) Flows(ctx context.Context, port intent.Ref) (node string, flows []southbound.FlowLine, err error) {
	a, judge, err := e.judgeOf(port)
	if err != nil {
		return "", nil, err
	}
	flows, err = judge.PortFlows(ctx, a.LocalPort)
	return a.Node, flows, err
}

// judgeOf finds where a port is, and who can tell its flows there.
func (e *Engine) judgeOf(port intent.Ref) (overlay.Attachment, southbound.Judge, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	a, ok := e.model.Attachment(port)
	fail := func(action, format string, args ...any) error {
		return &southbound.OpError{Device: a.Node, Op: "read the flows of " + port.String(), Code: southbound.CodeNotReady, Action: action, Err: fmt.Errorf(format, args...)}
	}
	if !ok {
		a.Node = "controller"
		return a, nil, fail("see why by \"weft describe port\"", "the port is on no edge now")
	}
	s := e.sessions[a.Node]
	if s == nil {
		return a, nil, fail("wait a moment", "the controller has no session with %s", a.Node)
	}
	judge, ok := s.driver.(southbound.Judge)
	if !ok {
		return a, nil, fail("move the port to a hypervisor", "%s has no flows: policies are enforced by vSwitches", a.Node)
	}
	return a, judge, nil
}

// behindMember lists the edges whose rules name a group of the port and that have
// not confirmed it as a member.
func (e *Engine) behindMember(a overlay.Attachment) []intent.Reason {
	var out []intent.Reason
	told := map[string]bool{}
	tables, keys := overlay.Memberships(a)
	for i, table := range tables {
		seg := e.model.Segment(table)
		if seg == nil {
			continue
		}
		row, ok := seg.Get(keys[i])
		if !ok {
			continue
		}
		for _, s := range e.lagging(table) {
			if told[s.node] || s.at > 0 && s.at >= row.Rev {
				continue
			}
			told[s.node] = true
			if err := s.driver.Status().Err; err != nil {
				out = append(out, reason(err))
				continue
			}
			out = append(out, intent.Reason{Device: s.node, Code: "Programming", Message: "the device has not confirmed the port as a member of its groups yet", Action: "wait a moment"})
		}
	}
	return out
}

// enforces reports whether a node's edge enforces policies.
func (e *Engine) enforces(node string) bool {
	s := e.sessions[node]
	if s == nil {
		return false
	}
	_, ok := s.driver.(southbound.Judge)
	return ok
}

// notEnforced says that a port's edge does not filter, nil when it does or need not.
func (e *Engine) notEnforced(a overlay.Attachment) *intent.Reason {
	if n := e.model.Node(a.Node); a.ACLs != nil && n != nil && n.Spec.EVPN != nil {
		return &intent.Reason{Device: a.Node, Code: southbound.AlarmCapability,
			Message: "the device filters nothing: the ACLs of the port's network are not enforced for what it sends and receives",
			Action:  "filter on the leaf, or bind the port to a hypervisor"}
	}
	if a.Policy == nil || e.enforces(a.Node) {
		return nil
	}
	return &intent.Reason{Device: a.Node, Code: southbound.AlarmCapability,
		Message: fmt.Sprintf("the device filters nothing: security groups %s are not enforced for what this port sends and receives; others know it as their member", a.Policy.Names()),
		Action:  "filter on the server, or bind the port to a hypervisor"}
}
