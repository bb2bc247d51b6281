package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Ethernet types, IP protocols and ICMPv6 types in use.
const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherRARP  = 0x8035
	etherIPv6  = 0x86dd
	protoUDP   = 17
	protoICMP6 = 58

	icmp6RouterAdvertisement   = 134 // RFC 4861
	icmp6NeighborSolicitation  = 135
	icmp6NeighborAdvertisement = 136
	icmp6Redirect              = 137
	icmp6MLDv2Report           = 143 // RFC 3810
)

// admissionBase drops the ICMPv6 messages that only routers may send, and
// those that have flows of their own above, before the flows that admit by
// source address.
func (p pipeline) admissionBase() []openflow.Flow {
	var fs []openflow.Flow
	for _, t := range []uint8{icmp6RouterAdvertisement, icmp6NeighborSolicitation, icmp6NeighborAdvertisement, icmp6Redirect} {
		fs = append(fs, flow(tableAdmission, 150, cookieMark,
			openflow.NewMatch(openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(t)), openflow.Instructions{}))
	}
	return fs
}

// admit lets a port send only as itself. A port without addresses is an L2
// port: its MAC alone is checked.
func (p pipeline) admit(l overlay.LocalPort) []openflow.Flow {
	c := macCookie(l.VNI, l.MAC)
	var fs []openflow.Flow
	let := func(priority uint16, next uint8, match ...openflow.Field) {
		match = append(match, openflow.InPort(l.OFPort), openflow.EthSrc(l.MAC))
		fs = append(fs, flow(tableAdmission, priority, c, openflow.NewMatch(match...), openflow.NewInstructions(openflow.GotoTable(next))))
	}
	ip := p.next(tableAdmission, l)
	if len(l.Addresses) == 0 {
		let(200, ip)
		let(210, tableARP, openflow.EthType(etherARP))
		if l.Routing != nil { // the gateway is to be found
			let(210, tableND, openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6NeighborSolicitation))
		}
		return fs
	}
	// By RARP a VM that arrives announces its MAC; it says nothing of addresses.
	let(100, tableLocal, openflow.EthType(etherRARP))
	v4, v6 := false, false
	for _, a := range l.Addresses {
		if a.Is4() {
			v4 = true
			let(100, ip, openflow.EthType(etherIPv4), openflow.IPv4Src(a))
			let(100, tableARP, openflow.EthType(etherARP), openflow.ARPSHA(l.MAC), openflow.ARPSPA(a))
			// A probe for an address of its own (RFC 5227 section 2.1.1).
			let(100, tableARP, openflow.EthType(etherARP), openflow.ARPSHA(l.MAC), openflow.ARPSPA(netip.IPv4Unspecified()), openflow.ARPTPA(a))
			continue
		}
		v6 = true
		admitIPv6(let, ip, l, a)
	}
	for _, s := range p.sources(l) {
		let(90, ip, s...)
	}
	if v4 {
		// A DHCP client that has no address yet (RFC 2131 section 4.1).
		let(100, tableLocal, openflow.EthType(etherIPv4), openflow.IPProto(protoUDP), openflow.IPv4Src(netip.IPv4Unspecified()),
			openflow.UDPSrc(68), openflow.UDPDst(67))
	}
	if v6 {
		admitIPv6(let, ip, l, l.MAC.LinkLocal())
		// Listener reports before the link-local address is confirmed (RFC
		// 3590).
		let(160, tableLocal, openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6MLDv2Report), openflow.IPv6Src(netip.IPv6Unspecified()))
	}
	return fs
}

// admitIPv6 lets a port send from one IPv6 address, ask for neighbours as that
// address, look for duplicates of it and advertise it (RFC 4861, RFC 4862
// section 5.4).
func admitIPv6(let func(uint16, uint8, ...openflow.Field), ip uint8, l overlay.LocalPort, a netip.Addr) {
	let(100, ip, openflow.EthType(etherIPv6), openflow.IPv6Src(a))
	nd := func(next uint8, t uint8, more ...openflow.Field) {
		let(160, next, append(more, openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(t), openflow.ICMPv6Code(0))...)
	}
	// The link-layer address option may be left out in unicast messages; it
	// then reads as zero.
	for _, ll := range [][6]byte{l.MAC, {}} {
		nd(tableND, icmp6NeighborSolicitation, openflow.IPv6Src(a), openflow.NDSLL(ll))
		nd(tableLocal, icmp6NeighborAdvertisement, openflow.IPv6Src(a), openflow.NDTarget(a), openflow.NDTLL(ll))
	}
	nd(tableND, icmp6NeighborSolicitation, openflow.IPv6Src(netip.IPv6Unspecified()), openflow.NDTarget(a))
}

// sources match what a port may send as next hop of static routes: what comes
// from where they lead.
func (p pipeline) sources(l overlay.LocalPort) [][]openflow.Field {
	if l.Routing == nil {
		return nil
	}
	var out [][]openflow.Field
	for _, s := range l.Routing.Sources {
		id := openflow.FieldIPv6Src
		if s.Addr().Is4() {
			id = openflow.FieldIPv4Src
		}
		match := []openflow.Field{ofFamily(s.Addr())}
		if in, ok := openflow.InPrefix(id, s); ok {
			match = append(match, in)
		}
		out = append(out, match)
	}
	return out
}
