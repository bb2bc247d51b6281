package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Priorities of what comes from hardware VTEPs for their gateway, above those of
// frames that are only bridged.
const (
	priorityBridged   = 110
	priorityUsurped   = 115 // from the gateway's own addresses
	prioritySolicited = 120
	priorityForgotten = 205 // in the router table
)

// bridged are the flows by which this edge is the gateway of stations behind hardware
// VTEPs, if it is appointed. It needs no port in their networks.
func (p pipeline) bridged(v *overlay.VRF) []openflow.Flow {
	var fs []openflow.Flow
	for _, b := range v.Bridges {
		if b.Gateway != p.vtep {
			continue
		}
		if len(fs) == 0 {
			fs = p.forgetTunnel(v.VNI)
		}
		fs = append(fs, p.bridge(v, b)...)
	}
	return fs
}

// bridge are the flows for one hardware VTEP in one network. What is for the gateway's
// addresses is answered back into the tunnel. What is for its MAC and from an address
// of the network's subnets goes to the router table as if a port had sent it: it may
// enter one tunnel. It stays in the VRF, since what leaves that comes back to where
// conntrack knows it, or by VTEPs that the hardware VTEP does not know.
func (p pipeline) bridge(v *overlay.VRF, b overlay.Bridge) []openflow.Flow {
	var fs []openflow.Flow
	from := func(priority uint16, ins openflow.Instructions, match ...openflow.Field) {
		match = append(match, openflow.InPort(p.tunnels[standardTunnel]), openflow.TunnelID(uint64(b.VNI)), openflow.TunSrc(b.VTEP))
		fs = append(fs, flow(tableClassify, priority, cookie(v.VNI), openflow.NewMatch(match...), ins))
	}
	back := openflow.SetField(openflow.TunDst(b.VTEP))
	routed := openflow.NewInstructions(
		openflow.Apply(back, openflow.SetField(openflow.Reg(vrfReg, uint32(v.VNI))), openflow.SetField(openflow.Reg(leakReg, uint32(v.VNI)))),
		openflow.WriteMetadata(uint64(b.VNI)), openflow.GotoTable(tableRouter))
	toGateway := openflow.EthDst(intent.GatewayMAC)
	neighbours, solicited := []netip.Prefix{linkLocal6}, []netip.Addr{intent.GatewayMAC.LinkLocal()}
	for _, s := range v.Subnets {
		if s.VNI != b.VNI {
			continue
		}
		from(priorityBridged, routed, append(fromPrefix(s.Prefix), toGateway)...)
		from(priorityUsurped, openflow.Instructions{}, append(fromPrefix(netip.PrefixFrom(s.Gateway, s.Gateway.BitLen())), toGateway)...)
		if s.Prefix.Addr().Is6() {
			neighbours, solicited = append(neighbours, s.Prefix), append(solicited, s.Gateway)
			continue
		}
		match := []openflow.Field{openflow.EthType(etherARP), openflow.ARPOp(arpRequest), openflow.ARPTPA(s.Gateway)}
		if in, ok := openflow.InPrefix(openflow.FieldARPSPA, s.Prefix); ok {
			match = append(match, in)
		}
		from(prioritySolicited, openflow.NewInstructions(openflow.Apply(append([]openflow.Action{back}, reply(intent.GatewayMAC, s.Gateway)...)...)), match...)
	}
	if len(solicited) > 1 { // the network has IPv6
		from(priorityBridged, routed, append(fromPrefix(linkLocal6), toGateway)...)
		for _, a := range solicited {
			answer := openflow.NewInstructions(openflow.Apply(append([]openflow.Action{back}, advertise(intent.GatewayMAC, a)...)...), openflow.GotoTable(tableNDReply))
			for _, n := range neighbours {
				from(prioritySolicited, answer, append(fromPrefix(n), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6NeighborSolicitation), openflow.NDTarget(a))...)
			}
		}
	}
	return append(fs, flow(tableICMP, 100, cookie(v.VNI), openflow.NewMatch(openflow.Metadata(uint64(b.VNI)), openflow.TunSrc(b.VTEP)),
		openflow.NewInstructions(openflow.Apply(openflow.MeterBy(meterID(p.tunnels[standardTunnel], meterICMP)), openflow.Controller()))))
}

// forgetTunnel has what this edge forwards for hardware VTEPs come from no port, so
// that it may leave by the tunnel port that it came in by.
func (p pipeline) forgetTunnel(v intent.VNI) []openflow.Flow {
	var fs []openflow.Flow
	for _, family := range []uint16{etherIPv4, etherIPv6} {
		fs = append(fs, flow(tableRouter, priorityForgotten, cookie(v),
			openflow.NewMatch(openflow.InPort(p.tunnels[standardTunnel]), openflow.EthType(family), openflow.Reg(vrfReg, uint32(v)), openflow.EthDst(intent.GatewayMAC)),
			openflow.NewInstructions(openflow.Apply(openflow.ForgetInPort(), openflow.Resubmit(tableRouter)))))
	}
	return fs
}

// isBridge reports whether a flow is one that bridged makes. Those that a switch has
// are kept until all edges have reported: who is appointed follows from them all.
func isBridge(f openflow.Flow) bool {
	_, tunnel := f.Match.Get(openflow.FieldTunIPv4Src)
	return tunnel && (f.Table == tableClassify || f.Table == tableICMP) || f.Table == tableRouter && f.Priority == priorityForgotten
}

// bridgeMeter limits the ICMP errors to stations behind hardware VTEPs, of all of
// them together. A switch with routed ports has it, appointed or not, for it must not
// go before the flows that use it.
func (p pipeline) bridgeMeter() openflow.Meter {
	return openflow.Meter{ID: meterID(p.tunnels[standardTunnel], meterICMP), Packets: true, Rate: icmpRate, Burst: icmpBurst}
}

// bridgeAt is the gateway that stations of a segment behind a hardware VTEP have
// here, as the switch has it.
func (d *Driver) bridgeAt(v intent.VNI, vtep netip.Addr) (*overlay.Routing, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.ports {
		if l.Routing == nil {
			continue
		}
		for _, b := range l.Routing.VRF.Bridges {
			if b.VNI != v || b.VTEP != vtep || b.Gateway != d.vtep {
				continue
			}
			r := &overlay.Routing{VRF: l.Routing.VRF}
			for _, s := range r.VRF.Subnets {
				if s.VNI == v {
					r.Gateways = append(r.Gateways, s.Gateway)
				}
			}
			return r, true
		}
	}
	return nil, false
}

// bridgeAnswer makes the ICMP error for a packet of a station behind a hardware VTEP.
func (s *connection) bridgeAnswer(p openflow.PacketIn, v intent.VNI, reason uint32) (openflow.PacketOut, bool) {
	src, _ := p.Value(openflow.FieldTunIPv4Src)
	vtep := netip.AddrFrom4([4]byte{byte(src >> 24), byte(src >> 16), byte(src >> 8), byte(src)})
	r, ok := s.bridgeAt(v, vtep)
	if !ok {
		return openflow.PacketOut{}, false
	}
	f := icmpError(overlay.LocalPort{VNI: v, Routing: r}, reason, p.Data)
	if f == nil {
		return openflow.PacketOut{}, false
	}
	return openflow.PacketOut{InPort: openflow.PortController, Data: f,
		Actions: []openflow.Action{openflow.SetField(openflow.TunnelID(uint64(v))), openflow.SetField(openflow.TunDst(vtep)), openflow.Output(s.at.TunnelOFPort)}}, true
}
