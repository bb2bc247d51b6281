package frr

import (
	"net/netip"

	"github.com/weft-sdn/weft/fabric/device"
)

// sourceMap is the route map that sets a source address.
const sourceMap = "source"

// sources makes the switch itself send from its loopback over what it learned
// by BGP or IS-IS. The addresses of links are announced nowhere, so an answer to one
// would not come back. The order matters: zebra takes "set src" only for an
// address that it has, so this comes after the interfaces.
func sources(s device.State) string {
	var l lines
	protocol := func(name string, addresses []netip.Addr) {
		for _, a := range addresses {
			ip := family(a)
			l.add("route-map %s-%s permit 10", sourceMap, ip)
			l.add(" set src %s", a)
			l.add("exit")
			l.add("%s protocol %s route-map %s-%s", ip, name, sourceMap, ip)
		}
	}
	if s.BGP != nil {
		protocol("bgp", s.BGP.Sources)
	}
	if s.ISIS != nil {
		protocol("isis", s.ISIS.Sources)
	}
	return l.String()
}
