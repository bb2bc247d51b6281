package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readFIB gives, for each host route of the current namespace, the interfaces of
// its next hops. It is the kernel's word; a routing daemon may say otherwise.
func readFIB() (map[netip.Addr][]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	fib := map[netip.Addr][]string{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("read the kernel's routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst == nil {
				continue
			}
			if ones, bits := r.Dst.Mask.Size(); ones != bits {
				continue
			}
			addr, ok := netip.AddrFromSlice(r.Dst.IP)
			if !ok {
				continue
			}
			// IPv6 may list the legs of one route as routes of their own.
			addr = addr.Unmap()
			for _, leg := range r.MultiPath {
				fib[addr] = append(fib[addr], names[leg.LinkIndex])
			}
			if len(r.MultiPath) == 0 {
				fib[addr] = append(fib[addr], names[r.LinkIndex])
			}
		}
	}
	return fib, nil
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
