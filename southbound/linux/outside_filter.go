package linux

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// outsideText is our nftables table in the family inet: what passes between the
// outside and an external VRF.
//
//   - From outside comes what goes to an announced prefix and is from none, and what
//     peers say to the leaf itself; anybody may ping its address. So nobody outside
//     uses the leaf as a transit, nor reaches the underlay.
//   - To the outside goes what is from an announced prefix.
//   - The default VRF is shared with the underlay, so there nothing else crosses
//     between the bridge of the L3VNI, the links to the outside, and the rest; and
//     what the leaf says itself, such as time exceeded, is from its address outside.
func outsideText(routers []leafstate.Router) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\n", filterTable, filterTable)
	routers = slices.DeleteFunc(slices.Clone(routers), func(r leafstate.Router) bool { return r.Outside == nil || len(r.Outside.Peers) == 0 })
	if len(routers) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "table inet %s {\n", filterTable)
	chains := map[string][]string{} // rules of the chains with a hook
	for _, r := range routers {
		links := set(quoted(r))
		bridge := fmt.Sprintf("%q", bridgeName(r.VNI))
		fmt.Fprintf(&b, " chain from%d {\n%s }\n", r.VNI, fromOutside(r.Outside))
		fmt.Fprintf(&b, " chain to%d {\n%s }\n", r.VNI, toOutside(r.Outside, bridge))
		chains["prerouting"] = append(chains["prerouting"], fmt.Sprintf("iifname %s jump from%d", links, r.VNI))
		chains["forward"] = append(chains["forward"], fmt.Sprintf("oifname %s jump to%d", links, r.VNI))
		if !r.Outside.Default {
			continue
		}
		chains["forward"] = append(chains["forward"], fmt.Sprintf("iifname %s oifname != %s drop", links, bridge),
			fmt.Sprintf("iifname %s oifname != %s drop", bridge, set(append(quoted(r), bridge))),
			fmt.Sprintf("oifname %s iifname != %s drop", bridge, set(append(quoted(r), bridge))))
		for _, v4 := range []bool{true, false} {
			ip, icmp := words(v4)
			if in := insideOf(r.Outside, v4); len(in.locals) > 0 {
				chains["output"] = append(chains["output"], fmt.Sprintf("oifname %s meta l4proto %s %s saddr != %s %s saddr set %s", set(append(quoted(r), bridge)), icmp, ip, set(append(linkLocal(v4), in.locals...)), ip, in.locals[0]))
				chains["input"] = append(chains["input"], fmt.Sprintf("iifname %s %s daddr %s meta l4proto %s accept", bridge, ip, set(in.locals), icmp))
			}
		}
		chains["input"] = append(chains["input"], fmt.Sprintf("iifname %s drop", bridge))
	}
	for _, c := range []struct{ name, priority string }{{"prerouting", "-150"}, {"forward", "0"}, {"input", "0"}, {"output", "0"}} {
		if len(chains[c.name]) > 0 {
			fmt.Fprintf(&b, " chain %[1]s {\n  type filter hook %[1]s priority %[2]s; policy accept;\n  %[3]s\n }\n", c.name, c.priority, strings.Join(chains[c.name], "\n  "))
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// words are nft's for a family.
func words(v4 bool) (ip, icmp string) {
	if v4 {
		return "ip", "icmp"
	}
	return "ip6", "ipv6-icmp"
}

// linkLocal are the addresses of a family that a link has by itself.
func linkLocal(v4 bool) []string {
	if v4 {
		return nil
	}
	return []string{"fe80::/10"}
}

// quoted are the interfaces that lead outside, by name.
func quoted(r leafstate.Router) (names []string) {
	for name := range outsideAddresses(r) {
		names = append(names, fmt.Sprintf("%q", name))
	}
	slices.Sort(names)
	return names
}

// fromOutside are the rules for what comes from routers outside.
func fromOutside(o *leafstate.Outside) string {
	var b strings.Builder
	rule := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	// Neighbour discovery, and BGP with BFD between link-local addresses.
	rule("ip6 saddr { fe80::/10, :: } ip6 daddr { fe80::/10, ff02::/16 } accept")
	for _, v4 := range []bool{true, false} {
		ip, icmp := words(v4)
		in := insideOf(o, v4)
		if len(in.locals) > 0 {
			rule("%s saddr %s %s daddr %s accept", ip, set(in.peers), ip, set(in.locals))
			rule("%s daddr %s meta l4proto %s accept", ip, set(in.locals), icmp)
			if !v4 {
				rule("ip6 saddr %s ip6 daddr { fe80::/10, ff02::/16 } accept", set(in.peers))
			}
		}
		if len(in.announced) > 0 {
			rule("%s saddr %s drop", ip, set(in.announced))
			rule("%s daddr %s accept", ip, set(in.announced))
		}
	}
	rule("counter drop")
	return b.String()
}

// toOutside are the rules for what is forwarded to routers outside.
func toOutside(o *leafstate.Outside, bridge string) string {
	var b strings.Builder
	if o.Default {
		fmt.Fprintf(&b, "  iifname != %s counter drop\n", bridge)
	}
	for _, v4 := range []bool{true, false} {
		ip, _ := words(v4)
		if in := insideOf(o, v4); len(in.announced) > 0 {
			fmt.Fprintf(&b, "  %s saddr %s accept\n", ip, set(in.announced))
		}
	}
	b.WriteString("  counter drop\n")
	return b.String()
}

// standInRules have the bridge of an L3VNI take frames to the router MACs of other
// borders as its own.
func standInRules(vtep intent.MAC, routers []leafstate.Router) (rules []string) {
	for _, r := range routers {
		if r.Outside != nil && len(r.Outside.Others) > 0 {
			rules = append(rules, fmt.Sprintf("iifname %q ether daddr %s ether daddr set %s meta pkttype set host", vxlanName(r.VNI), set(routerMACs(r.Outside.Others)), vtep))
		}
	}
	return rules
}
