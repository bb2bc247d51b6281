package vtep

import (
	"fmt"
	"net/netip"
	"slices"
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

func logicalName(v intent.VNI) string { return fmt.Sprintf("%s%d", mark, v) }

// wanted is what a switch should have.
type wanted struct {
	vtep        netip.Addr
	replication string
	local       map[intent.Ref]overlay.LocalPort
	rows        map[intent.VNI][]evpn.Row // of all VNIs with a local port
	unreported  map[netip.Addr]struct{}
}

// result is what a comparison found.
type result struct {
	change ovsdb.VTEPChange
	// confirmed are the ports that are bound as they should be.
	confirmed map[intent.Ref]overlay.LocalPort
	// complete are the VNIs whose rows are all there.
	complete map[intent.VNI]bool
	// refused says why ports can't be bound.
	refused map[intent.Ref]string
	taken   map[string]string // alarms about VLANs: object -> message
	keys    map[string]string // the same about tunnel keys
}

// plan compares the rows with what is wanted. The rows must have the switch.
func plan(w wanted, r *ovsdb.VTEPRows) result {
	p := &planner{wanted: w, r: r, byName: map[string]string{}, res: result{
		confirmed: map[intent.Ref]overlay.LocalPort{}, complete: map[intent.VNI]bool{}, refused: map[intent.Ref]string{}, taken: map[string]string{}, keys: map[string]string{},
		change: ovsdb.VTEPChange{Adjust: map[string]ovsdb.VTEPLogical{}, Bind: map[string]map[int]string{}, Unbind: map[string]map[int]string{},
			Ucast: map[ovsdb.VTEPStation]ovsdb.VTEPUcast{}, Mcast: map[string]ovsdb.VTEPMcast{}},
	}}
	for uuid, l := range r.Logical {
		p.byName[l.Name] = uuid
	}
	if len(r.Switch.TunnelIPs) == 0 {
		p.res.change.TunnelIP = w.vtep
	}
	usable := map[intent.VNI]bool{}
	for v := range w.rows {
		usable[v] = p.logical(v)
	}
	p.bindings(usable)
	for v, ok := range usable {
		if ok {
			p.res.complete[v] = p.macs(v)
		}
	}
	p.surplus(usable)
	return p.res
}

type planner struct {
	wanted
	r      *ovsdb.VTEPRows
	byName map[string]string // logical switches: name -> UUID
	res    result
}

// ref names the logical switch of a VNI in a change.
func (p *planner) ref(v intent.VNI) string {
	if uuid, ok := p.byName[logicalName(v)]; ok {
		return uuid
	}
	return logicalName(v)
}

// logical brings the logical switch of a VNI in line; false when another one
// has its tunnel key.
func (p *planner) logical(v intent.VNI) bool {
	for _, l := range p.r.Logical {
		if l.Key == int(v) && l.Name != logicalName(v) {
			p.res.keys[fmt.Sprintf("VNI %d", v)] = fmt.Sprintf("logical switch %s, which is not Weft's, has tunnel key %d: give it another, or the network", l.Name, v)
			return false
		}
	}
	want := ovsdb.VTEPLogical{Name: logicalName(v), Key: int(v), Replication: p.mode(v)}
	uuid, ok := p.byName[want.Name]
	switch {
	case !ok:
		p.res.change.Make = append(p.res.change.Make, want)
	case p.r.Logical[uuid] != want:
		p.res.change.Adjust[uuid] = want
	}
	return true
}

// mode is who replicates on a VNI: the node that its own IMET route names, or
// this switch when there is none.
func (p *planner) mode(v intent.VNI) string {
	if p.replication == serviceNode && p.replicator(v).IsValid() {
		return serviceNode
	}
	return sourceNode
}

// replicator is the VTEP that replicates for this switch.
func (p *planner) replicator(v intent.VNI) netip.Addr {
	for _, r := range p.rows[v] {
		if r.Type == evpn.IMET && !r.Deleted && r.IP == p.vtep {
			return r.Replicator
		}
	}
	return netip.Addr{}
}

// bindings compares the ports' VLANs.
func (p *planner) bindings(usable map[intent.VNI]bool) {
	want := map[string]map[int]overlay.LocalPort{} // interface -> VLAN
	for _, l := range p.local {
		if want[l.Interface] == nil {
			want[l.Interface] = map[int]overlay.LocalPort{}
		}
		want[l.Interface][int(l.VLAN)] = l
	}
	for name, port := range p.r.Switch.Ports {
		for vlan, uuid := range port.Bindings {
			l, ok := want[name][vlan]
			if ours := strings.HasPrefix(p.r.Logical[uuid].Name, mark); ours && (!ok || p.ref(l.VNI) != uuid) {
				put(p.res.change.Unbind, port.UUID, vlan, uuid)
			}
		}
		for vlan, l := range want[name] {
			uuid, bound := port.Bindings[vlan]
			switch {
			case bound && uuid == p.byName[logicalName(l.VNI)]:
				p.res.confirmed[l.Port] = l
			case bound && !strings.HasPrefix(p.r.Logical[uuid].Name, mark):
				p.res.refused[l.Port] = fmt.Sprintf("VLAN %d of port %s is bound to logical switch %s, which is not Weft's", vlan, name, p.r.Logical[uuid].Name)
				p.res.taken[fmt.Sprintf("%s VLAN %d", name, vlan)] = fmt.Sprintf("%s: unbind it there, or give %s another VLAN", p.res.refused[l.Port], l.Port)
			case usable[l.VNI]:
				put(p.res.change.Bind, port.UUID, vlan, p.ref(l.VNI))
			default:
				p.res.refused[l.Port] = p.res.keys[fmt.Sprintf("VNI %d", l.VNI)]
			}
		}
	}
}

func put(m map[string]map[int]string, port string, vlan int, logical string) {
	if m[port] == nil {
		m[port] = map[int]string{}
	}
	m[port][vlan] = logical
}

// elsewhere reports whether a VTEP is none of this database's.
func (p *planner) elsewhere(a netip.Addr) bool { return a != p.vtep && !p.r.Others[a] && a.Is4() }

// macs compares the remote rows of a VNI; it reports whether all are there.
func (p *planner) macs(v intent.VNI) bool {
	stations, vteps := map[intent.MAC]ovsdb.VTEPUcast{}, []netip.Addr{}
	addresses := map[intent.MAC]netip.Addr{}
	for _, r := range p.rows[v] {
		switch {
		case r.Deleted:
		case r.Type == evpn.IMET:
			if p.elsewhere(r.IP) {
				vteps = append(vteps, r.IP)
			}
		case r.Type == evpn.MACIP && !r.IP.IsValid():
			if p.elsewhere(r.VTEP) {
				stations[r.MAC] = ovsdb.VTEPUcast{VTEP: r.VTEP}
			}
		case r.Type == evpn.MACIP && r.IP.Is4():
			if a, ok := addresses[r.MAC]; !ok || r.IP.Less(a) {
				addresses[r.MAC] = r.IP
			}
		}
	}
	uuid, exists := p.byName[logicalName(v)]
	before := len(p.res.change.Ucast) + len(p.res.change.DropU) + len(p.res.change.Mcast) + len(p.res.change.DropM)
	for mac, u := range stations {
		if a, ok := addresses[mac]; ok {
			u.IP = a.String()
		}
		have := p.r.Ucast[ovsdb.VTEPStation{Logical: uuid, MAC: mac}]
		if u.UUID = have.UUID; !exists || have != u {
			p.res.change.Ucast[ovsdb.VTEPStation{Logical: p.ref(v), MAC: mac}] = u
		}
	}
	if exists {
		for k, have := range p.r.Ucast {
			_, ok := stations[k.MAC]
			if _, away := p.unreported[have.VTEP]; k.Logical == uuid && !ok && !away {
				p.res.change.DropU = append(p.res.change.DropU, have.UUID)
			}
		}
	}
	p.floods(v, uuid, exists, vteps)
	return before == len(p.res.change.Ucast)+len(p.res.change.DropU)+len(p.res.change.Mcast)+len(p.res.change.DropM) && exists
}

// floods compares where frames to all go.
func (p *planner) floods(v intent.VNI, uuid string, exists bool, vteps []netip.Addr) {
	have, has := p.r.Mcast[uuid]
	has = has && exists
	if r := p.replicator(v); p.mode(v) == serviceNode {
		vteps = []netip.Addr{r}
	} else if has {
		for _, a := range have.VTEPs {
			if _, away := p.unreported[a]; away && !slices.Contains(vteps, a) {
				vteps = append(vteps, a)
			}
		}
	}
	slices.SortFunc(vteps, netip.Addr.Compare)
	switch {
	case len(vteps) == 0 && has:
		p.res.change.DropM = append(p.res.change.DropM, have.UUID)
	case len(vteps) > 0 && (!has || !slices.Equal(have.VTEPs, vteps)):
		p.res.change.Mcast[p.ref(v)] = ovsdb.VTEPMcast{UUID: have.UUID, VTEPs: vteps}
	}
}

// surplus drops rows that are there twice, and our logical switches that no
// port is bound to.
func (p *planner) surplus(usable map[intent.VNI]bool) {
	ch := &p.res.change
	ch.DropU, ch.DropM = append(ch.DropU, p.r.Strange...), append(ch.DropM, p.r.Extra...)
	names := map[string]bool{}
	for v := range usable {
		names[logicalName(v)] = true
	}
	for uuid, l := range p.r.Logical {
		if !strings.HasPrefix(l.Name, mark) || names[l.Name] || p.r.Bound[uuid] || p.others(uuid) {
			continue
		}
		ch.Remove = append(ch.Remove, uuid)
		for k, u := range p.r.Ucast {
			if k.Logical == uuid {
				ch.DropU = append(ch.DropU, u.UUID)
			}
		}
		if m, ok := p.r.Mcast[uuid]; ok {
			ch.DropM = append(ch.DropM, m.UUID)
		}
	}
}

// others reports whether a port of this switch is bound to the logical switch
// by somebody else's hand and stays so.
func (p *planner) others(uuid string) bool {
	for _, port := range p.r.Switch.Ports {
		for vlan, u := range port.Bindings {
			if _, leaves := p.res.change.Unbind[port.UUID][vlan]; u == uuid && !leaves {
				return true
			}
		}
	}
	return false
}
