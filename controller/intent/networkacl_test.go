package intent

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

const acls = `kind: NetworkACL
metadata: {name: edge, tenant: t}
spec:
  description: what the outside may
  rules:
  - {action: deny, direction: ingress, protocol: tcp, ports: 22, source: 192.0.2.0/24}
  - {action: allow, direction: ingress, protocol: tcp, ports: 20-80}
  - {action: allow, direction: egress, protocol: tcp, sourcePorts: 20-80, destination: "2001:db8::/32"}
  - {action: allow, direction: ingress, protocol: icmp, icmpType: 0, icmpCode: 0}
  - {action: deny, direction: egress}
---
kind: Network
metadata: {name: web, tenant: t}
spec:
  subnets: [10.0.0.0/24, 10.0.1.0/24]
  acls: [{acl: edge}, {acl: db, subnet: 10.0.1.0/24}]
`

func TestNetworkACLRoundTrips(t *testing.T) {
	os, err := Decode([]byte(acls), "a.yaml")
	require.NoError(t, err)
	require.Len(t, os, 2)
	out, err := EncodeYAML(os...)
	require.NoError(t, err)
	again, err := Decode(out, "b.yaml")
	require.NoError(t, err, string(out))
	require.Equal(t, os, again, string(out))
	for _, o := range os {
		require.NoError(t, o.Validate(), o.Ref())
		b, err := json.Marshal(o)
		require.NoError(t, err)
		fromJSON, err := Decode(b, "c.json")
		require.NoError(t, err, string(b))
		require.Equal(t, []Object{o}, fromJSON)
	}
	rules := os[0].(*NetworkACL).Spec.Rules
	for i, want := range []struct {
		words  string
		v4, v6 bool
	}{
		{"deny ingress tcp from 192.0.2.0/24 to port 22", true, false}, {"allow ingress tcp to port 20-80", true, true},
		{"allow egress tcp from port 20-80 to 2001:db8::/32", false, true}, {"allow ingress icmp type 0 code 0", true, false}, {"deny egress any protocol", true, true},
	} {
		v4, v6 := rules[i].Families()
		require.Equal(t, want, struct {
			words  string
			v4, v6 bool
		}{rules[i].String(), v4, v6})
		require.True(t, rules[i].Equal(again[0].(*NetworkACL).Spec.Rules[i]))
		require.False(t, rules[i].Equal(rules[(i+1)%len(rules)]))
	}
	require.Equal(t, []Ref{{KindNetworkACL, "t", "edge"}, {KindNetworkACL, "t", "db"}}, os[1].(*Network).ACLRefs())
}

func TestNetworkACLRefuses(t *testing.T) {
	for rules, want := range map[string]string{
		"{direction: ingress}":               `spec.rules[0].action: "" is not known: use allow or deny`,
		"{action: drop, direction: ingress}": `spec.rules[0].action: "drop" is not known: use allow or deny`,
		"{action: deny}":                     `spec.rules[0].direction: "" is not known: use ingress or egress`,
		"{action: deny, direction: ingress, protocol: icmp, ports: 80}":                       `spec.rules[0].ports: goes with tcp, udp and sctp: icmp has no ports`,
		"{action: deny, direction: ingress, sourcePorts: 80}":                                 `spec.rules[0].sourcePorts: goes with tcp, udp and sctp: any protocol has no ports`,
		"{action: deny, direction: ingress, protocol: tcp, icmpType: 8}":                      `spec.rules[0].icmpType: goes with icmp and icmpv6`,
		"{action: deny, direction: ingress, protocol: icmp, icmpCode: 8}":                     `spec.rules[0].icmpCode: goes with icmpType`,
		"{action: deny, direction: ingress, source: 10.0.0.1/24}":                             `spec.rules[0].source: 10.0.0.1/24 has host bits set: use 10.0.0.0/24`,
		"{action: deny, direction: ingress, destination: \"fd00::1/64\"}":                     `spec.rules[0].destination: fd00::1/64 has host bits set: use fd00::/64`,
		"{action: deny, direction: ingress, protocol: icmp, destination: \"fd00::/64\"}":      `spec.rules[0].destination: fd00::/64 is IPv6, and icmp is IPv4: use icmpv6`,
		"{action: deny, direction: ingress, source: 10.0.0.0/24, destination: \"fd00::/64\"}": `spec.rules[0].destination: fd00::/64 is of another IP version than source (10.0.0.0/24): nothing matches both`,
		"{action: deny, direction: ingress}, {action: allow, direction: ingress}":             `spec.rules[1]: never decides: spec.rules[0] matches the same, and comes first`,
	} {
		os, err := Decode([]byte("kind: NetworkACL\nmetadata: {name: a, tenant: t}\nspec: {rules: ["+rules+"]}"), "f")
		require.NoError(t, err, rules)
		require.EqualError(t, os[0].Validate(), "NetworkACL t/a: "+want)
	}
	many := &NetworkACL{Metadata: Metadata{Name: "a", Tenant: "t"}}
	for i := range MaxACLRules + 1 {
		many.Spec.Rules = append(many.Spec.Rules, ACLRule{Action: Allow, Direction: Ingress, Protocol: "tcp", Ports: PortRange{uint16(i + 1), uint16(i + 1)}})
	}
	require.EqualError(t, many.Validate(), "NetworkACL t/a: spec.rules: has 257 rules: an ACL may have 256")
	for _, f := range []string{"protocol", "ports", "sourcePorts", "icmpType", "icmpCode", "source", "destination"} {
		_, err := Decode([]byte(fmt.Sprintf("kind: NetworkACL\nmetadata: {name: a, tenant: t}\nspec: {rules: [{action: allow, direction: ingress, %s: }]}", f)), "f")
		require.EqualError(t, err, "f:3: NetworkACL t/a: spec.rules[0]."+f+": is empty: leave it out to match any")
	}
}

func TestNetworkRefusesACLs(t *testing.T) {
	for spec, want := range map[string]string{
		"acls: [{acl: a}]": "spec.acls: goes with spec.subnets: without subnets there is no border to cross",
		"subnets: [10.0.0.0/24], acls: [{acl: a, subnet: 10.0.1.0/24}]":                                "spec.acls[0].subnet: 10.0.1.0/24 is not among spec.subnets",
		"subnets: [10.0.0.0/24], acls: [{acl: a, subnet: 10.0.0.1/24}]":                                "spec.acls[0].subnet: 10.0.0.1/24 is not among spec.subnets",
		"subnets: [10.0.0.0/24], acls: [{acl: a, subnet: 10.0.0.0/24}, {acl: b, subnet: 10.0.0.0/24}]": "spec.acls[1].subnet: 10.0.0.0/24 has an ACL already: spec.acls[0]; put the rules into one",
		"subnets: [10.0.0.0/24], acls: [{acl: a}, {acl: b}]":                                           "spec.acls[1].subnet: is missing: spec.acls[0] is for the whole network already",
		"subnets: [10.0.0.0/24], acls: [{subnet: 10.0.0.0/24}]":                                        `spec.acls[0].acl: "" is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends`,
	} {
		os, err := Decode([]byte("kind: Network\nmetadata: {name: n, tenant: t}\nspec: {"+spec+"}"), "f")
		require.NoError(t, err, spec)
		require.EqualError(t, os[0].Validate(), "Network t/n: "+want)
	}
	_, err := Decode([]byte("kind: Network\nmetadata: {name: n, tenant: t}\nspec: {acls: [{acl: a, subnet: \"\"}]}"), "f")
	require.EqualError(t, err, "f:3: Network t/n: spec.acls[0].subnet: is empty: leave it out to mean the whole network")
}
