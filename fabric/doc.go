// Package fabric plans the underlay of a Clos: AS numbers or system IDs,
// addresses, and BGP sessions or IS-IS adjacencies of every switch, and the addresses of the tunnels of hypervisors and
// hardware VTEPs.
//
// It is pure: Plan makes Facts about the whole fabric from a graph and Params,
// Device takes one switch's state out of them, Intent the objects to register.
//
// # Routing
//
// eBGP runs on every link between two switches (RFC 7938 section 5). Every leaf
// and border leaf has an ASN of its own; the spines of one pod share one, all
// superspines share one (section 5.2.1), all 4-byte private ASNs (RFC 6996). A
// pod is the set of spines that have a leaf in common, directly or through
// others.
//
// The shared ASNs keep paths free of valleys without a policy: what a leaf
// learns from one spine it passes on to the next, and that one finds its own
// ASN in the path and drops the route (RFC 4271 section 9.1.2). So a leaf never
// carries transit between spines, and, the price of it, the spines of a pod do
// not reach each other's loopbacks, nor do the superspines. Leaves that are
// joined directly, as in a ring, are plain eBGP peers and do carry transit.
//
// Announced are loopback and VTEP address of each switch, and the rack prefix
// of each leaf; the addresses of links are not (RFC 7938 section 5.2.3). In the
// spirit of RFC 8212 each session has a filter both ways that permits only
// such prefixes: a mistake on one switch can't pull traffic from the fabric.
// All uplinks are used at once (ECMP).
//
// With Params.Protocol ISIS, all switches are in level 2 of one area (ISO 10589,
// RFC 1195), point to point on each link (RFC 5309), with equal metrics, so that
// paths are those with the fewest hops. The same is announced, and the links'
// addresses too. Leaves keep an ASN, for EVPN. Nothing bars a leaf from transit,
// should the way through it be the shortest that is left.
//
// # Addresses
//
// Each link between switches has a /31 (RFC 3021), or none with
// Params.Unnumbered: then next hops are IPv6 link-local (RFC 8950), and under
// IS-IS the loopback's address on the link. IPv6 routes beside those of IPv4 come
// with Params.Loopbacks6; numbered links then have a /127 too (RFC 6164), whose
// last 32 bits are those of the /31. VTEPs are IPv4. Each leaf
// has a rack prefix, and each link from the leaf to a hypervisor takes a /31
// from it: the even address is the leaf's, the odd one is the hypervisor's. The
// hypervisor's address on its first uplink, by the uplinks' names, is also its
// VTEP, reached through this uplink only: more uplinks have their own /31 and
// are no spare. A hardware VTEP is behind its leaf as a hypervisor is. Links of
// servers and VMs have no address in this plan.
//
// # Growth
//
// The plan is a function of names, never of the order of the file, and a fabric
// that grows at its end keeps what it has. Nodes of a role are counted in
// natural order, leaf9 before leaf10, and each role has its own part of each
// pool. Each switch has a block of /31s for its uplinks and counts them by its
// own interfaces' names, uplinks from the front, links to its own tier from the
// back; so a new leaf, spine, superspine, pod, hypervisor or hardware VTEP, named
// and plugged in behind the others, renumbers nothing. One in the middle
// renumbers what comes behind it.
package fabric
