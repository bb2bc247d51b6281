package switchstate

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"github.com/weft-sdn/weft/controller/intent"
)

// Announcement is what a switch says of itself that is no node of the fabric yet. It
// is sent again every few seconds until the switch is one. With it goes, as a bearer
// token (RFC 6750), a secret that the agent made: once the switch is a node, that is
// the node's credential.
type Announcement struct {
	Serial string     `json:"serial" doc:"Serial number of the box" minLength:"1" maxLength:"128"`
	MAC    intent.MAC `json:"mac,omitzero" doc:"MAC address of its first port"`
	Node   string     `json:"node,omitempty" doc:"Node that the box is to be; left out when the controller is to find one" maxLength:"63"`
	Name   string     `json:"name,omitempty" doc:"Name that it says by LLDP; that of node, or the serial number, when left out" maxLength:"255"`
	Token  string     `json:"token,omitempty" doc:"One-time join token" maxLength:"128"`
	Ports  []Port     `json:"ports" nullable:"false" maxItems:"1024" doc:"Ethernet ports, by name"`
	// What follows tells how a switch is set up already; it is for discovery.
	Management string    `json:"management,omitempty" maxLength:"64" doc:"Port by which the agent reaches the controller"`
	Addresses  []Address `json:"addresses,omitempty" maxItems:"4096" doc:"Addresses of the loopback and the ports, but link-local ones"`
	ASN        uint32    `json:"asn,omitempty" doc:"AS of its BGP"`
	RouterID   string    `json:"routerID,omitempty" maxLength:"15" doc:"BGP identifier"`
}

// Address is an address of an interface.
type Address struct {
	Interface string       `json:"interface" maxLength:"64"`
	Address   netip.Prefix `json:"address"`
}

// Causes why a controller does not take what an agent tells.
var (
	ErrNoNode  = errors.New("there is no such node")
	ErrRefused = errors.New("the credential is refused")
)

// Admission answers an Announcement.
type Admission struct {
	Node    string `json:"node,omitempty" doc:"Node that the box is now; left out while it has to wait"`
	Message string `json:"message" doc:"How the node was found, or what the box waits for"`
}

// neighboursMost and nameMost bound what is taken of one port: LLDP's names have 255
// bytes at most (IEEE 802.1AB-2016 clause 8.5).
const (
	neighboursMost = 16
	nameMost       = 255
)

// Check finds what no agent would send; its error names the field.
func (a *Announcement) Check() error {
	if err := intent.CheckSerial(a.Serial); err != nil {
		return fmt.Errorf("serial: %w", err)
	}
	seen := map[string]bool{}
	for i, p := range a.Ports {
		field := fmt.Sprintf("ports[%d]", i)
		switch {
		case !tellable(p.Name):
			return fmt.Errorf("%s.name: %q is no name of a port", field, p.Name)
		case seen[p.Name]:
			return fmt.Errorf("%s.name: %s is there twice", field, p.Name)
		case len(p.Neighbours) > neighboursMost:
			return fmt.Errorf("%s.neighbours: has %d, more than %d", field, len(p.Neighbours), neighboursMost)
		}
		seen[p.Name] = true
		for _, n := range p.Neighbours {
			if !tellable(n.Device) || !tellable(n.Port) || len(n.Chassis) > nameMost {
				return fmt.Errorf("%s.neighbours: %.64q, port %.64q, is no neighbour", field, n.Device, n.Port)
			}
		}
	}
	return nil
}

// tellable reports whether a name is one that a terminal may get.
func tellable(s string) bool {
	return s != "" && len(s) <= nameMost && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
