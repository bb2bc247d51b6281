// Package service answers what the stations of a network ask of the network
// itself: DHCPv4 (RFC 2131), DHCPv6 (RFC 8415) and router solicitations (RFC
// 4861). It is a pure function from the frame that a port sent, and what the
// intent says of that port, to the frame that it gets back: it keeps no state and
// does no I/O. The drivers of vSwitches bring frames and send answers.
//
// # Leases are intent
//
// A station gets the addresses of its port and no other, whatever it asks for.
// So there is nothing to remember: two controllers give the same answer, and one
// that was away has lost nothing. A request for a foreign address is refused
// (DHCPNAK, or lifetime zero in DHCPv6); a release changes nothing; a decline,
// which says that the station found its address in use by somebody else, is an
// event for a person to look at.
//
// # DHCPv4
//
// The server's address is the router's in the subnet, so that a station renews by
// unicast where it would ask for any other. In a network without a router it is
// ServerAddress, to which a classless static route leads (RFC 3442); such a route
// replaces the router option, so that the default route is in it, too.
//
// # IPv6
//
// Router advertisements come from the gateway's link-local address. They are for
// one port each, and say how that port gets its address: A is set in a prefix
// only where the port's address is what the station would make of its MAC
// (modified EUI-64); else M is set, and stateful DHCPv6 gives the address
// (IA_NA). O is set where there is something to tell beside. The router lifetime
// is zero without a router, and the longest possible with one (RFC 8319), so that
// the default route outlasts a controller that is away; DNS servers and search
// list are in the advertisement, too (RFC 8106).
//
// Checksums of requests are not verified: guests leave them to their network
// card, which there is none of between a tap and the switch.
package service
