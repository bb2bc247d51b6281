package vswitch

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Priorities of translation: in the table of leaks a floating IP goes before what is
// advertised, source NAT after it, and what nothing lets out is refused there.
const (
	floatingPriority = 200
	sourcePriority   = 50
	natPriority      = 100
	anyPriority      = 50
)

// natZones are the conntrack zones of translation: two for each L3VNI, from this
// one on. Those of ports are their numbers, which Open vSwitch gives in turn from one
// on; where a port has come so far, its number goes before.
const (
	natZones = 1 << 15
	natPairs = 1 << 14

	zoneFloating = 0 // one to one
	zoneSource   = 1
)

// nat are the routers of an edge that translate. It follows from the ports alone:
// a controller that starts finds its flows right. It is immutable.
type nat struct {
	routers map[intent.VNI]*overlay.NAT // by L3VNI; what is the port's own aside
	zones   map[intent.VNI]uint16       // of routers and of external networks: the first of two
}

// natOf makes it of an edge's ports.
func natOf(local map[intent.Ref]overlay.LocalPort) *nat {
	n := &nat{routers: map[intent.VNI]*overlay.NAT{}, zones: map[intent.VNI]uint16{}}
	ports, vnis := map[uint32]bool{}, map[intent.VNI]bool{}
	for _, l := range local {
		ports[l.OFPort] = true
		if l.NAT != nil && l.Routing != nil && !l.Standby {
			x := l.Routing.VRF.VNI
			n.routers[x] = l.NAT
			vnis[x], vnis[l.NAT.External] = true, true
		}
	}
	n.place(vnis, ports)
	return n
}

// place gives each L3VNI two zones: those of its number modulo 16384, or the next
// that neither a lower one nor a port has. L3VNIs are given in turn, so that few of
// one edge meet.
func (n *nat) place(vnis map[intent.VNI]bool, ports map[uint32]bool) {
	taken := map[uint32]bool{}
	for _, v := range slices.Sorted(maps.Keys(vnis)) {
		for i := range uint32(natPairs) {
			at := natZones + 2*((uint32(v)+i)%natPairs)
			if !taken[at] && !ports[at+zoneFloating] && !ports[at+zoneSource] {
				taken[at], n.zones[v] = true, uint16(at)
				break
			}
		}
	}
}

// zone is one of the zones of an L3VNI.
func (n *nat) zone(v intent.VNI, which uint16) openflow.Zone {
	return openflow.ZoneNumber(n.zones[v] + which)
}

// zoneOf is the zone by which flows of a port depend on other ports.
func (n *nat) zoneOf(l overlay.LocalPort) uint16 {
	if n == nil || l.NAT == nil || l.Routing == nil {
		return 0
	}
	return n.zones[l.Routing.VRF.VNI]
}

// fromAddress matches what is sent from an address.
func fromAddress(a netip.Addr) []openflow.Field {
	if a.Is4() {
		return []openflow.Field{ofFamily(a), openflow.IPv4Src(a)}
	}
	return []openflow.Field{ofFamily(a), openflow.IPv6Src(a)}
}

// Setting addresses.
func setSource(a netip.Addr) openflow.Action { return openflow.SetField(fromAddress(a)[1]) }
func setDest(a netip.Addr) openflow.Action   { return openflow.SetField(toAddress(a)[1]) }

// States of what was translated, and of what conntrack finds invalid.
var (
	sourceTranslated = openflow.MatchCTState(openflow.CTTracked|openflow.CTSourceNAT, 0)
	destTranslated   = openflow.MatchCTState(openflow.CTTracked|openflow.CTDestNAT, 0)
	invalid          = openflow.MatchCTState(openflow.CTTracked|openflow.CTInvalid, 0)
)

// is makes a match of a few fields of the registers and some of an address.
func is(address []openflow.Field, more ...openflow.Field) openflow.Match {
	return openflow.NewMatch(append(address[:len(address):len(address)], more...)...)
}

func apply(as ...openflow.Action) openflow.Instructions {
	return openflow.NewInstructions(openflow.Apply(as...))
}

// betweenVRFs matches what goes from one VRF to another.
func betweenVRFs(from, to intent.VNI) []openflow.Field {
	fs := []openflow.Field{openflow.Reg(leakReg, uint32(from)), openflow.Reg(vrfReg, uint32(to))}
	return fs[:2:2]
}

