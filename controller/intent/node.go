package intent

import "net/netip"

// Role is what a node is in the fabric.
type Role string

// Roles of nodes (RFC 7938 section 3 for the Clos tiers).
const (
	RoleSuperspine Role = "superspine"
	RoleSpine      Role = "spine"
	RoleLeaf       Role = "leaf"
	RoleBorder     Role = "border" // a leaf that leads outside
	RoleHypervisor Role = "hypervisor"
	RoleVTEP       Role = "vtep"   // a switch driven by the hardware_vtep schema, behind a leaf
	RoleServer     Role = "server" // bare metal
	RoleVM         Role = "vm"
)

// Roles lists all roles.
func Roles() []Role {
	return []Role{RoleSuperspine, RoleSpine, RoleLeaf, RoleBorder, RoleHypervisor, RoleVTEP, RoleServer, RoleVM}
}

// Switch reports whether the role is a switch of the underlay.
func (r Role) Switch() bool {
	return r == RoleSuperspine || r == RoleSpine || r == RoleLeaf || r == RoleBorder
}

// Tunnels reports whether the role is a device behind a leaf at which tunnels
// end.
func (r Role) Tunnels() bool { return r == RoleHypervisor || r == RoleVTEP }

// Node is a device: a switch or a hypervisor.
type Node struct {
	Header   `yaml:",inline"`
	Metadata Metadata `json:"metadata" yaml:"metadata"`
	Spec     NodeSpec `json:"spec" yaml:"spec"`
	Status   *Status  `json:"status,omitempty" yaml:"status,omitempty"`
}

// NodeSpec says what a device is and how the controller reaches it.
type NodeSpec struct {
	Role Role `json:"role" yaml:"role" doc:"superspine, spine, leaf, border, hypervisor, vtep, server or vm" enum:"superspine,spine,leaf,border,hypervisor,vtep,server,vm"`
	// ASN is the switch's autonomous system (RFC 7938 section 5.2).
	ASN      uint32     `json:"asn,omitempty" yaml:"asn,omitempty" doc:"Autonomous system number of a switch"`
	Loopback netip.Addr `json:"loopback,omitzero" yaml:"loopback,omitempty" doc:"Router ID and loopback of a switch"`
	// Loopback6 and Rack are kept here so that growth renumbers nothing.
	Loopback6 netip.Addr   `json:"loopback6,omitzero" yaml:"loopback6,omitempty" doc:"IPv6 loopback of a switch"`
	Rack      netip.Prefix `json:"rack,omitzero" yaml:"rack,omitempty" doc:"Prefix of what is behind a leaf: its hypervisors and hardware VTEPs"`
	// Unmanaged switches are part of the plan, and somebody else configures them.
	Unmanaged bool       `json:"unmanaged,omitempty" yaml:"unmanaged,omitempty" doc:"Somebody else configures the switch's underlay: it gets no state, and its agent only reports"`
	VTEP      netip.Addr `json:"vtep,omitzero" yaml:"vtep,omitempty" doc:"Address at which the node's tunnels end; required for a hypervisor"`
	// Colours are further addresses at which the node's tunnels end: what is sent to
	// one of them can be steered apart from what is sent to the others.
	Colours []netip.Addr `json:"colours,omitempty" yaml:"colours,omitempty" doc:"Further IPv4 addresses at which the node's tunnels end, colour 1 first: traffic that has a steering policy of its own is sent to one of these; a switch with the hardware_vtep schema has none" maxItems:"8"`
	VSwitch *VSwitch     `json:"vswitch,omitempty" yaml:"vswitch,omitempty" doc:"How to reach a hypervisor's Open vSwitch"`
	// HardwareVTEP makes the node a switch that is driven by the hardware_vtep
	// schema.
	HardwareVTEP *HardwareVTEP `json:"hardwareVTEP,omitempty" yaml:"hardwareVTEP,omitempty" doc:"How to reach a switch with the hardware_vtep schema"`
	// Serial and MAC say which box the node is: one that joins without a name and
	// has them gets this identity.
	Serial string `json:"serial,omitempty" yaml:"serial,omitempty" doc:"Serial number of the box that the node is; a box that joins with it gets this node's identity" maxLength:"128"`
	MAC    MAC    `json:"mac,omitzero" yaml:"mac,omitempty" doc:"MAC address of a port of that box, instead of its serial number, or beside it"`
	// EVPN makes the node a BGP EVPN leaf.
	EVPN *EVPN `json:"evpn,omitempty" yaml:"evpn,omitempty" doc:"How the controller and a BGP EVPN leaf speak"`
	// Injection makes a leaf one that can be steered.
	Injection *Injection `json:"injection,omitempty" yaml:"injection,omitempty" doc:"How the controller announces routes to a leaf that are for it alone; without, nothing is steered there"`
	// Maintenance has a switch's neighbours leave it before it is worked on.
	Maintenance Maintenance `json:"maintenance,omitempty" yaml:"maintenance,omitempty" doc:"drain: other switches are to use the ways around this one (RFC 8326)" enum:"drain"`
}

