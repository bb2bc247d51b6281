package vswitch

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// desired is everything that the device should have, made from nothing.
type desired struct {
	programmed
	flows flowSet
	// moving are the flows that changed since the device was last brought up
	// to date: that they differ on the device is no fault.
	moving map[flowKey]bool
}

// compile makes the whole desired state from the feed.
func (s *connection) compile() *desired {
	d := &desired{flows: flowSet{}, moving: map[flowKey]bool{},
		programmed: programmed{local: s.local(), cursors: map[intent.VNI]evpn.Revision{}, floods: map[intent.VNI]replication{}}}
	d.paths = s.pipe.paths()
	d.flows.add(s.pipe.base()...)
	for r, l := range d.local {
		fs := s.pipe.port(l)
		d.flows.add(fs...)
		if o, ok := s.done.local[r]; !ok || !o.Equal(l) {
			d.move(fs)
			if ok {
				d.move(s.pipe.port(o))
			}
		}
	}
	for r, o := range s.done.local {
		if _, ok := d.local[r]; !ok {
			d.move(s.pipe.port(o))
		}
	}
	vnis := byVNI(d.local)
	for _, v := range slices.Sorted(maps.Keys(vnis)) {
		s.compileSegment(d, v, vnis[v])
	}
	s.compileRouting(d)
	return d
}

func (s *connection) compileSegment(d *desired, v intent.VNI, ports []uint32) {
	since, had := s.done.cursors[v]
	rows, rev := s.feed.Rows(v, 0)
	var floods []evpn.Row
	d.flows.add(s.pipe.network(v)...)
	for _, r := range rows {
		if r.Rev > since || !had {
			d.move(s.pipe.rowAnyVTEP(v, r))
		}
		switch {
		case r.Deleted:
		case r.Type == evpn.IMET:
			floods = append(floods, r)
		default:
			d.flows.add(s.pipe.row(v, r)...)
		}
	}
	rep := replication{ports: ports}.with(floods, s.vtep)
	d.cursors[v], d.floods[v] = rev, rep
	flood := s.pipe.flood(v, rep)
	d.flows.add(flood...)
	if was := s.done.floods[v]; !had || !was.equal(rep) {
		d.move(flood)
		d.move(s.pipe.flood(v, was))
	}
}

func (d *desired) move(fs []openflow.Flow) {
	for _, f := range fs {
		d.moving[keyOf(f)] = true
	}
}

// readAll reads all our flows from the device, brings them to what they should
// be and, when asked to, tells what was found that nobody here had sent. seen, if
// there is one, gets what the device has before anything is done about it.
func (s *connection) readAll(ctx context.Context, seen func(flowSet), tell bool) error {
	d, c, found, err := s.difference(ctx, seen)
	if err != nil {
		return err
	}
	if err := s.addMeters(ctx, d.local); err != nil {
		return s.meterTrouble(err)
	}
	if err := s.send(ctx, c); err != nil {
		return err
	}
	if err := s.dropMeters(ctx, d.local); err != nil {
		return s.meterTrouble(err)
	}
	s.done = d.programmed
	s.confirm(&s.done, len(d.flows))
	if tell {
		s.faults += found.n
		found.tell(s.feed)
	}
	return s.speakNow()
}

