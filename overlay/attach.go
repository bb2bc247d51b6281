package overlay

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// settle brings what follows from one port in line: where it is attached and
// where it is prepared, its rows, and the local ports of the edges it leaves
// and enters.
func (m *Model) settle(r intent.Ref) { m.settleAt(r, place{}) }

// settleAt settles a port that is to be at a place from now on, if it can be
// there.
func (m *Model) settleAt(r intent.Ref, prefer place) {
	old, had := m.attachment(r)
	wasOnLeaf, isOnLeaf := m.attached[r].onLeaf, false
	was := m.standby[r]
	now, has, next := m.place(r, prefer)
	if had == has && (!had || old.equal(now)) && slices.EqualFunc(was, next, Attachment.equal) {
		return
	}
	m.countHeld(had, was, -1)
	m.countHeld(has, next, 1)
	if has {
		e := m.nodes[now.Node]
		isOnLeaf = now.Routing != nil && e.spec.Spec.EVPN != nil
		m.attached[r] = attached{e, now.VTEP, now.RouterMAC, isOnLeaf}
		m.serve(now)
		m.originate(now)
	} else {
		delete(m.attached, r)
	}
	before := place{old.Node, old.Interface}
	if !had {
		before = m.left[r]
	}
	moved := has && before != (place{}) && before.node != now.Node
	m.noteMove(r, old, had, now, has)
	if len(next) > 0 {
		m.standby[r] = next
	} else {
		delete(m.standby, r)
	}
	for _, a := range next {
		m.serve(a)
	}
	m.noteFresh(r, old, was, next)
	stays := func(node string) bool {
		return has && now.Node == node || slices.ContainsFunc(next, func(a Attachment) bool { return a.Node == node })
	}
	for _, a := range was {
		if !stays(a.Node) {
			m.unserve(a)
		}
	}
	if had {
		if !stays(old.Node) {
			m.unserve(old)
		}
		m.withdraw(old, now, has)
	}
	if has {
		m.own(now)
	}
	m.settleMembers(r, old, had, now, has)
	m.judgePort(old, had, now, has, moved)
	m.countOnLeaves(old, wasOnLeaf, now, isOnLeaf)
	if had != has {
		m.hopPort(r)
	}
	m.settleRouters()
}

// countHeld counts the places of a port that is prepared but nowhere in use.
func (m *Model) countHeld(used bool, prepared []Attachment, by int) {
	if used {
		return
	}
	for _, a := range prepared {
		if m.held[a.VTEP] += by; m.held[a.VTEP] == 0 {
			delete(m.held, a.VTEP)
		}
	}
}

// place finds where a port is, and where it is to be prepared; ok is false
// while it is nowhere.
func (m *Model) place(r intent.Ref, prefer place) (at Attachment, ok bool, standby []Attachment) {
	p := m.ports[r]
	if p == nil {
		return Attachment{}, false, nil
	}
	n := m.networks[p.NetworkRef()]
	if n == nil || n.Spec.VNI == 0 {
		return Attachment{}, false, nil
	}
	use, ok, others := m.choose(p, prefer)
	policy, domain := m.policyOf(p), intent.VNI(0)
	if policy != nil {
		domain = m.domainOf(n)
	}
	shares := m.routingOf(p)
	attach := func(at place, standby bool) Attachment {
		e := m.nodes[at.node]
		routing, routerMAC := shares.at(e), intent.MAC{}
		if routing != nil {
			routerMAC = e.routerMACOf(routing.VRF.VNI)
		}
		return Attachment{
			LocalPort: LocalPort{Port: r, VNI: n.Spec.VNI, Interface: at.iface, VLAN: p.Spec.Binding.VLAN,
				OFPort: e.ifaces[at.iface].OFPort, MAC: p.Spec.MAC, Addresses: p.Spec.Addresses,
				Encap: n.Spec.Encapsulation.Full(), Standby: standby, Routing: routing, Services: m.served.by[n.Ref()], QoS: compileQoS(p.Spec.QoS), TenantQoS: m.limits[r.Tenant], NAT: m.natOf(p, e), Policy: policy, Domain: domain, ACLs: m.acls.of[n.Ref()]},
			Node: at.node, VTEP: e.vtep(), RouterMAC: routerMAC,
		}
	}
	if ok {
		at = attach(use, false)
	}
	for _, c := range others {
		standby = append(standby, attach(c, true))
	}
	return at, ok, standby
}

