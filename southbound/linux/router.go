package linux

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// vrfTables is the number of the routing table of L3VNI 0.
const vrfTables = 1 << 24

func vrfName(v intent.VNI) string { return fmt.Sprintf("vrf%d", v) }

func vrfTable(v intent.VNI) uint32 { return vrfTables + uint32(v) }

// tableOf is the routing table of a router's VRF.
func tableOf(r leafstate.Router) int {
	if inDefault(r) {
		return unix.RT_TABLE_MAIN
	}
	return int(vrfTable(r.VNI))
}

// errNoVRF is why a leaf has no routers.
var errNoVRF = errors.New("the kernel has no VRF devices (CONFIG_NET_VRF): run a kernel that has them, or take the router's networks off this leaf; an external network can be in the default VRF, with vrf: default in its border")

// routers are the VRFs of a state as they come to be, and what went wrong with
// each.
type routers struct {
	want []leafstate.Router
	errs map[intent.VNI]error
	late map[intent.VNI]error // what a router lacks while the rest of it is in place
}

func (r *routers) fail(v intent.VNI, err error) {
	if err != nil {
		r.errs[v] = errors.Join(r.errs[v], err)
	}
}

// usable are those of which nothing failed so far.
func (r *routers) usable() []leafstate.Router {
	var out []leafstate.Router
	for _, w := range r.want {
		if r.errs[w.VNI] == nil {
			out = append(out, w)
		}
	}
	return out
}

func (r *routers) reports() []leafstate.RouterReport {
	var out []leafstate.RouterReport
	for _, w := range r.want {
		p := leafstate.RouterReport{VNI: w.VNI}
		if err := errors.Join(r.errs[w.VNI], r.late[w.VNI]); err != nil {
			p.Error, p.Capability = err.Error(), errors.Is(err, errNoVRF)
		}
		out = append(out, p)
	}
	return out
}

// bringVRFs makes the routers' VRF devices. They come before all else that a
// router has: by them it is known whether the kernel can have it.
func (r *routers) bringVRFs(have *links) {
	plain := intent.VNI(0)
	for _, w := range r.want {
		switch {
		case !inDefault(w):
			r.fail(w.VNI, bringVRF(have, w.VNI))
		case plain != 0:
			r.fail(w.VNI, errSecondDefault)
		default:
			plain = w.VNI
		}
	}
	if slices.ContainsFunc(r.usable(), func(w leafstate.Router) bool { return !inDefault(w) }) {
		if err := bringRules(true); err != nil {
			for _, w := range r.want {
				r.fail(w.VNI, err)
			}
		}
	}
}

func bringVRF(have *links, v intent.VNI) error {
	name := vrfName(v)
	l, err := have.find(name, "vrf")
	if err != nil {
		return err
	}
	if vrf, ok := l.(*netlink.Vrf); ok && vrf.Table != vrfTable(v) {
		if err := removeLink(l); err != nil {
			return err
		}
		l = nil
	}
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		l, err = have.make(&netlink.Vrf{LinkAttrs: attrs, Table: vrfTable(v)})
		if errors.Is(err, unix.EOPNOTSUPP) {
			return errNoVRF
		}
		if err != nil {
			return err
		}
	}
	return bringAttributes(l, l.Attrs().MTU)
}

// Priorities of the rule for the table of the machine's own addresses: where the
// kernel puts it, and behind that for VRFs, which is 1000. In front of it, what a
// tenant sends to one of the machine's own addresses would be taken for the
// machine's.
const (
	localFirst = 0
	localLast  = 32765
)

// bringRules puts the rule for the machine's own addresses behind that for VRFs,
// or back. There is one of the two at any time.
func bringRules(behind bool) error {
	add, del := localFirst, localLast
	if behind {
		add, del = del, add
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := netlink.RuleList(family)
		if err != nil {
			return fmt.Errorf("read routing rules: %w", err)
		}
		has := map[int]bool{}
		for _, r := range rules {
			has[r.Priority] = has[r.Priority] || r.Table == unix.RT_TABLE_LOCAL
		}
		if !behind && !has[localLast] {
			continue
		}
		rule := func(priority int) *netlink.Rule {
			r := netlink.NewRule()
			r.Family, r.Priority, r.Table = family, priority, unix.RT_TABLE_LOCAL
			return r
		}
		if !has[add] {
			if err := netlink.RuleAdd(rule(add)); err != nil {
				return fmt.Errorf("add the routing rule for local addresses at %d: %w", add, err)
			}
		}
		if has[del] {
			if err := netlink.RuleDel(rule(del)); err != nil {
				return fmt.Errorf("remove the routing rule for local addresses at %d: %w", del, err)
			}
		}
	}
	return nil
}

