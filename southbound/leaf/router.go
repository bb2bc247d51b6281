package leaf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// routers are the VRFs that the local ports ask for. A router has gateways on the
// segments that are here; the other subnets come by BGP.
func (d *Driver) routers(local map[intent.Ref]overlay.LocalPort, segments map[intent.VNI]*leafstate.Segment) []leafstate.Router {
	by := map[intent.VNI]*leafstate.Router{}
	for _, l := range local {
		if l.Routing == nil {
			continue
		}
		vrf := l.Routing.VRF
		r := by[vrf.VNI]
		if r == nil {
			r = d.router(vrf, segments)
			by[vrf.VNI] = r
		}
		r.Routes = addHops(r.Routes, vrf, l)
	}
	var out []leafstate.Router
	for _, v := range slices.Sorted(maps.Keys(by)) {
		slices.SortFunc(by[v].Routes, func(a, b leafstate.Static) int { return comparePrefixes(a.Prefix, b.Prefix) })
		for _, s := range by[v].Routes {
			slices.SortFunc(s.NextHops, func(a, b leafstate.NextHop) int { return a.Address.Compare(b.Address) })
		}
		out = append(out, *by[v])
	}
	return out
}

func (d *Driver) router(vrf *overlay.VRF, segments map[intent.VNI]*leafstate.Segment) *leafstate.Router {
	r := &leafstate.Router{Router: vrf.Router, VNI: vrf.VNI}
	if rt := d.config.Router(vrf.VNI); rt != nil {
		r.Import, r.Export = rt.Spec.RouteTargets.Import, rt.Spec.RouteTargets.Export
	}
	for _, s := range vrf.Subnets {
		if seg := segments[s.VNI]; seg != nil {
			r.MTU = max(r.MTU, seg.MTU)
			r.Gateways = append(r.Gateways, leafstate.Gateway{Segment: s.VNI, Address: netip.PrefixFrom(s.Gateway, s.Prefix.Bits())})
		}
	}
	slices.SortFunc(r.Gateways, func(a, b leafstate.Gateway) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), comparePrefixes(a.Address, b.Address))
	})
	for _, s := range vrf.Routes {
		if s.Blackhole {
			r.Routes = append(r.Routes, leafstate.Static{Prefix: s.Prefix})
		}
	}
	return r
}

// addHops makes a port the next hop of the static routes that lead to it. Those to
// next hops elsewhere come by BGP as prefix routes.
func addHops(routes []leafstate.Static, vrf *overlay.VRF, l overlay.LocalPort) []leafstate.Static {
	for _, p := range l.Routing.Sources {
		i := slices.IndexFunc(l.Addresses, func(a netip.Addr) bool {
			s, ok := vrf.Subnet(a)
			return ok && s.VNI == l.VNI && a.Is4() == p.Addr().Is4()
		})
		if i < 0 {
			continue
		}
		hop := leafstate.NextHop{Address: l.Addresses[i], Weight: weightOf(vrf, p, overlay.HopAddress(l.VNI, l.MAC))}
		if j := slices.IndexFunc(routes, func(s leafstate.Static) bool { return s.Prefix == p }); j >= 0 {
			routes[j].NextHops = append(routes[j].NextHops, hop)
		} else {
			routes = append(routes, leafstate.Static{Prefix: p, NextHops: []leafstate.NextHop{hop}})
		}
	}
	return routes
}

