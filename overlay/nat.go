package overlay

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// NAT is how an edge translates what a port sends to the external network of its
// router, and what comes from there. It does not change once made.
type NAT struct {
	External intent.VNI // L3VNI of the external network
	// Sources are the edge's own addresses there, at most one of each family, to
	// which it translates what has no floating IP; none without source NAT.
	Sources []netip.Addr
	// Floating are the port's own, by address.
	Floating []Floating
}

// Floating is an address of an external network that stands for one of a port.
type Floating struct {
	Address, Fixed netip.Addr
}

// Equal reports whether both translate alike; nil is nothing.
func (n *NAT) Equal(o *NAT) bool {
	if n == nil || o == nil || n == o {
		return n == o
	}
	return n.External == o.External && slices.Equal(n.Sources, o.Sources) && slices.Equal(n.Floating, o.Floating)
}

// TransitAddress is the address to which source NAT translates what is from a
// router, before it translates that to the edge's address: routers may have equal
// addresses, and by it answers find the router. It is of a range that no station has
// (RFC 1112 section 4, RFC 6666), has the L3VNI inside, and is never seen on a wire.
func TransitAddress(v intent.VNI, v4 bool) netip.Addr {
	if v4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 240<<24|uint32(v))
		return netip.AddrFrom4(b)
	}
	b := [16]byte{0: 1}
	binary.BigEndian.PutUint32(b[12:], uint32(v))
	return netip.AddrFrom16(b)
}
