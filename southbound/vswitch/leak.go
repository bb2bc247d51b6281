package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// leakReg is the VRF that a packet is from which is looked up in another one; zero
// for one that is in its own. The flood table, in which nothing routed comes, uses
// the register for the parts of a list.
const leakReg = partReg

// leaks are the flows by which a router has something of other VRFs: to a prefix
// that is there the packet changes the VRF, once, and is looked up again, so that
// it leaves with the L3VNI of that: the receiver's. Only what this edge's ports send
// changes it, and of what came out of a tunnel what stations on EVPN leaves send.
func (p pipeline) leaks(v *overlay.VRF) []openflow.Flow {
	var fs []openflow.Flow
	for _, l := range v.Leaks {
		fs = append(fs, p.leak(v.VNI, l)...)
		if l.Trusted {
			fs = append(fs, p.foreigners(v.VNI, l)...)
		}
	}
	return fs
}

func (p pipeline) leak(v intent.VNI, l overlay.Leak) []openflow.Flow {
	c, to := cookie(v), l.VRF.VNI
	whose := uint16(byLeak)
	if l.VRF.External {
		whose = byOutside
	}
	var fs []openflow.Flow
	cross := openflow.NewInstructions(openflow.Apply(openflow.SetField(openflow.Reg(vrfReg, uint32(to))), openflow.SetField(openflow.Reg(leakReg, uint32(v))), openflow.Resubmit(tableLeak)))
	for _, prefix := range l.Prefixes {
		fs = append(fs, flow(tableRoute, routePriority(prefix, whose), c, toPrefix(v, prefix, openflow.Reg(0, 0), openflow.Reg(leakReg, 0)), cross))
	}
	crossing := []openflow.Field{openflow.Reg(leakReg, uint32(v)), openflow.Reg(vrfReg, uint32(to))}
	for _, s := range l.Sources {
		fs = append(fs, flow(tableLeak, 100, c, openflow.NewMatch(append(crossing[:2:2], fromPrefix(s)...)...), openflow.NewInstructions(openflow.GotoTable(tableRoute))))
	}
	fs = append(fs, flow(tableLeak, 10, c, openflow.NewMatch(crossing...), refuse(prohibited)))
	if l.Leaf {
		fs = append(fs, p.fromLeaves(v, l)...)
	}
	return fs
}

// fromLeaves are the flows by which stations of another router that are on EVPN
// leaves reach this router's: their leaves know these in the VRF of theirs, and send
// with its L3VNI. It is a leak the other way, for what is ours of the other router's
// imports and from what is ours of its subnets only.
func (p pipeline) fromLeaves(v intent.VNI, l overlay.Leak) []openflow.Flow {
	c, from := cookie(v), l.VRF.VNI
	tunnel := openflow.Reg(0, fromTunnel)
	cross := openflow.NewInstructions(openflow.Apply(openflow.SetField(openflow.Reg(vrfReg, uint32(v))), openflow.SetField(openflow.Reg(leakReg, uint32(from))), openflow.Resubmit(tableLeak)))
	var fs []openflow.Flow
	for _, prefix := range l.Sources {
		fs = append(fs, flow(tableRoute, routePriority(prefix, byLeak), c, toPrefix(from, prefix, tunnel, openflow.Reg(leakReg, 0)), cross))
	}
	crossing := []openflow.Field{tunnel, openflow.Reg(leakReg, uint32(from)), openflow.Reg(vrfReg, uint32(v))}
	for _, s := range l.Prefixes {
		fs = append(fs, flow(tableLeak, 110, c, openflow.NewMatch(append(crossing[:3:3], fromPrefix(s)...)...), openflow.NewInstructions(openflow.GotoTable(tableRoute))))
	}
	return append(fs, flow(tableLeak, 105, c, openflow.NewMatch(crossing...), openflow.Instructions{}))
}

// fromPrefix matches what comes from a prefix.
func fromPrefix(p netip.Prefix) []openflow.Field {
	id := openflow.FieldIPv6Src
	if p.Addr().Is4() {
		id = openflow.FieldIPv4Src
	}
	fs := []openflow.Field{ofFamily(p.Addr())}
	if in, ok := openflow.InPrefix(id, p); ok {
		fs = append(fs, in)
	}
	return fs
}

// foreigners are the flows by which policies know the stations of another router:
// those behind its prefixes are members of groups by the domain of that.
func (p pipeline) foreigners(v intent.VNI, l overlay.Leak) []openflow.Flow {
	var fs []openflow.Flow
	for _, prefix := range l.Prefixes {
		for _, d := range []filter{egress, ingress} {
			match := []openflow.Field{openflow.Reg(regDomain, uint32(v)), bit(regVerdict, 0, foreign), ofFamily(prefix.Addr())}
			if prefix.Bits() > 0 {
				match = append(match, otherSide(d, prefix.Addr()).Prefix(prefix.Bits()))
			}
			fs = append(fs, flow(d.peers, 110+uint16(prefix.Bits()), cookie(v), openflow.NewMatch(match...),
				openflow.NewInstructions(openflow.Apply(openflow.SetField(openflow.Reg(regDomain, uint32(l.VRF.VNI))), openflow.SetField(bit(regVerdict, foreign)), openflow.Resubmit(d.peers)))))
		}
	}
	return fs
}

// outsiders are the flows by which nobody outside is taken for a member of
// a group, whatever source address a packet has that came by way of an external
// network.
func (p pipeline) outsiders(v intent.VNI) []openflow.Flow {
	var fs []openflow.Flow
	for _, came := range []openflow.Field{openflow.Reg(vrfReg, uint32(v)), openflow.Reg(leakReg, uint32(v))} {
		fs = append(fs, flow(tablePeersIn, 275, cookie(v), openflow.NewMatch(came), openflow.NewInstructions(openflow.GotoTable(tableRulesIn))))
	}
	return fs
}
