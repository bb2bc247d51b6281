package switchstate

import (
	"net/netip"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// Header is a flow by its addresses, protocol and ports: an inner one, or that of a
// tunnel.
type Header struct {
	From     netip.Addr `json:"from" doc:"Source address"`
	To       netip.Addr `json:"to" doc:"Destination address"`
	Protocol uint8      `json:"protocol" doc:"IP protocol number: 6 is TCP, 17 is UDP"`
	FromPort uint16     `json:"fromPort,omitempty" doc:"Source port"`
	ToPort   uint16     `json:"toPort,omitempty" doc:"Destination port"`
}

// Question is what the controller asks a switch's agent. Exactly one of Route and Watch
// is there; what an agent does not know it answers with an error.
type Question struct {
	ID    uint64         `json:"id" doc:"Of the question; the answer has it too"`
	Route *RouteQuestion `json:"route,omitempty" doc:"By which next hop the kernel sends a packet"`
	Watch *WatchQuestion `json:"watch,omitempty" doc:"In which tunnels a flow leaves"`
}

// RouteQuestion asks by which next hop a switch's kernel sends a packet.
type RouteQuestion struct {
	Header Header `json:"header"`
	In     string `json:"in,omitempty" doc:"Interface by which it comes; empty when the switch makes it itself"`
}

// WatchQuestion asks in which tunnels (VXLAN, RFC 7348) packets of an inner flow leave.
// The answer comes when one was seen by which the flow could be told, or after a time.
type WatchQuestion struct {
	Header Header        `json:"header" doc:"Of the inner flow"`
	VNIs   []intent.VNI  `json:"vnis,omitempty" doc:"Of the tunnels; any when empty"`
	For    time.Duration `json:"for" doc:"Nanoseconds for which is watched at most"`
}

// AnswerWait is how long the controller waits for an agent's answer, besides the time for
// which a flow is watched.
const AnswerWait = 5 * time.Second

// Answer is what an agent answers.
type Answer struct {
	ID    uint64   `json:"id"`
	Route *NextHop `json:"route,omitempty"`
	Seen  []Tunnel `json:"seen,omitempty" doc:"Each tunnel of the flow once; none when it was not seen"`
	Error string   `json:"error,omitempty" doc:"Why there is no answer"`
}

// Tunnel is the outer header in which a flow leaves, and the interface by which.
type Tunnel struct {
	Header    Header     `json:"header"`
	VNI       intent.VNI `json:"vni"`
	Interface string     `json:"interface"`
}

// HasPorts reports whether headers of a protocol have ports: TCP, UDP, SCTP, DCCP and
// UDP-Lite.
func HasPorts(protocol uint8) bool {
	switch protocol {
	case 6, 17, 33, 132, 136:
		return true
	}
	return false
}
