package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// level is the height of a role in a drawing, the top being zero.
func level(r intent.Role) int {
	switch r {
	case intent.RoleSuperspine:
		return 0
	case intent.RoleSpine:
		return 1
	case intent.RoleLeaf, intent.RoleBorder:
		return 2
	case intent.RoleVM:
		return 4
	}
	return 3
}

// levels are the heights of all nodes: those of their roles, but a server at a
// hardware VTEP is below it, as a VM is below its hypervisor.
func (g *Graph) levels() map[string]int {
	out, roles := map[string]int{}, map[string]intent.Role{}
	for _, n := range g.Nodes {
		out[n.Name], roles[n.Name] = level(n.Role), n.Role
	}
	for _, l := range g.Links {
		for _, e := range [][2]string{{l.A.Node, l.B.Node}, {l.B.Node, l.A.Node}} {
			if roles[e[0]] == intent.RoleServer && roles[e[1]] == intent.RoleVTEP {
				out[e[0]] = level(intent.RoleVM)
			}
		}
	}
	return out
}

// colours of the roles: fill and line.
var colours = map[intent.Role][2]string{
	intent.RoleSuperspine: {"#e8e1f7", "#6741b4"},
	intent.RoleSpine:      {"#dce7fb", "#2f5fb3"},
	intent.RoleLeaf:       {"#dbf1e4", "#2b8a57"},
	intent.RoleBorder:     {"#fdebd3", "#b86e12"},
	intent.RoleHypervisor: {"#ececf0", "#5b5f6b"},
	intent.RoleVTEP:       {"#dff3f5", "#1d7f8c"},
	intent.RoleServer:     {"#f6f0df", "#8a7433"},
	intent.RoleVM:         {"#ffffff", "#8a8f9c"},
}

// Mermaid draws the graph as a Mermaid flowchart, the spines at the top.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	if g.Name != "" {
		fmt.Fprintf(&b, "---\ntitle: %q\n---\n", g.Name)
	}
	b.WriteString("flowchart TB\n")
	nodes, height := slices.Clone(g.Nodes), g.levels()
	slices.SortStableFunc(nodes, func(x, y Node) int {
		if d := height[x.Name] - height[y.Name]; d != 0 {
			return d
		}
		return natural(x.Name, y.Name)
	})
	id := map[string]string{}
	for i, n := range nodes {
		id[n.Name] = fmt.Sprintf("n%d", i)
		fmt.Fprintf(&b, "  n%d[\"%s\"]", i, mermaidText(n.Name))
		if n.Role != "" {
			fmt.Fprintf(&b, ":::%s", n.Role)
		}
		b.WriteString("\n")
	}
	for _, l := range g.Links {
		if id[l.A.Node] == "" || id[l.B.Node] == "" {
			continue
		}
		if height[l.A.Node] > height[l.B.Node] {
			l, _ = l.From(l.B.Node)
		}
		fmt.Fprintf(&b, "  %s ---|\"%s - %s\"| %s\n", id[l.A.Node], mermaidText(l.A.Interface), mermaidText(l.B.Interface), id[l.B.Node])
	}
	for _, r := range intent.Roles() {
		if len(g.ByRole(r)) > 0 {
			fmt.Fprintf(&b, "  classDef %s fill:%s,stroke:%s,color:#1d2230\n", r, colours[r][0], colours[r][1])
		}
	}
	return b.String()
}

func mermaidText(s string) string {
	return strings.NewReplacer(`#`, "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "\n", " ").Replace(s)
}
