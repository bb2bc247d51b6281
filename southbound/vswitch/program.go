package vswitch

import (
	"context"
	"maps"
	"net/netip"
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
	routing
}

// replication says to whom a segment's broadcast goes.
type replication struct {
	ports  []uint32
	vteps  []netip.Addr
	served []netip.Addr // those of them that this edge replicates for
}

func (r replication) equal(o replication) bool {
	return slices.Equal(r.ports, o.ports) && slices.Equal(r.vteps, o.vteps) && slices.Equal(r.served, o.served)
}

// with is the replication after IMET rows changed.
func (r replication) with(rows []evpn.Row, own netip.Addr) replication {
	if len(rows) == 0 {
		return r
	}
	changed := make(map[netip.Addr]struct{}, len(rows))
	for _, row := range rows {
		changed[row.IP] = struct{}{}
	}
	stay := func(list []netip.Addr) []netip.Addr {
		out := make([]netip.Addr, 0, len(list)+len(rows))
		for _, a := range list {
			if _, ok := changed[a]; !ok {
				out = append(out, a)
			}
		}
		return out
	}
	vteps, served := stay(r.vteps), stay(r.served)
	for _, row := range rows {
		if row.Deleted || row.IP == own {
			continue
		}
		vteps = append(vteps, row.IP)
		if row.Replicator == own {
			served = append(served, row.IP)
		}
	}
	slices.SortFunc(vteps, netip.Addr.Compare)
	slices.SortFunc(served, netip.Addr.Compare)
	return replication{ports: r.ports, vteps: vteps, served: served}
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
		out[l.VNI] = append(out[l.VNI], l.OFPort)
	}
	for _, ports := range out {
		slices.Sort(ports)
	}
	return out
}

// bring brings the device from what it has to what the feed says now, and
// costs what changed.
func (s *connection) bring(ctx context.Context) error {
	judge := s.kept && len(s.feed.Unreported(false)) == 0 // before what is brought now is read
	if err := s.bringChanges(ctx); err != nil || !judge {
		return err
	}
	return s.dropKept(ctx)
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
		var imet []evpn.Row
		rows, _ := s.feed.Rows(v, 0)
		for _, r := range rows {
			if r.Type == evpn.IMET {
				imet = append(imet, r)
			}
		}
		if now := (replication{ports: was.ports}).with(imet, s.vtep); !was.equal(now) {
			c.replace(s.pipe.flood(v, was), s.pipe.flood(v, now))
			floods[v] = now
		}
	}
	if err := s.send(ctx, &c); err != nil {
		return err
	}
	maps.Copy(s.done.floods, floods)
	s.kept, s.keptFlows = false, nil
	return nil
}

// bringChanges is bring, but for what was kept.
func (s *connection) bringChanges(ctx context.Context) error {
	if local, newer := s.feed.Behind(s.done.cursors); local == s.localRev {
		return s.bringRows(ctx, newer)
	}
	var c changes
	next := programmed{local: s.local(), cursors: map[intent.VNI]evpn.Revision{}, floods: map[intent.VNI]replication{}}
	next.paths = s.pipe.paths()
	next.routing = routingOf(next.local)
	vnis := byVNI(next.local)
	s.done = s.done.clone()
	for v := range s.done.cursors {
		// What left goes as a whole; what has another encapsulation is made
		// anew.
		_, stays := vnis[v]
		if s.done.vrfs[v] != nil {
			stays = !s.done.leaves(v, next.routing, s.done.paths, next.paths)
		}
		if !stays || next.paths[v] != s.done.paths[v] {
			c.dropCookie(cookie(v), cookieVNIMask)
			s.done.forget(v)
		}
	}
	s.bringPorts(&c, next.local, vnis)
	for _, v := range slices.Sorted(maps.Keys(vnis)) {
		s.bringSegment(&c, &next, v, vnis[v])
	}
	s.bringRouting(&c, next.routing)
	for _, v := range slices.Sorted(maps.Keys(next.vrfs)) {
		s.bringHosts(&c, &next, v)
	}
	if err := s.addMeters(ctx, next.local); err != nil {
		return s.meterTrouble(err)
	}
	if err := s.send(ctx, &c); err != nil {
		return err
	}
	if err := s.dropMeters(ctx, next.local); err != nil {
		return s.meterTrouble(err)
	}
	s.done = next
	s.confirm(&s.done, -1)
	return s.speakNow()
}

// bringRows is bring while the local ports stay: it looks at the segments that
// have newer rows only.
func (s *connection) bringRows(ctx context.Context, newer []intent.VNI) error {
	if len(newer) == 0 {
		return s.speakNow()
	}
	slices.Sort(newer)
	var c changes
	next := programmed{cursors: make(map[intent.VNI]evpn.Revision, len(newer)), floods: make(map[intent.VNI]replication, len(newer))}
	for _, v := range newer {
		if s.done.vrfs[v] != nil {
			s.bringHosts(&c, &next, v)
		} else {
			s.bringSegment(&c, &next, v, s.done.floods[v].ports)
		}
	}
	if err := s.send(ctx, &c); err != nil {
		return err
	}
	maps.Copy(s.done.cursors, next.cursors)
	maps.Copy(s.done.floods, next.floods)
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
	for r, l := range s.done.local {
		if n, ok := local[r]; ok && n.Equal(l) {
			continue
		}
		if _, ok := vnis[l.VNI]; ok {
			old = append(old, s.pipe.port(l)...)
		}
	}
	for r, l := range local {
		if o, ok := s.done.local[r]; !ok || !o.Equal(l) {
			now = append(now, s.pipe.port(l)...)
		}
	}
	c.replace(old, now)
}

// bringSegment changes the flows that follow from a segment's rows.
func (s *connection) bringSegment(c *changes, next *programmed, v intent.VNI, ports []uint32) {
	since, had := s.done.cursors[v]
	if !had {
		c.put(s.pipe.network(v)...)
	}
	rows, rev := s.feed.Rows(v, since)
	was := s.done.floods[v]
	var floods []evpn.Row
	for _, r := range rows {
		switch {
		case r.Type == evpn.IMET:
			floods = append(floods, r)
		case r.Deleted, r.VTEP == s.vtep && !r.IP.IsValid():
			if had {
				c.drop(s.pipe.rowAnyVTEP(v, r)...)
			}
			if !r.Deleted {
				c.put(s.unkeep(s.pipe.row(v, r))...)
			}
		case had && r.Led <= since:
			// It leads where it did.
		default:
			c.put(s.notKept(s.pipe.row(v, r))...)
		}
	}
	now := replication{ports: ports, vteps: was.vteps, served: was.served}.with(floods, s.vtep)
	next.cursors[v], next.floods[v] = rev, now
	if had {
		if !was.equal(now) {
			c.replace(s.pipe.flood(v, was), s.pipe.flood(v, now))
		}
	} else {
		c.put(s.pipe.flood(v, now)...)
	}
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

// member puts a VTEP into a sorted list or takes it out; the list itself is
// not changed.
func member(list []netip.Addr, a netip.Addr, in bool) []netip.Addr {
	i, has := slices.BinarySearchFunc(list, a, netip.Addr.Compare)
	switch {
	case in && !has:
		return slices.Insert(slices.Clone(list), i, a)
	case !in && has:
		return slices.Delete(slices.Clone(list), i, i+1)
	}
	return list
}
