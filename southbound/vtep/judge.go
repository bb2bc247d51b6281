package vtep

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// alarmACL is raised where somebody else's ACL is where ours must be.
const alarmACL = "ACLTaken"

// faultACL in port_fault_status says that an ACL could not be bound.
const faultACL = "invalid_ACL_binding"

// acls compares the ACLs and what they are bound to.
func (p *planner) acls() {
	byName := map[string]string{}
	for uuid, a := range p.r.ACLs {
		byName[a.Name] = uuid
	}
	p.looseACLs()
	here := map[intent.VNI]bool{}
	for _, at := range slices.SortedFunc(maps.Keys(p.slots), compareSlots) {
		l := p.slots[at]
		port, ok := p.r.Switch.Ports[at.port]
		if l.ACLs == nil || !ok {
			continue
		}
		if why := p.unjudgeable(at, port); why != "" {
			p.refuse(l, why)
		} else if p.bindACL(at, l, port, byName) {
			here[l.VNI] = true
		}
	}
	for _, v := range slices.Sorted(maps.Keys(here)) {
		p.acl(v, byName[logicalName(v)])
	}
	for uuid, a := range p.r.ACLs {
		v, ours := vniOf(a.Name)
		if ours && !here[v] && !p.r.ACLsBound[uuid] && !p.aclStays(uuid) {
			p.res.change.DropACLs = append(p.res.change.DropACLs, uuid)
		}
	}
	slices.Sort(p.res.change.DropACLs)
}

func compareSlots(a, b slot) int { return strings.Compare(a.String(), b.String()) }

// refuse says why a port can't be as it should be, unless that is said already.
func (p *planner) refuse(l overlay.LocalPort, why string) {
	if p.res.refused[l.Port] == "" {
		p.res.refused[l.Port] = why
	}
}

// unjudgeable says why a port's network ACLs can't be bound there. An ACL under the
// VLAN 0 is that of the whole port (vtep(5), Physical_Port acl_bindings): it would
// judge the frames of other VLANs, too.
func (p *planner) unjudgeable(at slot, port ovsdb.VTEPPort) string {
	if p.r.NoACLs {
		return fmt.Sprintf("the database of physical switch %s has no ACLs, schema %s: the ACLs of the port's network are not enforced", p.name, p.r.Schema)
	}
	if at.vlan != 0 {
		return ""
	}
	for vlan := range port.Bindings {
		if _, leaves := p.res.change.Unbind[port.UUID][vlan]; vlan != 0 && !leaves {
			return fmt.Sprintf("an ACL of the untagged frames of port %s would judge those of VLAN %d, too: give each network a VLAN there", at.port, vlan)
		}
	}
	for o := range p.slots {
		if o.port == at.port && o.vlan != 0 {
			return fmt.Sprintf("an ACL of the untagged frames of port %s would judge those of VLAN %d, too: give each network a VLAN there", at.port, o.vlan)
		}
	}
	return ""
}

// looseACLs unbinds ACLs of ours from where they do not belong.
func (p *planner) looseACLs() {
	for name, port := range p.r.Switch.Ports {
		for vlan, uuid := range port.ACLs {
			at := slot{name, vlan}
			v, ours := vniOf(p.r.ACLs[uuid].Name)
			l, ok := p.slots[at]
			if !ours || ok && l.VNI == v && l.ACLs != nil && p.unjudgeable(at, port) == "" && !p.taken(at, port) {
				continue
			}
			_, known := p.mem.judged[at]
			if !p.foreign(p.mem.settled && !known, "ACL %s was bound to %s; unbound", p.r.ACLs[uuid].Name, at) {
				put(p.res.change.UnbindACL, port.UUID, vlan, uuid)
			}
		}
	}
}

// taken reports whether a VLAN is bound to somebody else's logical switch.
func (p *planner) taken(at slot, port ovsdb.VTEPPort) bool {
	uuid, bound := port.Bindings[at.vlan]
	_, ours := vniOf(p.r.Logical[uuid].Name)
	return bound && !ours
}

