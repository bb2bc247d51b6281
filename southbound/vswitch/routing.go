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

// routing is what local ports need of routers.
type routing struct {
	gateways map[intent.VNI]*overlay.Routing // by L2VNI
	vrfs     map[intent.VNI]*overlay.VRF     // by L3VNI
}

func routingOf(local map[intent.Ref]overlay.LocalPort) routing {
	r := routing{gateways: map[intent.VNI]*overlay.Routing{}, vrfs: map[intent.VNI]*overlay.VRF{}}
	for _, l := range local {
		if l.Routing != nil {
			r.gateways[l.VNI], r.vrfs[l.Routing.VRF.VNI] = l.Routing, l.Routing.VRF
		}
	}
	return r
}

func (r routing) clone() routing {
	return routing{maps.Clone(r.gateways), maps.Clone(r.vrfs)}
}

// forget takes out a VNI of which the device has nothing any more.
func (r *routing) forget(v intent.VNI) {
	delete(r.gateways, v)
	delete(r.vrfs, v)
}

// leaves reports whether the rows of an L3VNI's table must be made anew: the
// router is not here any more, or networks that it bridges into have other
// tunnels.
func (r routing) leaves(v intent.VNI, next routing, was, now map[intent.VNI]tunnelPath) bool {
	vrf := next.vrfs[v]
	if vrf == nil {
		return true
	}
	return slices.ContainsFunc(r.vrfs[v].Subnets, func(s overlay.Subnet) bool { return was[s.VNI] != now[s.VNI] }) ||
		slices.ContainsFunc(vrf.Subnets, func(s overlay.Subnet) bool { return was[s.VNI] != now[s.VNI] })
}

// bringRouting changes the flows that follow from routers, but for their hosts.
func (s *connection) bringRouting(c *changes, next routing) {
	for v, now := range next.gateways {
		if was := s.done.gateways[v]; !was.Equal(now) {
			c.replace(s.pipe.gateway(v, was), s.pipe.gateway(v, now))
		}
	}
	for v, was := range s.done.gateways {
		if next.gateways[v] == nil {
			c.replace(s.pipe.gateway(v, was), nil)
		}
	}
	for v, now := range next.vrfs { // what left went with its cookie
		if was := s.done.vrfs[v]; !was.Equal(now) {
			c.replace(s.pipe.vrf(was), s.pipe.vrf(now))
		}
	}
}

// bringHosts changes the flows that follow from the rows of an L3VNI's table.
func (s *connection) bringHosts(c *changes, next *programmed, v intent.VNI) {
	since, had := s.done.cursors[v]
	rows, rev := s.feed.Rows(v, since)
	for _, r := range rows {
		switch {
		case r.Deleted:
			if had {
				c.drop(s.pipe.routedAnywhere(v, r)...)
			}
		case had && r.Led <= since:
			// It leads where it did.
		default:
			fs := s.pipe.routed(v, r)
			if had && len(fs) == 0 {
				c.drop(s.pipe.routedAnywhere(v, r)...)
			}
			c.put(s.notKept(fs)...)
		}
	}
	next.cursors[v] = rev
}

// routedAnywhere are the flows that a row may have left here, wherever it led.
func (p pipeline) routedAnywhere(v intent.VNI, r evpn.Row) []openflow.Flow {
	r.Deleted, r.VTEP = false, p.vtep
	if r.Type == evpn.PREFIX {
		r.VTEP, r.RouterMAC, r.Origin = r.IP, intent.GatewayMAC, evpn.OriginBGP
	}
	return p.routed(v, r)
}

// compileRouting makes the whole desired state of routers.
func (s *connection) compileRouting(d *desired) {
	d.routing = routingOf(d.local)
	for v, g := range d.gateways {
		now, was := s.pipe.gateway(v, g), s.pipe.gateway(v, s.done.gateways[v])
		d.flows.add(now...)
		if !g.Equal(s.done.gateways[v]) {
			d.move(now)
			d.move(was)
		}
	}
	for v, was := range s.done.gateways {
		if d.gateways[v] == nil {
			d.move(s.pipe.gateway(v, was))
		}
	}
	for v, vrf := range d.vrfs {
		now := s.pipe.vrf(vrf)
		d.flows.add(now...)
		if was := s.done.vrfs[v]; !was.Equal(vrf) {
			d.move(now)
			d.move(s.pipe.vrf(was))
		}
		s.compileHosts(d, v)
	}
}

