package vtep

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// Replication modes of a logical switch.
const (
	sourceNode  = "source_node"
	serviceNode = "service_node"
)

// mark is what the names of our logical switches begin with.
const mark = "weft-"

func logicalName(v intent.VNI) string { return mark + strconv.Itoa(int(v)) }

// vniOf is the VNI of a logical switch of ours; ok is false when the name is
// somebody else's.
func vniOf(name string) (v intent.VNI, ok bool) {
	digits, ok := strings.CutPrefix(name, mark)
	n, err := strconv.ParseUint(digits, 10, 24)
	if !ok || err != nil || n == 0 || logicalName(intent.VNI(n)) != name {
		return 0, false
	}
	return intent.VNI(n), true
}

// input is what a switch's feed says.
type input struct {
	name        string // of the physical switch
	vtep        netip.Addr
	replication string
	local       map[intent.Ref]overlay.LocalPort
	rows        map[intent.VNI][]evpn.Row // of all VNIs with a local port
	revs        map[intent.VNI]evpn.Revision
	unreported  overlay.Away
}

// slot is a VLAN, 0 for untagged, on a physical port.
type slot struct {
	port string
	vlan int
}

func (s slot) String() string {
	if s.vlan == 0 {
		return fmt.Sprintf("port %s untagged", s.port)
	}
	return fmt.Sprintf("port %s VLAN %d", s.port, s.vlan)
}

// station is where a MAC is and the address that the switch may answer ARP for.
type station struct {
	vtep netip.Addr
	ip   string
}

// segment is what a logical switch should have.
type segment struct {
	mode     string
	stations map[intent.MAC]station
	vteps    []netip.Addr // to which frames to all go, sorted
	unfit    []netip.Addr // VTEPs that the schema has no locator for
}

// desired is what the database should have of this switch's.
type desired struct {
	slots    map[slot]overlay.LocalPort
	segments map[intent.VNI]*segment
	judges   map[intent.VNI][]ovsdb.VTEPEntry // of networks with ACLs
}

// desire makes what should be from what the feed says. Of the rows that are
// there it takes only what must be kept, and who shares the database.
func desire(in input, r *ovsdb.VTEPRows) *desired {
	d := &desired{slots: map[slot]overlay.LocalPort{}, segments: map[intent.VNI]*segment{}, judges: map[intent.VNI][]ovsdb.VTEPEntry{}}
	for _, ref := range slices.SortedFunc(maps.Keys(in.local), func(a, b intent.Ref) int { return strings.Compare(a.String(), b.String()) }) {
		l := in.local[ref]
		d.slots[slot{l.Interface, int(l.VLAN)}] = l
		if l.ACLs != nil && d.judges[l.VNI] == nil {
			d.judges[l.VNI] = aclEntries(l.ACLs)
		}
	}
	logical := make(map[string]string, len(r.Logical))
	for uuid, l := range r.Logical {
		logical[l.Name] = uuid
	}
	for v, rows := range in.rows {
		d.segments[v] = compile(in, r, rows, logical[logicalName(v)])
	}
	gateways := in.gateways()
	for v, s := range d.segments {
		s.route(in, r, gateways[v], logical[logicalName(v)])
	}
	for _, l := range in.local {
		if s := d.segments[l.VNI]; s != nil && l.Routing != nil {
			s.hear(l.Routing.VRF.Senders)
		}
	}
	return d
}

// hear has the switch take in what VTEPs route and bridge here that may have nothing
// in the network: it has tunnels from those only of which there is a row. It is of the
// MAC that the VTEP routes with, to which no station sends.
func (s *segment) hear(senders []netip.Addr) {
	for _, a := range senders {
		if s.stations[intent.GatewayMAC].vtep != a {
			s.stations[intent.RouterMAC(a)] = station{vtep: a}
		}
	}
}

// gateways are, by VNI, where frames for the gateway's MAC go, with its lowest IPv4
// address.
func (in input) gateways() map[intent.VNI]station {
	out := map[intent.VNI]station{}
	for _, l := range in.local {
		if l.Routing == nil || out[l.VNI].vtep.IsValid() {
			continue
		}
		for _, b := range l.Routing.VRF.Bridges {
			if b.VNI == l.VNI && b.VTEP == in.vtep {
				out[l.VNI] = station{b.Gateway, lowest4(l.Routing.Gateways)}
			}
		}
	}
	return out
}

// lowest4 is the lowest IPv4 address, empty when there is none.
func lowest4(as []netip.Addr) string {
	var low netip.Addr
	for _, a := range as {
		if a.Is4() && (!low.IsValid() || a.Less(low)) {
			low = a
		}
	}
	if !low.IsValid() {
		return ""
	}
	return low.String()
}

