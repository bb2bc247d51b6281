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
}

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
	Network   string       `json:"network" yaml:"network" doc:"Network of the same tenant"`
	Binding   Binding      `json:"binding,omitempty" yaml:"binding,omitempty" doc:"Where the port is: node and interface, or iface-id"`
	MAC       MAC          `json:"mac,omitzero" yaml:"mac,omitempty" doc:"MAC address; allocated when left out"`
	Addresses []netip.Addr `json:"addresses,omitempty" yaml:"addresses,omitempty,flow" doc:"IP addresses; one per subnet of the network is allocated when left out"`
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

// IsZero reports whether no place is given.
func (b Binding) IsZero() bool { return b == Binding{} }

// Ref identifies the port.
func (p *Port) Ref() Ref { return Ref{KindPort, p.Metadata.Tenant, p.Metadata.Name} }

// Meta returns the metadata.
func (p *Port) Meta() *Metadata { return &p.Metadata }

// NetworkRef is the network to which the port belongs.
func (p *Port) NetworkRef() Ref { return Ref{KindNetwork, p.Metadata.Tenant, p.Spec.Network} }
