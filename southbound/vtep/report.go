package vtep

import (
	"maps"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// tell tells the feed what the switch has learned and which ports it has. The
// stations come first: once the ports are known, what others keep for this
// edge is judged.
func (d *Driver) tell(r *ovsdb.VTEPRows) {
	learned := stations(r, d)
	if d.learned == nil || !maps.Equal(learned, d.learned) {
		d.learned = learned
		d.feed.Learned(slices.Collect(maps.Keys(learned)))
	}
	ifaces := interfaces(r.Switch)
	if d.observed == nil || !slices.Equal(ifaces, d.observed) {
		d.observed = ifaces
		d.feed.Observe(ifaces)
	}
}

// stations are what the switch learned on our logical switches: each MAC, and
// each with the address that the switch knows of it.
func stations(r *ovsdb.VTEPRows, d *Driver) map[overlay.Learned]struct{} {
	out := map[overlay.Learned]struct{}{}
	for _, l := range r.Local {
		v, ours := vniOf(r.Logical[l.Logical].Name)
		if !ours || l.VTEP != d.vtep {
			continue
		}
		out[overlay.Learned{VNI: v, MAC: l.MAC}] = struct{}{}
		if l.IP.IsValid() {
			out[overlay.Learned{VNI: v, MAC: l.MAC, IP: l.IP}] = struct{}{}
		}
	}
	return out
}

// interfaces are the switch's ports. One with a fault stays one that ports are
// bound to: the fault may come from what is bound, and go with it.
func interfaces(s *ovsdb.VTEPSwitch) []overlay.Interface {
	out := make([]overlay.Interface, 0, len(s.Ports))
	for name, p := range s.Ports {
		out = append(out, overlay.Interface{Name: name, OFPort: 1, Error: strings.Join(p.Faults, ", ")})
	}
	slices.SortFunc(out, func(a, b overlay.Interface) int { return strings.Compare(a.Name, b.Name) })
	return out
}
