package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// readAddresses reads the addresses of all interfaces, by index.
func readAddresses() (map[int][]netip.Prefix, error) {
	list, err := Listed(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	out := map[int][]netip.Prefix{}
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ones, bits := a.Mask.Size(); ok && bits > 0 {
			out[a.LinkIndex] = append(out[a.LinkIndex], netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	return out, nil
}

// gatewaysOf are the addresses of a segment's bridge, and the VRF that they are
// in. Beside a gateway by IPv6 is the link-local address that hosts know from
// router advertisements.
func gatewaysOf(all []leafstate.Router, segment intent.VNI) (addresses []netip.Prefix, vrf intent.VNI) {
	for _, r := range all {
		for _, g := range r.Gateways {
			if g.Segment != segment {
				continue
			}
			vrf = r.VNI
			addresses = append(addresses, g.Address)
			if g.Address.Addr().Is6() {
				addresses = append(addresses, netip.PrefixFrom(intent.GatewayMAC.LinkLocal(), 64))
			}
		}
	}
	return addresses, vrf
}

// bringGateways makes the bridge of a segment an anycast gateway (RFC 9135
// section 4.1) with some addresses in a router's VRF, or none when router is 0.
func bringGateways(k kernel, segment, router intent.VNI, want []netip.Prefix) error {
	bridge := k.links.byName[bridgeName(segment)]
	if bridge == nil || !ours(bridge) {
		return nil // which is told with the segment
	}
	var vrf netlink.Link
	if router != 0 {
		if vrf = k.links.byName[vrfName(router)]; vrf == nil {
			return fmt.Errorf("%s is not there", vrfName(router))
		}
		// Its MAC first: neighbours that the kernel tells of the address are to
		// learn the right one.
		if err := errors.Join(bringMAC(bridge, intent.GatewayMAC), setRouting(bridge.Attrs().Name)); err != nil {
			return err
		}
	}
	moved := vrf != nil && bridge.Attrs().MasterIndex != vrf.Attrs().Index
	if err := bringMaster(bridge, vrf); err != nil {
		return err
	}
	is := k.addresses[bridge.Attrs().Index]
	if moved { // the kernel drops IPv6 addresses then
		is = slices.DeleteFunc(slices.Clone(is), func(p netip.Prefix) bool { return p.Addr().Is6() })
	}
	return bringAddresses(bridge, is, want)
}

func bringAddresses(l netlink.Link, is, want []netip.Prefix) error {
	var errs []error
	for _, p := range is {
		if !slices.Contains(want, p) {
			if err := netlink.AddrDel(l, address4or6(p)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				errs = append(errs, fmt.Errorf("remove %s from %s: %w", p, l.Attrs().Name, err))
			}
		}
	}
	for i, p := range want {
		if !slices.Contains(is, p) && !slices.Contains(want[:i], p) {
			if err := netlink.AddrAdd(l, address4or6(p)); err != nil && !errors.Is(err, unix.EEXIST) {
				errs = append(errs, fmt.Errorf("give %s to %s: %w", p, l.Attrs().Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// address4or6 is an address as it is given to an interface. Nobody is asked
// whether he has it: others do have an anycast address.
func address4or6(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// canForward says why the kernel routes no IPv6 at all, which is for who runs
// the switch to change.
func canForward(r leafstate.Router) error {
	if !slices.ContainsFunc(r.Gateways, func(g leafstate.Gateway) bool { return g.Address.Addr().Is6() }) {
		return nil
	}
	now, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/forwarding")
	if err != nil || strings.TrimSpace(string(now)) == "0" {
		return errors.New("the kernel forwards no IPv6: set net.ipv6.conf.all.forwarding to 1")
	}
	return nil
}