// bring makes what routers have beside their VRFs: the L3VNI, the gateways, the
// routes. It returns what is wrong with segments that are to have no gateway.
func (r *routers) bring(k kernel, want leafstate.State) error {
	for _, w := range r.usable() {
		r.fail(w.VNI, canForward(w))
		r.fail(w.VNI, bringL3VNI(k.links, k.flags, want, w))
		r.fail(w.VNI, bringOutside(k, w))
	}
	var errs []error
	for _, seg := range want.Segments {
		addresses, v := gatewaysOf(r.want, seg.VNI)
		if r.errs[v] != nil {
			continue // what is there stays
		}
		err := bringGateways(k, seg.VNI, v, addresses)
		if v != 0 {
			r.fail(v, err)
		} else {
			errs = append(errs, err)
		}
	}
	for _, w := range r.usable() {
		r.fail(w.VNI, bringRoutes(w))
	}
	return errors.Join(errs...)
}

// bringL3VNI brings the bridge and VXLAN device of a router's L3VNI in line. The
// bridge's MAC is the router's MAC of this VTEP.
func bringL3VNI(have *links, flags map[int]portFlags, want leafstate.State, r leafstate.Router) error {
	seg := leafstate.Segment{VNI: r.VNI, MTU: r.MTU}
	bridge, err := bringBridge(have, seg)
	if err != nil {
		return err
	}
	if err := bringMAC(bridge, intent.RouterMAC(want.VTEP)); err != nil {
		return err
	}
	var vrf netlink.Link
	if !inDefault(r) {
		vrf = have.byName[vrfName(r.VNI)]
	}
	if err := bringMaster(bridge, vrf); err != nil {
		return err
	}
	return errors.Join(bringVXLAN(have, flags, want.VTEP, seg, bridge), setRouting(bridge.Attrs().Name))
}

func bringMAC(l netlink.Link, mac intent.MAC) error {
	if intent.MAC(l.Attrs().HardwareAddr) == mac {
		return nil
	}
	if err := netlink.LinkSetHardwareAddr(l, mac[:]); err != nil {
		return fmt.Errorf("set the MAC of %s to %s: %w", l.Attrs().Name, mac, err)
	}
	return nil
}

// bringMaster puts an interface into a VRF, or out of any when it is nil.
func bringMaster(l, vrf netlink.Link) error {
	switch {
	case vrf == nil && l.Attrs().MasterIndex == 0 || vrf != nil && l.Attrs().MasterIndex == vrf.Attrs().Index:
		return nil
	case vrf == nil:
		if err := netlink.LinkSetNoMaster(l); err != nil {
			return fmt.Errorf("take %s out of its VRF: %w", l.Attrs().Name, err)
		}
		l.Attrs().MasterIndex = 0
		return nil
	}
	_, err := join(l, vrf)
	return err
}

// routing are the kernel's settings of a bridge whose packets are routed, by
// their paths under /proc/sys/net; %s is its name.
var routing = map[string]string{
	"ipv4/conf/%s/forwarding": "1",
	"ipv4/conf/%s/rp_filter":  "0", // paths there and back may differ
	"ipv6/conf/%s/forwarding": "1",
	"ipv6/conf/%s/accept_dad": "0",
	// What a host answers to the gateway of another leaf comes to that of its
	// own, which has the same MAC: it learns by it where the host is, and tells.
	"ipv4/conf/%s/arp_accept":          "1",
	"ipv6/conf/%s/accept_untracked_na": "1",
}

func setRouting(bridge string) error { return setAll(bridge, routing) }

// setAll sets settings of an interface.
func setAll(name string, settings map[string]string) error {
	for path, value := range settings {
		path = "/proc/sys/net/" + fmt.Sprintf(path, name)
		now, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || strings.TrimSpace(string(now)) == value {
			continue // an older kernel, or done before
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
