// Package linux makes a white-box Linux switch with FRR an EVPN leaf: bridges,
// VXLAN devices and filters in its kernel, and the EVPN part of its bgpd. It
// runs on the switch, in weft's agent.
//
// Each segment has a bridge br<VNI> with one VXLAN device vx<VNI> and the ports.
// Remote stations are FRR's: it writes them into the VXLAN device's forwarding
// table and, for ARP and ND suppression (RFC 9161), into the bridge's neighbour
// table. The VXLAN device learns nothing from packets, and unknown unicast is
// not flooded into it: all that there is, is known by EVPN. What comes out of a
// tunnel never enters one again, since a bridge sends nothing back to the port
// that it came from (split horizon).
//
// The device sends with tos 8: with tos 0 the kernel caches one route per
// remote VTEP, and all flows to it use one uplink.
//
// Ports send only as themselves: an nftables table in the bridge family drops
// other source MACs, IP source addresses, ARP and neighbour discovery senders,
// and router advertisements (RFC 6105).
//
// A border of an external network has its VRF as that of a router, and in it BGP
// sessions with routers that are not ours (outside.go). What they are told, what is
// taken from them and which packets pass is held by route maps (policies.go) and by
// nftables (outside_filter.go), each by itself enough that nothing else gets out.
// Borders stand in for each other in the underlay when one dies, after the idea of
// RFC 8679: see bringStandIns.
//
// # Own marks
//
// Interfaces that were made here have the alias "weft" and our names; the
// filters are a table of their own. An interface of such a name without the
// alias is reported and left alone. In bgpd the neighbour, the lines of the
// address family l2vpn evpn are ours; of external networks neighbours that are
// described as weft-VNI and what has a route map of a name that begins so; and
// nothing else. Interfaces to routers outside have the alias "weft outside". Routes
// have protocol 119, those of stand-ins 120.
//
// # Order and restart
//
// bgpd is configured before the first VXLAN device is made: some versions crash
// when it comes first. Everything is compared with what is there and only
// differences are written, so that applying a state twice, or after a restart,
// changes nothing. Filters come before a port joins its bridge and go after it
// left.
package linux
