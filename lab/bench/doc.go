// Package bench measures the controller beside a peer, on the same machine in
// one run: sandboxed hypervisors with real Open vSwitch daemons whose datapath
// carries no packets, wired once by Weft and once by OVN. Only the ratios of
// one run mean anything.
//
// "make bench-scale" measures the controller alone, as a process of its own
// with its etcd, against many simulated edges of package lab/sim, and checks by
// a few real vSwitches among them that the simulated ones have what real ones
// get. It reports, for each point, how long it takes until all edges have all
// rows, memory, the cost of one port added, moved or deleted, of a network that
// a thousand hypervisors have, of edges that reconnect, of changes at a steady
// rate, of a slow edge, and of a restart. A rule that changes in a group of many
// ports is not measured: there are no security groups yet.
//
// The benchmarks are tests with the tag bench; "make bench-ovn" and the others run them.
package bench
