package intent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const good = `apiVersion: weft/v1
kind: Tenant
metadata: {name: blue}
---
kind: Network
metadata: {name: web, tenant: blue, labels: {env: prod}}
spec:
  vni: 100
  subnets: [10.0.0.0/24, "fd00::/64"]
---
kind: List
items:
- kind: Port
  metadata: {name: vm1, tenant: blue}
  spec: {network: web, mac: "02:00:00:00:00:01", addresses: [10.0.0.11], binding: {ifaceID: vm1}}
- {kind: Node, metadata: {name: hv1}, spec: {role: hypervisor, vtep: 10.1.1.1, vswitch: {ovsdb: "tcp:10.0.0.1:6640"}}}
- {kind: Node, metadata: {name: leaf9}, spec: {role: leaf, asn: 65009, loopback: 10.1.1.9, vtep: 10.1.1.9, evpn: {unmanaged: true}}}
`

func TestDecodeAndEncode(t *testing.T) {
	os, err := Decode([]byte(good), "a.yaml")
	require.NoError(t, err)
	require.Len(t, os, 5)
	require.True(t, os[4].(*Node).Spec.EVPN.Unmanaged)
	for _, o := range os {
		require.NoError(t, o.Validate(), o.Ref())
	}
	out, err := EncodeYAML(os...)
	require.NoError(t, err)
	again, err := Decode(out, "b.yaml")
	require.NoError(t, err, string(out))
	require.Equal(t, os, again)
	require.Contains(t, string(out), "vtep: 10.1.1.1", "addresses are written")
	none, err := EncodeYAML()
	require.NoError(t, err)
	require.Empty(t, none)
}

