package vswitch

import (
	"context"
	"errors"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
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