// route leads to the gateway: its MAC by a row of this switch alone, and what goes to
// all, as requests for the MAC do, to its VTEP too, which needs no port in the network.
// While an edge has not reported, what the switch has is right.
func (s *segment) route(in input, r *ovsdb.VTEPRows, to station, uuid string) {
	have, had := r.Ucast[uuid][intent.GatewayMAC]
	switch _, known := s.stations[intent.GatewayMAC]; {
	case to.vtep.IsValid():
	case had && !known && !in.unreported.None() && have.VTEP != in.vtep:
		to = station{have.VTEP, have.IP}
	default:
		return
	}
	s.stations[intent.GatewayMAC] = to
	if s.mode == sourceNode && !slices.Contains(s.vteps, to.vtep) {
		s.vteps = append(s.vteps, to.vtep)
		slices.SortFunc(s.vteps, netip.Addr.Compare)
	}
}

// compile makes a segment. Its logical switch has a UUID if it is there.
func compile(in input, r *ovsdb.VTEPRows, rows []evpn.Row, uuid string) *segment {
	s := &segment{stations: map[intent.MAC]station{}}
	// What other switches of this database have, they all know by
	// Ucast_Macs_Local and Mcast_Macs_Local. A remote row would make them send
	// to themselves.
	elsewhere := func(a netip.Addr) bool {
		_, inside := r.Others[a]
		return a != in.vtep && !inside && a.Is4()
	}
	addresses := map[intent.MAC]netip.Addr{}
	for _, row := range rows {
		switch {
		case row.Deleted:
		case row.Type == evpn.IMET:
			if elsewhere(row.IP) {
				s.vteps = append(s.vteps, row.IP)
			} else if !row.IP.Is4() {
				s.unfit = append(s.unfit, row.IP)
			}
		case row.Type != evpn.MACIP:
		case !row.IP.IsValid():
			if elsewhere(row.VTEP) {
				s.stations[row.MAC] = station{vtep: row.VTEP}
			}
		case row.IP.Is4():
			if a, ok := addresses[row.MAC]; !ok || row.IP.Less(a) {
				addresses[row.MAC] = row.IP
			}
		}
	}
	for mac, a := range addresses {
		if st, ok := s.stations[mac]; ok {
			st.ip = a.String()
			s.stations[mac] = st
		}
	}
	for mac, have := range r.Ucast[uuid] {
		_, known := s.stations[mac]
		if in.unreported.Has(have.VTEP) && have.VTEP != in.vtep && !known {
			s.stations[mac] = station{have.VTEP, have.IP}
		}
	}
	s.replicate(in, r, rows, uuid)
	return s
}

// replicate decides who sends frames to all.
func (s *segment) replicate(in input, r *ovsdb.VTEPRows, rows []evpn.Row, uuid string) {
	s.mode = sourceNode
	rep := replicator(rows, decider(in, r, rows, uuid))
	if rep.IsValid() {
		s.mode, s.vteps = serviceNode, []netip.Addr{rep}
	}
	served := rep.IsValid() || in.replication == serviceNode && r.Logical[uuid].Replication == serviceNode
	have := r.Mcast[uuid].VTEPs
	for _, a := range have {
		if !in.unreported.Has(a) || a == in.vtep {
			continue
		}
		if !served {
			s.vteps = append(s.vteps, a)
		} else if len(have) == 1 { // it goes on replicating until it is known not to
			s.mode, s.vteps = serviceNode, have
		}
	}
	s.vteps = slices.Clone(s.vteps)
	slices.SortFunc(s.vteps, netip.Addr.Compare)
	s.vteps = slices.Compact(s.vteps)
}

// decider is the VTEP of the switch whose replication counts: where several of
// ours share a logical switch, the first by name.
func decider(in input, r *ovsdb.VTEPRows, rows []evpn.Row, uuid string) netip.Addr {
	first, at := in.name, in.vtep
	for _, row := range rows {
		if row.Type != evpn.IMET || row.Deleted {
			continue
		}
		if name, ok := r.Others[row.IP]; ok && name < first && slices.Contains(r.Bound[uuid], name) {
			first, at = name, row.IP
		}
	}
	return at
}

// replicator is the VTEP that replicates for a switch, as its own IMET route
// names it; invalid when the switch does it itself.
func replicator(rows []evpn.Row, vtep netip.Addr) netip.Addr {
	for _, r := range rows {
		if r.Type == evpn.IMET && !r.Deleted && r.IP == vtep {
			return r.Replicator
		}
	}
	return netip.Addr{}
}
