package vswitch

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Why a packet is not routed, in the reason register.
const (
	timeExceeded    uint32 = 1
	netUnreachable  uint32 = 2
	hostUnreachable uint32 = 3
	portUnreachable uint32 = 4
	prohibited      uint32 = 5
)

// icmpErrors are the ICMP types and codes of the reasons, for IPv4 and IPv6 (RFC
// 792, RFC 4443).
var icmpErrors = map[uint32]struct{ v4, v6 [2]byte }{
	timeExceeded:    {[2]byte{11, 0}, [2]byte{3, 0}},
	netUnreachable:  {[2]byte{3, 0}, [2]byte{1, 0}},
	hostUnreachable: {[2]byte{3, 1}, [2]byte{1, 3}},
	portUnreachable: {[2]byte{3, 3}, [2]byte{1, 4}},
	prohibited:      {[2]byte{3, 13}, [2]byte{1, 5}}, // RFC 1812 section 5.3.9
}

// refuse has the sender told why its packet is not routed.
func refuse(reason uint32) openflow.Instructions {
	return openflow.NewInstructions(openflow.Apply(openflow.SetField(openflow.Reg(reasonReg, reason))), openflow.GotoTable(tableICMP))
}

// ICMP errors of a port per second, and at once (RFC 1812 section 4.3.2.8, RFC
// 4443 section 2.4 f).
const (
	icmpRate  = 20
	icmpBurst = 20
)

// report sends what a port sent and nobody can route to the controller: the
// switch can't make ICMP errors itself.
func (p pipeline) report(l overlay.LocalPort) openflow.Flow {
	return flow(tableICMP, 100, macCookie(l.VNI, l.MAC), openflow.NewMatch(openflow.InPort(l.OFPort)),
		openflow.NewInstructions(openflow.Apply(openflow.MeterBy(meterID(l.OFPort, meterICMP)), openflow.Controller())))
}

// Lengths of headers, in octets.
const (
	ethernetLen = 14
	ipv4Len     = 20
	ipv6Len     = 40

	icmpMost4 = 576  // an ICMP error's IP packet at most (RFC 1812 section 4.3.2.3)
	icmpMost6 = 1280 // RFC 4443 section 2.4 c
)

// icmpError is the frame that tells the sender of a frame, a port of ours, why it
// was not routed. It comes from the gateway of the sender's network. There is
// none for what must not be answered (RFC 1812 section 4.3.2.7, RFC 4443 section
// 2.4 e).
func icmpError(l overlay.LocalPort, reason uint32, f []byte) []byte {
	e, ok := icmpErrors[reason]
	if !ok || l.Routing == nil || len(f) < ethernetLen || f[0]&1 == 1 {
		return nil
	}
	src := intent.MAC(f[6:12])
	switch ip := f[ethernetLen:]; binary.BigEndian.Uint16(f[12:]) {
	case etherIPv4:
		if to, ok := answerable4(ip); ok {
			return icmpFrame4(l, e.v4, src, to, ip[:min(len(ip), int(binary.BigEndian.Uint16(ip[2:])))])
		}
	case etherIPv6:
		if to, ok := answerable6(ip); ok {
			return icmpFrame6(l, e.v6, src, to, ip[:min(len(ip), ipv6Len+int(binary.BigEndian.Uint16(ip[4:])))])
		}
	}
	return nil
}

