package engine

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// ACLCounters are what the devices count for a network ACL, together.
type ACLCounters struct {
	ACL     *overlay.ACL
	Count   southbound.ACLCount
	Devices []string       // that were asked and answered, by name
	Missing []UncountedACL // those with ports of its networks that did not, by name
}

// UncountedACL is a device whose counters are missing, and why.
type UncountedACL struct {
	Device string
	Why    string
}

// ACLCounters asks the devices that have ports of an ACL's networks what they have
// counted for it. ok is false while the controller has not taken the ACL.
func (e *Engine) ACLCounters(ctx context.Context, ref intent.Ref) (out ACLCounters, ok bool) {
	e.mu.RLock()
	acl := e.model.ACL(ref)
	judges := map[string]southbound.Judge{}
	for p := range e.judgedPorts(ref) {
		a, attached := e.model.Attachment(p)
		if !attached {
			continue
		}
		if _, known := judges[a.Node]; known {
			continue
		}
		judges[a.Node] = nil
		if s := e.sessions[a.Node]; s != nil {
			judges[a.Node], _ = s.driver.(southbound.Judge)
		}
	}
	e.mu.RUnlock()
	if acl == nil {
		return out, false
	}
	out.ACL, out.Count.Rules = acl, make([]southbound.FlowCount, len(acl.Rules))
	nodes := slices.Sorted(maps.Keys(judges))
	for i, c := range askACL(ctx, acl, nodes, judges) {
		if c.err != nil {
			out.Missing = append(out.Missing, UncountedACL{nodes[i], c.err.Error()})
			continue
		}
		out.Devices = append(out.Devices, nodes[i])
		out.add(c.value)
	}
	return out, true
}

// askACL asks all nodes, and answers in their order.
func askACL(ctx context.Context, acl *overlay.ACL, nodes []string, judges map[string]southbound.Judge) []answer[southbound.ACLCount] {
	return askEach(nodes, func(n string) (southbound.ACLCount, error) {
		if judges[n] == nil {
			return southbound.ACLCount{}, errors.New("it counts nothing for ACLs: only vSwitches do")
		}
		return judges[n].CountACL(ctx, acl)
	})
}

func (c *ACLCounters) add(o southbound.ACLCount) {
	sum := func(to *southbound.FlowCount, from southbound.FlowCount) {
		to.Packets, to.Bytes = to.Packets+from.Packets, to.Bytes+from.Bytes
	}
	for i := range o.Rules {
		sum(&c.Count.Rules[i], o.Rules[i])
	}
	sum(&c.Count.In, o.In)
	sum(&c.Count.Out, o.Out)
}

// judgedPorts are the ports of the networks that name an ACL. The caller holds the
// lock.
func (e *Engine) judgedPorts(acl intent.Ref) iter.Seq[intent.Ref] {
	return func(yield func(intent.Ref) bool) {
		for _, n := range e.model.JudgedBy(acl) {
			for _, p := range e.model.PortsOf(n) {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// aclStatus is Ready when every edge with ports of the ACL's networks confirmed
// these.
func (e *Engine) aclStatus(a *intent.NetworkACL) *intent.Status {
	return e.spreadStatus(a, e.judgedPorts(a.Ref()), 0)
}
