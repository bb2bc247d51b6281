package vswitch

import (
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Tables of the pipeline; see the package comment.
const (
	tableClassify  = 0
	tableAdmission = 10
	tableQoS       = 11
	tableService   = 12

	tableTrackOut   = 14
	tablePeersOut   = 15
	tableRulesOut   = 16
	tableVerdictOut = 17

	tableSubnetOut = 18
	tableACLOut    = 19

	tableARP     = 20
	tableND      = 21
	tableNDReply = 22
	tableLeak    = 23
	tableRouter  = 24
	tableRoute   = 25
	tableNextHop = 26
	tableHost    = 27
	tableICMP    = 28
	tableOutside = 29
	tableLocal   = 30
	tableInside  = 31
	tableRemote  = 40
	tableFlood   = 50

	tableSubnetIn = 58
	tableACLIn    = 59

	tableTrackIn   = 60
	tablePeersIn   = 61
	tableRulesIn   = 62
	tableVerdictIn = 63
	tableDeliver   = 65
)

// Cookies; see the package comment.
const (
	cookieMark     uint64 = 0x7ef7 << 48
	cookieMarkMask uint64 = 0xffff << 48
	cookieVNI      uint64 = 1<<24 - 1
	cookieVNIMask  uint64 = cookieMarkMask | cookieVNI
)

func cookie(v intent.VNI) uint64 { return cookieMark | uint64(v) }

func macCookie(v intent.VNI, m intent.MAC) uint64 {
	return cookie(v) | uint64(m[3])<<40 | uint64(m[4])<<32 | uint64(m[5])<<24
}

// fromTunnel is register 0's value for what came out of a tunnel.
const fromTunnel = 1

// flowIDReg is the register in which the flow id of NVGRE is made.
const flowIDReg = 2

// pipeline makes the flows of one edge.
type pipeline struct {
	vtep    netip.Addr                      // of this edge
	tunnels map[intent.Encapsulation]uint32 // port numbers of the tunnel ports
	encaps  map[intent.VNI]intent.Encapsulation
	colours *overlay.Colouring
	own     []netip.Addr // colours of this edge
	taking  uint32       // number of the port that takes in what is sent to those; 0 while there is none
	guard   *guard       // of the policies of its ports
	nat     *nat         // of its ports
	acls    *acls        // of their networks
	tenants *tenants
}

// Marks, in lists of ports, of those to which packets go through their policy, or
// through their network's ACLs and then their policy, if they have one.
const (
	onlyFiltered = 1 << 31
	onlyJudged   = 1 << 30
)

// delivery is the port as it is in lists of ports.
func delivery(l overlay.LocalPort) uint32 {
	switch {
	case l.ACLs != nil:
		return l.OFPort | onlyJudged
	case l.Policy != nil:
		return l.OFPort | onlyFiltered
	}
	return l.OFPort
}

// hand gives a packet to a port of a list, among others.
func hand(port uint32) []openflow.Action {
	through := func(table uint8) []openflow.Action {
		return []openflow.Action{openflow.SetField(openflow.Reg(regPort, port&^(onlyFiltered|onlyJudged))), openflow.Resubmit(table)}
	}
	switch {
	case port&onlyJudged != 0:
		return through(tableSubnetIn)
	case port&onlyFiltered != 0:
		return through(tableTrackIn)
	}
	return []openflow.Action{openflow.Output(port)}
}

// tunnel is the number of the tunnel port that a VNI uses.
func (p pipeline) tunnel(v intent.VNI) uint32 { return p.tunnels[p.encaps[v].Full()] }

// key matches the tunnel key of a VNI: of NVGRE the upper 24 bits are the VSID,
// the lower eight the sender's flow id (RFC 7637 section 3.2).
func (p pipeline) key(v intent.VNI) openflow.Field {
	if p.encaps[v].Type == intent.NVGRE {
		return openflow.TunnelID(uint64(v) << 8).Masked([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0})
	}
	return openflow.TunnelID(uint64(v))
}

// setKey sets the tunnel key of a VNI. NVGRE's flow id is a hash of the inner
// flow, so that the underlay spreads flows by it (RFC 7637 section 3.2).
func (p pipeline) setKey(v intent.VNI) []openflow.Action {
	if p.encaps[v].Type == intent.NVGRE {
		return []openflow.Action{openflow.HashFlow(flowIDReg, 8), openflow.SetField(openflow.TunnelID(uint64(v) << 8)),
			openflow.MoveBits(openflow.FieldReg(flowIDReg), openflow.FieldTunnelID, 8)}
	}
	return []openflow.Action{openflow.SetField(openflow.TunnelID(uint64(v)))}
}

// next is the table in which the IP frames of a local port go on after another:
// tables that the port does not use are passed by.
func (p pipeline) next(after uint8, l overlay.LocalPort) uint8 {
	switch {
	case after < tableQoS && qosOut(l):
		return tableQoS
	case after < tableService && l.Services != nil:
		return tableService
	case after < tableTrackOut && l.Policy != nil:
		return tableTrackOut
	case after < tableSubnetOut && l.ACLs != nil:
		return tableSubnetOut
	case after < tableRouter && l.Routing != nil:
		return tableRouter
	}
	return tableLocal
}

// flow is a flow with one table, priority, cookie and match, and apply-actions
// followed by an optional goto.
func flow(table uint8, priority uint16, cookie uint64, m openflow.Match, ins openflow.Instructions) openflow.Flow {
	return openflow.Flow{Table: table, Priority: priority, Cookie: cookie, Match: m, Instructions: ins}
}

// base are the flows that every bridge has.
func (p pipeline) base() []openflow.Flow {
	return slices.Concat(p.admissionBase(), p.arpBase(), p.ndBase(), p.localBase())
}

// network are the flows of a VNI that has local ports, but for the flood flows.
func (p pipeline) network(v intent.VNI) []openflow.Flow {
	return []openflow.Flow{p.classifyTunnel(v)}
}

// port are the flows of a local port.
func (p pipeline) port(l overlay.LocalPort) []openflow.Flow {
	if l.Standby {
		return append(p.awaitPort(l), p.classifyPort(l))
	}
	fs := slices.Concat([]openflow.Flow{p.classifyPort(l), p.deliver(l)}, p.admit(l), p.arpOwn(l), p.ndOwn(l), p.qos(l), p.services(l), p.guardPort(l), p.judged(l), p.limited(l), p.floating(l))
	if l.Routing != nil {
		fs = append(fs, p.report(l))
	}
	return fs
}

// row are the flows of a MAC/IP route; none for an IMET route, which is part
// of the flood flows.
func (p pipeline) row(v intent.VNI, r evpn.Row) []openflow.Flow {
	switch {
	case r.Type != evpn.MACIP:
		return nil
	case !r.IP.IsValid():
		return p.remote(v, r)
	case r.IP.Is4():
		return []openflow.Flow{p.answerARP(v, r)}
	default:
		return []openflow.Flow{p.answerND(v, r)}
	}
}

// usesTable reports whether the pipeline has flows in a table.
func usesTable(t uint8) bool {
	switch t {
	case tableClassify, tableAdmission, tableQoS, tableService, tableARP, tableND, tableNDReply, tableLeak, tableRouter, tableRoute, tableNextHop, tableHost, tableICMP, tableOutside, tableInside,
		tableLocal, tableRemote, tableFlood, tableDeliver,
		tableSubnetOut, tableACLOut, tableSubnetIn, tableACLIn,
		tableTrackOut, tablePeersOut, tableRulesOut, tableVerdictOut, tableTrackIn, tablePeersIn, tableRulesIn, tableVerdictIn:
		return true
	}
	return false
}
