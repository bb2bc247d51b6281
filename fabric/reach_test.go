package fabric

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// wiring reads cables such as "leaf1-spine1"; a name's role is in it, and one with
// a ! is drained.
func wiring(cables ...string) []intent.Object {
	var nodes, links []intent.Object
	seen := map[string]bool{}
	for i, c := range cables {
		a, b, _ := strings.Cut(c, "-")
		for _, n := range []string{a, b} {
			name := strings.TrimSuffix(n, "!")
			if n == "" || seen[name] {
				continue
			}
			seen[name] = true
			o := &intent.Node{Metadata: intent.Metadata{Name: name}}
			o.Spec.Role = map[string]intent.Role{"spine": intent.RoleSpine, "leaf": intent.RoleLeaf, "super": intent.RoleSuperspine, "hv": intent.RoleHypervisor}[strings.TrimRight(name, "0123456789")]
			if name != n {
				o.Spec.Maintenance = intent.MaintenanceDrain
			}
			nodes = append(nodes, o)
		}
		a, b = strings.TrimSuffix(a, "!"), strings.TrimSuffix(b, "!")
		if b == "" {
			continue
		}
		links = append(links, &intent.Link{Metadata: intent.Metadata{Name: c}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{
			{Node: a, Interface: fmt.Sprint("eth", i)}, {Node: b, Interface: fmt.Sprint("eth", i)}}}})
	}
	return append(nodes, links...)
}

func TestLost(t *testing.T) {
	clos := []string{"leaf1-spine1", "leaf1-spine2", "leaf2-spine1", "leaf2-spine2", "leaf3-spine1", "leaf3-spine2", "hv1-leaf1", "hv2-leaf2", "hv3-leaf3"}
	without := func(list []string, gone ...string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(c string) bool { return slices.Contains(gone, c) })
	}
	drained := func(list []string, names ...string) []string {
		return append(names, list...) // "spine1!" comes first and stands for the node
	}
	for _, c := range []struct {
		name          string
		before, after []string
		cut           string
		pairs         string
	}{
		{"nothing", clos, clos, "", ""},
		{"one of two uplinks", clos, without(clos, "leaf1-spine1"), "", ""},
		{"both uplinks", clos, without(clos, "leaf1-spine1", "leaf1-spine2"), "hv1 leaf1", "leaf1 and leaf2, leaf1 and leaf3"},
		{"a hypervisor's cable", clos, without(clos, "hv2-leaf2"), "hv2", ""},
		{"a leaf", clos, append(without(clos, "leaf2-spine1", "leaf2-spine2", "hv2-leaf2"), "hv2-"), "hv2 leaf2", ""},
		{"a spine", clos, without(clos, "leaf1-spine1", "leaf2-spine1", "leaf3-spine1"), "", ""},
		{"a drained spine", clos, drained(clos, "spine1!"), "", ""},
		{"both spines drained", drained(clos, "spine1!"), drained(clos, "spine1!", "spine2!"), "hv1 hv2 hv3 leaf1 leaf2 leaf3", "leaf1 and leaf2, leaf1 and leaf3, leaf2 and leaf3"},
		{"a drained leaf", clos, drained(clos, "leaf3!"), "hv3 leaf3", ""},
		// The way from leaf2 over leaf1 to leaf3 is a valley: the spines share
		// an ASN.
		{"a valley is no way", without(clos, "leaf2-spine2"), without(clos, "leaf2-spine2", "leaf3-spine1"), "", "leaf2 and leaf3"},
		{"a ring", []string{"leaf1-leaf2", "leaf2-leaf3", "leaf3-leaf1"}, []string{"leaf1-leaf2", "leaf2-leaf3"}, "", ""},
		{"alone", []string{"leaf1-spine1", "hv1-leaf1"}, []string{"leaf1-spine1", "hv1-"}, "hv1", ""},
		{"pods", []string{"leaf1-spine1", "leaf2-spine2", "spine1-super1", "spine2-super1", "spine1-super2", "spine2-super2"},
			[]string{"leaf1-spine1", "leaf2-spine2", "spine1-super1", "spine2-super2"}, "leaf1 leaf2", "leaf1 and leaf2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Lost(Wire(wiring(c.before...)), Wire(wiring(c.after...)))
			var pairs []string
			for _, p := range l.Pairs {
				pairs = append(pairs, p.String())
			}
			require.Equal(t, c.cut, strings.Join(l.Cut, " "))
			require.Equal(t, c.pairs, strings.Join(pairs, ", "))
		})
	}
}
