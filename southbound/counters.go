package southbound

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
