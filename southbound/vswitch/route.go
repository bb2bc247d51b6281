package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Whose a route is: of routes to one prefix the last one here goes first.
const (
	byOutside = iota // the way outside
	byLeak           // another router's
	byBGP            // learned
	byIntent         // a subnet or a static route
)

// routePriority is that of a route in a table where the longest prefix has the
// highest.
func routePriority(p netip.Prefix, whose uint16) uint16 { return 100 + 4*uint16(p.Bits()) + whose }

// toPrefix matches what a router sends to a prefix.
func toPrefix(v intent.VNI, p netip.Prefix, more ...openflow.Field) openflow.Match {
	fs := append(more, openflow.Reg(vrfReg, uint32(v)), ofFamily(p.Addr()))
	id := openflow.FieldIPv6Dst
	if p.Addr().Is4() {
		id = openflow.FieldIPv4Dst
	}
	if in, ok := openflow.InPrefix(id, p); ok {
		fs = append(fs, in)
	}
	return openflow.NewMatch(fs...)
}

// routes are the flows of the route table, and of the next hop table where a
// route has several: of the router's subnets and static routes.
func (p pipeline) routes(v *overlay.VRF) []openflow.Flow {
	c := cookie(v.VNI)
	var fs []openflow.Flow
	for _, s := range v.Subnets {
		fs = append(fs, flow(tableRoute, routePriority(s.Prefix, byIntent), c, toPrefix(v.VNI, s.Prefix),
			openflow.NewInstructions(openflow.Apply(hopIsDestination(s.Prefix.Addr())...), openflow.GotoTable(tableHost))))
	}
	for _, r := range v.Routes {
		fs = append(fs, p.static(v.VNI, r)...)
	}
	vrf := openflow.Reg(vrfReg, uint32(v.VNI))
	return append(fs,
		flow(tableRoute, 10, c, openflow.NewMatch(vrf, openflow.Reg(0, 0)), refuse(netUnreachable)),
		flow(tableRoute, 5, c, openflow.NewMatch(vrf), openflow.Instructions{}))
}

// hopIsDestination has the packet sent straight to its destination.
func hopIsDestination(family netip.Addr) []openflow.Action {
	if family.Is4() {
		return []openflow.Action{openflow.SetField(openflow.Reg(4*nextHopReg+2, 0xffff)), openflow.Move(openflow.FieldIPv4Dst, openflow.FieldReg(4*nextHopReg+3))}
	}
	return []openflow.Action{openflow.Move(openflow.FieldIPv6Dst, openflow.FieldWideReg(nextHopReg))}
}

// static are the flows of a static route. Flows are spread over its next hops by
// a hash of addresses and ports, the same for both directions: a number below
// the sum of all weights, of which each next hop has a range.
func (p pipeline) static(v intent.VNI, r overlay.Route) []openflow.Flow {
	c, priority := cookie(v), routePriority(r.Prefix, byIntent)
	one := func(ins openflow.Instructions) []openflow.Flow {
		return []openflow.Flow{flow(tableRoute, priority, c, toPrefix(v, r.Prefix), ins)}
	}
	switch {
	case r.Blackhole:
		return one(openflow.Instructions{})
	case len(r.Hops) == 0:
		return one(refuse(netUnreachable))
	}
	sum := uint16(0) // 64 next hops of weight 256 at most
	for _, h := range r.Hops {
		sum += h.Weight
	}
	choose, next := []openflow.Action{openflow.SetField(openflow.XXReg(nextHopReg, r.Hops[0].Address))}, uint8(tableHost)
	if len(r.Hops) > 1 {
		choose, next = []openflow.Action{openflow.Spread(reasonReg, sum)}, tableNextHop
	}
	// What another VTEP routed to this one may have to go to a next hop
	// elsewhere: it is bridged there, so that it comes to an end.
	again := append([]openflow.Action{openflow.SetField(openflow.Reg(0, 0)), openflow.ForgetInPort()}, choose...)
	fs := []openflow.Flow{
		flow(tableRoute, priority, c, toPrefix(v, r.Prefix, openflow.Reg(0, 0)), openflow.NewInstructions(openflow.Apply(choose...), openflow.GotoTable(next))),
		flow(tableRoute, priority, c, toPrefix(v, r.Prefix, openflow.Reg(0, fromTunnel)), openflow.NewInstructions(openflow.Apply(again...), openflow.GotoTable(next))),
	}
	if len(r.Hops) == 1 {
		return fs
	}
	first := uint16(0)
	for _, h := range r.Hops {
		for _, b := range blocks(first, first+h.Weight) {
			fs = append(fs, flow(tableNextHop, priority, c, toPrefix(v, r.Prefix, b),
				openflow.NewInstructions(openflow.Apply(openflow.SetField(openflow.XXReg(nextHopReg, h.Address))), openflow.GotoTable(tableHost))))
		}
		first += h.Weight
	}
	return fs
}

// blocks matches the numbers from first up to end, which is not among them, in
// aligned blocks of powers of two.
func blocks(first, end uint16) []openflow.Field {
	var fs []openflow.Field
	for first < end {
		size := uint16(1)
		for first&(size<<1-1) == 0 && size<<1 <= end-first && size < 1<<14 {
			size <<= 1
		}
		m := ^uint32(0) - uint32(size) + 1
		f := openflow.Reg(reasonReg, uint32(first))
		if size > 1 {
			f = f.Masked([]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)})
		}
		fs = append(fs, f)
		first += size
	}
	return fs
}
