// Package sim simulates many Open vSwitch edges in one process, so that a
// controller can be measured with far more of them than a machine could run.
// They speak the real protocols over loopback TCP: OVSDB (RFC 7047, with the
// conditional monitors of ovsdb-server(7)) and OpenFlow 1.5 with bundles, flow
// descriptions and flow monitors. No packet passes.
//
// # Addresses
//
// A Farm has two listeners for all its edges, both bound to the loopback
// device: edge number N is 127.A.B.C, N+1 in the last three octets plus 127.1.0.0.
// An edge therefore costs two connections and no listener.
//
// # What an edge is
//
// Its database holds a root row, the bridge br-int as an installer leaves it,
// whatever rows the controller writes, and interfaces with an
// external_ids:iface-id that Plug adds and Unplug removes. As ovs-vswitchd
// would, it gives an interface its port number in a second update. Operations
// that no driver of Weft uses are refused.
//
// Its flow tables hold each flow in the form in which a flow description
// returns it. The same flow on many edges is kept once, and each edge has a
// number of 4 bytes for it: about 30 bytes per flow and edge. Flows longer than
// that is worth, the flood lists, are kept by each edge. A flow that no edge
// has any more is not freed, except such long ones.
//
// An edge counts what it was told, can read slowly, get stuck, drop its
// connections, be down, and come back with its flows or without any.
//
// # That it tells the truth
//
// The tests of this package have the real driver program a simulated edge and
// compare its flows with the pipeline's golden file and, with tag lab, with
// those of a real ovs-vswitchd.
package sim
