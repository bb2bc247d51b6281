package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// firstRulePriority is that of an ACL's first rule; each later one has one less.
const firstRulePriority = 50000

// aclFlows are the flows of an ACL: of each rule in its order, and in each
// direction one for what none matches. Register 4 has the ACL's number.
func aclFlows(number uint32, a *overlay.ACL) []openflow.Flow {
	fs := aclDenials(number)
	for i, r := range a.Rules {
		fs = append(fs, aclRule(number, i, r)...)
	}
	return fs
}

// aclDenials drop and count what no rule matches: what enters, what leaves.
func aclDenials(number uint32) []openflow.Flow {
	none := func(d crossing) openflow.Flow {
		return flow(d.rules, denialPriority, policyCookie(number), openflow.NewMatch(openflow.Reg(regPolicy, number)), openflow.Instructions{})
	}
	return []openflow.Flow{none(entering), none(leaving)}
}

// aclRule are the flows of one rule: for each IP version one for each pair of
// masked ranges of ports. Later fragments, which have no ports and in IPv6 no
// protocol, are let pass by a rule that allows; one that denies leaves them be where
// it can't tell whose they are: without the first, which is judged by all of the
// rule, nobody can put them together.
func aclRule(number uint32, index int, r intent.ACLRule) []openflow.Flow {
	d := entering
	if r.Direction == intent.Egress {
		d = leaving
	}
	var ins openflow.Instructions
	if r.Action == intent.Allow {
		ins = openflow.NewInstructions(openflow.GotoTable(d.next))
	}
	var fs []openflow.Flow
	put := func(match ...openflow.Field) {
		match = append(match, openflow.Reg(regPolicy, number))
		fs = append(fs, flow(d.rules, firstRulePriority-uint16(index), policyCookie(number), openflow.NewMatch(match...), ins))
	}
	proto, limited := r.Protocol.Number()
	v4, v6 := r.Families()
	for _, family := range []struct {
		used, six bool
		ip        []openflow.Field
	}{{v4, false, ip4(ends(r, false)...)}, {v6, true, ip6(ends(r, true)...)}} {
		if !family.used {
			continue
		}
		with := func(more ...openflow.Field) []openflow.Field {
			return append(family.ip[:len(family.ip):len(family.ip)], more...)
		}
		if !limited {
			put(family.ip...)
			continue
		}
		each := details(proto, r.SourcePorts, r.Ports, r.ICMPType, r.ICMPCode)
		for _, f := range each {
			put(with(append(f, openflow.IPProto(proto))...)...)
		}
		switch bare := all(each); {
		case r.Action != intent.Allow || bare && !family.six:
		case family.six:
			put(with(openflow.IPProto(protoFragment), openflow.LaterFragment())...)
		default:
			put(with(openflow.IPProto(proto), openflow.LaterFragment())...)
		}
	}
	return fs
}

// ends match a rule's addresses of one IP version.
func ends(r intent.ACLRule, six bool) []openflow.Field {
	var fs []openflow.Field
	add := func(v4, v6 openflow.FieldID, p netip.Prefix) {
		if p.IsValid() && p.Bits() > 0 && p.Addr().Is6() == six {
			fs = append(fs, inPrefix(v4, v6, p))
		}
	}
	add(openflow.FieldIPv4Src, openflow.FieldIPv6Src, r.Source)
	add(openflow.FieldIPv4Dst, openflow.FieldIPv6Dst, r.Destination)
	return fs
}
