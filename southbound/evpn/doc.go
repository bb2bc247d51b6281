// Package evpn is the controller's BGP speaker: towards EVPN leaves a route
// reflector (RFC 4456) for the address family l2vpn-evpn (RFC 7432, RFC 8365,
// RFC 9136) that also originates the routes of all other edges, with those
// edges' VTEPs as next hops.
//
// # Design
//
// A session of ours with each leaf (fsm.go) reads its UPDATEs into one table, the
// rib, and sends from it:
//
//	leaf ── session ── update ──▶ rib ── reader ── block ──▶ session ── leaf
//	                      |        ▲                         session ── leaf
//	                 Admit, OnRoutes                Announce
//
// The rib has a fixed 88 octets per route, found by a hash over what identifies
// it, and its attributes as a number: sets of path attributes are kept once, in
// the form in which they are sent. They go on as they came, with ORIGINATOR_ID
// and CLUSTER_LIST (RFC 4456). Adj-RIB-In, Loc-RIB and what was refused by Admit
// are marks on the same entry; there is no Adj-RIB-Out.
//
// Each change of what is handed on has a revision, and each session a reader
// with a cursor, as the edges' drivers have for segment tables. Changes are
// encoded in blocks of UPDATEs, those of the same attributes together, once for
// all readers that come by; each takes the parts that are not from its own leaf.
// A leaf that is slow reads later, and then the state of that time only; one that
// takes nothing for eight minutes loses its session (RFC 9687).
//
// GoBGP's packet library reads OPEN messages, and judges sets of attributes that
// were not seen before: what it finds malformed is treated as RFC 7606 has it,
// withdrawn, or left out. It is called with panics caught: GoBGP 3.37 trusts
// lengths. NLRI are read by ourselves. The Keeper is a GoBGP server.
//
// Each leaf is an internal peer whatever its AS: the session to it claims the
// leaf's own AS, so next hops stay as they are.
//
// # Other fabrics
//
// Towards another fabric (Config.Fabric) it is a speaker with a table of its own and
// no reflector: what peers announce is told of and handed on to nobody, so that the
// table holds only what was announced here. Sessions are external ones, or internal
// when both fabrics have one AS; next hops are VTEPs and stay. AS_PATH begins with our
// AS, and a route that has it already is not taken (RFC 4271 section 9.1.2). One of the
// two ends dials, for the other a Listener takes the connections. Both wait with their
// table until Release; neither waits for one that has just started, too. Routes outlive
// an expired hold timer (RFC 8538).
//
// # Own marks
//
// There are none: BGP withdraws with the session what the session announced.
// The controller's BGP identifier is in the cluster list of all it reflects; a
// route that comes back with it is not taken.
//
// # Order and restart
//
// A session is dialled once Open says that all routes known are announced. The
// speaker then is a restarting one (RFC 4724 section 4.1): it sends nothing to
// anybody until the leaves have sent theirs, each up to End-of-RIB, or can't be
// reached, or DeferralTime has passed. So the first table that a leaf gets after
// a restart is whole, and at the End-of-RIB after it the leaf finds nothing stale
// to withdraw. The forwarding-state bits are always set, since no packet passes
// through the controller. Sessions that end with the controller end without a
// NOTIFICATION.
//
// In the other direction a leaf's routes stay for the restart time that it
// gave, then, marked so that any other wins over them, for the smaller of its and
// our stale time (RFC 9494), and what it does not announce again goes at its
// End-of-RIB. A session that ends by a
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
