package vswitch

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// destination is a prefix in a VRF that VTEPs announce.
type destination struct {
	vrf    intent.VNI
	prefix netip.Prefix
}

// via is a VTEP that routes to a destination, by its router MAC.
type via struct {
	vtep netip.Addr
	mac  intent.MAC
}

func compareVias(a, b via) int {
	return cmp.Or(a.vtep.Compare(b.vtep), bytes.Compare(a.mac[:], b.mac[:]))
}

func compareDestinations(a, b destination) int {
	return cmp.Or(cmp.Compare(a.vrf, b.vrf), a.prefix.Compare(b.prefix))
}

// prefixes are the destinations that VTEPs announce, and by which each is reached.
type prefixes struct {
	at map[destination][]via // sorted; never changed in place
	// kept are those among them that no row says: the device had them, and the
	// VTEP has not reported.
	kept map[destination][]via
	// late says that VTEPs have had their time to report: those that have not are
	// kept only where nobody else leads to the destination.
	late bool
}

// viaTime is how long VTEPs that have not reported are kept beside others that
// lead to the same prefix. They may be gone, and flows that others could take with
// them; that long BGP needs at most to say so of those that are there.
const viaTime = 30 * time.Second

// isVia reports whether a row says that a VTEP elsewhere routes to a prefix; those
// of the intent's own routes say it to VTEPs that know no static routes.
func (p pipeline) isVia(r evpn.Row) bool {
	return r.Type == evpn.PREFIX && r.Origin != evpn.OriginPort && !r.RouterMAC.IsZero() && r.VTEP != p.vtep
}

// take takes a row, and notes by which VTEPs the prefix was reached before.
func (x *prefixes) take(p pipeline, v intent.VNI, r evpn.Row, before map[destination][]via) {
	if !p.isVia(r) {
		return
	}
	d := destination{v, netip.PrefixFrom(r.IP, int(r.Bits))}
	was := x.at[d]
	if _, ok := before[d]; !ok {
		before[d] = was
	}
	// Of a VTEP that says something nothing is kept.
	now := slices.DeleteFunc(slices.Clone(was), func(o via) bool {
		return o.mac == r.Key.MAC || o.vtep == r.VTEP && slices.Contains(x.kept[d], o)
	})
	if !r.Deleted {
		now = append(now, via{r.VTEP, r.RouterMAC})
	}
	kept := slices.DeleteFunc(slices.Clone(x.kept[d]), func(o via) bool { return o.mac == r.Key.MAC || o.vtep == r.VTEP })
	if x.late && len(now) > len(kept) {
		now, kept = lessVias(now, kept), nil
	}
	x.set(d, now, kept)
}

func lessVias(vs, but []via) []via {
	return slices.DeleteFunc(slices.Clone(vs), func(v via) bool { return slices.Contains(but, v) })
}

// set says by which VTEPs a destination is reached, and which of them are kept.
func (x *prefixes) set(d destination, now, kept []via) {
	slices.SortFunc(now, compareVias)
	put(&x.at, d, slices.Compact(now))
	put(&x.kept, d, kept)
}

func put(m *map[destination][]via, d destination, vs []via) {
	switch {
	case len(vs) == 0:
		delete(*m, d)
	case *m == nil:
		*m = map[destination][]via{d: vs}
	default:
		(*m)[d] = vs
	}
}

// forget takes out a VRF.
func (x *prefixes) forget(v intent.VNI) {
	of := func(d destination, _ []via) bool { return d.vrf == v }
	maps.DeleteFunc(x.at, of)
	maps.DeleteFunc(x.kept, of)
}

// sortedDestinations are the keys of a map in their order.
func sortedDestinations(m map[destination][]via) []destination {
	return slices.SortedFunc(maps.Keys(m), compareDestinations)
}

// toPrefixVia sends what goes to a destination to the VTEPs that announce it (RFC
// 9136 section 4.4.1), each flow to one of them, by the same hash as the next hops
// of static routes.
func (p pipeline) toPrefixVia(d destination, vias []via) []openflow.Flow {
	c, priority := cookie(d.vrf), routePriority(d.prefix, byBGP)
	to := func(v via) openflow.Instructions {
		return openflow.NewInstructions(openflow.Apply(p.routeTo(d.vrf, evpn.Row{Path: evpn.Path{VTEP: v.vtep, RouterMAC: v.mac}})...))
	}
	route := func(ins openflow.Instructions) openflow.Flow {
		return flow(tableRoute, priority, c, toPrefix(d.vrf, d.prefix, openflow.Reg(0, 0)), ins)
	}
	switch len(vias) {
	case 0:
		return nil
	case 1:
		return []openflow.Flow{route(to(vias[0]))}
	}
	fs := []openflow.Flow{route(openflow.NewInstructions(openflow.Apply(openflow.Spread(reasonReg, uint16(len(vias)))), openflow.GotoTable(tableNextHop)))}
	for i, v := range vias {
		fs = append(fs, flow(tableNextHop, priority, c, toPrefix(d.vrf, d.prefix, openflow.Reg(reasonReg, uint32(i))), to(v)))
	}
	return fs
}

