// Package frr writes the configuration of FRR for a switch's device.State, and
// reads what FRR says about its sessions. It does no input or output: who runs
// FRR, such as the lab, gives it the text and asks it.
//
// Each section of the configuration has a file here: defaults.go, interfaces.go,
// sources.go, statics.go, filters.go, bfd.go, isis.go, bgp.go. The text is for FRR 8.4 and later.
// What is not FRR's to set is left out: the MTU of an interface, and Sysctls.
//
// # Why the settings
//
//   - "no zebra nexthop kernel enable": with nexthop objects a link flap can
//     leave a group in the kernel with one leg for ever, while zebra and bgpd
//     show all.
//   - "advertisement-interval 0", "timers connect 1", "coalesce-time 20":
//     nothing waits that need not.
//   - "bgp route-map delay-timer 0": what refers to a route map never points at
//     one that is gone; with a timer, bgpd 8.4 frees one that is made anew at
//     once while it is in use. Routes are then judged again by the agent's
//     "clear bgp ... soft" (see Judges).
//   - "no bgp ebgp-requires-policy": the policy RFC 8212 asks for is there, as
//     prefix lists; FRR's check only adds that a route map must be.
//   - Loopbacks and racks are announced by "network": redistribution with a
//     route map takes seconds to converge.
//   - "multipath-relax": the paths to a leaf behind another pod go through
//     different ASes of equal number.
//   - "isis network point-to-point", "hello-interval 1": no election, and an
//     adjacency within about a second.
//   - "bgp graceful-shutdown" of a drained switch: its routes have the community
//     GRACEFUL_SHUTDOWN, which FRR takes as LOCAL_PREF 0, so that neighbours prefer
//     any other way before it goes (RFC 8326); "set-overload-bit" under IS-IS.
//   - "spf-delay-ietf" (RFC 8405): the first change is computed after 50 ms, a
//     storm of them every second.
//
// A valley, leaf to spine to leaf to spine, needs no filter: the spines share an
// ASN and refuse a path that already has it (RFC 7938 section 5.2.1).
//
// RFCs: 4271 and 7938 (BGP), 1195, 5305, 5308 and 5309 (IS-IS), 5880 (BFD), 8212 (policy), 8950 (unnumbered),
// 8326 and 3277 (maintenance).
package frr
