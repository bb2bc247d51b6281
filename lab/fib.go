package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/southbound/linux"
)

// readFIB gives, for each host route of the current namespace, the interfaces of
// its next hops. It is the kernel's word; a routing daemon may say otherwise.
func readFIB() (map[netip.Addr][]string, error) {
	all, err := readRoutes()
	if err != nil {
		return nil, err
	}
	fib := map[netip.Addr][]string{}
	for p, legs := range all {
		if p.IsSingleIP() {
			fib[p.Addr()] = legs
		}
	}
	return fib, nil
}

// readRoutes gives, for each route of the current namespace's main table, the
// interfaces of its next hops, sorted.
func readRoutes() (map[netip.Prefix][]string, error) {
	links, err := linux.Listed(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	all := map[netip.Prefix][]string{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := linux.Listed(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("read the kernel's routes: %w", err)
		}
		for _, r := range list {
			if r.Dst == nil {
				continue
			}
			ones, _ := r.Dst.Mask.Size()
			addr, ok := netip.AddrFromSlice(r.Dst.IP)
			if !ok {
				continue
			}
			// IPv6 may list the legs of one route as routes of their own.
			p := netip.PrefixFrom(addr.Unmap(), ones)
			for _, leg := range r.MultiPath {
				all[p] = append(all[p], names[leg.LinkIndex])
			}
			if len(r.MultiPath) == 0 {
				all[p] = append(all[p], names[r.LinkIndex])
			}
			slices.Sort(all[p])
		}
	}
	return all, nil
}

// have counts the next hops that a path set has in the kernel: those that are
// planned, or all when there are others besides.
func (w PathWidth) have(legs []string) int {
	if len(legs) > w.Want {
		return len(legs)
	}
	n := 0
	for _, l := range legs {
		if slices.Contains(w.Over, l) {
			n++
		}
	}
	return n
}
