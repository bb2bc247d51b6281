// Package evpn is the controller's BGP speaker: towards EVPN leaves a route
// reflector (RFC 4456) for the address family l2vpn-evpn (RFC 7432, RFC 8365,
// RFC 9136) that also originates the routes of all other edges, with those
// edges' VTEPs as next hops.
//
// # Design
//
// GoBGP is embedded: it has the RIB, the reflection, the sessions' state
// machines. Its peers are all on the loopback, because between GoBGP and each
// leaf stands a session of ours, which dials the leaf, dials GoBGP, and passes
// the messages on:
//
//	leaf ── TCP, TCP-MD5 ── session ── 127.64.0.n ── GoBGP ── 127.64.0.1 ── origin
//	                           |
//	                        AdjIn ──▶ OnRoutes
//
// This is done for what GoBGP's own transport can't do:
//
//   - An UPDATE that can't be read is mended before GoBGP sees it (RFC 7606:
//     treat as withdraw). GoBGP 3.37 panics at an EVPN route that is too short.
//   - The forwarding-state bits of RFC 4724 and RFC 9494 are always set, since
//     no packet passes through the controller. GoBGP clears them once any peer
//     has synchronised, and a leaf would drop its routes at the next reset.
//   - Why a session does not come up is known, in words, and told once.
//   - What a leaf announces is read without a detour through GoBGP's API.
//
// Our own routes enter as those of one more client, origin: in packed UPDATEs
// and with no treatment by GoBGP, whose API would add MAC mobility communities
// to them, or refuse them, by what leaves announce.
//
// Each leaf is an internal peer whatever its AS: the session to it claims the
// leaf's own AS, so next hops stay as they are. The loopback sessions carry a
// TCP-MD5 key made at random, so that no other program on the host can pose as
// a leaf.
//
// # Own marks
//
// There are none: BGP withdraws with the session what the session announced.
// The controller's BGP identifier is in the cluster list of all it reflects; a
// route that comes back with it is dropped by GoBGP.
//
// # Order and restart
//
// A session is dialled once Open says that all routes known are announced.
// GoBGP then runs as a restarting speaker (RFC 4724 section 4.1): it sends
// nothing to anybody until the leaves have sent theirs, each up to End-of-RIB,
// or can't be reached, or DeferralTime has passed. origin sends its End-of-RIB
// last of all, and that opens the gate. So the first table that a leaf gets
// after a restart is whole, and at the End-of-RIB after it the leaf finds
// nothing stale to withdraw. Sessions that end with the controller end without
// a NOTIFICATION.
//
// In the other direction a leaf's routes stay for the restart time that it
// gave, then for the smaller of its and our stale time (RFC 9494), and what it
// does not announce again goes at its End-of-RIB. A session that ends by a
// NOTIFICATION, and a leaf without the capability, lose all routes at once.
//
// FRR before 10.6 knows no graceful restart for EVPN and withdraws everything
// when its session ends. Keeper is for these: a reflector beside such a leaf's
// bgpd that holds the routes while the controller is away. bgpd then needs
//
//	router bgp 65001
//	 neighbor 127.0.0.2 remote-as 65001
//	 neighbor 127.0.0.2 passive
//	 address-family l2vpn evpn
//	  neighbor 127.0.0.2 activate
//	  advertise-all-vni
//
// and is dialled at an address of an interface, as its loopback's: at 127.0.0.1
// it refuses. A leaf without a keeper names the controller's address instead.
// For the other direction, its own restart, it has in both cases
//
//	bgp graceful-restart
package evpn
