package vswitch

import (
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// classifyPort gives what a local port sends its VNI, and the VRF of its router.
func (p pipeline) classifyPort(l overlay.LocalPort) openflow.Flow {
	var vrf []openflow.Action
	if l.Routing != nil {
		vrf = []openflow.Action{openflow.SetField(openflow.Reg(vrfReg, uint32(l.Routing.VRF.VNI)))}
	}
	return flow(tableClassify, 100, macCookie(l.VNI, l.MAC),
		openflow.NewMatch(openflow.InPort(l.OFPort)),
		openflow.NewInstructions(openflow.Apply(vrf...), openflow.WriteMetadata(uint64(l.VNI)), openflow.GotoTable(tableAdmission)))
}

// classifyTunnel takes in what arrives with the VNI's tunnel key. Other keys
// match nothing and are dropped.
func (p pipeline) classifyTunnel(v intent.VNI) openflow.Flow {
	return flow(tableClassify, 100, cookie(v),
		openflow.NewMatch(openflow.InPort(p.tunnel(v)), p.key(v)),
		openflow.NewInstructions(
			openflow.Apply(openflow.SetField(openflow.Reg(0, fromTunnel))),
			openflow.WriteMetadata(uint64(v)), openflow.GotoTable(tableLocal)))
}