// weightOf is a next hop's share of the flows of a static route.
func weightOf(vrf *overlay.VRF, p netip.Prefix, hop netip.Addr) uint16 {
	for _, r := range vrf.Routes {
		for _, h := range r.Hops {
			if r.Prefix == p && h.Address == hop {
				return h.Weight
			}
		}
	}
	return 1
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// lacksRouter says why the router of a port is not in place on the leaf, nil when
// it is. Someone else's leaf is not asked. The caller holds the lock.
func (d *Driver) lacksRouter(l overlay.LocalPort) *southbound.OpError {
	if l.Routing == nil || d.spec.EVPN.Unmanaged {
		return nil
	}
	vrf := l.Routing.VRF
	i := slices.IndexFunc(d.report.Routers, func(r leafstate.RouterReport) bool { return r.VNI == vrf.VNI })
	switch {
	case i < 0:
		return d.fail(southbound.CodeNotReady, "route for "+vrf.Router.String(), "wait a moment", errors.New("the leaf has no VRF for it yet"))
	case d.report.Routers[i].Capability:
		return d.fail(southbound.AlarmCapability, "route for "+vrf.Router.String(), "run a kernel with VRF devices on "+d.name+", or move the port to another edge; within its network the port works",
			errors.New(d.report.Routers[i].Error))
	case d.report.Routers[i].Error != "":
		return d.fail(southbound.CodeRefused, "route for "+vrf.Router.String(), "look at the agent's log on "+d.name, errors.New(d.report.Routers[i].Error))
	}
	return nil
}

// PortError says what keeps a port from being confirmed while the leaf as a whole
// is well, nil when nothing is known. It asks no feed: who calls may hold its lock.
func (d *Driver) PortError(r intent.Ref) *southbound.OpError {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unrouted[r]
}

// alarms raises an alarm for each router that the leaf can't have and each session
// outside that is down, and ends those of others.
func (d *Driver) alarms(local map[intent.Ref]overlay.LocalPort) {
	borders := d.borders()
	now, unrouted := map[southbound.AlarmKey]string{}, map[intent.Ref]*southbound.OpError{}
	d.mu.Lock()
	for r, l := range local {
		err := d.lacksRouter(l)
		if err != nil && d.report.Applied == d.state.Revision {
			unrouted[r] = err
		}
		if err != nil && err.Code == southbound.AlarmCapability {
			now[southbound.AlarmKey{Reason: err.Code, Object: fmt.Sprintf("%s L3VNI %d", l.Routing.VRF.Router, l.Routing.VRF.VNI)}] = err.Err.Error()
		}
	}
	for _, b := range borders {
		if err := d.lacksOutside(b.Network); err != nil && err.Code == southbound.AlarmCapability {
			now[southbound.AlarmKey{Reason: err.Code, Object: fmt.Sprintf("%s L3VNI %d", b.Network.Ref(), b.Network.Spec.VNI)}] = err.Err.Error()
		}
	}
	d.downPeers(borders, now)
	was := d.raised
	d.raised, d.unrouted = now, unrouted
	d.mu.Unlock()
	for k, message := range now {
		if was[k] != message {
			d.feed.Alarm(k, message)
		}
	}
	for k := range was {
		if now[k] == "" {
			d.feed.Alarm(k, "")
		}
	}
}

// routes reports whether the leaf has the router of a port in place, if it has
// one.
func (d *Driver) routes(l overlay.LocalPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lacksRouter(l) == nil
}

// prefixOf is the prefix of a Route entry.
func prefixOf(e leafstate.Entry) netip.Prefix { return netip.PrefixFrom(e.IP, int(e.Bits)) }

// agreesRouted reports whether the kernel's table of a router's VRF has what the
// rows of its L3VNI say: hosts at VTEPs that route, and prefixes.
func (d *Driver) agreesRouted(v intent.VNI, rows []evpn.Row) bool {
	// Nobody else is asked under the lock: who holds theirs may want ours.
	leaves := map[netip.Addr]bool{}
	for _, r := range rows {
		if _, known := leaves[r.VTEP]; !known {
			leaves[r.VTEP] = d.config.Leaf(r.VTEP)
		}
	}
	colours := d.feed.Colouring()
	d.mu.Lock()
	ok, left := d.compareRouted(v, rows, leaves, colours)
	d.mu.Unlock()
	return ok && (len(left) == 0 || d.areTaken(v, left))
}

// compareRouted does that but for hosts that are gone while their routes are
// left: those it returns. Other leaves announce a host of theirs once it has
// spoken; until then it is reached by the prefix of its subnet. The caller holds
// the lock.
func (d *Driver) compareRouted(v intent.VNI, rows []evpn.Row, leaves map[netip.Addr]bool, colours *overlay.Colouring) (ok bool, left []evpn.Row) {
	alive := map[netip.Addr]bool{}
	for _, r := range rows {
		alive[r.IP] = alive[r.IP] || r.Type == evpn.MACIP && !r.Deleted
	}
	for _, r := range rows {
		to := d.tables.routes[v][netip.PrefixFrom(r.IP, bitsOf(r))]
		there := leadsTo(to, r.VTEP, colours)
		switch {
		case r.RouterMAC.IsZero() || r.VTEP == d.spec.VTEP:
		case r.Deleted:
			if there && r.Type == evpn.MACIP && !alive[r.IP] {
				left = append(left, r)
			}
		case r.Type == evpn.MACIP:
			if !there && (len(to) > 0 || !leaves[r.VTEP]) {
				return false, nil
			}
		case r.Type == evpn.PREFIX && !d.hasStatic(v, r):
			// BGP may prefer another edge that announces the prefix.
			if len(to) == 0 && !leaves[r.VTEP] {
				return false, nil
			}
		}
	}
	return true, left
}

// leadsTo reports whether one of a route's next hops is a VTEP, at whichever of its
// addresses.
func leadsTo(to map[netip.Addr]struct{}, vtep netip.Addr, colours *overlay.Colouring) bool {
	for a := range to {
		if colours.VTEP(a) == vtep {
			return true
		}
	}
	return false
}

func bitsOf(r evpn.Row) int {
	if r.Type == evpn.PREFIX {
		return int(r.Bits)
	}
	return r.IP.BitLen()
}

// areTaken reports whether other stations have the addresses of rows that are gone,
// at the same VTEPs: by the whole table.
func (d *Driver) areTaken(v intent.VNI, gone []evpn.Row) bool {
	rows, _ := d.feed.Rows(v, 0)
	for _, g := range gone {
		if !slices.ContainsFunc(rows, func(r evpn.Row) bool {
			return !r.Deleted && r.Type == evpn.MACIP && r.IP == g.IP && r.VTEP == g.VTEP && !r.RouterMAC.IsZero()
		}) {
			return false
		}
	}
	return true
}

// hasStatic reports whether the leaf itself has a next hop for a prefix, or drops
// it.
func (d *Driver) hasStatic(v intent.VNI, r evpn.Row) bool {
	for _, rt := range d.state.Routers {
		if rt.VNI == v && slices.ContainsFunc(rt.Routes, func(s leafstate.Static) bool { return s.Prefix == netip.PrefixFrom(r.IP, int(r.Bits)) }) {
			return true
		}
	}
	return false
}
