// Package vswitch keeps an Open vSwitch at what its feed says: the rows of its
// bridge by package ovsdb, its flows by package openflow.
//
// # Pipeline
//
// One table per purpose, one file per table:
//
//	 0 classify   in_port, or the tunnel key, to a VNI in metadata
//	10 admission  anti-spoofing: MAC, IPv4, IPv6, ARP, ND (RFC 6105 for RAs)
//	20 arp        answers ARP requests from the segment table (RFC 9161)
//	21 nd         answers neighbour solicitations from it (RFC 9161); 22 sends
//	30 local      a MAC on this edge to its port
//	40 remote     a MAC elsewhere to tunnel key and VTEP
//	50 flood      broadcast and multicast to local ports and, once each, to
//	              every VTEP that has the VNI (RFC 8365 section 5.1, ingress
//	              replication); a long list of VTEPs is in parts
//
// Register 0 is 1 for what came out of a tunnel; that never enters a tunnel
// again (split horizon). Nothing is learned and nothing goes to a controller.
// A frame that no flow matches is dropped.
//
// # Shared flows
//
// What follows from a segment's rows is the same for all edges that have the
// segment, but for rows that lead to the edge itself. compiled has it encoded;
// tables keep that of each segment for all drivers of the process, so that edges
// that come back at once have it made once. A comparison looks the flows that a
// switch describes up in it without decoding them, and what is missing is sent from
// it. A driver reads a segment by cursor before it takes what is shared, and goes on
// from there, so that no deletion is missed in between.
//
// # Own marks
//
// Our flows have a cookie whose upper 16 bits are 0x7ef7. The lower 24 bits
// are the VNI, zero for flows of the bridge as a whole, so that all flows of a
// segment go in one message; the 24 bits between are the end of the MAC for
// flows that belong to one, so that deleting what one station had never takes
// what another has by now. Flows with other cookies are left alone.
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
