package vswitch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Counters reads what the switch has counted of a port, now.
func (d *Driver) Counters(ctx context.Context, port intent.Ref) (southbound.PortCounters, error) {
	var out southbound.PortCounters
	d.mu.Lock()
	l, ok := d.ports[port]
	c := d.conn
	d.mu.Unlock()
	if !ok || c == nil {
		return out, d.fail(southbound.CodeNotReady, "read the counters of "+port.String(), "", errors.New("the device has not confirmed the port"))
	}
	fail := func(err error) (southbound.PortCounters, error) {
		return out, d.fail(southbound.CodeUnreachable, "read the counters of "+port.String(), "", err)
	}
	s, err := c.PortStats(ctx, l.OFPort)
	if err != nil {
		return fail(err)
	}
	out.Sent, out.Received = southbound.Count{Packets: s.RxPackets, Bytes: s.RxBytes}, southbound.Count{Packets: s.TxPackets, Bytes: s.TxBytes}
	var p pipeline
	want := map[uint32]string{meterID(l.OFPort, meterOut): "sent faster than the port's limit", meterID(l.OFPort, meterIn): "received faster than the port's limit",
		meterID(l.OFPort, meterService): "requests for DHCP and routers, too many"}
	for _, m := range p.meters(l) {
		stats, err := c.MeterStats(ctx, m.ID)
		if err != nil {
			return fail(err)
		}
		for _, s := range stats {
			out.Dropped = append(out.Dropped, southbound.DropCount{Why: want[s.ID], Count: southbound.Count{Packets: s.DroppedPackets, Bytes: s.DroppedBytes}})
		}
	}
	if l.Services == nil {
		return out, nil
	}
	flows, err := c.DumpTable(ctx, tableService, macCookie(l.VNI, l.MAC), ^uint64(0))
	if err != nil {
		return fail(err)
	}
	counts := map[flowKey]southbound.Count{}
	for _, f := range flows {
		counts[keyOf(f.Flow)] = southbound.Count{Packets: f.Packets, Bytes: f.Bytes}
	}
	for _, g := range p.rogues(l) {
		out.Dropped = append(out.Dropped, southbound.DropCount{Why: "sent " + g.what, Count: counts[keyOf(g.flow)]})
	}
	return out, nil
}

// setConn notes the connection by which the device is asked beside its session.
func (s *connection) setConn(on bool) {
	s.Driver.mu.Lock()
	defer s.Driver.mu.Unlock()
	if s.Driver.conn = nil; on {
		s.Driver.conn = s.conn
	}
}

// CountRouter reads what the switch has counted of the router that has an L3VNI: in
// the flows that forward, and in those that take in what other VTEPs routed to it.
func (d *Driver) CountRouter(ctx context.Context, v intent.VNI) (out southbound.RouterCount, err error) {
	fail := func(code string, err error) (southbound.RouterCount, error) {
		return southbound.RouterCount{}, d.fail(code, fmt.Sprintf("read the counters of the router with L3VNI %d", v), "", err)
	}
	d.mu.Lock()
	c, home := d.conn, false
	for _, l := range d.ports {
		home = home || l.Routing != nil && l.Routing.VRF.VNI == v
	}
	d.mu.Unlock()
	if c == nil || !home {
		return fail(southbound.CodeNotReady, errors.New("the device has not confirmed a port of its networks"))
	}
	sum := func(to *southbound.Count, f openflow.FlowStats) {
		to.Packets, to.Bytes = to.Packets+f.Packets, to.Bytes+f.Bytes
		if since := time.Now().Add(-f.Age); out.Since.Before(since) {
			out.Since = since
		}
	}
	flows, err := c.DumpTable(ctx, tableRouter, cookie(v), ^uint64(0))
	if err != nil {
		return fail(southbound.CodeUnreachable, err)
	}
	forwards := flowSet{}
	forwards.add(pipeline{}.forwards(v)...)
	for _, f := range flows {
		if _, ok := forwards[keyOf(f.Flow)]; ok {
			sum(&out.Routed, f)
		}
	}
	if flows, err = c.DumpTable(ctx, tableClassify, cookie(v), ^uint64(0)); err != nil {
		return fail(southbound.CodeUnreachable, err)
	}
	for _, f := range flows {
		sum(&out.Received, f)
	}
	return out, nil
}

// CountTenant reads what the limits of a tenant have done to its ports here.
func (d *Driver) CountTenant(ctx context.Context, tenant string) (out southbound.TenantCount, err error) {
	fail := func(code string, err error) (southbound.TenantCount, error) {
		return southbound.TenantCount{}, d.fail(code, "read the counters of tenant "+tenant, "", err)
	}
	d.mu.Lock()
	c, ts := d.conn, d.tenants
	d.mu.Unlock()
	if c == nil || ts == nil || ts.limits[tenant] == nil {
		return fail(southbound.CodeNotReady, errors.New("the device has not confirmed its limits"))
	}
	for _, m := range limiting(ts.numbers[tenant], ts.limits[tenant]) {
		stats, err := c.MeterStats(ctx, m.ID)
		if err != nil {
			return fail(southbound.CodeUnreachable, err)
		}
		to := &out.Sent
		if m.ID == meterID(ts.numbers[tenant], meterIn) {
			to = &out.Received
		}
		for _, s := range stats {
			to.Came, to.Dropped = southbound.Count{Packets: s.Packets, Bytes: s.Bytes}, southbound.Count{Packets: s.DroppedPackets, Bytes: s.DroppedBytes}
		}
	}
	return out, nil
}
