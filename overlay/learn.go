package overlay

import (
	"fmt"

	"github.com/weft-sdn/weft/controller/intent"
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
	for l, vtep := range e.stated {
		if _, ok := e.learned[l]; ok && vtep == e.vtep() && e.onVNI[l.VNI] > 0 {
			continue
		}
		delete(e.stated, l)
		m.unstate(node, e, l.VNI, learnedKey(l), learnedSource(node))
	}
	for l := range e.learned {
		if _, ok := e.stated[l]; ok || !e.vtep().IsValid() || e.onVNI[l.VNI] <= 0 {
			continue
		}
		e.stated[l] = e.vtep()
		k, p := learnedKey(l), evpn.Path{VTEP: e.vtep(), Source: learnedSource(node), Origin: evpn.OriginLearned}
		if r, ok := m.segment(l.VNI).Get(k); ok && r.VTEP != p.VTEP {
			p.Seq = r.Seq + 1 // it moved here (RFC 7432 section 7.7)
		}
		m.state(node, e, l.VNI, k, p)
	}
}

func learnedSource(node string) evpn.Source { return evpn.Source(node + "/learned") }

// state states a path that an edge learned or announces, unless it is for what
// a port owns elsewhere: then that is told. What speaks where a port is
// prepared is that port.
func (m *Model) state(node string, e *edge, v intent.VNI, k evpn.Key, p evpn.Path) {
	if m.arrived(node, e, v, k.MAC) {
		p.Seq = max(p.Seq, m.seqOf(v, k))
	}
	m.judge(node, e, v, k, p)
	seg := m.segment(v)
	frozen := seg.Frozen(k.MAC)
	if seg.Set(k, p) {
		m.touchedVNIs[v] = struct{}{}
	}
	m.mirror(v, k, p.Source)
	if !frozen && seg.Frozen(k.MAC) {
		r, _ := seg.Get(k)
		m.alarms = append(m.alarms, Alarm{Device: node, Reason: AlarmDuplicateMAC, Object: DuplicateObject(v, k.MAC),
			Message: fmt.Sprintf("the MAC moves back and forth; it is kept at VTEP %s (RFC 7432 section 15.1): find the second station, then clear the alarm", r.VTEP)})
	}
}

// seqOf is the sequence number of a row, zero when there is none.
func (m *Model) seqOf(v intent.VNI, k evpn.Key) uint32 {
	r, _ := m.segment(v).Get(k)
	return r.Seq
}

// unstate takes back what state stated.
func (m *Model) unstate(node string, e *edge, v intent.VNI, k evpn.Key, src evpn.Source) {
	if m.segment(v).Withdraw(k, src) {
		m.touchedVNIs[v] = struct{}{}
	}
	m.mirror(v, k, src)
	m.acquit(node, e, v, k, src)
}

func learnedKey(l Learned) evpn.Key {
	if l.IP.IsValid() {
		return evpn.HostKey(l.MAC, l.IP)
	}
	return evpn.MACKey(l.MAC)
}
