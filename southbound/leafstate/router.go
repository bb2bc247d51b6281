package leafstate

import (
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Router is a VRF that routes between segments of the leaf, and by its L3VNI to
// the other VTEPs (symmetric IRB, RFC 9135 section 5.2).
type Router struct {
	Router intent.Ref `json:"router"`
	VNI    intent.VNI `json:"vni"`              // L3VNI
	MTU    int        `json:"mtu"`              // of the tenant's packets
	Import []string   `json:"import,omitempty"` // route targets; automatic when left out
	Export []string   `json:"export,omitempty"`
	// Gateways are the router's addresses on segments of the leaf, the same on
	// all leaves, at intent.GatewayMAC.
	Gateways []Gateway `json:"gateways,omitempty"` // by segment and address
	Routes   []Static  `json:"routes,omitempty"`   // by prefix
	// Outside is there when the VRF is that of an external network.
	Outside *Outside `json:"outside,omitempty"`
}

// Gateway is an anycast gateway: an address on a segment, with the length of its
// subnet.
type Gateway struct {
	Segment intent.VNI   `json:"segment"`
	Address netip.Prefix `json:"address"`
}

// Static is a static route; without next hops it drops.
type Static struct {
	Prefix   netip.Prefix `json:"prefix"`
	NextHops []NextHop    `json:"nextHops,omitempty"` // in subnets of the router
}

// NextHop is one of the next hops of a route, and its share of the flows.
type NextHop struct {
	Address netip.Addr `json:"address"`
	Weight  uint16     `json:"weight"`
}

// Equal reports whether two routers are the same.
func (r Router) Equal(o Router) bool {
	return r.Router == o.Router && r.VNI == o.VNI && r.MTU == o.MTU && slices.Equal(r.Import, o.Import) && slices.Equal(r.Export, o.Export) &&
		slices.Equal(r.Gateways, o.Gateways) && slices.EqualFunc(r.Routes, o.Routes, func(a, b Static) bool {
		return a.Prefix == b.Prefix && slices.Equal(a.NextHops, b.NextHops)
	}) && r.Outside.Equal(o.Outside)
}

// RouterReport is a router as the leaf has it.
type RouterReport struct {
	VNI intent.VNI `json:"vni"`
	// Error is why it is not in place, in the device's words.
	Error string `json:"error,omitempty"`
	// Capability says that the device can't have routers at all.
	Capability bool `json:"capability,omitempty"`
	// Sessions are those with the routers outside, by address.
	Sessions []OutsideSession `json:"sessions,omitempty"`
}

// InPlace is what of a state is in place.
type InPlace struct {
	Ports   []PortReport
	Routers []RouterReport
	// Repaired says in words what others had changed since the same state was put in
	// place before.
	Repaired []string
	// Again says that something is doubtful, and a second look is due soon.
	Again bool
}