// isStation reports whether an address is that of one station.
func isStation(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// answerable4 returns the source of an IPv4 packet that an ICMP error may answer:
// a first fragment, from and to one station, and no ICMP error itself.
func answerable4(ip []byte) (src netip.Addr, ok bool) {
	if len(ip) < ipv4Len || ip[0]>>4 != 4 {
		return src, false
	}
	header := int(ip[0]&15) * 4
	src, dst := netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
	switch {
	case header < ipv4Len || len(ip) < header || int(binary.BigEndian.Uint16(ip[2:])) < header:
		return src, false
	case !isStation(src) || !isStation(dst), binary.BigEndian.Uint16(ip[6:])&0x1fff != 0:
		return src, false
	case ip[9] != protoICMP:
		return src, true
	}
	if len(ip) <= header {
		return src, false
	}
	t := ip[header]
	return src, t == icmpEcho || t == icmpEchoReply || t >= 13 && t <= 18 // queries (RFC 792)
}

// answerable6 is answerable4 of an IPv6 packet. Of packets with extension headers
// that can't be seen through, those are answered that are surely no ICMP errors.
func answerable6(ip []byte) (src netip.Addr, ok bool) {
	if len(ip) < ipv6Len || ip[0]>>4 != 6 {
		return src, false
	}
	src, dst := netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
	if !isStation(src) || !isStation(dst) {
		return src, false
	}
	proto, at := ip[6], ipv6Len
	for range 8 {
		switch proto {
		case protoICMP6:
			return src, len(ip) > at && ip[at] >= 128 // informational
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(ip) < at+8 {
				return src, false
			}
			proto, at = ip[at], at+8+8*int(ip[at+1])
		case 44: // fragment
			if len(ip) < at+8 || binary.BigEndian.Uint16(ip[at+2:])&0xfff8 != 0 {
				return src, false
			}
			proto, at = ip[at], at+8
		default:
			return src, true
		}
	}
	return src, false
}

// gatewayFor is the gateway's address that a sender knows: of its own subnet, else
// any of the family.
func gatewayFor(l overlay.LocalPort, sender netip.Addr) netip.Addr {
	var any netip.Addr
	for _, g := range l.Routing.Gateways {
		if s, ok := l.Routing.VRF.Subnet(g); ok && s.Prefix.Contains(sender) {
			return g
		}
		if !any.IsValid() && g.Is4() == sender.Is4() {
			any = g
		}
	}
	if !any.IsValid() && sender.Is6() {
		return intent.GatewayMAC.LinkLocal()
	}
	return any
}

func icmpFrame4(l overlay.LocalPort, e [2]byte, mac intent.MAC, to netip.Addr, packet []byte) []byte {
	from := gatewayFor(l, to)
	if !from.Is4() {
		return nil
	}
	icmp := slices.Concat([]byte{e[0], e[1], 0, 0, 0, 0, 0, 0}, packet[:min(len(packet), icmpMost4-ipv4Len-8)])
	binary.BigEndian.PutUint16(icmp[2:], checksum(even(icmp)))
	ip := []byte{0x45, 0xc0, 0, 0, 0, 0, 0, 0, gatewayTTL, protoICMP, 0, 0} // internetwork control (RFC 1812 section 4.3.2.5)
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Len+len(icmp)))
	ip = slices.Concat(ip, from.AsSlice(), to.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return frame(mac, intent.GatewayMAC, etherIPv4, slices.Concat(ip, icmp))
}

func icmpFrame6(l overlay.LocalPort, e [2]byte, mac intent.MAC, to netip.Addr, packet []byte) []byte {
	from := gatewayFor(l, to)
	icmp := slices.Concat([]byte{e[0], e[1], 0, 0, 0, 0, 0, 0}, packet[:min(len(packet), icmpMost6-ipv6Len-8)])
	pseudo := slices.Concat(from.AsSlice(), to.AsSlice(), binary.BigEndian.AppendUint32(nil, uint32(len(icmp))), []byte{0, 0, 0, protoICMP6}, icmp)
	binary.BigEndian.PutUint16(icmp[2:], checksum(even(pseudo)))
	ip := []byte{0x60, 0, 0, 0, 0, 0, protoICMP6, gatewayTTL}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(icmp)))
	return frame(mac, intent.GatewayMAC, etherIPv6, slices.Concat(ip, from.AsSlice(), to.AsSlice(), icmp))
}

// even pads to an even number of octets, as the Internet checksum is defined (RFC
// 1071 section 4.1).
func even(b []byte) []byte {
	if len(b)%2 == 1 {
		return append(slices.Clip(b), 0)
	}
	return b
}
