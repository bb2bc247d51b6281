package linux

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/southbound/switchstate"
)

// fibRoute is a unicast route of the kernel's main table.
type fibRoute struct {
	prefix   netip.Prefix
	protocol int // as in rtnetlink(7)
	metric   int
	src      netip.Addr
	legs     []fibLeg
}

// fibLeg is a next hop of such a route. One whose interface has no carrier is none.
type fibLeg struct {
	name   string // of the interface
	index  int
	via    netip.Addr // not set when the destination is on the link
	weight int
	onlink bool
}

// protocols are the names of routes' protocols.
var protocols = map[int]string{unix.RTPROT_KERNEL: "connected", unix.RTPROT_BOOT: "boot", unix.RTPROT_STATIC: "static",
	unix.RTPROT_BGP: "bgp", unix.RTPROT_ISIS: "isis", unix.RTPROT_ZEBRA: "zebra", routeProtocol: switchstate.Weft, standInProtocol: switchstate.Weft}

func protocolName(p int) string {
	if name, ok := protocols[p]; ok {
		return name
	}
	return fmt.Sprint(p)
}

// isRouting reports whether the routes are those of a routing protocol, which zebra
// writes.
func isRouting(protocol int) bool { return protocol == unix.RTPROT_BGP || protocol == unix.RTPROT_ISIS }

// readFIB reads the routes of the main table by which packets leave by the given
// interfaces; of several for one prefix, that which the kernel uses.
func readFIB(ports map[int]string) (map[netip.Prefix]fibRoute, error) {
	fib := map[netip.Prefix]fibRoute{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("read the kernel's routes: %w", err)
		}
		for i := range list {
			if r, ok := fibRouteOf(&list[i], family, ports); ok {
				r.into(fib)
			}
		}
	}
	return fib, nil
}

// fibRouteOf reads a route; ok is false for one that leads elsewhere.
func fibRouteOf(r *netlink.Route, family int, ports map[int]string) (out fibRoute, ok bool) {
	if r.Type != unix.RTN_UNICAST || r.Tos != 0 {
		return out, false
	}
	out = fibRoute{prefix: prefixOf(r.Dst, family), protocol: int(r.Protocol), metric: r.Priority}
	if out.prefix.Addr().IsLinkLocalUnicast() || out.prefix.Addr().IsMulticast() {
		return out, false
	}
	if a, isIP := netip.AddrFromSlice(r.Src); isIP {
		out.src = a.Unmap()
	}
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via, Flags: r.Flags}}
	}
	for _, h := range hops {
		name, isPort := ports[h.LinkIndex]
		if !isPort {
			continue
		}
		ok = true
		if h.Flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0 {
			continue
		}
		leg := fibLeg{name: name, index: h.LinkIndex, weight: h.Hops + 1, onlink: h.Flags&unix.RTNH_F_ONLINK != 0}
		if a, isIP := netip.AddrFromSlice(h.Gw); isIP {
			leg.via = a.Unmap()
		} else if v, isVia := h.Via.(*netlink.Via); isVia {
			if a, isIP := netip.AddrFromSlice(v.Addr); isIP {
				leg.via = a
			}
		}
		out.legs = append(out.legs, leg)
	}
	return out, ok
}

// into adds a route to those of its prefix: the lowest metric is used, and IPv6 may
// list the legs of one route as routes of their own.
func (r fibRoute) into(fib map[netip.Prefix]fibRoute) {
	have, ok := fib[r.prefix]
	switch {
	case !ok || r.metric < have.metric:
		have = r
	case r.metric == have.metric:
		have.legs = append(have.legs, r.legs...)
	}
	slices.SortFunc(have.legs, func(a, b fibLeg) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return a.via.Compare(b.via)
	})
	fib[r.prefix] = have
}

// portsByIndex are the Ethernet ports of the switch, and those to routers outside.
func portsByIndex(list []netlink.Link) map[int]string {
	ports := map[int]string{}
	for _, l := range list {
		if isPort(l) {
			ports[l.Attrs().Index] = l.Attrs().Name
		}
	}
	return ports
}
