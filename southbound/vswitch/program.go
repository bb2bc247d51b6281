package vswitch

import (
	"context"
	"maps"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// programmed is what the device has, apart from rows: those are in the segment
// tables, up to the cursors.
type programmed struct {
	local   map[intent.Ref]overlay.LocalPort
	cursors map[intent.VNI]evpn.Revision
	floods  map[intent.VNI]replication
	paths   map[intent.VNI]tunnelPath
	colours *overlay.Colouring // by which rows became flows
	taking  uint32             // see pipeline
	routing
	guard   *guard
	nat     *nat
	acls    *acls
	tenants *tenants
	members members
}

// byVNI gives the numbers of the local ports per VNI, sorted; a VNI is there if
// all its ports are in standby, too.
func byVNI(local map[intent.Ref]overlay.LocalPort) map[intent.VNI][]uint32 {
	out := map[intent.VNI][]uint32{}
	for _, l := range local {
		if l.Standby {
			out[l.VNI] = append(out[l.VNI], []uint32{}...)
			continue
		}
		out[l.VNI] = append(out[l.VNI], delivery(l))
	}
	for _, ports := range out {
		slices.Sort(ports)
	}
	return out
}

// bring brings the device from what it has to what the feed says now, and
// costs what changed.
func (s *connection) bring(ctx context.Context) error {
	kept, away := s.kept, overlay.Away{}
	if kept {
		away = s.feed.Unreported(false) // before what is brought now is read
	}
	for first := true; first || s.feed.Colouring() != s.done.colours; first = false { // it may have changed before we read a segment
		if err := s.bringChanges(ctx); err != nil {
			return err
		}
	}
	switch {
	case kept && away.None():
		return s.dropKept(ctx)
	case kept && s.late && len(s.done.prefixes.kept) > 0:
		return s.dropLateVias(ctx, away)
	}
	return nil
}

// dropKept deletes what was kept for edges that have reported by now, and did not
// report it.
func (s *connection) dropKept(ctx context.Context) error {
	var c changes
	for _, f := range s.keptFlows.sorted() {
		c.drop(f)
	}
	floods := map[intent.VNI]replication{}
	for v, was := range s.done.floods {
		if now := (replication{was.ports, s.segment(v).imet}); !was.equal(now) {
			s.pipe.changeFlood(&c, v, was, now)
			floods[v] = now
		}
	}
	s.dropKeptMembers(&c)
	s.dropKeptVias(&c, overlay.Away{})
	if err := s.send(ctx, &c); err != nil {
		return err
	}
	maps.Copy(s.done.floods, floods)
	s.kept, s.keptFlows = false, nil
	return nil
}

// bringChanges is bring, but for what was kept.
func (s *connection) bringChanges(ctx context.Context) error {
	s.pipe.colours = s.feed.Colouring()
	if local, newer := s.feed.Behind(s.done.cursors); local == s.localRev {
		return s.bringRows(ctx, s.withRecoloured(newer))
	}
	s.reading = nil
	var c changes
	next := programmed{local: s.local(), cursors: map[intent.VNI]evpn.Revision{}, floods: map[intent.VNI]replication{}}
	next.paths, next.colours, next.taking = s.pipe.paths(), s.pipe.colours, s.pipe.taking
	next.routing = routingOf(next.local)
	vnis := byVNI(next.local)
	before := s.done.local
	owned := false // s.done, whose maps others read
	for v := range s.done.cursors {
		if !overlay.IsVNI(v) {
			continue
		}
		// What left goes as a whole; what has another encapsulation is made
		// anew.
		_, stays := vnis[v]
		if s.done.vrfs[v] != nil {
			stays = next.vrfs[v] != nil
		}
		if !stays || next.paths[v] != s.done.paths[v] {
			c.dropCookie(cookie(v), cookieVNIMask)
			if !owned {
				s.done, owned = s.done.clone(), true
			}
			s.done.forget(v)
		}
	}
	c.replace(s.pipe.takeIn(s.done.taking), s.pipe.takeIn(next.taking))
	s.bringPorts(&c, next.local, vnis)
	s.bringMeters(&c, before, next.local)
	s.bringGuard(&c, &next)
	s.bringNAT(&c, &next)
	next.acls, next.tenants = s.pipe.acls, s.pipe.tenants
	s.done.acls.change(&c, next.acls, func(v intent.VNI) bool { _, had := s.done.cursors[v]; return !had })
	for _, v := range slices.Sorted(maps.Keys(vnis)) {
		s.bringSegment(&c, &next, v, vnis[v])
	}
	s.bringRouting(&c, next.routing)
	for _, v := range slices.Sorted(maps.Keys(next.vrfs)) {
		s.bringHosts(&c, &next, v, s.done.rebridges(v, next.routing, s.done.paths, next.paths))
	}
	next.prefixes = s.done.prefixes
	fresh := arrivals(before, next.local)
	c.putFor(greetingSeconds, greetings(fresh)...)
	if err := s.send(ctx, &c); err != nil {
		return err
	}
	if err := s.forgetConnections(fresh, spoiled(translationsOf(s.done.nat.all(before)), translationsOf(next.nat.all(next.local)))); err != nil {
		return err
	}
	s.done = next
	s.answers.serve(s.done.local)
	s.confirm(&s.done, -1)
	return s.speakNow()
}

// bringRows is bring while the local ports stay: it looks at the segments that
// have newer rows only.
func (s *connection) bringRows(ctx context.Context, newer []intent.VNI) error {
	if len(newer) == 0 {
		s.done.colours = s.pipe.colours
		return s.speakNow()
	}
	slices.Sort(newer)
	var c changes
	next := programmed{cursors: make(map[intent.VNI]evpn.Revision, len(newer)), floods: make(map[intent.VNI]replication, len(newer))}
	for _, v := range newer {
		switch {
		case !overlay.IsVNI(v):
			s.bringMembers(&c, &next, s.done.guard, v, s.done.cursors[v])
		case s.done.vrfs[v] != nil:
			s.bringHosts(&c, &next, v, false)
		default:
			s.bringSegment(&c, &next, v, s.done.floods[v].ports)
		}
	}
	if err := s.send(ctx, &c); err != nil {
		return err
	}
	maps.Copy(s.done.cursors, next.cursors)
	maps.Copy(s.done.floods, next.floods)
	s.done.colours = s.pipe.colours
	s.confirmRows(next.cursors)
	return s.speakNow()
}

// clone copies what forget changes.
func (p programmed) clone() programmed {
	p.local, p.cursors, p.floods = maps.Clone(p.local), maps.Clone(p.cursors), maps.Clone(p.floods)
	p.routing = p.routing.clone()
	return p
}

// forget takes out a VNI of which the device has nothing any more.
func (p *programmed) forget(v intent.VNI) {
	delete(p.cursors, v)
	delete(p.floods, v)
	p.routing.forget(v)
	maps.DeleteFunc(p.local, func(_ intent.Ref, l overlay.LocalPort) bool { return l.VNI == v })
}

// bringPorts changes the flows of local ports. Those of a VNI that left go
// with their cookie.
func (s *connection) bringPorts(c *changes, local map[intent.Ref]overlay.LocalPort, vnis map[intent.VNI][]uint32) {
	var old, now []openflow.Flow
	before := s.pipe
	before.guard, before.nat, before.tenants = s.done.guard, s.done.nat, s.done.tenants
	same := func(o, n overlay.LocalPort) bool {
		return o.Equal(n) && before.guard.numberOf(o) == s.pipe.guard.numberOf(n) && before.nat.zoneOf(o) == s.pipe.nat.zoneOf(n) && before.tenants.numberOf(o) == s.pipe.tenants.numberOf(n)
	}
	goes := func(l overlay.LocalPort) {
		if _, ok := vnis[l.VNI]; ok {
			old = append(old, before.port(l)...)
		}
	}
	known := 0
	for r, l := range local {
		o, ok := s.done.local[r]
		if ok {
			known++
		}
		if ok && same(o, l) {
			continue
		}
		if ok {
			goes(o)
		}
		now = append(now, s.pipe.port(l)...)
	}
	if known < len(s.done.local) {
		for r, l := range s.done.local {
			if _, ok := local[r]; !ok {
				goes(l)
			}
		}
	}
	c.replace(old, now)
}

// bringSegment changes the flows that follow from a segment's rows.
func (s *connection) bringSegment(c *changes, next *programmed, v intent.VNI, ports []uint32) {
	since, had := s.done.cursors[v]
	if !had {
		s.bringWhole(c, next, v, ports)
		return
	}
	from := since
	if s.recolours(v, s.pipe.colours) {
		from = 0
	}
	rows, rev := s.feed.Rows(v, from)
	was := s.done.floods[v]
	var floods []evpn.Row
	for _, r := range rows {
		switch {
		case r.Rev <= since:
			c.put(s.recoloured(v, r)...)
		case r.Type == evpn.IMET:
			floods = append(floods, r)
		case r.Deleted, r.VTEP == s.vtep && !r.IP.IsValid():
			c.drop(s.pipe.rowAnyVTEP(v, r)...)
			if !r.Deleted {
				c.put(s.unkeep(s.pipe.row(v, r))...)
			}
		case r.Led <= since: // it leads where it did
			c.put(s.recoloured(v, r)...)
		default:
			c.put(s.notKept(s.pipe.row(v, r))...)
		}
	}
	now := replication{ports, s.gates.tables.follow(v, was.vteps, floods, rev)}
	next.cursors[v], next.floods[v] = rev, now
	if !was.equal(now) {
		s.pipe.changeFlood(c, v, was, now)
	}
}

// bringWhole adds all flows of a segment that the device has nothing of, but what
// was kept.
func (s *connection) bringWhole(c *changes, next *programmed, v intent.VNI, ports []uint32) {
	all := s.segment(v)
	lead := all.lead(s.vtep)
	next.cursors[v], next.floods[v] = all.rev, replication{ports, all.imet}
	c.put(s.pipe.network(v)...)
	c.put(s.pipe.flood(v, next.floods[v])...)
	c.runs = append(c.runs, all.runs(func(i int) bool {
		if all.leaves(i, lead) {
			return true
		}
		return len(s.keptFlows) > 0 && len(s.notKept([]openflow.Flow{all.mods.At(i).Decode().Flow})) == 0
	})...)
}

// notKept leaves out the flows that the device has anyway, since they were kept
// for an edge that had not reported: it has reported the same now.
func (s *connection) notKept(fs []openflow.Flow) []openflow.Flow {
	if len(s.keptFlows) == 0 {
		return fs
	}
	return slices.DeleteFunc(fs, func(f openflow.Flow) bool {
		k, ok := s.keptFlows[keyOf(f)]
		delete(s.keptFlows, keyOf(f))
		return ok && same(k, f)
	})
}

// unkeep notes that flows are not kept any more but ours.
func (s *connection) unkeep(fs []openflow.Flow) []openflow.Flow {
	if len(s.keptFlows) > 0 {
		for _, f := range fs {
			delete(s.keptFlows, keyOf(f))
		}
	}
	return fs
}

// rowAnyVTEP are the flows that a route may have left here, wherever it led.
func (p pipeline) rowAnyVTEP(v intent.VNI, r evpn.Row) []openflow.Flow {
	if r.Type == evpn.MACIP && !r.IP.IsValid() {
		return []openflow.Flow{p.toVTEP(v, r)}
	}
	return p.row(v, r)
}
