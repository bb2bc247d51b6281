package intent

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// faultsOf decodes one object and returns what it says of itself, "" for none.
func faultsOf(t *testing.T, in string) string {
	t.Helper()
	os, err := Decode([]byte(in), "f")
	require.NoError(t, err, in)
	require.Len(t, os, 1)
	if err := os[0].Validate(); err != nil {
		return err.Error()
	}
	return ""
}

func TestRouterValidate(t *testing.T) {
	for name, c := range map[string]struct{ spec, want string }{
		"nothing":             {"{}", ""},
		"all":                 {`{vni: 9, networks: [{network: a, gateways: [10.0.0.1, "fd00::1"]}, {network: b}], routes: [{prefix: 0.0.0.0/0, nextHops: [{address: 10.0.0.9, weight: 3}, {port: fw}]}, {prefix: "2001:db8::/32", nextHops: [{address: "fd00::9"}]}, {prefix: 192.0.2.0/24, blackhole: true}], routeTargets: {import: ["65000:1"], export: ["192.0.2.1:7"]}}`, ""},
		"VNI":                 {"{vni: 16777216}", "spec.vni: 16777216 is outside 1..16777215"},
		"route target":        {`{routeTargets: {export: ["1"]}}`, `spec.routeTargets.export[0]: "1" is not a route target like 65000:10100 or 192.0.2.1:100`},
		"no network's name":   {"{networks: [{network: Up}]}", `spec.networks[0].network: "Up" is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends`},
		"a network twice":     {"{networks: [{network: a}, {network: b}, {network: a}]}", "spec.networks[2].network: a is given twice: spec.networks[0] has it too"},
		"multicast gateway":   {"{networks: [{network: a, gateways: [224.0.0.1]}]}", "spec.networks[0].gateways[0]: is not an address that a router may have"},
		"unspecified gateway": {"{networks: [{network: a, gateways: [0.0.0.0]}]}", "spec.networks[0].gateways[0]: is not an address that a router may have"},
		"mapped gateway":      {`{networks: [{network: a, gateways: ["::ffff:10.0.0.1"]}]}`, "spec.networks[0].gateways[0]: is not an address that a router may have"},
		"gateway with zone":   {`{networks: [{network: a, gateways: ["fe80::1%eth0"]}]}`, "spec.networks[0].gateways[0]: is not an address that a router may have"},
		"host bits":           {"{routes: [{prefix: 192.0.2.1/24, blackhole: true}]}", "spec.routes[0].prefix: 192.0.2.1/24 has host bits set: use 192.0.2.0/24"},
		"no prefix":           {"{routes: [{blackhole: true}]}", "spec.routes[0].prefix: is not a prefix like 192.0.2.0/24"},
		"mapped prefix":       {`{routes: [{prefix: "::ffff:10.0.0.0/120", blackhole: true}]}`, "spec.routes[0].prefix: is not a prefix like 192.0.2.0/24"},
		"multicast prefix":    {"{routes: [{prefix: 224.0.0.0/4, blackhole: true}]}", "spec.routes[0].prefix: 224.0.0.0/4 can't be routed"},
		"link-local prefix":   {`{routes: [{prefix: "fe80::/64", blackhole: true}]}`, "spec.routes[0].prefix: fe80::/64 can't be routed"},
		"a prefix twice":      {"{routes: [{prefix: 10.9.0.0/16, blackhole: true}, {prefix: 10.9.0.0/16, nextHops: [{port: p}]}]}", "spec.routes[1].prefix: 10.9.0.0/16 is given twice: spec.routes[0] has it too; give one route several nextHops"},
		"hole with a hop":     {"{routes: [{prefix: 10.9.0.0/16, blackhole: true, nextHops: [{port: p}]}]}", "spec.routes[0].blackhole: goes without nextHops: give one of them"},
		"nowhere":             {"{routes: [{prefix: 10.9.0.0/16}]}", "spec.routes[0].nextHops: is missing: say where to send, or set blackhole"},
		"hop of both":         {"{routes: [{prefix: 10.9.0.0/16, nextHops: [{port: p, address: 10.0.0.1}]}]}", "spec.routes[0].nextHops[0]: has both address and port: give one of them"},
		"hop of neither":      {"{routes: [{prefix: 10.9.0.0/16, nextHops: [{weight: 2}]}]}", "spec.routes[0].nextHops[0]: has neither address nor port"},
		"hop's port":          {"{routes: [{prefix: 10.9.0.0/16, nextHops: [{port: P}]}]}", `spec.routes[0].nextHops[0].port: "P" is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends`},
		"hop's family":        {`{routes: [{prefix: 10.9.0.0/16, nextHops: [{address: "fd00::1"}]}]}`, "spec.routes[0].nextHops[0].address: fd00::1 is of another family than 10.9.0.0/16"},
		"hop's weight":        {"{routes: [{prefix: 10.9.0.0/16, nextHops: [{port: p, weight: 257}]}]}", "spec.routes[0].nextHops[0].weight: 257 is outside 1..256"},
		"a hop twice":         {"{routes: [{prefix: 10.9.0.0/16, nextHops: [{port: p}, {port: p, weight: 2}]}]}", "spec.routes[0].nextHops[1]: is given twice: use weight"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want != "" {
				c.want = "Router t/r: " + c.want
			}
			require.Equal(t, c.want, faultsOf(t, "kind: Router\nmetadata: {name: r, tenant: t}\nspec: "+c.spec))
		})
	}
	r := &Router{Metadata: Metadata{Name: "r", Tenant: "t"}, Spec: RouterSpec{Routes: []StaticRoute{{Prefix: netip.MustParsePrefix("10.9.0.0/16")}}}}
	for i := range maxNextHops + 1 {
		r.Spec.Routes[0].NextHops = append(r.Spec.Routes[0].NextHops, NextHop{Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})})
	}
	require.EqualError(t, r.Validate(), "Router t/r: spec.routes[0].nextHops: has 65: a route may have 64")
}

