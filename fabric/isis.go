package fabric

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/device"
)

// isisArea is the area of all switches, a private one (AFI 49).
const isisArea = "49.0001"

// netOf is a switch's network entity title. Its system ID is the router ID in
// decimal, as people write it: 10.255.0.1 is 0102.5500.0001.
func netOf(routerID netip.Addr) string {
	a := routerID.As4()
	d := fmt.Sprintf("%03d%03d%03d%03d", a[0], a[1], a[2], a[3])
	return fmt.Sprintf("%s.%s.%s.%s.00", isisArea, d[0:4], d[4:8], d[8:12])
}

// isis adds the IS-IS instance: an adjacency on each link to a switch; loopbacks
// and the rack prefix are announced, and the links too, which FRR 8.4 can't leave
// out. An unnumbered port borrows the loopback's address (RFC 5309 section 4.2).
// Leaves have a BGP instance without neighbours: their agents add those for EVPN.
func (f *Facts) isis(n Node, s *device.State) {
	// A hello a second makes adjacencies quickly; the hold time is that of BGP.
	hold := f.Params.Timers.Hold
	hello := (hold + maxMultiplier - 1) / maxMultiplier
	i := &device.ISIS{
		Name: groupName, NET: netOf(n.RouterID), Hello: hello, Multiplier: hold / hello,
		IPv6: f.Params.Loopbacks6.IsValid(), BFD: f.Params.bfd(), Sources: sources(n),
		Interfaces: []device.ISISInterface{{Name: "lo", Passive: true}},
	}
	for _, l := range f.AdjacenciesOf(n.Name) {
		i.Interfaces = append(i.Interfaces, device.ISISInterface{Name: l.A.Interface})
		for p := range s.Interfaces {
			if port := &s.Interfaces[p]; port.Name == l.A.Interface && f.Params.Unnumbered {
				port.Addresses = hostPrefixes(n.Loopback)
			}
		}
	}
	sortInterfaces(i.Interfaces[1:])
	if n.Rack.IsValid() {
		i.Statics = filterName
		i.Filters = []device.Filter{{Name: filterName, Permit: []device.Match{{Prefix: f.Params.Racks, MinLength: f.Params.RackLength, MaxLength: f.Params.RackLength}}}}
	}
	s.ISIS = i
	if n.Role == intent.RoleLeaf || n.Role == intent.RoleBorder {
		s.BGP = &device.BGP{ASN: n.ASN, RouterID: n.RouterID, MaximumPaths: maximumPaths}
	}
}

// sources are the addresses from which a switch itself sends.
func sources(n Node) []netip.Addr {
	out := []netip.Addr{n.Loopback}
	if n.Loopback6.IsValid() {
		out = append(out, n.Loopback6)
	}
	return out
}

func sortInterfaces(is []device.ISISInterface) {
	slices.SortFunc(is, func(a, b device.ISISInterface) int { return Natural(a.Name, b.Name) })
}

// maxMultiplier is how many hellos may be lost at most, by FRR's word.
const maxMultiplier = 100
