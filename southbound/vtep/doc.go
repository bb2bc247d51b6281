// Package vtep is the driver of a switch with the hardware_vtep schema, vtep(5).
//
// Each VNI with a port on the switch is a Logical_Switch, bound to ports by
// vlan_bindings. Stations elsewhere are Ucast_Macs_Remote rows with the VTEP's
// locator and, for ARP, their first IPv4 address; the VTEPs that frames to all
// go to are the locator set of the row unknown-dst in Mcast_Macs_Remote: all of
// them (replication_mode source_node), or the one vSwitch that replicates for
// this switch (service_node; RFC 9574 calls that AR-LEAF and AR-REPLICATOR).
// What the switch learns, Ucast_Macs_Local, it tells the segment table.
//
// # Own marks
//
// Our logical switches are called weft-<VNI>; remote rows of these are ours. A
// VLAN that is bound to another logical switch, and a tunnel key that another
// one has, are left alone and raise alarms. Several switches may share one
// database, where logical switches and MACs are common to all: each driver adds
// what its switch needs, none states what another switch of the database has,
// and a logical switch goes when no port of any switch is bound to it any more.
//
// # Order and restart
//
// The database keeps everything while the controller is away. After each
// connection, and at each change of the feed or of the database, rows and feed
// are compared and the difference is written in one transaction, large ones in
// chunks, bindings first: after a controller's restart there is none. What the
// database has for the VTEP of an edge that has not reported yet is kept. What
// somebody else changed is mended at once and told, more and more slowly when it
// comes back.
package vtep
