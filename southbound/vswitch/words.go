package vswitch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// words says flows of a port in words.
type words struct {
	port  overlay.LocalPort
	guard *guard // nil for a port without policy
	// acls are those of the edge; nil for a port of a network without ACLs.
	acls *acls
}

// concerns reports whether a flow is this port's: the cookie has only the end of
// its MAC.
func (w words) concerns(f openflow.Flow) bool {
	for _, id := range []openflow.FieldID{openflow.FieldEthSrc, openflow.FieldEthDst} {
		if m, ok := f.Match.Get(id); ok && m.MAC() != [6]byte(w.port.MAC) {
			return false
		}
	}
	if p, ok := f.Match.Get(openflow.FieldInPort); ok && uint32(p.Number()) != w.port.OFPort {
		return false
	}
	return true
}

func sortLines(ls []southbound.FlowLine) {
	slices.SortStableFunc(ls, func(a, b southbound.FlowLine) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Words, b.Words))
	})
}

// tableNames are those of the package comment.
var tableNames = map[uint8]string{
	tableClassify: "classify", tableAdmission: "admission", tableARP: "arp", tableND: "nd", tableNDReply: "nd reply", tableRouter: "router", tableRoute: "route", tableLeak: "leak", tableOutside: "outside", tableInside: "inside", tableICMP: "icmp", tableLocal: "local",
	tableRemote: "remote", tableFlood: "flood", tableTrackOut: "egress tracking", tablePeersOut: "egress peers", tableRulesOut: "egress rules", tableVerdictOut: "egress verdict",
	tableSubnetOut: "border out", tableACLOut: "ACL out", tableSubnetIn: "border in", tableACLIn: "ACL in",
	tableTrackIn: "ingress tracking", tablePeersIn: "ingress peers", tableRulesIn: "ingress rules", tableVerdictIn: "ingress verdict", tableDeliver: "deliver",
}

// TableName is the short name of a table of the pipeline.
func TableName(t uint8) string { return cmp.Or(tableNames[t], fmt.Sprintf("table %d", t)) }

// say is the sentence of a flow.
func (w words) say(f openflow.Flow) string {
	switch f.Table {
	case tableClassify:
		return fmt.Sprintf("what comes in by %s is in VNI %d", w.port.Interface, w.port.VNI)
	case tableAdmission:
		return "may send " + w.subject(f.Match) + w.onward(f)
	case tableARP, tableND:
		a, _ := f.Match.Get(openflow.FieldARPTPA)
		if f.Table == tableND {
			a, _ = f.Match.Get(openflow.FieldNDTarget)
		}
		if _, own := f.Match.Get(openflow.FieldInPort); own {
			return fmt.Sprintf("its own question for %s goes to the others", a.Addr())
		}
		return fmt.Sprintf("who asks for %s is told MAC %s", a.Addr(), w.port.MAC)
	case tableLocal:
		switch {
		case w.port.ACLs != nil:
			return fmt.Sprintf("frames to MAC %s go to %s through the ACLs of its network", w.port.MAC, w.port.Interface)
		case w.port.Policy != nil:
			return fmt.Sprintf("frames to MAC %s go to %s through its policy", w.port.MAC, w.port.Interface)
		}
		return fmt.Sprintf("frames to MAC %s go to %s", w.port.MAC, w.port.Interface)
	case tableRoute, tableLeak, tableOutside, tableInside:
		return w.translation(f)
	case tableRemote:
		if to := f.Instructions.TunnelDsts(); len(to) > 0 {
			return fmt.Sprintf("frames to MAC %s go to VTEP %s", w.port.MAC, to[0])
		}
	case tableTrackOut:
		return "the session of " + w.subject(f.Match) + " that it sends is looked up in its zone"
	case tableTrackIn:
		if w.port.Policy == nil {
			return "what the ACLs of its network let in goes to " + w.port.Interface
		}
		if _, self := f.Match.Get(openflow.FieldInPort); self {
			return "its own broadcasts do not come back to it"
		}
		return "the session of " + w.subject(f.Match) + " for it is looked up in its zone"
	case tableICMP:
		return "what it sends and nobody can route is answered by an ICMP error"
	case tableRulesIn, tableRulesOut:
		return w.rule(f)
	case tableACLIn, tableACLOut:
		return w.acl(f)
	}
	return f.String()
}

// translation says what a flow of a floating IP does.
func (w words) translation(f openflow.Flow) string {
	what := w.subject(f.Match)
	switch nat, ok := f.Instructions.NAT(); {
	case ok && f.Table == tableRoute:
		return fmt.Sprintf("what comes from outside, %s, is translated to %s", what, nat.Addr())
	case ok:
		return fmt.Sprintf("%s that goes outside is translated to be from %s", what, nat.Addr())
	case f.Table == tableOutside:
		return what + " goes outside"
	}
	return what + " has come from outside"
}

