package switchstate

import (
	"net/netip"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// Load is what a switch has counted so far. Its counters only rise, so that a report
// that is lost is made up for by the next; one that is lower than before began anew.
type Load struct {
	// Clock is when the counters were read, by the switch's clock since it booted:
	// two reports differ by the time in which what they differ by was counted.
	Clock time.Duration `json:"clock" doc:"Nanoseconds since the switch booted"`
	// Full says that Tunnels has all that is counted, and not only what rose since
	// the last report that was taken.
	Full    bool        `json:"full,omitempty" doc:"tunnels has all that the switch counts, not only what changed"`
	Ports   []PortLoad  `json:"ports" nullable:"false" maxItems:"4096" doc:"All Ethernet ports, by name"`
	Tunnels []Tunnelled `json:"tunnels,omitempty" maxItems:"65536" doc:"What left in tunnels"`
	// Counts says that the switch counts what leaves in tunnels.
	Counts bool `json:"counts,omitempty" doc:"The switch counts what leaves in tunnels"`
	// Tunnel is all that left in tunnels, in bytes: what Tunnels lacks of it, had no
	// room there.
	Tunnel uint64 `json:"tunnel,omitempty" doc:"Bytes that left in tunnels, also those that tunnels had no room for"`
	Error  string `json:"error,omitempty" doc:"Why tunnels are not counted"`
}

// PortLoad are the counters of a port that its load follows from.
type PortLoad struct {
	Name    string `json:"name"`
	RxBytes uint64 `json:"rxBytes"`
	TxBytes uint64 `json:"txBytes"`
	// Dropped are packets: what the port dropped, and the queue in front of it.
	Dropped uint64 `json:"dropped,omitempty" doc:"Packets that the port or its queue dropped"`
	Speed   int    `json:"speed,omitempty" doc:"Mbit/s; left out when the kernel does not know"`
}

// Tunnelled is what left by a port in the tunnel between two VTEPs, for a VNI (RFC
// 7348, RFC 8926) or VSID (RFC 7637).
type Tunnelled struct {
	Port  string     `json:"port"`
	From  netip.Addr `json:"from"`
	To    netip.Addr `json:"to"`
	VNI   intent.VNI `json:"vni"`
	Bytes uint64     `json:"bytes" doc:"Ethernet headers included"`
}

// LoadAnswer is the answer to a report of a switch's load.
type LoadAnswer struct {
	Full    bool          `json:"full,omitempty" doc:"The next report must have all tunnels: nothing is known of this switch yet"`
	Tunnels bool          `json:"tunnels,omitempty" doc:"The switch is a leaf: it is to count what leaves in tunnels"`
	Every   time.Duration `json:"every" doc:"Nanoseconds until the next report"`
}
