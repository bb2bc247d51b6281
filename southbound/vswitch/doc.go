// Package vswitch keeps an Open vSwitch at what its feed says: the rows of its
// bridge by package ovsdb, its flows by package openflow.
//
// # Pipeline
//
// One table per purpose, one file per table:
//
//	 0 classify   in_port, or the tunnel key, to a VNI in metadata
//	10 admission  anti-spoofing: MAC, IPv4, IPv6, ARP, ND (RFC 6105 for RAs)
//	14 to 17      the policy of what a port in security groups sends, see below
//	20 arp        answers ARP requests from the segment table (RFC 9161)
//	21 nd         answers neighbour solicitations from it (RFC 9161); 22 sends
//	30 local      a MAC on this edge to its port
//	40 remote     a MAC elsewhere to tunnel key and VTEP
//	50 flood      broadcast and multicast to local ports and, once each, to
//	              every VTEP that has the VNI (RFC 8365 section 5.1, ingress
//	              replication)
//	60 to 63      the policy of what a port in security groups receives
//	65 deliver    to the port in register 3
//
// Register 0 is 1 for what came out of a tunnel; that never enters a tunnel
// again (split horizon). Nothing is learned and nothing goes to a controller.
// A frame that no flow matches is dropped.
//
// # Policies
//
// What a port in security groups sends goes through the tables 14 to 17, and what
// it receives through 60 to 63. The first looks the packet's connection up in
// conntrack, in a zone of the port's own. The second drops what is invalid, passes
// answers and related errors unless the connection is marked, and sets in register
// xxreg2 the bits of the groups that the packet's other side is in, by one flow per
// address and direction. The third has the rules of each policy, whose number is in
// register 4: one bit for the group that a rule names. The fourth acts on the verdict
// in register 7: it commits new connections and marks those that were allowed and
// are not any more. Packets of a connection's first direction are judged each time,
// so that a session ends with its rule. Addresses are known in a domain, register 6:
// the L3VNI or VNI, so that equal ones of two tenants never meet.
//
// The number of a policy is a hash of its groups' names, the bit of a group its
// number modulo 128, each or the next that is free in the order of keys: they follow
// from the ports of the edge alone. An address in several groups is one flow; the
// driver keeps its bits, and kept ones apart, of members behind edges that have not
// reported.
//
// There is a table for the verdict, since else each rule would need flows for each
// state of a connection; and a domain, since
// a packet that was routed has the addresses of another network.
//
// # Own marks
//
// Our flows have a cookie whose upper 16 bits are 0x7ef7. The lower 24 bits
// are the VNI, zero for flows of the bridge as a whole, so that all flows of a
// segment go in one message; the 24 bits between are the end of the MAC for
// flows that belong to one, so that deleting what one station had never takes
// what another has by now; of flows of a policy the end of its number, with VNI
// zero. Flows with other cookies are left alone, among them those with 0x7ef8, which
// let a port that came go on with TCP sessions and end by themselves after a minute.
//
// # Order and restart
//
// Deletions come before additions in each bundle, and a bundle is atomic, so
// no packet sees a half. After every (re)connection the driver reads all our
// flows, compares them with what they should be and sends the difference: on a
// controller's restart nothing. A flow monitor tells when another program
// touches a flow of ours, or makes one with our cookie; then the same reading
// happens at once and an event says what was found.
package vswitch
