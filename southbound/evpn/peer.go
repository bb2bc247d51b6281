package evpn

import (
	"cmp"
	"net/netip"
	"time"
)

// Peer is an EVPN leaf, or a speaker of another fabric.
type Peer struct {
	Name         string
	Address      netip.AddrPort
	ASN          uint32        // the peer's
	LocalASN     uint32        // that the session claims; the peer's when 0
	Password     string        // for TCP-MD5 (RFC 2385), may be empty
	MaxRoutes    uint32        // that it may announce; 0 for no limit
	LocalAddress netip.Addr    // to dial from; may be invalid
	HoldTime     time.Duration // that is offered; 90 s when zero
	Passive      bool          // the peer dials
	// VTEP of a leaf: it is told of stations of its own at that address, whatever colours
	// it has for others. It may be invalid.
	VTEP netip.Addr
}

// localASN is the AS that the session claims.
func (p Peer) localASN() uint32 { return cmp.Or(p.LocalASN, p.ASN) }

// hold is the hold time that is offered.
func (p Peer) hold() time.Duration { return cmp.Or(p.HoldTime, holdTime) }
