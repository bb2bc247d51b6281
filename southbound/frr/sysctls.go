package frr

import (
	"fmt"
	"hash/fnv"

	"github.com/weft-sdn/weft/fabric/device"
)

// hashSeed is a setting of Linux 6.11 and later.
const hashSeed = "net.ipv4.fib_multipath_hash_seed"

// Optional reports whether a switch does without a setting that its kernel lacks.
func Optional(sysctl string) bool { return sysctl == hashSeed }

// seed is a switch's own, never 0, which means the kernel's. Were it the same on two
// tiers, as it is in namespaces of one kernel, a spine would get those flows only whose
// hash leads to one of its own uplinks, and leave the others unused (polarization).
func seed(s device.State) string {
	h := fnv.New32a()
	h.Write([]byte(s.Hostname))
	return fmt.Sprint(h.Sum32() | 1)
}

// Sysctls are the kernel settings of a switch. They are set in its namespace
// before its interfaces are made, so that "default" counts for them.
func Sysctls(s device.State) map[string]string {
	return map[string]string{
		"net.ipv4.ip_forward":                "1",
		"net.ipv6.conf.all.forwarding":       "1",
		"net.ipv6.conf.default.forwarding":   "1",
		"net.ipv4.conf.all.rp_filter":        "0", // paths there and back may differ
		"net.ipv4.conf.default.rp_filter":    "0",
		"net.ipv6.conf.all.accept_dad":       "0", // point-to-point: link-local addresses at once
		"net.ipv6.conf.default.accept_dad":   "0",
		"net.ipv4.fib_multipath_hash_policy": "1", // by flow, not by address pair
		hashSeed:                             seed(s),
		"net.ipv4.fib_multipath_use_neigh":   "1", // not to a next hop that is known dead
		"net.ipv6.fib_multipath_hash_policy": "1",
		// A route goes with its link, for IPv6 as for IPv4.
		"net.ipv4.conf.all.ignore_routes_with_linkdown":     "1",
		"net.ipv4.conf.default.ignore_routes_with_linkdown": "1",
		"net.ipv6.conf.all.ignore_routes_with_linkdown":     "1",
		"net.ipv6.conf.default.ignore_routes_with_linkdown": "1",
	}
}
