package vtep

import (
	"fmt"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// segment compares the logical switch of a VNI and its remote rows.
func (p *planner) segment(v intent.VNI) {
	s, name := p.segments[v], logicalName(v)
	for _, a := range s.unfit {
		p.res.alarms[southbound.AlarmKey{Reason: southbound.AlarmCapability, Object: fmt.Sprintf("VNI %d VTEP %s", v, a)}] =
			fmt.Sprintf("the hardware_vtep schema knows VXLAN over IPv4 only: nothing is sent to VTEP %s", a)
	}
	want := ovsdb.VTEPLogical{Name: name, Key: int(v), Replication: s.mode}
	if p.r.Plain {
		want.Replication = ""
	}
	known := p.mem.segments[v]
	uuid, exists := p.byName[name]
	if !exists {
		if p.foreign(known != nil, "logical switch %s was missing; made again", name) {
			p.unbindable(v)
			return
		}
		if !p.binds(v) {
			return
		}
		p.res.change.Make = append(p.res.change.Make, want)
		known = nil // nothing that was on it is told besides
	}
	d := p.differences(v, s, known, uuid)
	if has := p.r.Logical[uuid]; exists && has != want {
		d.differs = true
		if !d.p.foreign(known != nil && known.mode == s.mode, "logical switch %s had tunnel key %d and replication_mode %q; set back", name, has.Key, has.Replication) {
			d.adjust = &want
		}
	}
	p.take(v, uuid, exists, d)
}

// binds reports whether the change binds a port to the logical switch that it
// makes for a VNI.
func (p *planner) binds(v intent.VNI) bool {
	for _, of := range p.res.change.Bind {
		for _, ref := range of {
			if ref == logicalName(v) {
				return true
			}
		}
	}
	return false
}

// unbindable takes back what would be bound to a logical switch that is not
// made now.
func (p *planner) unbindable(v intent.VNI) {
	for port, of := range p.res.change.Bind {
		for vlan, ref := range of {
			if ref == logicalName(v) {
				delete(of, vlan)
			}
		}
		if len(of) == 0 {
			delete(p.res.change.Bind, port)
		}
	}
}

// differences are those of a logical switch and its remote rows.
type differences struct {
	p       *planner // where those that somebody else made are noted
	differs bool
	adjust  *ovsdb.VTEPLogical
	ucast   map[intent.MAC]ovsdb.VTEPRemote
	dropU   []string
	mcast   *ovsdb.VTEPFlood
	dropM   []string
}

// differences compares the remote rows of a segment.
func (p *planner) differences(v intent.VNI, s *segment, known *segment, uuid string) *differences {
	q := *p // may be thrown away
	d := &differences{p: &q, ucast: map[intent.MAC]ovsdb.VTEPRemote{}}
	name := logicalName(v)
	for mac, want := range s.stations {
		have, ok := p.r.Ucast[uuid][mac]
		if ok && have.VTEP == want.vtep && have.IP == want.ip {
			continue
		}
		d.differs = true
		found := "was missing"
		if ok {
			found = fmt.Sprintf("was at %s with address %q", have.VTEP, have.IP)
		}
		if !d.p.foreign(known != nil && known.stations[mac] == want, "MAC %s of %s %s; put back", mac, name, found) {
			d.ucast[mac] = ovsdb.VTEPRemote{UUID: have.UUID, VTEP: want.vtep, IP: want.ip}
		}
	}
	for mac, have := range p.r.Ucast[uuid] {
		if _, ok := s.stations[mac]; ok {
			continue
		}
		d.differs = true
		var mine bool
		if known != nil {
			_, mine = known.stations[mac]
		}
		if !d.p.foreign(known != nil && !mine, "MAC %s of %s was not ours; deleted", mac, name) {
			d.dropU = append(d.dropU, have.UUID)
		}
	}
	for row, of := range p.r.TwiceU {
		if of == uuid {
			d.differs, d.dropU = true, append(d.dropU, row)
		}
	}
	d.floods(s, known, uuid, name)
	return d
}

// floods compares where frames to all go.
func (d *differences) floods(s, known *segment, uuid, name string) {
	for row, of := range d.p.r.TwiceM {
		if of == uuid {
			d.differs, d.dropM = true, append(d.dropM, row)
		}
	}
	have, has := d.p.r.Mcast[uuid]
	if slices.Equal(have.VTEPs, s.vteps) && has == (len(s.vteps) > 0) {
		return
	}
	d.differs = true
	if d.p.foreign(known != nil && slices.Equal(known.vteps, s.vteps), "unknown-dst of %s led to %v; put back", name, have.VTEPs) {
		return
	}
	if len(s.vteps) == 0 {
		d.dropM = append(d.dropM, have.UUID)
	} else {
		d.mcast = &ovsdb.VTEPFlood{UUID: have.UUID, VTEPs: s.vteps}
	}
}

// take makes differences part of the change, unless they are left to another
// switch's driver for now.
func (p *planner) take(v intent.VNI, uuid string, exists bool, d *differences) {
	if !d.differs {
		p.res.complete[v] = exists
		return
	}
	if rank := p.rank(uuid); rank > 0 {
		since, ok := p.was[v]
		if !ok {
			since = p.now
		}
		p.res.behind[v] = since
		if p.now.Sub(since) < time.Duration(rank)*yieldTime {
			p.res.left = true
			return
		}
	}
	p.res.found, p.res.left = d.p.res.found, d.p.res.left
	ch := &p.res.change
	if d.adjust != nil {
		ch.Adjust[uuid] = *d.adjust
	}
	for mac, u := range d.ucast {
		ch.Ucast[ovsdb.VTEPStation{Logical: p.ref(v), MAC: mac}] = u
	}
	ch.DropU, ch.DropM = append(ch.DropU, d.dropU...), append(ch.DropM, d.dropM...)
	if d.mcast != nil {
		ch.Mcast[p.ref(v)] = *d.mcast
	}
}

// rank is the number of switches on a logical switch that come before this one.
func (p *planner) rank(uuid string) int {
	n, _ := slices.BinarySearch(p.r.Bound[uuid], p.name)
	return n
}
