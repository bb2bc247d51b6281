package vtep

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// What stays on the link, whatever the subnets, and is not judged.
var (
	any4, any6  = netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	localScopes = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"),
		netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8")}
)

// ICMPv6 messages of neighbour discovery between addresses that are no link-local
// ones (RFC 4861).
const (
	protoICMP6            = 58
	neighborSolicitation  = 135
	neighborAdvertisement = 136
)

// aclEntries are the entries of the ACL of a network, in their order. What none
// matches the switch allows (vtep(5)): so entries that deny stand at the end of what
// is judged. Seen from the switch, what a station sends is ingress, and what it
// receives egress.
func aclEntries(n *overlay.NetworkACLs) []ovsdb.VTEPEntry {
	var l entryList
	for _, d := range []intent.Direction{intent.Egress, intent.Ingress} {
		l.direction = d
		for _, s := range n.Subnets {
			if s.ACL != nil {
				l.add(entry{permit: true, source: s.Prefix, dest: s.Prefix})
			}
		}
		for _, p := range localScopes {
			l.add(entry{permit: true, source: anyOf(p), dest: p})
		}
		for _, t := range []int{neighborSolicitation, neighborAdvertisement} {
			l.add(entry{permit: true, source: any6, dest: any6, protocol: number(protoICMP6), icmpType: number(t)})
		}
		for _, s := range n.Subnets {
			if s.ACL != nil && s.ACL != n.Rest {
				l.judge(s.ACL, s.Prefix)
			}
		}
		if n.Rest != nil {
			l.judge(n.Rest, any4)
			l.judge(n.Rest, any6)
		}
	}
	return l.entries
}

func anyOf(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4() {
		return any4
	}
	return any6
}

func number(v int) ovsdb.VTEPNumber { return ovsdb.VTEPNumber{Set: true, Value: v} }

// entry is one before it has its place and direction.
type entry struct {
	permit             bool
	source, dest       netip.Prefix
	protocol           ovsdb.VTEPNumber
	sources, dests     intent.PortRange
	icmpType, icmpCode ovsdb.VTEPNumber
}

// entryList makes entries.
type entryList struct {
	direction intent.Direction
	entries   []ovsdb.VTEPEntry
}

func (l *entryList) add(e entry) {
	ports := func(r intent.PortRange) ovsdb.VTEPPorts { return ovsdb.VTEPPorts{Min: int(r.First), Max: int(r.Last)} }
	out := ovsdb.VTEPEntry{Sequence: len(l.entries) + 1, Egress: l.direction == intent.Ingress, Permit: e.permit, Protocol: e.protocol,
		SourcePorts: ports(e.sources), DestPorts: ports(e.dests), ICMPType: e.icmpType, ICMPCode: e.icmpCode}
	out.Source, out.SourceMask = e.source.Addr().String(), mask(e.source)
	out.Dest, out.DestMask = e.dest.Addr().String(), mask(e.dest)
	l.entries = append(l.entries, out)
}

// mask is a prefix's mask as an address.
func mask(p netip.Prefix) string {
	full := netip.MustParseAddr("255.255.255.255")
	if p.Addr().Is6() {
		full = netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	}
	return netip.PrefixFrom(full, p.Bits()).Masked().Addr().String()
}

// judge adds the rules of an ACL for what has its inner end in a subnet, and that
// all else is denied.
func (l *entryList) judge(a *overlay.ACL, subnet netip.Prefix) {
	for _, r := range a.Rules {
		if r.Direction == l.direction {
			l.rule(r, subnet)
		}
	}
	e := entry{source: anyOf(subnet), dest: anyOf(subnet)}
	if l.direction == intent.Egress {
		e.source = subnet
	} else {
		e.dest = subnet
	}
	l.add(e)
}

// rule adds a rule for what has its inner end in a subnet; nothing if it can't.
func (l *entryList) rule(r intent.ACLRule, subnet netip.Prefix) {
	v4, v6 := r.Families()
	if subnet.Addr().Is4() && !v4 || subnet.Addr().Is6() && !v6 {
		return
	}
	e := entry{permit: r.Action == intent.Allow, source: anyOf(subnet), dest: anyOf(subnet), sources: r.SourcePorts, dests: r.Ports}
	if r.Source.IsValid() {
		e.source = r.Source
	}
	if r.Destination.IsValid() {
		e.dest = r.Destination
	}
	inner := &e.dest
	if l.direction == intent.Egress {
		inner = &e.source
	}
	if !inner.Overlaps(subnet) {
		return
	}
	if inner.Bits() < subnet.Bits() {
		*inner = subnet
	}
	if n, ok := r.Protocol.Number(); ok {
		e.protocol = number(int(n))
	}
	if r.ICMPType != nil {
		e.icmpType = number(int(*r.ICMPType))
	}
	if r.ICMPCode != nil {
		e.icmpCode = number(int(*r.ICMPCode))
	}
	l.add(e)
}
