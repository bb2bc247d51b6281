package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

const (
	// outsideAlias marks the interfaces to routers outside: their addresses and
	// VRF are ours while a peer names them.
	outsideAlias = "weft outside"
	// announcedMetric is that of the routes which drop what has one of the announced
	// prefixes and no host. zebra takes the highest octet for the distance.
	announcedMetric = 254<<24 | 8192
	// standInProtocol marks the routes by which the leaf is there for the VTEPs of
	// other borders, and standInMetric is behind all that bgpd knows of them.
	standInProtocol = 0x78
	standInMetric   = 254<<24 | 4096
)

// errSecondDefault is why the default VRF has one external network.
var errSecondDefault = errors.New("the device's default VRF is taken by another external network: it can be in one; give this one a VRF of its own, which takes a kernel with VRF devices")

// outsideSettings are the kernel's of an interface to routers outside.
var outsideSettings = map[string]string{
	"ipv4/conf/%s/forwarding":   "1",
	"ipv4/conf/%s/rp_filter":    "0",
	"ipv4/conf/%s/arp_ignore":   "1", // for the link's own addresses only
	"ipv6/conf/%s/forwarding":   "1",
	"ipv6/conf/%s/accept_ra":    "0",
	"ipv6/conf/%s/accept_dad":   "0",
	"ipv6/conf/%s/autoconf":     "0",
	"ipv6/conf/%s/use_tempaddr": "0",
}

// outsideAddresses are the leaf's addresses by interface.
func outsideAddresses(r leafstate.Router) map[string][]netip.Prefix {
	out := map[string][]netip.Prefix{}
	for _, p := range r.Outside.Peers {
		if !slices.Contains(out[p.Interface], p.Local) {
			out[p.Interface] = append(out[p.Interface], p.Local)
		}
	}
	return out
}

// bringOutside brings the interfaces to routers outside in line.
func bringOutside(k kernel, r leafstate.Router) error {
	if r.Outside == nil {
		return nil
	}
	var vrf netlink.Link
	if !inDefault(r) {
		vrf = k.links.byName[vrfName(r.VNI)]
	}
	var errs []error
	for name, addresses := range outsideAddresses(r) {
		errs = append(errs, bringOutsideLink(k, name, vrf, addresses))
	}
	return errors.Join(errs...)
}

