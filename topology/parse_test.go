package topology_test

import (
	"os"
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
		t.Log(f.Ignored())
	}
}
