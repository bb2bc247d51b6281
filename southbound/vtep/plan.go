package vtep

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// yieldTime is how long a switch leaves what its database has in common to each
// switch before it by name, which is on the same logical switch.
const yieldTime = time.Second

// result is what a comparison found.
type result struct {
	change ovsdb.VTEPChange
	bound  map[slot]intent.VNI // as they should be
	// judged are the slots to which the ACL of their network is bound, entries
	// the networks whose ACL has the rules.
	judged  map[slot]intent.VNI
	entries map[intent.VNI]bool
	// unjudged are ports whose ACL is not in place yet.
	unjudged map[intent.Ref]bool
	// complete are the VNIs whose rows are all there.
	complete map[intent.VNI]bool
	// refused says why ports can't be as they should be.
	refused map[intent.Ref]string
	alarms  map[southbound.AlarmKey]string
	found   findings                 // what somebody else changed
	left    bool                     // something differs that is not part of the change
	behind  map[intent.VNI]time.Time // differs since, where another switch's driver writes
}

// planner compares what is there with what should be.
type planner struct {
	input
	*desired
	r    *ovsdb.VTEPRows
	mem  *memory
	mend bool // put back what somebody else changed
	now  time.Time
	was  map[intent.VNI]time.Time // behind before
	used map[string]bool          // logical switches that can't be removed

	byName map[string]string // logical switches: name -> UUID
	active map[intent.VNI]bool
	res    result
}

// plan makes the change. The rows must have the switch.
func (p planner) plan() result {
	p.byName, p.active = map[string]string{}, map[intent.VNI]bool{}
	p.res = result{bound: map[slot]intent.VNI{}, judged: map[slot]intent.VNI{}, entries: map[intent.VNI]bool{}, unjudged: map[intent.Ref]bool{}, complete: map[intent.VNI]bool{}, refused: map[intent.Ref]string{},
		alarms: map[southbound.AlarmKey]string{}, behind: map[intent.VNI]time.Time{},
		change: ovsdb.VTEPChange{Adjust: map[string]ovsdb.VTEPLogical{}, Bind: map[string]map[int]string{}, Unbind: map[string]map[int]string{},
			Ucast: map[ovsdb.VTEPStation]ovsdb.VTEPRemote{}, Mcast: map[string]ovsdb.VTEPFlood{},
			ACLs: map[string]ovsdb.VTEPACLChange{}, BindACL: map[string]map[int]string{}, UnbindACL: map[string]map[int]string{}}}
	for uuid, l := range p.r.Logical {
		p.byName[l.Name] = uuid
	}
	if len(p.r.Switch.TunnelIPs) == 0 {
		if !p.foreign(p.mem.settled, "tunnel_ips of physical switch %s was empty; set again", p.name) {
			p.res.change.TunnelIP = p.vtep
		}
	}
	p.bindings(p.blocked())
	for v := range p.active {
		p.segment(v)
	}
	p.surplus()
	p.acls()
	return p.res
}

// foreign notes what somebody else changed, and reports whether it must wait.
func (p *planner) foreign(yes bool, format string, args ...any) (wait bool) {
	if !yes {
		return false
	}
	if !p.mend {
		p.res.left = true
		return true
	}
	p.res.found.note(format, args...)
	return false
}

// findings are what somebody else changed.
type findings struct {
	n     int
	texts []string
}

// findingsTold bounds the rows that one event names.
const findingsTold = 5

func (f *findings) note(format string, args ...any) {
	if f.n++; f.n <= findingsTold {
		f.texts = append(f.texts[:len(f.texts):len(f.texts)], fmt.Sprintf(format, args...))
	}
}

// String is a sentence for people.
func (f findings) String() string {
	s := strings.Join(f.texts, "; ")
	if more := f.n - len(f.texts); more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	return s
}

// ref names the logical switch of a VNI in a change.
func (p *planner) ref(v intent.VNI) string {
	if uuid, ok := p.byName[logicalName(v)]; ok {
		return uuid
	}
	return logicalName(v)
}