func bringOutsideLink(k kernel, name string, vrf netlink.Link, addresses []netip.Prefix) error {
	l := k.links.byName[name]
	switch m := netlink.Link(nil); {
	case l == nil:
		return fmt.Errorf("interface %s: no such device", name)
	case ours(l) || l.Attrs().EncapType != "ether":
		return fmt.Errorf("interface %s can't lead outside: name one that is an Ethernet link and not made by Weft", name)
	case l.Attrs().MasterIndex != 0:
		if m = k.links.byIndex[l.Attrs().MasterIndex]; m != nil && !(ours(m) && m.Type() == "vrf") {
			return fmt.Errorf("interface %s is a port of %s: take it out", name, m.Attrs().Name)
		}
	}
	is := slices.DeleteFunc(slices.Clone(k.addresses[l.Attrs().Index]), func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
	if l.Attrs().Alias != outsideAlias {
		for _, p := range is {
			if !slices.Contains(addresses, p) {
				return fmt.Errorf("interface %s has the address %s, which is not Weft's: remove it, or name the interface that leads outside", name, p)
			}
		}
		if err := netlink.LinkSetAlias(l, outsideAlias); err != nil {
			return fmt.Errorf("mark %s: %w", name, err)
		}
		l.Attrs().Alias = outsideAlias
	}
	moved := vrf != nil && l.Attrs().MasterIndex != vrf.Attrs().Index || vrf == nil && l.Attrs().MasterIndex != 0
	if err := bringMaster(l, vrf); err != nil {
		return err
	}
	if moved { // the kernel drops IPv6 addresses then
		is = slices.DeleteFunc(is, func(p netip.Prefix) bool { return p.Addr().Is6() })
	}
	return errors.Join(setAll(name, outsideSettings), bringAddresses(l, is, addresses), bringAttributes(l, l.Attrs().MTU))
}

// releaseOutside takes marked interfaces that lead nowhere any more out of their
// VRF, with their addresses.
func releaseOutside(k kernel, want []leafstate.Router) error {
	keep := map[string]bool{}
	for _, r := range want {
		if r.Outside != nil {
			for name := range outsideAddresses(r) {
				keep[name] = true
			}
		}
	}
	var errs []error
	for name, l := range k.links.byName {
		if l.Attrs().Alias != outsideAlias || keep[name] {
			continue
		}
		is := slices.DeleteFunc(slices.Clone(k.addresses[l.Attrs().Index]), func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
		errs = append(errs, bringAddresses(l, is, nil))
		if m := k.links.byIndex[l.Attrs().MasterIndex]; m != nil && ours(m) {
			errs = append(errs, bringMaster(l, nil))
		}
		errs = append(errs, netlink.LinkSetAlias(l, ""))
	}
	return errors.Join(errs...)
}

// readUnderlay lists the prefixes that the main table has and that don't lead
// outside, none inside another: nobody outside may announce them.
func readUnderlay(have *links, r leafstate.Router) (out []netip.Prefix, err error) {
	outside := outsideAddresses(r)
	foreign := func(index int) bool {
		l := have.byIndex[index]
		return l != nil && (ours(l) || outside[l.Attrs().Name] != nil)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("read the underlay's routes: %w", err)
		}
		for _, rt := range list {
			p := prefixOf(rt.Dst, family)
			hops := append(rt.MultiPath, &netlink.NexthopInfo{LinkIndex: rt.LinkIndex})
			if p.Bits() == 0 || p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() || rt.Protocol == routeProtocol ||
				slices.ContainsFunc(hops, func(h *netlink.NexthopInfo) bool { return foreign(h.LinkIndex) }) {
				continue
			}
			out = append(out, p)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	kept := out[:0]
	for _, p := range out {
		if n := len(kept); n == 0 || !intent.Within(p, kept[n-1]) {
			kept = append(kept, p)
		}
	}
	return kept, nil
}

// standIns are the VTEPs of all other borders of the state's external networks.
func standIns(all []leafstate.Router) (out []netip.Addr) {
	for _, r := range all {
		if r.Outside != nil {
			out = append(out, r.Outside.Others...)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// bringMain brings what is ours in the main table in line, but for the routes of
// an external VRF, which come with that.
func bringMain(all []leafstate.Router) error {
	err := bringStandIns(all)
	if !slices.ContainsFunc(all, inDefault) {
		err = errors.Join(err, bringStatic("the main table", unix.RT_TABLE_MAIN, routeProtocol, nil))
	}
	return err
}

// bringStandIns has the leaf take what is sent to the VTEPs of other borders, as
// long as bgpd has no route to them: the underlay then leads here, by the routes that
// defaultLines announce (after RFC 8679). Each is two routes of the main table: one
// that delivers here, and behind it one that zebra sees, without which bgpd would
// not announce it.
func bringStandIns(all []leafstate.Router) error {
	want := map[staticRoute]*netlink.Route{}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	for _, a := range standIns(all) {
		p, family := netip.PrefixFrom(a, a.BitLen()), unix.AF_INET
		if a.Is6() {
			family = unix.AF_INET6
		}
		here := &netlink.Route{Family: family, Dst: ipNet(p), Table: unix.RT_TABLE_MAIN, Protocol: standInProtocol, Type: unix.RTN_LOCAL, Priority: standInMetric, LinkIndex: lo.Attrs().Index, Scope: netlink.SCOPE_HOST}
		seen := &netlink.Route{Family: family, Dst: ipNet(p), Table: unix.RT_TABLE_MAIN, Protocol: standInProtocol, Type: unix.RTN_UNREACHABLE, Priority: standInMetric + 1}
		want[staticRoute{p, here.Type, here.Priority, hopWords(here)}] = here
		want[staticRoute{p, seen.Type, seen.Priority, hopWords(seen)}] = seen
	}
	return bringStatic("the main table", unix.RT_TABLE_MAIN, standInProtocol, want)
}

// inside are the addresses and prefixes of an external VRF that filters and
// messages need by family.
type inside struct{ announced, locals, peers []string }

func insideOf(o *leafstate.Outside, v4 bool) (in inside) {
	for _, p := range o.Announce {
		if p.Addr().Is4() == v4 {
			in.announced = append(in.announced, p.String())
		}
	}
	for _, p := range o.Peers {
		if p.Address.Is4() == v4 {
			in.locals = append(in.locals, p.Local.Addr().String())
			in.peers = append(in.peers, p.Address.String())
		}
	}
	for _, l := range []*[]string{&in.announced, &in.locals, &in.peers} {
		slices.Sort(*l)
		*l = slices.Compact(*l)
	}
	return in
}

// routerMACs are those of VTEPs.
func routerMACs(vteps []netip.Addr) (out []string) {
	for _, a := range vteps {
		out = append(out, intent.RouterMAC(a).String())
	}
	return out
}
