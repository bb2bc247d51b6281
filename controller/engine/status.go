package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// Status computes an object's status from what the devices confirmed.
func (e *Engine) Status(o intent.Object) *intent.Status {
	e.mu.RLock()
	defer e.mu.RUnlock()
	switch o := o.(type) {
	case *intent.Port:
		return e.portStatus(o, e.lagging)
	case *intent.Network:
		return e.networkStatus(o)
	case *intent.Router:
		return e.routerStatus(o)
	case *intent.NetworkACL:
		return e.aclStatus(o)
	case *intent.SecurityGroup:
		return e.groupStatus(o)
	case *intent.ExternalNetwork:
		return e.externalStatus(o)
	case *intent.FloatingIP:
		return e.floatingStatus(o)
	case *intent.Interconnect:
		return e.interconnectStatus(o)
	case *intent.SteeringPolicy:
		return e.steerer.status(o)
	case *intent.Tenant:
		return e.tenantStatus(o)
	case *intent.Node:
		return e.withUnderlay(o.Metadata.Name, e.nodeStatus(o))
	case *intent.Fabric:
		return e.fabricStatus(o)
	}
	return nil
}

func pending(code, device, action, format string, args ...any) *intent.Status {
	return &intent.Status{Phase: intent.PhasePending, Reasons: []intent.Reason{{
		Device: device, Code: code, Message: fmt.Sprintf(format, args...), Action: action}}}
}

// reason puts a driver's error into an object's status.
func reason(err *southbound.OpError) intent.Reason {
	return intent.Reason{Device: err.Device, Code: err.Code, Message: fmt.Sprintf("%s: %v", err.Op, err.Err), Action: err.Action}
}

func (e *Engine) portStatus(p *intent.Port, lagging func(intent.VNI) []laggard) *intent.Status {
	known := e.model.Port(p.Ref())
	if known == nil || known.Metadata.Revision < p.Metadata.Revision {
		return pending("Loading", "controller", "wait a moment", "the controller has not taken revision %d yet", p.Metadata.Revision)
	}
	a, ok := e.model.Attachment(p.Ref())
	if !ok {
		return e.whyNotAttached(p)
	}
	st := &intent.Status{Node: a.Node, Interface: a.Interface, VTEP: a.VTEP.String()}
	for _, b := range e.model.Standby(p.Ref()) {
		if s := e.sessions[b.Node]; s != nil && s.has(b) {
			st.Requested = b.Node + ":" + b.Interface
		}
	}
	if why := e.lacks(a); why != nil {
		st.Phase, st.Reasons = intent.PhasePending, []intent.Reason{*why}
		if why.Code == southbound.CodeRefused {
			st.Phase = intent.PhaseFailed
		}
		return st
	}
	st.Phase, st.Applied = intent.PhaseReady, p.Metadata.Revision
	for _, r := range append(e.behind(a, lagging(a.VNI)), e.behindMember(a)...) {
		st.Reasons = append(st.Reasons, r)
		if r.Code != southbound.CodeUnreachable {
			st.Phase, st.Applied = intent.PhasePending, 0
		}
	}
	if why := e.notEnforced(a); why != nil {
		st.Reasons = append(st.Reasons, *why)
	}
	for _, why := range []*intent.Reason{e.notShared(a), e.notLimited(a)} {
		if why != nil {
			st.Reasons = append(st.Reasons, *why)
		}
	}
	if len(st.Reasons) > 0 && st.Phase == intent.PhaseReady {
		st.Phase = intent.PhaseDegraded
	}
	if places := e.model.Places(p.Ref()); len(places) > 1 && p.Spec.Requested.IsZero() {
		st.Reasons = append(st.Reasons, alsoAt(a, places))
	}
	return st
}

func alsoAt(a overlay.Attachment, places []overlay.Place) intent.Reason {
	var at []string
	for _, c := range places {
		if c.Node != a.Node || c.Interface.Name != a.Interface {
			at = append(at, c.Node+":"+c.Interface.Name)
		}
	}
	return intent.Reason{Device: a.Node, Code: "AlsoClaimed",
		Message: fmt.Sprintf("the port's iface-id is also on %s; %s:%s is used", strings.Join(at, ", "), a.Node, a.Interface),
		Action:  "remove the iface-id from the interface that is not the port"}
}

// has reports whether an edge has confirmed a port as it is to be there.
func (s *session) has(a overlay.Attachment) bool {
	got, ok := s.driver.Programmed(a.Port)
	return ok && got.Equal(a.LocalPort)
}

// portJudge is a driver that can say what is wrong with a single port.
type portJudge interface {
	PortError(intent.Ref) *southbound.OpError
}

