package overlay

import (
	"fmt"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Moved says that a port is in another place now.
type Moved struct {
	Port     intent.Ref
	From, To intent.Place
}

func (p place) export() intent.Place { return intent.Place{Node: p.node, Interface: p.iface} }

// noteMove keeps the moves for TakeMoved; also those of a port that was nowhere
// for a while.
func (m *Model) noteMove(r intent.Ref, old Attachment, had bool, now Attachment, has bool) {
	from, to := place{old.Node, old.Interface}, place{now.Node, now.Interface}
	switch {
	case had && !has:
		m.left[r] = from
		return
	case !has:
		return
	case !had:
		from = m.left[r]
		delete(m.left, r)
	}
	if from != (place{}) && from != to {
		m.moved = append(m.moved, Moved{Port: r, From: from.export(), To: to.export()})
	}
}

// standbyPlace is a place where a port is prepared.
type standbyPlace struct {
	port intent.Ref
	at   place
}

// noteFresh remembers where a port was prepared newly: somebody plugged it in
// there, so that it may move there; what it left by moving is not fresh.
func (m *Model) noteFresh(r intent.Ref, old Attachment, was, next []Attachment) {
	at := func(list []Attachment, p place) bool {
		return slices.ContainsFunc(list, func(a Attachment) bool { return a.Node == p.node && a.Interface == p.iface })
	}
	for _, a := range was {
		if p := (place{a.Node, a.Interface}); !at(next, p) {
			delete(m.fresh, standbyPlace{r, p})
		}
	}
	for _, a := range next {
		if p := (place{a.Node, a.Interface}); !at(was, p) && p != (place{old.Node, old.Interface}) {
			m.fresh[standbyPlace{r, p}] = struct{}{}
		}
	}
}

// TakeMoved returns the moves since the last call, oldest first.
func (m *Model) TakeMoved() []Moved {
	out := m.moved
	m.moved = nil
	return out
}

// Hold keeps ports that could be in several places prepared in all and used in
// none, until all edges have reported which one was in use, or hold ends.
func (m *Model) Hold(yes bool) {
	if m.holding == yes {
		return
	}
	m.holding = yes
	m.rebridgeAll(0)
	m.settleRouters()
	if !yes {
		m.settleHeld()
	}
}

// settleHeld settles the ports that are prepared somewhere and used nowhere.
func (m *Model) settleHeld() {
	for r := range m.standby {
		if _, ok := m.attached[r]; !ok {
			m.settle(r)
		}
	}
}

// Announced takes that a port in standby has spoken on an interface of a node:
// it is there from now on. A port that keeps coming back is kept where it is.
func (m *Model) Announced(node, iface string) {
	for r := range m.edge(node).standby {
		if m.nodes[node].local[r].Interface == iface {
			m.activate(r, place{node, iface})
		}
	}
}

// arrived activates a port in standby on an edge whose MAC the edge learned,
// and reports whether there was one.
func (m *Model) arrived(node string, e *edge, v intent.VNI, mac intent.MAC) bool {
	for r := range e.standby {
		if l := e.local[r]; l.VNI == v && l.MAC == mac {
			m.activate(r, place{node, l.Interface})
			return true
		}
	}
	return false
}

func (m *Model) activate(r intent.Ref, at place) {
	p := m.ports[r]
	_, fresh := m.fresh[standbyPlace{r, at}]
	if q := p.Spec.Requested; !fresh && (q.Node != at.node || q.Interface != "" && q.Interface != at.iface) {
		// Nobody asked for it: it may be in two places at once.
		if a, ok := m.attachment(r); ok {
			seg := m.segment(a.VNI)
			was := seg.Frozen(a.MAC)
			if seg.Moved(a.MAC) {
				if !was {
					m.alarms = append(m.alarms, Alarm{Device: at.node, Reason: AlarmDuplicateMAC, Object: DuplicateObject(a.VNI, a.MAC),
						Message: fmt.Sprintf("%s speaks on %s and on %s in turn; it is kept on %s (RFC 7432 section 15.1): unplug one, then clear the alarm",
							r, a.Node+":"+a.Interface, at.export(), a.Node)})
				}
				return
			}
		}
	}
	m.settleAt(r, at)
}

// ClearDuplicate lets a MAC move again that was kept because it moved too often;
// ok is false when it was not.
func (m *Model) ClearDuplicate(v intent.VNI, mac intent.MAC) (ok bool) {
	s := m.segments[v]
	if s == nil || !s.Frozen(mac) {
		return false
	}
	if s.Clear(mac) {
		m.touchedVNIs[v] = struct{}{}
	}
	m.alarms = append(m.alarms, Alarm{Reason: AlarmDuplicateMAC, Object: DuplicateObject(v, mac)})
	return true
}

// Standby returns where a port is prepared beside the place in use.
func (m *Model) Standby(port intent.Ref) []Attachment { return m.standby[port] }

// keyWords says a route's key in words.
func keyWords(k evpn.Key) string {
	if k.IP.IsValid() {
		return fmt.Sprintf("MAC %s with address %s", k.MAC, k.IP)
	}
	return fmt.Sprintf("MAC %s", k.MAC)
}
