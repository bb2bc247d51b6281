package frr

import "github.com/weft-sdn/weft/fabric/device"

// interfaces has the loopback and the ports.
func interfaces(s device.State) string {
	var l lines
	all := append([]device.Interface{{Name: "lo", Addresses: s.Loopbacks}}, s.Interfaces...)
	for _, i := range all {
		l.add("interface %s", i.Name)
		if i.Description != "" {
			l.add(" description %s", i.Description)
		}
		for _, a := range i.Addresses {
			l.add(" %s address %s", family(a.Addr()), a)
		}
		l.add("exit")
	}
	return l.String()
}
