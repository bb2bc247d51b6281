package linux

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// ntfSticky marks an entry that does not move (NTF_STICKY of linux/neighbour.h).
const ntfSticky = 0x40

// segmentDevices are the devices of a segment.
type segmentDevices struct {
	vni           intent.VNI
	vxlan, bridge int        // indices
	mac           intent.MAC // of the VXLAN device itself
}

// fdbKernel is what the kernel has of a state's segments.
type fdbKernel struct {
	entries fdb
	// ports are the stations behind other ports of the segments' bridges.
	ports   map[station]bool
	devices map[intent.VNI]segmentDevices
}

// readFDB reads the kernel's tables of a state's segments.
func readFDB(want leafstate.State) (fdbKernel, error) {
	k := fdbKernel{fdb{}, map[station]bool{}, map[intent.VNI]segmentDevices{}}
	ls, err := readLinks()
	if err != nil {
		return k, err
	}
	vxlans, bridges := map[int]segmentDevices{}, map[int]intent.VNI{}
	for _, seg := range want.Segments {
		l, br := ls.byName[vxlanName(seg.VNI)], ls.byName[bridgeName(seg.VNI)]
		if l == nil || br == nil || !ours(l) || !ours(br) || l.Attrs().MasterIndex != br.Attrs().Index {
			continue
		}
		d := segmentDevices{vni: seg.VNI, vxlan: l.Attrs().Index, bridge: br.Attrs().Index}
		copy(d.mac[:], l.Attrs().HardwareAddr)
		vxlans[d.vxlan], bridges[d.bridge], k.devices[seg.VNI] = d, seg.VNI, d
	}
	if len(vxlans) == 0 {
		return k, nil
	}
	for _, family := range []int{unix.AF_BRIDGE, unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.NeighList(0, family)
		if err != nil {
			return k, fmt.Errorf("read forwarding tables: %w", err)
		}
		for i := range list {
			n := &list[i]
			if d, ok := vxlans[n.LinkIndex]; ok && family == unix.AF_BRIDGE {
				k.station(d, n)
			} else if vni, ok := bridges[n.MasterIndex]; ok && family == unix.AF_BRIDGE && len(n.HardwareAddr) == 6 {
				k.ports[station{vni, intent.MAC(n.HardwareAddr)}] = true
			} else if vni, ok := bridges[n.LinkIndex]; ok && family != unix.AF_BRIDGE {
				k.neighbour(vni, n)
			}
		}
	}
	return k, nil
}

// station takes an entry of a VXLAN device.
func (k fdbKernel) station(d segmentDevices, n *netlink.Neigh) {
	if len(n.HardwareAddr) != 6 {
		return
	}
	key := fdbKey{vni: d.vni, mac: intent.MAC(n.HardwareAddr)}
	e := fdbEntry{device: d.vxlan, learned: n.Flags&netlink.NTF_EXT_LEARNED != 0, sticky: n.State&netlink.NUD_NOARP != 0 && n.State&netlink.NUD_PERMANENT == 0}
	ip, ok := netip.AddrFromSlice(n.IP)
	switch ip = ip.Unmap(); {
	case ok && key.mac.IsZero():
		key.part, key.ip = floodPart, ip
	case ok:
		e.vtep = ip
	case n.MasterIndex == 0 || key.mac == d.mac || key.mac[0]&1 != 0: // the device's own
		return
	default:
		key.part = bridgePart
	}
	k.entries[key] = e
}

// neighbour takes a neighbour that a daemon or a person wrote. Those that the kernel
// resolved itself are none of zebra's.
func (k fdbKernel) neighbour(vni intent.VNI, n *netlink.Neigh) {
	ip, ok := netip.AddrFromSlice(n.IP)
	learned := n.Flags&netlink.NTF_EXT_LEARNED != 0
	if ip = ip.Unmap(); !ok || ip.IsMulticast() || len(n.HardwareAddr) != 6 || !learned && n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) == 0 {
		return
	}
	k.entries[fdbKey{vni: vni, part: neighbourPart, ip: ip}] = fdbEntry{fdbValue: fdbValue{mac: intent.MAC(n.HardwareAddr), alien: !learned || n.State&netlink.NUD_NOARP == 0},
		device: n.LinkIndex, learned: learned}
}

// mend puts an entry right, as zebra writes it: so it is zebra's again.
func (k fdbKernel) mend(x fdbDiff) error {
	if x.fault == fdbBogus {
		return k.remove(x.key, x.have.fdbValue)
	}
	// Over what a person wrote the kernel takes nothing from a routing daemon.
	if x.fault == fdbWrong {
		if err := k.remove(x.key, x.have.fdbValue); err != nil {
			return err
		}
	}
	return k.write(x)
}

func (k fdbKernel) write(x fdbDiff) error {
	d := k.devices[x.key.vni]
	n := &netlink.Neigh{LinkIndex: d.vxlan, Family: unix.AF_BRIDGE, State: netlink.NUD_REACHABLE, Flags: netlink.NTF_EXT_LEARNED, HardwareAddr: x.key.mac[:]}
	if k.entries[fdbKey{vni: x.key.vni, part: bridgePart, mac: x.key.mac}].sticky {
		n.State, n.Flags = netlink.NUD_REACHABLE|netlink.NUD_NOARP, ntfSticky
	}
	set := netlink.NeighSet
	switch x.key.part {
	case tunnelPart:
		n.Flags |= netlink.NTF_SELF
		n.IP = x.want.vtep.AsSlice()
	case bridgePart:
		n.Flags |= netlink.NTF_MASTER
	case floodPart:
		n.State, n.Flags, n.IP = netlink.NUD_NOARP|netlink.NUD_PERMANENT, netlink.NTF_SELF, x.key.ip.AsSlice()
		set = netlink.NeighAppend
	case neighbourPart:
		return setNeighbour(d.bridge, nextHop{x.key.ip, x.want.mac})
	}
	if err := set(n); err != nil {
		return fmt.Errorf("%s: %w", x, err)
	}
	return nil
}

// remove takes an entry away; one that is gone already is no error.
func (k fdbKernel) remove(key fdbKey, v fdbValue) error {
	d := k.devices[key.vni]
	n := &netlink.Neigh{LinkIndex: d.vxlan, Family: unix.AF_BRIDGE, HardwareAddr: key.mac[:]}
	switch key.part {
	case tunnelPart:
		n.Flags, n.IP = netlink.NTF_SELF, v.vtep.AsSlice()
	case floodPart:
		n.Flags, n.IP = netlink.NTF_SELF, key.ip.AsSlice()
	case bridgePart:
		n.Flags = netlink.NTF_MASTER
	case neighbourPart:
		n.LinkIndex, n.Family, n.HardwareAddr, n.IP = d.bridge, unix.AF_INET, nil, key.ip.AsSlice()
		if key.ip.Is6() {
			n.Family = unix.AF_INET6
		}
	}
	if err := netlink.NeighDel(n); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the entry %s %s of segment %d: %w", key.mac, key.ip, key.vni, err)
	}
	return nil
}
