package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
)

// State is what one switch shall be.
type State struct {
	Hostname string      `json:"hostname"`
	Role     intent.Role `json:"role"`
	// Drained has the neighbours use the ways around the switch, while it goes on
	// to forward: graceful shutdown of BGP (RFC 8326), the overload bit of IS-IS
	// (RFC 3277).
	Drained bool `json:"drained,omitempty"`
	// Loopbacks are the addresses of the loopback interface, the router ID
	// first.
	Loopbacks  []netip.Prefix `json:"loopbacks,omitempty"`
	Interfaces []Interface    `json:"interfaces,omitempty"`
	Statics    []Static       `json:"statics,omitempty"`
	BGP        *BGP           `json:"bgp,omitempty"`
	ISIS       *ISIS          `json:"isis,omitempty"`
}

// Interface is a port with a cable.
type Interface struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"` // "to spine1:eth1"
	MTU         int            `json:"mtu,omitempty"`
	Addresses   []netip.Prefix `json:"addresses,omitempty"` // none: IPv6 link-local only
}

// Static is a route that no protocol brings: a blackhole when Via is not set.
type Static struct {
	Prefix netip.Prefix `json:"prefix"`
	Via    netip.Addr   `json:"via,omitzero"`
}

// BGP is the BGP instance of the default VRF.
type BGP struct {
	ASN      uint32     `json:"asn"`
	RouterID netip.Addr `json:"routerID"`
	// MaximumPaths is the number of equal-cost paths to use at once; paths
	// through different ASes count as equal when they are equally long.
	MaximumPaths int         `json:"maximumPaths,omitempty"`
	Groups       []PeerGroup `json:"groups,omitempty"`
	Neighbors    []Neighbor  `json:"neighbors,omitempty"`
	// Sources are the addresses, one an IP version, from which the switch
	// itself sends to what it learned.
	Sources []netip.Addr `json:"sources,omitempty"`
	// Injectors are internal peers that dial, and announce routes that are for this
	// switch alone (RFC 1997 no-export); nothing is announced to them.
	Injectors []netip.Addr `json:"injectors,omitempty"`
	// Networks are announced when the switch has a route to them.
	Networks []netip.Prefix `json:"networks,omitempty"`
	// Filters are the lists of prefixes that groups name.
	Filters []Filter `json:"filters,omitempty"`
	// Policies are what groups name.
	Policies []ImportPolicy `json:"policies,omitempty"`
}

// PeerGroup has what neighbours have in common.
type PeerGroup struct {
	Name string `json:"name"`
	// Family is the only address family of the group's sessions; all that
	// there is something to announce in when empty.
	Family    Family `json:"family,omitempty"`
	Keepalive int    `json:"keepalive"` // seconds
	Hold      int    `json:"hold"`      // seconds
	BFD       *BFD   `json:"bfd,omitempty"`
	// In and Out name the filters of what is accepted and announced. Empty
	// means anything.
	In  string `json:"in,omitempty"`
	Out string `json:"out,omitempty"`
	// Policy names what changes in accepted routes; nothing when empty.
	Policy string `json:"policy,omitempty"`
	// DelayOpen is for how many seconds a session waits before its OPEN: the
	// DelayOpenTime of RFC 4271 section 8.1.1.
	DelayOpen int `json:"delayOpen,omitempty"`
}

// ImportPolicy changes accepted routes.
type ImportPolicy struct {
	Name string `json:"name"`
	// Prepend is how many times the own AS comes before their AS paths.
	Prepend int `json:"prepend,omitempty"`
	// Bandwidth is that of the link bandwidth community, in Mbit/s: routes of equal
	// cost share flows by it.
	Bandwidth int `json:"bandwidth,omitempty"`
}

// Family is a unicast address family.
type Family string

// The address families.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// BFD are the timers of RFC 5880.
type BFD struct {
	Interval   int `json:"interval"`   // milliseconds, both ways
	Multiplier int `json:"multiplier"` // packets lost before the session is down
}

// Neighbor is an eBGP peer: by address, or by interface (RFC 8950).
type Neighbor struct {
	Address     netip.Addr `json:"address,omitzero"`
	Interface   string     `json:"interface,omitempty"`
	RemoteASN   uint32     `json:"remoteASN"`
	Group       string     `json:"group"`
	Description string     `json:"description,omitempty"`
	// LinkLocal asks for the session by IPv6 link-local addresses (RFC 8950) also
	// where the interface has an IPv4 address.
	LinkLocal bool `json:"linkLocal,omitempty"`
	// Passive waits for the neighbour to connect. One end of each session does, so
	// that two connections never collide (RFC 4271 section 6.8).
	Passive bool `json:"passive,omitempty"`
}

// ISIS is the IS-IS instance of the default VRF: level 2 of one area, point to
// point on each port (RFC 5309), with wide metrics (RFC 5305).
type ISIS struct {
	Name string `json:"name"`
	// NET is the network entity title: area, system ID and selector zero (ISO
	// 10589 section 7.1).
	NET        string          `json:"net"`
	Hello      int             `json:"hello"`      // seconds between hellos
	Multiplier int             `json:"multiplier"` // hellos lost before an adjacency is down
	IPv6       bool            `json:"ipv6,omitempty"`
	BFD        *BFD            `json:"bfd,omitempty"`
	Interfaces []ISISInterface `json:"interfaces,omitempty"`
	// Statics names the filter of the static routes that are announced; none
	// when empty.
	Statics string       `json:"statics,omitempty"`
	Sources []netip.Addr `json:"sources,omitempty"` // as of BGP
	Filters []Filter     `json:"filters,omitempty"`
}

// ISISInterface is an interface whose prefixes are announced.
type ISISInterface struct {
	Name    string `json:"name"`
	Passive bool   `json:"passive,omitempty"` // no neighbour is there
}

// Filter permits prefixes and nothing else.
type Filter struct {
	Name   string  `json:"name"`
	Permit []Match `json:"permit"`
}

// Match permits the prefixes inside Prefix that are MinLength to MaxLength
// long.
type Match struct {
	Prefix    netip.Prefix `json:"prefix"`
	MinLength int          `json:"minLength"`
	MaxLength int          `json:"maxLength"`
}

// Unnumbered reports whether some neighbour is found by its interface.
func (b *BGP) Unnumbered() bool {
	for _, n := range b.Neighbors {
		if n.Interface != "" {
			return true
		}
	}
	return false
}

// Encode is the state as JSON, the same for equal states.
func (s State) Encode() []byte {
	b, err := json.Marshal(s)
	if err != nil { // a State has nothing that JSON lacks
		panic(err)
	}
	return b
}

// Equal reports whether both states say the same.
func (s State) Equal(o State) bool { return bytes.Equal(s.Encode(), o.Encode()) }

// Hash is a short name for the state, the same for equal states.
func (s State) Hash() string {
	h := sha256.Sum256(s.Encode())
	return hex.EncodeToString(h[:8])
}
