package topology_test

import (
	"strings"
	"testing"

	"github.com/weft-sdn/weft/topology"
)

// build parses a topology: "name" or "name {settings}" each, then
// links "a-b".
func build(t testing.TB, nodes []string, links ...string) *topology.File {
	t.Helper()
	var b strings.Builder
	b.WriteString("name: t\ntopology:\n  defaults: {kind: linux}\n  groups: {x: {labels: {l: x}}}\n  nodes:\n")
	for _, n := range nodes {
		name, settings, _ := strings.Cut(n, " ")
		b.WriteString("    " + name + ": " + settings + "\n")
	}
	if len(links) > 0 {
		b.WriteString("  links:\n")
	}
	used := map[string]int{}
	for _, l := range links {
		x, y, _ := strings.Cut(l, "-")
		used[x]++
		used[y]++
		b.WriteString("    - endpoints: [\"" + x + ":eth" + string(rune('0'+used[x])) + "\", \"" + y + ":eth" + string(rune('0'+used[y])) + "\"]\n")
	}
	return parse(t, b.String())
}

func TestRoles(t *testing.T) {
	const srl, frr = "{kind: nokia_srlinux}", "{image: quay.io/frrouting/frr}"
	for _, c := range []struct {
		name  string
		nodes []string
		links []string
		want  string
	}{
		{"by label, which beats group and name", []string{"spine1 {group: leaves, labels: {weft-role: Border}}"}, nil, "spine1=border by label weft-role"},
		{"by group, which beats the name", []string{"spine1 {group: leaves}", "a {group: super-spines}", "b {group: borderleaf}", "c {group: rack1-servers}", "d {group: x}"}, nil,
			"a=superspine by group; b=border by group; c=server by group; d=server by graph: linux with at most one link and no routing daemon; spine1=leaf by group"},
		{"by name", []string{"spine1", "super-spine2", "dc1-leaf3", "leaf_4", "tor5", "border-leaf6", "border7", "hv8", "compute9", "client10", "srv11", "PC12", "leaf1-host13", "server14", "superspine15"}, nil,
			"PC12=server by name; border-leaf6=border by name; border7=border by name; client10=server by name; compute9=hypervisor by name; dc1-leaf3=leaf by name; hv8=hypervisor by name; leaf1-host13=server by name; leaf_4=leaf by name; server14=server by name; spine1=spine by name; srv11=server by name; super-spine2=superspine by name; superspine15=superspine by name; tor5=leaf by name"},
		{"hardware VTEPs, whose kind beats group and name", []string{"tor1 {kind: vtep, group: leaves}", "vtep2", "rack-hwvtep3", "h1", "h2", "sw {kind: nokia_srlinux}", "leaf4 {kind: vtep, labels: {weft-role: leaf}}"},
			[]string{"tor1-sw", "h1-tor1", "h2-tor1", "h2-vtep2"},
			"h1=server by graph: linux with at most one link and no routing daemon; h2=server by graph: linux with several links to switches and no routing daemon; leaf4=leaf by label weft-role; rack-hwvtep3=vtep by name; sw=leaf by graph: a switch with a host; tor1=vtep by kind vtep; vtep2=vtep by name"},
		{"VMs", []string{"hv1", "blue-vm1", "x", "vm2", "sw " + srl}, []string{"hv1-x", "vm2-sw"},
			"blue-vm1=server by graph: called a VM by its name, but linked to no hypervisor; hv1=hypervisor by name; sw=leaf by graph: a switch with a host; vm2=server by graph: called a VM by its name, but linked to no hypervisor; x=vm by graph: linux, linked to a hypervisor"},
		{"Clos by graph alone", []string{"a " + srl, "b " + srl, "c " + srl, "d " + srl, "h1", "h2"}, []string{"a-c", "a-d", "b-c", "b-d", "h1-a", "h2-b"},
			"a=leaf by graph: a switch with a host; b=leaf by graph: a switch with a host; c=spine by graph: a switch linked to all leaves; d=spine by graph: a switch linked to all leaves; h1=server by graph: linux with at most one link and no routing daemon; h2=server by graph: linux with at most one link and no routing daemon"},
		{"two pods and a superspine by graph alone", []string{"a " + srl, "b " + srl, "s1 " + srl, "s2 " + srl, "top " + srl, "h1", "h2"}, []string{"a-s1", "b-s2", "s1-top", "s2-top", "h1-a", "h2-b"},
			"a=leaf by graph: a switch with a host; b=leaf by graph: a switch with a host; h1=server by graph: linux with at most one link and no routing daemon; h2=server by graph: linux with at most one link and no routing daemon; s1=spine by graph: a switch linked to leaves; s2=spine by graph: a switch linked to leaves; top=superspine by graph: a switch linked to spines only"},
		{"a leaf without hosts", []string{"leaf1", "x " + srl, "spine1", "spine2"}, []string{"leaf1-spine1", "leaf1-spine2", "x-spine1", "x-spine2"},
			"leaf1=leaf by name; spine1=spine by name; spine2=spine by name; x=leaf by graph: a switch linked as a leaf is"},
		{"linux routers by image", []string{"a " + frr, "b " + frr, "h"}, []string{"a-b", "h-a"},
			"a=leaf by graph: a switch with a host; b=spine by graph: a switch linked to all leaves; h=server by graph: linux with at most one link and no routing daemon"},
		{"dual-homed server", []string{"leaf1", "leaf2", "x"}, []string{"x-leaf1", "x-leaf2"},
			"leaf1=leaf by name; leaf2=leaf by name; x=server by graph: linux with several links to switches and no routing daemon"},
		{"linux in the middle", []string{"a", "m", "b"}, []string{"a-m", "m-b"},
			"a=server by graph: linux with at most one link and no routing daemon; b=server by graph: linux with at most one link and no routing daemon; m=leaf by graph: a switch with a host"},
		{"a collapsed spine", []string{"spine1", "spine2", "spine3", "h1"}, []string{"spine1-spine2", "spine2-spine3", "h1-spine1"},
			"h1=server by graph: linux with at most one link and no routing daemon; spine1=leaf by graph: called a spine by its name, but the fabric has no leaf: a collapsed spine; spine2=leaf by graph: called a spine by its name, but the fabric has no leaf: a collapsed spine; spine3=leaf by graph: called a spine by its name, but the fabric has no leaf: a collapsed spine"},
		{"spines with a leaf, or by label, stay spines", []string{"spine1", "leaf1", "h1"}, []string{"spine1-leaf1", "h1-spine1"},
			"h1=server by graph: linux with at most one link and no routing daemon; leaf1=leaf by name; spine1=spine by name"},
		{"lone switches", []string{"a " + srl, "b " + srl}, []string{"a-b"},
			"a=leaf by graph: a switch, and nothing says that it is a spine; b=leaf by graph: a switch, and nothing says that it is a spine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := build(t, c.nodes, c.links...)
			if got := strings.ReplaceAll(roles(f.Graph), "\n", "; "); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
