package frr

import "github.com/weft-sdn/weft/fabric/device"

// bfd has a profile for each peer group with BFD, under the group's name, and
// for IS-IS under the instance's.
func bfd(s device.State) string {
	var l lines
	profile := func(name string, b *device.BFD) {
		if b == nil {
			return
		}
		l.add(" profile %s", name)
		l.add("  detect-multiplier %d", b.Multiplier)
		l.add("  transmit-interval %d", b.Interval)
		l.add("  receive-interval %d", b.Interval)
		l.add(" exit")
	}
	if s.BGP != nil {
		for _, g := range s.BGP.Groups {
			profile(g.Name, g.BFD)
		}
	}
	if s.ISIS != nil {
		profile(s.ISIS.Name, s.ISIS.BFD)
	}
	if l.Len() == 0 {
		return ""
	}
	return "bfd\n" + l.String() + "exit\n"
}
