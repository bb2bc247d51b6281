package vswitch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// metersOf are the meters of local ports and of their tenants, and that of stations
// behind hardware VTEPs, by number.
func (p pipeline) metersOf(local map[intent.Ref]overlay.LocalPort) map[uint32]openflow.Meter {
	out := map[uint32]openflow.Meter{}
	for _, m := range p.tenants.meters() {
		out[m.ID] = m
	}
	for _, l := range local {
		for _, m := range p.meters(l) {
			out[m.ID] = m
		}
		if l.Routing != nil {
			m := p.bridgeMeter()
			out[m.ID] = m
		}
	}
	return out
}

// bringMeters changes meters from those of some local ports to those of others. A
// meter that stays under its number is changed in place: its flows go on.
func (s *connection) bringMeters(c *changes, before, now map[intent.Ref]overlay.LocalPort) {
	c.replaceMeters(s.metersDone(before), s.pipe.metersOf(now))
}

// metersDone are the meters that the device confirmed for some local ports.
func (s *connection) metersDone(local map[intent.Ref]overlay.LocalPort) map[uint32]openflow.Meter {
	p := s.pipe
	p.tenants = s.done.tenants
	return p.metersOf(local)
}

func (c *changes) replaceMeters(has, want map[uint32]openflow.Meter) {
	for _, id := range slices.Sorted(maps.Keys(want)) {
		switch m, ok := has[id]; {
		case !ok:
			c.meters = append(c.meters, openflow.MeterMod{Command: openflow.MeterAdd, Meter: want[id]})
		case m != want[id]:
			c.meters = append(c.meters, openflow.MeterMod{Command: openflow.MeterModify, Meter: want[id]})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(has)) {
		if _, ok := want[id]; !ok {
			c.spent = append(c.spent, openflow.MeterMod{Command: openflow.MeterDelete, Meter: openflow.Meter{ID: id}})
		}
	}
}

// ourMeters reads the meters whose numbers are ours. One that is not plain reads
// as one that we never make, so that it is changed. A switch without meters has
// none.
func ourMeters(ctx context.Context, c *openflow.Conn) (map[uint32]openflow.Meter, error) {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	all, err := c.DumpMeters(ctx)
	var refused *openflow.Error
	if errors.As(err, &refused) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[uint32]openflow.Meter{}
	for _, m := range all {
		if m.ID >= meterBase && m.ID < meterEnd {
			if !m.Plain {
				m.Meter = openflow.Meter{ID: m.ID}
			}
			out[m.ID] = m.Meter
		}
	}
	return out, nil
}

// compareMeters compares the meters that the device has with what it should have.
func (s *connection) compareMeters(ctx context.Context, x *comparison) error {
	has, err := ourMeters(ctx, s.conn)
	if err != nil {
		return s.fail(southbound.CodeUnreachable, "read meters", "", err)
	}
	want, was := s.pipe.metersOf(x.local), s.metersDone(s.done.local)
	x.changes.replaceMeters(has, want)
	found := &x.found
	for id, w := range want {
		if h, ok := has[id]; was[id] != w {
			continue // it changed since the device was last brought up to date
		} else if !ok {
			found.noteMeter(w, "was missing; put back")
		} else if h != w {
			found.noteMeter(h, "was changed; put back as "+w.String())
		}
	}
	for id, h := range has {
		if _, ok := want[id]; !ok && was[id] == (openflow.Meter{}) {
			found.noteMeter(h, "was not ours though it had a number of ours; deleted")
		}
	}
	return nil
}

func (f *findings) noteMeter(m openflow.Meter, what string) {
	if f.n++; f.n <= findingsTold {
		f.texts = append(f.texts, fmt.Sprintf("%s %s", m, what))
	}
}
