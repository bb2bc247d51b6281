package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/frr"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// fdbKey names an entry of a VXLAN device of ours that zebra wrote. vtep is not valid for
// the bridge's part of a station's two entries.
type fdbKey struct {
	index int // of the device: one that is made anew has others
	vni   intent.VNI
	mac   intent.MAC // zero: broadcast
	vtep  netip.Addr
}

// String is the entry as "bridge fdb" has it.
func (e fdbKey) String() string {
	part := "master"
	if e.vtep.IsValid() {
		part = "dst " + e.vtep.String()
	}
	return fmt.Sprintf("%s dev %s %s", e.mac, vxlanName(e.vni), part)
}

// fdb are the entries that zebra wrote, as the kernel has them.
type fdb map[fdbKey]netlink.Neigh

// atPort is a station at another port of a bridge, by the bridge's index.
type atPort struct {
	bridge int
	mac    intent.MAC
}

// fdbDevice is a VXLAN device of ours, and the index of its bridge.
type fdbDevice struct {
	vni    intent.VNI
	bridge int
}

// readFDB reads the entries of a state's VXLAN devices, the stations at other ports, and
// the devices by index.
func readFDB(want leafstate.State) (fdb, map[atPort]bool, map[int]fdbDevice, error) {
	ls, err := readLinks()
	if err != nil {
		return nil, nil, nil, err
	}
	devices := map[int]fdbDevice{}
	for _, seg := range want.Segments {
		if l := ls.byName[vxlanName(seg.VNI)]; l != nil && ours(l) {
			devices[l.Attrs().Index] = fdbDevice{seg.VNI, l.Attrs().MasterIndex}
		}
	}
	list, err := netlink.NeighList(0, unix.AF_BRIDGE)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read forwarding tables: %w", err)
	}
	out, others := fdb{}, map[atPort]bool{}
	for _, n := range list {
		if len(n.HardwareAddr) != 6 {
			continue
		}
		d, ok := devices[n.LinkIndex]
		k := fdbKey{index: n.LinkIndex, vni: d.vni, mac: intent.MAC(n.HardwareAddr)}
		if !ok {
			others[atPort{n.MasterIndex, k.mac}] = true
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok {
			k.vtep = ip.Unmap()
			n.Flags |= netlink.NTF_SELF
		} else if n.MasterIndex == 0 || n.Flags&netlink.NTF_EXT_LEARNED == 0 {
			continue // the device's own
		} else {
			n.Flags |= netlink.NTF_MASTER
		}
		out[k] = n
	}
	return out, others, devices, nil
}

// gone are the entries that are not there any more though their device is, in a stable
// order.
func (f fdb) gone(now fdb, devices map[int]fdbDevice) (out []fdbKey) {
	for k := range f {
		_, is := devices[k.index]
		if _, ok := now[k]; is && !ok {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b fdbKey) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	return out
}

// mendFDB puts entries back that zebra wrote, and still has, and the kernel has no more:
// zebra does not notice that somebody removed one. It returns them in words.
func (s *Switch) mendFDB(ctx context.Context, want leafstate.State) (repaired []string, err error) {
	now, _, devices, err := readFDB(want)
	if err != nil {
		return nil, err
	}
	was := s.fdb
	gone := was.gone(now, devices)
	if len(gone) == 0 {
		s.fdb = now
		return nil, nil
	}
	has, err := s.zebraHas(ctx, gone)
	if err != nil {
		return nil, err
	}
	now, others, devices, err := readFDB(want) // zebra may have been about to write it
	if err != nil {
		return nil, err
	}
	var errs []error
	var wrote []fdbKey
	for _, k := range was.gone(now, devices) {
		n := was[k]
		if !has[k] || others[atPort{devices[k.index].bridge, k.mac}] { // it may be about to move here
			continue
		}
		write := netlink.NeighSet
		if k.mac.IsZero() {
			write = netlink.NeighAppend
		}
		if err := write(&n); err != nil {
			errs = append(errs, fmt.Errorf("put the FDB entry %s back: %w", k, err))
			continue
		}
		wrote = append(wrote, k)
		now[k] = n
	}
	s.fdb = now
	if len(wrote) == 0 {
		return nil, errors.Join(errs...)
	}
	// What zebra took away meanwhile must not stay.
	if has, err = s.zebraHas(ctx, wrote); err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	for _, k := range wrote {
		n := now[k]
		if has[k] {
			repaired = append(repaired, fmt.Sprintf("FDB entry %s: was missing; put back", k))
			continue
		}
		delete(now, k)
		errs = append(errs, netlink.NeighDel(&n))
	}
	return repaired, errors.Join(errs...)
}

// zebraHas says which entries follow from what zebra has.
func (s *Switch) zebraHas(ctx context.Context, entries []fdbKey) (map[fdbKey]bool, error) {
	type tables struct {
		macs  map[string]netip.Addr
		flood []netip.Addr
	}
	asked := map[intent.VNI]tables{}
	out := map[fdbKey]bool{}
	for _, k := range entries {
		t, ok := asked[k.vni]
		if !ok {
			text, err := VTY(ctx, s.config.FRRDir, "zebra", fmt.Sprintf("show evpn mac vni %d json", k.vni))
			if err == nil {
				t.macs, err = frr.ParseRemoteMACs(text)
			}
			if err == nil {
				text, err = VTY(ctx, s.config.FRRDir, "zebra", fmt.Sprintf("show evpn vni %d json", k.vni))
			}
			if err == nil {
				t.flood, err = frr.ParseFloodVTEPs(text)
			}
			if err != nil {
				return nil, err
			}
			asked[k.vni] = t
		}
		vtep, remote := t.macs[k.mac.String()]
		out[k] = k.mac.IsZero() && slices.Contains(t.flood, k.vtep) || remote && (!k.vtep.IsValid() || k.vtep == vtep)
	}
	return out, nil
}
