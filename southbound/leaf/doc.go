// Package leaf is the driver of a BGP EVPN leaf.
//
// Where remote stations are, a leaf learns by BGP from the controller's speaker
// (package southbound/evpn), and what it learns itself it announces the same
// way. What BGP does not carry goes through the agent that runs on the leaf:
// which VNIs there are and which interfaces belong to them (to the leaf), and
// what its kernel has (back). The driver compares that with the segment tables:
// its cursors are the revisions up to which the kernel's forwarding and
// neighbour tables agree.
//
// A leaf that someone else configures has no agent. Then the session is all the
// evidence there is: what was announced over an established session counts as
// confirmed.
//
// # Order and restart
//
// A new driver gives the agent no state before the agent's first report, from
// which follows what belongs on the leaf: so a controller that starts takes
// nothing away. An agent whose controller is gone leaves everything in place,
// and the leaf keeps the controller's routes (RFC 4724).
package leaf
