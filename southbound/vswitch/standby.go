package vswitch

import (
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// awaitPort waits for a port in standby to speak: its announcements go to the
// controller, whatever else it sends matches nothing and is dropped. QEMU
// announces a VM that arrives by RARP, guests do so by gratuitous ARP (RFC 5227
// section 3) and unsolicited neighbour advertisements (RFC 4861 section 7.2.6).
func (p pipeline) awaitPort(l overlay.LocalPort) []openflow.Flow {
	var fs []openflow.Flow
	hear := func(priority uint16, match ...openflow.Field) {
		match = append(match, openflow.InPort(l.OFPort), openflow.EthSrc(l.MAC))
		fs = append(fs, flow(tableAdmission, priority, macCookie(l.VNI, l.MAC), openflow.NewMatch(match...),
			openflow.NewInstructions(openflow.Apply(openflow.Controller()))))
	}
	hear(100, openflow.EthType(etherRARP))
	if len(l.Addresses) == 0 {
		hear(100, openflow.EthType(etherARP), openflow.ARPSHA(l.MAC))
	}
	for _, a := range l.Addresses {
		if a.Is4() {
			hear(100, openflow.EthType(etherARP), openflow.ARPSHA(l.MAC), openflow.ARPSPA(a))
			continue
		}
		hear(160, openflow.EthType(etherIPv6), openflow.IPProto(protoICMP6), openflow.ICMPv6Type(icmp6NeighborAdvertisement), openflow.NDTarget(a))
	}
	return fs
}
