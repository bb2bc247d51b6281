package linux

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/southbound/frr"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// learned are the routes of routing protocols and of links that zebra has. A route
// of a routing protocol counts even where another one is preferred to it. Those of
// the loopback are the switch's own addresses.
func learned(rib []frr.Route, up map[string]bool) []switchstate.Group {
	best := map[netip.Prefix]frr.Route{}
	for _, r := range rib { // the better protocol first
		if have, ok := best[r.Prefix]; ok && (isProtocol(have.Protocol) || !isProtocol(r.Protocol)) {
			continue
		}
		best[r.Prefix] = r
	}
	groups := groups{}
	for p, r := range best {
		if p.Addr().IsLinkLocalUnicast() {
			continue
		}
		var hops []switchstate.NextHop
		for _, h := range r.NextHops {
			if up[h.Interface] || h.Interface == switchstate.Loopback && r.Protocol == "connected" {
				hops = append(hops, nextHopOf(h.Interface, h.Via, h.Weight))
			}
		}
		if len(hops) > 0 {
			groups.add(p, switchstate.Group{Protocol: r.Protocol, Internal: r.Internal(), NextHops: hops})
		}
	}
	return groups.list()
}

func isProtocol(name string) bool { return name == "bgp" || name == "isis" }

// programmed are the kernel's routes.
func programmed(fib map[netip.Prefix]fibRoute) []switchstate.Group {
	groups := groups{}
	for p, r := range fib {
		var hops []switchstate.NextHop
		for _, l := range r.legs {
			hops = append(hops, nextHopOf(l.name, l.via, l.weight))
		}
		if len(hops) > 0 {
			groups.add(p, switchstate.Group{Protocol: protocolName(r.protocol), NextHops: hops})
		}
	}
	return groups.list()
}

// nextHopOf is a next hop as told. Link-local addresses are those of whoever is at the
// other end: FRR's 169.254.0.1 for IPv4 by an IPv6 next hop (RFC 8950) too.
func nextHopOf(port string, via netip.Addr, weight int) switchstate.NextHop {
	h := switchstate.NextHop{Interface: port, Via: via}
	if weight > 1 {
		h.Weight = weight
	}
	return h
}

// groups collects prefixes by what they have in common.
type groups map[string]*switchstate.Group

func (g groups) add(p netip.Prefix, of switchstate.Group) {
	slices.SortFunc(of.NextHops, compareNextHops)
	key := fmt.Sprint(of.Protocol, of.Internal, of.NextHops)
	have := g[key]
	if have == nil {
		have = &of
		g[key] = have
	}
	have.Prefixes = append(have.Prefixes, p)
}

func compareNextHops(a, b switchstate.NextHop) int {
	return cmp.Or(strings.Compare(a.Interface, b.Interface), a.Via.Compare(b.Via), a.Weight-b.Weight)
}

// list has the groups in the order of their first prefixes.
func (g groups) list() []switchstate.Group {
	var out []switchstate.Group
	for _, of := range g {
		slices.SortFunc(of.Prefixes, comparePrefixes)
		out = append(out, *of)
	}
	slices.SortFunc(out, func(a, b switchstate.Group) int { return comparePrefixes(a.Prefixes[0], b.Prefixes[0]) })
	return out
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits())
}

// bound leaves prefixes out that are too many for a report, and counts them.
func bound(list []switchstate.Group, left int) ([]switchstate.Group, int) {
	room := switchstate.RoutesMost
	for i := range list {
		n := min(room, len(list[i].Prefixes))
		left += len(list[i].Prefixes) - n
		list[i].Prefixes = list[i].Prefixes[:n:n]
		room -= n
	}
	return slices.DeleteFunc(list, func(g switchstate.Group) bool { return len(g.Prefixes) == 0 }), left
}
