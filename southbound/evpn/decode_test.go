package evpn

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// changes lists what an UPDATE says about routes of the types in use, as GoBGP
// reads it: the decoder that ours is held against.
// Announcements whose encapsulation is not VXLAN count as withdrawals: nothing
// can be sent to them.
func changes(u *bgp.BGPUpdate) []Change {
	var common table.Route // what all routes of the UPDATE share
	var out []Change
	var reach *bgp.PathAttributeMpReachNLRI
	vxlan := true
	for _, a := range u.PathAttributes {
		switch a := a.(type) {
		case *bgp.PathAttributeMpUnreachNLRI:
			for _, n := range a.Value {
				if r, ok := route(n, table.Route{}); ok {
					out = append(out, Change{Route: table.Route{Key: r.Key, RD: r.RD, Tag: r.Tag}, Withdrawn: true})
				}
			}
		case *bgp.PathAttributeMpReachNLRI:
			reach = a
			common.VTEP, _ = netip.AddrFromSlice(a.Nexthop)
			common.VTEP = common.VTEP.Unmap()
		case *bgp.PathAttributeExtendedCommunities:
			vxlan = communities(a.Value, &common)
		case *bgp.PathAttributePmsiTunnel:
			common.VNI = intent.VNI(a.Label)
		}
	}
	if reach == nil {
		return out
	}
	for _, n := range reach.Value {
		r, ok := route(n, common)
		if !ok {
			continue
		}
		if !vxlan {
			r = table.Route{Key: r.Key, RD: r.RD, Tag: r.Tag}
		}
		out = append(out, Change{Route: r, Withdrawn: !vxlan})
	}
	return out
}

// communities reads the extended communities in use and reports whether the
// encapsulation is VXLAN, which it is when none is given.
func communities(list []bgp.ExtendedCommunityInterface, r *table.Route) (vxlan bool) {
	encaps, ours := 0, 0
	for _, c := range list {
		b, err := c.Serialize()
		if err != nil || len(b) != 8 {
			continue
		}
		switch binary.BigEndian.Uint16(b) {
		case communityEncap:
			encaps++
			if binary.BigEndian.Uint16(b[6:]) == encapVXLAN {
				ours++
			}
		case communityMobility:
			r.Sticky = b[2]&mobilitySticky != 0
			r.Seq = binary.BigEndian.Uint32(b[4:])
		case communityRouterMAC:
			r.RouterMAC = intent.MAC(b[2:8])
		default:
			if b[0] <= 2 && b[1] == 2 {
				r.Targets = append(r.Targets, intent.RouteTarget(b))
			}
		}
	}
	slices.SortFunc(r.Targets, func(a, b intent.RouteTarget) int { return slices.Compare(a[:], b[:]) })
	return encaps == 0 || ours > 0
}

// route reads one NLRI; ok is false for a type that is not in use.
func route(n bgp.AddrPrefixInterface, r table.Route) (table.Route, bool) {
	e, ok := n.(*bgp.EVPNNLRI)
	if !ok {
		return r, false
	}
	r.Type = table.RouteType(e.RouteType)
	switch d := e.RouteTypeData.(type) {
	case *bgp.EVPNMacIPAdvertisementRoute:
		if len(d.MacAddress) != 6 || len(d.Labels) == 0 {
			return r, false
		}
		r.RD, r.Tag = distinguisher(d.RD), d.ETag
		r.MAC, r.VNI = intent.MAC(d.MacAddress), intent.VNI(d.Labels[0])
		if d.IPAddressLength != 0 {
			r.IP, _ = netip.AddrFromSlice(d.IPAddress)
		}
		if len(d.Labels) > 1 {
			r.L3VNI = intent.VNI(d.Labels[1])
		}
	case *bgp.EVPNMulticastEthernetTagRoute:
		r.RD, r.Tag = distinguisher(d.RD), d.ETag
		r.IP, _ = netip.AddrFromSlice(d.IPAddress)
	case *bgp.EVPNIPPrefixRoute:
		r.RD, r.Tag = distinguisher(d.RD), d.ETag
		ip, _ := netip.AddrFromSlice(d.IPPrefix)
		p, err := ip.Prefix(int(d.IPPrefixLength))
		if err != nil {
			return r, false
		}
		r.IP, r.Bits, r.VNI = p.Addr(), d.IPPrefixLength, intent.VNI(d.Label)
		if g, ok := netip.AddrFromSlice(d.GWIPAddress); ok && !g.IsUnspecified() {
			r.Gateway = g
		}
	default:
		return r, false
	}
	return r, true
}

func distinguisher(d bgp.RouteDistinguisherInterface) (rd table.RD) {
	if d != nil {
		if b, err := d.Serialize(); err == nil {
			copy(rd[:], b)
		}
	}
	return rd
}
