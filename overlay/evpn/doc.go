// Package evpn holds the segment tables: per VNI, the EVPN routes that say who
// floods (type 3, inclusive multicast: IMET) and where an address lives (type
// 2, MAC/IP), after RFC 7432 and, for VXLAN, RFC 8365.
//
// A segment table is the only representation of "where is what", whatever the
// edge: a vSwitch port, an address that a switch learned and a BGP route
// become rows of the same form. A port originates one MAC-only row, from which
// edges forward, and one MAC/IP row for each address, from which they answer
// ARP and neighbour solicitations (RFC 7432 sections 9.2 and 10).
//
// Each row carries the segment's revision at its last change. Readers keep a
// cursor, the revision up to which they have read, and ask for Changes since
// then; a deleted row stays as a tombstone until every reader has passed it
// and Trim is called. A reader thus costs what changed, not what is there.
//
// Several sources may offer a path for one route; which one is used is decided
// by MAC mobility (RFC 7432 section 7.7): sticky first, then the higher
// sequence number, then the lower VTEP address.
//
// The package is pure and does no locking: the owner of a Segment guards it.
package evpn