// rule says which rules a flow is of.
func (w words) rule(f openflow.Flow) string {
	p := w.port.Policy
	if f.Priority == denialPriority {
		switch {
		case f.Table == tableRulesIn:
			return "what no rule allows in is dropped"
		case p.Limited:
			return "what no rule allows out is dropped"
		}
		return "everything may go out: no group of it has an egress rule"
	}
	number := w.guard.numberOf(w.port)
	var of []string
	for _, r := range p.Rules {
		for _, o := range w.guard.rule(number, r) {
			if keyOf(o) == keyOf(f) {
				of = append(of, fmt.Sprintf("rule %d of group %s: %s", r.Index, r.From, r.SecurityRule))
				break
			}
		}
	}
	if len(of) == 0 {
		return "a flow of no rule: " + f.String()
	}
	return w.subject(f.Match) + " may pass by " + strings.Join(of, ", and by ")
}

// acl says of which rule of a network ACL a flow is.
func (w words) acl(f openflow.Flow) string {
	for _, a := range w.port.ACLs.All() {
		number := w.acls.numberOf(a)
		if n, _ := f.Match.Reg(regPolicy); n != number {
			continue
		}
		switch i := int(firstRulePriority - f.Priority); {
		case i >= 0 && i < len(a.Rules):
			return fmt.Sprintf("%s: rule %d of ACL %s: %s", w.subject(f.Match), i, a.Name, a.Rules[i])
		case f.Table == tableACLIn:
			return fmt.Sprintf("what enters a subnet and no rule of ACL %s matches is dropped", a.Name)
		default:
			return fmt.Sprintf("what leaves a subnet and no rule of ACL %s matches is dropped", a.Name)
		}
	}
	return "a flow of no rule: " + f.String()
}

// subject says what a match takes in.
func (w words) subject(m openflow.Match) string {
	kind := "frames"
	if t, ok := m.Get(openflow.FieldEthType); ok {
		kind = map[uint64]string{etherIPv4: "IPv4", etherIPv6: "IPv6", etherARP: "ARP", etherRARP: "RARP"}[t.Number()]
	} else if _, mask := m.Reg(regPolicy); mask != 0 {
		kind = "IP"
	}
	s := []string{kind}
	if p, ok := m.Get(openflow.FieldIPProto); ok && p.Number() != protoFragment {
		s = append(s, protocolName(uint8(p.Number())))
	}
	for _, d := range []struct {
		id   openflow.FieldID
		word string
	}{
		{openflow.FieldICMPType, "type"}, {openflow.FieldICMPCode, "code"}, {openflow.FieldICMPv6Type, "type"}, {openflow.FieldICMPv6Code, "code"},
		{openflow.FieldTCPSrc, "from port"}, {openflow.FieldUDPSrc, "from port"}, {openflow.FieldSCTPSrc, "from port"}, {openflow.FieldTCPDst, "port"}, {openflow.FieldUDPDst, "port"}, {openflow.FieldSCTPDst, "port"},
		{openflow.FieldIPv4Src, "from"}, {openflow.FieldIPv6Src, "from"}, {openflow.FieldARPSPA, "as"}, {openflow.FieldARPTPA, "about"}, {openflow.FieldNDTarget, "about"},
		{openflow.FieldIPv4Dst, "to"}, {openflow.FieldIPv6Dst, "to"},
	} {
		if v, ok := m.Get(d.id); ok {
			s = append(s, d.word, v.ValueText())
		}
	}
	if w.guard != nil {
		for id, slot := range w.guard.slots {
			f := groupField(groupBits{}.with(slot))
			for i := range 4 {
				_, mask := m.Reg(8 + i)
				if want, _ := openflow.NewMatch(f).Reg(8 + i); want != 0 && mask == want {
					s = append(s, "with a member of group "+w.groupName(id))
				}
			}
		}
	}
	if o, ok := m.Get(openflow.FieldIPFrag); ok && o.Number() != 0 {
		return "later fragments of " + strings.Join(s, " ")
	}
	return strings.Join(s, " ")
}

func (w words) groupName(id uint32) string {
	for _, r := range w.port.Policy.Rules {
		if r.Peer == id {
			return r.Group
		}
	}
	return fmt.Sprint(id)
}

// onward says where an admitted packet goes on, when that tells something.
func (w words) onward(f openflow.Flow) string {
	if t, ok := f.Instructions.Goto(); ok && t == tableTrackOut {
		return ", if its policy lets it"
	}
	return ""
}

func protocolName(p uint8) string {
	for _, n := range []intent.Protocol{"tcp", "udp", "sctp", "icmp", "icmpv6"} {
		if v, _ := n.Number(); v == p {
			return string(n)
		}
	}
	return fmt.Sprintf("protocol %d", p)
}