// What the API answers for an EVPN leaf can be shown and applied again: its
// session counts in 64 bits.
func TestStatusOfALeafInYAML(t *testing.T) {
	n := &Node{Header: Header{APIVersion, KindNode}, Metadata: Metadata{Name: "leaf1"}, Spec: NodeSpec{Role: RoleLeaf},
		Status: &Status{Phase: PhaseReady, Session: &BGPSession{State: "Established", Received: 1 << 40, Flaps: 2, Updates: Traffic{In: 3}}}}
	out, err := EncodeYAML(n)
	require.NoError(t, err)
	again, err := Decode(out, "f")
	require.NoError(t, err)
	require.Equal(t, []Object{n}, again)
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"broken YAML", "kind: Tenant\nmetadata: {name: a\nspec: b: c\n", "f.yaml:2: broken YAML: did not find expected"},
		{"a broken later document", "kind: Tenant\nmetadata: {name: a}\n---\nkind: Tenant\n  metadata: x\n", "f.yaml:5: broken YAML: mapping values are not allowed in this context"},
		{"VNI in words", "kind: Network\nmetadata: {name: n, tenant: t}\nspec: {vni: ten}\n", `f.yaml:3: Network t/n: spec.vni: "ten" is not a whole number from 0 to 4294967295`},
		{"VNI zero in disguise", "kind: Network\nmetadata: {name: n, tenant: t}\nspec: {vni: 00}\n", "f.yaml:3: Network t/n: spec.vni: 00 is outside 1..16777215; leave it out to have one allocated"},
		{"VLAN zero", "kind: Port\nmetadata: {name: n, tenant: t}\nspec: {binding: {vlan: 0}}\n", "f.yaml:3: Port t/n: spec.binding.vlan: 0 is outside 1..4094; leave it out for untagged frames"},
		{"a truth value in other words", "kind: Node\nmetadata: {name: n}\nspec: {role: leaf, evpn: {unmanaged: yes}}\n", `f.yaml:3: Node n: spec.evpn.unmanaged: "yes" is not true or false`},
		{"a label twice", "kind: Tenant\nmetadata: {name: n, labels: {a: b, a: c}}\n", "f.yaml:2: Tenant n: metadata.labels.a: is given twice"},
		{"a List without items", "kind: List\nitem: []\n", "f.yaml:2: item: is not a field of a List: use items"},
		{"items that are no list", "kind: List\nitems: foo\n", "f.yaml:2: items: a list is expected"},
		{"no kind", "metadata: {name: a}\n", "f.yaml:1: kind: is missing: use one of Tenant, Node, Link, Fabric, ExternalNetwork, NetworkACL, Network, SecurityGroup, Port, Router, FloatingIP"},
		{"unknown kind", "kind: Vlan\n", `f.yaml:1: kind: "Vlan" is not known: use one of Tenant, Node, Link, Fabric, ExternalNetwork, NetworkACL, Network, SecurityGroup, Port, Router, FloatingIP`},
		{"unknown field", "kind: Network\nmetadata: {name: n, tenant: t}\nspec:\n  vnid: 5\n", "f.yaml:4: Network t/n: spec.vnid: is not a field: use one of acls, dhcp, encapsulation, mtu, routeTargets, spoofing, subnets, vni"},
		{"a field twice", "kind: Network\nmetadata: {name: n, tenant: t}\nspec:\n  mtu: 1500\n  mtu: 1400\n", "f.yaml:5: Network t/n: spec.mtu: is given twice"},
		{"VNI zero", "kind: Network\nmetadata: {name: n, tenant: t}\nspec: {vni: 0}\n", "f.yaml:3: Network t/n: spec.vni: 0 is outside 1..16777215; leave it out to have one allocated"},
		{"VNI negative", "kind: Network\nmetadata: {name: n, tenant: t}\nspec: {vni: -1}\n", "f.yaml:3: Network t/n: spec.vni: -1 is outside 1..16777215"},
		{"VNI far too large", "kind: Network\nmetadata: {name: n, tenant: t}\nspec: {vni: 99999999999}\n", "f.yaml:3: Network t/n: spec.vni: 99999999999 is outside 1..16777215"},
		{"bad subnet", "kind: Network\nmetadata: {name: n, tenant: t}\nspec:\n  subnets:\n  - 10.0.0.0/24\n  - ten\n", `f.yaml:6: Network t/n: spec.subnets[1]: "ten" is not a subnet like 10.0.0.0/24`},
		{"bad MAC", "kind: Port\nmetadata: {name: p, tenant: t}\nspec: {mac: zz}\n", `f.yaml:3: Port t/p: spec.mac: "zz" is not a MAC address like 02:00:00:00:00:01`},
		{"a list instead of an object", "- a\n", "f.yaml:1: an object is expected: kind, metadata, spec"},
		{"text instead of a list", "kind: Network\nmetadata: {name: n, tenant: t}\nspec: {subnets: 10.0.0.0/24}\n", "f.yaml:3: Network t/n: spec.subnets: a list is expected"},
		{"text instead of a mapping", "kind: Tenant\nmetadata: a\n", "f.yaml:2: Tenant : metadata: a mapping is expected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			os, err := Decode([]byte(c.in), "f.yaml")
			require.Error(t, err)
			require.True(t, strings.HasPrefix(err.Error(), c.want), err.Error())
			if c.name != "a broken later document" {
				require.Empty(t, os)
			}
		})
	}
}

func TestDecodeGoesOnAfterAFault(t *testing.T) {
	os, err := Decode([]byte("kind: Tenant\nmetadata: {name: a, x: y}\n---\nkind: Tenant\nmetadata: {name: b}\n"), "f")
	require.EqualError(t, err, "f:2: Tenant a: metadata.x: is not a field: use one of created, labels, name, revision, tenant")
	require.Len(t, os, 1)
}

