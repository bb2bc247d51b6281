package intent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestExternalNetworkValidate(t *testing.T) {
	peer := func(fields string) string { return "{borders: [{node: b, peers: [{" + fields + "}]}]}" }
	link := func(a, b string) string { return "{borders: [{node: b, peers: [{" + a + "}, {" + b + "}]}]}" }
	const good = `address: 192.0.2.1, asn: 1, interface: e1, local: 192.0.2.0/31`
	for name, c := range map[string]struct{ spec, want string }{
		"nothing":              {"{}", ""},
		"all":                  {`{vni: 5000, routeTargets: {export: ["65000:1"]}, pools: [203.0.113.0/24, "2001:db8:f::/64"], import: [0.0.0.0/0, "::/0"], borders: [{node: b, peers: [{` + good + `, bfd: true}, {address: "2001:db8::1", asn: 1, interface: e1, local: "2001:db8::/127"}]}, {node: c}]}`, ""},
		"VNI":                  {"{vni: 16777216}", "spec.vni: 16777216 is outside 1..16777215"},
		"route target":         {`{routeTargets: {import: [x]}}`, `spec.routeTargets.import[0]: "x" is not a route target like 65000:10100 or 192.0.2.1:100`},
		"pool with host bits":  {"{pools: [203.0.113.1/24]}", "spec.pools[0]: 203.0.113.1/24 has host bits set: use 203.0.113.0/24"},
		"pools that overlap":   {"{pools: [203.0.113.0/24, 203.0.113.128/25]}", "spec.pools[1]: 203.0.113.128/25 overlaps spec.pools[0] (203.0.113.0/24)"},
		"multicast pool":       {"{pools: [224.0.0.0/24]}", "spec.pools[0]: 224.0.0.0/24 can't be routed"},
		"all addresses":        {"{pools: [0.0.0.0/0]}", "spec.pools[0]: 0.0.0.0/0 has no addresses for stations"},
		"loopback pool":        {"{pools: [127.0.0.0/8]}", "spec.pools[0]: 127.0.0.0/8 has no addresses for stations"},
		"imports that overlap": {"{import: [10.0.0.0/8, 10.1.0.0/16]}", "spec.import[1]: 10.1.0.0/16 overlaps spec.import[0] (10.0.0.0/8)"},
		"no node":              {"{borders: [{}]}", "spec.borders[0].node: is missing: say which leaf leads outside"},
		"a border twice":       {"{borders: [{node: b}, {node: b}]}", "spec.borders[1].node: b is given twice: spec.borders[0] has it too; give one border several peers"},
		"no AS":                {peer("address: 192.0.2.1, interface: e1, local: 192.0.2.0/31"), "spec.borders[0].peers[0].asn: is missing: say in which AS the router outside is"},
		"no interface":         {peer("address: 192.0.2.1, asn: 1, local: 192.0.2.0/31"), "spec.borders[0].peers[0].interface: is missing: say which interface of the border leads to it"},
		"no address":           {peer("asn: 1, interface: e1, local: 192.0.2.0/31"), "spec.borders[0].peers[0].address: is not the unicast address of a router, such as 192.0.2.1"},
		"link-local address":   {peer(`address: "fe80::1", asn: 1, interface: e1, local: 192.0.2.0/31`), "spec.borders[0].peers[0].address: is not the unicast address of a router, such as 192.0.2.1"},
		"no local address":     {peer("address: 192.0.2.1, asn: 1, interface: e1"), "spec.borders[0].peers[0].local: is not an address with a length, such as 192.0.2.0/31"},
		"its own peer":         {peer("address: 192.0.2.1, asn: 1, interface: e1, local: 192.0.2.1/31"), "spec.borders[0].peers[0].local: 192.0.2.1 is the peer's own address"},
		"a peer far away":      {peer("address: 192.0.2.9, asn: 1, interface: e1, local: 192.0.2.0/31"), "spec.borders[0].peers[0].address: 192.0.2.9 is not on the link 192.0.2.0/31 of local: the router outside must be one hop away"},
		"a peer twice":         {link(good, good), "spec.borders[0].peers[1].address: 192.0.2.1 is given twice: spec.borders[0].peers[0] has it too"},
		"a link on two":        {link("address: 192.0.2.1, asn: 1, interface: e1, local: 192.0.2.5/29", "address: 192.0.2.2, asn: 1, interface: e2, local: 192.0.2.5/29"), "spec.borders[0].peers[1].local: 192.0.2.5/29 is on e1 already, by spec.borders[0].peers[0]"},
		"links that overlap":   {link(good, "address: 192.0.2.4, asn: 1, interface: e2, local: 192.0.2.5/29"), "spec.borders[0].peers[1].local: 192.0.2.5/29 overlaps 192.0.2.0/31 of spec.borders[0].peers[0]: a border can't tell the links apart"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want != "" {
				c.want = "ExternalNetwork x: " + c.want
			}
			require.Equal(t, c.want, faultsOf(t, "kind: ExternalNetwork\nmetadata: {name: x}\nspec: "+c.spec))
		})
	}
	require.Equal(t, "ExternalNetwork x: metadata.tenant: must be left out: an external network belongs to no tenant",
		faultsOf(t, "kind: ExternalNetwork\nmetadata: {name: x, tenant: t}"))
}

