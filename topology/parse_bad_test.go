package topology_test

import (
	"strings"
	"testing"

	"github.com/weft-sdn/weft/topology"
)

// small is a topology with two nodes, to which a test adds.
const small = "name: t\ntopology:\n  nodes:\n    a: {kind: linux}\n    b: {kind: linux}\n"

func TestBadInput(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", `f.yml:1: the file is empty: a topology has a name and nodes`},
		{"comment only", "# nothing\n", `f.yml:1: the file is empty: a topology has a name and nodes`},
		{"broken YAML", "name: t\ntopology:\n  nodes: [a\n  b: c\n", `f.yml:3: this is not YAML: did not find expected ',' or ']'`},
		{"broken YAML, a key", "name: t\ntopology:\n  nodes:\n    a: {}\n   b: {}\n", `f.yml:5: this is not YAML: did not find expected key`},
		{"broken YAML, a colon", "name: t\ntopology:\n  nodes: a: b\n", `f.yml:3: this is not YAML: mapping values are not allowed in this context`},
		{"unknown anchor", "name: t\ntopology: *x\n", `f.yml:2: this is not YAML: unknown anchor 'x' referenced`},
		{"control character", "name: t\x01\n", `f.yml:1: this is not YAML: control characters are not allowed`},
		{"tab", "name: t\ntopology:\n\tnodes:\n", `f.yml:3: this is not YAML: found character that cannot start any token`},
		{"two documents", small + "---\nname: u\n", `f.yml:6: a second document begins here: a topology file has one`},
		{"list", "- a\n", "f.yml:1: the file: a mapping is expected, this is a list"},
		{"no name", strings.TrimPrefix(small, "name: t\n"), `f.yml:1: the file has no name: containerlab needs one, such as name: clos01`},
		{"bad name", strings.Replace(small, "name: t", "name: a b", 1), `f.yml:1: name: "a b" is not a name for a lab: use 1 to 63 letters, digits, '-', '.' or '_', with a letter or digit at both ends`},
		{"no topology", "name: t\n", `f.yml:1: the file has no topology`},
		{"no nodes", "name: t\ntopology:\n  links: []\n", `f.yml:3: topology has no nodes`},
		{"unknown field of the file", "topologie: {}\n" + small, `f.yml:1: the file: there is no field "topologie": is topology meant?`},
		{"unknown field of topology", small + "  link: []\n", `f.yml:6: topology: there is no field "link": is links meant?`},
		{"unknown field of mgmt", small + "mgmt:\n  ipv4subnet: auto\n", `f.yml:7: mgmt: there is no field "ipv4subnet": is ipv4-subnet meant?`},
		{"unknown field of a node", "name: t\ntopology:\n  nodes:\n    a:\n      kind: linux\n      labls: {}\n", `f.yml:6: node a: there is no field "labls": is labels meant?`},
		{"unknown field of a node, far from all", "name: t\ntopology:\n  nodes:\n    a: {kind: linux, xyzzy: 1}\n", `f.yml:4: node a: there is no field "xyzzy"`},
		{"unknown field of a group", small + "  groups:\n    g: {bind: []}\n", `f.yml:7: group g: there is no field "bind": is binds meant?`},
		{"unknown field of a kind", small + "  kinds:\n    linux: {start-config: x}\n", `f.yml:7: kind linux: there is no field "start-config": is startup-config meant?`},
		{"field twice", "name: t\nname: u\ntopology:\n  nodes:\n    a: {kind: linux}\n", `f.yml:2: the file: name is given twice, first in line 1`},
		{"node twice", "name: t\ntopology:\n  nodes:\n    a: {kind: linux}\n    a: {kind: linux}\n", `f.yml:5: topology.nodes: a is given twice, first in line 4`},
		{"name of a node", "name: t\ntopology:\n  nodes:\n    a b: {kind: linux}\n", `f.yml:4: node "a b": the name is not one that a host can have: use 1 to 63 letters, digits, '-', '.' or '_', with a letter or digit at both ends`},
		{"no kind", "name: t\ntopology:\n  nodes:\n    a:\n", `f.yml:4: node a has no kind: give it one, or give one to its group or to the defaults`},
		{"wrong type", "name: t\ntopology:\n  nodes:\n    a: {kind: [linux]}\n", `f.yml:4: node a: kind: a word is expected, this is a list`},
		{"exec is no list", "name: t\ntopology:\n  nodes:\n    a: {kind: linux, exec: ls}\n", `f.yml:4: node a: exec: a list is expected, this is "ls"`},
		{"labels are no mapping", "name: t\ntopology:\n  nodes:\n    a: {kind: linux, labels: [x]}\n", `f.yml:4: node a: labels: a mapping is expected, this is a list`},
		{"bind", "name: t\ntopology:\n  nodes:\n    a: {kind: linux, binds: [\"a:b:c:d\"]}\n", `f.yml:4: node a: binds: "a:b:c:d" is not a bind like source:target or source:target:ro`},
		{"mtu of a node", "name: t\ntopology:\n  nodes:\n    a: {kind: linux, mtu: big}\n", `f.yml:4: node a: mtu: "big" is not a number from 68 to 65535`},
		{"mistyped group", "name: t\ntopology:\n  groups:\n    leaves: {kind: linux}\n  nodes:\n    a: {kind: linux, group: leafes}\n", `f.yml:6: node a: group: there is no group "leafes": is leaves meant?`},
		{"unknown role", "name: t\ntopology:\n  nodes:\n    a: {kind: linux, labels: {weft-role: boss}}\n", `f.yml:4: node a: label weft-role: "boss" is not a role: use one of [superspine spine leaf border hypervisor vtep server vm]`},
		{"VM without hypervisor", "name: t\ntopology:\n  nodes:\n    a: {kind: linux, labels: {weft-role: vm}}\n", `f.yml:4: node a: label weft-role says vm, but no link leads to a hypervisor`},

		{"one end", small + "  links:\n    - endpoints: [\"a:eth1\"]\n", `f.yml:7: link 1: endpoints: a link has two ends, this one has 1 (a:eth1)`},
		{"three ends", small + "  links:\n    - endpoints: [\"a:eth1\", \"b:eth1\", \"b:eth2\"]\n", `f.yml:7: link 1: endpoints: a link has two ends, this one has 3 (a:eth1, b:eth1, b:eth2)`},
		{"no ends", small + "  links:\n    - mtu: 1500\n", `f.yml:7: link 1 has no endpoints`},
		{"no interface", small + "  links:\n    - endpoints: [\"a:eth1\", \"b\"]\n", `f.yml:7: link 1: endpoints: "b" is not an end like leaf1:eth1`},
		{"unknown node", small + "  links:\n    - endpoints: [\"a:eth1\", \"leaf9:eth1\"]\n", `f.yml:7: link a:eth1 - leaf9:eth1: there is no node "leaf9"`},
		{"mistyped node", "name: t\ntopology:\n  nodes:\n    a: {kind: linux}\n    spine1: {kind: linux}\n  links:\n    - endpoints: [\"a:eth1\", \"spine2:eth1\"]\n", `f.yml:7: link a:eth1 - spine2:eth1: there is no node "spine2": is spine1 meant?`},
		{"loop", small + "  links:\n    - endpoints: [\"a:eth1\", \"a:eth2\"]\n", `f.yml:7: link a:eth1 - a:eth2: both ends are on node a`},
		{"interface twice", small + "  links:\n    - endpoints: [\"a:eth1\", \"b:eth1\"]\n    - endpoints: [\"b:eth1\", \"a:eth2\"]\n", `f.yml:8: link b:eth1 - a:eth2: interface eth1 of node b has a link already, in line 7`},
		{"interface twice, written otherwise", small + "  links:\n    - endpoints: [\"a:e1-1\", \"b:eth1\"]\n    - endpoints: [\"a:ethernet-1/1\", \"b:eth2\"]\n", `f.yml:8: link a:ethernet-1/1 - b:eth2: interface ethernet-1/1 of node a is the same as e1-1, which has a link in line 7`},
		{"loopback", small + "  links:\n    - endpoints: [\"a:lo\", \"b:eth1\"]\n", `f.yml:7: link a:lo - b:eth1: lo of node a is its loopback and can't have a link`},
		{"mtu of a link", small + "  links:\n    - endpoints: [\"a:eth1\", \"b:eth1\"]\n      mtu: 70000\n", `f.yml:8: link 1: mtu: "70000" is not a number from 68 to 65535`},
		{"unknown field of a link", small + "  links:\n    - endpoint: [\"a:eth1\", \"b:eth1\"]\n", "f.yml:7: link 1: there is no field \"endpoint\": is endpoints meant?\nf.yml:7: link 1 has no endpoints"},
		{"unknown type", small + "  links:\n    - type: wire\n      endpoints: []\n", `f.yml:7: link 1: type: "wire" is not a type of link: use veth, or leave it out`},
		{"extended end without node", small + "  links:\n    - type: veth\n      endpoints:\n        - interface: eth1\n        - {node: b, interface: eth1}\n", `f.yml:9: link 1: endpoints: an end names no node`},
		{"extended end without interface", small + "  links:\n    - type: veth\n      endpoints:\n        - node: a\n        - {node: b, interface: eth1}\n", `f.yml:9: link 1: endpoints: the end at a names no interface`},
		{"extended end with unknown field", small + "  links:\n    - type: veth\n      endpoints:\n        - {node: a, iface: eth1}\n        - {node: b, interface: eth1}\n", `f.yml:9: link 1: endpoints: there is no field "iface"`},
		{"MAC", small + "  links:\n    - type: veth\n      endpoints:\n        - {node: a, interface: eth1, mac: \"01:00:00:00:00:01\"}\n        - {node: b, interface: eth1, mac: x}\n", "f.yml:9: link 1: endpoints.mac: 01:00:00:00:00:01 can't be the address of an interface\nf.yml:10: link 1: endpoints.mac: \"x\" is not a MAC address like 02:00:00:00:00:01"},
		{"links are no list", small + "  links:\n    a: b\n", `f.yml:7: topology.links: a list is expected, this is a mapping`},
		{"merge to itself", "name: t\ntopology:\n  nodes:\n    a: &x\n      <<: *x\n      kind: linux\n", `f.yml:4: node a: a merge key leads back to itself`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := topology.Parse([]byte(c.text), "f.yml")
			if err == nil {
				t.Fatalf("accepted: %+v", f.Nodes)
			}
			if err.Error() != c.want {
				t.Errorf("got\n%s\nwant\n%s", err, c.want)
			}
		})
	}
}

func TestAliasesThatGrowAreRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("name: t\ntopology:\n  defaults:\n    labels: &l0 {x: y}\n")
	b.WriteString("  kinds:\n")
	for i := 1; i < 12; i++ {
		p := string(rune('a' + i - 1))
		if i == 1 {
			p = "l0"
		}
		n := string(rune('a' + i))
		b.WriteString("    k" + n + ":\n      labels: &" + n + "\n        <<: [" + strings.Repeat("*"+p+", ", 9) + "*" + p + "]\n")
	}
	b.WriteString("  nodes:\n    a: {kind: kc}\n")
	_, err := topology.Parse([]byte(b.String()), "f.yml")
	if err == nil || !strings.Contains(err.Error(), "the file grows too large by its aliases") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	for _, s := range []string{
		"name: t\ntopology:\n  defaults: &d {kind: linux}\n  nodes:\n    a: *d\n    b: {<<: *d}\n  links: [{endpoints: ['a:eth1','b:1/1/1']}]\n",
		small + "  links:\n    - type: veth\n      endpoints:\n        - {node: a, interface: eth1, mac: \"02:00:00:00:00:01\"}\n        - {node: b, interface: ethernet-1/1}\n",
		"name: t\ntopology:\n  nodes:\n    a: &x\n      <<: *x\n",
		"name: t\ntopology:\n  nodes:\n    hv1: {kind: linux}\n    v: {kind: linux, labels: {weft-tenant: t, weft-network: n, weft-addresses: 10.0.0.1/24}}\n  links: [{endpoints: ['hv1:eth2','v:eth1']}]\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := topology.Parse(data, "f.yml")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yml:") {
				t.Errorf("no source and line: %s", err)
			}
			return
		}
		if err := file.Graph.Check(); err != nil {
			t.Errorf("a parsed graph is refused: %s", err)
		}
		checkXML(t, file.Graph.SVG())
		_, _ = file.Intent()
		_, _ = file.Graph.Clos()
		_ = file.Graph.Mermaid()
		_ = file.Ignored()
	})
}

func TestManyFaultsAreCounted(t *testing.T) {
	_, err := topology.Parse([]byte("name: t\ntopology:\n  nodes:\n"+strings.Repeat("    a:\n", 31)), "f.yml")
	if got := strings.Split(err.Error(), "\n"); len(got) != 21 || got[20] != "and 11 more" {
		t.Errorf("got %q", got)
	}
}
