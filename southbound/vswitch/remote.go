package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// remote tunnels frames for a MAC to the VTEP that has it; none when that is
// this edge.
func (p pipeline) remote(v intent.VNI, r evpn.Row) []openflow.Flow {
	if r.VTEP == p.vtep {
		return nil
	}
	return []openflow.Flow{p.toVTEP(v, r)}
}

func (p pipeline) toVTEP(v intent.VNI, r evpn.Row) openflow.Flow {
	return flow(tableRemote, 100, macCookie(v, r.MAC),
		openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.EthDst(r.MAC)),
		openflow.NewInstructions(openflow.Apply(append(p.setKey(v),
			openflow.SetField(p.dst(v, r.VTEP)),
			openflow.Output(p.tunnel(v)))...)))
}

// dst is the address at which a VTEP is sent the unicast frames of a VNI.
func (p pipeline) dst(v intent.VNI, vtep netip.Addr) openflow.Field {
	return tunnelDst(p.colours.At(v, vtep))
}

func tunnelDst(vtep netip.Addr) openflow.Field {
	if vtep.Is4() {
		return openflow.TunDst(vtep)
	}
	return openflow.TunIPv6Dst(vtep)
}