func TestFloatingIPValidate(t *testing.T) {
	for name, c := range map[string]struct{ spec, want string }{
		"short":        {"{external: x, port: p}", ""},
		"all":          {"{external: x, port: p, address: 203.0.113.1, fixed: 10.0.0.1}", ""},
		"no external":  {"{port: p}", "spec.external: is missing: say from which external network the address is"},
		"no port":      {"{external: x}", "spec.port: is missing: say which port has the address"},
		"multicast":    {"{external: x, port: p, address: 224.0.0.1}", "spec.address: 224.0.0.1 is not a unicast address"},
		"loopback":     {`{external: x, port: p, fixed: "::1"}`, "spec.fixed: ::1 is not a unicast address"},
		"two families": {`{external: x, port: p, address: 203.0.113.1, fixed: "fd00::1"}`, "spec.fixed: fd00::1 is of another family than 203.0.113.1"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want != "" {
				c.want = "FloatingIP t/f: " + c.want
			}
			require.Equal(t, c.want, faultsOf(t, "kind: FloatingIP\nmetadata: {name: f, tenant: t}\nspec: "+c.spec))
		})
	}
}

func TestSourceAddressesValidate(t *testing.T) {
	for list, want := range map[string]string{
		"[{external: x}, {external: y, addresses: [203.0.113.1, \"2001:db8::1\"]}]": "",
		"[{external: x}, {external: x}]":                                            "spec.vswitch.sourceAddresses[1].external: x is given twice: spec.vswitch.sourceAddresses[0] has it too",
		"[{external: x, addresses: [203.0.113.1, 203.0.113.2]}]":                    "spec.vswitch.sourceAddresses[0].addresses[1]: 203.0.113.2 is of the same family as 203.0.113.1: give one of each",
		"[{external: x, addresses: [0.0.0.0]}]":                                     "spec.vswitch.sourceAddresses[0].addresses[0]: is not a unicast address",
	} {
		if want != "" {
			want = "Node h: " + want
		}
		require.Equal(t, want, faultsOf(t, "kind: Node\nmetadata: {name: h}\nspec: {role: hypervisor, vtep: 10.0.0.1, vswitch: {ovsdb: \"tcp:10.0.0.1:6640\", sourceAddresses: "+list+"}}"))
	}
}

