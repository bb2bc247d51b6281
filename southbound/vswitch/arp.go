package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

const (
	arpRequest = 1
	arpReply   = 2
)

// arpBase lets ARP go its way that nobody here can answer.
func (p pipeline) arpBase() []openflow.Flow {
	return []openflow.Flow{flow(tableARP, 0, cookieMark, openflow.NewMatch(), openflow.NewInstructions(openflow.GotoTable(tableLocal)))}
}

// arpOwn keeps a port's own announcements and probes from being answered with
// its own MAC: they go to the others.
func (p pipeline) arpOwn(l overlay.LocalPort) []openflow.Flow {
	var fs []openflow.Flow
	for _, a := range l.Addresses {
		if a.Is4() {
			fs = append(fs, flow(tableARP, 110, macCookie(l.VNI, l.MAC),
				openflow.NewMatch(openflow.InPort(l.OFPort), openflow.EthType(etherARP), openflow.ARPOp(arpRequest), openflow.ARPTPA(a)),
				openflow.NewInstructions(openflow.GotoTable(tableLocal))))
		}
	}
	return fs
}

// answerARP turns a request for the row's address into the reply and sends it
// back (RFC 826).
func (p pipeline) answerARP(v intent.VNI, r evpn.Row) openflow.Flow {
	return flow(tableARP, 100, macCookie(v, r.MAC),
		openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.EthType(etherARP), openflow.ARPOp(arpRequest), openflow.ARPTPA(r.IP)),
		openflow.NewInstructions(openflow.Apply(reply(r.MAC, r.IP)...)))
}

// reply turns an ARP request into the reply that a MAC has the address, and sends
// it back.
func reply(m intent.MAC, a netip.Addr) []openflow.Action {
	return []openflow.Action{
		openflow.Move(openflow.FieldEthSrc, openflow.FieldEthDst),
		openflow.SetField(openflow.EthSrc(m)),
		openflow.SetField(openflow.ARPOp(arpReply)),
		openflow.Move(openflow.FieldARPSHA, openflow.FieldARPTHA),
		openflow.SetField(openflow.ARPSHA(m)),
		openflow.Move(openflow.FieldARPSPA, openflow.FieldARPTPA),
		openflow.SetField(openflow.ARPSPA(a)),
		openflow.Output(openflow.PortInPort),
	}
}
