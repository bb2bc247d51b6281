package vswitch

import (
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// fromScratch are all flows of an edge, made one by one from its local ports and
// the rows of its segments, with nothing that is shared or kept.
func fromScratch(p pipeline, local map[intent.Ref]overlay.LocalPort, rows func(intent.VNI) []evpn.Row) flowSet {
	set := flowSet{}
	p.guard, p.nat, p.tenants = guardOf(local), natOf(local), tenantsOf(local)
	set.add(p.base()...)
	set.add(p.takeIn(p.taking)...)
	for _, l := range local {
		set.add(p.port(l)...)
	}
	for v, ports := range byVNI(local) {
		var vteps []netip.Addr
		var served []evpn.Row
		set.add(p.network(v)...)
		for _, r := range rows(v) {
			switch {
			case r.Deleted:
			case r.Type == evpn.IMET:
				vteps, served = append(vteps, r.IP), append(served, r)
			default:
				set.add(p.row(v, r)...)
			}
		}
		slices.SortFunc(vteps, netip.Addr.Compare)
		set.add(p.flood(v, replication{ports, (*vtepList)(nil).including(vteps).with(served)})...)
	}
	set.add(p.guard.flows()...)
	set.add(p.nat.flows()...)
	set.add(aclsOf(local).flows()...)
	members := map[station]groupBits{}
	for table, id := range p.guard.reads {
		for _, row := range rows(table) {
			if m := (station{row.Domain, row.IP}); !row.Deleted {
				members[m] = members[m].with(p.guard.slots[id])
			}
		}
	}
	for m, bits := range members {
		set.add(p.guard.memberFlows(m, bits)...)
	}
	r := routingOf(local)
	for v, g := range r.gateways {
		set.add(p.gateway(v, g)...)
	}
	for v := range r.vrfs {
		set.add(r.vrf(p, v)...)
		to := map[netip.Prefix][]via{}
		for _, row := range rows(v) {
			if row.Deleted {
				continue
			}
			set.add(p.routed(v, row)...)
			if d := netip.PrefixFrom(row.IP, int(row.Bits)); p.isVia(row) {
				to[d] = append(to[d], via{row.VTEP, row.RouterMAC})
			}
		}
		for d, vias := range to {
			slices.SortFunc(vias, compareVias)
			set.add(p.toPrefixVia(destination{v, d}, vias)...)
		}
	}
	return set
}