func TestRouterOutsideAndImports(t *testing.T) {
	for name, c := range map[string]struct{ spec, want string }{
		"all":                 {`{external: {network: x, snat: true, advertise: [10.0.0.0/24]}, imports: [{routeTarget: "65000:1", prefixes: [10.9.0.0/24]}, {routeTarget: "65000:2"}]}`, ""},
		"no external network": {"{external: {snat: true}}", `spec.external.network: "" is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends`},
		"host bits":           {"{external: {network: x, advertise: [10.0.0.1/24]}}", "spec.external.advertise[0]: 10.0.0.1/24 has host bits set: use 10.0.0.0/24"},
		"one inside another":  {"{external: {network: x, advertise: [10.0.0.0/24, 10.0.0.0/25]}}", "spec.external.advertise[1]: 10.0.0.0/25 overlaps spec.external.advertise[0] (10.0.0.0/24)"},
		"no route target":     {"{imports: [{}]}", `spec.imports[0].routeTarget: "" is not a route target like 65000:10100 or 192.0.2.1:100`},
		"twice":               {`{imports: [{routeTarget: "65000:1"}, {routeTarget: "65000:01"}]}`, "spec.imports[1].routeTarget: 65000:01 is given twice: spec.imports[0] has it too"},
		"filter's host bits":  {`{imports: [{routeTarget: "65000:1", prefixes: [10.9.0.1/24]}]}`, "spec.imports[0].prefixes[0]: 10.9.0.1/24 has host bits set: use 10.9.0.0/24"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want != "" {
				c.want = "Router t/r: " + c.want
			}
			require.Equal(t, c.want, faultsOf(t, "kind: Router\nmetadata: {name: r, tenant: t}\nspec: "+c.spec))
		})
	}
	many := strings.Repeat("{}, ", maxImports) + "{}"
	require.Contains(t, faultsOf(t, "kind: Router\nmetadata: {name: r, tenant: t}\nspec: {imports: ["+many+"]}"), "spec.imports: has 17: a router may have 16")
}

// A filter that is there and empty takes nothing less than all by mistake.
func TestEmptyFiltersAreRefused(t *testing.T) {
	for in, want := range map[string]string{
		"kind: Router\nmetadata: {name: r, tenant: t}\nspec: {imports: [{routeTarget: \"1:1\", prefixes: []}]}": "f:3: Router t/r: spec.imports[0].prefixes: is empty: leave it out to take all subnets",
		"kind: Router\nmetadata: {name: r, tenant: t}\nspec: {imports: [{routeTarget: \"1:1\", prefixes: }]}":   "f:3: Router t/r: spec.imports[0].prefixes: is empty: leave it out to take all subnets",
		"kind: ExternalNetwork\nmetadata: {name: x}\nspec: {import: []}":                                        "f:3: ExternalNetwork x: spec.import: is empty: leave it out to take all",
	} {
		_, err := Decode([]byte(in), "f")
		require.EqualError(t, err, want)
	}
}

func TestExternalNetworkTakes(t *testing.T) {
	n := &ExternalNetwork{}
	require.True(t, n.Takes(netip.MustParsePrefix("0.0.0.0/0")))
	n.Spec.Import = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")}
	for p, want := range map[string]bool{"0.0.0.0/0": false, "10.0.0.0/8": true, "10.1.0.0/16": true, "11.0.0.0/8": false, "::/0": true, "2001:db8::/32": true} {
		require.Equal(t, want, n.Takes(netip.MustParsePrefix(p)), p)
	}
}

func TestImportTakes(t *testing.T) {
	for _, c := range []struct{ filter, subnets, routes, want string }{
		{"", "10.1.0.0/24 10.0.0.0/24", "0.0.0.0/0", "10.0.0.0/24 10.1.0.0/24"},
		{"10.0.0.0/8", "10.1.0.0/24 192.168.0.0/24", "10.7.0.0/16 172.16.0.0/12", "10.1.0.0/24 10.7.0.0/16"},
		{"10.1.0.9/32", "10.1.0.0/24", "10.0.0.0/8", "10.1.0.9/32"},
		{"0.0.0.0/0", "10.1.0.0/24", "0.0.0.0/0", "0.0.0.0/0"},
		{"::/0", "10.1.0.0/24 fd00::/64", "", "fd00::/64"},
		{"10.9.0.0/24", "10.1.0.0/24", "0.0.0.0/0", ""},
	} {
		require.Equal(t, parsed(c.want), RouterImport{Prefixes: parsed(c.filter)}.Takes(parsed(c.subnets), parsed(c.routes)), "%+v", c)
	}
}

