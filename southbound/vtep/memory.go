package vtep

import (
	"maps"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// memory is what the database had when it was last as it should be, and what
// was written since. What differs from it though nothing else is wanted by now,
// somebody else changed.
type memory struct {
	settled  bool // all was as it should be, once
	slots    map[slot]intent.VNI
	segments map[intent.VNI]*segment
	judged   map[slot]intent.VNI // where ACLs are bound
	acls     map[intent.VNI][]ovsdb.VTEPEntry
}

func newMemory() *memory {
	return &memory{slots: map[slot]intent.VNI{}, segments: map[intent.VNI]*segment{}, judged: map[slot]intent.VNI{}, acls: map[intent.VNI][]ovsdb.VTEPEntry{}}
}

// seen takes what a comparison found in place.
func (m *memory) seen(d *desired, res result) {
	maps.Copy(m.slots, res.bound)
	maps.DeleteFunc(m.slots, func(at slot, v intent.VNI) bool { l, ok := d.slots[at]; return !ok || l.VNI != v })
	for v, ok := range res.complete {
		if ok {
			m.segments[v] = d.segments[v]
		}
	}
	maps.DeleteFunc(m.segments, func(v intent.VNI, _ *segment) bool { return d.segments[v] == nil })
	maps.Copy(m.judged, res.judged)
	maps.DeleteFunc(m.judged, func(at slot, v intent.VNI) bool { l, ok := d.slots[at]; return !ok || l.VNI != v || l.ACLs == nil })
	for v := range res.entries {
		m.acls[v] = d.judges[v]
	}
	maps.DeleteFunc(m.acls, func(v intent.VNI, _ []ovsdb.VTEPEntry) bool { return d.judges[v] == nil })
	m.settled = m.settled || res.change.Empty() && !res.left
}

// wrote takes a change that the database confirmed.
func (m *memory) wrote(d *desired, r *ovsdb.VTEPRows, ch *ovsdb.VTEPChange) {
	for name, port := range r.Switch.Ports {
		for vlan := range ch.Bind[port.UUID] {
			at := slot{name, vlan}
			m.slots[at] = d.slots[at].VNI
		}
	}
	for name, port := range r.Switch.Ports {
		for vlan := range ch.BindACL[port.UUID] {
			at := slot{name, vlan}
			m.judged[at] = d.slots[at].VNI
		}
	}
	for name := range ch.ACLs {
		v, _ := vniOf(name)
		m.acls[v] = d.judges[v]
	}
	names := map[string]intent.VNI{} // of logical switches as the change names them
	for uuid, l := range r.Logical {
		names[uuid], _ = vniOf(l.Name)
	}
	for _, l := range ch.Make {
		v, _ := vniOf(l.Name)
		names[l.Name], m.segments[v] = v, &segment{mode: d.segments[v].mode, stations: map[intent.MAC]station{}}
	}
	for uuid := range ch.Adjust {
		if s := m.segments[names[uuid]]; s != nil {
			s.mode = d.segments[names[uuid]].mode
		}
	}
	for k, u := range ch.Ucast {
		if s := m.segments[names[k.Logical]]; s != nil {
			s.stations[k.MAC] = station{u.VTEP, u.IP}
		}
	}
	for l, f := range ch.Mcast {
		if s := m.segments[names[l]]; s != nil {
			s.vteps = slices.Clone(f.VTEPs)
		}
	}
}

// pace spaces repairs: one goes at once, those that follow closely wait longer
// and longer.
type pace struct {
	next time.Time
	step time.Duration
}

// Waits between repairs.
const (
	paceFirst = 10 * time.Millisecond
	paceMost  = 5 * time.Second
	paceCalm  = 15 * time.Second // without repairs: the next goes at once
)

func (p *pace) wait(now time.Time) time.Duration { return max(0, p.next.Sub(now)) }

func (p *pace) mended(now time.Time) {
	if p.step == 0 || now.Sub(p.next) > paceCalm {
		p.step = paceFirst
	} else {
		p.step = min(2*p.step, paceMost)
	}
	p.next = now.Add(p.step)
}
