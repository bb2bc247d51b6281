package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/southbound/frr"
	"golang.org/x/sys/unix"
)

// makeLink makes a veth pair straight in the two namespaces, under the names
// that the file gives: no name is ever taken in the host's namespace.
func makeLink(lab string, l Link) error {
	fail := func(err error) error {
		return fmt.Errorf("link %s:%s to %s:%s: %w", l.A.Node, l.A.Interface, l.B.Node, l.B.Interface, err)
	}
	other, err := os.Open(netns.Path(Namespace(lab, l.B.Node)))
	if err != nil {
		return fail(err)
	}
	defer other.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = l.A.Interface, l.MTU
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: l.B.Interface, PeerMTU: uint32(l.MTU), PeerNamespace: netlink.NsFd(other.Fd())}
	if !l.A.MAC.IsZero() {
		veth.HardwareAddr = l.A.MAC[:]
	}
	if !l.B.MAC.IsZero() {
		veth.PeerHardwareAddr = net.HardwareAddr(l.B.MAC[:])
	}
	err = netns.Do(Namespace(lab, l.A.Node), func() error {
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		return setUp(l.A.Interface)
	})
	if err == nil {
		err = netns.Do(Namespace(lab, l.B.Node), func() error { return setUp(l.B.Interface) })
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// setUp sets an interface of the current namespace up.
func setUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}

// makeNamespace makes a node's namespace with loopback up.
func makeNamespace(name string, sysctls map[string]string) error {
	return netns.Create(name, func() error {
		if err := setSysctls(sysctls); err != nil {
			return err
		}
		return setUp("lo")
	})
}

// setSysctls writes settings of the current namespace. Those that the kernel
// does not have are skipped when it is IPv6 that is missing, or they are optional.
func setSysctls(settings map[string]string) error {
	for k, v := range settings {
		path := k
		if !strings.HasPrefix(k, "/") {
			path = "/proc/sys/" + strings.ReplaceAll(k, ".", "/")
		}
		if err := os.WriteFile(path, []byte(v), 0o644); err != nil {
			if errors.Is(err, os.ErrNotExist) && (strings.Contains(path, "/ipv6/") || frr.Optional(k)) {
				continue
			}
			return fmt.Errorf("set %s: %w", k, err)
		}
	}
	return nil
}

// hostSysctls suit machines at the edge: their addresses are theirs at once.
var hostSysctls = map[string]string{
	"net.ipv6.conf.all.accept_dad":     "0",
	"net.ipv6.conf.default.accept_dad": "0",
	"net.ipv6.conf.default.accept_ra":  "0",
}

// addAddress puts an address on an interface of the current namespace.
func addAddress(a Address) error {
	link, err := netlink.LinkByName(a.Interface)
	if err != nil {
		return fmt.Errorf("find %s: %w", a.Interface, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(a.Prefix)}
	if a.Prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("set %s on %s: %w", a.Prefix, a.Interface, err)
	}
	return nil
}

// addGateway adds a route in the current namespace.
func addGateway(g Gateway) error {
	link, err := netlink.LinkByName(g.Interface)
	if err != nil {
		return fmt.Errorf("find %s: %w", g.Interface, err)
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: g.Via.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
	if g.To.IsValid() {
		r.Dst = ipNet(g.To)
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("route via %s: %w", g.Via, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// checksumOff is "ethtool -K IFACE tx off" in the current namespace. Frames
// that enter Open vSwitch's userspace datapath from a veth need their
// checksums complete; with offload they never are, and TCP hangs.
func checksumOff(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{unix.ETHTOOL_STXCSUM, 0}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(&value)
	if errno != 0 {
		return fmt.Errorf("checksum offload of %s: %w", name, errno)
	}
	return nil
}

// arpOff keeps the kernel from answering ARP on a veth that Open vSwitch's
// br-phy has as its uplink.
func arpOff(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	return netlink.LinkSetARPOff(link)
}

const mgmtBridge = "mgmt"

// makeMgmt makes the bridge of the management network.
func makeMgmt(lab string, gateway netip.Prefix) error {
	return netns.Do(Namespace(lab, mgmtNode), func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = mgmtBridge
		off := false
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}); err != nil {
			return fmt.Errorf("management bridge: %w", err)
		}
		if err := addAddress(Address{mgmtBridge, gateway}); err != nil {
			return err
		}
		return setUp(mgmtBridge)
	})
}

// joinMgmt attaches a node to the management network.
func joinMgmt(lab, node, iface string, number int, addr netip.Prefix) error {
	port := fmt.Sprintf("p%d", number)
	if err := makeLink(lab, Link{A: End{Node: mgmtNode, Interface: port}, B: End{Node: node, Interface: iface}, MTU: 1500}); err != nil {
		return err
	}
	err := netns.Do(Namespace(lab, mgmtNode), func() error {
		bridge, err := netlink.LinkByName(mgmtBridge)
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(link, bridge)
	})
	if err == nil {
		err = netns.Do(Namespace(lab, node), func() error { return addAddress(Address{iface, addr}) })
	}
	if err != nil {
		return fmt.Errorf("attach %s to the management network: %w", node, err)
	}
	return nil
}
