package vswitch

import (
	"bytes"
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// comparison is what a device should have, beside what it has.
type comparison struct {
	programmed
	flows []openflow.Flow // of the edge alone
	own   *expected       // the same, compiled
	segs  map[intent.VNI]*expected

	unknown    []unknown // flows of ours that it should not have
	keptFloods bool      // flood lists have VTEPs of edges that have not reported
	keptFlows  int
	changes    changes
	found      findings
	fresh      []overlay.LocalPort // ports that have a policy here from now on
	spoiled    []uint16            // zones in which something is translated otherwise from now on
	// moving are the flows that changed since the device was last brought up to
	// date: that they differ on the device is no fault. Nil when nobody asks.
	// Of segments that come or go all flows do.
	moving map[flowKey]bool
	whole  map[intent.VNI]bool

	key, scratch []byte
}

// add adds flows of the edge alone to what the device should have.
func (x *comparison) add(fs ...openflow.Flow) { x.flows = append(x.flows, fs...) }

// move notes flows that are changing.
func (x *comparison) move(fs ...openflow.Flow) {
	for _, f := range fs {
		x.moving[keyOf(f)] = true
	}
}

// expected are compiled flows and which of them the device has.
type expected struct {
	*compiled
	lead uint32 // of the edge itself
	seen []uint64
}

func expect(c *compiled, vtep netip.Addr) *expected {
	return &expected{compiled: c, lead: c.lead(vtep), seen: make([]uint64, (c.mods.Len()+63)/64)}
}

func (p *expected) has(i int) bool { return p.seen[i/64]>>(i%64)&1 == 1 }

// count is how many of the flows the edge has.
func (p *expected) count() int {
	n := p.mods.Len() - len(p.superseded)
	if len(p.leads) > 0 && p.lead != ^uint32(0) {
		for i, l := range p.leads {
			if l == p.lead && !p.superseded[i] {
				n--
			}
		}
	}
	return n
}

// unknown is a flow that the device should not have.
type unknown struct {
	key  flowKey
	flow openflow.Flow
}

// count is how many flows the device has once the changes are made.
func (x *comparison) count() int {
	n := x.own.count() + x.keptFlows
	for _, p := range x.segs {
		n += p.count()
	}
	return n
}

// nothingYet is beyond all revisions.
const nothingYet = ^evpn.Revision(0)

// readSegments begins to read the segments that the edge has, at their present
// revisions: see tables.segment.
func (s *connection) readSegments() {
	s.reading = map[intent.VNI]evpn.Revision{}
	for _, l := range s.feed.Local() {
		s.read(l.VNI)
		for _, v := range l.Reads() {
			s.read(v)
		}
	}
}

// read returns the revision from which on a segment is being read.
func (s *connection) read(v intent.VNI) evpn.Revision {
	if at, ok := s.done.cursors[v]; ok {
		return at
	}
	if at := s.reading[v]; at > 0 {
		return at
	}
	_, at := s.feed.Rows(v, nothingYet)
	_, at = s.feed.Rows(v, at) // read from there on, and it may have gone on meanwhile
	if s.reading == nil {
		s.reading = map[intent.VNI]evpn.Revision{}
	}
	s.reading[v] = at
	return at
}

// segment returns the flows of a segment's rows, which edges share.
func (s *connection) segment(v intent.VNI) *compiled {
	since := s.read(v)
	return s.gates.tables.segment(tableID{v, s.pipe.path(v), s.pipe.colours.Of(v)}, since, func() *compiled {
		rows, rev := s.feed.Rows(v, 0)
		return s.pipe.compileRows(v, rows, rev)
	})
}

// compile makes what the device should have from the feed. Flows of the edge alone
// are added one by one; what edges share comes from tables.
func (s *connection) compile(has *openflow.Described, away overlay.Away, tell bool) *comparison {
	x := &comparison{segs: map[intent.VNI]*expected{}, programmed: programmed{local: s.local(), cursors: map[intent.VNI]evpn.Revision{}, floods: map[intent.VNI]replication{}}}
	x.paths, x.colours, x.taking = s.pipe.paths(), s.pipe.colours, s.pipe.taking
	x.add(s.pipe.base()...)
	x.add(s.pipe.takeIn(x.taking)...)
	for _, l := range slices.SortedFunc(maps.Values(x.local), comparePorts) {
		x.add(s.pipe.port(l)...)
	}
	stay := s.keptVTEPs(has, away)
	vnis := byVNI(x.local)
	for _, v := range slices.Sorted(maps.Keys(vnis)) {
		s.compileSegment(x, v, vnis[v], stay[v])
	}
	s.compileRouting(x, has, away)
	s.compileGuard(x, has, away.Without(s.vtep))
	x.nat = s.pipe.nat
	x.add(x.nat.flows()...)
	x.acls, x.tenants = s.pipe.acls, s.pipe.tenants
	x.add(x.acls.flows()...)
	if tell {
		s.compileMoving(x)
	}
	x.own = expect(compileFlows(x.flows), s.vtep)
	return x
}

// compileSegment makes the flows of a segment; stay are VTEPs that its flood list
// keeps.
func (s *connection) compileSegment(x *comparison, v intent.VNI, ports []uint32, stay []netip.Addr) {
	c := s.segment(v)
	x.segs[v], x.cursors[v] = expect(c, s.vtep), c.rev
	vteps := c.imet.including(stay)
	x.keptFloods = x.keptFloods || vteps != c.imet
	x.floods[v] = replication{ports, vteps}
	x.add(s.pipe.network(v)...)
	x.add(s.pipe.flood(v, x.floods[v])...)
}

// compileMoving notes the flows that changed since what the device confirmed.
func (s *connection) compileMoving(x *comparison) {
	x.moving, x.whole = map[flowKey]bool{}, map[intent.VNI]bool{}
	for r, l := range x.local {
		if o, ok := s.done.local[r]; !ok || !o.Equal(l) || s.done.tenants.numberOf(o) != x.tenants.numberOf(l) {
			x.move(s.pipe.port(l)...)
			if ok {
				x.move(s.pipe.port(o)...)
			}
		}
	}
	for r, o := range s.done.local {
		if _, ok := x.local[r]; !ok {
			x.move(s.pipe.port(o)...)
		}
	}
	if x.taking != s.done.taking {
		x.move(s.pipe.takeIn(x.taking)...)
		x.move(s.pipe.takeIn(s.done.taking)...)
	}
	s.moveRouting(x)
	s.moveGuard(x)
	s.moveNAT(x)
	s.moveACLs(x)
	for v := range s.done.cursors {
		if _, ok := x.cursors[v]; !ok {
			x.whole[v] = true
		}
	}
	for _, v := range s.done.colours.Changed(x.colours) {
		x.whole[v] = true
	}
	for v := range x.cursors {
		if !overlay.IsVNI(v) {
			continue // see moveGuard
		}
		if s.recolours(v, x.colours) {
			x.whole[v] = true
		}
		since, had := s.done.cursors[v]
		if !had {
			x.whole[v] = true
			continue
		}
		rows, _ := s.feed.Rows(v, since)
		for _, r := range rows {
			if x.vrfs[v] != nil {
				x.move(s.pipe.routedAnywhere(v, r)...)
			} else {
				x.move(s.pipe.rowAnyVTEP(v, r)...)
			}
		}
		if was, now := s.done.floods[v], x.floods[v]; !was.equal(now) {
			x.move(s.pipe.flood(v, was)...)
			x.move(s.pipe.flood(v, now)...)
		}
	}
}

// comparePorts puts local ports into an order of their own.
func comparePorts(a, b overlay.LocalPort) int {
	return cmp.Or(cmp.Compare(a.OFPort, b.OFPort), cmp.Compare(a.VNI, b.VNI), bytes.Compare(a.MAC[:], b.MAC[:]))
}

// compare finds each flow of the device among those that it should have, and
// changes those that differ.
func (x *comparison) compare(has *openflow.Described) {
	for f := range has.All() {
		x.key = f.AppendKey(x.key[:0])
		if p, i := x.find(f); p != nil {
			p.seen[i/64] |= 1 << (i % 64)
			m := p.mods.At(i)
			if f.Cookie() != m.Cookie() || !bytes.Equal(f.Instructions().Bytes(), m.Instructions().Bytes()) {
				x.changes.runs = append(x.changes.runs, p.mods.Slice(i, i+1))
				x.note(f.Cookie(), func() (openflow.Flow, string) {
					return decoded(f), "was changed; put back as " + m.Decode().Flow.String()
				})
			}
			continue
		}
		x.unknown = append(x.unknown, unknown{flowKey(x.key), decoded(f)})
	}
	slices.SortFunc(x.unknown, func(a, b unknown) int { return bytes.Compare([]byte(a.key), []byte(b.key)) })
}

func decoded(f openflow.DescribedFlow) openflow.Flow {
	s, _ := f.Decode() // it was looked at when it came
	return s.Flow
}

// find returns the flow of x.key that the device should have, and what it is among.
func (x *comparison) find(f openflow.DescribedFlow) (*expected, int) {
	if t := f.Table(); t == tableRemote || t == tableARP || t == tableND {
		if v, ok := f.Metadata(); ok {
			if p := x.segs[intent.VNI(v)]; p != nil {
				if i, ok := p.compiled.find(x.key, &x.scratch); ok && !p.leaves(i, p.lead) {
					return p, i
				}
			}
		}
	}
	if i, ok := x.own.compiled.find(x.key, &x.scratch); ok {
		return x.own, i
	}
	return nil, 0
}

// note notes a fault in the flow of x.key, unless that is on its way.
func (x *comparison) note(cookie uint64, what func() (openflow.Flow, string)) {
	if x.moving == nil || x.moving[flowKey(x.key)] || x.whole[intent.VNI(cookie&cookieVNI)] {
		return
	}
	if x.found.n >= findingsTold {
		x.found.n++
		return
	}
	x.found.note(what())
}

// dropUnknown deletes what the device should not have.
func (x *comparison) dropUnknown() {
	for _, u := range x.unknown {
		x.changes.drop(u.flow)
		x.key = append(x.key[:0], u.key...)
		x.note(u.flow.Cookie, func() (openflow.Flow, string) {
			return u.flow, "was not ours though it had our cookie; deleted"
		})
	}
}

// putMissing adds what the device lacks.
func (x *comparison) putMissing() {
	put := func(p *expected) {
		x.changes.runs = append(x.changes.runs, p.runs(func(i int) bool {
			if p.has(i) || p.leaves(i, p.lead) {
				return true
			}
			if x.moving == nil {
				return false
			}
			m := p.mods.At(i)
			x.key = m.AppendKey(x.key[:0])
			x.note(m.Cookie(), func() (openflow.Flow, string) { return m.Decode().Flow, "was missing; put back" })
			return false
		})...)
	}
	put(x.own)
	for _, v := range slices.Sorted(maps.Keys(x.segs)) {
		put(x.segs[v])
	}
}
