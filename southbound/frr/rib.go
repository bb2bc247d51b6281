package frr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
)

// Route is a route as zebra has it from one protocol.
type Route struct {
	Prefix   netip.Prefix
	Protocol string // bgp, isis, static, connected, kernel, ...
	Distance int    // administrative; 200 of iBGP
	// Selected says that it is the best of all protocols' for the prefix.
	Selected bool
	// Installed says that zebra believes it to be in the kernel.
	Installed bool
	NextHops  []NextHop // the usable ones; none for a blackhole
}

// NextHop is a next hop that zebra can resolve to an interface.
type NextHop struct {
	Via       netip.Addr // not set when the destination is on the link
	Interface string
	Index     int // of the interface
	Weight    int // 1 when they are all alike
	Onlink    bool
}

// distanceIBGP is FRR's administrative distance of routes from the own AS.
const distanceIBGP = 200

// Internal reports whether a route comes from an iBGP session.
func (r Route) Internal() bool { return r.Protocol == "bgp" && r.Distance == distanceIBGP }

type ribNextHop struct {
	IP        string `json:"ip"`
	Interface string `json:"interfaceName"`
	Index     int    `json:"interfaceIndex"`
	Active    bool   `json:"active"`
	Recursive bool   `json:"recursive"`
	Duplicate bool   `json:"duplicate"`
	Onlink    bool   `json:"onLink"`
	Weight    int    `json:"weight"`
}

// ParseRIB reads what "show ip route json" and "show ipv6 route json" print: all
// routes of the default VRF, by prefix, the better protocol first.
func ParseRIB(b []byte) ([]Route, error) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] == '%' {
		return nil, nil
	}
	var all map[string][]struct {
		Prefix    string       `json:"prefix"`
		Protocol  string       `json:"protocol"`
		VRF       string       `json:"vrfName"`
		Distance  int          `json:"distance"`
		Selected  bool         `json:"selected"`
		Installed bool         `json:"installed"`
		NextHops  []ribNextHop `json:"nexthops"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read zebra's routes: %w", err)
	}
	var list []Route
	for name, routes := range all {
		for _, r := range routes {
			p, err := netip.ParsePrefix(r.Prefix)
			if err != nil {
				return nil, fmt.Errorf("read zebra's route %q: %w", name, err)
			}
			if r.VRF != "" && r.VRF != "default" {
				continue
			}
			out := Route{Prefix: p.Masked(), Protocol: r.Protocol, Distance: r.Distance, Selected: r.Selected, Installed: r.Installed}
			for _, h := range r.NextHops {
				hop, ok, err := h.resolved()
				if err != nil {
					return nil, fmt.Errorf("read zebra's route %s: %w", p, err)
				}
				if ok {
					out.NextHops = append(out.NextHops, hop)
				}
			}
			list = append(list, out)
		}
	}
	slices.SortStableFunc(list, func(a, b Route) int {
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		if c := a.Prefix.Bits() - b.Prefix.Bits(); c != 0 {
			return c
		}
		return a.Distance - b.Distance
	})
	return list, nil
}

// resolved is a next hop that packets are sent to. A recursive one is followed by
// those that it resolves to.
func (h ribNextHop) resolved() (NextHop, bool, error) {
	if !h.Active || h.Recursive || h.Duplicate || h.Interface == "" {
		return NextHop{}, false, nil
	}
	out := NextHop{Interface: h.Interface, Index: h.Index, Weight: max(h.Weight, 1), Onlink: h.Onlink}
	if h.IP != "" {
		a, err := netip.ParseAddr(h.IP)
		if err != nil {
			return NextHop{}, false, fmt.Errorf("next hop %q: %w", h.IP, err)
		}
		out.Via = a.Unmap()
	}
	return out, true, nil
}
