package overlay

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// settle brings what follows from one port in line: its attachment, its rows
// and the local ports of the edges it leaves and enters.
func (m *Model) settle(r intent.Ref) {
	old, had := m.attached[r]
	now, has := m.place(r)
	if had && has && old.equal(now) {
		return
	}
	if has {
		m.attached[r] = now
		m.enter(now)
	} else {
		delete(m.attached, r)
	}
	if had {
		m.leave(old, now, has)
	}
}

// place finds where a port is; ok is false while it is nowhere.
func (m *Model) place(r intent.Ref) (Attachment, bool) {
	p := m.ports[r]
	if p == nil {
		return Attachment{}, false
	}
	n := m.networks[p.NetworkRef()]
	if n == nil || n.Spec.VNI == 0 {
		return Attachment{}, false
	}
	at, ok := m.choose(p)
	if !ok {
		return Attachment{}, false
	}
	e := m.nodes[at.node]
	return Attachment{
		LocalPort: LocalPort{Port: r, VNI: n.Spec.VNI, Interface: at.iface, VLAN: p.Spec.Binding.VLAN,
			OFPort: e.ifaces[at.iface].OFPort, MAC: p.Spec.MAC, Addresses: p.Spec.Addresses,
			Encap: n.Spec.Encapsulation.Full()},
		Node: at.node, VTEP: e.vtep(),
	}, true
}

// choose picks the place of a port among those that can carry it: the one in
// use if it still can, else the first by name.
func (m *Model) choose(p *intent.Port) (place, bool) {
	var at []place
	for c := range m.claims(p) {
		if e := m.nodes[c.node]; e.vtep().IsValid() && e.ifaces[c.iface].OFPort != 0 {
			at = append(at, c)
		}
	}
	if len(at) == 0 {
		return place{}, false
	}
	if old, ok := m.attached[p.Ref()]; ok {
		if use := (place{old.Node, old.Interface}); slices.Contains(at, use) {
			return use, true
		}
	}
	return slices.MinFunc(at, comparePlaces), true
}

// claims yields the places that say they have the port, usable or not.
func (m *Model) claims(p *intent.Port) iter.Seq[place] {
	return func(yield func(place) bool) {
		b := p.Spec.Binding
		if b.IfaceID != "" {
			if m.byIface[b.IfaceID] != p.Ref() {
				return
			}
			for c := range m.seen[b.IfaceID] {
				if !yield(c) {
					return
				}
			}
			return
		}
		if e := m.nodes[b.Node]; e != nil {
			if _, ok := e.ifaces[b.Interface]; ok {
				yield(place{b.Node, b.Interface})
			}
		}
	}
}

func comparePlaces(a, b place) int {
	return cmp.Or(strings.Compare(a.node, b.node), strings.Compare(a.iface, b.iface))
}

// Routes lists the routes that a port originates: its MAC alone, and its MAC
// with each address (RFC 7432 section 10).
func Routes(mac intent.MAC, addresses []netip.Addr) []evpn.Key {
	ks := make([]evpn.Key, 0, 1+len(addresses))
	ks = append(ks, evpn.MACKey(mac))
	for _, a := range addresses {
		ks = append(ks, evpn.HostKey(mac, a))
	}
	return ks
}

func (m *Model) enter(a Attachment) {
	seg := m.segment(a.VNI)
	e := m.nodes[a.Node]
	if was, ok := e.local[a.Port]; !ok || was.VNI != a.VNI {
		if ok {
			m.count(a.Node, e, was.VNI, -1, a.VTEP)
		}
		m.count(a.Node, e, a.VNI, 1, a.VTEP)
	} else {
		// The VTEP may have changed under the node.
		m.flood(a.Node, e, a.VNI, a.VTEP)
	}
	e.local[a.Port] = a.LocalPort
	m.touchedNodes[a.Node] = struct{}{}
	for _, k := range Routes(a.MAC, a.Addresses) {
		if seg.Move(k, evpn.Path{VTEP: a.VTEP, Source: source(a)}) {
			m.touchedVNIs[a.VNI] = struct{}{}
		}
	}
}

// leave undoes what the old attachment made and the new one, if any, did not
// take over. It comes after enter, so that a port that moves is never absent
// from the table.
func (m *Model) leave(old, now Attachment, has bool) {
	var keep []evpn.Key
	same := has && old.VNI == now.VNI && source(old) == source(now)
	if same {
		keep = Routes(now.MAC, now.Addresses)
	}
	seg := m.segment(old.VNI)
	for _, k := range Routes(old.MAC, old.Addresses) {
		if !slices.Contains(keep, k) && seg.Withdraw(k, source(old)) {
			m.touchedVNIs[old.VNI] = struct{}{}
		}
	}
	if has && old.Node == now.Node {
		return
	}
	e := m.nodes[old.Node]
	delete(e.local, old.Port)
	m.touchedNodes[old.Node] = struct{}{}
	m.count(old.Node, e, old.VNI, -1, old.VTEP)
}

// source names the place of an attachment: two places of one port are two
// sources.
func source(a Attachment) evpn.Source {
	return evpn.Source(a.Node + "/" + a.Port.Tenant + "/" + a.Port.Name)
}

// count changes the number of ports that a node has on a VNI. The first makes
// the node a member of the flood list, the last takes it out.
func (m *Model) count(node string, e *edge, v intent.VNI, by int, vtep netip.Addr) {
	was := e.onVNI[v] > 0
	e.onVNI[v] += by
	m.flood(node, e, v, vtep)
	if e.onVNI[v] <= 0 {
		delete(e.onVNI, v)
	}
	if is := e.onVNI[v] > 0; is != was {
		if is && m.carriers[v] == nil {
			m.carriers[v] = map[string]struct{}{}
		}
		if is {
			m.carriers[v][node] = struct{}{}
		} else if delete(m.carriers[v], node); len(m.carriers[v]) == 0 {
			delete(m.carriers, v)
		}
		m.settleLearned(node, e)
	}
}

// flood states the node's IMET route, or takes it back when the node has no
// port on the VNI.
func (m *Model) flood(node string, e *edge, v intent.VNI, vtep netip.Addr) {
	said, changed := e.floods[v], false
	if said.IsValid() && (said != vtep || e.onVNI[v] <= 0) {
		changed = m.segment(v).Withdraw(evpn.FloodKey(said), evpn.Source(node))
		delete(e.floods, v)
	}
	if e.onVNI[v] > 0 {
		changed = m.segment(v).Set(evpn.FloodKey(vtep), evpn.Path{VTEP: vtep, Source: evpn.Source(node)}) || changed
		e.floods[v] = vtep
	}
	if changed {
		m.touchedVNIs[v] = struct{}{}
	}
}

func (m *Model) segment(v intent.VNI) *evpn.Segment {
	s := m.segments[v]
	if s == nil {
		s = &evpn.Segment{}
		m.segments[v] = s
	}
	return s
}
