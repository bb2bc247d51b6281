// Package intent defines the objects that people declare to Weft: Tenant,
// Network, Port, Node, Link and what routes and filters between them.
//
// The objects follow the shape that Kubernetes users know: kind, metadata,
// spec (what is wanted; written by people) and status (what is; read from the
// devices, never stored). A field that may be allocated, such as a VNI, a MAC
// or an address, may be left out of a spec: the store then chooses a value in
// the same transaction that writes the object, and keeps it over later writes
// that leave the field out again.
//
// The package is pure: it parses, defaults, validates and names objects, and
// does no input or output. It is the lowest package of the tree, below
// topology, fabric and overlay, which read it.
package intent
