package linux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
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

// lost lists the next hops of routes by which the kernel can't send: it has no
// MAC for them, or no VTEP for the MAC.
func (t tunnelTable) lost() ([]netip.Addr, error) {
	var hops []netip.Addr
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: t.table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("read routes by %s: %w", t.bridge.Attrs().Name, err)
		}
		for _, r := range list {
			for _, h := range append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: r.LinkIndex, Gw: r.Gw}) {
				if gw, ok := netip.AddrFromSlice(h.Gw); ok && h.LinkIndex == t.bridge.Attrs().Index {
					if gw = gw.Unmap(); family == unix.AF_INET6 && gw.Is4() {
						gw = netip.AddrFrom16(gw.As16())
					}
					hops = append(hops, gw)
				}
			}
		}
	}
	if len(hops) == 0 {
		return nil, nil
	}
	slices.SortFunc(hops, netip.Addr.Compare)
	hops = slices.Compact(hops)
	known, err := t.neighbours()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(hops, func(a netip.Addr) bool { return known[a] }), nil
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
// changes.
func (s *Switch) mendNextHops(ctx context.Context, rs *routers) {
	for _, r := range rs.usable() {
		rs.fail(r.VNI, s.mendNextHopsOf(ctx, r.VNI, tableOf(r), vniLinesOf(r)))
	}
}

func (s *Switch) mendNextHopsOf(ctx context.Context, v intent.VNI, table int, lines vniLines) error {
	t, err := findTunnels(v, table)
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
	for _, h := range all[v] {
		if slices.Contains(lost, h.ip) {
			if err := t.setNeighbour(h); err != nil {
				return err
			}
		}
	}
	// zebra may be at writing the rest.
	for end := time.Now().Add(settleTime); ; {
		if lost, err = t.lost(); err != nil || len(lost) == 0 {
			return err
		}
		if time.Now().After(end) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.log.Warn("FRR lost the router's MAC of next hops that are in use: it is given the L3VNI anew", "l3vni", v, "vteps", lost)
	return errors.Join(s.tell(ctx, "zebra", lines.loosen...), s.tell(ctx, "zebra", lines.bind...))
}

// settleTime is how long zebra may take to write next hops after it wrote routes.
const settleTime = time.Second

// setNeighbour writes a next hop's MAC as zebra does. The library's way makes an
// IPv4-mapped address one of IPv4.
func (t tunnelTable) setNeighbour(h nextHop) error {
	family := unix.AF_INET6
	if h.ip.Is4() {
		family = unix.AF_INET
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.AddData(&netlink.Ndmsg{Family: uint8(family), Index: uint32(t.bridge.Attrs().Index), State: netlink.NUD_NOARP, Flags: netlink.NTF_EXT_LEARNED})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, h.ip.AsSlice()))
	req.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, h.mac[:]))
	req.AddData(nl.NewRtAttr(netlink.NDA_PROTOCOL, []byte{unix.RTPROT_ZEBRA}))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("write the neighbour %s of %s: %w", h.ip, t.bridge.Attrs().Name, err)
	}
	return nil
}