// bindACL compares the ACL to which a port's VLAN is bound, and reports whether that
// is, or will be, the one of its network. It is bound together with the logical
// switch, so that no frame passes before it.
func (p *planner) bindACL(at slot, l overlay.LocalPort, port ovsdb.VTEPPort, byName map[string]string) bool {
	name := logicalName(l.VNI)
	if p.taken(at, port) {
		return false
	}
	uuid, bound := port.ACLs[at.vlan]
	switch has, ours := vniOf(p.r.ACLs[uuid].Name); {
	case bound && ours && has == l.VNI:
		p.res.judged[at] = l.VNI
		if slices.Contains(port.Faults, faultACL) {
			p.refuse(l, fmt.Sprintf("the switch says of port %s: %s", at.port, strings.Join(port.Faults, ", ")))
		}
		return true
	case bound && !ours:
		words := fmt.Sprintf("%s has ACL %s, which is not Weft's", at, p.r.ACLs[uuid].Name)
		p.refuse(l, words)
		p.res.alarms[southbound.AlarmKey{Reason: alarmACL, Object: at.String()}] = fmt.Sprintf("%s: unbind it there, or take the ACLs from the network of %s", words, l.Port)
		return false
	case bound: // of another network of ours: it goes first, in a moment
	case p.res.bound[at] != l.VNI && p.res.change.Bind[port.UUID][at.vlan] == "": // the port is not bound, either
	case !p.foreign(p.mem.judged[at] == l.VNI, "ACL %s was not bound to %s; bound again", name, at):
		ref := name
		if uuid, ok := byName[name]; ok {
			ref = uuid
		}
		put(p.res.change.BindACL, port.UUID, at.vlan, ref)
		p.res.unjudged[l.Port] = true
		return true
	}
	p.res.unjudged[l.Port] = true
	_, exists := byName[name]
	return exists // it is not removed while it waits to be bound
}

// acl compares the entries of a network's ACL, which has a UUID if it is there.
func (p *planner) acl(v intent.VNI, uuid string) {
	name, want := logicalName(v), p.judges[v]
	has := p.r.ACLs[uuid]
	d := ovsdb.VTEPACLChange{UUID: uuid}
	missing := make(map[ovsdb.VTEPEntry]bool, len(want))
	for _, e := range want {
		missing[e] = true
	}
	for _, u := range slices.Sorted(maps.Keys(has.Entries)) {
		if e := has.Entries[u]; missing[e] {
			delete(missing, e)
			d.Keep = append(d.Keep, u)
		} else {
			d.Drop = append(d.Drop, u)
		}
	}
	if len(missing) > 0 { // who deleted our ACL may have left its entries
		for _, u := range slices.Sorted(maps.Keys(p.r.LooseEntries)) {
			if e := p.r.LooseEntries[u]; missing[e] {
				delete(missing, e)
				d.Keep = append(d.Keep, u)
			}
		}
	}
	for _, e := range want {
		if missing[e] {
			d.Add = append(d.Add, e)
		}
	}
	known, was := p.mem.acls[v]
	if uuid != "" && len(d.Keep) == len(has.Entries) && len(d.Add)+len(d.Drop) == 0 {
		p.res.entries[v] = true
		if len(has.Faults) > 0 {
			words := fmt.Sprintf("the switch says of ACL %s: %s", name, strings.Join(has.Faults, ", "))
			p.eachJudged(v, func(l overlay.LocalPort) { p.refuse(l, words) })
		}
		return
	}
	p.eachJudged(v, func(l overlay.LocalPort) { p.res.unjudged[l.Port] = true })
	if uuid != "" && p.yields(v) {
		return
	}
	tampered := was && slices.Equal(known, want)
	if p.foreign(tampered && uuid == "", "ACL %s was missing; made again", name) ||
		p.foreign(tampered && uuid != "", "ACL %s had other entries; put back", name) {
		p.unbindableACL(name)
		return
	}
	p.res.change.ACLs[name] = d
}

// eachJudged goes through the ports of a network.
func (p *planner) eachJudged(v intent.VNI, do func(overlay.LocalPort)) {
	for _, l := range p.slots {
		if l.VNI == v {
			do(l)
		}
	}
}

// unbindableACL takes back what would be bound to an ACL that is not made now.
func (p *planner) unbindableACL(name string) {
	for port, of := range p.res.change.BindACL {
		maps.DeleteFunc(of, func(_ int, ref string) bool { return ref == name })
		if len(of) == 0 {
			delete(p.res.change.BindACL, port)
		}
	}
}

// yields reports whether what differs on a network is left to the driver of another
// switch of the database, as long as take says.
func (p *planner) yields(v intent.VNI) bool {
	rank := p.rank(p.byName[logicalName(v)])
	if rank == 0 {
		return false
	}
	since, ok := p.was[v]
	if !ok {
		since = p.now
	}
	p.res.behind[v] = since
	if p.now.Sub(since) >= time.Duration(rank)*yieldTime {
		return false
	}
	p.res.left = true
	return true
}

// aclStays reports whether a port of this switch stays bound to an ACL.
func (p *planner) aclStays(uuid string) bool {
	for _, port := range p.r.Switch.Ports {
		if stays(port.ACLs, p.res.change.UnbindACL[port.UUID], uuid) {
			return true
		}
	}
	return false
}