// cross has a packet go from one VRF to another.
func cross(from, to intent.VNI) []openflow.Action {
	return []openflow.Action{openflow.SetField(openflow.Reg(vrfReg, uint32(to))), openflow.SetField(openflow.Reg(leakReg, uint32(from)))}
}

// lookUp routes what is translated, in the VRF that it is in.
var lookUp = []openflow.Action{openflow.ClearTrack(), openflow.Resubmit(tableRoute)}

// toOutside are the priority and the match of what comes to an address that is
// translated here.
func toOutside(external intent.VNI, a netip.Addr) (uint16, openflow.Match) {
	all := netip.PrefixFrom(a, a.BitLen())
	return routePriority(all, byIntent) + 1, toPrefix(external, all)
}

// floating are the flows of a port's floating IPs. The translation is one to one:
// conntrack does it, since only that translates what ICMP errors quote (RFC 5508
// section 4), but a connection that it does not know is taken up in mid-stream, in
// either direction, and TCP that it finds invalid is translated as it is. So sessions
// live on where a port comes to.
func (p pipeline) floating(l overlay.LocalPort) []openflow.Flow {
	if l.NAT == nil || l.Routing == nil || l.Standby {
		return nil
	}
	c, x, y := macCookie(l.VNI, l.MAC), l.Routing.VRF.VNI, l.NAT.External
	out, in, zone := betweenVRFs(x, y), betweenVRFs(y, x), p.nat.zone(x, zoneFloating)
	var fs []openflow.Flow
	on := func(table uint8, priority uint16, m openflow.Match, as ...openflow.Action) {
		fs = append(fs, flow(table, priority, c, m, apply(as...)))
	}
	hand := []openflow.Action{openflow.ClearTrack(), openflow.ForgetInPort(),
		openflow.SetField(openflow.EthSrc(intent.GatewayMAC)), openflow.SetField(openflow.EthDst(l.MAC)),
		openflow.SetField(openflow.Metadata(uint64(l.VNI))), openflow.Resubmit(tableLocal)}
	known := map[netip.Addr]bool{}
	for _, f := range l.NAT.Floating {
		tcp := openflow.IPProto(protoTCP)
		priority, to := toOutside(y, f.Address)
		on(tableRoute, priority, to, append(cross(y, x), openflow.ClearTrack(), openflow.Translate(zone, openflow.DestNAT(f.Fixed), tableInside))...)
		on(tableInside, natPriority, is(toAddress(f.Address), append(in, invalid, tcp)...), append([]openflow.Action{setDest(f.Fixed)}, hand...)...)
		on(tableOutside, natPriority, is(fromAddress(f.Address), append(out, sourceTranslated)...), lookUp...)
		if known[f.Fixed] {
			continue // what it begins itself has the first one's address
		}
		known[f.Fixed] = true
		on(tableInside, natPriority, is(toAddress(f.Fixed), append(in, destTranslated)...), hand...)
		on(tableLeak, floatingPriority, is(fromAddress(f.Fixed), out...), openflow.ClearTrack(), openflow.Translate(zone, openflow.SourceNAT(f.Address), tableOutside))
		on(tableOutside, natPriority, is(fromAddress(f.Fixed), append(out, invalid, tcp)...), append([]openflow.Action{setSource(f.Address)}, lookUp...)...)
	}
	return fs
}

// flows are those of source NAT.
func (n *nat) flows() []openflow.Flow {
	if n == nil {
		return nil
	}
	var fs []openflow.Flow
	own := map[intent.VNI]*overlay.NAT{} // external networks
	for _, x := range slices.Sorted(maps.Keys(n.routers)) {
		fs = append(fs, n.source(x, n.routers[x])...)
		own[n.routers[x].External] = n.routers[x]
	}
	for _, y := range slices.Sorted(maps.Keys(own)) {
		for _, s := range own[y].Sources {
			external := openflow.Reg(vrfReg, uint32(y))
			priority, to := toOutside(y, s)
			fs = append(fs,
				flow(tableOutside, natPriority, cookieMark, is(fromAddress(s), external, sourceTranslated), apply(lookUp...)),
				flow(tableRoute, priority, cookieMark, to, apply(openflow.ClearTrack(), openflow.Untranslate(n.zone(y, zoneSource), tableInside))))
		}
	}
	return fs
}

