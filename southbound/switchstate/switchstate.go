// Package switchstate is what a switch's agent tells the controller of the switch as
// a part of the underlay, whatever it is in the overlay: its ports and who is at
// their other ends.
//
// A report is whole each time: it is small, and one that is lost is made up for by
// the next.
package switchstate

import "github.com/weft-sdn/weft/controller/intent"

// Report is what a switch says of itself.
type Report struct {
	Serial string `json:"serial,omitempty" doc:"Serial number of the box" maxLength:"128"`
	Ports  []Port `json:"ports" nullable:"false" doc:"Ethernet ports, by name"`
}

// Port is an Ethernet port as the kernel has it.
type Port struct {
	Name  string     `json:"name"`
	MAC   intent.MAC `json:"mac"`
	Up    bool       `json:"up" doc:"Has a carrier"`
	MTU   int        `json:"mtu" doc:"Bytes"`
	Speed int        `json:"speed,omitempty" doc:"Mbit/s; left out when the kernel does not know"`
	// Counters since the port was made.
	Counters Counters `json:"counters"`
	// Neighbours speak LLDP (IEEE 802.1AB) at the other end: one, as a rule.
	Neighbours []Neighbour `json:"neighbours,omitempty"`
}

// Counters are those of a port (RFC 2863 ifTable, in 64 bits).
type Counters struct {
	RxPackets uint64 `json:"rxPackets"`
	RxBytes   uint64 `json:"rxBytes"`
	RxDropped uint64 `json:"rxDropped,omitempty"`
	RxErrors  uint64 `json:"rxErrors,omitempty"`
	TxPackets uint64 `json:"txPackets"`
	TxBytes   uint64 `json:"txBytes"`
	TxDropped uint64 `json:"txDropped,omitempty"`
	TxErrors  uint64 `json:"txErrors,omitempty"`
}

// Neighbour is what the device at the other end says of itself.
type Neighbour struct {
	Device  string `json:"device" doc:"System name, or the chassis ID when there is none"`
	Port    string `json:"port"`
	Chassis string `json:"chassis,omitempty" doc:"Chassis ID, where it is not the name"`
}
