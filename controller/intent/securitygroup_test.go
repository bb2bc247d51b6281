package intent

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

const tenancy = `kind: Network
metadata: {name: web, tenant: t}
spec:
  subnets: [10.0.0.0/24]
  dhcp:
    dns: [192.0.2.53, "2001:db8::53"]
    ntp: [192.0.2.123]
    domain: example.net
    lease: 3600
    routes: [{prefix: 192.0.2.0/24, via: 10.0.0.254}]
---
kind: SecurityGroup
metadata: {name: web, tenant: t}
spec:
  id: 7
  description: what faces outside
  rules:
  - {direction: ingress, protocol: tcp, ports: 80}
  - {direction: ingress, protocol: tcp, ports: 8000-8080, cidr: 192.0.2.0/24}
  - {direction: ingress, protocol: icmp, icmpType: 0, icmpCode: 0, group: web}
  - {direction: egress, protocol: 47, cidr: "2001:db8::/32"}
  - {direction: egress}
---
kind: Port
metadata: {name: p, tenant: t}
spec:
  network: web
  securityGroups: [web]
  qos: {out: {rate: 10M, burst: 500k}, in: {rate: 1G}, dscp: 0}
---
kind: Router
metadata: {name: r, tenant: t}
spec:
  vni: 5
  networks: [{network: web, gateways: [10.0.0.254]}]
  routes:
  - {prefix: 0.0.0.0/0, nextHops: [{address: 10.0.0.9, weight: 256}, {port: p}]}
  - {prefix: 198.51.100.0/24, blackhole: true}
  routeTargets: {import: ["65000:5"]}
`

func TestTenancyRoundTrips(t *testing.T) {
	os, err := Decode([]byte(tenancy), "a.yaml")
	require.NoError(t, err)
	require.Len(t, os, 4)
	for _, o := range os {
		require.NoError(t, o.Validate(), o.Ref())
	}
	out, err := EncodeYAML(os...)
	require.NoError(t, err)
	again, err := Decode(out, "b.yaml")
	require.NoError(t, err, string(out))
	require.Equal(t, os, again, string(out))
	for _, o := range os {
		b, err := json.Marshal(o)
		require.NoError(t, err)
		fresh, err := New(o.Ref().Kind)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, fresh), string(b))
		require.Equal(t, o.Ref(), fresh.Ref())
		back, err := json.Marshal(fresh)
		require.NoError(t, err)
		require.JSONEq(t, string(b), string(back))
		fromJSON, err := Decode(b, "c.json")
		require.NoError(t, err, string(b))
		require.Len(t, fromJSON, 1)
		require.NoError(t, fromJSON[0].Validate())
	}
	rules := os[1].(*SecurityGroup).Spec.Rules
	var said []string
	for _, r := range rules {
		said = append(said, r.String())
	}
	require.Equal(t, []string{
		"ingress tcp 80 from anywhere", "ingress tcp 8000-8080 from 192.0.2.0/24", "ingress icmp type 0 code 0 from group web",
		"egress 47 to 2001:db8::/32", "egress any protocol to anywhere",
	}, said)
	for i, want := range [][2]bool{{true, true}, {true, false}, {true, false}, {false, true}, {true, true}} {
		v4, v6 := rules[i].Families()
		require.Equal(t, want, [2]bool{v4, v6}, said[i])
	}
	require.Equal(t, uint8(0), *rules[2].ICMPType, "zero is a type too")
}

