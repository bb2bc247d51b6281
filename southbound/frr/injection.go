package frr

import (
	"net/netip"

	"github.com/weft-sdn/weft/fabric/device"
)

// InjectorDescription is that of the sessions by which routes are injected: they are
// no part of the underlay.
const InjectorDescription = "injected routes"

// Route maps of injectors.
const (
	injectedMap = "injected"
	nothingMap  = "nothing"
)

// injection has the route maps of injectors. What they announce goes no further than
// this switch, whatever communities they give it.
func injection(b *device.BGP) string {
	if len(b.Injectors) == 0 {
		return ""
	}
	var l lines
	l.add("route-map %s permit 10", injectedMap)
	l.add(" set community no-export additive")
	l.add("exit")
	l.add("route-map %s deny 10", nothingMap)
	l.add("exit")
	return l.String()
}

// injector has the session with one: it dials.
func injector(l *lines, a netip.Addr, asn uint32) {
	l.add(" neighbor %s remote-as %d", a, asn)
	l.add(" neighbor %s description %s", a, InjectorDescription)
	l.add(" neighbor %s passive", a)
	l.add(" neighbor %s timers 3 9", a)
}

// injectors activates them for IPv4.
func injectors(l *lines, b *device.BGP) {
	for _, a := range b.Injectors {
		l.add("  neighbor %s activate", a)
		l.add("  neighbor %s route-map %s in", a, injectedMap)
		l.add("  neighbor %s route-map %s out", a, nothingMap)
	}
}
