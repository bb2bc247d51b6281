package vswitch

import (
	"fmt"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
	"github.com/weft-sdn/weft/southbound/service"
)

const (
	icmp6RouterSolicitation = 133 // RFC 4861

	priorityRogue   = 120 // in the service table
	priorityRequest = 110
)

// services sends what a port asks the network to the controller, no faster than
// its meter says, and drops what only a server or router may send: each kind by a
// flow of its own, whose counter says who tried. All else goes on.
func (p pipeline) services(l overlay.LocalPort) []openflow.Flow {
	if l.Services == nil {
		return nil
	}
	c := macCookie(l.VNI, l.MAC)
	fs := []openflow.Flow{flow(tableService, 1, c, openflow.NewMatch(openflow.InPort(l.OFPort)), openflow.NewInstructions(openflow.GotoTable(p.next(tableService, l))))}
	for _, r := range p.rogues(l) {
		fs = append(fs, r.flow)
	}
	ask := openflow.NewInstructions(openflow.Apply(openflow.MeterBy(meterID(l.OFPort, meterService)), openflow.Controller()))
	request := func(match ...openflow.Field) {
		fs = append(fs, flow(tableService, priorityRequest, c, openflow.NewMatch(append(match, openflow.InPort(l.OFPort))...), ask))
	}
	if l.Services.Has(true) {
		request(openflow.EthType(etherIPv4), openflow.IPProto(protoUDP), openflow.UDPDst(service.PortServer4))
		fs = append(fs, p.serverARP(l)...)
	}
	if l.Services.Has(false) {
		request(openflow.EthType(etherIPv6), openflow.IPProto(protoUDP), openflow.UDPDst(service.PortServer6))
		request(openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6RouterSolicitation))
	}
	return fs
}

// rogue is a flow that drops what a server or router would send.
type rogue struct {
	what string
	flow openflow.Flow
}

// rogues are the flows that shield others from a port that plays server or router
// (RFC 7610, RFC 6105).
func (p pipeline) rogues(l overlay.LocalPort) []rogue {
	var rs []rogue
	drop := func(what string, match ...openflow.Field) {
		rs = append(rs, rogue{what, flow(tableService, priorityRogue, macCookie(l.VNI, l.MAC),
			openflow.NewMatch(append(match, openflow.InPort(l.OFPort))...), openflow.Instructions{})})
	}
	drop("DHCPv4 from a server's port", openflow.EthType(etherIPv4), openflow.IPProto(protoUDP), openflow.UDPSrc(service.PortServer4))
	drop("DHCPv4 to a client", openflow.EthType(etherIPv4), openflow.IPProto(protoUDP), openflow.UDPDst(service.PortClient4))
	drop("DHCPv6 from a server's port", openflow.EthType(etherIPv6), openflow.IPProto(protoUDP), openflow.UDPSrc(service.PortServer6))
	drop("DHCPv6 to a client", openflow.EthType(etherIPv6), openflow.IPProto(protoUDP), openflow.UDPDst(service.PortClient6))
	drop("router advertisements", openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6RouterAdvertisement))
	return rs
}

// admitRequests lets through admission what stations ask before they have an
// address, and what is to be counted as a rogue router's.
func admitRequests(let func(uint16, uint8, ...openflow.Field), l overlay.LocalPort) {
	if l.Services == nil {
		return
	}
	let(155, tableService, openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6RouterAdvertisement))
	if l.Services.Has(false) {
		let(160, tableService, openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6RouterSolicitation), openflow.IPv6Src(netip.IPv6Unspecified()))
	}
}

// serverARP answers ARP for the address of DHCPv4 in subnets without a router, so
// that stations renew by unicast.
func (p pipeline) serverARP(l overlay.LocalPort) []openflow.Flow {
	for _, n := range l.Services.Subnets {
		if n.Prefix.Addr().Is4() && !n.Gateway.IsValid() {
			return []openflow.Flow{flow(tableARP, 105, macCookie(l.VNI, l.MAC),
				openflow.NewMatch(openflow.InPort(l.OFPort), openflow.EthType(etherARP), openflow.ARPOp(arpRequest), openflow.ARPTPA(service.ServerAddress)),
				openflow.NewInstructions(openflow.Apply(reply(intent.GatewayMAC, service.ServerAddress)...)))}
		}
	}
	return nil
}

// flooded says what a port that asks too much is told of.
func flooded(l overlay.LocalPort, dropped uint64) string {
	return fmt.Sprintf("%s asks for DHCP or routers faster than %d times a second: %d requests dropped at the switch so far", l.Port, serviceRate, dropped)
}
