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
func bringSegment(have *links, want leafstate.State, seg leafstate.Segment) ([]leafstate.PortReport, error) {
	bridge, err := bringBridge(have, seg)
	if err != nil {
		return nil, err
	}
	var errs []error
	if err := bringVXLAN(have, want.VTEP, seg, bridge); err != nil {
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
		return nil, fmt.Errorf("make %s: %w", name, err)
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

func bringVXLAN(have *links, vtep netip.Addr, seg leafstate.Segment, bridge netlink.Link) error {
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
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, seg.MTU
		if l, err = have.make(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(seg.VNI), SrcAddr: vtep.AsSlice(), Port: vxlanPort, TTL: vxlanTTL, TOS: vxlanTOS}); err != nil {
			return err
		}
	}
	if l.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := netlink.LinkSetMaster(l, bridge); err != nil {
			return fmt.Errorf("put %s into %s: %w", name, bridge.Attrs().Name, err)
		}
	}
	if err := bringFlags(l, seg.Suppress); err != nil {
		return err
	}
	return bringAttributes(l, seg.MTU)
}

// isVXLAN reports whether a device is the one that we would make.
func isVXLAN(v *netlink.Vxlan, vtep netip.Addr, seg leafstate.Segment) bool {
	src, _ := netip.AddrFromSlice(v.SrcAddr)
	return v.VxlanId == int(seg.VNI) && src.Unmap() == vtep && v.Port == vxlanPort && v.TTL == vxlanTTL && v.TOS == vxlanTOS && !v.Learning
}

// bringFlags brings the bridge port's flags of a VXLAN device in line.
func bringFlags(l netlink.Link, suppress bool) error {
	is, err := netlink.LinkGetProtinfo(l)
	if err != nil {
		return fmt.Errorf("read flags of %s: %w", l.Attrs().Name, err)
	}
	for _, f := range []struct {
		name     string
		is, want bool
		set      func(netlink.Link, bool) error
	}{
		{"learning", is.Learning, false, netlink.LinkSetLearning},
		{"flood", is.Flood, false, netlink.LinkSetFlood},
		{"neigh_suppress", is.NeighSuppress, suppress, netlink.LinkSetBrNeighSuppress},
	} {
		if f.is != f.want {
			if err := f.set(l, f.want); err != nil {
				return fmt.Errorf("set %s of %s: %w", f.name, l.Attrs().Name, err)
			}
		}
	}
	return nil
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
	if l.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := netlink.LinkSetMaster(l, bridge); err != nil {
			return fmt.Errorf("put %s into %s: %w", p.Interface, bridge.Attrs().Name, err)
		}
	}
	return bringAttributes(l, l.Attrs().MTU)
}
