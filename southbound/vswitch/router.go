package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Registers of routing.
const (
	vrfReg     = 5 // the L3VNI of the port's router
	reasonReg  = 6 // which next hop of several; then why a packet can't be routed
	nextHopReg = 3 // 128 bits, registers 12 to 15: next hop, IPv4 as ::ffff:a.b.c.d
)

const (
	icmpEchoReply    = 0 // RFC 792
	icmpEcho         = 8
	icmp6EchoRequest = 128 // RFC 4443
	icmp6EchoReply   = 129

	gatewayTTL = 64 // of what the gateway itself sends
)

var (
	linkLocal4 = netip.MustParsePrefix("169.254.0.0/16")
	linkLocal6 = netip.MustParsePrefix("fe80::/10")
	multicast4 = netip.MustParsePrefix("224.0.0.0/4")
	multicast6 = netip.MustParsePrefix("ff00::/8")
)

// gateway are the flows by which a network's gateway answers for its addresses,
// also for the link-local one, in the tables that answer for stations.
func (p pipeline) gateway(v intent.VNI, r *overlay.Routing) []openflow.Flow {
	if r == nil {
		return nil
	}
	var fs []openflow.Flow
	for _, a := range append([]netip.Addr{intent.GatewayMAC.LinkLocal()}, r.Gateways...) {
		row := evpn.Row{Key: evpn.HostKey(intent.GatewayMAC, a)}
		f := p.answerND
		if a.Is4() {
			f = p.answerARP
		}
		answer := f(v, row)
		answer.Priority, answer.Cookie = 120, cookie(v)
		fs = append(fs, answer)
	}
	return fs
}

// vrf are the flows of a VRF that this edge looks something up in, but for its
// hosts and learned prefixes. It is at home where a port of its networks is.
func (p pipeline) vrf(v *overlay.VRF, home bool) []openflow.Flow {
	if v == nil {
		return nil
	}
	var fs []openflow.Flow
	if home || v.External {
		fs = append(fs, p.classifyRouted(v.VNI))
	}
	if home {
		fs = append(append(fs, p.router(v)...), p.leaks(v)...)
		fs = append(fs, p.bridged(v)...)
	}
	if v.External {
		fs = append(fs, p.outsiders(v.VNI)...)
	}
	fs = append(fs, p.routes(v)...)
	return append(fs, p.unknownHost(v.VNI)...)
}

// classifyRouted takes in what another VTEP routed to this one: frames to its
// router MAC with the L3VNI as tunnel key (RFC 9135 section 6).
func (p pipeline) classifyRouted(v intent.VNI) openflow.Flow {
	return flow(tableClassify, 100, cookie(v),
		openflow.NewMatch(openflow.InPort(p.tunnel(v)), p.key(v), openflow.EthDst(intent.RouterMAC(p.vtep))),
		openflow.NewInstructions(openflow.Apply(openflow.SetField(openflow.Reg(0, fromTunnel)), openflow.SetField(openflow.Reg(vrfReg, uint32(v)))),
			openflow.GotoTable(tableRoute)))
}

// ofFamily matches the IP version of an address.
func ofFamily(a netip.Addr) openflow.Field {
	if a.Is4() {
		return openflow.EthType(etherIPv4)
	}
	return openflow.EthType(etherIPv6)
}

// toAddress matches what is sent to an address.
func toAddress(a netip.Addr) []openflow.Field {
	if a.Is4() {
		return []openflow.Field{ofFamily(a), openflow.IPv4Dst(a)}
	}
	return []openflow.Field{ofFamily(a), openflow.IPv6Dst(a)}
}

