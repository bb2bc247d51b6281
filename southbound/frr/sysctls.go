package frr

import "github.com/weft-sdn/weft/fabric/device"

// Sysctls are the kernel settings of a switch. They are set in its namespace
// before its interfaces are made, so that "default" counts for them.
func Sysctls(device.State) map[string]string {
	return map[string]string{
		"net.ipv4.ip_forward":                "1",
		"net.ipv6.conf.all.forwarding":       "1",
		"net.ipv6.conf.default.forwarding":   "1",
		"net.ipv4.conf.all.rp_filter":        "0", // paths there and back may differ
		"net.ipv4.conf.default.rp_filter":    "0",
		"net.ipv6.conf.all.accept_dad":       "0", // point-to-point: link-local addresses at once
		"net.ipv6.conf.default.accept_dad":   "0",
		"net.ipv4.fib_multipath_hash_policy": "1", // by flow, not by address pair
		"net.ipv4.fib_multipath_use_neigh":   "1", // not to a next hop that is known dead
		"net.ipv6.fib_multipath_hash_policy": "1",
		// A route goes with its link, for IPv6 as for IPv4.
		"net.ipv4.conf.all.ignore_routes_with_linkdown":     "1",
		"net.ipv4.conf.default.ignore_routes_with_linkdown": "1",
		"net.ipv6.conf.all.ignore_routes_with_linkdown":     "1",
		"net.ipv6.conf.default.ignore_routes_with_linkdown": "1",
	}
}