// source are the flows of a router's source NAT. It translates twice: in a zone of
// the router to an address that stands for the router, since routers may have equal
// addresses, then in the zone of the external network to the edge's address. Answers
// come back the same way.
func (n *nat) source(x intent.VNI, o *overlay.NAT) []openflow.Flow {
	y := o.External
	out, in := betweenVRFs(x, y), betweenVRFs(y, x)
	var fs []openflow.Flow
	on := func(table uint8, priority uint16, m openflow.Match, as ...openflow.Action) {
		fs = append(fs, flow(table, priority, cookieMark, m, apply(as...)))
	}
	for _, s := range o.Sources {
		transit := overlay.TransitAddress(x, s.Is4())
		on(tableLeak, sourcePriority, openflow.NewMatch(append(out, ofFamily(s))...),
			openflow.ClearTrack(), openflow.Translate(n.zone(x, zoneSource), openflow.SourceNAT(transit), tableOutside))
		on(tableOutside, natPriority, is(fromAddress(transit), append(out, sourceTranslated)...),
			openflow.ClearTrack(), openflow.Translate(n.zone(y, zoneSource), openflow.SourceNAT(s), tableOutside))
		on(tableInside, natPriority, is(toAddress(transit), openflow.Reg(vrfReg, uint32(y)), destTranslated),
			append(cross(y, x), openflow.ClearTrack(), openflow.Untranslate(n.zone(x, zoneSource), tableInside))...)
	}
	if len(o.Sources) > 0 {
		on(tableInside, anyPriority, openflow.NewMatch(append(in, destTranslated)...), lookUp...)
	}
	return fs
}

// all are all flows of translation on an edge with these ports.
func (n *nat) all(local map[intent.Ref]overlay.LocalPort) []openflow.Flow {
	if n == nil || len(n.routers) == 0 {
		return nil
	}
	p, fs := pipeline{nat: n}, n.flows()
	for _, l := range local {
		fs = append(fs, p.floating(l)...)
	}
	return fs
}

// translations are, by zone, what is translated there and to what.
type translations map[uint16]map[string]bool

// translationsOf reads them from flows. What all routers of an external network
// share is not told apart by router.
func translationsOf(fs []openflow.Flow) translations {
	out := translations{}
	for _, f := range fs {
		for _, zone := range f.Instructions.Zones() {
			what := hex.EncodeToString(f.Instructions.Bytes())
			if f.Table != tableOutside {
				what += hex.EncodeToString(f.Match.AppendTo(nil))
			}
			if out[zone] == nil {
				out[zone] = map[string]bool{}
			}
			out[zone][what] = true
		}
	}
	return out
}

// spoiled lists the zones in which something is translated otherwise now than
// before: what conntrack remembers there is of somebody else, or of the same when it
// was here last.
func spoiled(before, now translations) []uint16 {
	var zones []uint16
	for z, t := range now {
		if !maps.Equal(before[z], t) {
			zones = append(zones, z)
		}
	}
	slices.SortFunc(zones, cmp.Compare[uint16])
	return zones
}

// translated are the flows of ours on a device that translate.
func translated(has *openflow.Described) (fs []openflow.Flow) {
	for f := range has.All() {
		switch f.Table() {
		case tableRoute, tableLeak, tableOutside:
			if d := decoded(f); len(d.Instructions.Zones()) > 0 {
				fs = append(fs, d)
			}
		}
	}
	return fs
}

// isTranslated reports whether an ICMP error for a port, made in some VRF, is to an
// address to which what the port sends is translated.
func isTranslated(l overlay.LocalPort, vrf intent.VNI, frame []byte) bool {
	if l.NAT == nil || vrf != l.NAT.External {
		return false
	}
	var to netip.Addr
	if binary.BigEndian.Uint16(frame[12:]) == etherIPv4 {
		to = netip.AddrFrom4([4]byte(frame[ethernetLen+16:]))
	} else {
		to = netip.AddrFrom16([16]byte(frame[ethernetLen+24:]))
	}
	return slices.Contains(l.NAT.Sources, to) || slices.ContainsFunc(l.NAT.Floating, func(f overlay.Floating) bool { return f.Address == to })
}

// bringNAT changes the flows of source NAT; those of floating IPs are the ports'.
func (s *connection) bringNAT(c *changes, next *programmed) {
	next.nat = s.pipe.nat
	c.replace(s.done.nat.flows(), next.nat.flows())
}

// moveNAT notes the flows of source NAT that changed since what the device
// confirmed.
func (s *connection) moveNAT(x *comparison) {
	var c changes
	c.replace(s.done.nat.flows(), x.nat.flows())
	for _, m := range c.mods() {
		x.move(m.Flow)
	}
}