// difference compares what the device has with what it should have.
func (s *connection) difference(ctx context.Context, seen func(flowSet)) (*desired, *changes, *findings, error) {
	if err := s.gates.read.enter(ctx); err != nil {
		return nil, nil, nil, err
	}
	defer s.gates.read.leave()
	has, err := s.dump(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if seen != nil {
		seen(has)
	}
	if err := s.gates.compare.enter(ctx); err != nil {
		return nil, nil, nil, err
	}
	defer s.gates.compare.leave()
	// Before the rows are read: what an edge that reports meanwhile has is in
	// them, or still kept.
	away := s.feed.Unreported(false)
	d := s.compile()
	s.kept = s.keep(d, has, away)
	var c changes
	var found findings
	for _, f := range has.sorted() {
		if w, ok := d.flows[keyOf(f)]; !ok {
			c.drop(f)
			found.note(d, f, "was not ours though it had our cookie; deleted")
		} else if !same(f, w) {
			found.note(d, f, "was changed; put back as "+w.String())
		}
	}
	for _, f := range d.flows.sorted() {
		h, ok := has[keyOf(f)]
		if !ok {
			found.note(d, f, "was missing; put back")
		}
		if !ok || !same(h, f) {
			c.put(f)
		}
	}
	return d, &c, &found, nil
}

func (s *connection) dump(ctx context.Context) (flowSet, error) {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	stats, err := s.conn.DumpFlows(ctx, cookieMark, cookieMarkMask)
	if err != nil {
		return nil, s.fail(southbound.CodeUnreachable, "read flows", "", err)
	}
	has := make(flowSet, len(stats))
	metered := len(s.meters) > 0
	for _, f := range stats {
		has.add(f.Flow)
		metered = metered || f.Table == tableICMP
	}
	if metered || len(icmpMetersOf(s.feed.Local())) > 0 {
		if err := s.readMeters(ctx); err != nil {
			return nil, s.fail(southbound.CodeUnreachable, "read meters", "", err)
		}
	}
	return has, nil
}

// keep adds to the desired state what the device has for edges that have not
// reported yet, and reports whether there was any. Their MACs are known by
// the tunnel's end in the remote table; addresses by their MACs; their place
// in flood lists by the end alone.
func (s *connection) keep(d *desired, has flowSet, away map[netip.Addr]struct{}) bool {
	delete(away, s.vtep)
	if len(away) == 0 {
		s.keptFlows = nil
		return false
	}
	kept := false
	s.keptFlows = flowSet{}
	cookies := map[uint64]bool{}
	for k, f := range has {
		if _, ok := d.flows[k]; ok || f.Table != tableRemote && f.Table != tableHost && f.Table != tableRoute {
			continue
		}
		for _, a := range f.Instructions.TunnelDsts() {
			if _, ok := away[a]; ok {
				d.flows[k], cookies[f.Cookie], kept = f, true, true
				s.keptFlows[k] = f
			}
		}
	}
	for k, f := range has {
		if _, ok := d.flows[k]; !ok && cookies[f.Cookie] && (f.Table == tableARP || f.Table == tableND) {
			d.flows[k], s.keptFlows[k] = f, f
		}
	}
	return s.keepFloods(d, has, away) || kept
}

func (s *connection) keepFloods(d *desired, has flowSet, away map[netip.Addr]struct{}) bool {
	kept := false
	for v, rep := range d.floods {
		vteps := rep.vteps
		for _, f := range has {
			if f.Table != tableFlood || f.Cookie != cookie(v) {
				continue
			}
			for _, a := range f.Instructions.TunnelDsts() {
				if _, ok := away[a]; ok {
					vteps = member(vteps, a, true)
				}
			}
		}
		if len(vteps) == len(rep.vteps) {
			continue
		}
		kept = true
		rep.vteps = vteps
		d.floods[v] = rep
		d.flows.add(s.pipe.flood(v, rep)...)
	}
	return kept
}

// findings are what another program did to our flows.
type findings struct {
	n     int
	texts []string
}

// findingsTold bounds the flows that one event names.
const findingsTold = 5

func (f *findings) note(d *desired, fl openflow.Flow, what string) {
	if d.moving[keyOf(fl)] {
		return
	}
	if f.n++; f.n <= findingsTold {
		f.texts = append(f.texts, fmt.Sprintf("flow %s %s", fl, what))
	}
}

func (f *findings) tell(feed southbound.Feed) {
	if f.n == 0 {
		return
	}
	msg := strings.Join(f.texts, "; ")
	if more := f.n - len(f.texts); more > 0 {
		msg += fmt.Sprintf("; and %d more", more)
	}
	feed.Event(southbound.Event{Severity: southbound.Warning, Reason: "FlowsRepaired", Message: msg})
}
