package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/weft-sdn/weft/"

// layers are the folders from the lowest up; a folder may import only from
// layers below its own.
var layers = [][]string{
	{"controller/intent", "controller/atomicfile"},
	{"ipam", "topology", "topology/lldp", "overlay/evpn", "fabric/device", "fabric/congestion"},
	{"fabric", "overlay"},
	{"fabric/demand"},
	{"fabric/steering"},
	{"southbound", "southbound/leafstate", "southbound/switchstate"},
	{"fabric/load", "fabric/paths"},
	{"southbound/frr", "southbound/openflow", "southbound/ovsdb/vswitchdb", "southbound/ovsdb/vtepdb", "southbound/evpn", "southbound/service"},
	{"southbound/ovsdb"},
	{"southbound/vswitch", "southbound/vtep", "southbound/leaf", "southbound/linux", "southbound/agent"},
	{"southbound/ovstest"},
	{"controller/store"},
	{"controller/engine"},
	{"controller/api/client"},
	{"controller/api"},
	{"lab/budget"},
	{"lab/netns"},
	{"lab/report", "lab/vm"},
	{"lab/probe"},
	{"lab/sim"},
	{"lab"},
	{"lab/bench"},
	{"cmd/weft"},
}

// pure folders do no input or output, take no context and never log.
var pure = []string{"controller/intent", "ipam", "topology", "topology/lldp", "fabric", "fabric/device", "fabric/congestion", "fabric/demand", "fabric/steering", "fabric/load", "fabric/paths", "overlay", "overlay/evpn"}

// impure are what pure folders must not import.
var impure = []string{"context", "os", "os/exec", "net", "net/http", "log", "log/slog", "syscall", "io/ioutil", "database/sql"}

// owners are the folders that may import a library; those below count as well.
var owners = map[string][]string{
	"go.etcd.io/":                 {"controller/store"},
	"github.com/ovn-org/libovsdb": {"southbound/ovsdb"},
	"github.com/osrg/gobgp":       {"southbound/evpn"},
	// The lab makes whole networks, the agent configures one switch.
	"github.com/vishvananda/":       {"lab", "southbound/linux"},
	"github.com/google/gopacket":    {"lab", "topology/lldp"},
	"github.com/danielgtaylor/huma": {"controller/api"},
	"github.com/prometheus/":        {"controller/api"},
	"github.com/insomniacslk/dhcp":  {"southbound/service"},
	"github.com/spf13/":             {"cmd/weft"},
}

// imports reads what each folder's program files import.
func imports(root string) (map[string][]string, error) {
	out := map[string][]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(rel)
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if !slices.Contains(out[dir], name) {
				out[dir] = append(out[dir], name)
			}
		}
		return nil
	})
	return out, err
}

func layer(dir string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, dir) })
}

// faults lists what breaks the rules.
func faults(tree map[string][]string) []string {
	var out []string
	for dir, names := range tree {
		if layer(dir) < 0 {
			out = append(out, dir+" is in no layer")
			continue
		}
		for _, n := range names {
			if slices.Contains(pure, dir) && slices.Contains(impure, n) {
				out = append(out, fmt.Sprintf("%s is pure and imports %s", dir, n))
			}
			if own, ok := strings.CutPrefix(n, module); ok && layer(own) >= layer(dir) {
				out = append(out, fmt.Sprintf("%s imports %s, which is not below it", dir, own))
			}
			for library, of := range owners {
				owned := slices.ContainsFunc(of, func(o string) bool { return dir == o || strings.HasPrefix(dir, o+"/") })
				if strings.HasPrefix(n, library) && !owned {
					out = append(out, fmt.Sprintf("%s imports %s, which is %s's", dir, n, strings.Join(of, "'s and ")))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestImportRules(t *testing.T) {
	tree, err := imports(path.Join("..", ".."))
	require.NoError(t, err)
	require.Greater(t, len(tree), 15)
	require.Empty(t, faults(tree))
}

func TestImportRulesCanFail(t *testing.T) {
	require.Equal(t, []string{
		"fabric imports github.com/spf13/viper, which is cmd/weft's",
		"fabric imports lab, which is not below it",
		"fabric is pure and imports os",
		"util is in no layer",
	}, faults(map[string][]string{
		"util":           nil,
		"fabric":         {"os", "fmt", module + "lab", module + "topology", "github.com/spf13/viper"},
		"lab/probe":      {"github.com/google/gopacket/layers", module + "lab/netns"},
		"cmd/weft":       {module + "lab"},
		"southbound/frr": {"os"},
	}))
}
