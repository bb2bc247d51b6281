package evpn

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// SetColouring says at which of their addresses peers are told to send unicast frames
// to VTEPs: the next hops of MAC/IP and prefix routes, the speaker's own and reflected
// ones, by the VNI of their (first) label. A route that goes to another address so is
// announced again, which replaces it (RFC 4271 section 3.1); others are not. RFC 4456
// section 10 has a reflector leave next hops alone, lest packets loop; a colour is an
// address of the same VTEP. What peers announce is told of as they announced it.
func (s *Speaker) SetColouring(c *overlay.Colouring) {
	s.rib.mu.Lock()
	defer s.rib.mu.Unlock()
	s.rib.recolour(c)
	s.rib.publish()
}

// recolour has the routes announced again that have another next hop by a colouring
// than by the one before. The caller holds the lock.
func (r *rib) recolour(now *overlay.Colouring) {
	was := r.colours
	r.colours = now
	changed := map[intent.VNI]bool{}
	for _, v := range now.Changed(was) {
		changed[v] = true
	}
	if len(changed) == 0 {
		return
	}
	for i := range r.used {
		e := r.entry(i)
		if !e.live() {
			continue
		}
		v, ok := e.route().unicast()
		if !ok || !changed[v] {
			continue
		}
		if hop := r.byID[e.attrs].nextHop(); was.At(v, hop) != now.At(v, hop) {
			r.log = append(r.log, i)
			e.rev = r.head()
			r.changed[i/chunk] = e.rev
		}
	}
}

// colour is the colour of the next hop that an entry is handed on with, 0 when it is
// that of its attributes.
func (r *rib) colour(e *entry) uint8 {
	if r.colours == nil {
		return 0
	}
	v, ok := e.route().unicast()
	if !ok {
		return 0
	}
	n := r.colours.Colour(v)
	if n == 0 || n > intent.MaxColours {
		return 0
	}
	if hop := r.byID[e.attrs].nextHop(); r.colours.Palette().At(n, hop) == hop {
		return 0
	}
	return uint8(n)
}

// home is the peer whose own station the controller tells of in a colour, or none: it
// is not to take it for one elsewhere, if it does not know that the address is its own.
func (r *rib) home(e *entry, colour uint8) uint32 {
	if colour == 0 || e.source != ownSource {
		return none
	}
	if id, ok := r.homes[r.byID[e.attrs].nextHop()]; ok {
		return id
	}
	return none
}

// appendNextHop appends the next hop of a set, or its colour, with its length.
func (r *rib) appendNextHop(b []byte, a *attributes, colour uint8) []byte {
	if colour == 0 {
		return append(b, a.wire[:1+a.wire[0]]...)
	}
	hop := r.colours.Palette().At(int(colour), a.nextHop())
	return appendAddr(append(b, byte(hop.BitLen()/8)), hop)
}

// nextHop is the address that the set's routes go to.
func (a *attributes) nextHop() netip.Addr {
	hop := []byte(a.wire[1 : 1+a.wire[0]])
	ip, _ := netip.AddrFromSlice(hop[:min(len(hop), 16)])
	return ip.Unmap()
}

// unicast is the VNI with which frames go to the next hop of a route; ok is false when
// none do.
func (n nlri) unicast() (v intent.VNI, ok bool) {
	switch n.kind() {
	case byte(table.MACIP):
		return label(n[32+int(n[31])/8:]), true
	case byte(table.PREFIX):
		return label(n[len(n)-3:]), true
	}
	return 0, false
}
