package evpn

import (
	"encoding/binary"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// block is a run of UPDATEs, encoded once, of which each reader takes what is
// for it.
type block struct {
	from, to uint64 // it says what changed after from, up to to
	wire     []byte
	parts    []part
}

// part is the UPDATEs of a block that say the same of some routes.
type part struct {
	readership
	end      int // in wire
	updates  int
	withdraw bool
}

// readership says for whom a part is.
type readership struct {
	skip, only uint32 // sources, or none
	kind       uint8
}

const (
	forAll     = iota
	forLasting // those that take LLGR_STALE
	forOthers  // those that do not
)

// takes reports whether a part is for the reader. Nothing is withdrawn from one
// that begins.
func (d *reader) takes(p *part, fresh bool) bool {
	return !(fresh && p.withdraw) && p.skip != d.source && (p.only == none || p.only == d.source) &&
		(p.kind == forAll || (p.kind == forLasting) == d.lasts)
}

// packer puts routes with the same attributes into one UPDATE, wherever they
// are in a block.
type packer struct {
	groups []group
	byKey  map[groupKey]uint32
	items  []item
	sorted []uint32 // entries, by group
	size   int      // of the largest block lately
}

type groupKey struct {
	attrs uint32 // ID of the set; 0 for a withdrawal
	readership
	colour uint8 // of the next hop; 0 when it is the set's
}

type group struct {
	groupKey
	n, at int
}

type item struct{ group, entry uint32 }

// changes encodes what changed after a revision, up to another.
func (p *packer) changes(r *rib, from, to uint64) *block {
	for i := from + 1; i <= to; i++ {
		n := r.log[i-r.first]
		if e := r.entry(n); e.rev == i {
			p.add(r, n, e)
		}
	}
	return p.encode(r, from, to)
}

// chunk encodes the state of a chunk of the table.
func (p *packer) chunk(r *rib, i uint32, s *scan) *block {
	entries := r.entries[i]
	for k := range entries {
		e := &entries[k]
		if e.rev > s.since || e.rev != 0 && s.all && e.live() {
			p.add(r, i*chunk+uint32(k), e)
		}
	}
	return p.encode(r, 0, r.head())
}

// add adds the state of an entry.
func (p *packer) add(r *rib, i uint32, e *entry) {
	gone := groupKey{readership: readership{skip: none, only: none}}
	if !e.live() {
		if !e.moved {
			gone.skip = e.from
		}
		p.item(gone, i)
		return
	}
	to := groupKey{e.attrs, readership{skip: e.source, only: none}, r.colour(e)}
	if r.byID[e.attrs].stale {
		to.kind = forLasting
		others := gone
		others.kind = forOthers
		p.item(others, i)
	}
	if home := r.home(e, to.colour); home != none {
		p.item(groupKey{attrs: e.attrs, readership: readership{skip: none, only: home, kind: to.kind}}, i)
		to.skip = home
	}
	p.item(to, i)
	if e.moved { // whose it is now may have it from the one before
		gone.only = e.source
		p.item(gone, i)
	}
}

func (p *packer) item(k groupKey, entry uint32) {
	if n := len(p.items); n > 0 {
		if last := p.items[n-1].group; p.groups[last].groupKey == k {
			p.groups[last].n++
			p.items = append(p.items, item{last, entry})
			return
		}
	}
	g, ok := p.byKey[k]
	if !ok {
		if p.byKey == nil {
			p.byKey = map[groupKey]uint32{}
		}
		g = uint32(len(p.groups))
		p.byKey[k] = g
		p.groups = append(p.groups, group{groupKey: k})
	}
	p.groups[g].n++
	p.items = append(p.items, item{g, entry})
}

// encode makes a block of what was added.
func (p *packer) encode(r *rib, from, to uint64) *block {
	at := 0
	for i := range p.groups {
		p.groups[i].at = at
		at += p.groups[i].n
	}
	p.sorted = append(p.sorted[:0], make([]uint32, len(p.items))...)
	for _, it := range p.items {
		g := &p.groups[it.group]
		p.sorted[g.at] = it.entry
		g.at++
	}
	b := &block{from: from, to: to, wire: make([]byte, 0, min(p.size, 64*len(p.items)+maxMessage)), parts: make([]part, 0, len(p.groups))}
	for _, g := range p.groups {
		routes := p.sorted[g.at-g.n : g.at]
		one := part{readership: g.readership, withdraw: g.attrs == 0}
		for len(routes) > 0 {
			b.wire, routes = r.appendUpdate(b.wire, r.byID[g.attrs], g.colour, routes)
			one.updates++
		}
		one.end = len(b.wire)
		b.parts = append(b.parts, one)
	}
	p.size = max(len(b.wire), p.size-p.size/8)
	clear(p.byKey)
	p.groups, p.items = p.groups[:0], p.items[:0]
	return b
}

// appendUpdate appends an UPDATE with as many of the routes as fit, and returns
// the others. The MP attribute comes first (RFC 7606 section 5.1). Without
// attributes the routes are withdrawn; with a colour their next hop is that one.
func (r *rib) appendUpdate(b []byte, a *attributes, colour uint8, routes []uint32) ([]byte, []uint32) {
	start := len(b)
	b = append(appendHeader(b, bgp.BGP_MSG_UPDATE), 0, 0, 0, 0)
	kind, others := bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI, ""
	if a != nil {
		kind, others = bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, a.others()
	}
	b = append(b, flagsOptional|flagExtended, byte(kind), 0, 0)
	value := len(b)
	b = append(b, 0, bgp.AFI_L2VPN, bgp.SAFI_EVPN)
	if a != nil {
		b = append(r.appendNextHop(b, a, colour), 0)
	}
	for len(routes) > 0 {
		n := r.entry(routes[0]).route()
		if len(b)+len(n)+len(others)-start > maxMessage {
			break
		}
		b, routes = append(b, n...), routes[1:]
	}
	binary.BigEndian.PutUint16(b[value-2:], uint16(len(b)-value))
	b = append(b, others...)
	binary.BigEndian.PutUint16(b[start+headerLen+2:], uint16(len(b)-start-headerLen-4))
	return finish(b, start), routes
}