func (s *connection) compileHosts(d *desired, v intent.VNI) {
	since, had := s.done.cursors[v]
	rows, rev := s.feed.Rows(v, 0)
	for _, r := range rows {
		if r.Rev > since || !had {
			d.move(s.pipe.routedAnywhere(v, r))
		}
		if !r.Deleted {
			d.flows.add(s.pipe.routed(v, r)...)
		}
	}
	d.cursors[v] = rev
}

// icmpMetersOf are the meters that the routed ports among local ones use.
func icmpMetersOf(local map[intent.Ref]overlay.LocalPort) map[uint32]openflow.Meter {
	out := map[uint32]openflow.Meter{}
	for _, l := range local {
		if l.Routing != nil && !l.Standby {
			id := icmpMeter(l.OFPort)
			out[id] = openflow.Meter{ID: id, Packets: true, Rate: icmpRate, Burst: icmpBurst}
		}
	}
	return out
}

// readMeters finds out which meters the device has. A device is asked only when
// some are needed, or may have been left.
func (s *connection) readMeters(ctx context.Context) error {
	all, err := s.conn.DumpMeters(ctx)
	if err != nil {
		return err
	}
	s.meters = map[uint32]openflow.Meter{}
	for _, m := range all {
		if m.ID&icmpMetersMask == icmpMeters {
			if !m.Plain {
				m.Meter = openflow.Meter{ID: m.ID} // to be put right
			}
			s.meters[m.ID] = m.Meter
		}
	}
	return nil
}

// addMeters makes the meters that flows are about to use; dropMeters deletes
// those that none uses any more.
func (s *connection) addMeters(ctx context.Context, local map[intent.Ref]overlay.LocalPort) error {
	var mods []openflow.MeterMod
	for id, m := range icmpMetersOf(local) {
		switch has, ok := s.meters[id]; {
		case !ok:
			mods = append(mods, openflow.MeterMod{Command: openflow.MeterAdd, Meter: m})
		case has != m:
			mods = append(mods, openflow.MeterMod{Command: openflow.MeterModify, Meter: m})
		}
	}
	return s.setMeters(ctx, mods)
}

func (s *connection) dropMeters(ctx context.Context, local map[intent.Ref]overlay.LocalPort) error {
	if len(s.meters) == 0 {
		return nil
	}
	need := icmpMetersOf(local)
	var mods []openflow.MeterMod
	for id, m := range s.meters {
		if _, ok := need[id]; !ok {
			mods = append(mods, openflow.MeterMod{Command: openflow.MeterDelete, Meter: m})
		}
	}
	return s.setMeters(ctx, mods)
}

func (s *connection) setMeters(ctx context.Context, mods []openflow.MeterMod) error {
	if len(mods) == 0 {
		return nil
	}
	slices.SortFunc(mods, func(a, b openflow.MeterMod) int { return int(a.ID) - int(b.ID) })
	if err := s.conn.SetMeters(ctx, mods); err != nil {
		return err
	}
	if s.meters == nil {
		s.meters = map[uint32]openflow.Meter{}
	}
	for _, m := range mods {
		if m.Command == openflow.MeterDelete {
			delete(s.meters, m.ID)
		} else {
			s.meters[m.ID] = m.Meter
		}
	}
	return nil
}

// reportedMost bounds the packets that wait for their ICMP errors.
const reportedMost = 256

// answerReported sends ICMP errors for the packets that wait until ctx ends.
func (s *connection) answerReported(ctx context.Context, in <-chan openflow.PacketIn) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-in:
			if out, ok := s.icmpAnswer(p); ok {
				if s.conn.SendPacket(out) != nil {
					return // the connection is over, and with it the session
				}
			}
		}
	}
}

// icmpAnswer makes the ICMP error for a packet that could not be routed.
func (s *connection) icmpAnswer(p openflow.PacketIn) (openflow.PacketOut, bool) {
	reason, _ := p.Value(openflow.FieldReg(reasonReg))
	v, _ := p.Value(openflow.FieldMetadata)
	l, ok := s.portAt(p.InPort, intent.VNI(v))
	if !ok {
		return openflow.PacketOut{}, false
	}
	f := icmpError(l, uint32(reason), p.Data)
	if f == nil {
		return openflow.PacketOut{}, false
	}
	return openflow.PacketOut{InPort: openflow.PortController, Actions: []openflow.Action{openflow.Output(p.InPort)}, Data: f}, true
}

// portAt is the confirmed port of a VNI at an OpenFlow port.
func (d *Driver) portAt(ofPort uint32, v intent.VNI) (overlay.LocalPort, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.ports {
		if l.OFPort == ofPort && l.VNI == v {
			return l, true
		}
	}
	return overlay.LocalPort{}, false
}