// choose picks the place of a port among those that can carry it, and those
// where it is to be prepared: one on each other node. The place in use stays
// until the port speaks elsewhere or the place is gone.
func (m *Model) choose(p *intent.Port, prefer place) (use place, ok bool, standby []place) {
	var at []place
	for c := range m.claims(p) {
		if e := m.nodes[c.node]; e.vtep().IsValid() && (e.ifaces[c.iface].OFPort != 0 || e.unmanaged()) {
			at = append(at, c)
		}
	}
	if len(at) == 0 {
		return place{}, false, nil
	}
	slices.SortFunc(at, comparePlaces)
	old, _ := m.attachment(p.Ref())
	q := p.Spec.Requested
	rank := func(c place) int {
		switch {
		case c == prefer:
			return 0
		case c == place{old.Node, old.Interface}:
			return 1
		case m.nodes[c.node].ifaces[c.iface].Active:
			return 2
		case c.node == q.Node && (q.Interface == "" || q.Interface == c.iface):
			return 3
		}
		return 4
	}
	use = slices.MinFunc(at, func(a, b place) int { return cmp.Compare(rank(a), rank(b)) })
	// Who was in use before a restart may not have reported yet.
	ok = rank(use) < 3 || !m.holding || p.Spec.Binding.IfaceID == "" && q.IsZero() || m.AllReported()
	for _, c := range at {
		if (!ok || c.node != use.node) && !slices.ContainsFunc(standby, func(s place) bool { return s.node == c.node }) {
			standby = append(standby, c)
		}
	}
	return use, ok, standby
}