func TestDecodeRefusesRules(t *testing.T) {
	for name, c := range map[string]struct{ rule, want string }{
		"port in words":       {"{direction: ingress, protocol: tcp, ports: http}", `spec.rules[0].ports: "http" is not a port like 80 or a range like 8000-8080`},
		"port zero":           {"{direction: ingress, protocol: tcp, ports: 0}", `spec.rules[0].ports: "0" is not a port like 80 or a range like 8000-8080`},
		"range upside down":   {"{direction: ingress, protocol: tcp, ports: 90-80}", `spec.rules[0].ports: "90-80" is not a port like 80 or a range like 8000-8080`},
		"range open":          {"{direction: ingress, protocol: tcp, ports: 80-}", `spec.rules[0].ports: "80-" is not a port like 80 or a range like 8000-8080`},
		"port too large":      {"{direction: ingress, protocol: tcp, ports: 1-65536}", `spec.rules[0].ports: "1-65536" is not a port like 80 or a range like 8000-8080`},
		"ports as a list":     {"{direction: ingress, protocol: tcp, ports: [80]}", "spec.rules[0].ports: a single value is expected"},
		"type too large":      {"{direction: ingress, protocol: icmp, icmpType: 256}", `spec.rules[0].icmpType: "256" is not a whole number from 0 to 255`},
		"code negative":       {"{direction: ingress, protocol: icmp, icmpType: 3, icmpCode: -1}", `spec.rules[0].icmpCode: "-1" is not a whole number from 0 to 255`},
		"CIDR without length": {"{direction: ingress, cidr: 10.0.0.1}", `spec.rules[0].cidr: "10.0.0.1" is not a subnet like 10.0.0.0/24`},
		"CIDR empty":          {`{direction: ingress, cidr: ""}`, "spec.rules[0].cidr: is empty: leave it out to allow any"},
		"group empty":         {`{direction: ingress, group: ""}`, "spec.rules[0].group: is empty: leave it out to allow any"},
		"ports null":          {"{direction: ingress, protocol: tcp, ports: }", "spec.rules[0].ports: is empty: leave it out to allow any"},
		"protocol empty":      {`{direction: ingress, protocol: ""}`, "spec.rules[0].protocol: is empty: leave it out to allow any"},
		"unknown field":       {"{direction: ingress, port: 80}", "spec.rules[0].port: is not a field: use one of cidr, direction, group, icmpCode, icmpType, ports, protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			os, err := Decode([]byte("kind: SecurityGroup\nmetadata: {name: g, tenant: t}\nspec: {rules: ["+c.rule+"]}"), "f")
			require.EqualError(t, err, "f:3: SecurityGroup t/g: "+c.want)
			require.Empty(t, os)
		})
	}
	for in, want := range map[string]string{
		"kind: SecurityGroup\nmetadata: {name: g, tenant: t}\nspec: {id: 0}":  "f:3: SecurityGroup t/g: spec.id: 0 is outside 1..16777215; leave it out to have one allocated",
		"kind: Router\nmetadata: {name: r, tenant: t}\nspec: {vni: 0}":        "f:3: Router t/r: spec.vni: 0 is outside 1..16777215; leave it out to have one allocated",
		"kind: Port\nmetadata: {name: p, tenant: t}\nspec: {qos: {dscp: -1}}": `f:3: Port t/p: spec.qos.dscp: "-1" is not a whole number from 0 to 255`,
	} {
		_, err := Decode([]byte(in), "f")
		require.EqualError(t, err, want)
	}
}