// Maintenance is what is to be done with a switch before people work on it.
type Maintenance string

// MaintenanceDrain leads traffic around the switch.
const MaintenanceDrain Maintenance = "drain"

// MaintenanceStatus is how far a drain has come.
type MaintenanceStatus struct {
	State DrainState `json:"state" yaml:"state" doc:"Draining or Drained" enum:"Draining,Drained"`
	Rate  *float64   `json:"rate,omitempty" yaml:"rate,omitempty" doc:"Packets a second that the switch still passes on, by its own counters; left out until it is known"`
}

// DrainState is a step of a drain.
type DrainState string

// The steps: until the switch has the drain in place and passes nothing on any more,
// and from then on.
const (
	Draining DrainState = "Draining"
	Drained  DrainState = "Drained"
)

// Drains reports whether traffic is to be led around the node.
func (s *NodeSpec) Drains() bool { return s.Maintenance == MaintenanceDrain }

// Edge reports whether the controller serves the node as an end of tunnels.
func (s *NodeSpec) Edge() bool { return s.VSwitch != nil || s.HardwareVTEP != nil || s.EVPN != nil }

// TakesColours reports whether the node takes in what is sent to colours of it. A switch
// with the hardware_vtep schema does not: its tunnels end at its tunnel_ips, vtep(5),
// which are its own to say, and of most there is one.
func (s *NodeSpec) TakesColours() bool { return s.Role != RoleVTEP && s.HardwareVTEP == nil }

// Foreign reports whether somebody else configures the switch: no agent of ours asks
// for its state.
func (s *NodeSpec) Foreign() bool { return s.Unmanaged || s.EVPN != nil && s.EVPN.Unmanaged }

// EVPN tells how the controller speaks BGP EVPN with a leaf (RFC 7432, RFC
// 8365). The controller dials; to the leaf it is an internal peer and a route
// reflector (RFC 4456), in the leaf's own AS.
type EVPN struct {
	Address   netip.Addr `json:"address,omitzero" yaml:"address,omitempty" doc:"BGP address of the leaf; its loopback when left out"`
	Port      uint16     `json:"port,omitempty" yaml:"port,omitempty" doc:"TCP port of its BGP; 179 when left out"`
	ASN       uint32     `json:"asn,omitempty" yaml:"asn,omitempty" doc:"AS of the leaf; spec.asn when left out"`
	Password  string     `json:"password,omitempty" yaml:"password,omitempty" doc:"TCP-MD5 password (RFC 2385)"`
	MaxRoutes uint32     `json:"maxRoutes,omitempty" yaml:"maxRoutes,omitempty" doc:"EVPN routes to take from the leaf before the session is ended; 100000 when left out"`
	// Unmanaged leaves are configured by someone else: what they announce is
	// all that the controller knows of their ports.
	Unmanaged bool `json:"unmanaged,omitempty" yaml:"unmanaged,omitempty" doc:"The leaf runs no weft agent: someone else configures its bridges, VNIs and ports"`
}

// Peer is the address at which the leaf's BGP listens.
func (s *NodeSpec) Peer() netip.AddrPort {
	e := s.EVPN
	a, port := e.Address, e.Port
	if !a.IsValid() {
		a = s.Loopback
	}
	if port == 0 {
		port = 179
	}
	return netip.AddrPortFrom(a, port)
}

