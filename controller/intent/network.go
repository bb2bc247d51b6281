package intent

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// VNI is a VXLAN network identifier, 1 to 16777215 (RFC 7348 section 5).
type VNI uint32

// MaxVNI is the largest VNI, 2^24-1.
const MaxVNI VNI = 1<<24 - 1

// MAC is an Ethernet address; the zero value means none.
type MAC [6]byte

// ParseMAC reads six hexadecimal octets separated by colons.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 {
		return m, fmt.Errorf("%q is not a MAC address like 02:00:00:00:00:01", s)
	}
	for i := range m {
		if i < 5 && s[i*3+2] != ':' {
			return MAC{}, fmt.Errorf("%q is not a MAC address like 02:00:00:00:00:01", s)
		}
		if _, err := hex.Decode(m[i:i+1], []byte(s[i*3:i*3+2])); err != nil {
			return MAC{}, fmt.Errorf("%q is not a MAC address like 02:00:00:00:00:01", s)
		}
	}
	return m, nil
}

// String writes the address with colons.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// IsZero reports whether no address is set.
func (m MAC) IsZero() bool { return m == MAC{} }

// Multicast reports whether the group bit is set.
func (m MAC) Multicast() bool { return m[0]&1 == 1 }

// LinkLocal is the IPv6 link-local address made from the MAC by modified
// EUI-64 (RFC 4291 section 2.5.6 and appendix A).
func (m MAC) LinkLocal() netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// MarshalText writes the address; nothing for the zero value.
func (m MAC) MarshalText() ([]byte, error) {
	if m.IsZero() {
		return nil, nil
	}
	return []byte(m.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	v, err := ParseMAC(strings.ToLower(string(b)))
	*m = v
	return err
}

// Network is an L2 segment of a tenant: one VNI (L2VNI).
type Network struct {
	Header   `yaml:",inline"`
	Metadata Metadata    `json:"metadata" yaml:"metadata"`
	Spec     NetworkSpec `json:"spec" yaml:"spec"`
	Status   *Status     `json:"status,omitempty" yaml:"status,omitempty"`
}

// NetworkSpec describes the segment.
type NetworkSpec struct {
	VNI     VNI            `json:"vni,omitempty" yaml:"vni,omitempty" doc:"L2VNI, 1 to 16777215; allocated when left out" minimum:"0" maximum:"16777215"`
	Subnets []netip.Prefix `json:"subnets,omitempty" yaml:"subnets,omitempty,flow" doc:"IPv4 and IPv6 subnets; none may overlap another"`
	MTU     int            `json:"mtu,omitempty" yaml:"mtu,omitempty" doc:"Largest IP packet on the segment in bytes; 1500 when left out" minimum:"0" maximum:"9216"`
	// Encapsulation is how the network's frames cross the underlay.
	Encapsulation Encapsulation `json:"encapsulation,omitzero" yaml:"encapsulation,omitempty" doc:"How frames cross the underlay; VXLAN on UDP port 4789 when left out"`
	// RouteTargets are for BGP EVPN; by default ASN:VNI is exported, and any
	// AS with the VNI imported (RFC 8365 section 5.1.2.1).
	RouteTargets RouteTargets `json:"routeTargets,omitzero" yaml:"routeTargets,omitempty" doc:"Route targets of BGP EVPN; made from the VNI when left out"`
	// Spoofing says what happens to a MAC or address of a port of the intent
	// that another edge announces.
	Spoofing Spoofing `json:"spoofing,omitempty" yaml:"spoofing,omitempty" doc:"What happens when an edge announces the MAC or address of a port that is elsewhere: refuse (default) ignores the route, report follows it; both raise an alarm" enum:"refuse,report"`
	// ACLs judge what crosses the borders of the subnets.
	ACLs []SubnetACL `json:"acls,omitempty" yaml:"acls,omitempty" doc:"Network ACLs that judge what enters and leaves the subnets; without any, nothing is filtered"`
	DHCP *DHCP       `json:"dhcp,omitempty" yaml:"dhcp,omitempty" doc:"What stations are told by DHCPv4, router advertisements and DHCPv6; nothing when left out"`
}

// Encapsulation is a tunnel format. The zero value is VXLAN on its own port.
type Encapsulation struct {
	Type    EncapType `json:"type,omitempty" yaml:"type,omitempty" doc:"vxlan (RFC 7348), geneve (RFC 8926) or nvgre (RFC 7637); the latter two between vSwitches only" enum:"vxlan,geneve,nvgre"`
	UDPPort uint16    `json:"udpPort,omitempty" yaml:"udpPort,omitempty" doc:"Destination port of VXLAN or Geneve; 4789 or 6081 when left out"`
}

// EncapType names a tunnel format.
type EncapType string

// Tunnel formats.
const (
	VXLAN  EncapType = "vxlan"
	Geneve EncapType = "geneve"
	NVGRE  EncapType = "nvgre"
)

// Full is the encapsulation with its defaults filled in; NVGRE has no port.
func (e Encapsulation) Full() Encapsulation {
	if e.Type == "" {
		e.Type = VXLAN
	}
	switch {
	case e.Type == NVGRE:
		e.UDPPort = 0
	case e.UDPPort == 0 && e.Type == Geneve:
		e.UDPPort = 6081
	case e.UDPPort == 0:
		e.UDPPort = 4789
	}
	return e
}

// Standard reports whether every kind of edge can do it: VXLAN on port 4789.
func (e Encapsulation) Standard() bool { return e.Full() == Encapsulation{VXLAN, 4789} }

// String is like vxlan:4789 or nvgre.
func (e Encapsulation) String() string {
	e = e.Full()
	if e.UDPPort == 0 {
		return string(e.Type)
	}
	return fmt.Sprintf("%s:%d", e.Type, e.UDPPort)
}

// Overhead is how much larger a tunnelled frame's IP packet is than the tenant's
// over IPv4, in bytes: Ethernet, the tunnel's header, UDP where there is any,
// and IPv4.
func (e Encapsulation) Overhead() int {
	if e.Full().Type == NVGRE {
		return 14 + 8 + 20
	}
	return 14 + 8 + 8 + 20
}

// RouteTargets are extended communities (RFC 4360 section 4) as ASN:N or
// IPv4:N.
type RouteTargets struct {
	Import []string `json:"import,omitempty" yaml:"import,omitempty,flow" doc:"Routes with one of these are the network's; *:VNI when left out"`
	Export []string `json:"export,omitempty" yaml:"export,omitempty,flow" doc:"What the controller's routes carry; its ASN:VNI when left out"`
}

// IsZero reports whether all are the default.
func (r RouteTargets) IsZero() bool { return len(r.Import)+len(r.Export) == 0 }

// Spoofing is a policy towards routes for what a port of the intent owns.
type Spoofing string

// Policies.
const (
	SpoofingRefuse Spoofing = "refuse"
	SpoofingReport Spoofing = "report"
)

// DefaultMTU is a network's MTU when none is given.
const DefaultMTU = 1500

// Ref identifies the network.
func (n *Network) Ref() Ref { return Ref{KindNetwork, n.Metadata.Tenant, n.Metadata.Name} }

// Meta returns the metadata.
func (n *Network) Meta() *Metadata { return &n.Metadata }

// Port attaches one interface of a VM or server to a network.
type Port struct {
	Header   `yaml:",inline"`
	Metadata Metadata `json:"metadata" yaml:"metadata"`
	Spec     PortSpec `json:"spec" yaml:"spec"`
	Status   *Status  `json:"status,omitempty" yaml:"status,omitempty"`
}

// PortSpec says to which network a port belongs, where it is plugged in and
// which addresses it may use.
type PortSpec struct {
	Network string  `json:"network" yaml:"network" doc:"Network of the same tenant"`
	Binding Binding `json:"binding,omitempty" yaml:"binding,omitempty" doc:"Where the port is: node and interface, or iface-id"`
	// Requested is where the port is moving to. It becomes the binding when
	// the port first speaks there, or when the old place loses it.
	Requested Place        `json:"requested,omitzero" yaml:"requested,omitempty" doc:"Where the port is moving to: prepared now, used from the port's first frame there on"`
	MAC       MAC          `json:"mac,omitzero" yaml:"mac,omitempty" doc:"MAC address; allocated when left out"`
	Addresses []netip.Addr `json:"addresses,omitempty" yaml:"addresses,omitempty,flow" doc:"IP addresses; one per subnet of the network is allocated when left out"`
	// SecurityGroups filter statefully what the port sends and receives.
	SecurityGroups []string `json:"securityGroups,omitempty" yaml:"securityGroups,omitempty,flow" doc:"Security groups of the same tenant that the port is in; without any, nothing is filtered"`
	QoS            *QoS     `json:"qos,omitempty" yaml:"qos,omitempty" doc:"Rate limits and marking"`
}

// Binding is the place of a port: either Node and Interface, or IfaceID, the
// external_ids:iface-id that libvirt, Neutron and others write on the OVS
// interface; then the port is wherever that interface appears.
type Binding struct {
	Node      string `json:"node,omitempty" yaml:"node,omitempty" doc:"Node, together with interface"`
	Interface string `json:"interface,omitempty" yaml:"interface,omitempty" doc:"Interface on that node"`
	VLAN      uint16 `json:"vlan,omitempty" yaml:"vlan,omitempty" doc:"802.1Q tag of the port's frames on that interface, 1 to 4094; untagged when left out" minimum:"0" maximum:"4094"`
	IfaceID   string `json:"ifaceID,omitempty" yaml:"ifaceID,omitempty" doc:"external_ids:iface-id of an OVS interface, on any node"`
}

// Place is a place to which a port moves.
type Place struct {
	Node      string `json:"node,omitempty" yaml:"node,omitempty" doc:"Node"`
	Interface string `json:"interface,omitempty" yaml:"interface,omitempty" doc:"Interface on that node; of a port with ifaceID, the one that has it when left out"`
}

// IsZero reports whether no place is given.
func (p Place) IsZero() bool { return p == Place{} }

// String is NODE or NODE:INTERFACE.
func (p Place) String() string {
	if p.Interface == "" {
		return p.Node
	}
	return p.Node + ":" + p.Interface
}

// IsZero reports whether no place is given.
func (b Binding) IsZero() bool { return b == Binding{} }

// Ref identifies the port.
func (p *Port) Ref() Ref { return Ref{KindPort, p.Metadata.Tenant, p.Metadata.Name} }

// Meta returns the metadata.
func (p *Port) Meta() *Metadata { return &p.Metadata }

// GroupRefs are the security groups that the port is in.
func (p *Port) GroupRefs() []Ref {
	out := make([]Ref, len(p.Spec.SecurityGroups))
	for i, g := range p.Spec.SecurityGroups {
		out[i] = Ref{KindSecurityGroup, p.Metadata.Tenant, g}
	}
	return out
}

// NetworkRef is the network to which the port belongs.
func (p *Port) NetworkRef() Ref { return Ref{KindNetwork, p.Metadata.Tenant, p.Spec.Network} }
