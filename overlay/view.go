package overlay

import (
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Local returns the ports that a node must serve. The map is shared by all who
// ask while nothing changes: nobody may change it, and it never changes. It may be
// called by several at once.
func (m *Model) Local(node string) map[intent.Ref]LocalPort {
	if e := m.nodes[node]; e != nil {
		e.lent.Store(true)
		return e.local
	}
	return nil
}

// Behind lists, in no order, the segments of the cursors that have newer rows,
// and counts the changes of what Local returns, from one on.
func (m *Model) Behind(node string, cursors map[intent.VNI]evpn.Revision) (local uint64, newer []intent.VNI) {
	for v, at := range cursors {
		if s := m.segments[v]; s != nil && s.Rev() != at {
			newer = append(newer, v)
		}
	}
	if e := m.nodes[node]; e != nil {
		local = e.localRev
	}
	return local + 1, newer
}

// Segment returns the table of a VNI, nil when there is none. The model keeps
// owning it.
func (m *Model) Segment(v intent.VNI) *evpn.Segment { return m.segments[v] }

// VNIs yields the VNIs that have a table, in no order.
func (m *Model) VNIs() iter.Seq[intent.VNI] { return maps.Keys(m.segments) }

// Trim drops the tombstones of a VNI up to the revision that all readers have
// passed, and the table itself once it is empty and has no reader left.
func (m *Model) Trim(v intent.VNI, read evpn.Revision, readers int) {
	s := m.segments[v]
	if s == nil {
		return
	}
	if readers == 0 {
		read = s.Rev()
	}
	s.Trim(read)
	if readers == 0 && s.Len() == 0 {
		m.past = max(m.past, s.Rev())
		delete(m.segments, v)
	}
}

// Attachment returns where a port is; ok is false while it is nowhere.
func (m *Model) Attachment(port intent.Ref) (Attachment, bool) {
	return m.attachment(port)
}

// Port returns a port's intent as the model knows it, or nil.
func (m *Model) Port(r intent.Ref) *intent.Port { return m.ports[r] }

// Network returns a network's intent as the model knows it, or nil.
func (m *Model) Network(r intent.Ref) *intent.Network { return m.networks[r] }

// Router returns a router's intent as the model knows it, or nil.
func (m *Model) Router(r intent.Ref) *intent.Router { return m.routerSpec(r) }

// PortsOf lists the ports of a network by name.
func (m *Model) PortsOf(network intent.Ref) []intent.Ref {
	return slices.SortedFunc(maps.Keys(m.portsOf[network]), compareRefs)
}

// HasPool reports whether an external network has addresses of a family.
func (m *Model) HasPool(external intent.Ref, v4 bool) bool {
	r := m.routers[external]
	return r != nil && r.outside != nil && slices.ContainsFunc(r.outside.Spec.Pools, func(p netip.Prefix) bool { return p.Addr().Is4() == v4 })
}

// Node returns a node's intent as the model knows it, or nil.
func (m *Model) Node(name string) *intent.Node {
	if e := m.nodes[name]; e != nil {
		return e.spec
	}
	return nil
}

// Edges lists, by name, the nodes that end tunnels.
func (m *Model) Edges() []string {
	var names []string
	for name, e := range m.nodes {
		if e.spec != nil && e.spec.Spec.Edge() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Carriers yields the nodes that have local ports on a VNI or need its table, as the
// borders of an external network do, in no order.
func (m *Model) Carriers(v intent.VNI) iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := range m.carriers[v] {
			if !yield(n) {
				return
			}
		}
		x := m.ExternalWith(v)
		if x == nil {
			return
		}
		for _, b := range x.Spec.Borders {
			if _, has := m.carriers[v][b.Node]; !has && !yield(b.Node) {
				return
			}
		}
	}
}

// Carries reports whether a node has ports of a VNI.
func (m *Model) Carries(node string, v intent.VNI) bool {
	_, ok := m.carriers[v][node]
	return ok
}

// Place is a place that claims a port.
type Place struct {
	Node      string
	Interface Interface
}

// Places lists every place that claims a port, also those that can't carry it,
// by node and interface.
func (m *Model) Places(port intent.Ref) []Place {
	p := m.ports[port]
	if p == nil {
		return nil
	}
	at := slices.SortedFunc(m.claims(p), comparePlaces)
	out := make([]Place, len(at))
	for i, c := range at {
		out[i] = Place{c.node, m.nodes[c.node].ifaces[c.iface]}
	}
	return out
}

// PortsAt lists the ports that are on a node, or are bound or moving to it, sorted.
func (m *Model) PortsAt(node string) []intent.Ref {
	at := map[intent.Ref]struct{}{}
	for r := range m.Local(node) {
		at[r] = struct{}{}
	}
	for p, refs := range m.byPlace {
		if p.node != node {
			continue
		}
		for r := range refs.all() {
			at[r] = struct{}{}
		}
	}
	return slices.SortedFunc(maps.Keys(at), compareRefs)
}

// NetworkOf returns the network that has a VNI, or nil.
func (m *Model) NetworkOf(v intent.VNI) *intent.Network { return m.byVNI[v] }

// IsEVPN reports whether a VTEP is that of an EVPN leaf.
func (m *Model) IsEVPN(vtep netip.Addr) bool {
	_, ok := m.leaves[vtep]
	return ok
}

// OthersReported reports whether all edges have reported but EVPN leaves, which
// do so by BGP.
func (m *Model) OthersReported() bool {
	for name := range m.unreported {
		if m.nodes[name].spec.Spec.EVPN == nil {
			return false
		}
	}
	return true
}
