package frr

import "github.com/weft-sdn/weft/fabric/device"

// bfd has a profile for each peer group with BFD, under the group's name.
func bfd(s device.State) string {
	if s.BGP == nil {
		return ""
	}
	var l lines
	for _, g := range s.BGP.Groups {
		if g.BFD == nil {
			continue
		}
		l.add(" profile %s", g.Name)
		l.add("  detect-multiplier %d", g.BFD.Multiplier)
		l.add("  transmit-interval %d", g.BFD.Interval)
		l.add("  receive-interval %d", g.BFD.Interval)
		l.add(" exit")
	}
	if l.Len() == 0 {
		return ""
	}
	return "bfd\n" + l.String() + "exit\n"
}