// PeerASN is the AS of the EVPN leaf.
func (s *NodeSpec) PeerASN() uint32 {
	if s.EVPN.ASN != 0 {
		return s.EVPN.ASN
	}
	return s.ASN
}

// HardwareVTEP tells how the controller reaches a switch with the
// hardware_vtep schema (vtep(5)).
type HardwareVTEP struct {
	OVSDB string `json:"ovsdb" yaml:"ovsdb" doc:"OVSDB server: tcp:ADDRESS:PORT, ssl:ADDRESS:PORT or unix:PATH; several switches may share one"`
	// Switch is the Physical_Switch row's name.
	Switch string `json:"switch,omitempty" yaml:"switch,omitempty" doc:"Name of the physical switch in the database; the node's name when left out"`
	// Replication is who replicates broadcast and multicast.
	Replication string `json:"replication,omitempty" yaml:"replication,omitempty" doc:"source_node (default): the switch sends to every VTEP; service_node: it sends to one vSwitch that replicates"`
}

// VSwitch tells how the controller reaches an Open vSwitch.
type VSwitch struct {
	OVSDB    string `json:"ovsdb" yaml:"ovsdb" doc:"OVSDB server: tcp:ADDRESS:PORT, ssl:ADDRESS:PORT or unix:PATH"`
	OpenFlow string `json:"openflow,omitempty" yaml:"openflow,omitempty" doc:"OpenFlow listener of the bridge: tcp:ADDRESS:PORT or unix:PATH; the OVSDB server's host and port 6653 when left out"`
	Bridge   string `json:"bridge,omitempty" yaml:"bridge,omitempty" doc:"Integration bridge; br-int when left out"`
	// DatapathType is given to the bridge when Weft creates it.
	DatapathType string `json:"datapathType,omitempty" yaml:"datapathType,omitempty" doc:"system (default) or netdev, for the bridge when it is created"`
	// SourceAddresses may name an external network that is yet to come.
	SourceAddresses []SourceAddress `json:"sourceAddresses,omitempty" yaml:"sourceAddresses,omitempty" doc:"Addresses of this hypervisor's source NAT, by external network; without, it translates nothing"`
}

// BridgeName is the integration bridge, br-int by default.
func (v *VSwitch) BridgeName() string {
	if v.Bridge == "" {
		return "br-int"
	}
	return v.Bridge
}

// Ref identifies the node.
func (n *Node) Ref() Ref { return Ref{KindNode, "", n.Metadata.Name} }

// Meta returns the metadata.
func (n *Node) Meta() *Metadata { return &n.Metadata }

// Link is a cable between two interfaces of two nodes.
type Link struct {
	Header   `yaml:",inline"`
	Metadata Metadata `json:"metadata" yaml:"metadata"`
	Spec     LinkSpec `json:"spec" yaml:"spec"`
	Status   *Status  `json:"status,omitempty" yaml:"status,omitempty"`
}

// LinkSpec has the two ends of a cable.
type LinkSpec struct {
	Endpoints []LinkEnd `json:"endpoints" yaml:"endpoints" doc:"The two ends" minItems:"2" maxItems:"2"`
	MTU       int       `json:"mtu,omitempty" yaml:"mtu,omitempty" doc:"MTU of the link in bytes"`
	// Capacity is what the link's utilisation is measured against.
	Capacity BitRate `json:"capacity,omitempty" yaml:"capacity,omitempty" doc:"Bits per second each way, such as 10G; what its ports report when left out" pattern:"^[0-9]+[kMG]?$" patternDescription:"a number of bits like 500k, 10M or 1G"`
}

// LinkEnd is one end of a cable.
type LinkEnd struct {
	Node      string       `json:"node" yaml:"node"`
	Interface string       `json:"interface" yaml:"interface"`
	Address   netip.Prefix `json:"address,omitzero" yaml:"address,omitempty" doc:"Point-to-point address of this end"`
}

// Ref identifies the link.
func (l *Link) Ref() Ref { return Ref{KindLink, "", l.Metadata.Name} }

// Meta returns the metadata.
func (l *Link) Meta() *Metadata { return &l.Metadata }
