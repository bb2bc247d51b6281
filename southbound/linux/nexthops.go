package linux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// nextHop is a VTEP as next hop in a VRF, and the router's MAC by which it takes
// what is routed there.
type nextHop struct {
	ip  netip.Addr // in routes of IPv6 it is IPv4-mapped
	mac intent.MAC
}

// readNextHops reads zebra's "show evpn next-hops vni all json".
func readNextHops(text []byte) (map[intent.VNI][]nextHop, error) {
	var all map[intent.VNI]map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read next hops of L3VNIs: %w", err)
	}
	out := map[intent.VNI][]nextHop{}
	for v, hops := range all {
		for ip, raw := range hops {
			a, err := netip.ParseAddr(ip)
			if err != nil {
				continue // a count
			}
			var hop struct {
				MAC string `json:"routerMac"`
			}
			if err := json.Unmarshal(raw, &hop); err != nil {
				return nil, fmt.Errorf("read the next hop %s of L3VNI %d: %w", ip, v, err)
			}
			mac, err := intent.ParseMAC(hop.MAC)
			if err != nil {
				return nil, fmt.Errorf("read the next hop %s of L3VNI %d: %w", ip, v, err)
			}
			out[v] = append(out[v], nextHop{a, mac})
		}
		slices.SortFunc(out[v], func(a, b nextHop) int { return a.ip.Compare(b.ip) })
	}
	return out, nil
}

// tunnelTable is the table of an L3VNI's routes.
type tunnelTable struct {
	table         int
	bridge, vxlan netlink.Link
}

func findTunnels(v intent.VNI, table int) (t tunnelTable, err error) {
	t.table = table
	if t.bridge, err = netlink.LinkByName(bridgeName(v)); err != nil {
		return t, fmt.Errorf("%s: %w", bridgeName(v), err)
	}
	if t.vxlan, err = netlink.LinkByName(vxlanName(v)); err != nil {
		return t, fmt.Errorf("%s: %w", vxlanName(v), err)
	}
	return t, nil
}

// lost are the next hops of routes by which the kernel can't send, each with one of
// its routes: it has no MAC for them, or no VTEP for the MAC.
func (t tunnelTable) lost() (map[netip.Addr]netip.Prefix, error) {
	hops := map[netip.Addr]netip.Prefix{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: t.table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("read routes by %s: %w", t.bridge.Attrs().Name, err)
		}
		for _, r := range list {
			prefix := prefixOf(r.Dst, family)
			for _, h := range append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: r.LinkIndex, Gw: r.Gw}) {
				if gw, ok := netip.AddrFromSlice(h.Gw); ok && h.LinkIndex == t.bridge.Attrs().Index {
					if gw = gw.Unmap(); family == unix.AF_INET6 && gw.Is4() {
						gw = netip.AddrFrom16(gw.As16())
					}
					hops[gw] = prefix
				}
			}
		}
	}
	if len(hops) == 0 {
		return nil, nil
	}
	known, err := t.neighbours()
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(hops, func(a netip.Addr, _ netip.Prefix) bool { return known[a] })
	return hops, nil
}

// neighbours are the next hops that the kernel can send to.
func (t tunnelTable) neighbours() (map[netip.Addr]bool, error) {
	stations, err := netlink.NeighList(t.vxlan.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("read stations of %s: %w", t.vxlan.Attrs().Name, err)
	}
	tunnelled := map[intent.MAC]bool{}
	for _, n := range stations {
		if len(n.HardwareAddr) == 6 && len(n.IP) > 0 {
			tunnelled[intent.MAC(n.HardwareAddr)] = true
		}
	}
	known := map[netip.Addr]bool{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.NeighList(t.bridge.Attrs().Index, family)
		if err != nil {
			return nil, fmt.Errorf("read neighbours of %s: %w", t.bridge.Attrs().Name, err)
		}
		for _, n := range list {
			if n.State != netlink.NUD_NOARP || n.Flags&netlink.NTF_EXT_LEARNED == 0 || len(n.HardwareAddr) != 6 || !tunnelled[intent.MAC(n.HardwareAddr)] {
				continue
			}
			if a, ok := netip.AddrFromSlice(n.IP); ok && family == unix.AF_INET6 {
				known[netip.AddrFrom16(a.As16())] = true
			} else if ok {
				known[a.Unmap()] = true
			}
		}
	}
	return known, nil
}

// mendNextHops gives routes back the next hops that were lost: the kernel drops
// neighbours when the MAC of a bridge changes; and zebra 8.4 may forget one that
// is in use when bgpd replaces routes to it, as it does when the router's own MAC
// changes, and does not learn it again when it gets its L3VNI anew. What bgpd has of
// the route then tells the router's MAC. zebra writes the same, or what is newer,
// over it; what it does not is of no use any more when the route goes.
func (s *Switch) mendNextHops(ctx context.Context, rs *routers) {
	for _, r := range rs.usable() {
		rs.fail(r.VNI, s.mendNextHopsOf(ctx, r))
	}
}

