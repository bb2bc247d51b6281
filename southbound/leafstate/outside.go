package leafstate

import (
	"net/netip"
	"slices"
	"time"
)

// Outside makes a router's VRF the way to BGP routers that are not ours: the leaf
// is a border. What is learned from them is announced in the fabric as prefix
// routes (RFC 9136); they are told the prefixes of Announce and nothing else.
type Outside struct {
	// Default says that the VRF is the device's default one, beside the underlay.
	Default bool          `json:"default,omitempty"`
	Peers   []OutsidePeer `json:"peers,omitempty"` // by address
	// Announce are the prefixes that are inside: packets to others are not taken
	// from outside, packets from others not sent there.
	Announce []netip.Prefix `json:"announce,omitempty"` // sorted
	// Accept are the prefixes of which routes are taken, those inside them
	// included; all when empty.
	Accept []netip.Prefix `json:"accept,omitempty"`
	// Others are the VTEPs of the other borders of the same external network. The
	// leaf takes their place in the underlay when they are gone.
	Others []netip.Addr `json:"others,omitempty"` // sorted
}

// OutsidePeer is a BGP router outside, on a link of the leaf.
type OutsidePeer struct {
	Address   netip.Addr   `json:"address"`
	ASN       uint32       `json:"asn"`
	Interface string       `json:"interface"`
	Local     netip.Prefix `json:"local"`              // the leaf's address on the interface
	Password  string       `json:"password,omitempty"` // TCP-MD5 (RFC 2385)
	BFD       bool         `json:"bfd,omitempty"`
}

// Equal reports whether two are the same; nil is equal to nil only.
func (o *Outside) Equal(p *Outside) bool {
	if o == nil || p == nil {
		return o == p
	}
	return o.Default == p.Default && slices.Equal(o.Peers, p.Peers) && slices.Equal(o.Announce, p.Announce) && slices.Equal(o.Accept, p.Accept) &&
		slices.Equal(o.Others, p.Others)
}

// OutsideSession is a BGP session with a router outside as FRR has it.
type OutsideSession struct {
	Peer      netip.Addr `json:"peer"`
	State     string     `json:"state"`               // as RFC 4271 section 8.2.2 names it
	Since     time.Time  `json:"since,omitzero"`      // when it was established
	Taken     int        `json:"taken,omitempty"`     // prefixes that were learned and passed the filter
	Announced int        `json:"announced,omitempty"` // prefixes that the peer was told
}
