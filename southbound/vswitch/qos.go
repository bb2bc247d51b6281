package vswitch

import (
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Meters have no cookie: ours are known by their numbers, from meterBase on, so
// many for each port number. Numbers below are left to others. Open vSwitch's own
// datapath has 262,144 meters, which is enough for all of its 65,279 port numbers.
const (
	meterBase uint32 = 1 << 10
	meterEnd         = meterBase + 65280*metersPerPort

	metersPerPort = 4
	meterOut      = 0 // what a port sends
	meterIn       = 1 // what a port receives
	meterService  = 2 // what a port asks the network's services, in packets
	meterICMP     = 3 // what a port sends that can't be routed, in packets
)

func meterID(ofPort, which uint32) uint32 { return meterBase + ofPort*metersPerPort + which }

// qosOut reports whether what a port sends goes through the QoS table.
func qosOut(l overlay.LocalPort) bool {
	return l.QoS != nil && (l.QoS.Mark || l.QoS.Out.Rate > 0) || l.TenantQoS != nil && l.TenantQoS.Out.Rate > 0
}

// qosIn reports whether what a port receives is limited.
func qosIn(l overlay.LocalPort) bool {
	return l.QoS != nil && l.QoS.In.Rate > 0 || l.TenantQoS != nil && l.TenantQoS.In.Rate > 0
}

// through are the meters of what a port sends or receives: its own goes first, so that
// what it drops is not taken from the tenant's other ports.
func (p pipeline) through(l overlay.LocalPort, which uint32) []openflow.Action {
	var as []openflow.Action
	if limitOf(l.QoS, which).Rate > 0 {
		as = append(as, openflow.MeterBy(meterID(l.OFPort, which)))
	}
	if n := p.tenants.numberOf(l); n > 0 && limitOf(l.TenantQoS, which).Rate > 0 {
		as = append(as, openflow.MeterBy(meterID(n, which)))
	}
	return as
}

// limitOf is that of one direction.
func limitOf(q *overlay.QoS, which uint32) overlay.Limit {
	switch {
	case q == nil:
		return overlay.Limit{}
	case which == meterIn:
		return q.In
	}
	return q.Out
}

// qos limits what a port sends, and marks its IP packets (RFC 2474).
func (p pipeline) qos(l overlay.LocalPort) []openflow.Flow {
	if !qosOut(l) {
		return nil
	}
	var fs []openflow.Flow
	pass := func(priority uint16, mark bool, match ...openflow.Field) {
		as := p.through(l, meterOut)
		if mark {
			as = append(as, openflow.SetField(openflow.IPDSCP(l.QoS.DSCP)))
		}
		fs = append(fs, flow(tableQoS, priority, macCookie(l.VNI, l.MAC), openflow.NewMatch(append(match, openflow.InPort(l.OFPort))...),
			openflow.NewInstructions(openflow.Apply(as...), openflow.GotoTable(p.next(tableQoS, l)))))
	}
	if l.QoS != nil && l.QoS.Mark {
		pass(100, true, openflow.EthType(etherIPv4))
		pass(100, true, openflow.EthType(etherIPv6))
	}
	pass(90, false)
	return fs
}

// handTo is what hands a port what is for it alone: straight, through its network's
// ACLs, through its policy, or by its meter. What is flooded past a policy goes straight: a meter that drops ends
// the whole list of actions, so that others would miss what one port has no room
// for, and Open vSwitch takes no meter in a clone action. What a policy judges goes
// on by itself after conntrack.
func handTo(l overlay.LocalPort) openflow.Instructions {
	next := uint8(tableDeliver)
	switch {
	case l.ACLs != nil:
		next = tableSubnetIn
	case l.Policy != nil:
		next = tableTrackIn
	case !qosIn(l):
		return openflow.NewInstructions(openflow.Apply(openflow.Output(l.OFPort)))
	}
	return openflow.NewInstructions(openflow.Apply(openflow.SetField(openflow.Reg(regPort, l.OFPort))), openflow.GotoTable(next))
}

// limited hands to a port what its meters let through.
func (p pipeline) limited(l overlay.LocalPort) []openflow.Flow {
	if !qosIn(l) {
		return nil
	}
	return []openflow.Flow{flow(tableDeliver, 100, macCookie(l.VNI, l.MAC),
		openflow.NewMatch(openflow.Reg(regPort, l.OFPort)),
		openflow.NewInstructions(openflow.Apply(append(p.through(l, meterIn), openflow.Output(l.OFPort))...)))}
}

// Requests of one port that reach the controller: more than any station needs,
// which asks twice a second at most (RFC 2131 section 4.1, RFC 8415 section 15).
const (
	serviceRate  = 5  // packets/s
	serviceBurst = 15 // packets
)

// limiting are the meters of limits, under the number of a port.
func limiting(number uint32, q *overlay.QoS) (ms []openflow.Meter) {
	for which := range uint32(meterIn + 1) {
		if r := limitOf(q, which); r.Rate > 0 {
			ms = append(ms, openflow.Meter{ID: meterID(number, which), Rate: r.Rate, Burst: r.Burst})
		}
	}
	return ms
}

// meters are those of a local port alone.
func (p pipeline) meters(l overlay.LocalPort) []openflow.Meter {
	if l.Standby || l.QoS == nil && l.Services == nil && l.Routing == nil {
		return nil
	}
	var ms []openflow.Meter
	ms = append(ms, limiting(l.OFPort, l.QoS)...)
	if l.Services != nil {
		ms = append(ms, openflow.Meter{ID: meterID(l.OFPort, meterService), Packets: true, Rate: serviceRate, Burst: serviceBurst})
	}
	if l.Routing != nil {
		ms = append(ms, openflow.Meter{ID: meterID(l.OFPort, meterICMP), Packets: true, Rate: icmpRate, Burst: icmpBurst})
	}
	return ms
}
