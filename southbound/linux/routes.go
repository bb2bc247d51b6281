package linux

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// vrfRoute is a prefix in the table of a router's VRF.
type vrfRoute struct {
	vni    intent.VNI
	prefix netip.Prefix
}

func (r vrfRoute) entries(to []netip.Addr) []leafstate.Entry {
	var out []leafstate.Entry
	for _, vtep := range to {
		out = append(out, leafstate.Entry{Kind: leafstate.Route, VNI: r.vni, IP: r.prefix.Addr(), Bits: uint8(r.prefix.Bits()), VTEP: vtep})
	}
	return out
}

// readRoutes reads the routes of all VRFs anew. The caller holds the lock.
func (t *Tables) readRoutes(have *links) error {
	any := false
	for name, l := range have.byName {
		_, isVRF := vniOf(name, "vrf")
		any = any || isVRF && ours(l) || l.Attrs().Alias == outsideAlias
	}
	if !any {
		return nil // the machine's own tables may be large
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("read the routes of VRFs: %w", err)
		}
		for i := range list {
			t.seeRoute(&list[i], true)
		}
	}
	return nil
}

// seeRoute puts what a message about a route says into the views and returns the
// entries that followed before and follow now. Those to a VTEP count alone, of
// which the next hop is on the bridge of the L3VNI. The caller holds the lock.
func (t *Tables) seeRoute(r *netlink.Route, there bool) (before, after []leafstate.Entry) {
	v := t.vrfOf(r)
	if v == 0 {
		return nil, nil
	}
	family := r.Family
	if family == 0 {
		family = unix.AF_INET
		if r.Dst != nil && r.Dst.IP.To4() == nil {
			family = unix.AF_INET6
		}
	}
	key := vrfRoute{v, prefixOf(r.Dst, family)}
	was := t.views.routes[key]
	var named, now []netip.Addr
	hop := func(index int, gw net.IP) {
		l, ok := t.links[index]
		if ip, isIP := netip.AddrFromSlice(gw); ok && isIP && l.kind == bridgeLink && l.vni == v {
			named = append(named, ip.Unmap())
		}
	}
	hop(r.LinkIndex, r.Gw)
	for _, h := range r.MultiPath {
		hop(h.LinkIndex, h.Gw)
	}
	switch {
	case there:
		now = named
	case len(named) == 0:
		return nil, nil // another route for the prefix, as the connected one
	default:
		for _, a := range was {
			if !slices.Contains(named, a) {
				now = append(now, a)
			}
		}
	}
	if there && len(named) == 0 {
		return nil, nil
	}
	if len(now) == 0 {
		delete(t.views.routes, key)
	} else {
		t.views.routes[key] = now
	}
	return key.entries(was), key.entries(now)
}

// vrfOf is the L3VNI of the VRF that has a route; zero when none of ours does. In
// the default VRF it is that of the bridge by which the route leads.
func (t *Tables) vrfOf(r *netlink.Route) intent.VNI {
	if r.Table == unix.RT_TABLE_MAIN {
		for _, h := range append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: r.LinkIndex}) {
			if l, ok := t.links[h.LinkIndex]; ok && l.kind == bridgeLink {
				return l.vni
			}
		}
		return 0
	}
	if v := intent.VNI(r.Table - vrfTables); r.Table > vrfTables && v <= intent.MaxVNI {
		return v
	}
	return 0
}

// takeRoute takes a message about a route.
func (t *Tables) takeRoute(u netlink.RouteUpdate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(t.seeRoute(&u.Route, u.Type == unix.RTM_NEWROUTE))
}
