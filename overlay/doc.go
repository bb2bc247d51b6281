// Package overlay turns tenants' intent and what the edges report into segment
// tables and the device parts of the overlay: which port is where, which
// routes it originates, and which local ports an edge must serve.
//
// Model is the incremental form: it takes one object or one report at a time
// and touches only what that concerns. Given the same objects and reports in
// any order it ends with the same rows and local ports, but for MAC mobility
// sequence numbers and the choice between two places that claim one port,
// where the place in use is kept.
//
// A router is a VRF. What an edge needs to route for a port is in its LocalPort,
// shared and small; where the hosts are is one table more, that of the L3VNI, with
// a row for each address of the ports of its networks and of the stations that
// their segments have beside. Edges read it that have such a port. A next hop is a
// row of its own, by a HopAddress, for frames are bridged to it.
//
// The package is pure: the engine feeds it, guards it and reads it.
package overlay
