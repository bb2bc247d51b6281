package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/southbound/leafstate"
)

const (
	// routeProtocol marks the routes that were made here.
	routeProtocol = 0x77
	// lastMetric is that of the route which ends a VRF's table: without it, what
	// has no route there would be looked for in the machine's own.
	lastMetric = 4278198272
)

// staticRoute is a route as it is compared.
type staticRoute struct {
	prefix netip.Prefix
	kind   int // unix.RTN_
	metric int
	hops   string // next hops and weights, in words
}

// wantedRoutes are the routes of a router's table that are made here, each with
// how it is given to the kernel.
func wantedRoutes(r leafstate.Router) map[staticRoute]*netlink.Route {
	out := map[staticRoute]*netlink.Route{}
	add := func(p netip.Prefix, kind, metric int, hops []leafstate.NextHop) {
		family := unix.AF_INET
		if p.Addr().Is6() {
			family = unix.AF_INET6
		}
		rt := &netlink.Route{Family: family, Dst: ipNet(p), Table: tableOf(r), Protocol: routeProtocol, Type: kind, Priority: metric, Scope: netlink.SCOPE_UNIVERSE}
		for _, h := range hops {
			rt.MultiPath = append(rt.MultiPath, &netlink.NexthopInfo{Gw: h.Address.AsSlice(), Hops: int(max(1, h.Weight)) - 1})
		}
		out[staticRoute{p, kind, metric, hopWords(rt)}] = rt
	}
	for _, p := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		if !inDefault(r) {
			add(p, unix.RTN_UNREACHABLE, lastMetric, nil)
		}
	}
	if r.Outside != nil {
		for _, p := range r.Outside.Announce {
			add(p, unix.RTN_UNREACHABLE, announcedMetric, nil)
		}
	}
	for _, s := range r.Routes {
		if len(s.NextHops) == 0 {
			add(s.Prefix, unix.RTN_BLACKHOLE, metricOf(s.Prefix), nil)
		} else {
			add(s.Prefix, unix.RTN_UNICAST, metricOf(s.Prefix), s.NextHops)
		}
	}
	return out
}

// metricOf is the metric of a static route, the one that the kernel takes for
// IPv6 when none is given.
func metricOf(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 1024
	}
	return 0
}

// hopWords are a route's next hops as text: one that goes alone and one in a list
// are the same.
func hopWords(r *netlink.Route) string {
	var words []string
	if len(r.MultiPath) == 0 && r.Gw != nil {
		words = append(words, r.Gw.String()+" 1")
	}
	for _, h := range r.MultiPath {
		weight := h.Hops + 1
		if len(r.MultiPath) == 1 {
			weight = 1
		}
		words = append(words, fmt.Sprintf("%s %d", h.Gw, weight))
	}
	slices.Sort(words)
	return fmt.Sprint(words)
}

// bringRoutes brings the routes that are made here in a router's table in line.
func bringRoutes(r leafstate.Router) error {
	name := vrfName(r.VNI)
	if inDefault(r) {
		name = "the main table"
	}
	return bringStatic(name, tableOf(r), routeProtocol, wantedRoutes(r))
}

// bringStatic brings the routes of a table that have a protocol in line.
func bringStatic(name string, table int, protocol netlink.RouteProtocol, want map[staticRoute]*netlink.Route) error {
	var errs []error
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: table, Protocol: protocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return fmt.Errorf("read routes of %s: %w", name, err)
		}
		for _, is := range list {
			key := staticRoute{prefixOf(is.Dst, family), is.Type, is.Priority, hopWords(&is)}
			if _, ok := want[key]; ok {
				delete(want, key)
				continue
			}
			if err := netlink.RouteDel(&is); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("remove the route to %s from %s: %w", key.prefix, name, err))
			}
		}
	}
	for key, rt := range want {
		if err := netlink.RouteReplace(rt); err != nil {
			errs = append(errs, fmt.Errorf("route %s in %s by %s: %w", key.prefix, name, key.hops, err))
		}
	}
	return errors.Join(errs...)
}

// prefixOf is a route's destination; the kernel names none for the default.
func prefixOf(n *net.IPNet, family int) netip.Prefix {
	if n != nil {
		ip, _ := netip.AddrFromSlice(n.IP)
		if ones, bits := n.Mask.Size(); bits > 0 {
			if family == unix.AF_INET {
				ip = ip.Unmap()
			}
			return netip.PrefixFrom(ip, ones)
		}
	}
	if family == unix.AF_INET {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