// bringPrefixes changes the flows of destinations that were reached otherwise
// before.
func (s *connection) bringPrefixes(c *changes, x *prefixes, before map[destination][]via) {
	was := s.pipe
	was.colours = s.done.colours
	for _, d := range sortedDestinations(before) {
		c.replace(was.toPrefixVia(d, before[d]), s.pipe.toPrefixVia(d, x.at[d]))
	}
}

// keepVias adds what the device has of VTEPs that have not reported: to which
// destinations they lead. What others lead to as well is so spread as before.
func (x *comparison) keepVias(p pipeline, has *openflow.Described, away overlay.Away) {
	if away.Len() == 0 {
		return
	}
	for f := range has.All() {
		if t := f.Table(); t != tableRoute && t != tableNextHop {
			continue
		}
		d, v, ok := p.readVia(f)
		at := x.prefixes.at[d]
		if !ok || !away.HasEdge(v.vtep) || v.vtep == p.vtep || x.vrfs[d.vrf] == nil ||
			slices.ContainsFunc(at, func(o via) bool { return o.vtep == v.vtep }) || x.prefixes.late && len(at) > len(x.prefixes.kept[d]) {
			continue
		}
		x.prefixes.set(d, append(slices.Clone(at), v), append(x.prefixes.kept[d], v))
	}
}

// readVia reads what toPrefixVia made.
func (p pipeline) readVia(described openflow.DescribedFlow) (d destination, v via, ok bool) {
	to := described.Instructions().TunnelDsts()
	if len(to) != 1 {
		return d, v, false
	}
	f := decoded(described)
	d.vrf, v.vtep = intent.VNI(f.Cookie&cookieVNI), p.colours.VTEP(to[0])
	for _, set := range f.Instructions.Sets() {
		if set.ID == openflow.FieldEthDst {
			v.mac = set.MAC()
		}
	}
	d.prefix = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	if t, _ := f.Match.Get(openflow.FieldEthType); t.Number() == etherIPv4 {
		d.prefix = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	for _, id := range []openflow.FieldID{openflow.FieldIPv4Dst, openflow.FieldIPv6Dst} {
		if a, has := f.Match.Get(id); has {
			d.prefix = a.InPrefix()
		}
	}
	return d, v, d.prefix.IsValid() && f.Priority == routePriority(d.prefix, byBGP)
}

// dropKeptVias takes back what was kept and nobody reported. Of VTEPs that are away
// still, that is only where others lead to the same destination.
func (s *connection) dropKeptVias(c *changes, away overlay.Away) {
	x, before := &s.done.prefixes, map[destination][]via{}
	for d, kept := range x.kept {
		var stay []via
		if len(x.at[d]) == len(kept) {
			stay = slices.DeleteFunc(slices.Clone(kept), func(v via) bool { return !away.HasEdge(v.vtep) })
		}
		if len(stay) == len(kept) {
			continue
		}
		before[d] = x.at[d]
		x.set(d, append(lessVias(x.at[d], kept), stay...), stay)
	}
	s.bringPrefixes(c, x, before)
}

// viasLate ends the time of VTEPs that have not reported.
func (s *connection) viasLate(ctx context.Context) error {
	s.late, s.done.prefixes.late = true, true
	return s.dropLateVias(ctx, s.feed.Unreported(false))
}

// dropLateVias drops, when the time of VTEPs is over, what was kept of those that have
// reported, and of all others where it need not be kept.
func (s *connection) dropLateVias(ctx context.Context, away overlay.Away) error {
	var c changes
	s.dropKeptVias(&c, away)
	return s.send(ctx, &c)
}

// movePrefixes notes the flows of destinations that are reached otherwise than
// what the device confirmed.
func (s *connection) movePrefixes(x *comparison) {
	move := func(at, other map[destination][]via) {
		for d, vias := range at {
			if !slices.Equal(vias, other[d]) {
				x.move(s.pipe.toPrefixVia(d, vias)...)
			}
		}
	}
	move(x.prefixes.at, s.done.prefixes.at)
	move(s.done.prefixes.at, x.prefixes.at)
}
