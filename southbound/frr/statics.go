package frr

import "github.com/weft-sdn/weft/fabric/device"

// statics has the static routes.
func statics(s device.State) string {
	var l lines
	for _, r := range s.Statics {
		via := "blackhole"
		if r.Via.IsValid() {
			via = r.Via.String()
		}
		l.add("%s route %s %s", family(r.Prefix.Addr()), r.Prefix, via)
	}
	return l.String()
}
