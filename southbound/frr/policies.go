package frr

import (
	"strings"

	"github.com/weft-sdn/weft/fabric/device"
)

// policies has the route maps of what groups accept.
func policies(b *device.BGP) string {
	var l lines
	for _, p := range b.Policies {
		l.add("route-map %s permit 10", p.Name)
		if p.Prepend > 0 {
			l.add(" set as-path prepend %s", strings.TrimSpace(strings.Repeat(itoa(int(b.ASN))+" ", p.Prepend)))
		}
		if p.Bandwidth > 0 {
			l.add(" set extcommunity bandwidth %d", p.Bandwidth)
		}
		l.add("exit")
	}
	return l.String()
}
