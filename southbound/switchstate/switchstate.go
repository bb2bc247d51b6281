// Package switchstate is what a switch's agent tells the controller of the switch as
// a part of the underlay, whatever it is in the overlay: its ports and who is at
// their other ends.
//
// A report is whole each time: it is small, and one that is lost is made up for by
// the next.
package switchstate

import (
	"encoding/json"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/device"
)

// Version is the newest version of State that this program understands. It counts up
// when a State has something that an older agent must not leave out.
const Version = 1

// State is what the controller wants of a switch as a part of the underlay.
type State struct {
	Version  int    `json:"version" doc:"Version of this document; an agent that does not know it keeps what it has"`
	Revision uint64 `json:"revision" doc:"Store revision at which the state last changed"`
	Hash     string `json:"hash" doc:"Short name of the device's state, the same for equal states"`
	// Device is empty when the version is newer than Version.
	Device device.State `json:"device"`
}

// Decode reads a state. Of one whose version is newer than Version it reads the head
// only.
func Decode(b []byte) (State, error) {
	var head struct {
		Version  int    `json:"version"`
		Revision uint64 `json:"revision"`
		Hash     string `json:"hash"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return State{}, err
	}
	s := State{Version: head.Version, Revision: head.Revision, Hash: head.Hash}
	if s.Version > Version {
		return s, nil
	}
	err := json.Unmarshal(b, &s)
	return s, err
}

// Underlay is what the agent has put in place of the State that it fetched.
type Underlay struct {
	Revision uint64 `json:"revision" doc:"Revision of the state that is in place; zero when none is"`
	Hash     string `json:"hash,omitempty" doc:"Hash of the state that is in place"`
	// Wanted is the state that the agent was told last.
	Wanted string `json:"wanted,omitempty" doc:"Hash of the state that the agent was told last"`
	Error  string `json:"error,omitempty" doc:"Why the wanted state is not in place, in the device's own words"`
	// Refused says that a daemon did not take the wanted state: the one before is in
	// place, and it is not tried again.
	Refused bool `json:"refused,omitempty" doc:"The device did not take the wanted state and keeps the one before"`
	// Notes are troubles that don't keep the state from being in place.
	Notes    []string `json:"notes,omitempty" doc:"Troubles that don't keep the state from being in place"`
	Repaired []Repair `json:"repaired,omitempty" doc:"What others had changed and was mended, since the last report"`
}

// Repair is something that was not as it was left, and was mended.
type Repair struct {
	At   time.Time `json:"at"`
	What string    `json:"what" doc:"What was found, and where"`
}

// Report is what a switch says of itself.
type Report struct {
	Serial   string   `json:"serial,omitempty" doc:"Serial number of the box" maxLength:"128"`
	Ports    []Port   `json:"ports" nullable:"false" doc:"Ethernet ports, by name"`
	Underlay Underlay `json:"underlay,omitzero"`
	// Forwarded counts what the switch passes on, and not what it sends itself.
	Forwarded uint64 `json:"forwarded,omitempty" doc:"IP packets that the switch has passed on"`
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
