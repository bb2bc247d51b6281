// Package vtep is the driver of a switch with the hardware_vtep schema, vtep(5).
//
// Each VNI with a port on the switch is a Logical_Switch, bound to ports by
// vlan_bindings. Stations elsewhere are Ucast_Macs_Remote rows with the VTEP's
// locator and, for ARP, their lowest IPv4 address; the VTEPs that frames to all
// go to are the locator set of the row unknown-dst in Mcast_Macs_Remote: all of
// them (replication_mode source_node), or the one vSwitch that replicates for
// this switch (service_node; RFC 9574 calls that AR-LEAF and AR-REPLICATOR).
// The gateway's MAC is behind the vSwitch that is appointed (overlay.Bridge).
// What the switch learns, Ucast_Macs_Local, it tells the segment table. The BFD
// state of tunnels (RFC 5880) is read where somebody enabled it.
//
// The ACLs of a network are one row of ACL, with entries in their order that deny at
// the end what no rule allows, bound by acl_bindings to the VLANs of the network's
// ports together with the logical switch. Seen from the switch, what a station sends
// is ingress.
//
// # Own marks
//
// Our logical switches and ACLs are called weft-<VNI>; their remote rows and entries
// are ours. Entries that no ACL has any more, and that say what ours must, are used
// again: whoever deleted our ACL left them. A VLAN
// that is bound to another logical switch is left alone and raises an alarm. So
// does another logical switch that has our tunnel key; where it is bound on the
// same switch, no port is bound to ours any more, for the frames of both would
// mix.
//
// # Several switches in one database
//
// Logical switches and remote rows are common to all switches of a database,
// bindings are each one's own. No remote row leads to a switch of the same
// database: those know each other by their local rows. All drivers want the same
// common rows, as they read the same segment tables, and read them after the
// database. What differs the first by name on a logical switch writes; the next
// does if nothing happens for a second. A logical switch is made and removed
// together with a binding, so one that is on no port is nobody's; the server
// refuses to remove what another driver bound meanwhile.
//
// # Colours
//
// What the switch sends goes to the VTEPs' own addresses, whatever the feed's Colouring
// says: a colour would be a locator more, and so a tunnel, for each VTEP and network. It
// has no colours itself (intent.NodeSpec.TakesColours): its tunnels end at tunnel_ips.
//
// # Order and restart
//
// The database keeps everything while the controller is away. After each
// connection, and at each change of the feed or of the database, rows and feed
// are compared and the difference is written in one transaction; bindings go
// first when there are more MACs than one transaction takes. After a controller's
// restart there is nothing to write. What the database has for the VTEP of an
// edge that has not reported yet is kept. What was written once and is
// otherwise, somebody else changed: it is mended at once and told, more and more
// slowly when it comes back. A transaction that another writer overtook is made
// anew.
package vtep
