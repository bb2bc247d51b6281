package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// filterTable is the name of our nftables tables, in the families bridge and inet.
const filterTable = "weft"

// filterText are the tables for some ports, by interface, and for the outside.
func filterText(ports []leafstate.Port, s leafstate.State) string {
	return bridgeText(ports, standInRules(intent.RouterMAC(s.VTEP), s.Routers)) + outsideText(s.Routers)
}

// bridgeText is the table of the family bridge.
func bridgeText(ports []leafstate.Port, standIns []string) string {
	ports = slices.Clone(ports)
	slices.SortFunc(ports, func(a, b leafstate.Port) int { return strings.Compare(a.Interface, b.Interface) })
	var b strings.Builder
	// Naming the table first makes deleting it no error when there is none.
	fmt.Fprintf(&b, "table bridge %s\ndelete table bridge %s\n", filterTable, filterTable)
	if len(ports)+len(standIns) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "table bridge %s {\n", filterTable)
	if len(standIns) > 0 {
		fmt.Fprintf(&b, " chain standin {\n  type filter hook prerouting priority -200; policy accept;\n  %s\n }\n", strings.Join(standIns, "\n  "))
	}
	if len(ports) == 0 {
		b.WriteString("}\n")
		return b.String()
	}
	for i, p := range ports {
		fmt.Fprintf(&b, " chain port%d {\n", i)
		for _, rule := range portRules(p) {
			fmt.Fprintf(&b, "  %s drop\n", rule)
		}
		b.WriteString(" }\n")
	}
	b.WriteString(" chain admission {\n  type filter hook prerouting priority -300; policy accept;\n")
	for i, p := range ports {
		fmt.Fprintf(&b, "  iifname %q jump port%d\n", p.Interface, i)
	}
	b.WriteString(" }\n}\n")
	return b.String()
}

// portRules are the matches of what a port must not send. A port without
// addresses is an L2 port: its MAC alone is checked.
func portRules(p leafstate.Port) []string {
	rules := []string{"ether saddr != " + p.MAC.String()}
	if len(p.Addresses) == 0 {
		return rules
	}
	var v4, v6 []string
	for _, a := range p.Addresses {
		if a.Is4() {
			v4 = append(v4, a.String())
		} else {
			v6 = append(v6, a.String())
		}
	}
	types := []string{"0x8035"} // RARP, by which a VM that arrives announces itself
	if len(v4) > 0 {
		types = append(types, "ip", "arp")
		rules = append(rules,
			// A DHCP client has no address yet (RFC 2131 section 4.1), nor has
			// who probes for duplicates (RFC 5227 section 2.1.1).
			"ip saddr 0.0.0.0 udp dport != 67", "ip saddr 0.0.0.0 ip protocol != udp",
			"ip saddr != "+senders(v4, sources(p, true), netip.IPv4Unspecified().String()),
			"arp saddr ether != "+p.MAC.String(),
			"arp saddr ip != "+set(v4, netip.IPv4Unspecified().String()))
	}
	if len(v6) > 0 {
		types = append(types, "ip6")
		rules = append(rules,
			"icmpv6 type { nd-router-advert, nd-redirect }",
			"ip6 saddr != "+senders(v6, sources(p, false), p.MAC.LinkLocal().String(), netip.IPv6Unspecified().String()),
			// Without an address one may look for duplicates and report
			// listeners only (RFC 4862 section 5.4, RFC 3590).
			"ip6 saddr :: icmpv6 type != { nd-neighbor-solicit, mld2-listener-report }", "ip6 saddr :: meta l4proto != ipv6-icmp")
	}
	return append(rules, "ether type != "+set(types))
}

// sources are the prefixes behind a port from which it may send, of IPv4 or IPv6.
func sources(p leafstate.Port, v4 bool) (out []netip.Prefix) {
	for _, s := range p.Sources {
		if s.Addr().Is4() == v4 {
			out = append(out, s)
		}
	}
	return out
}

// senders is the set of addresses and prefixes; nft takes none that overlap.
func senders(addresses []string, prefixes []netip.Prefix, more ...string) string {
	within := func(a netip.Addr, bits int) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Bits() < bits && p.Contains(a) })
	}
	var list []string
	for _, s := range append(slices.Clone(addresses), more...) {
		if a := netip.MustParseAddr(s); !within(a, a.BitLen()+1) {
			list = append(list, s)
		}
	}
	for _, p := range prefixes {
		if !within(p.Addr(), p.Bits()) {
			list = append(list, p.String())
		}
	}
	return set(list)
}

func set(list []string, more ...string) string {
	return "{ " + strings.Join(append(slices.Clone(list), more...), ", ") + " }"
}

// portsOf lists all ports of a state.
func portsOf(s leafstate.State) []leafstate.Port {
	var out []leafstate.Port
	for _, seg := range s.Segments {
		out = append(out, seg.Ports...)
	}
	return out
}

// allPorts lists the ports of two states; where both have an interface, as the
// second has it.
func allPorts(old, now leafstate.State) []leafstate.Port {
	out := portsOf(now)
	for _, p := range portsOf(old) {
		if !slices.ContainsFunc(out, func(q leafstate.Port) bool { return q.Interface == p.Interface }) {
			out = append(out, p)
		}
	}
	return out
}

// setFilters puts the tables in place, all of it at once, unless it is there and
// nobody changed any rule of the kernel since.
func (s *Switch) setFilters(ctx context.Context, text string) error {
	before, err := rulesGeneration()
	if err != nil {
		return err
	}
	if text == s.filters && before == s.rules {
		return nil
	}
	s.filters, s.rules = text, 0
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set filters: nft: %w: %s", err, firstLine(string(out)))
	}
	// Another generation than the next one means that somebody else changed
	// something as well: the table is set again the next time.
	if after, err := rulesGeneration(); err == nil && after == before+1 {
		s.rules = after
	}
	return nil
}

// What the kernel calls the generation of its rules, from
// linux/netfilter/nf_tables.h.
const (
	nftSubsystem = 10
	nftNewGen    = nftSubsystem<<8 | 15
	nftGetGen    = nftSubsystem<<8 | 16
	nftGenID     = 1
)

// rulesGeneration is a number that rises with each change of the nftables rules
// of this network namespace.
func rulesGeneration() (uint32, error) {
	req := nl.NewNetlinkRequest(nftGetGen, 0)
	req.AddData(&nl.Nfgenmsg{})
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, nftNewGen)
	if err != nil {
		return 0, fmt.Errorf("read the generation of the filters: %w", err)
	}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
		if err != nil {
			return 0, fmt.Errorf("read the generation of the filters: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == nftGenID && len(a.Value) == 4 {
				return binary.BigEndian.Uint32(a.Value), nil
			}
		}
	}
	return 0, errors.New("read the generation of the filters: the kernel has none")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
