package frr

import "github.com/weft-sdn/weft/fabric/device"

// defaults is what every daemon reads first.
func defaults(s device.State) string {
	var l lines
	l.add("frr defaults datacenter")
	l.add("hostname %s", s.Hostname)
	l.add("log stdout informational")
	return l.String()
}

// Start is what each daemon of a switch reads when it starts, where the rest is told
// while it runs: what can be set only then, and its name.
func Start(hostname string) string { return defaults(device.State{Hostname: hostname}) }

// kernel is how zebra works with the kernel.
func kernel(device.State) string {
	var l lines
	l.add("no zebra nexthop kernel enable")
	l.add("zebra work-queue 0")
	return l.String()
}
