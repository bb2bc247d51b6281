package southbound

import "time"

// PortCounters are what a device has counted of a port since it opened its
// interface, or made the limit. They are in the device, so that a controller that
// starts does not touch them.
type PortCounters struct {
	Sent     Count // by the station, limits before
	Received Count // by the station
	// Dropped are packets that the device dropped for a reason of ours.
	Dropped []DropCount
}

// Count is a number of packets and of their octets, Ethernet headers included.
type Count struct{ Packets, Bytes uint64 }

// DropCount says why packets of a port were dropped, in words.
type DropCount struct {
	Why string
	Count
}

// RouterCount are the IP packets of a router that a device has counted since Since:
// since then it has had ports of the router's networks without a break.
type RouterCount struct {
	Routed   Count // that its stations sent to the gateway's MAC, to be routed
	Received Count // that other VTEPs routed to it with the L3VNI
	Since    time.Time
}

// TenantCount is what the limits of a tenant have done on one device since they were
// made there: to all ports of the tenant that it has, together.
type TenantCount struct{ Sent, Received LimitCount }

// LimitCount is what came to a limit, and what of that it dropped. Both are zero
// where there is no limit.
type LimitCount struct{ Came, Dropped Count }