func TestCheckRouter(t *testing.T) {
	networks := map[string]*Network{}
	for name, subnets := range map[string][]string{
		"a": {"10.0.0.0/24", "fd00::/64"}, "b": {"10.0.1.0/24"}, "c": {"10.0.1.128/25"}, "six": {"fd00:0:0:1::/64"}, "none": nil,
	} {
		n := &Network{Metadata: Metadata{Name: name, Tenant: "t"}}
		for _, s := range subnets {
			n.Spec.Subnets = append(n.Spec.Subnets, netip.MustParsePrefix(s))
		}
		networks[name] = n
	}
	for name, c := range map[string]struct{ spec, want string }{
		"nothing":             {"{}", ""},
		"networks":            {"{networks: [{network: a}, {network: b}, {network: six}, {network: none}]}", ""},
		"all":                 {`{networks: [{network: a, gateways: ["fd00::fe", 10.0.0.254]}, {network: b}], routes: [{prefix: 0.0.0.0/0, nextHops: [{address: 10.0.1.2}]}, {prefix: "::/0", nextHops: [{address: "fd00::1"}]}]}`, ""},
		"unknown":             {"{networks: [{network: x}], routes: [{prefix: 0.0.0.0/0, nextHops: [{address: 10.0.1.2}]}]}", `spec.networks[0].network: names an unknown network "x" of tenant t`},
		"overlap":             {"{networks: [{network: b}, {network: c}]}", "spec.networks[1].network: subnet 10.0.1.128/25 of c overlaps 10.0.1.0/24 of b: a router can't tell them apart"},
		"gateway outside":     {"{networks: [{network: a, gateways: [10.0.1.1]}]}", "spec.networks[0].gateways[0]: 10.0.1.1 is outside the subnets [10.0.0.0/24 fd00::/64] of Network t/a"},
		"gateway of no host":  {"{networks: [{network: a, gateways: [10.0.0.255]}]}", "spec.networks[0].gateways[0]: 10.0.0.255 is the network or broadcast address of 10.0.0.0/24"},
		"anycast of RFC 4291": {`{networks: [{network: a, gateways: ["fd00::"]}]}`, "spec.networks[0].gateways[0]: fd00:: is the network or broadcast address of fd00::/64"},
		"two gateways":        {"{networks: [{network: a, gateways: [10.0.0.1, 10.0.0.2]}]}", "spec.networks[0].gateways[1]: 10.0.0.2 is a second gateway of 10.0.0.0/24: give one"},
		"a subnet's route":    {"{networks: [{network: a}], routes: [{prefix: 10.0.0.0/24, blackhole: true}]}", "spec.routes[0].prefix: 10.0.0.0/24 is a subnet of a: it is routed already"},
		"hop elsewhere":       {"{networks: [{network: a}], routes: [{prefix: 10.9.0.0/16, nextHops: [{address: 10.0.1.2}]}]}", "spec.routes[0].nextHops[0].address: 10.0.1.2 is in no subnet of the router's networks"},
		"hop is broadcast":    {"{networks: [{network: a}], routes: [{prefix: 10.9.0.0/16, nextHops: [{address: 10.0.0.255}]}]}", "spec.routes[0].nextHops[0].address: 10.0.0.255 is the network or broadcast address of 10.0.0.0/24"},
		"hop is itself":       {"{networks: [{network: a}], routes: [{prefix: 10.9.0.0/16, nextHops: [{address: 10.0.0.1}]}]}", "spec.routes[0].nextHops[0].address: 10.0.0.1 is the router's own address on a"},
		"hop is not itself":   {"{networks: [{network: a, gateways: [10.0.0.254]}], routes: [{prefix: 10.9.0.0/16, nextHops: [{address: 10.0.0.1}]}]}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			os, err := Decode([]byte("kind: Router\nmetadata: {name: r, tenant: t}\nspec: "+c.spec), "f")
			require.NoError(t, err)
			require.NoError(t, os[0].Validate())
			err = CheckRouter(os[0].(*Router), networks)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, "Router t/r: "+c.want)
			}
		})
	}
}

func TestGateways(t *testing.T) {
	rn := RouterNetwork{Network: "a", Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.254")}}
	require.Equal(t, "10.0.0.254", rn.Gateway(netip.MustParsePrefix("10.0.0.0/24")).String())
	require.Equal(t, "10.0.1.1", rn.Gateway(netip.MustParsePrefix("10.0.1.0/24")).String())
	require.Equal(t, "fd00::1", rn.Gateway(netip.MustParsePrefix("fd00::/64")).String())
	require.EqualValues(t, 1, NextHop{}.Share())
	require.EqualValues(t, 7, NextHop{Weight: 7}.Share())
	require.Equal(t, "06:77:0a:01:02:03", RouterMAC(netip.MustParseAddr("10.1.2.3")).String())
	require.True(t, RouterMAC(netip.Addr{}).IsZero())
}