func TestSecurityGroupValidate(t *testing.T) {
	for name, c := range map[string]struct{ spec, want string }{
		"nothing":             {"{}", ""},
		"ID":                  {"{id: 16777216}", "spec.id: 16777216 is outside 1..16777215"},
		"direction":           {"{rules: [{direction: in}]}", `spec.rules[0].direction: "in" is not known: use ingress or egress`},
		"no direction":        {"{rules: [{}]}", `spec.rules[0].direction: "" is not known: use ingress or egress`},
		"protocol":            {"{rules: [{direction: egress, protocol: quic}]}", `spec.rules[0].protocol: "quic" is not known: use tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255`},
		"protocol 256":        {"{rules: [{direction: egress, protocol: 256}]}", `spec.rules[0].protocol: "256" is not known: use tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255`},
		"ports on ICMP":       {"{rules: [{direction: ingress, protocol: icmp, ports: 80}]}", "spec.rules[0].ports: goes with tcp, udp and sctp: icmp has no ports"},
		"ports on anything":   {"{rules: [{direction: ingress, ports: 80}]}", "spec.rules[0].ports: goes with tcp, udp and sctp: any protocol has no ports"},
		"ports by number":     {"{rules: [{direction: ingress, protocol: 17, ports: 53}]}", ""},
		"type on TCP":         {"{rules: [{direction: ingress, protocol: tcp, icmpType: 8}]}", "spec.rules[0].icmpType: goes with icmp and icmpv6"},
		"code without type":   {"{rules: [{direction: ingress, protocol: icmp, icmpCode: 1}]}", "spec.rules[0].icmpCode: goes with icmpType"},
		"group's name":        {"{rules: [{direction: ingress, group: A}]}", `spec.rules[0].group: "A" is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends`},
		"both sides":          {"{rules: [{direction: ingress, group: a, cidr: 10.0.0.0/8}]}", "spec.rules[0]: has both cidr and group: give one of them"},
		"host bits":           {"{rules: [{direction: ingress, cidr: 10.0.0.1/24}]}", "spec.rules[0].cidr: 10.0.0.1/24 has host bits set: use 10.0.0.0/24"},
		"one address":         {"{rules: [{direction: ingress, cidr: 10.0.0.1/32}]}", ""},
		"mapped":              {`{rules: [{direction: ingress, cidr: "::ffff:10.0.0.0/104"}]}`, "spec.rules[0].cidr: is not a prefix like 10.0.0.0/24"},
		"ICMP of IPv6":        {`{rules: [{direction: ingress, protocol: icmp, cidr: "fd00::/8"}]}`, "spec.rules[0].cidr: fd00::/8 is IPv6, and icmp is IPv4: use icmpv6"},
		"ICMPv6 of IPv4":      {"{rules: [{direction: ingress, protocol: icmpv6, cidr: 10.0.0.0/8}]}", "spec.rules[0].cidr: 10.0.0.0/8 is IPv4, and icmpv6 is IPv6: use icmp"},
		"twice":               {"{rules: [{direction: ingress, protocol: tcp, ports: 80}, {direction: egress}, {direction: ingress, protocol: tcp, ports: 80-80}]}", "spec.rules[2]: is given twice: spec.rules[0] says the same"},
		"the two ICMP anyway": {"{rules: [{direction: ingress, protocol: icmp}, {direction: ingress, protocol: icmpv6}]}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want != "" {
				c.want = "SecurityGroup t/g: " + c.want
			}
			require.Equal(t, c.want, faultsOf(t, "kind: SecurityGroup\nmetadata: {name: g, tenant: t}\nspec: "+c.spec))
		})
	}
}

func TestPortGroupsValidate(t *testing.T) {
	for spec, want := range map[string]string{
		"network: n, securityGroups: [a, b]":                                                   "",
		"network: n, securityGroups: [a, b, a]":                                                "spec.securityGroups[2]: a is given twice",
		"network: n, securityGroups: [A]":                                                      `spec.securityGroups[0]: "A" is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends`,
		"network: n, securityGroups: [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q]":                      "spec.securityGroups: has 17 groups: a port may be in 16",
		"network: n, securityGroups: [a], binding: {node: tor, interface: eth1, vlan: 7}":      "spec.securityGroups: can't be kept on a tagged port of a switch: only vSwitches filter statefully",
		"network: n, qos: {dscp: 64}":                                                          "spec.qos.dscp: 64 is outside 0..63",
		"network: n, qos: {out: {rate: 10}}":                                                   "spec.qos.out.rate: 10 is outside 64k..1000G",
		"network: n, qos: {in: {rate: fast}}":                                                  `spec.qos.in.rate: "fast" is not a rate like 500k, 10M or 1G`,
		"network: n, qos: {in: {rate: 10Mk}}":                                                  `spec.qos.in.rate: "10Mk" is not a rate like 500k, 10M or 1G`,
		"network: n, qos: {in: {rate: 1001G}}":                                                 `spec.qos.in.rate: "1001G" is not a rate like 500k, 10M or 1G`,
		"network: n, qos: {in: {burst: 1M}}":                                                   "spec.qos.in.burst: goes with rate",
		"network: n, qos: {in: {rate: 1M, burst: 1k}}":                                         "spec.qos.in.burst: 1k is less than one packet of 1,500 octets: use 12k or more",
		"network: n, qos: {in: {rate: 1M, burst: x}}":                                          `spec.qos.in.burst: "x" is not a number of bits like 500k or 10M`,
		"network: n, qos: {out: {rate: 64k, burst: 12k}, in: {rate: 1000G}, dscp: 63}":         "",
		"network: n, securityGroups: [a], binding: {ifaceID: vm}, qos: {out: {rate: 1000000}}": "",
	} {
		if want != "" {
			want = "Port t/p: " + want
		}
		require.Equal(t, want, faultsOf(t, "kind: Port\nmetadata: {name: p, tenant: t}\nspec: {"+spec+"}"), spec)
	}
}

