package topology_test

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weft-sdn/weft/topology"
)

func load(t testing.TB, name string) *topology.File {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := topology.Parse(b, name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func roles(g *topology.Graph) string {
	var s []string
	for _, n := range g.Nodes {
		s = append(s, n.Name+"="+string(n.Role)+" by "+n.RoleRule)
	}
	return strings.Join(s, "\n")
}

func TestPublicFilesParseUnchanged(t *testing.T) {
	for name, want := range map[string]string{
		"clos01.clab.yml": "client1=server by name\nclient2=server by name\nleaf1=leaf by name\nleaf2=leaf by name\nspine=spine by name",
		"frr01.clab.yml": "PC1=server by group\nPC2=server by group\nPC3=server by group\n" +
			"router1=leaf by group\nrouter2=leaf by group\nrouter3=leaf by group",
	} {
		f := load(t, name)
		if got := roles(f.Graph); got != want {
			t.Errorf("%s: roles\n%s\nwant\n%s", name, got, want)
		}
		if err := f.Graph.Check(); err != nil {
			t.Errorf("%s: %s", name, err)
		}
	}
}

func parse(t testing.TB, text string) *topology.File {
	t.Helper()
	f, err := topology.Parse([]byte(text), "f.yml")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"clos01.clab.yml", "frr01.clab.yml"} {
		f := load(t, name)
		text, err := f.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := topology.Parse(text, name)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(f, again) {
			t.Errorf("%s differs after a round trip", name)
		}
		if was, _ := os.ReadFile("testdata/" + name); !bytes.Equal(was, text) {
			t.Errorf("%s: the text differs after a round trip", name)
		}
	}
	if _, err := new(topology.File).Encode(); err == nil {
		t.Error("a file without text is encoded")
	}
}

func TestInheritance(t *testing.T) {
	f := parse(t, `
name: t
mgmt: {network: m, ipv4-subnet: 172.20.20.0/24, mtu: 1400}
prefix: ""
topology:
  defaults:
    kind: linux
    type: default
    image: default
    labels: {level: defaults, a: defaults}
    env: {E: 1}
    exec: [defaults]
    binds: ["d:/x", "d:/y:ro"]
    ports: ["1:1"]
  kinds:
    linux:
      type: kind
      startup-config: kind.cfg
      labels: {level: kind, b: kind}
      exec: [kind]
      binds: ["k:/x"]
    other:
      group: g
  groups:
    g:
      kind: linux
      type: group
      labels: {level: group, c: group}
      exec: [group]
    k2:
      kind: other
  nodes:
    one:
      group: g
      labels: {level: node, n: true}
      exec: [node]
      binds: ["n:/y"]
      ports: ["2:2"]
      cpu: 2
    two:
    three:
      kind: other
    four:
      group: k2
`)
	one := topology.NodeConfig{
		Kind: "linux", Type: "group", Image: "default", Group: "g",
		Labels: map[string]string{"level": "node", "a": "defaults", "b": "kind", "c": "group", "n": "true"},
		Env:    map[string]string{"E": "1"}, Exec: []string{"defaults", "kind", "group", "node"},
		Binds: []topology.Bind{{"k", "/x", ""}, {"n", "/y", ""}}, Ports: []string{"2:2"}, StartupConfig: "kind.cfg", Line: 33,
	}
	if got := f.Nodes["one"]; !reflect.DeepEqual(got, one) {
		t.Errorf("one is\n%+v, want\n%+v", got, one)
	}
	if c := f.Nodes["two"]; c.Kind != "linux" || c.Type != "kind" || c.Group != "" || !slices.Equal(c.Exec, []string{"defaults", "kind"}) {
		t.Errorf("two is %+v", c)
	}
	if c := f.Nodes["three"]; c.Kind != "other" || c.Group != "g" || c.Type != "group" {
		t.Errorf("three, whose group comes from its kind, is %+v", c)
	}
	if c := f.Nodes["four"]; c.Kind != "other" || c.Group != "k2" {
		t.Errorf("four, whose kind comes from its group, is %+v", c)
	}
	if f.Mgmt.IPv4Subnet != "172.20.20.0/24" || f.Mgmt.MTU != 1400 || f.Mgmt.Network != "m" {
		t.Errorf("mgmt is %+v", f.Mgmt)
	}
	want := []string{
		"binds: one, two, three, four", "cpu: one", "env: one, two, three, four", "image: one, two, three, four",
		"mgmt", "ports: one, two, three, four", "prefix", "startup-config: one, two", "type: one, two, three, four",
	}
	if got := f.Ignored(); !slices.Equal(got, want) {
		t.Errorf("ignored is\n%q, want\n%q", got, want)
	}
	if s := f.Nodes["one"].Binds[0].String() + " " + (topology.Bind{"a", "/b", "ro"}).String() + " " + (topology.Bind{Target: "/v"}).String(); s != "k:/x a:/b:ro /v" {
		t.Errorf("binds are %s", s)
	}
}

func TestLinks(t *testing.T) {
	f := parse(t, small+`
    c: {kind: linux, mtu: 9000}
    d: {kind: linux, mtu: 8000}
  links:
    - endpoints: ["a:eth1", "b:eth1"]
      mtu: 1400
      vars: {x: {y: [1]}}
      labels: {z: w}
    - type: veth
      mtu: 9100
      endpoints:
        - node: a
          interface: ethernet-1/2
          mac: 02:AA:00:00:00:01
        - {node: b, interface: eth2}
    - endpoints: ["c:eth1", "d:eth1"]
    - endpoints: ["a:eth3", "c:eth2"]
    - endpoints: ["a:eth4", "host:a-eth4"]
    - type: mgmt-net
      endpoint: {node: a, interface: eth5}
      host-interface: m
    - type: vxlan
      endpoint: {node: b, interface: eth5}
      remote: 10.0.0.1
`)
	want := []topology.Link{
		{A: topology.End{Node: "a", Interface: "eth1", Written: "eth1"}, B: topology.End{Node: "b", Interface: "eth1", Written: "eth1"}, MTU: 1400},
		{A: topology.End{Node: "a", Interface: "e1-2", Written: "ethernet-1/2", MAC: "02:aa:00:00:00:01"}, B: topology.End{Node: "b", Interface: "eth2", Written: "eth2"}, MTU: 9100},
		{A: topology.End{Node: "c", Interface: "eth1", Written: "eth1"}, B: topology.End{Node: "d", Interface: "eth1", Written: "eth1"}, MTU: 8000},
		{A: topology.End{Node: "a", Interface: "eth3", Written: "eth3"}, B: topology.End{Node: "c", Interface: "eth2", Written: "eth2"}, MTU: 9000},
	}
	if !slices.Equal(f.Graph.Links, want) {
		t.Errorf("links are\n%+v, want\n%+v", f.Graph.Links, want)
	}
	ignored := []string{"link labels: link 1", "link vars: link 1", "links of type host (to the host): link 5", "links of type mgmt-net (to the management network): link 6", "links of type vxlan (to another host): link 7"}
	if got := f.Ignored(); !slices.Equal(got, ignored) {
		t.Errorf("ignored is %q, want %q", got, ignored)
	}
}

func TestAnchorsAndMerges(t *testing.T) {
	f := parse(t, `
name: t
topology:
  nodes:
    a: &leaf
      kind: linux
      labels: &l {x: "1", y: "2"}
    b:
      <<: *leaf
      labels: {<<: *l, y: "3"}
    c: *leaf
`)
	if b := f.Nodes["b"]; b.Kind != "linux" || b.Labels["x"] != "1" || b.Labels["y"] != "3" || f.Nodes["c"].Kind != "linux" {
		t.Errorf("nodes are %+v", f.Nodes)
	}
}

func TestInterfaceNames(t *testing.T) {
	for _, c := range []struct{ kind, written, want string }{
		{"linux", "eth1", "eth1"},
		{"nokia_srlinux", "e1-1", "e1-1"},
		{"nokia_srlinux", "ethernet-1/1", "e1-1"},
		{"nokia_srlinux", "ethernet-1/3/2", "e1-3-2"},
		{"arista_ceos", "eth1", "eth1"},
		{"arista_ceos", "Ethernet1", "eth1"},
		{"ceos", "Et3/1", "eth3_1"},
		{"ceos", "Ethernet1/2/3", "eth1_2_3"},
		{"sonic-vs", "Ethernet4", "Ethernet4"},
		{"nokia_sros", "1/1/1", "p1-1-1"},
		{"nokia_sros", "1/1/c1/1", "p1-1-c1-1"},
		{"juniper_vmx", "ge-0/0/0", "ge-0-0-0"},
		{"juniper_vjunosevolved", "et-0/0/12:3", "et-0-0-12_3"},
		{"cisco_xrv9k", "Gi0/0/0/0", "Gi0-0-0-0"},
		{"cisco_xrv9k", "GigabitEthernet0/0/0/1", "Gi0-0-0-1"},
		{"cisco_xrd", "HundredGigE0/0/0/2", "Hu0-0-0-2"},
		{"cisco_n9kv", "Ethernet1/1", "Ethernet1-1"},
		{"linux", "exactly15letter", "exactly15letter"},
		{"linux", "sixteen-letters-", "sixteen--b03dbe"},
		{"linux", "sixteen-letters+", "sixteen--b040e4"},
	} {
		f, err := topology.Parse([]byte("name: t\ntopology:\n  nodes:\n    a: {kind: "+c.kind+"}\n    b: {kind: linux}\n  links:\n    - endpoints: [\"a:"+c.written+"\", \"b:eth1\"]\n"), "f.yml")
		if err != nil {
			t.Error(err)
			continue
		}
		if e := f.Graph.Links[0].A; e.Interface != c.want || e.Written != c.written {
			t.Errorf("%s of %s becomes %s (written %s), want %s", c.written, c.kind, e.Interface, e.Written, c.want)
		}
	}
}
