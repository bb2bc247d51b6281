// Package topology reads and makes descriptions of fabrics: containerlab files,
// the graph of nodes and links in them, the role of each node in a Clos fabric,
// and the equal-cost paths between nodes.
//
// It is pure: bytes and values in, values out.
//
// # Files
//
// Parse reads a topology file as containerlab does (https://containerlab.dev):
// a setting is taken from the node, else from its group, else from its kind,
// else from the defaults; labels and environments are merged in that order,
// commands are appended, and a bind replaces one with the same target. What
// Weft has no use for is kept for the round trip and listed by File.Ignored.
// What containerlab would not understand is refused, with source and line.
//
// # Roles
//
// The role of a node is decided by the first of these rules that has an answer,
// and Node.RoleRule says which one that was: the label weft-role; the kind vtep,
// which is Weft's own and means a switch driven by the hardware_vtep schema; the
// group's name; the node's name; its kind and place in the graph. The tiers are
// those of RFC 7938 section 3.
//
// # Paths
//
// Paths are those that eBGP with one AS per switch and multipath would use
// (RFC 7938 section 6): the fewest hops, over switches only, each link of a
// bundle of parallel links by itself.
package topology
