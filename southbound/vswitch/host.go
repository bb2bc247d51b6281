package vswitch

import (
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// routed are the flows of a row in the table of an L3VNI; of prefixes see
// toPrefixVia.
func (p pipeline) routed(v intent.VNI, r evpn.Row) []openflow.Flow {
	if r.Type != evpn.MACIP || !r.IP.IsValid() {
		return nil
	}
	return p.host(v, r)
}

// host sends what is routed to an address to who has it. One on this edge goes
// through the table of local MACs, as bridged frames do. To one elsewhere it goes
// with the L3VNI, from router MAC to router MAC (symmetric, RFC 9135 section
// 6.1), and bridged in its L2VNI where the VTEP does not route (asymmetric,
// section 4.2).
func (p pipeline) host(v intent.VNI, r evpn.Row) []openflow.Flow {
	match := openflow.NewMatch(append(openflow.AddrRegs(nextHopReg, r.IP), openflow.Reg(vrfReg, uint32(v)))...)
	bridged := []openflow.Action{openflow.SetField(openflow.EthSrc(intent.GatewayMAC)), openflow.SetField(openflow.EthDst(r.MAC))}
	var ins openflow.Instructions
	switch {
	case r.VTEP == p.vtep && r.VNI == 0:
		// An address of an external network: what goes there is translated before, if
		// its port is here.
		ins = refuse(hostUnreachable)
	case r.VTEP == p.vtep:
		ins = openflow.NewInstructions(openflow.Apply(bridged...), openflow.WriteMetadata(uint64(r.VNI)), openflow.GotoTable(tableLocal))
	case !r.RouterMAC.IsZero():
		ins = openflow.NewInstructions(openflow.Apply(p.routeTo(v, r)...))
	case p.tunnel(r.VNI) == 0:
		return nil // its network's tunnel port is not open
	default:
		as := append(bridged, p.setKey(r.VNI)...)
		ins = openflow.NewInstructions(openflow.Apply(append(as, openflow.SetField(p.dst(r.VNI, r.VTEP)), openflow.Output(p.tunnel(r.VNI)))...))
	}
	return []openflow.Flow{flow(tableHost, 100, macCookie(v, r.MAC), match, ins)}
}

// routeTo sends a packet to a VTEP that routes it on.
func (p pipeline) routeTo(v intent.VNI, r evpn.Row) []openflow.Action {
	as := []openflow.Action{openflow.SetField(openflow.EthSrc(intent.RouterMAC(p.vtep))), openflow.SetField(openflow.EthDst(r.RouterMAC))}
	as = append(as, p.setKey(v)...)
	return append(as, openflow.SetField(p.dst(v, r.VTEP)), openflow.Output(p.tunnel(v)))
}

// unknownHost refuses what goes to an address that nobody has; what came out of a
// tunnel is dropped.
func (p pipeline) unknownHost(v intent.VNI) []openflow.Flow {
	vrf := openflow.Reg(vrfReg, uint32(v))
	return []openflow.Flow{
		flow(tableHost, 10, cookie(v), openflow.NewMatch(vrf, openflow.Reg(0, 0)), refuse(hostUnreachable)),
		flow(tableHost, 5, cookie(v), openflow.NewMatch(vrf), openflow.Instructions{}),
	}
}
