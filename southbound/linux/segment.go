package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/southbound/leafstate"
)

// What a segment's VXLAN device is made with.
const (
	vxlanPort = 4789
	vxlanTTL  = 64
	vxlanTOS  = 8 // see the package comment
)

// bringSegment brings a segment's bridge, VXLAN device and ports in line. It
// returns the ports that are in place.
func bringSegment(have *links, flags map[int]portFlags, want leafstate.State, seg leafstate.Segment) ([]leafstate.PortReport, error) {
	bridge, err := bringBridge(have, seg)
	if err != nil {
		return nil, err
	}
	var errs []error
	if err := bringVXLAN(have, flags, want.VTEP, seg, bridge); err != nil {
		errs = append(errs, err)
	}
	var ports []leafstate.PortReport
	for _, p := range seg.Ports {
		if err := bringPort(have, seg, p, bridge); err != nil {
			errs = append(errs, err)
			continue
		}
		ports = append(ports, leafstate.PortReport{Interface: p.Interface, VNI: seg.VNI})
	}
	return ports, errors.Join(errs...)
}

// find returns an interface of ours by its name, nil when there is none.
func (ls *links) find(name, kind string) (netlink.Link, error) {
	l := ls.byName[name]
	switch {
	case l == nil:
		return nil, nil
	case !ours(l) || l.Type() != kind:
		return nil, fmt.Errorf("interface %s is not Weft's: rename or remove it", name)
	}
	return l, nil
}

func bringBridge(have *links, seg leafstate.Segment) (netlink.Link, error) {
	name := bridgeName(seg.VNI)
	l, err := have.find(name, "bridge")
	if err != nil {
		return nil, err
	}
	if l == nil {
		attrs, off := netlink.NewLinkAttrs(), false
		attrs.Name, attrs.MTU = name, seg.MTU
		b := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}
		if l, err = have.make(b); err != nil {
			return nil, err
		}
		// The bridge is no station of the segment: no address of its own.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/addr_gen_mode", []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if b, ok := l.(*netlink.Bridge); ok && (b.MulticastSnooping == nil || *b.MulticastSnooping) {
		// Only what is to change: what else was read some kernels refuse.
		off, attrs := false, netlink.NewLinkAttrs()
		attrs.Name, attrs.Index = name, l.Attrs().Index
		if err := netlink.LinkModify(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}); err != nil {
			return nil, fmt.Errorf("set snooping of %s off: %w", name, err)
		}
	}
	return l, bringAttributes(l, seg.MTU)
}

// make makes an interface with our mark and returns it as the kernel has it.
func (ls *links) make(l netlink.Link) (netlink.Link, error) {
	name := l.Attrs().Name
	if err := netlink.LinkAdd(l); err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	made, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetAlias(made, alias)
	}
	if err != nil {
		// Without the mark it would not be ours any more.
		return nil, fmt.Errorf("make %s: %w", name, errors.Join(err, netlink.LinkDel(l)))
	}
	made.Attrs().Alias = alias
	ls.add(made)
	return made, nil
}

// bringAttributes brings MTU and administrative state of an interface in line.
func bringAttributes(l netlink.Link, mtu int) error {
	if l.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set MTU of %s to %d: %w", l.Attrs().Name, mtu, err)
		}
	}
	if l.Attrs().RawFlags&1 == 0 { // IFF_UP
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

func bringVXLAN(have *links, flags map[int]portFlags, vtep netip.Addr, seg leafstate.Segment, bridge netlink.Link) error {
	name := vxlanName(seg.VNI)
	l, err := have.find(name, "vxlan")
	if err != nil {
		return err
	}
	if v, ok := l.(*netlink.Vxlan); ok && !isVXLAN(v, vtep, seg) {
		if err := removeLink(l); err != nil {
			return err
		}
		l = nil
	}
	if v, ok := l.(*netlink.Vxlan); ok && v.TOS != vxlanTOS {
		if err := setTOS(l); err != nil {
			return err
		}
	}
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, seg.MTU
		if l, err = have.make(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(seg.VNI), SrcAddr: vtep.AsSlice(), Port: vxlanPort, TTL: vxlanTTL, TOS: vxlanTOS}); err != nil {
			return err
		}
	}
	joined, err := join(l, bridge)
	if err != nil {
		return err
	}
	is := flags[l.Attrs().Index]
	if joined {
		is = portFlags{learning: true, flood: true} // as the kernel has them for a new port
	}
	if err := bringFlags(l, is, portFlags{suppress: seg.Suppress}); err != nil {
		return err
	}
	return bringAttributes(l, seg.MTU)
}

// join puts an interface into a bridge, unless it is in it.
func join(l, bridge netlink.Link) (joined bool, err error) {
	if l.Attrs().MasterIndex == bridge.Attrs().Index {
		return false, nil
	}
	if err := netlink.LinkSetMaster(l, bridge); err != nil {
		return false, fmt.Errorf("put %s into %s: %w", l.Attrs().Name, bridge.Attrs().Name, err)
	}
	l.Attrs().MasterIndex = bridge.Attrs().Index
	return true, nil
}

// isVXLAN reports whether a device is the one that we would make, but for its TOS,
// which can be changed.
func isVXLAN(v *netlink.Vxlan, vtep netip.Addr, seg leafstate.Segment) bool {
	src, _ := netip.AddrFromSlice(v.SrcAddr)
	return v.VxlanId == int(seg.VNI) && src.Unmap() == vtep && v.Port == vxlanPort && v.TTL == vxlanTTL && !v.Learning
}

func bringPort(have *links, seg leafstate.Segment, p leafstate.Port, bridge netlink.Link) error {
	l := have.byName[p.Interface]
	if l == nil {
		return fmt.Errorf("interface %s: no such device", p.Interface)
	}
	if m := have.master(l); m != "" && m != bridge.Attrs().Name && !ours(have.byName[m]) {
		return fmt.Errorf("interface %s is a port of bridge %s, which is not Weft's: take it out", p.Interface, m)
	}
	if l.Attrs().MTU < seg.MTU {
		if err := netlink.LinkSetMTU(l, seg.MTU); err != nil {
			return fmt.Errorf("set MTU of %s to %d: %w", p.Interface, seg.MTU, err)
		}
		l.Attrs().MTU = seg.MTU
	}
	if _, err := join(l, bridge); err != nil {
		return err
	}
	return bringAttributes(l, l.Attrs().MTU)
}
