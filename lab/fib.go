package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readFIB gives, for each host route of the current namespace, the number of
// its next hops. It is the kernel's word; a routing daemon may say otherwise.
func readFIB() (map[netip.Addr]int, error) {
	fib := map[netip.Addr]int{}
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
			addr = addr.Unmap()
			// IPv6 lists the legs of one route as routes of their own.
			fib[addr] += max(1, len(r.MultiPath))
		}
	}
	return fib, nil
}
