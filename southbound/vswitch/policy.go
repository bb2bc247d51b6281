package vswitch

import (
	"encoding/binary"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// The tables of a direction: connection tracking, its answer and the groups of the
// other side, the policy's rules, and what follows from the verdict.
type filter struct {
	track, peers, rules, verdict uint8
	direction                    intent.Direction
}

var (
	egress  = filter{tableTrackOut, tablePeersOut, tableRulesOut, tableVerdictOut, intent.Egress}
	ingress = filter{tableTrackIn, tablePeersIn, tableRulesIn, tableVerdictIn, intent.Ingress}
)

// Registers of policies. Of register 7 bit 0 says that the packet may pass, bit 1
// that a rule says so and not the state of its connection, and bit 4 of what a port
// sends that it may be routed, bit 5 that its network has ACLs; bit 6 says that the
// packet's other side is looked up in another domain than the port's. Each has bits
// of its own, for all of them are matched at once.
const (
	regPort    = 3
	regPolicy  = 4
	regDomain  = 6
	regVerdict = 7
	wideGroups = 2 // the registers 8 to 11

	mayPass  = 1 << 0
	byRule   = 1 << 1
	routable = 1 << 4
	bordered = 1 << 5
	foreign  = 1 << 6
)

// blocked is the mark of a connection that was allowed and is not any more: what
// answers it is dropped.
const blocked = 1

const (
	protoICMP     = 1
	protoIGMP     = 2
	protoTCP      = 6
	protoFragment = 44 // as which Open vSwitch sees later fragments of IPv6
	protoSCTP     = 132
	dhcpServer    = 67
	dhcpClient    = 68
	dhcp6Servr    = 547
	dhcp6Clnt     = 546

	icmp6ListenerQuery     = 130 // RFC 2710
	icmp6ListenerReport    = 131
	icmp6ListenerDone      = 132
	icmp6RouterSolicit     = 133 // RFC 4861
	policyPriority         = 100
	denialPriority         = 1
	untrackedPriority      = 200
	echoOfBroadcastPrority = 250
)

// guardBase are the flows of connection tracking that all policies of an edge
// share; crossed says that some of the ports' networks have ACLs.
func guardBase(crossed bool) []openflow.Flow {
	return append(append(egress.base(crossed), ingress.base(crossed)...), untracked()...)
}

func ip4(fs ...openflow.Field) []openflow.Field {
	return append(fs, openflow.EthType(etherIPv4))
}

func ip6(fs ...openflow.Field) []openflow.Field {
	return append(fs, openflow.EthType(etherIPv6))
}

// zone is the conntrack zone of the port that is judged: each port has its own, so
// that two ports of one edge are judged separately.
func (d filter) zone() openflow.Zone {
	if d.direction == intent.Egress {
		return openflow.ZoneInPort()
	}
	return openflow.ZoneReg(regPort)
}

// base are the flows of a direction that all policies share. Packets of the
// direction in which a connection began are judged by the rules, each of them;
// answers, and the errors that belong to a connection, pass as long as it is not
// marked.
func (d filter) base(crossed bool) []openflow.Flow {
	var fs []openflow.Flow
	put := func(table uint8, priority uint16, m []openflow.Field, is ...openflow.Instruction) {
		fs = append(fs, flow(table, priority, cookieMark, openflow.NewMatch(m...), openflow.NewInstructions(is...)))
	}
	match := func(fs ...openflow.Field) []openflow.Field { return fs }
	pass := openflow.Apply(openflow.SetField(openflow.Reg(regVerdict, mayPass)))
	if d.direction == intent.Egress {
		pass = openflow.Apply(openflow.SetField(bit(regVerdict, mayPass)))
	}
	put(d.peers, 310, match(openflow.MatchCTState(openflow.CTTracked|openflow.CTInvalid, 0)))
	for _, s := range []openflow.CTState{openflow.CTReply, openflow.CTRelated} {
		put(d.peers, 300, match(openflow.MatchCTState(openflow.CTTracked|s, 0), openflow.CTMark(blocked)))
		put(d.peers, 290, match(openflow.MatchCTState(openflow.CTTracked|s, 0)), pass, openflow.GotoTable(d.verdict))
	}
	put(d.peers, 0, nil, openflow.GotoTable(d.rules))
	for _, family := range []func(...openflow.Field) []openflow.Field{ip4, ip6} {
		put(d.verdict, 200, family(bit(regVerdict, 0, mayPass), openflow.MatchCTState(openflow.CTTracked|openflow.CTEstablished, 0), openflow.CTMark(0)),
			openflow.Apply(openflow.Commit(d.zone(), openflow.CTMark(blocked))))
		for _, way := range d.onward(crossed) {
			put(d.verdict, 150, family(way.when(mayPass|byRule), openflow.MatchCTState(openflow.CTTracked|openflow.CTNew, 0)),
				openflow.Apply(openflow.Commit(d.zone())), openflow.GotoTable(way.table))
			put(d.verdict, 150, family(way.when(mayPass|byRule), openflow.MatchCTState(openflow.CTTracked|openflow.CTEstablished, 0), openflow.CTMark(blocked)),
				openflow.Apply(openflow.Commit(d.zone(), openflow.CTMark(0))), openflow.GotoTable(way.table))
		}
	}
	for _, way := range d.onward(crossed) {
		put(d.verdict, 100, match(way.when(mayPass)), openflow.GotoTable(way.table))
	}
	return fs
}

// bit matches or sets bits of a register that are set, among those of mask, or of
// the bits themselves.
func bit(reg int, value uint32, mask ...uint32) openflow.Field {
	m := value
	if len(mask) > 0 {
		m = mask[0]
	}
	return openflow.Reg(reg, value).Masked(binary.BigEndian.AppendUint32(nil, m))
}

// exit is a way on for what may pass: the table, and the bits of the verdict that
// say so.
type exit struct {
	table       uint8
	value, mask uint32
}

// when matches the verdict: the bits of pass, and those of the exit.
func (e exit) when(pass uint32) openflow.Field {
	return bit(regVerdict, pass|e.value, pass|e.mask)
}

// onward are the ways on: of what a port sends to the router or the next table, and
// to ACLs if crossed says that networks of such ports have some; of what it receives
// to the port.
func (d filter) onward(crossed bool) []exit {
	if d.direction == intent.Ingress {
		return []exit{{table: tableDeliver}}
	}
	ways := []exit{{tableLocal, 0, routable | bordered}, {tableRouter, routable, routable | bordered}}
	if crossed {
		ways = append(ways, exit{tableSubnetOut, bordered, routable | bordered})
	}
	return ways
}

// untracked are the flows of what no rule judges: what is no IP, and what IP itself
// needs: neighbour discovery, router advertisements (no port may send these, see
// admission), group membership, and a client's DHCP. It passes by the meter of what
// a port receives: in a flood, where others come after it in the list, a meter that
// drops would end that. What is left when a port has no flow of its own is dropped.
func untracked() []openflow.Flow {
	var fs []openflow.Flow
	let := func(d filter, next uint8, match ...openflow.Field) {
		fs = append(fs, flow(d.track, untrackedPriority, cookieMark, openflow.NewMatch(match...), past(next)))
	}
	icmp6 := func(t uint8) []openflow.Field {
		return ip6(openflow.IPProto(protoICMP6), openflow.ICMPv6Type(t))
	}
	for _, t := range []uint8{icmp6RouterSolicit, icmp6NeighborSolicitation, icmp6NeighborAdvertisement, icmp6ListenerReport, icmp6ListenerDone, icmp6MLDv2Report} {
		let(egress, tableLocal, icmp6(t)...)
	}
	for _, t := range []uint8{icmp6RouterAdvertisement, icmp6NeighborSolicitation, icmp6NeighborAdvertisement, icmp6ListenerQuery} {
		let(ingress, tableDeliver, icmp6(t)...)
	}
	let(egress, tableLocal, ip4(openflow.IPProto(protoIGMP))...)
	let(ingress, tableDeliver, ip4(openflow.IPProto(protoIGMP))...)
	udp := openflow.IPProto(protoUDP)
	let(egress, tableLocal, ip4(openflow.EthGroup(), udp, openflow.UDPSrc(dhcpClient), openflow.UDPDst(dhcpServer))...)
	let(egress, tableLocal, ip6(openflow.EthGroup(), udp, openflow.UDPSrc(dhcp6Clnt), openflow.UDPDst(dhcp6Servr))...)
	let(ingress, tableDeliver, ip4(udp, openflow.UDPSrc(dhcpServer), openflow.UDPDst(dhcpClient))...)
	let(ingress, tableDeliver, ip6(udp, openflow.UDPSrc(dhcp6Servr), openflow.UDPDst(dhcp6Clnt))...)
	for _, d := range []filter{egress, ingress} {
		for _, m := range [][]openflow.Field{ip4(), ip6()} {
			fs = append(fs, flow(d.track, 10, cookieMark, openflow.NewMatch(m...), openflow.Instructions{}))
		}
		next := uint8(tableLocal)
		if d.direction == intent.Ingress {
			next = tableDeliver
		}
		fs = append(fs, flow(d.track, 0, cookieMark, openflow.NewMatch(), past(next)))
	}
	return append(fs,
		flow(tableDeliver, 0, cookieMark, openflow.NewMatch(), openflow.NewInstructions(openflow.Apply(openflow.OutputReg(regPort)))))
}

// past is how what is not judged goes on.
func past(next uint8) openflow.Instructions {
	if next == tableDeliver {
		return openflow.NewInstructions(openflow.Apply(openflow.OutputReg(regPort)))
	}
	return openflow.NewInstructions(openflow.GotoTable(next))
}

// guardPort are the flows of a port with a policy: its packets' connections are
// looked up in its own zone, whose number is its port number. A broadcast that the
// port sent itself does not come back to be judged.
func (p pipeline) guardPort(l overlay.LocalPort) []openflow.Flow {
	if l.Policy == nil {
		return nil
	}
	c := macCookie(l.VNI, l.MAC)
	number := p.guard.numberOf(l)
	known := []openflow.Action{openflow.SetField(openflow.Reg(regPolicy, number)), openflow.SetField(openflow.Reg(regDomain, uint32(l.Domain))),
		openflow.SetField(openflow.WideReg(wideGroups, [16]byte{}))}
	verdict := uint32(0)
	switch p.next(tableVerdictOut, l) {
	case tableRouter:
		verdict = routable
	case tableSubnetOut:
		verdict = bordered
	}
	fs := []openflow.Flow{flow(tableTrackIn, echoOfBroadcastPrority, c,
		openflow.NewMatch(openflow.InPort(l.OFPort), openflow.Reg(regPort, l.OFPort)), openflow.Instructions{})}
	for _, family := range []uint16{etherIPv4, etherIPv6} {
		out := append(known[:len(known):len(known)], openflow.SetField(openflow.Reg(regVerdict, verdict)), openflow.Track(openflow.ZoneNumber(uint16(l.OFPort)), tablePeersOut))
		in := append(known[:len(known):len(known)], openflow.SetField(openflow.Reg(regVerdict, 0)), openflow.Track(openflow.ZoneNumber(uint16(l.OFPort)), tablePeersIn))
		fs = append(fs,
			flow(tableTrackOut, policyPriority, c, openflow.NewMatch(openflow.InPort(l.OFPort), openflow.EthType(family)), openflow.NewInstructions(openflow.Apply(out...))),
			flow(tableTrackIn, policyPriority, c, openflow.NewMatch(openflow.Reg(regPort, l.OFPort), openflow.EthType(family)), openflow.NewInstructions(openflow.Apply(in...))))
	}
	return fs
}

// denials are the flows of what no rule of a policy allows: they only count, but
// that of a policy without egress rules lets everything out.
func (g *guard) denials(number uint32, p *overlay.Policy) []openflow.Flow {
	none := func(d filter) openflow.Flow {
		is := openflow.NewInstructions(openflow.GotoTable(d.verdict))
		if d.direction == intent.Egress && !p.Limited {
			is = openflow.NewInstructions(openflow.Apply(openflow.SetField(bit(regVerdict, mayPass|byRule))), openflow.GotoTable(d.verdict))
		}
		return flow(d.rules, denialPriority, policyCookie(number), openflow.NewMatch(openflow.Reg(regPolicy, number)), is)
	}
	return []openflow.Flow{none(ingress), none(egress)}
}

// policyCookie marks the flows of a policy; they belong to no VNI.
func policyCookie(number uint32) uint64 { return cookieMark | uint64(number&(1<<24-1))<<24 }

// rule are the flows of one rule of a policy: one for each IP version and masked
// range of ports, and one beside them that lets later fragments pass, which have no
// ports and in IPv6 no protocol; without the first nobody can put them together, and
// that is judged. Whatever the size of the
// group that a rule names, it is one bit. A rule that names a group without a bit
// allows nothing.
func (g *guard) rule(number uint32, r overlay.PolicyRule) []openflow.Flow {
	d := ingress
	if r.Direction == intent.Egress {
		d = egress
	}
	match := []openflow.Field{openflow.Reg(regPolicy, number)}
	if r.Group != "" {
		slot, ok := g.slots[r.Peer]
		if !ok || r.Peer == 0 {
			return nil
		}
		match = append(match, groupField(groupBits{}.with(slot)))
	}
	var fs []openflow.Flow
	put := func(more ...openflow.Field) {
		fs = append(fs, flow(d.rules, policyPriority, policyCookie(number), openflow.NewMatch(append(match[:len(match):len(match)], more...)...),
			openflow.NewInstructions(openflow.Apply(openflow.SetField(bit(regVerdict, mayPass|byRule))), openflow.GotoTable(d.verdict))))
	}
	proto, limited := r.Protocol.Number()
	v4, v6 := r.Families()
	if !limited && v4 && v6 {
		put()
		return fs
	}
	for _, family := range []struct {
		used, six bool
		ip        []openflow.Field
	}{{v4, false, ip4(cidr(d, r.CIDR, false)...)}, {v6, true, ip6(cidr(d, r.CIDR, true)...)}} {
		if !family.used {
			continue
		}
		if !limited {
			put(family.ip...)
			continue
		}
		is := append(family.ip, openflow.IPProto(proto))
		each := details(proto, intent.PortRange{}, r.Ports, r.ICMPType, r.ICMPCode)
		for _, f := range each {
			put(append(is[:len(is):len(is)], f...)...)
		}
		if family.six {
			is[len(is)-1] = openflow.IPProto(protoFragment)
		}
		if family.six || !all(each) {
			put(append(is, openflow.LaterFragment())...)
		}
	}
	return fs
}

// cidr matches the addresses of the other side.
func cidr(d filter, p netip.Prefix, six bool) []openflow.Field {
	if !p.IsValid() || p.Bits() == 0 || p.Addr().Is6() != six {
		return nil
	}
	return []openflow.Field{otherSide(d, p.Addr()).Prefix(p.Bits())}
}

// otherSide matches the address of the other side.
func otherSide(d filter, a netip.Addr) openflow.Field {
	switch {
	case d.direction == intent.Ingress && a.Is4():
		return openflow.IPv4Src(a)
	case d.direction == intent.Ingress:
		return openflow.IPv6Src(a)
	case a.Is4():
		return openflow.IPv4Dst(a)
	}
	return openflow.IPv6Dst(a)
}

// details are the matches of a rule's ports or ICMP type: one that matches all when
// it has neither. Later fragments of IPv4 look as if their type was zero.
func details(proto uint8, source, destination intent.PortRange, icmpType, icmpCode *uint8) [][]openflow.Field {
	if icmpType != nil {
		t, c := openflow.ICMPType, openflow.ICMPCode
		if proto == protoICMP6 {
			t, c = openflow.ICMPv6Type, openflow.ICMPv6Code
		}
		fs := []openflow.Field{t(*icmpType)}
		if *icmpType == 0 && proto == protoICMP {
			fs = append(fs, openflow.NotLaterFragment())
		}
		if icmpCode != nil {
			fs = append(fs, c(*icmpCode))
		}
		return [][]openflow.Field{fs}
	}
	var out [][]openflow.Field
	for _, s := range portFields(sourcePort[proto], source) {
		for _, d := range portFields(destinationPort[proto], destination) {
			out = append(out, append(s[:len(s):len(s)], d...))
		}
	}
	return out
}

// all reports whether details match whatever the ports and the type.
func all(details [][]openflow.Field) bool { return len(details) == 1 && len(details[0]) == 0 }

var (
	sourcePort      = map[uint8]func(uint16) openflow.Field{protoTCP: openflow.TCPSrc, protoUDP: openflow.UDPSrc, protoSCTP: openflow.SCTPSrc}
	destinationPort = map[uint8]func(uint16) openflow.Field{protoTCP: openflow.TCPDst, protoUDP: openflow.UDPDst, protoSCTP: openflow.SCTPDst}
)

// portFields match a range of ports, as few masked values as that takes; all ports
// by one empty match.
func portFields(port func(uint16) openflow.Field, r intent.PortRange) [][]openflow.Field {
	if r.IsZero() {
		return [][]openflow.Field{nil}
	}
	var out [][]openflow.Field
	for _, m := range maskedPorts(r) {
		f := port(m.value)
		if m.mask != 0xffff {
			f = f.Masked(binary.BigEndian.AppendUint16(nil, m.mask))
		}
		out = append(out, []openflow.Field{f})
	}
	return out
}

// maskedPort matches the ports that equal value in the bits of mask.
type maskedPort struct{ value, mask uint16 }

// maskedPorts are the fewest masked values that cover a range, at most 30.
func maskedPorts(r intent.PortRange) []maskedPort {
	var out []maskedPort
	for first, last := uint32(r.First), uint32(r.Last); first <= last; {
		size := uint32(1)
		for first&(2*size-1) == 0 && first+2*size-1 <= last && size < 1<<15 {
			size *= 2
		}
		out = append(out, maskedPort{uint16(first), uint16(^(size - 1))})
		first += size
	}
	return out
}

// groupField matches a bit of the groups of the other side. The bits are in four
// registers, the lowest in the last.
func groupField(b groupBits) openflow.Field {
	for i := range 4 {
		w := uint32(b[i/2] >> (32 * (i % 2)))
		if w != 0 {
			return bit(8+3-i, w)
		}
	}
	return openflow.Field{}
}

// wide is the wide register with all bits of an address.
func (b groupBits) wide() openflow.Field {
	var v [16]byte
	binary.BigEndian.PutUint64(v[:], b[1])
	binary.BigEndian.PutUint64(v[8:], b[0])
	return openflow.WideReg(wideGroups, v)
}

// memberFlow tells the groups of the other side by its address.
func memberFlow(d filter, domain intent.VNI, ip netip.Addr, bits groupBits) openflow.Flow {
	m := []openflow.Field{openflow.Reg(regDomain, uint32(domain)), otherSide(d, ip)}
	if ip.Is4() {
		m = ip4(m...)
	} else {
		m = ip6(m...)
	}
	return flow(d.peers, policyPriority, cookieMark, openflow.NewMatch(m...), openflow.NewInstructions(openflow.Apply(openflow.SetField(bits.wide())), openflow.GotoTable(d.rules)))
}