func parsed(list string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range strings.Fields(list) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// Property: an address is taken if and only if it is in a subnet or in a route
// that the filter lets through whole; no prefix is inside another.
func TestImportTakesProperty(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host")}), rapid.IntRange(24, 32).Draw(t, "length")).Masked()
	})
	rapid.Check(t, func(t *rapid.T) {
		list := func(name string) []netip.Prefix { return rapid.SliceOfN(draw, 0, 4).Draw(t, name) }
		imp, subnets, routes := RouterImport{Prefixes: list("filter")}, list("subnets"), list("routes")
		got := imp.Takes(subnets, routes)
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			want := false
			for _, s := range subnets {
				want = want || s.Contains(a) && (len(imp.Prefixes) == 0 || contains(imp.Prefixes, a))
			}
			for _, r := range routes {
				for _, p := range imp.Prefixes {
					want = want || r.Contains(a) && Within(r, p)
				}
			}
			if contains(got, a) != want {
				t.Fatalf("%s: taken %v, want %v: %v", a, !want, want, got)
			}
		}
		for i, p := range got {
			for j, q := range got {
				if i != j && Within(p, q) {
					t.Fatalf("%s is inside %s", p, q)
				}
			}
		}
	})
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func TestExports(t *testing.T) {
	r := &Router{Metadata: Metadata{Name: "r", Tenant: "t"}, Spec: RouterSpec{VNI: 900}}
	target := func(s string) RouteTarget { rt, err := ParseRouteTarget(s); require.NoError(t, err); return rt }
	require.True(t, r.Exports(target("65000:900"), "t"), "what is made from the L3VNI, in any AS")
	require.True(t, r.Exports(target("1:900"), "t"))
	require.False(t, r.Exports(target("65000:901"), "t"))
	require.False(t, r.Exports(target("65000:900"), "other"), "a VNI is guessed easily")
	r.Spec.RouteTargets.Export = []string{"65000:7", "192.0.2.1:9"}
	for s, want := range map[string]bool{"65000:900": false, "65000:7": true, "192.0.2.1:9": true, "65001:7": false} {
		for _, tenant := range []string{"t", "other"} {
			require.Equal(t, want, r.Exports(target(s), tenant), s)
		}
	}
}

func TestLeaksInOrderAndOnce(t *testing.T) {
	router := func(tenant, name string, v VNI, export ...string) *Router {
		return &Router{Metadata: Metadata{Name: name, Tenant: tenant}, Spec: RouterSpec{VNI: v, RouteTargets: RouteTargets{Export: export}}}
	}
	r := router("t", "r", 1, "1:1")
	r.Spec.Imports = []RouterImport{{RouteTarget: "1:5", Prefixes: parsed("10.5.0.0/16")}, {RouteTarget: "1:1"}, {RouteTarget: "1:6"}}
	others := []Exporter{
		{router("a", "x", 2, "1:5", "1:6"), parsed("10.5.1.0/24 10.6.0.0/24")},
		{router("a", "hidden", 5), parsed("10.7.0.0/24")},
		{r, parsed("10.1.0.0/24")},
		{router("t", "y", 6), parsed("10.8.0.0/24")},
	}
	var got []string
	for _, l := range Leaks(r, others) {
		got = append(got, fmt.Sprint(l.Prefix, " ", l.From, " ", l.Import))
	}
	require.Equal(t, []string{"10.5.1.0/24 Router a/x 0", "10.6.0.0/24 Router a/x 2", "10.8.0.0/24 Router t/y 2"}, got)
	require.NoError(t, CheckLeaks(r, parsed("10.1.0.0/24"), Leaks(r, others)))
}

// A default route from elsewhere covers what a router has; two of them meet.
func TestDefaultRoutesMayCover(t *testing.T) {
	all := netip.MustParsePrefix("0.0.0.0/0")
	r := &Router{Metadata: Metadata{Name: "r", Tenant: "t"}, Spec: RouterSpec{Imports: []RouterImport{{}}}}
	x, y := Ref{KindRouter, "t", "x"}, Ref{KindRouter, "t", "y"}
	own := parsed("10.0.0.0/24")
	require.NoError(t, CheckLeaks(r, own, []Leak{{all, x, 0}, {netip.MustParsePrefix("10.9.0.0/24"), y, 0}}))
	require.EqualError(t, CheckLeaks(r, own, []Leak{{all, x, 0}, {all, y, 0}}),
		"Router t/r: spec.imports[0]: 0.0.0.0/0 of Router t/y overlaps 0.0.0.0/0 of Router t/x, which spec.imports[0] takes: a router can't tell them apart; take less by prefixes")
	r.Spec.Routes = []StaticRoute{{Prefix: all, Blackhole: true}}
	require.EqualError(t, CheckLeaks(r, own, []Leak{{all, x, 0}}),
		"Router t/r: spec.imports[0]: 0.0.0.0/0 of Router t/x is spec.routes[0] of this router too: take less by prefixes, or take the route away")
}