// lacksPort says why the port's own edge has not confirmed it, nil if it has.
func (s *session) lacksPort(a overlay.Attachment) *intent.Reason {
	if s.has(a) {
		return nil
	}
	err := s.driver.Status().Err
	if d, ok := s.driver.(portJudge); ok && err == nil {
		err = d.PortError(a.Port)
	}
	if err != nil {
		r := reason(err)
		return &r
	}
	return &intent.Reason{Device: s.node, Code: "Programming", Message: "the device has not confirmed the port's flows yet", Action: "wait a moment"}
}

// newest is the revision of the newest of a port's rows.
func (e *Engine) newest(a overlay.Attachment) (newest evpn.Revision) {
	if seg := e.model.Segment(a.VNI); seg != nil {
		for _, k := range overlay.Routes(a.MAC, a.Addresses) {
			if r, ok := seg.Get(k); ok {
				newest = max(newest, r.Rev)
			}
		}
	}
	return newest
}

// laggard is a session that has not confirmed all rows of a segment.
type laggard struct {
	*session
	at evpn.Revision // what it has; zero when nothing
}

// lagging lists, by name, the sessions that have not confirmed all rows of a
// segment that they read: a switch with the hardware_vtep schema does not route, and
// those of an L3VNI are none of its own.
func (e *Engine) lagging(v intent.VNI) []laggard {
	seg := e.model.Segment(v)
	if seg == nil {
		return nil
	}
	var out []laggard
	for n := range e.model.Carriers(v) {
		s, node := e.sessions[n], e.model.Node(n)
		if s == nil || !overlay.IsVNI(v) && !e.enforces(n) || node != nil && node.Spec.HardwareVTEP != nil && e.model.RouterWith(v) != nil {
			continue
		}
		if at, ok := s.driver.Cursor(v); !ok || at < seg.Rev() {
			out = append(out, laggard{s, at})
		}
	}
	slices.SortFunc(out, func(a, b laggard) int { return strings.Compare(a.node, b.node) })
	return out
}

// behind lists the other edges of the port's segment that have not confirmed
// the port's routes, out of those that lag.
func (e *Engine) behind(a overlay.Attachment, lagging []laggard) []intent.Reason {
	if len(lagging) == 0 {
		return nil
	}
	newest := e.newest(a)
	var out []intent.Reason
	for _, s := range lagging {
		n := s.node
		if n == a.Node || s.at > 0 && s.at >= newest {
			continue
		}
		if err := s.driver.Status().Err; err != nil {
			out = append(out, reason(err))
			continue
		}
		out = append(out, intent.Reason{Device: n, Code: "Programming", Message: "the device has not confirmed the port's routes yet", Action: "wait a moment"})
	}
	return out
}

// whyNotAttached says why a port is nowhere.
func (e *Engine) whyNotAttached(p *intent.Port) *intent.Status {
	b := p.Spec.Binding
	if b.IsZero() {
		return pending("NotBound", "", "set spec.binding to a node and interface, or to an ifaceID", "no binding is given")
	}
	if s := e.model.Standby(p.Ref()); len(s) > 0 {
		return pending("Starting", s[0].Node, "wait a moment", "prepared on %s; edges that have not reported since the controller started may have it in use", s[0].Node)
	}
	for _, at := range e.model.Places(p.Ref()) {
		n := e.model.Node(at.Node)
		switch {
		case n == nil || !n.Spec.VTEP.IsValid():
			return pending("NoVTEP", at.Node, "set spec.vtep of the node", "node %s has no VTEP address", at.Node)
		case at.Interface.Error != "":
			return pending("InterfaceError", at.Node, "mend interface "+at.Interface.Name+" on "+at.Node, "interface %s: %s", at.Interface.Name, at.Interface.Error)
		default:
			return pending("NoPortNumber", at.Node, "wait a moment; if it stays, look at ovs-vswitchd's log on "+at.Node, "interface %s has no OpenFlow port number yet", at.Interface.Name)
		}
	}
	if b.IfaceID != "" {
		return e.whyNotSeen(b.IfaceID)
	}
	n := e.model.Node(b.Node)
	switch {
	case n == nil:
		return pending("UnknownNode", b.Node, "create Node "+b.Node+" or correct spec.binding.node", "there is no node %s", b.Node)
	case !n.Spec.Edge():
		return pending("NotAnEdge", b.Node, "bind the port to a node with spec.vswitch, spec.hardwareVTEP or spec.evpn", "node %s is no edge that the controller could program", b.Node)
	}
	if s := e.sessions[b.Node]; s != nil {
		if err := s.driver.Status().Err; err != nil {
			return &intent.Status{Phase: intent.PhasePending, Node: b.Node, Reasons: []intent.Reason{reason(err)}}
		}
	}
	if n.Spec.VSwitch == nil {
		return pending("NoInterface", b.Node, "correct spec.binding.interface, or add the port on the switch", "the switch has no physical port %s", b.Interface)
	}
	return pending("NoInterface", b.Node, fmt.Sprintf("on %s: ovs-vsctl add-port %s %s", b.Node, n.Spec.VSwitch.BridgeName(), b.Interface),
		"bridge %s has no interface %s", n.Spec.VSwitch.BridgeName(), b.Interface)
}