func (s *Switch) mendNextHopsOf(ctx context.Context, r leafstate.Router) error {
	t, err := findTunnels(r.VNI, tableOf(r))
	if err != nil {
		return err
	}
	lost, err := t.lost()
	if err != nil || len(lost) == 0 {
		return err
	}
	text, err := VTY(ctx, s.config.FRRDir, "zebra", "show evpn next-hops vni all json")
	if err != nil {
		return err
	}
	all, err := readNextHops(text)
	if err != nil {
		return err
	}
	macs := map[netip.Addr]intent.MAC{}
	for _, h := range all[r.VNI] {
		macs[h.ip] = h.mac
	}
	var errs []error
	for ip, prefix := range lost {
		mac, ok := macs[ip]
		if !ok {
			if mac, ok, err = s.routerMAC(ctx, r, prefix, ip); err != nil {
				errs = append(errs, err)
			}
			if !ok {
				continue // the route is about to go
			}
			s.log.Warn("zebra forgot the router's MAC of a next hop that is in use: it is written from what bgpd knows", "l3vni", r.VNI, "vtep", ip, "mac", mac)
		}
		errs = append(errs, t.setTunnel(mac, ip), setNeighbour(t.bridge.Attrs().Index, nextHop{ip, mac}))
	}
	return errors.Join(errs...)
}

// routerMAC asks bgpd for the MAC of a route's next hop.
func (s *Switch) routerMAC(ctx context.Context, r leafstate.Router, prefix netip.Prefix, hop netip.Addr) (intent.MAC, bool, error) {
	family, vrf := "ipv4", ""
	if prefix.Addr().Is6() {
		family = "ipv6"
	}
	if !inDefault(r) {
		vrf = "vrf " + vrfName(r.VNI) + " "
	}
	text, err := VTY(ctx, s.config.FRRDir, "bgpd", fmt.Sprintf("show bgp %s%s unicast %s json", vrf, family, prefix))
	if err != nil {
		return intent.MAC{}, false, err
	}
	return readRouterMAC(text, hop)
}

// readRouterMAC reads in bgpd's answer about a prefix the router's MAC (RFC 9135
// section 8.1) of the path by a next hop.
func readRouterMAC(text []byte, hop netip.Addr) (mac intent.MAC, ok bool, err error) {
	var route struct {
		Paths []struct {
			ExtendedCommunity struct {
				String string `json:"string"`
			} `json:"extendedCommunity"`
			Nexthops []struct {
				IP string `json:"ip"`
			} `json:"nexthops"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(text, &route); err != nil {
		return mac, false, fmt.Errorf("read bgpd's route by %s: %w", hop, err)
	}
	for _, p := range route.Paths {
		for _, h := range p.Nexthops {
			if a, err := netip.ParseAddr(h.IP); err != nil || a.Unmap() != hop.Unmap() {
				continue
			}
			for _, word := range strings.Fields(p.ExtendedCommunity.String) {
				if text, is := strings.CutPrefix(word, "Rmac:"); is {
					mac, err = intent.ParseMAC(text)
					if err != nil {
						return mac, false, fmt.Errorf("read bgpd's route by %s: %w", hop, err)
					}
					return mac, true, nil
				}
			}
		}
	}
	return mac, false, nil
}

// setTunnel has the bridge and the VXLAN device send to a router's MAC by a VTEP, as
// zebra does.
func (t tunnelTable) setTunnel(mac intent.MAC, vtep netip.Addr) error {
	err := netlink.NeighSet(&netlink.Neigh{LinkIndex: t.vxlan.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_REACHABLE | netlink.NUD_NOARP,
		Flags: netlink.NTF_SELF | netlink.NTF_MASTER | netlink.NTF_EXT_LEARNED, HardwareAddr: mac[:], IP: vtep.Unmap().AsSlice()})
	if err != nil {
		return fmt.Errorf("write the station %s of %s: %w", mac, t.vxlan.Attrs().Name, err)
	}
	return nil
}

// setNeighbour writes a neighbour's MAC as zebra does. The library's way makes an
// IPv4-mapped address one of IPv4.
func setNeighbour(bridge int, h nextHop) error {
	family := unix.AF_INET6
	if h.ip.Is4() {
		family = unix.AF_INET
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.AddData(&netlink.Ndmsg{Family: uint8(family), Index: uint32(bridge), State: netlink.NUD_NOARP, Flags: netlink.NTF_EXT_LEARNED})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, h.ip.AsSlice()))
	req.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, h.mac[:]))
	req.AddData(nl.NewRtAttr(netlink.NDA_PROTOCOL, []byte{unix.RTPROT_ZEBRA}))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("write the neighbour %s of interface %d: %w", h.ip, bridge, err)
	}
	return nil
}
