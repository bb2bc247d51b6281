package frr

import "github.com/weft-sdn/weft/fabric/device"

// isis has the interfaces' part and the instance. Its filter is a route map, as
// redistribution takes nothing else.
func isis(s device.State) string {
	i := s.ISIS
	if i == nil {
		return ""
	}
	var l lines
	if i.Statics != "" {
		l.add("route-map %s permit 10", i.Statics)
		l.add(" match ip address prefix-list %s", i.Statics)
		l.add("exit")
	}
	l.add("router isis %s", i.Name)
	l.add(" is-type level-2-only")
	l.add(" metric-style wide")
	l.add(" log-adjacency-changes")
	l.add(" lsp-timers gen-interval 1 refresh-interval 900 max-lifetime 1200")
	l.add(" spf-delay-ietf init-delay 50 short-delay 200 long-delay 1000 holddown 2000 time-to-learn 500")
	// The first LSP is made at this line, after the interval that counts then: 30 s
	// until isisd knows another one.
	l.add(" net %s", i.NET)
	if s.Drained {
		l.add(" set-overload-bit")
	}
	if i.Statics != "" {
		l.add(" redistribute ipv4 static level-2 route-map %s", i.Statics)
	}
	l.add("exit")
	for _, p := range i.Interfaces {
		isisInterface(&l, i, p)
	}
	return l.String()
}

func isisInterface(l *lines, i *device.ISIS, p device.ISISInterface) {
	l.add("interface %s", p.Name)
	l.add(" ip router isis %s", i.Name)
	if i.IPv6 {
		l.add(" ipv6 router isis %s", i.Name)
	}
	if p.Passive {
		l.add(" isis passive")
		l.add("exit")
		return
	}
	l.add(" isis circuit-type level-2-only")
	l.add(" isis network point-to-point")
	l.add(" isis hello-interval %d", i.Hello)
	l.add(" isis hello-multiplier %d", i.Multiplier)
	if i.BFD != nil {
		l.add(" isis bfd")
		l.add(" isis bfd profile %s", i.Name)
	}
	l.add("exit")
}
