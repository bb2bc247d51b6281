package overlay

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// PeerName names a speaker of another fabric where nodes are named: no node can be
// called so.
func PeerName(interconnect string, peer netip.Addr) string {
	return interconnect + "@" + peer.Unmap().String()
}

// InterconnectOf is the interconnect of a name that PeerName made; ok is false when
// it did not.
func InterconnectOf(peer string) (name string, ok bool) {
	name, _, ok = strings.Cut(peer, "@")
	return name, ok
}

// interconnect is an Interconnect as the model keeps it.
type interconnect struct {
	spec     *intent.Interconnect
	targets  map[intent.RouteTarget]intent.Ref // networks by the target that they have between the fabrics
	networks map[intent.Ref]struct{}           // the same
}

// putInterconnect keeps an interconnect, nil when it is gone, and takes the routes
// of its peers again. A peer that is new is waited for as an edge is that has not
// reported.
func (m *Model) putInterconnect(name string, now *intent.Interconnect) {
	was := m.interconnects[name]
	m.touchStretched(was)
	if now == nil {
		delete(m.interconnects, name)
	} else {
		x := &interconnect{spec: now, targets: make(map[intent.RouteTarget]intent.Ref, len(now.Spec.Networks)), networks: make(map[intent.Ref]struct{}, len(now.Spec.Networks))}
		for _, n := range now.Spec.Networks {
			x.targets[n.Target()] = n.Ref()
			x.networks[n.Ref()] = struct{}{}
		}
		m.interconnects[name] = x
		m.touchStretched(x)
	}
	stay := map[string]bool{}
	for _, p := range peersOf(now) {
		stay[p] = true
		if e := m.edge(p); e.peerOf == "" {
			e.peerOf = name
			m.absent[p] = struct{}{}
		}
	}
	if was != nil {
		for _, p := range peersOf(was.spec) {
			if !stay[p] {
				m.forgetRoutes(p, m.nodes[p])
				delete(m.nodes, p)
				delete(m.absent, p)
			}
		}
	}
	m.retake(m.routesOfPeers(name))
	m.settleRouters()
}

// peersOf are the names of an interconnect's peers; it may be nil.
func peersOf(c *intent.Interconnect) []string {
	if c == nil {
		return nil
	}
	var out []string
	for _, p := range c.Spec.Peers {
		out = append(out, PeerName(c.Metadata.Name, p.Address))
	}
	return out
}

// touchStretched has the tables of an interconnect's networks looked at; it may be
// nil.
func (m *Model) touchStretched(x *interconnect) {
	if x == nil {
		return
	}
	for ref := range x.networks {
		if n := m.networks[ref]; n != nil && n.Spec.VNI != 0 {
			m.touchedVNIs[n.Spec.VNI] = struct{}{}
		}
	}
}

// routesOfPeers are the routes that an interconnect's peers announce.
func (m *Model) routesOfPeers(name string) map[taken]struct{} {
	out := map[taken]struct{}{}
	x := m.interconnects[name]
	if x == nil {
		return out
	}
	for _, p := range peersOf(x.spec) {
		for id := range m.nodes[p].routes {
			out[taken{p, id}] = struct{}{}
		}
	}
	return out
}

// settleStretched takes the routes again of the fabrics to which a network is
// stretched, when that concerns them. Either may be nil.
func (m *Model) settleStretched(old, now *intent.Network) {
	if len(m.interconnects) == 0 || importsAlike(old, now) && old.Spec.Encapsulation.Standard() == now.Spec.Encapsulation.Standard() {
		return
	}
	ref := cmp.Or(now, old).Ref()
	for name, x := range m.interconnects {
		if _, ok := x.networks[ref]; ok {
			m.retake(m.routesOfPeers(name))
		}
	}
	m.settleRouters()
}

// crossing says what becomes of a route of another fabric: it is in the tables of
// the networks that have one of its targets between the fabrics, and nowhere else.
// Prefixes do not cross, and neither does a network that has another VNI there:
// what a leaf or a hardware VTEP sends has the VNI of here.
func (m *Model) crossing(e *edge, r *evpn.Route) (now announced) {
	now.route = *r
	x := m.interconnects[e.peerOf]
	if x == nil || r.Type != evpn.MACIP && r.Type != evpn.IMET {
		return now
	}
	known := false
	for _, t := range r.Targets {
		ref, ok := x.targets[t]
		n := m.networks[ref]
		if !ok || n == nil || m.byVNI[n.Spec.VNI] != n || !n.Spec.Encapsulation.Standard() {
			continue
		}
		known = true
		v := n.Spec.VNI
		switch {
		case slices.Contains(now.vnis, v) || slices.Contains(now.owned, v):
		case r.VNI != v:
			now.stray = fmt.Sprintf("%s VNI %d", ref, r.VNI)
		case m.isOwned(v, r.Key):
			now.owned = append(now.owned, v)
		default:
			now.vnis = append(now.vnis, v)
		}
	}
	if !known {
		now.stray = "route target"
		if len(r.Targets) > 0 {
			now.stray += " " + r.Targets[0].String()
		}
	}
	return now
}

// strayWords says what is wrong with a route that no network takes.
func strayWords(node string, e *edge, a *announced) string {
	r := &a.route
	switch {
	case e.peerOf == "":
		return fmt.Sprintf("%s announces routes for VNI %d (route targets %v) that no network has or imports", node, r.VNI, r.Targets)
	case strings.HasPrefix(a.stray, string(intent.KindNetwork)):
		network, _, _ := strings.Cut(a.stray, " VNI ")
		return fmt.Sprintf("%s announces routes of %s with VNI %d, which is another one here; they are not used: give the network the same spec.vni in both fabrics", node, network, r.VNI)
	}
	return fmt.Sprintf("%s announces routes with route targets %v, which no network of interconnect %s has; they are not used: add the network to spec.networks here, or take it out there", node, r.Targets, e.peerOf)
}

// IsPeer reports whether a name is that of a speaker of another fabric.
func (m *Model) IsPeer(name string) bool {
	e := m.nodes[name]
	return e != nil && e.peerOf != ""
}

// IsAbsent reports whether a speaker of another fabric has not said yet what it has.
func (m *Model) IsAbsent(peer string) bool {
	_, ok := m.absent[peer]
	return ok
}

// Interconnect returns an interconnect as it was put, or nil.
func (m *Model) Interconnect(name string) *intent.Interconnect {
	if x := m.interconnects[name]; x != nil {
		return x.spec
	}
	return nil
}

// Interconnects lists the names of all interconnects.
func (m *Model) Interconnects() []string { return slices.Sorted(maps.Keys(m.interconnects)) }
