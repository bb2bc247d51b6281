package overlay

import (
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// host is a row of a port in the table of an L3VNI.
type host struct {
	table intent.VNI
	key   evpn.Key
	path  evpn.Path
}

// hosts are the rows of a port in the table of its router: one for each address
// in a subnet, one more when it is a next hop, and the prefixes that are behind
// it then, for VTEPs that know no static routes. Where other VTEPs must know what is
// shared, it is in the table of the other VRF as well: what the router advertises in
// an external network, and what a router with stations on EVPN leaves has of it.
func hosts(a Attachment) []host {
	if a.Routing == nil {
		return nil
	}
	v := a.Routing.VRF.VNI
	path := evpn.Path{VTEP: a.VTEP, VNI: a.VNI, RouterMAC: a.RouterMAC, Source: source(a)}
	var out []host
	for _, ip := range a.Addresses {
		if !a.Routing.routes(a.VNI, ip) {
			continue
		}
		out = append(out, host{v, evpn.HostKey(a.MAC, ip), path})
		for _, l := range a.Routing.VRF.Leaks {
			if l.tells() && l.from(ip) {
				out = append(out, host{l.VRF.VNI, evpn.HostKey(a.MAC, ip), path})
			}
		}
	}
	for _, p := range a.Routing.Sources {
		out = append(out, host{v, evpn.PrefixKey(p), path})
	}
	if len(a.Routing.Sources) > 0 {
		path.RouterMAC = intent.MAC{}
		out = append(out, host{v, evpn.HostKey(a.MAC, HopAddress(a.VNI, a.MAC)), path})
	}
	return out
}

// originateHosts states the rows of an attached port in routers' tables.
func (m *Model) originateHosts(a Attachment) {
	for _, h := range hosts(a) {
		set := m.segment(h.table).Move
		if h.key.Type == evpn.PREFIX {
			set = m.segment(h.table).Set // several next hops may have it
		}
		if set(h.key, h.path) {
			m.touchedVNIs[h.table] = struct{}{}
		}
	}
}

// withdrawHosts takes back the rows that the old attachment had in routers' tables
// and the new one, if any, did not take over.
func (m *Model) withdrawHosts(old, now Attachment, has bool) {
	var keep []host
	if has && source(old) == source(now) {
		keep = hosts(now)
	}
	for _, h := range hosts(old) {
		if !slices.ContainsFunc(keep, func(k host) bool { return k.table == h.table && k.key == h.key }) && m.segment(h.table).Withdraw(h.key, source(old)) {
			m.touchedVNIs[h.table] = struct{}{}
		}
	}
}

// mirrorOf is the router's table that has the stations of a segment, zero when
// there is none, and the gateway there.
func (m *Model) mirrorOf(v intent.VNI) (intent.VNI, *Routing) {
	n := m.byVNI[v]
	if n == nil {
		return 0, nil
	}
	r := m.routerOf(n.Ref())
	if r == nil || r.routing[n.Ref()] == nil {
		return 0, nil
	}
	return r.vrf.VNI, r.routing[n.Ref()]
}

// mirror states what one source says of a station's address in the table of the
// router, too: hosts that no port of the intent has. Where the path has no router
// MAC they are reached by bridging.
func (m *Model) mirror(v intent.VNI, k evpn.Key, src evpn.Source) {
	if to := m.mirrored[v]; to != 0 && k.Type == evpn.MACIP && k.IP.IsValid() {
		_, g := m.mirrorOf(v)
		m.mirrorTo(to, g, v, k, src)
	}
}

func (m *Model) mirrorTo(to intent.VNI, g *Routing, v intent.VNI, k evpn.Key, src evpn.Source) {
	changed := false
	paths := m.segment(v).Paths(k)
	i := slices.IndexFunc(paths, func(p evpn.Path) bool { return p.Source == src })
	if i >= 0 && paths[i].Origin != evpn.OriginPort && g != nil && g.routes(v, k.IP) {
		p := paths[i]
		p.VNI = v
		changed = m.segment(to).Set(k, p)
	} else {
		changed = m.segment(to).Withdraw(k, src)
	}
	if changed {
		m.touchedVNIs[to] = struct{}{}
	}
}

// settleMirror brings what the router's table has of a segment's stations in
// line.
func (m *Model) settleMirror(v intent.VNI) {
	was := m.mirrored[v]
	to, g := m.mirrorOf(v)
	if to == 0 {
		delete(m.mirrored, v)
	} else {
		m.mirrored[v] = to
	}
	s := m.segments[v]
	if s == nil || was == 0 && to == 0 {
		return
	}
	for r := range s.Rows() {
		if r.Type != evpn.MACIP || !r.IP.IsValid() {
			continue
		}
		for _, p := range s.Paths(r.Key) {
			if p.Origin == evpn.OriginPort {
				continue
			}
			if was != 0 && was != to {
				m.mirrorTo(was, nil, v, r.Key, p.Source)
			}
			if to != 0 {
				m.mirrorTo(to, g, v, r.Key, p.Source)
			}
		}
	}
}
