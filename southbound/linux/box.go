package linux

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// serialFiles are where the firmware's serial number is (SMBIOS 3.7 section 7.2 and
// 7.3), the system's before the board's.
var serialFiles = []string{"/sys/class/dmi/id/product_serial", "/sys/class/dmi/id/board_serial"}

// noSerials are what vendors leave in place of a serial number.
var noSerials = []string{"", "none", "0", "default", "unknown", "notspecified", "systemserialnumber", "tobefilledbyo.e.m.", "n/a"}

// Serial is the box's serial number as its firmware has it; when it has none that is
// one, "mac-" and the MAC address of the first port. Empty when there is no port
// either.
func Serial() string {
	for _, f := range serialFiles {
		b, err := os.ReadFile(f)
		if s := firmwareSerial(string(b)); err == nil && s != "" {
			return s
		}
	}
	if m := FirstMAC(); !m.IsZero() {
		return "mac-" + strings.ReplaceAll(m.String(), ":", "")
	}
	return ""
}

// firmwareSerial is what a file has, without spaces; empty when that is no serial
// number.
func firmwareSerial(text string) string {
	s := strings.Join(strings.Fields(text), "")
	if slices.Contains(noSerials, strings.ToLower(s)) || intent.CheckSerial(s) != nil {
		return ""
	}
	return s
}

// FirstMAC is the MAC address of the Ethernet port with the lowest index; zero when
// there is none.
func FirstMAC() intent.MAC {
	links, err := allLinks()
	if err != nil {
		return intent.MAC{}
	}
	var first netlink.Link
	for _, l := range links {
		if isPort(l) && (first == nil || l.Attrs().Index < first.Attrs().Index) {
			first = l
		}
	}
	if first == nil {
		return intent.MAC{}
	}
	return intent.MAC(first.Attrs().HardwareAddr)
}

// Describe says how the switch is set up: its addresses, the port by which it reaches
// the controller, a URL, and its BGP. What can't be read is left out. Serial number,
// name and ports are the caller's.
func Describe(ctx context.Context, frrDir, controller string) switchstate.Announcement {
	a := switchstate.Announcement{MAC: FirstMAC()}
	links, err := readLinks()
	if err != nil {
		return a
	}
	all, err := readAddresses()
	if err != nil {
		return a
	}
	local := localAddress(ctx, controller)
	for index, l := range links.byIndex {
		if ours(l) {
			continue
		}
		name := l.Attrs().Name
		for _, p := range all[index] {
			if p.Addr() == local {
				a.Management = name
			}
			if !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
				a.Addresses = append(a.Addresses, switchstate.Address{Interface: name, Address: p})
			}
		}
	}
	slices.SortFunc(a.Addresses, func(x, y switchstate.Address) int {
		return strings.Compare(x.Interface+" "+x.Address.String(), y.Interface+" "+y.Address.String())
	})
	a.ASN, a.RouterID = readBGP(ctx, frrDir)
	return a
}

// localAddress is the switch's address on the way to the controller. Nothing is sent.
func localAddress(ctx context.Context, controller string) netip.Addr {
	u, err := url.Parse(controller)
	if err != nil || u.Hostname() == "" {
		return netip.Addr{}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(u.Hostname(), "9"))
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	at, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

// readBGP asks bgpd for its AS and identifier; both are empty when it has none.
func readBGP(ctx context.Context, frrDir string) (asn uint32, routerID string) {
	b, err := VTY(ctx, frrDir, "bgpd", "show bgp summary json")
	if err != nil {
		return 0, ""
	}
	return parseBGPSummary(b)
}

// parseBGPSummary reads the AS and the identifier of the default VRF.
func parseBGPSummary(b []byte) (asn uint32, routerID string) {
	var families map[string]struct {
		RouterID string `json:"routerId"`
		AS       uint32 `json:"as"`
	}
	if json.Unmarshal(b, &families) != nil {
		return 0, ""
	}
	for _, f := range families {
		if id, err := netip.ParseAddr(f.RouterID); err == nil && f.AS != 0 {
			return f.AS, id.String()
		}
	}
	return 0, ""
}
