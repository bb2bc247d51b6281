package overlay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Alarm is raised, or with an empty message ended.
type Alarm struct {
	Device string // who caused it; any when it ends
	Reason string
	Object string
	// Message is a sentence for people.
	Message string
}

// Reasons of alarms.
const (
	AlarmDuplicateMAC = "DuplicateMAC" // a MAC moves back and forth (RFC 7432 section 15.1)
	AlarmSpoofing     = "Spoofing"     // an edge announces what is another port's
	AlarmUnknownVNI   = "UnknownVNI"   // a route for a VNI that no network has
)

type alarmKey struct{ reason, object string }

// DuplicateObject names what an alarm DuplicateMAC is about.
func DuplicateObject(v intent.VNI, mac intent.MAC) string {
	return fmt.Sprintf("VNI %d MAC %s", v, mac)
}

func (m *Model) spoofed(v intent.VNI, k evpn.Key) alarmKey {
	if k.IP.IsValid() {
		return alarmKey{AlarmSpoofing, fmt.Sprintf("VNI %d MAC %s address %s", v, k.MAC, k.IP)}
	}
	return alarmKey{AlarmSpoofing, fmt.Sprintf("VNI %d MAC %s", v, k.MAC)}
}

// say counts the causes of an edge's alarm up or down; the first raises it, the
// last gone ends it.
func (m *Model) say(node string, e *edge, k alarmKey, by int, message string) {
	n := e.said[k]
	if by < 0 && n == 0 {
		return
	}
	if n+by > 0 {
		e.said[k] = n + by
	} else {
		delete(e.said, k)
	}
	if n == 0 || n+by == 0 {
		m.alarms = append(m.alarms, Alarm{Device: node, Reason: k.reason, Object: k.object, Message: message})
	}
}

// rowOf names a row of a segment table.
type rowOf struct {
	vni intent.VNI
	key evpn.Key
}

// offence is that an edge announces what a port elsewhere owns.
type offence struct {
	node string
	vtep netip.Addr // the port's
}

// judge raises an alarm when an edge's path for a row offends against a port,
// and ends it when it does so no longer.
func (m *Model) judge(node string, e *edge, v intent.VNI, k evpn.Key, p evpn.Path) {
	owner, owned := ownerOf(m.segment(v).Paths(k), p.VTEP)
	at := rowOf{v, k}
	o, was := m.offences[at][p.Source]
	switch {
	case !owned:
		m.acquit(node, e, v, k, p.Source)
		return
	case was && o.vtep == owner:
		return
	}
	if m.offences[at] == nil {
		m.offences[at] = map[evpn.Source]offence{}
	}
	m.offences[at][p.Source] = offence{node, owner}
	message := fmt.Sprintf("%s announces %s, which is a port's at VTEP %s", node, keyWords(k), owner)
	if s := m.spoofed(v, k); was { // the port moved: the same alarm says where to
		m.alarms = append(m.alarms, Alarm{Device: node, Reason: s.reason, Object: s.object, Message: message})
	} else {
		m.say(node, e, s, 1, message)
	}
}

// acquit ends what judge raised of a path, if it did.
func (m *Model) acquit(node string, e *edge, v intent.VNI, k evpn.Key, src evpn.Source) {
	at := rowOf{v, k}
	if _, ok := m.offences[at][src]; !ok {
		return
	}
	if delete(m.offences[at], src); len(m.offences[at]) == 0 {
		delete(m.offences, at)
	}
	m.say(node, e, m.spoofed(v, k), -1, "")
}

// judgePort judges who announces what a port has now or had before. What a port
// that moved leaves behind at edges is no offence, as they take it back by
// themselves: there only what was one already is judged.
func (m *Model) judgePort(old Attachment, had bool, now Attachment, has, moved bool) {
	var were []evpn.Key
	if had {
		were = Routes(old.MAC, old.Addresses)
		for _, k := range were {
			m.judgeRow(old.VNI, k, false)
		}
	}
	if !has {
		return
	}
	for _, k := range Routes(now.MAC, now.Addresses) {
		m.judgeRow(now.VNI, k, !moved && (old.VNI != now.VNI || !slices.Contains(were, k)))
	}
}

// judgeRow judges all paths for a row, or those only that offend already.
func (m *Model) judgeRow(v intent.VNI, k evpn.Key, all bool) {
	seg, offences := m.segment(v), m.offences[rowOf{v, k}]
	if len(offences) == 0 && (!all || !seg.Contested(k)) {
		return
	}
	for _, p := range seg.Paths(k) {
		if _, ok := offences[p.Source]; p.Origin == evpn.OriginPort || !all && !ok {
			continue
		}
		node, _, _ := strings.Cut(string(p.Source), "/")
		m.judge(node, m.nodes[node], v, k, p)
	}
}

// ownerOf returns the VTEP of the port that has one of the paths, when there is
// one and none at a given VTEP.
func ownerOf(paths []evpn.Path, but netip.Addr) (vtep netip.Addr, ok bool) {
	for _, p := range paths {
		switch {
		case p.Origin != evpn.OriginPort:
		case p.VTEP == but:
			return netip.Addr{}, false
		default:
			vtep, ok = p.VTEP, true
		}
	}
	return vtep, ok
}

// TakeAlarms returns what was raised and ended since the last call, of each
// alarm the last word: routes that are taken again make no noise.
func (m *Model) TakeAlarms() []Alarm {
	out := m.alarms
	m.alarms = nil
	if len(out) < 2 {
		return out
	}
	last := make(map[Alarm]int, len(out))
	for i, a := range out {
		last[a.bare()] = i
	}
	keep := out[:0]
	for i, a := range out {
		if last[a.bare()] == i {
			keep = append(keep, a)
		}
	}
	return keep
}

// bare is which alarm it is, without what it says.
func (a Alarm) bare() Alarm {
	a.Message = ""
	return a
}
