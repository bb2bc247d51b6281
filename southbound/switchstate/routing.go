package switchstate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"time"
)

// Bounds of what is told of one switch; what comes beyond is counted.
const (
	SessionsMost = 1024
	RoutesMost   = 4096 // prefixes, of each table
	MendsMost    = 32
)

// RoutingReport is what a switch says of its routing. It is whole, or says by its
// hash alone that nothing changed.
type RoutingReport struct {
	Hash    string   `json:"hash" doc:"Of the routing; the same for equal ones"`
	Routing *Routing `json:"routing,omitempty" doc:"Left out when it is that of the last report"`
}

// Routing is what a switch's daemons and its kernel know of the underlay.
type Routing struct {
	BGP  []BGPSession `json:"bgp,omitempty" doc:"Of the default VRF, by peer"`
	BFD  []BFDSession `json:"bfd,omitempty" doc:"By interface and peer"`
	ISIS []Adjacency  `json:"isis,omitempty" doc:"By interface"`
	// Learned are the routes of the routing protocols, as zebra has them with
	// their next hops' interfaces, be they in the kernel or not.
	Learned []Group `json:"learned,omitempty" doc:"Routes of the routing protocols, by next hops"`
	// Programmed are the routes of the kernel's main table.
	Programmed []Group `json:"programmed,omitempty" doc:"Routes of the kernel, by next hops"`
	LeftOut    int     `json:"leftOut,omitempty" doc:"Prefixes and sessions beyond the bounds of a report"`
	// Mended is what was not as it had to be and was put right, the latest last.
	Mended []Mend   `json:"mended,omitempty"`
	Errors []string `json:"errors,omitempty" doc:"What could not be read or put right"`
}

// BGPSession is a BGP session (RFC 4271).
type BGPSession struct {
	Peer        string    `json:"peer" doc:"Address, or the own interface when unnumbered"`
	Interface   string    `json:"interface,omitempty" doc:"That leads to the peer; left out when it is no neighbour"`
	ASN         uint32    `json:"asn" doc:"The peer's"`
	State       string    `json:"state" doc:"The worst of its address families: Idle, Connect, Active, OpenSent, OpenConfirm or Established (RFC 4271 section 8.2.2)"`
	Since       time.Time `json:"since,omitzero" doc:"Of an established session"`
	Prefixes    int       `json:"prefixes" doc:"Accepted, of all address families"`
	Description string    `json:"description,omitempty"`
}

// Established is the state of a BGP session that is up.
const Established = "Established"

// BFDSession is a BFD session (RFC 5880).
type BFDSession struct {
	Peer             string `json:"peer"`
	Interface        string `json:"interface,omitempty"`
	State            string `json:"state" doc:"up, down, init or shutdown"`
	Receive          int    `json:"receive" doc:"Required minimum receive interval in ms"`
	Transmit         int    `json:"transmit" doc:"Desired minimum transmit interval in ms"`
	Multiplier       int    `json:"multiplier" doc:"Packets lost before it is down"`
	Diagnostic       string `json:"diagnostic,omitempty" doc:"Why it was down last (RFC 5880 section 4.1); left out when it never was"`
	RemoteDiagnostic string `json:"remoteDiagnostic,omitempty"`
}

// Adjacency is an IS-IS adjacency (ISO 10589).
type Adjacency struct {
	Interface string `json:"interface"`
	Neighbour string `json:"neighbour" doc:"Hostname (RFC 5301), or system ID before it is known"`
	State     string `json:"state" doc:"Up, Initializing or Down"`
}

// Group are prefixes that have the same next hops, an ECMP group where they are
// several.
type Group struct {
	Prefixes []netip.Prefix `json:"prefixes"`
	// Protocol is that which brought the routes: bgp, isis, static, connected, or
	// what else the kernel or zebra says.
	Protocol string `json:"protocol"`
	// Internal says that the routes come from a neighbour in the own AS, as those
	// do that steer traffic.
	Internal bool      `json:"internal,omitempty" doc:"From an iBGP session"`
	NextHops []NextHop `json:"nextHops"`
}

// NextHop is one leg of a route.
type NextHop struct {
	Interface string     `json:"interface"`
	Via       netip.Addr `json:"via,omitzero" doc:"Left out when the destination is on the link"`
	Weight    int        `json:"weight,omitempty" doc:"Share of the flows beside those of the others; left out when it is 1"`
}

// Loopback is the interface with a switch's own addresses.
const Loopback = "lo"

// Local reports whether the prefixes are the switch's own addresses.
func (g Group) Local() bool { return len(g.NextHops) == 1 && g.NextHops[0].Interface == Loopback }

// OnLink reports whether the prefixes are those of a link.
func (g Group) OnLink() bool {
	return len(g.NextHops) == 1 && !g.NextHops[0].Via.IsValid() && !g.Local()
}

// Weft is the protocol of routes that the agent itself writes.
const Weft = "weft"

// Mend is something that was put right.
type Mend struct {
	At      time.Time `json:"at"`
	Object  string    `json:"object" doc:"Prefix, device or setting"`
	Message string    `json:"message"`
}

// Hash is a short name for the routing, the same for equal ones.
func (r Routing) Hash() string {
	b, err := json.Marshal(r)
	if err != nil { // a Routing has nothing that JSON lacks
		panic(err)
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:8])
}
