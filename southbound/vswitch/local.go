package vswitch

import (
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// localBase sends on what has no local owner: groups to the flood table, the
// rest to the remote table unless it came out of a tunnel.
func (p pipeline) localBase() []openflow.Flow {
	return []openflow.Flow{
		flow(tableLocal, 10, cookieMark, openflow.NewMatch(openflow.EthGroup()), openflow.NewInstructions(openflow.GotoTable(tableFlood))),
		flow(tableLocal, 5, cookieMark, openflow.NewMatch(openflow.Reg(0, 0)), openflow.NewInstructions(openflow.GotoTable(tableRemote))),
	}
}

// deliver hands frames for a local port's MAC to it, through its policy if it has
// one.
func (p pipeline) deliver(l overlay.LocalPort) openflow.Flow {
	return flow(tableLocal, 100, macCookie(l.VNI, l.MAC),
		openflow.NewMatch(openflow.Metadata(uint64(l.VNI)), openflow.EthDst(l.MAC)),
		handTo(l))
}
