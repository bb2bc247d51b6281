package overlay

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// translating is what the model knows of floating IPs.
type translating struct {
	floating map[intent.Ref]*intent.FloatingIP
	of       map[intent.Ref]few[intent.Ref] // port -> floating IPs
}

func newTranslating() translating {
	return translating{floating: map[intent.Ref]*intent.FloatingIP{}, of: map[intent.Ref]few[intent.Ref]{}}
}

// externalVNI is the L3VNI of an external network; zero while it has none.
func (m *Model) externalVNI(ref intent.Ref) intent.VNI {
	if n := m.routerSpec(ref); n != nil {
		return n.Spec.VNI
	}
	return 0
}

// FixedAddress is the address of a port for which a floating IP stands: the one that
// it names, or the first of its family; ok is false when the port has no such one.
func FixedAddress(i *intent.FloatingIP, p *intent.Port) (fixed netip.Addr, ok bool) {
	a := i.Spec.Address
	at := slices.IndexFunc(p.Spec.Addresses, func(b netip.Addr) bool {
		return b.Is4() == a.Is4() && (b == i.Spec.Fixed || !i.Spec.Fixed.IsValid())
	})
	if !a.IsValid() || at < 0 {
		return netip.Addr{}, false
	}
	return p.Spec.Addresses[at], true
}

// natOf is how an edge translates for a port; nil when it does not.
func (m *Model) natOf(p *intent.Port, e *edge) *NAT {
	r := m.routerOf(p.NetworkRef())
	if r == nil || r.spec.Spec.External == nil || e.spec == nil || e.spec.Spec.VSwitch == nil || r.routing[p.NetworkRef()] == nil {
		return nil
	}
	x := r.spec.Spec.External
	out := &NAT{External: m.externalVNI(x.Ref())}
	if out.External == 0 {
		return nil
	}
	if x.SNAT {
		out.Sources = e.sources(x.Ref())
	}
	for ref := range m.translating.of[p.Ref()].all() {
		f := m.translating.floating[ref]
		if fixed, ok := FixedAddress(f, p); ok && f.ExternalRef() == x.Ref() && r.routing[p.NetworkRef()].routes(m.networks[p.NetworkRef()].Spec.VNI, fixed) {
			out.Floating = append(out.Floating, Floating{f.Spec.Address, fixed})
		}
	}
	slices.SortFunc(out.Floating, func(a, b Floating) int { return a.Address.Compare(b.Address) })
	return out
}

