// Package leafstate is what the controller and the agent on an EVPN leaf say to
// each other: the state that the leaf is to have, and what its kernel has.
//
// The state is declarative and whole; it is small, for where remote stations
// are comes by BGP. The report is whole at the start of an agent and after it
// lost track of the kernel, and else has only what changed.
package leafstate

import (
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// State is what a leaf is to have.
type State struct {
	Revision uint64     `json:"revision"` // raised at each change
	VTEP     netip.Addr `json:"vtep"`
	ASN      uint32     `json:"asn"` // of the leaf, and of the controller towards it
	Peers    []Peer     `json:"peers,omitempty"`
	Segments []Segment  `json:"segments,omitempty"` // by VNI
	Routers  []Router   `json:"routers,omitempty"`  // by L3VNI
}

// Peer is a controller that dials the leaf's BGP. Without an address it may
// come from anywhere in Range.
type Peer struct {
	Address  netip.Addr `json:"address"`
	Password string     `json:"password,omitempty"` // TCP-MD5 (RFC 2385)
}

// Segment is an L2VNI: a bridge with a VXLAN device and ports.
type Segment struct {
	VNI intent.VNI `json:"vni"`
	MTU int        `json:"mtu"` // of the tenant's packets
	// Suppress answers ARP and neighbour solicitations locally (RFC 9161).
	Suppress bool     `json:"suppress"`
	Import   []string `json:"import,omitempty"` // route targets; automatic when left out
	Export   []string `json:"export,omitempty"`
	Ports    []Port   `json:"ports,omitempty"` // by interface
}

// Port is an interface that belongs to a segment.
type Port struct {
	Port      intent.Ref   `json:"port"`
	Interface string       `json:"interface"`
	MAC       intent.MAC   `json:"mac"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Sources are prefixes behind the port from which it may send, too: static
	// routes lead there.
	Sources []netip.Prefix `json:"sources,omitempty"`
}

// Equal reports whether two states are the same but for their revision.
func (s State) Equal(o State) bool {
	return s.VTEP == o.VTEP && s.ASN == o.ASN && slices.Equal(s.Peers, o.Peers) && slices.EqualFunc(s.Segments, o.Segments, Segment.equal) &&
		slices.EqualFunc(s.Routers, o.Routers, Router.Equal)
}

func (s Segment) equal(o Segment) bool {
	return s.VNI == o.VNI && s.MTU == o.MTU && s.Suppress == o.Suppress && slices.Equal(s.Import, o.Import) && slices.Equal(s.Export, o.Export) &&
		slices.EqualFunc(s.Ports, o.Ports, Port.equal)
}

func (p Port) equal(o Port) bool {
	return p.Port == o.Port && p.Interface == o.Interface && p.MAC == o.MAC && slices.Equal(p.Addresses, o.Addresses) && slices.Equal(p.Sources, o.Sources)
}

// Report is what a leaf says of itself.
type Report struct {
	// Full says that Add is all that the kernel has; else Add and Remove are
	// what changed since the last report.
	Full       bool        `json:"full,omitempty"`
	Software   string      `json:"software,omitempty"`
	Interfaces []Interface `json:"interfaces"` // all of them, each time
	// Applied is the revision of the state that is in place; zero while none
	// is.
	Applied uint64 `json:"applied"`
	// Ports are those that the kernel has in their segments, each time.
	Ports []PortReport `json:"ports,omitempty"`
	// Routers are those of the state in place, each time: in the kernel and in
	// FRR, or why not.
	Routers []RouterReport `json:"routers,omitempty"`
	// Errors are why the state is not in place, in the device's words.
	Errors []string `json:"errors,omitempty"`
	Add    []Entry  `json:"add,omitempty"`
	Remove []Entry  `json:"remove,omitempty"`
}

// Interface is an interface that could carry a port.
type Interface struct {
	Name  string `json:"name"`
	Up    bool   `json:"up"`
	Error string `json:"error,omitempty"`
}

// PortReport is a port as the kernel has it.
type PortReport struct {
	Interface string     `json:"interface"`
	VNI       intent.VNI `json:"vni"`
}

// EntryKind says in which of the kernel's tables an entry is.
type EntryKind string

// Kinds of entries.
const (
	Remote    EntryKind = "remote"    // FDB of the VXLAN device: a MAC behind a VTEP
	Flood     EntryKind = "flood"     // the same, where frames to all go: a VTEP
	Neighbour EntryKind = "neighbour" // an address that is answered for, and its MAC
	Local     EntryKind = "local"     // FDB of the bridge: a MAC learned on a port
	Route     EntryKind = "route"     // table of a router's VRF: a prefix and the VTEP to which it is tunnelled
)

// Entry is an entry of the kernel's forwarding or neighbour tables.
type Entry struct {
	Kind EntryKind  `json:"kind"`
	VNI  intent.VNI `json:"vni"`
	MAC  intent.MAC `json:"mac,omitzero"`
	IP   netip.Addr `json:"ip,omitzero"`    // Neighbour
	Bits uint8      `json:"bits,omitempty"` // Route: length of the prefix of IP
	VTEP netip.Addr `json:"vtep,omitzero"`  // Remote, Flood and Route
	Port string     `json:"port,omitempty"` // Local: the interface
}