// claims yields the places that say they have the port, usable or not.
func (m *Model) claims(p *intent.Port) iter.Seq[place] {
	return func(yield func(place) bool) {
		b, q := p.Spec.Binding, p.Spec.Requested
		if b.IfaceID != "" {
			if m.byIface[b.IfaceID] != p.Ref() {
				return
			}
			for c := range m.seen[b.IfaceID].all() {
				if !yield(c) {
					return
				}
			}
		}
		for _, c := range []place{{b.Node, b.Interface}, {q.Node, q.Interface}} {
			e := m.nodes[c.node]
			if e == nil || c.iface == "" {
				continue
			}
			if i, ok := e.ifaces[c.iface]; !ok && !e.unmanaged() || b.IfaceID != "" && i.IfaceID == b.IfaceID {
				continue // not there, or yielded already
			}
			if !yield(c) {
				return
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

// serve makes a port a local one of an edge.
func (m *Model) serve(a Attachment) {
	e := m.nodes[a.Node]
	was, ok := e.local[a.Port]
	if ok && was.Equal(a.LocalPort) && e.floods[a.VNI] == a.VTEP {
		return
	}
	if !ok || was.VNI != a.VNI {
		if ok {
			m.count(a.Node, e, was.VNI, -1, a.VTEP)
		}
		m.count(a.Node, e, a.VNI, 1, a.VTEP)
	} else {
		// The VTEP may have changed under the node.
		m.flood(a.Node, e, a.VNI, a.VTEP)
	}
	m.read(a.Node, e, a.Reads(), 1)
	if ok {
		m.read(a.Node, e, was.Reads(), -1)
	}
	e.ownLocal()
	e.local[a.Port] = a.LocalPort
	e.localRev++
	if a.Standby {
		e.standby[a.Port] = struct{}{}
	} else {
		delete(e.standby, a.Port)
	}
	m.touchedNodes[a.Node] = struct{}{}
}

// ownLocal makes the map of local ports one that no reader has.
func (e *edge) ownLocal() {
	if e.lent.Swap(false) {
		e.local = maps.Clone(e.local)
	}
}

// unserve takes a port from an edge.
func (m *Model) unserve(a Attachment) {
	e := m.nodes[a.Node]
	m.read(a.Node, e, e.local[a.Port].Reads(), -1)
	e.ownLocal()
	delete(e.local, a.Port)
	e.localRev++
	delete(e.standby, a.Port)
	m.touchedNodes[a.Node] = struct{}{}
	m.count(a.Node, e, a.VNI, -1, a.VTEP)
}

// originate states the rows of an attached port.
func (m *Model) originate(a Attachment) {
	seg := m.segment(a.VNI)
	for _, k := range Routes(a.MAC, a.Addresses) {
		if seg.Move(k, evpn.Path{VTEP: a.VTEP, Source: source(a)}) {
			m.touchedVNIs[a.VNI] = struct{}{}
		}
	}
	m.originateHosts(a)
	m.originateFloating(a)
}

// withdraw takes back the rows that the old attachment originated and the new
// one, if any, did not take over. It comes after originate, so that a port that
// moves is never absent from the table.
func (m *Model) withdraw(old, now Attachment, has bool) {
	var keep []evpn.Key
	if has && old.VNI == now.VNI && source(old) == source(now) {
		keep = Routes(now.MAC, now.Addresses)
	}
	seg := m.segment(old.VNI)
	for _, k := range Routes(old.MAC, old.Addresses) {
		if !slices.Contains(keep, k) && seg.Withdraw(k, source(old)) {
			m.touchedVNIs[old.VNI] = struct{}{}
		}
	}
	for _, ip := range old.Addresses {
		if !has || now.VNI != old.VNI || !slices.Contains(now.Addresses, ip) {
			m.disown(address{old.VNI, ip}, old.MAC)
		}
	}
	m.withdrawHosts(old, now, has)
	m.withdrawFloating(old, now, has)
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
		m.settleReplicators(v)
		m.rebridge(v)
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
		p := evpn.Path{VTEP: vtep, Source: evpn.Source(node), Replicator: m.replicator(e, v)}
		changed = m.segment(v).Set(evpn.FloodKey(vtep), p) || changed
		e.floods[v] = vtep
	}
	if changed {
		m.touchedVNIs[v] = struct{}{}
	}
}

// serviceNode is the replication mode of a switch that can't replicate itself
// (vtep(5), Logical_Switch replication_mode).
const serviceNode = "service_node"

// replicator picks the vSwitch that replicates for an edge which can't: the
// first by name among those that have the VNI.
func (m *Model) replicator(e *edge, v intent.VNI) netip.Addr {
	if e.serviced() == 0 {
		return netip.Addr{}
	}
	for _, n := range slices.Sorted(m.Carriers(v)) {
		if o := m.nodes[n]; o.spec != nil && o.spec.Spec.VSwitch != nil {
			return o.vtep()
		}
	}
	return netip.Addr{}
}

// settleReplicators states the IMET routes again of edges that another one
// replicates for.
func (m *Model) settleReplicators(v intent.VNI) {
	if m.serviced == 0 {
		return
	}
	for n := range m.carriers[v] {
		if e := m.nodes[n]; e.spec != nil && e.spec.Spec.HardwareVTEP != nil && e.onVNI[v] > 0 {
			m.flood(n, e, v, e.vtep())
		}
	}
}

func (m *Model) segment(v intent.VNI) *evpn.Segment {
	s := m.segments[v]
	if s == nil {
		s = evpn.After(m.past)
		s.Clock = m.Clock
		if n := m.byVNI[v]; n != nil {
			s.Follow(n.Spec.Spoofing == intent.SpoofingReport)
		}
		m.segments[v] = s
	}
	return s
}