// sources are an edge's own addresses in an external network, at most one of each
// family.
func (e *edge) sources(external intent.Ref) (out []netip.Addr) {
	if e.spec == nil || e.spec.Spec.VSwitch == nil {
		return nil
	}
	for _, s := range e.spec.Spec.VSwitch.SourceAddresses {
		if intent.ExternalRef(s.External) == external {
			out = append(out, s.Addresses...)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.CompactFunc(out, func(a, b netip.Addr) bool { return a.Is4() == b.Is4() })
}

// putFloating takes a floating IP, new or changed, or with nil its deletion.
func (m *Model) putFloating(ref intent.Ref, now *intent.FloatingIP) {
	ports := map[intent.Ref]struct{}{}
	if old := m.translating.floating[ref]; old != nil {
		ports[old.PortRef()] = struct{}{}
		if left := m.translating.of[old.PortRef()].without(ref); left.empty() {
			delete(m.translating.of, old.PortRef())
		} else {
			m.translating.of[old.PortRef()] = left
		}
		delete(m.translating.floating, ref)
	}
	if now != nil {
		ports[now.PortRef()] = struct{}{}
		m.translating.of[now.PortRef()] = m.translating.of[now.PortRef()].with(ref)
		m.translating.floating[ref] = now
	}
	m.settleAll(ports)
}

// key is that of the row: the station is the edge itself.
func (r sourceRow) key(vtep netip.Addr) evpn.Key {
	return evpn.HostKey(intent.RouterMAC(vtep), r.address)
}

// outsideAlike reports whether routers translate alike; either may be nil.
func outsideAlike(a, b *intent.RouterExternal) bool {
	return a.Ref() == b.Ref() && (a != nil && a.SNAT) == (b != nil && b.SNAT)
}

// sourcesAlike reports whether two states of a node have the same source addresses;
// the old one may be nil.
func sourcesAlike(old, now *intent.Node) bool {
	of := func(n *intent.Node) []intent.SourceAddress {
		if n == nil || n.Spec.VSwitch == nil {
			return nil
		}
		return n.Spec.VSwitch.SourceAddresses
	}
	return slices.EqualFunc(of(old), of(now), func(a, b intent.SourceAddress) bool {
		return a.External == b.External && slices.Equal(a.Addresses, b.Addresses)
	})
}

// settleOutside settles the ports of a router whose way outside changed.
func (m *Model) settleOutside(r *intent.Router) {
	for _, n := range r.Spec.Networks {
		m.settleAll(m.portsOf[r.NetworkRef(n)])
	}
}

// sourceRow is the row of an edge's source address.
type sourceRow struct {
	external intent.VNI
	address  netip.Addr
}

// settleAllSources states those of all edges anew.
func (m *Model) settleAllSources() {
	for _, name := range slices.Sorted(maps.Keys(m.nodes)) {
		m.settleSources(m.nodes[name])
	}
}

// settleSources states the rows of an edge's source addresses, each in the table of
// its external network, by which answers find the edge.
func (m *Model) settleSources(e *edge) {
	now := map[sourceRow]netip.Addr{}
	if e.spec != nil && e.spec.Spec.VSwitch != nil && e.vtep().IsValid() {
		for _, s := range e.spec.Spec.VSwitch.SourceAddresses {
			ref := intent.ExternalRef(s.External)
			for _, a := range e.sources(ref) {
				if v := m.externalVNI(ref); v != 0 {
					now[sourceRow{v, a}] = e.vtep()
				}
			}
		}
	}
	for row, vtep := range now {
		p := evpn.Path{VTEP: vtep, RouterMAC: intent.RouterMAC(vtep), Source: evpn.Source(e.key)}
		if m.segment(row.external).Move(row.key(vtep), p) {
			m.touchedVNIs[row.external] = struct{}{}
		}
	}
	for row, vtep := range e.sourceRows {
		if now[row] != vtep && m.segment(row.external).Withdraw(row.key(vtep), evpn.Source(e.key)) {
			m.touchedVNIs[row.external] = struct{}{}
		}
	}
	e.sourceRows = now
}

// originateFloating states the rows of an attached port's floating IPs.
func (m *Model) originateFloating(a Attachment) {
	if a.NAT == nil {
		return
	}
	for _, f := range a.NAT.Floating {
		if m.segment(a.NAT.External).Move(evpn.HostKey(a.MAC, f.Address), evpn.Path{VTEP: a.VTEP, RouterMAC: a.RouterMAC, Source: source(a)}) {
			m.touchedVNIs[a.NAT.External] = struct{}{}
		}
	}
}

// withdrawFloating takes back the rows of floating IPs that the old attachment had
// and the new one, if any, did not take over.
func (m *Model) withdrawFloating(old, now Attachment, has bool) {
	if old.NAT == nil {
		return
	}
	same := has && now.NAT != nil && now.NAT.External == old.NAT.External && source(old) == source(now) && old.MAC == now.MAC
	for _, f := range old.NAT.Floating {
		kept := same && slices.ContainsFunc(now.NAT.Floating, func(n Floating) bool { return n.Address == f.Address })
		if !kept && m.segment(old.NAT.External).Withdraw(evpn.HostKey(old.MAC, f.Address), source(old)) {
			m.touchedVNIs[old.NAT.External] = struct{}{}
		}
	}
}