// router are the flows of the router table: what ports send to the gateway's MAC.
// It answers echo requests to any gateway of the router, drops what must not be
// forwarded (RFC 1812 section 5.3.7, RFC 4007 section 9), and takes one from the
// TTL of the rest. Other frames go on as if there was no router.
func (p pipeline) router(v *overlay.VRF) []openflow.Flow {
	c := cookie(v.VNI)
	var fs []openflow.Flow
	on := func(priority uint16, ins openflow.Instructions, match ...openflow.Field) {
		match = append(match, openflow.Reg(vrfReg, uint32(v.VNI)), openflow.EthDst(intent.GatewayMAC))
		fs = append(fs, flow(tableRouter, priority, c, openflow.NewMatch(match...), ins))
	}
	own := []netip.Addr{intent.GatewayMAC.LinkLocal()}
	for _, s := range v.Subnets {
		own = append(own, s.Gateway)
	}
	for _, a := range own {
		echo, reply := echoOf(a)
		on(230, reply, append(toAddress(a), echo...)...)
		for _, proto := range []uint8{protoTCP, protoUDP} {
			on(225, refuse(portUnreachable), append(toAddress(a), openflow.IPProto(proto))...)
		}
		on(220, openflow.Instructions{}, toAddress(a)...)
	}
	for _, scope := range []netip.Prefix{linkLocal4, linkLocal6, multicast4, multicast6} {
		src, dst := openflow.FieldIPv4Src, openflow.FieldIPv4Dst
		if scope.Addr().Is6() {
			src, dst = openflow.FieldIPv6Src, openflow.FieldIPv6Dst
		}
		for _, id := range []openflow.FieldID{src, dst} {
			in, _ := openflow.InPrefix(id, scope)
			on(215, openflow.Instructions{}, ofFamily(scope.Addr()), in)
		}
	}
	for _, family := range []uint16{etherIPv4, etherIPv6} {
		for ttl := range uint8(2) {
			on(210, refuse(timeExceeded), openflow.EthType(family), openflow.IPTTL(ttl))
		}
	}
	fs = append(fs, p.forwards(v.VNI)...)
	return append(fs, flow(tableRouter, 0, c, openflow.NewMatch(openflow.Reg(vrfReg, uint32(v.VNI))), openflow.NewInstructions(openflow.GotoTable(tableLocal))))
}

// forwards are the flows through which all goes that a router forwards for the
// stations of this edge, one of each IP version. They count it: nothing changes them
// while the edge has ports of the router's networks.
func (p pipeline) forwards(v intent.VNI) []openflow.Flow {
	var fs []openflow.Flow
	for _, family := range []uint16{etherIPv4, etherIPv6} {
		fs = append(fs, flow(tableRouter, 200, cookie(v), openflow.NewMatch(openflow.EthType(family), openflow.Reg(vrfReg, uint32(v)), openflow.EthDst(intent.GatewayMAC)),
			openflow.NewInstructions(openflow.Apply(openflow.DecTTL()), openflow.GotoTable(tableRoute))))
	}
	return fs
}

// echoOf is what matches an echo request to an address beside the address, and
// what makes the reply of it.
func echoOf(a netip.Addr) (match []openflow.Field, reply openflow.Instructions) {
	turn := []openflow.Action{openflow.Move(openflow.FieldEthSrc, openflow.FieldEthDst), openflow.SetField(openflow.EthSrc(intent.GatewayMAC))}
	if a.Is4() {
		match = []openflow.Field{openflow.IPProto(protoICMP), openflow.ICMPType(icmpEcho), openflow.ICMPCode(0)}
		turn = append(turn, openflow.Move(openflow.FieldIPv4Src, openflow.FieldIPv4Dst), openflow.SetField(openflow.IPv4Src(a)),
			openflow.SetField(openflow.ICMPType(icmpEchoReply)))
	} else {
		match = []openflow.Field{openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6EchoRequest), openflow.ICMPv6Code(0)}
		turn = append(turn, openflow.Move(openflow.FieldIPv6Src, openflow.FieldIPv6Dst), openflow.SetField(openflow.IPv6Src(a)),
			openflow.SetField(openflow.ICMPv6Type(icmp6EchoReply)))
	}
	turn = append(turn, openflow.SetField(openflow.IPTTL(gatewayTTL)), openflow.Output(openflow.PortInPort))
	return match, openflow.NewInstructions(openflow.Apply(turn...))
}
