package frr

import "github.com/weft-sdn/weft/fabric/device"

// sourceMap is the route map that sets a source address.
const sourceMap = "source"

// sources makes the switch itself send from its loopback over what it learned
// by BGP. The addresses of links are announced nowhere, so an answer to one
// would not come back. The order matters: zebra takes "set src" only for an
// address that it has, so this comes after the interfaces.
func sources(s device.State) string {
	if s.BGP == nil {
		return ""
	}
	var l lines
	for _, a := range s.BGP.Sources {
		ip := family(a)
		l.add("route-map %s-%s permit 10", sourceMap, ip)
		l.add(" set src %s", a)
		l.add("exit")
		l.add("%s protocol bgp route-map %s-%s", ip, sourceMap, ip)
	}
	return l.String()
}
