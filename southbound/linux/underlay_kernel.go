package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/southbound/frr"
)

// bringUnderlay brings the kernel's settings, and the ports and the loopback in line,
// and says what it had to do. Ours are the addresses that are or were wanted, the MTU
// of wanted ports and the settings of frr.Sysctls. A port that is set down by
// somebody stays down, as a port whose cable is out: a new state sets it up once.
func bringUnderlay(want device.State, last *device.State, up bool) (done []string, err error) {
	done, err = bringSysctls(frr.Sysctls(want))
	errs := []error{err}
	have, err := readLinks()
	if err != nil {
		return done, errors.Join(append(errs, err)...)
	}
	addresses, err := readAddresses()
	if err != nil {
		return done, errors.Join(append(errs, err)...)
	}
	old := map[string][]netip.Prefix{}
	if last != nil {
		for _, i := range ports(*last) {
			old[i.Name] = i.Addresses
		}
	}
	for _, i := range ports(want) {
		l := have.byName[i.Name]
		if l == nil {
			errs = append(errs, fmt.Errorf("interface %s: no such device: see the link's spec.endpoints, or the switch's ports", i.Name))
			continue
		}
		told, err := bringUnderlayPort(l, i, addresses[l.Attrs().Index], old[i.Name], up)
		done, errs = append(done, told...), append(errs, err)
		delete(old, i.Name)
	}
	for name, was := range old { // ports that are not in the fabric any more
		if l := have.byName[name]; l != nil {
			told, err := bringUnderlayPort(l, device.Interface{Name: name}, addresses[l.Attrs().Index], was, false)
			done, errs = append(done, told...), append(errs, err)
		}
	}
	return done, errors.Join(errs...)
}

// ports are a state's interfaces, the loopback first.
func ports(s device.State) []device.Interface {
	return append([]device.Interface{{Name: "lo", Addresses: s.Loopbacks}}, s.Interfaces...)
}

// bringUnderlayPort brings the addresses and the MTU of a port in line.
func bringUnderlayPort(l netlink.Link, want device.Interface, have, last []netip.Prefix, up bool) (done []string, err error) {
	var errs []error
	note := func(err error, format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
			return
		}
		done = append(done, what)
	}
	if want.MTU != 0 && l.Attrs().MTU != want.MTU {
		note(netlink.LinkSetMTU(l, want.MTU), "interface %s: MTU set from %d to %d", want.Name, l.Attrs().MTU, want.MTU)
	}
	for _, a := range last {
		if slices.Contains(have, a) && !slices.Contains(want.Addresses, a) {
			note(netlink.AddrDel(l, kernelAddress(a)), "interface %s: address %s removed", want.Name, a)
		}
	}
	down := l.Attrs().RawFlags&unix.IFF_UP == 0
	if up && down {
		note(netlink.LinkSetUp(l), "interface %s: set up", want.Name)
		down = false
	}
	for _, a := range want.Addresses {
		if down && a.Addr().Is6() {
			continue // the kernel takes them away with the port
		}
		if !slices.Contains(have, a) {
			note(netlink.AddrReplace(l, kernelAddress(a)), "interface %s: address %s added", want.Name, a)
		}
	}
	return done, errors.Join(errs...)
}

func kernelAddress(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// bringSysctls sets what differs. What the kernel does not have is left out: it may be
// built without IPv6.
func bringSysctls(want map[string]string) (done []string, err error) {
	var errs []error
	names := make([]string, 0, len(want))
	for name := range want {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		have, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && sameSetting(string(have), want[name]) {
			continue
		}
		if err == nil {
			err = os.WriteFile(path, []byte(want[name]), 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set %s to %s: %w", name, want[name], err))
			continue
		}
		done = append(done, fmt.Sprintf("setting %s: set from %s to %s", name, strings.TrimSpace(string(have)), want[name]))
	}
	return done, errors.Join(errs...)
}

// sameSetting compares a setting, be it a number.
func sameSetting(have, want string) bool {
	have = strings.TrimSpace(have)
	if have == want {
		return true
	}
	h, err1 := strconv.Atoi(have)
	w, err2 := strconv.Atoi(want)
	return err1 == nil && err2 == nil && h == w
}
