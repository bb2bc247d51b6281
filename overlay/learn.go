package overlay

import (
	"net/netip"

	"github.com/weft-sdn/weft/overlay/evpn"
)

// Learn takes the stations that an edge has learned: all that it knows now.
// They become rows while the edge carries their segment. What a port of the
// intent originates keeps its own rows beside them.
func (m *Model) Learn(node string, all []Learned) { m.learn(node, m.edge(node), all) }

func (m *Model) learn(node string, e *edge, all []Learned) {
	e.learned = make(map[Learned]struct{}, len(all))
	for _, l := range all {
		e.learned[l] = struct{}{}
	}
	m.settleLearned(node, e)
}

// settleLearned brings the rows of an edge's learned stations in line.
func (m *Model) settleLearned(node string, e *edge) {
	src := evpn.Source(node + "/learned")
	for l, vtep := range e.stated {
		if _, ok := e.learned[l]; ok && vtep == e.vtep() && e.onVNI[l.VNI] > 0 {
			continue
		}
		delete(e.stated, l)
		if m.segment(l.VNI).Withdraw(learnedKey(l), src) {
			m.touchedVNIs[l.VNI] = struct{}{}
		}
	}
	for l := range e.learned {
		if _, ok := e.stated[l]; ok || !e.vtep().IsValid() || e.onVNI[l.VNI] <= 0 {
			continue
		}
		e.stated[l] = e.vtep()
		m.state(l, e.vtep(), src)
	}
}

func (m *Model) state(l Learned, vtep netip.Addr, src evpn.Source) {
	if m.segment(l.VNI).Move(learnedKey(l), evpn.Path{VTEP: vtep, Source: src}) {
		m.touchedVNIs[l.VNI] = struct{}{}
	}
}

func learnedKey(l Learned) evpn.Key {
	if l.IP.IsValid() {
		return evpn.HostKey(l.MAC, l.IP)
	}
	return evpn.MACKey(l.MAC)
}
