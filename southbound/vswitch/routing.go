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
	vrfs     map[intent.VNI]*overlay.VRF     // by L3VNI, also those of which a router has something
	homes    map[intent.VNI]bool             // those that have ports here
	arrives  map[intent.VNI]bool             // others with whose L3VNI leaves send here
	prefixes prefixes
}

func routingOf(local map[intent.Ref]overlay.LocalPort) routing {
	r := routing{gateways: map[intent.VNI]*overlay.Routing{}, vrfs: map[intent.VNI]*overlay.VRF{}, homes: map[intent.VNI]bool{}, arrives: map[intent.VNI]bool{}}
	for _, l := range local {
		if l.Routing != nil {
			r.gateways[l.VNI], r.vrfs[l.Routing.VRF.VNI] = l.Routing, l.Routing.VRF
			r.homes[l.Routing.VRF.VNI] = true
		}
	}
	for v := range r.homes {
		for _, l := range r.vrfs[v].Leaks {
			if l.Leaf && !r.homes[l.VRF.VNI] {
				r.arrives[l.VRF.VNI] = true
			}
			if !r.homes[l.VRF.VNI] {
				r.vrfs[l.VRF.VNI] = l.VRF
			}
		}
	}
	return r
}

// vrf are the flows of a VRF, see pipeline.vrf.
func (r routing) vrf(p pipeline, v intent.VNI) []openflow.Flow {
	fs := p.vrf(r.vrfs[v], r.homes[v])
	if r.arrives[v] {
		fs = append(fs, p.classifyRouted(v))
	}
	return fs
}

// alike reports whether the flows of a VRF are the same.
func (r routing) alike(o routing, v intent.VNI) bool {
	return r.homes[v] == o.homes[v] && r.arrives[v] == o.arrives[v] && r.vrfs[v].Equal(o.vrfs[v])
}

func (r routing) clone() routing {
	return routing{maps.Clone(r.gateways), maps.Clone(r.vrfs), maps.Clone(r.homes), maps.Clone(r.arrives), r.prefixes}
}

// forget takes out a VNI of which the device has nothing any more.
func (r *routing) forget(v intent.VNI) {
	delete(r.gateways, v)
	delete(r.vrfs, v)
	delete(r.homes, v)
	delete(r.arrives, v)
	r.prefixes.forget(v)
}

// rebridges reports whether what a router bridges takes other ways: networks of it
// have other tunnels, are new, or are gone.
func (r routing) rebridges(v intent.VNI, next routing, was, now map[intent.VNI]tunnelPath) bool {
	moves := func(vrf *overlay.VRF) bool {
		return slices.ContainsFunc(vrf.Subnets, func(s overlay.Subnet) bool { return was[s.VNI] != now[s.VNI] })
	}
	return r.vrfs[v] != nil && (moves(r.vrfs[v]) || moves(next.vrfs[v]))
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
	for v := range next.vrfs { // what left went with its cookie
		if !s.done.alike(next, v) {
			c.replace(s.done.vrf(s.pipe, v), s.notKept(next.vrf(s.pipe, v)))
		}
	}
}

// bringHosts changes the flows that follow from the rows of an L3VNI's table, with all
// those of all rows.
func (s *connection) bringHosts(c *changes, next *programmed, v intent.VNI, all bool) {
	since, had := s.done.cursors[v]
	from := since
	if all || had && s.recolours(v, s.pipe.colours) {
		from = 0
	}
	rows, rev := s.feed.Rows(v, from)
	before := map[destination][]via{}
	for _, r := range rows {
		if !all && r.Rev <= since {
			c.put(s.recoloured(v, r)...)
			continue
		}
		s.done.prefixes.take(s.pipe, v, r, before)
		switch {
		case r.Deleted:
			if had {
				c.drop(s.pipe.routedAnywhere(v, r)...)
			}
		case had && !all && r.Led <= since: // it leads where it did
			c.put(s.recoloured(v, r)...)
		default:
			fs := s.pipe.routed(v, r)
			if had && len(fs) == 0 {
				c.drop(s.pipe.routedAnywhere(v, r)...)
			}
			c.put(s.notKept(fs)...)
		}
	}
	s.bringPrefixes(c, &s.done.prefixes, before)
	if had {
		s.recolourVias(c, v, before)
	}
	next.cursors[v] = rev
}

// routedAnywhere are the flows that a row may have left here, wherever it led.
func (p pipeline) routedAnywhere(v intent.VNI, r evpn.Row) []openflow.Flow {
	r.Deleted, r.VTEP = false, p.vtep
	return p.routed(v, r)
}

// compileRouting adds what the device should have of routers.
func (s *connection) compileRouting(x *comparison, has *openflow.Described, away overlay.Away) {
	x.routing = routingOf(x.local)
	x.prefixes.late = s.late
	for _, v := range slices.Sorted(maps.Keys(x.gateways)) {
		x.add(s.pipe.gateway(v, x.gateways[v])...)
	}
	for _, v := range slices.Sorted(maps.Keys(x.vrfs)) {
		x.add(x.vrf(s.pipe, v)...)
		rows, rev := s.feed.Rows(v, 0)
		for _, r := range rows {
			if !r.Deleted {
				x.add(s.pipe.routed(v, r)...)
				x.prefixes.take(s.pipe, v, r, map[destination][]via{})
			}
		}
		x.cursors[v] = rev
	}
	x.keepVias(s.pipe, has, away)
	for _, d := range sortedDestinations(x.prefixes.at) {
		x.add(s.pipe.toPrefixVia(d, x.prefixes.at[d])...)
	}
}

// moveRouting notes the flows of routers that changed since what the device
// confirmed, but for those of rows.
func (s *connection) moveRouting(x *comparison) {
	for v, now := range x.gateways {
		if was := s.done.gateways[v]; !now.Equal(was) {
			x.move(s.pipe.gateway(v, now)...)
			x.move(s.pipe.gateway(v, was)...)
		}
	}
	for v, was := range s.done.gateways {
		if x.gateways[v] == nil {
			x.move(s.pipe.gateway(v, was)...)
		}
	}
	for v := range x.vrfs {
		if !x.alike(s.done.routing, v) {
			x.move(x.vrf(s.pipe, v)...)
			x.move(s.done.vrf(s.pipe, v)...)
		}
	}
	s.movePrefixes(x)
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
		return s.bridgeAnswer(p, intent.VNI(v), uint32(reason))
	}
	f := icmpError(l, uint32(reason), p.Data)
	if f == nil {
		return openflow.PacketOut{}, false
	}
	if in, _ := p.Value(openflow.FieldReg(vrfReg)); isTranslated(l, intent.VNI(in), f) {
		// It quotes what was translated; the way back translates that, too.
		return openflow.PacketOut{InPort: openflow.PortController, Metadata: []openflow.Field{openflow.Reg(vrfReg, uint32(in))},
			Actions: []openflow.Action{openflow.Resubmit(tableRoute)}, Data: f}, true
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
