// Package vswitch keeps an Open vSwitch at what its feed says: the rows of its
// bridge by package ovsdb, its flows by package openflow.
//
// # Pipeline
//
// One table per purpose, one file per table:
//
//	 0 classify   in_port, or the tunnel key, to a VNI in metadata; the VRF of
//	              a router in register 5
//	10 admission  anti-spoofing: MAC, IPv4, IPv6, ARP, ND (RFC 6105 for RAs)
//	11 qos        DSCP and meters of what a port sends (RFC 2474)
//	12 service    DHCP and router solicitations to the controller, by a meter;
//	              rogue servers and routers dropped (RFC 7610, RFC 6105)
//	14 to 17      the policy of what a port in security groups sends, see below
//	18, 19        network ACLs of what leaves a subnet, see below
//	20 arp        answers ARP requests from the segment table (RFC 9161)
//	21 nd         answers neighbour solicitations from it (RFC 9161); 22 sends
//	23 leak       what changed the VRF: whether its source may go there, or is
//	              translated, see below
//	24 router     frames to the gateway's MAC: echo requests answered, TTL one
//	              less
//	25 route      longest prefix in the VRF, by priority; to what is in another
//	              VRF by table 23 and this one again
//	26 next hop   one of several next hops, or VTEPs, by a hash of the flow
//	27 host       an address of the VRF: on this edge to table 30, elsewhere
//	              with the L3VNI to a VTEP that routes (RFC 9135 section 6.1),
//	              or bridged in the host's L2VNI
//	28 icmp       what can't be routed, to the controller for an ICMP error
//	29 outside    what conntrack translated on its way outside: to table 25
//	30 local      a MAC on this edge to its port
//	31 inside     what it translated from outside: to the port or to table 25
//	40 remote     a MAC elsewhere to tunnel key and VTEP
//	50 flood      broadcast and multicast to local ports and, once each, to
//	              every VTEP that has the VNI (RFC 8365 section 5.1, ingress
//	              replication); a long list of VTEPs is in parts
//	58, 59        network ACLs of what enters a subnet
//	60 to 63      the policy of what a port in security groups receives
//	65 deliver    to the port in register 3, by the meters of what it receives
//
// The IP frames of a port go only through the tables that it uses.
//
// Stations behind a hardware VTEP have this edge as gateway if it is appointed: table
// 0 answers for the gateway's addresses into the tunnel, and has what is for its MAC go
// to table 24 as if a port had sent it, from where it comes from no port.
//
// Register 0 is 1 for what came out of a tunnel; that never enters a tunnel
// again (split horizon), but for what this edge routes by a static route.
// Nothing is learned. To the controller go announcements of ports in standby, and,
// by a meter for each port, what a station asks the network itself and what asks
// for an ICMP error, which Open vSwitch can't make: both are answered beside the
// session, over the same connection. A frame that no flow matches is dropped.
//
// # Colours
//
// Unicast frames go to the address that the feed's Colouring says for the VTEP in the
// VNI that they are sent with; floods go to the VTEP itself. What is sent to a colour of
// this edge comes in by the tunnel port ColourTunnelName, and table 0 has it come from
// the other one. When a colouring changes, the flows of rows that lead to another
// address now are replaced in place.
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
// # Sharing
//
// What a router has of another one, or outside, is one flow per prefix, and no copy
// of rows: the packet's VRF becomes the other one, register 1 says which it was in,
// and the route table is looked up again. A flow that does that wants register 1 to
// be zero, so that it happens once and there is no loop; the packet leaves with the
// other VRF's L3VNI. In between table 23 lets pass only sources to which the other
// VRF has a way back, so that no station can pretend to be one of the other VRF's.
// What came out of a tunnel changes its VRF only where it is from stations on EVPN
// leaves, which send with the L3VNI of their router. A station of another router of
// the tenant is known to policies by the domain of that; what came by way of an
// external network is no member of any group.
//
// An external network's table has learned prefixes, to which several borders may
// lead, and hosts: those that routers advertise are delivered from there as in
// their own VRF. While a border has not reported, what the switch has of it stays
// among the VTEPs of its prefixes.
//
// # Network ACLs
//
// What a port of a network with ACLs sends goes through the tables 18 and 19, after its
// policy, and what it receives through 58 and 59, before it. The first has the subnets
// of each network: what is within one passes, what crosses its border goes to the rules
// of the subnet's ACL, whose number, a hash of its name as a policy's, is in register
// 4. The rules of an ACL are there once, their priorities in their order; then comes a
// flow that drops. What the tables let pass goes on in the router's table, or in 60,
// where a port without policy has a flow that hands it out.
//
// # Translation
//
// What leaves a router for an external network comes to table 23, as all that
// changes its VRF. The source that has a floating IP is translated there by
// conntrack, one to one; any other, with source NAT, in two steps, since routers may
// have equal addresses: in a zone of the router to an address that stands for the
// router, in the external network's zone to this edge's address (RFC 3022, RFC 5382).
// Table 29 lets pass what is translated to what it should be, and nothing else. What
// comes to such an address is caught in table 25, before all routes to it, translated
// back in the same zones, in the other order, and handed on by table 31. So policies
// and ACLs see the stations' own addresses.
//
// It is conntrack's work also one to one, because only conntrack translates the
// packet that an ICMP error quotes (RFC 5508). But no state is needed: a session that
// is not known is taken up in mid-stream, in either direction, and TCP that conntrack
// finds invalid is translated without it. So sessions live on where a port comes to,
// and the zone of floating IPs can be forgotten when one of them leads elsewhere.
//
// What conntrack said of a packet is forgotten before each step and after it: it
// would take the state of one zone for that of the next, and translate a packet once
// per zone only, so that two ports of one router could not reach each other by their
// floating IPs. What it could not translate, since another session has its ports,
// has no translated source, and is dropped.
//
// A router's zones are 32768 and twice its L3VNI modulo 16384, and the next; the ones
// after these when a lower L3VNI or a port has them. Ports' zones are their numbers.
// They follow from the ports that are there, so that a controller that starts finds
// its flows right, and sessions live on.
//
// # Own marks
//
// Our flows have a cookie whose upper 16 bits are 0x7ef7. The lower 24 bits
// are the VNI, zero for flows of the bridge as a whole, so that all flows of a
// segment go in one message; the 24 bits between are the end of the MAC for
// flows that belong to one, so that deleting what one station had never takes
// what another has by now. Flows of a router have its L3VNI there, flows of a
// policy VNI zero and the end of the policy's number. Flows with other cookies are
// left alone, among them those with 0x7ef8, which let a port that came go on with
// TCP sessions and end by themselves after a minute.
//
// Meters have no cookie: those from 1024 on are ours, four for each port
// number. A tenant with limits has those of a number that no port has. Deleting a meter deletes the flows that use it, and bundles take no
// meters: so meters are made before the bundle of the flows that use them, changed
// in place, and deleted after it.
//
// # Order and restart
//
// Deletions come before additions in each bundle, and a bundle is atomic, so
// no packet sees a half. After every (re)connection the driver reads all our
// flows, compares them with what they should be and sends the difference: on a
// controller's restart nothing. A flow monitor tells when another program
// touches a flow of ours, or makes one with our cookie; then the same reading
// happens at once and an event says what was found. Of meters the switch tells
// nothing: one that was changed is found by the next reading, one that was deleted
// by the flows that it took along.
package vswitch
