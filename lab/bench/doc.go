// Package bench measures the controller beside a peer, on the same machine in
// one run: sandboxed hypervisors with real Open vSwitch daemons whose datapath
// carries no packets, wired once by Weft and once by OVN. Only the ratios of
// one run mean anything.
//
// The benchmarks are tests with the tag bench; "make bench-ovn" runs them.
package bench
