package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Flags and options of neighbour advertisements (RFC 4861 sections 4.4, 4.6).
const (
	ndSolicitedOverride     = 0x60000000
	ndOptionTargetLinkLayer = 2
)

// ndBase lets solicitations go their way that nobody here can answer, such as
// those for link-local addresses, and sends the answers: the target link-layer
// address may only be set where the match says that the packet is an
// advertisement, hence in a table of its own.
func (p pipeline) ndBase() []openflow.Flow {
	return []openflow.Flow{
		flow(tableND, 0, cookieMark, openflow.NewMatch(), openflow.NewInstructions(openflow.GotoTable(tableLocal))),
		flow(tableNDReply, 100, cookieMark,
			openflow.NewMatch(openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6NeighborAdvertisement)),
			openflow.NewInstructions(openflow.Apply(openflow.Move(openflow.FieldEthSrc, openflow.FieldNDTLL), openflow.Output(openflow.PortInPort)))),
	}
}

// ndOwn lets duplicate address detection of a port's own addresses go to the
// others.
func (p pipeline) ndOwn(l overlay.LocalPort) []openflow.Flow {
	var fs []openflow.Flow
	for _, a := range l.Addresses {
		if a.Is6() {
			fs = append(fs, flow(tableND, 110, macCookie(l.VNI, l.MAC),
				openflow.NewMatch(openflow.InPort(l.OFPort), openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6),
					openflow.ICMPv6Type(icmp6NeighborSolicitation), openflow.NDTarget(a)),
				openflow.NewInstructions(openflow.GotoTable(tableLocal))))
		}
	}
	return fs
}

// answerND turns a solicitation for the row's address into the advertisement,
// which the next table sends back.
func (p pipeline) answerND(v intent.VNI, r evpn.Row) openflow.Flow {
	return flow(tableND, 100, macCookie(v, r.MAC),
		openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6),
			openflow.ICMPv6Type(icmp6NeighborSolicitation), openflow.NDTarget(r.IP)),
		openflow.NewInstructions(openflow.Apply(advertise(r.MAC, r.IP)...), openflow.GotoTable(tableNDReply)))
}

// advertise turns a solicitation into the advertisement that a MAC has the address,
// but for the target link-layer address.
func advertise(m intent.MAC, a netip.Addr) []openflow.Action {
	return []openflow.Action{
		openflow.Move(openflow.FieldEthSrc, openflow.FieldEthDst),
		openflow.SetField(openflow.EthSrc(m)),
		openflow.Move(openflow.FieldIPv6Src, openflow.FieldIPv6Dst),
		openflow.SetField(openflow.IPv6Src(a)),
		openflow.SetField(openflow.ICMPv6Type(icmp6NeighborAdvertisement)),
		openflow.SetField(openflow.NDReserved(ndSolicitedOverride)),
		openflow.SetField(openflow.NDOptionsType(ndOptionTargetLinkLayer)),
	}
}