func TestValidateNamesObjectAndField(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"kind: Network\nmetadata: {name: n, tenant: t}\nspec: {vni: 16777216}", "Network t/n: spec.vni: 16777216 is outside 1..16777215"},
		{"kind: Network\nmetadata: {name: n, tenant: t}\nspec: {subnets: [10.0.0.0/24, 10.0.0.128/25]}", "Network t/n: spec.subnets[1]: 10.0.0.128/25 overlaps spec.subnets[0] (10.0.0.0/24)"},
		{"kind: Network\nmetadata: {name: n, tenant: t}\nspec: {subnets: [10.0.0.1/24]}", "Network t/n: spec.subnets[0]: 10.0.0.1/24 has host bits set: use 10.0.0.0/24"},
		{"kind: Network\nmetadata: {name: n, tenant: t}\nspec: {mtu: 99}", "Network t/n: spec.mtu: 99 is outside 576..9216"},
		{"kind: Network\nmetadata: {name: n}\nspec: {}", "Network /n: metadata.tenant: is missing: a network belongs to a tenant"},
		{"kind: Tenant\nmetadata: {name: Blue}", `Tenant Blue: metadata.name: "Blue" is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends`},
		{"kind: Port\nmetadata: {name: p, tenant: t}\nspec: {network: n, binding: {node: a}}", "Port t/p: spec.binding.interface: is missing: node a is named without an interface"},
		{"kind: Port\nmetadata: {name: p, tenant: t}\nspec: {network: n, mac: \"01:00:00:00:00:00\"}", "Port t/p: spec.mac: 01:00:00:00:00:00 is a multicast address"},
		{"kind: Port\nmetadata: {name: p, tenant: t}\nspec: {network: n, addresses: [10.0.0.1, 10.0.0.1]}", "Port t/p: spec.addresses[1]: 10.0.0.1 is given twice"},
		{"kind: Node\nmetadata: {name: h}\nspec: {role: hypervisor, vtep: 10.0.0.1, colours: [10.128.0.1, 10.0.0.1, 10.128.0.1, 'fd00::1']}", `Node h: spec.colours[1]: 10.0.0.1 is spec.vtep: a colour is another address; Node h: spec.colours[2]: 10.128.0.1 is given twice; Node h: spec.colours[3]: is not a unicast IPv4 address`},
		{"kind: Node\nmetadata: {name: h}\nspec: {role: hypervisor, colours: [10.128.0.1]}", "Node h: spec.vtep: is missing, or not IPv4: colours are further addresses of a VTEP that has an IPv4 one"},
		{"kind: Node\nmetadata: {name: h}\nspec: {role: hypervisor, vtep: 10.0.0.1, colours: [10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 10.0.0.6, 10.0.0.7, 10.0.0.8, 10.0.0.9, 10.0.0.10]}", "Node h: spec.colours: has 9 addresses: a node may have 8"},
		{"kind: Node\nmetadata: {name: h}\nspec: {role: vtep, vtep: 10.0.0.1, colours: [10.0.0.2]}", "Node h: spec.colours: is for other nodes: a switch with the hardware_vtep schema takes in what is sent to spec.vtep alone; leave it out"},
		{"kind: Node\nmetadata: {name: h}\nspec: {role: hypervisor, vtep: 10.0.0.1, colours: [10.0.0.2], hardwareVTEP: {ovsdb: 'tcp:10.9.0.1:6640', switch: s}}", "Node h: spec.colours: is for other nodes: a switch with the hardware_vtep schema takes in what is sent to spec.vtep alone; leave it out"},
		{"kind: Node\nmetadata: {name: h}\nspec: {role: hypervisor, vswitch: {ovsdb: nowhere}}", `Node h: spec.vswitch.ovsdb: "nowhere" is not an endpoint: use tcp:ADDRESS:PORT, ssl:ADDRESS:PORT or unix:PATH; Node h: spec.vtep: is missing: tunnels of a vSwitch need an address to end at`},
		{"kind: Link\nmetadata: {name: l}\nspec: {endpoints: [{node: a, interface: e1}]}", "Link l: spec.endpoints: has 1 ends: a link has two"},
	} {
		os, err := Decode([]byte(c.in), "f")
		require.NoError(t, err, c.in)
		require.EqualError(t, os[0].Validate(), c.want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(tenancy))
	f.Add([]byte("kind: Port\nspec: {mac: &a [*a]}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		os, err := Decode(in, "f")
		if err != nil {
			return
		}
		for _, o := range os {
			_ = o.Validate()
			if _, err := EncodeYAML(o); err != nil {
				t.Fatal(err)
			}
		}
	})
}