// whyNotSeen says why no edge reports an iface-id: nobody has it, or who has
// it can't be asked.
func (e *Engine) whyNotSeen(id string) *intent.Status {
	st := pending("NotPlugged", "any hypervisor", "plug the VM in: set external_ids:iface-id="+id+" on its OVS interface",
		"no hypervisor reports an interface with external_ids:iface-id=%s", id)
	for _, n := range e.model.Edges() {
		s := e.sessions[n]
		if s == nil {
			continue
		}
		if err := s.driver.Status().Err; err != nil {
			st.Reasons = append(st.Reasons, reason(err))
			st.Reasons[0].Device = n
		}
	}
	if len(st.Reasons) > 1 {
		st.Reasons[0].Message += "; some can't be asked"
		return st
	}
	return st
}

func (e *Engine) networkStatus(n *intent.Network) *intent.Status {
	known := e.model.Network(n.Ref())
	if known == nil || known.Metadata.Revision < n.Metadata.Revision {
		return pending("Loading", "controller", "wait a moment", "the controller has not taken revision %d yet", n.Metadata.Revision)
	}
	st := &intent.Status{Phase: intent.PhaseReady, Applied: n.Metadata.Revision, Ports: &intent.Counts{}}
	told := map[string]bool{}
	lagging := sync.OnceValue(func() []laggard { return e.lagging(n.Spec.VNI) })
	for _, r := range e.model.PortsOf(n.Ref()) {
		p := e.portStatus(e.model.Port(r), func(intent.VNI) []laggard { return lagging() })
		st.Ports.Total++
		if p.Phase == intent.PhaseReady {
			st.Ports.Ready++
			continue
		}
		st.Applied = 0
		for _, why := range p.Reasons {
			if key := why.Device + why.Code; !told[key] && len(st.Reasons) < 10 {
				told[key] = true
				why.Message = r.String() + ": " + why.Message
				st.Reasons = append(st.Reasons, why)
			}
		}
	}
	if st.Ports.Ready < st.Ports.Total {
		st.Phase = intent.PhaseDegraded
		if st.Ports.Ready == 0 {
			st.Phase = intent.PhasePending
		}
	}
	if seg := e.model.Segment(n.Spec.VNI); seg != nil {
		for r := range seg.Rows() {
			if !r.MAC.IsZero() {
				continue
			}
			st.VTEPs = append(st.VTEPs, r.VTEP.String())
		}
		slices.Sort(st.VTEPs)
	}
	return st
}

// switchStatus is what a switch's agent says, where the overlay has nothing to do with
// it; nil while none ever reported.
func (e *Engine) switchStatus(n *intent.Node) *intent.Status {
	_, at, ok := e.wiring.portsOf(n.Metadata.Name)
	switch silent := time.Since(at); {
	case !ok:
		return nil // nothing that the controller could read
	case silent > silentAfter:
		return &intent.Status{Phase: intent.PhaseDegraded, Reasons: []intent.Reason{{Device: n.Metadata.Name, Code: AlarmSilent,
			Message: fmt.Sprintf("the agent has not reported for %s", silent.Round(time.Second)), Action: "see whether the switch runs and reaches the controller"}}}
	}
	return &intent.Status{Phase: intent.PhaseReady, Applied: n.Metadata.Revision}
}

func (e *Engine) nodeStatus(n *intent.Node) *intent.Status {
	if !n.Spec.Edge() {
		return e.switchStatus(n)
	}
	st := &intent.Status{}
	if n.Spec.VTEP.IsValid() {
		st.VTEP = n.Spec.VTEP.String()
	}
	s := e.sessions[n.Metadata.Name]
	if s == nil {
		return pending("Loading", "controller", "wait a moment", "the controller has no session with the node yet")
	}
	if l, ok := s.driver.(interface {
		Session() (intent.BGPSession, bool)
	}); ok {
		if b, ok := l.Session(); ok {
			st.Session = &b
		}
	}
	d := s.driver.Status()
	st.Software, st.Flows = d.Software, d.Flows
	switch {
	case d.Err != nil:
		st.Phase, st.Reasons = intent.PhasePending, []intent.Reason{reason(d.Err)}
		if d.Err.Code == southbound.CodeRefused {
			st.Phase = intent.PhaseFailed
		}
	case !d.Synced:
		st.Phase = intent.PhasePending
		st.Reasons = []intent.Reason{{Device: s.node, Code: "Programming", Message: "the device is being read and programmed", Action: "wait a moment"}}
	default:
		st.Phase, st.Applied = intent.PhaseReady, n.Metadata.Revision
	}
	return st
}