func TestDHCPValidate(t *testing.T) {
	for dhcp, want := range map[string]string{
		"{}":                    "",
		"{dns: [0.0.0.0]}":      "spec.dhcp.dns[0]: is not a server's address",
		`{ntp: ["ff02::1"]}`:    "spec.dhcp.ntp[0]: is not a server's address",
		"{domain: has a space}": `spec.dhcp.domain: "has a space" is not a domain name`,
		"{lease: 59}":           "spec.dhcp.lease: 59 s is too short: use 60 or more",
		"{lease: 60}":           "",
		"{dns: [1.0.0.1, 1.0.0.2, 1.0.0.3, 1.0.0.4, 1.0.0.5, 1.0.0.6, 1.0.0.7, 1.0.0.8, 1.0.0.9]}": "spec.dhcp.dns: has 9 servers: stations are told of 8",
		`{routes: [{prefix: "fd00::/64", via: 10.0.0.1}]}`:                                         "spec.dhcp.routes[0].prefix: is not an IPv4 prefix: IPv6 stations learn routes by router advertisements",
		"{routes: [{prefix: 192.0.2.1/24, via: 10.0.0.1}]}":                                        "spec.dhcp.routes[0].prefix: 192.0.2.1/24 has host bits set: use 192.0.2.0/24",
		"{routes: [{prefix: 192.0.2.0/24, via: 10.0.1.1}]}":                                        "spec.dhcp.routes[0].via: 10.0.1.1 is outside the IPv4 subnets of the network",
		`{routes: [{prefix: 192.0.2.0/24, via: "fd00::1"}]}`:                                       "spec.dhcp.routes[0].via: fd00::1 is outside the IPv4 subnets of the network",
	} {
		if want != "" {
			want = "Network t/n: " + want
		}
		require.Equal(t, want, faultsOf(t, "kind: Network\nmetadata: {name: n, tenant: t}\nspec: {subnets: [10.0.0.0/24, \"fd00::/64\"], dhcp: "+dhcp+"}"), dhcp)
	}
	require.Equal(t, "Network t/n: spec.dhcp: goes with spec.subnets: there is no address to give", faultsOf(t, "kind: Network\nmetadata: {name: n, tenant: t}\nspec: {dhcp: {lease: 600}}"))
}

func TestShortNamesOfKinds(t *testing.T) {
	for s, want := range map[string]Kind{"router": KindRouter, "Routers": KindRouter, "rtr": KindRouter, "vrf": KindRouter, "vrfs": KindRouter,
		"sg": KindSecurityGroup, "sgs": KindSecurityGroup, "securitygroup": KindSecurityGroup, "SecurityGroups": KindSecurityGroup, "net": KindNetwork, "acl": KindNetworkACL, "acls": KindNetworkACL, "networkacls": KindNetworkACL,
		"extnet": KindExternalNetwork, "externalnetwork": KindExternalNetwork, "fip": KindFloatingIP, "fips": KindFloatingIP, "FloatingIPs": KindFloatingIP} {
		k, err := ParseKind(s)
		require.NoError(t, err)
		require.Equal(t, want, k, s)
	}
	_, err := ParseKind("vlans")
	require.EqualError(t, err, `unknown kind "vlans": use one of tenants, nodes, links, fabrics, externalnetworks, networkacls, networks, securitygroups, ports, routers, floatingips, interconnects, steeringpolicies`)
}

func TestTenantQoS(t *testing.T) {
	for q, fault := range map[string]string{
		"{}":                           "",
		"{out: {rate: 1G}}":            "",
		"{in: {rate: 64k, burst: 1M}}": "",
		"{out: {rate: 10}}":            "spec.qos.out.rate: 10 is outside 64k..1000G",
		"{in: {burst: 1M}}":            "spec.qos.in.burst: goes with rate",
		"{dscp: 4}":                    "spec.qos.dscp: is not a field: use one of in, out",
	} {
		os, err := Decode([]byte("kind: Tenant\nmetadata: {name: t}\nspec: {qos: "+q+"}\n"), "f")
		if err == nil {
			err = os[0].Validate()
		}
		if fault == "" {
			require.NoError(t, err, q)
		} else {
			require.ErrorContains(t, err, fault, q)
		}
	}
}