// blocked says for which VNIs no port can be bound: those of which another
// logical switch on this switch has the tunnel key, so that the frames of both
// would mix. Where it is on no port here, there is only an alarm.
func (p *planner) blocked() map[intent.VNI]string {
	here := map[string]bool{}
	for _, port := range p.r.Switch.Ports {
		for _, uuid := range port.Bindings {
			here[uuid] = true
		}
	}
	blocked := map[intent.VNI]string{}
	for uuid, l := range p.r.Logical {
		v := intent.VNI(l.Key)
		if _, ours := vniOf(l.Name); ours || p.segments[v] == nil {
			continue
		}
		words := fmt.Sprintf("logical switch %s, which is not Weft's, has tunnel key %d", l.Name, v)
		p.res.alarms[southbound.AlarmKey{Reason: alarmKey, Object: fmt.Sprintf("VNI %d", v)}] = words + ": give it another, or the network another VNI"
		if here[uuid] {
			blocked[v] = words + " and is bound on this switch"
		}
	}
	return blocked
}

// bindings compares the ports' VLANs.
func (p *planner) bindings(blocked map[intent.VNI]string) {
	for name, port := range p.r.Switch.Ports {
		for vlan, uuid := range port.Bindings {
			at := slot{name, vlan}
			v, ours := vniOf(p.r.Logical[uuid].Name)
			if l, ok := p.slots[at]; !ours || ok && l.VNI == v {
				continue
			}
			_, known := p.mem.slots[at]
			if !p.foreign(p.mem.settled && !known, "%s was bound to %s; unbound", at, p.r.Logical[uuid].Name) {
				put(p.res.change.Unbind, port.UUID, vlan, uuid)
			}
		}
	}
	for at, l := range p.slots {
		p.binding(at, l, blocked)
	}
}

func (p *planner) binding(at slot, l overlay.LocalPort, blocked map[intent.VNI]string) {
	port, ok := p.r.Switch.Ports[at.port]
	if !ok {
		p.res.refused[l.Port] = fmt.Sprintf("physical switch %s has no port %s", p.name, at.port)
		return
	}
	uuid, bound := port.Bindings[at.vlan]
	has, ours := vniOf(p.r.Logical[uuid].Name)
	switch {
	case bound && ours && has == l.VNI:
		p.res.bound[at], p.active[l.VNI] = l.VNI, true
		if slices.Contains(port.Faults, faultVLAN) {
			p.res.refused[l.Port] = fmt.Sprintf("the switch says of port %s: %s", at.port, strings.Join(port.Faults, ", "))
		}
	case bound && !ours:
		words := fmt.Sprintf("%s is bound to logical switch %s, which is not Weft's", at, p.r.Logical[uuid].Name)
		p.res.refused[l.Port] = words
		p.res.alarms[southbound.AlarmKey{Reason: southbound.AlarmVLANTaken, Object: at.String()}] = fmt.Sprintf("%s: unbind it there, or give %s another VLAN", words, l.Port)
	case blocked[l.VNI] != "":
		p.res.refused[l.Port] = blocked[l.VNI]
	case bound && p.res.change.Unbind[port.UUID][at.vlan] == "":
		p.active[l.VNI] = true // what is bound there goes first, in a moment
	default:
		p.active[l.VNI] = true
		if !p.foreign(p.mem.slots[at] == l.VNI, "%s was not bound to %s; bound again", at, logicalName(l.VNI)) {
			put(p.res.change.Bind, port.UUID, at.vlan, p.ref(l.VNI))
		}
	}
}

// faultVLAN in port_fault_status says that a binding could not be made.
const faultVLAN = "invalid_vlan_map"

func put(m map[string]map[int]string, port string, vlan int, logical string) {
	if m[port] == nil {
		m[port] = map[int]string{}
	}
	m[port][vlan] = logical
}

// surplus drops our logical switches that no port of any switch is bound to.
// They are made together with a binding, so none is another driver's that is
// about to bind it.
func (p *planner) surplus() {
	for uuid, l := range p.r.Logical {
		v, ours := vniOf(l.Name)
		if !ours || p.active[v] || len(p.r.Bound[uuid]) > 0 || p.used[uuid] || p.boundHere(uuid) {
			continue
		}
		p.res.change.Remove = append(p.res.change.Remove, uuid)
	}
}

// boundHere reports whether a port of this switch stays bound to the logical
// switch.
func (p *planner) boundHere(uuid string) bool {
	for _, port := range p.r.Switch.Ports {
		if stays(port.Bindings, p.res.change.Unbind[port.UUID], uuid) {
			return true
		}
	}
	return false
}

// stays reports whether one of a port's bindings, by VLAN, is to a row and does not
// leave.
func stays(bindings, leave map[int]string, uuid string) bool {
	for vlan, u := range bindings {
		if _, leaves := leave[vlan]; u == uuid && !leaves {
			return true
		}
	}
	return false
}
